"""The family `vae`: its contract, its loss, and what a conditional one does with classes."""

from types import SimpleNamespace

import numpy as np
import pytest
import torch
from torch.distributions import Normal, kl_divergence

from genloom.errors import GenloomError
from genloom_train.networks import pyramid
from genloom_train.testing import Blobs, check_backend
from genloom_train.training import Tensors
from genloom_vae import Vae, VaeConfig
from genloom_vae.bounds import kl
from genloom_vae.network import EncoderGraph
from genloom_vae.network import Vae as VaeNetwork
from genloom_vae.training import VaeTraining, charged

torch.set_num_threads(1)

CPU = torch.device("cpu")
SHAPE = (1, 8, 8)


@pytest.mark.parametrize(
    ("config", "shape"),
    [
        (
            VaeConfig(network="dense", latent=3, widths=(24,), conditional=True, fidelity=1.0),
            (1, 11, 7),
        ),
        (VaeConfig(latent=4, widths=(8, 8), likelihood="logistic", learn_sigma=True), (3, 16, 16)),
        (VaeConfig(latent=2, widths=(8, 8), likelihood="gaussian", free_bits=0.2), (1, 14, 10)),
        (VaeConfig(latent=2, widths=(8,), conditional=True, kl_warmup=12), (1, 8, 8)),
    ],
    ids=["dense, conditional", "logistic, colour", "gaussian, free bits", "conditional, warm-up"],
)
def test_it_keeps_the_contract_of_a_family(config, shape, tmp_path):
    card = check_backend(Vae, config, tmp_path, shape=shape)
    assert card.latent == (config.latent,)
    assert card.size.fixed == shape[1:]
    assert card.receptive_field == "global"
    assert card.conditional == config.conditional
    assert card.tensors.shapes["class_means"] == (2, config.latent)


@pytest.mark.parametrize("shape", [(1, 28, 28), (3, 32, 32), (3, 33, 17), (1, 5, 9)])
@pytest.mark.parametrize("network", ["dense", "convolutional"])
def test_the_decoder_gives_pictures_of_the_encoders_size(network, shape):
    module = VaeNetwork(VaeConfig(network=network, latent=2, widths=(8, 8, 8)), shape)
    logits, mean, _ = module(torch.rand(2, *shape), torch.zeros(2, 2))
    assert logits.shape == (2, *shape)
    assert mean.shape == (2, 2)


def test_the_kl_term_equals_torchs():
    mean, log_variance = torch.randn(5, 3), torch.randn(5, 3)
    posterior = Normal(mean, (0.5 * log_variance).exp())
    expected = kl_divergence(posterior, Normal(torch.zeros(5, 3), torch.ones(5, 3)))
    torch.testing.assert_close(kl(mean, log_variance), expected)


def training_of(**options):
    torch.manual_seed(0)
    training = VaeTraining(VaeConfig(latent=2, widths=(8,), **options), SHAPE, Blobs.labels)
    return training, training.build()


def held_out():
    return Tensors.of(Blobs(SHAPE).held_out())


def test_beta_weighs_the_kl_term():
    found = {}
    for beta in (0.0, 1.0, 4.0):
        training, module = training_of(beta=beta)
        losses = training.losses(module, held_out())
        found[beta] = losses["loss"].item()
        expected = (losses["reconstruction"] + beta * losses["kl"]).item()
        assert found[beta] == pytest.approx(expected, rel=1e-5)
    assert found[0.0] < found[1.0] < found[4.0]


@pytest.mark.parametrize("likelihood", ["bernoulli", "gaussian", "logistic"])
def test_bfloat16_changes_the_loss_little(likelihood):
    training, module = training_of(likelihood=likelihood, conditional=True, fidelity=1.0)
    found = []
    for enabled in (False, True):
        torch.manual_seed(1)
        with torch.autocast("cpu", torch.bfloat16, enabled=enabled):
            found.append(training.losses(module, held_out())["loss"])
    assert found[1].dtype == torch.float32
    torch.testing.assert_close(found[1], found[0], rtol=0.02, atol=0.5)


def test_the_kl_term_is_phased_in():
    training, module = training_of(beta=3.0, kl_warmup=10)
    assert [training.beta(step) for step in (0, 5, 10, 99)] == [0.0, 1.5, 3.0, 3.0]
    taken = {}
    for step in (0, 99):
        turn = SimpleNamespace(step=step, update=lambda _, loss, at=step: taken.update({at: loss}))
        losses = training.step(module, held_out(), turn)
        expected = losses["reconstruction"] + training.beta(step) * losses["kl"]
        torch.testing.assert_close(taken[step], expected)


def test_a_dimension_below_its_free_bits_costs_them_and_feels_no_pull():
    divergences = torch.tensor([[0.1, 2.0], [0.3, 4.0]], requires_grad=True)
    cost = charged(divergences, 0.5)
    assert cost.item() == pytest.approx(0.5 + 3.0)
    cost.backward()
    assert divergences.grad.tolist() == [[0.0, 0.5], [0.0, 0.5]]
    assert charged(divergences, 0.0).item() == pytest.approx(0.2 + 3.0)


def test_free_bits_raise_the_loss_of_a_network_that_says_nothing():
    free, module = training_of(free_bits=1.0)
    losses = free.losses(module, held_out())
    assert losses["kl"] < 0.1
    assert (losses["loss"] - losses["reconstruction"]).item() == pytest.approx(2.0, abs=1e-3)


def test_validation_is_the_elbo_whatever_beta_is_and_the_iwae_bound_is_tighter():
    training, module = training_of(beta=9.0)
    with torch.no_grad():
        figures = training.validate(module.eval(), Blobs(SHAPE).held_out(), CPU)
    assert figures["negative_elbo"] == pytest.approx(figures["reconstruction"] + figures["kl"])
    gap = figures["negative_elbo"] - figures["negative_iwae_50"]
    assert 0 < gap < figures["kl"] + 0.1


