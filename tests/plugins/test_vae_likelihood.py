"""Likelihoods of pictures: against torch's distributions, and by what a probability must do."""

import math

import pytest
import torch
from torch.distributions import Normal

from genloom_vae.likelihood import LEVEL, Likelihood, log_logistic
from genloom_vae.options import PixelOptions

torch.set_num_threads(1)

LEVELS = torch.arange(256, dtype=torch.float64) / 255


def likelihood(kind, **options):
    return Likelihood(PixelOptions(likelihood=kind, **options))


@pytest.mark.parametrize("learn_sigma", [False, True])
def test_the_gaussian_is_normalised_and_in_nats(learn_sigma):
    image, logits = torch.rand(3, 1, 2, 2), torch.randn(3, 1, 2, 2)
    expected = -Normal(torch.sigmoid(logits), 0.3).log_prob(image).flatten(1).sum(1)
    found = likelihood("gaussian", sigma=0.3, learn_sigma=learn_sigma).cost(logits, image)
    torch.testing.assert_close(found, expected)


def test_bernoulli_takes_grey_values_as_targets():
    image = torch.tensor([[[[0.25, 1.0]]]])
    found = likelihood("bernoulli").cost(torch.zeros(1, 1, 1, 2), image)
    assert found.item() == pytest.approx(2 * math.log(2))


@pytest.mark.parametrize("sigma", [0.01, 0.1])
def test_a_learned_gaussian_sigma_rests_at_the_root_mean_square_error(sigma):
    logits = torch.zeros(4, 1, 3, 3)
    image = 0.5 + sigma * torch.tensor([-1.0, 1.0]).repeat(18).view(4, 1, 3, 3)
    at, above = (likelihood("gaussian", sigma=s, learn_sigma=True) for s in (sigma, 2 * sigma))
    for one in (at, above):
        one.cost(logits, image).mean().backward()
    assert at.learned.grad.item() == pytest.approx(0.0, abs=1e-3)
    assert above.learned.grad.item() > 1


def test_a_fixed_sigma_has_nothing_to_learn():
    assert list(likelihood("gaussian").parameters()) == []
    assert len(list(likelihood("logistic", learn_sigma=True).parameters())) == 1


@pytest.mark.parametrize("mean", [-0.7, 0.0, 0.3, 0.501, 1.0, 2.5])
@pytest.mark.parametrize("sigma", [1e-4, 0.02, 0.5, 10.0])
def test_the_logistic_sums_to_one_over_its_levels(mean, sigma):
    log_sigma = torch.tensor(math.log(sigma), dtype=torch.float64)
    logs = log_logistic(LEVELS, torch.full_like(LEVELS, mean), log_sigma)
    assert torch.isfinite(logs).all()
    assert logs.exp().sum().item() == pytest.approx(1.0, abs=1e-9)


def test_the_logistic_is_the_mass_within_half_a_level():
    mean, sigma = 0.4, 0.05
    scale = sigma * math.sqrt(3) / math.pi
    ends = torch.sigmoid((torch.cat([LEVELS[:1] - 9, LEVELS[1:] - LEVEL / 2, LEVELS[-1:] + 9])
                          - mean) / scale)  # fmt: skip
    found = log_logistic(LEVELS, torch.full_like(LEVELS, mean), torch.tensor(math.log(sigma)))
    torch.testing.assert_close(found.exp(), ends.diff(), atol=1e-7, rtol=1e-4)


def test_the_logistics_sigma_is_its_standard_deviation():
    sigma = 0.03
    log_sigma = torch.tensor(math.log(sigma), dtype=torch.float64)
    chances = log_logistic(LEVELS, torch.full_like(LEVELS, 0.5), log_sigma).exp()
    found = (chances * (LEVELS - 0.5).square()).sum().sqrt().item()
    assert found == pytest.approx(sigma, rel=0.01)


def test_the_logistic_has_gradients_far_from_its_mean():
    logits = torch.full((1, 1, 1, 4), 30.0, requires_grad=True)
    image = torch.tensor([[[[0.0, 0.5, 1.0, 1 / 255]]]])
    likelihood("logistic", sigma=0.01).cost(logits, image).sum().backward()
    slopes = logits.grad.flatten()
    assert torch.isfinite(slopes).all()
    assert (slopes[[0, 1, 3]] > 0).all() and slopes[2] == 0


def test_pure_black_can_be_certain_under_the_logistic_only():
    black, far = torch.zeros(1, 1, 1, 1), torch.full((1, 1, 1, 1), -3.0)
    assert likelihood("logistic", sigma=0.05).cost(far, black).item() < 1e-6
    assert likelihood("bernoulli").cost(far, black).item() > 1e-2


@pytest.mark.parametrize(("kind", "expected"), [("bernoulli", 0.5), ("gaussian", 0.5),
                                                ("logistic", 0.5)])  # fmt: skip
def test_a_new_decoder_stands_for_grey(kind, expected):
    assert likelihood(kind).mean(torch.zeros(1)).item() == expected
