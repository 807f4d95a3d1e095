"""ELBO and IWAE from draws of the posterior, on networks whose evidence is known."""

import pytest
import torch
from torch import nn

from genloom_vae.bounds import AT_ONCE, iwae, kl, log_weights
from genloom_vae.likelihood import Likelihood
from genloom_vae.network import Vae
from genloom_vae.options import PixelOptions, VaeConfig

torch.set_num_threads(1)


class Deaf(nn.Module):
    """A decoder that does not listen to its latent: the evidence is p(image | anything)."""

    def __init__(self):
        super().__init__()
        self.likelihood = Likelihood(PixelOptions(likelihood="gaussian", sigma=0.5))

    def encode(self, image, label=None):
        return torch.full((len(image), 3), 0.4), torch.full((len(image), 3), -0.3)

    def decode(self, latent, label=None):
        return torch.zeros(len(latent), 1, 2, 2)


def test_the_iwae_bound_reaches_the_evidence_and_the_elbo_stays_below_by_the_kl():
    torch.manual_seed(0)
    vae, image = Deaf(), torch.rand(4, 1, 2, 2)
    evidence = -vae.likelihood.cost(vae.decode(image), image).double()
    gap = kl(*vae.encode(image)).sum(1).double()
    weights = log_weights(vae, image, None, 20_000)
    torch.testing.assert_close(iwae(weights), evidence, atol=0.02, rtol=0)
    torch.testing.assert_close(weights.mean(1), evidence - gap, atol=0.02, rtol=0)


def test_one_draw_is_an_unbiased_estimate_of_the_elbo():
    torch.manual_seed(1)
    vae = Vae(VaeConfig(latent=2, widths=(8,)), (1, 6, 6))
    image = torch.rand(1, 1, 6, 6)
    with torch.no_grad():
        single = log_weights(vae, image.expand(4000, -1, -1, -1), None, 1)
        mean, log_variance = vae.encode(image)
        noise = torch.randn(4000, 2)
        latent = mean + (0.5 * log_variance).exp() * noise
        cost = vae.likelihood.cost(vae.decode(latent), image.expand(4000, -1, -1, -1))
    elbo = -(cost.double().mean() + kl(mean, log_variance).sum())
    assert iwae(single).mean().item() == pytest.approx(elbo.item(), abs=0.1)
    torch.testing.assert_close(iwae(single), single[:, 0])


def test_more_draws_never_lower_the_bound_below_the_elbo():
    weights = torch.randn(50, 7, dtype=torch.float64) * 5
    assert (iwae(weights) >= weights.mean(1)).all()
    assert (iwae(weights) <= weights.max(1).values).all()


def test_weights_that_underflow_are_summed_all_the_same():
    weights = torch.tensor([[-4000.0, -4001.0]], dtype=torch.float64)
    assert iwae(weights).item() == pytest.approx(-4000 + 0.3133 - 0.6931, abs=1e-3)


def test_pictures_and_labels_keep_their_rows_however_they_are_split():
    class Told(Deaf):
        def decode(self, latent, label=None):
            return label[:, :1, None, None].expand(-1, 1, 2, 2) * 4

    torch.manual_seed(2)
    draws = AT_ONCE // 2  # two pictures at once
    image, label = torch.rand(5, 1, 2, 2), torch.eye(2)[[0, 1, 1, 0, 0]]
    weights = log_weights(Told(), image, label, draws)
    assert weights.shape == (5, draws)
    vae = Told()
    expected = -vae.likelihood.cost(vae.decode(image, label), image).double()
    torch.testing.assert_close(iwae(weights), expected, atol=0.3, rtol=0)