def test_a_conditional_decoder_does_as_the_label_says():
    _, module = training_of(conditional=True)
    latent = torch.randn(3, 2)
    dark, light = (torch.eye(2)[[index] * 3] for index in (0, 1))
    one, two = module.decode(latent, dark), module.decode(latent, light)
    assert not torch.allclose(one, two)
    mixed = module.decode(latent, 0.5 * (dark + light))
    assert not torch.allclose(mixed, one)


def test_a_conditional_encoder_gives_the_chances_of_the_classes():
    _, module = training_of(conditional=True)
    mean, log_variance, label = EncoderGraph(module)(torch.rand(3, *SHAPE))
    assert mean.shape == log_variance.shape == label.shape == (3, 2)
    torch.testing.assert_close(label.sum(1), torch.ones(3))


def test_the_classifier_and_the_autoencoder_do_not_feel_each_other():
    training, module = training_of(conditional=True)
    losses = training.losses(module, held_out())
    elbo = losses["reconstruction"] + losses["kl"]
    torch.testing.assert_close(losses["loss"].detach() - losses["cross_entropy"], elbo)
    module.classify(held_out().image).sum().backward()
    assert all(p.grad is not None for p in module.classifier.parameters())
    for part in (module.encoder, module.decoder):
        assert all(p.grad is None for p in part.parameters())


def test_samples_that_are_not_recognised_move_the_decoder_and_not_the_classifier():
    training, module = training_of(conditional=True, fidelity=2.0)
    losses = training.losses(module, held_out())
    elbo = losses["reconstruction"] + losses["kl"]
    rest = losses["cross_entropy"] + 2 * losses["disobedience"]
    torch.testing.assert_close(losses["loss"].detach(), elbo + rest)
    module.classify(module.decode(torch.randn(4, 2), torch.eye(2)[[0, 1, 0, 1]]), learn=False)[
        :, 0
    ].sum().backward()
    assert all(p.grad is None for p in module.classifier.parameters())
    assert all(p.grad is not None for p in module.decoder.parameters())


def test_fidelity_makes_samples_recognisable():
    found = {}
    for fidelity in (0.0, 20.0):
        training, module = training_of(conditional=True, fidelity=fidelity)
        optimiser = torch.optim.Adam(module.parameters(), 5e-3)
        for _ in range(40):
            optimiser.zero_grad()
            training.losses(module, held_out())["loss"].backward()
            optimiser.step()
        asked = torch.arange(200) % 2
        with torch.no_grad():
            drawn = module.likelihood.mean(module.decode(torch.randn(200, 2), torch.eye(2)[asked]))
            found[fidelity] = (module.classify(drawn).argmax(1) == asked).float().mean().item()
    assert found[20.0] > 0.95
    assert found[20.0] >= found[0.0]


def test_the_classifier_of_a_conditional_model_learns():
    training, module = training_of(conditional=True)
    optimiser = torch.optim.Adam(module.parameters(), 5e-3)
    for _ in range(40):
        optimiser.zero_grad()
        training.losses(module, held_out())["loss"].backward()
        optimiser.step()
    with torch.no_grad():
        assert training.validate(module.eval(), Blobs(SHAPE).held_out(), CPU)["accuracy"] == 1.0


def test_a_conditional_model_needs_classes():
    with pytest.raises(GenloomError, match="needs classes"):
        VaeTraining(VaeConfig(conditional=True), SHAPE)
    training, module = training_of(conditional=True)
    with pytest.raises(GenloomError, match="without a label"):
        training.losses(module, Tensors(held_out().image))


def test_class_means_are_the_means_of_the_encoders_means():
    training, module = training_of()
    source = Blobs(SHAPE)
    with torch.no_grad():
        found = training.tensors(module, source, CPU)["class_means"]
        everything = Tensors.of(source.batch(0, source.count, 0))
        mean = module.encode(everything.image)[0]
    for index in (0, 1):
        expected = mean[everything.label == index].mean(0).numpy()
        np.testing.assert_allclose(found[index], expected, atol=1e-5)


def test_a_learned_sigma_goes_into_the_bundle():
    training, module = training_of(likelihood="gaussian", sigma=0.25, learn_sigma=True)
    with torch.no_grad():
        tensors = training.tensors(module, Blobs(SHAPE), CPU)
    np.testing.assert_allclose(tensors["likelihood_sigma"], [0.25], rtol=1e-6)
    training, module = training_of(likelihood="gaussian")
    with torch.no_grad():
        assert "likelihood_sigma" not in training.tensors(module, Blobs(SHAPE), CPU)


@pytest.mark.parametrize("conditional", [False, True])
def test_the_preview_shows_pictures_reconstructions_and_samples(conditional):
    training, module = training_of(conditional=conditional)
    with torch.no_grad():
        pictures, row = training.preview(module.eval(), held_out())
    assert (len(pictures), row) == (16 + 16 + 32, 8)
    torch.testing.assert_close(pictures[:8], held_out().image[:8])
    assert not torch.equal(pictures[8:16], pictures[:8])


def test_levels_of_odd_size_round_up():
    assert pyramid((1, 28, 28), 3) == [(28, 28), (14, 14), (7, 7), (4, 4)]


def test_new_decoders_show_no_checkerboard():
    from genloom_train.blocks import SubPixelUp

    torch.manual_seed(0)
    made = SubPixelUp(4, 2)(torch.randn(1, 4, 6, 6))
    assert np.array_equal(made[..., ::2, ::2].detach(), made[..., 1::2, 1::2].detach())
