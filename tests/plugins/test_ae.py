"""The family `ae`: its contract, its corruptions and losses, and the mixture it is sampled with."""

import dataclasses
from types import SimpleNamespace

import numpy as np
import pytest
import torch
from torch.nn import functional

import genloom
from genloom import Item
from genloom.card import Card, Part
from genloom.engine.compiling import runtime_named
from genloom.engine.verify import verify
from genloom.errors import ModelError
from genloom.models import Bundle
from genloom.types import random_state
from genloom_ae import Ae, AeConfig
from genloom_ae.mixture import CHOLESKY, FULL, MEANS, NAMES, WEIGHTS, Mixture, fit
from genloom_ae.network import Ae as AeNetwork
from genloom_ae.network import corrupt
from genloom_ae.training import AeTraining
from genloom_train.recipe import read_recipe, shipped_recipes
from genloom_train.testing import Blobs, check_backend
from genloom_train.training import Tensors

torch.set_num_threads(1)

CORRUPTIONS = ("noise", "masking", "salt-and-pepper")
CPU = torch.device("cpu")
TINY = AeConfig(network="dense", latent=3, widths=(24, 12), components=2)


@pytest.fixture(scope="module")
def bundle(tmp_path_factory):
    """The folder of a dense autoencoder that was trained for a moment."""
    folder = tmp_path_factory.mktemp("dense")
    check_backend(Ae, TINY, folder, shape=(1, 11, 7))
    return folder / "tiny"


@pytest.fixture
def mixture():
    """Two components in two dimensions, one round and light, one long, tilted and heavy."""
    cholesky = np.array([[[0.5, 0], [0, 0.5]], [[2, 0], [1, 0.3]]], np.float32)
    means = np.array([[-4, 0], [5, 1]], np.float32)
    return {WEIGHTS: np.array([0.3, 0.7], np.float32), MEANS: means, CHOLESKY: cholesky}


@pytest.fixture
def draw(mixture):
    """Draws latents from a mixture through the family's prior."""

    def many(count, tensors=mixture, latent=(2,), seed=0, **options):
        items = [Item(key=f"sample-{n:06d}", name="sample") for n in range(count)]
        random = [random_state(seed, "sample", item.key) for item in items]
        return Ae().prior(model_with(tensors, latent), items, random, **options).values

    return many


def model_with(tensors, latent=(2,)):
    part = Part(file="decoder.onnx", sha256="0" * 64, opset=18, inputs={}, outputs={})
    card = Card(name="mine", family="ae", channels=1, latent=latent, parts={"decoder": part})
    return SimpleNamespace(card=card, tensors=tensors, digest="d")


@pytest.mark.parametrize(
    ("config", "shape"),
    [
        (AeConfig(latent=4, widths=(8, 8)), (3, 16, 16)),
        (
            AeConfig(latent=2, widths=(8,), loss="cross-entropy", corruption="masking", clean=0.2),
            (1, 10, 7),
        ),
    ],
    ids=["convolutional, colour", "denoising, cross-entropy, odd size"],
)
def test_it_keeps_the_contract_of_a_family(config, shape, tmp_path):
    card = check_backend(Ae, config, tmp_path, shape=shape)
    assert card.latent == (config.latent,)
    assert card.size.fixed == shape[1:]
    assert card.receptive_field == "global"
    assert list(card.parts["encoder"].outputs) == ["latent"]
    assert card.tensors.shapes["class_means"] == (2, config.latent)


@pytest.mark.parametrize("shape", [(1, 28, 28), (3, 33, 17), (1, 5, 9)])
@pytest.mark.parametrize("network", ["dense", "convolutional"])
def test_the_decoder_gives_pictures_of_the_encoders_size(network, shape):
    module = AeNetwork(AeConfig(network=network, latent=2, widths=(8, 8, 8)), shape)
    assert module.encode(torch.rand(2, *shape)).shape == (2, 2)
    assert module(torch.rand(2, *shape)).shape == (2, *shape)


def test_the_encoder_clips_noise_as_a_file_does():
    module = AeNetwork(TINY, (1, 4, 4))
    noisy = 3 * torch.randn(5, 1, 4, 4)
    assert torch.equal(module.encode(noisy), module.encode(noisy.clamp(0, 1)))
    assert not torch.equal(module.encode(noisy), module.encode(noisy.clamp(0, 0.9)))


def test_noise_has_the_standard_deviation_asked_for():
    torch.manual_seed(0)
    clean = torch.rand(20, 3, 40, 40)
    noise = corrupt(clean, "noise", 0.3) - clean
    assert noise.std().item() == pytest.approx(0.3, rel=0.02)
    assert noise.mean().item() == pytest.approx(0, abs=0.005)
    assert noise.flatten(1).std(1).min() > 0.28, "some picture was left out"


def test_masking_blackens_the_share_asked_for_and_nothing_else():
    torch.manual_seed(0)
    clean = 0.1 + 0.9 * torch.rand(20, 1, 40, 40)
    masked = corrupt(clean, "masking", 0.25)
    black = masked == 0
    assert black.float().mean().item() == pytest.approx(0.25, abs=0.01)
    assert torch.equal(masked[~black], clean[~black])
    assert not torch.equal(black[0], black[1])


def test_salt_and_pepper_are_as_likely_and_leave_the_rest_alone():
    torch.manual_seed(0)
    clean = 0.1 + 0.8 * torch.rand(20, 1, 40, 40)
    peppered = corrupt(clean, "salt-and-pepper", 0.4)
    assert (peppered == 0).float().mean().item() == pytest.approx(0.2, abs=0.01)
    assert (peppered == 1).float().mean().item() == pytest.approx(0.2, abs=0.01)
    rest = (peppered > 0) & (peppered < 1)
    assert torch.equal(peppered[rest], clean[rest])


@pytest.mark.parametrize("corruption", ["none", *CORRUPTIONS])
def test_a_corruption_of_amount_0_and_none_leave_pictures_alone(corruption):
    clean = torch.rand(2, 1, 6, 6)
    amount = 0.7 if corruption == "none" else 0.0
    assert torch.equal(corrupt(clean, corruption, amount), clean)


@pytest.mark.parametrize("corruption", CORRUPTIONS)
def test_the_input_is_corrupted_and_the_target_is_clean(corruption):
    training = AeTraining(dataclasses.replace(TINY, corruption=corruption), (1, 8, 8))
    seen = []

    def blank(image):
        seen.append(image)
        return torch.zeros_like(image)

    clean = 0.1 + 0.8 * torch.rand(4, 1, 8, 8)
    found = training.losses(blank, Tensors(clean))["loss"]
    assert not torch.equal(seen[0], clean)
    torch.testing.assert_close(found, (0.5 - clean).square().sum((1, 2, 3)).mean())


@pytest.mark.parametrize("share", [0.0, 0.3, 1.0])
def test_the_share_of_clean_pictures_is_left_alone_whole(share):
    config = dataclasses.replace(TINY, corruption="noise", clean=share)
    torch.manual_seed(0)
    clean = torch.rand(2000, 1, 3, 3)
    same = AeTraining(config, (1, 3, 3)).seen(clean) == clean
    whole = same.flatten(1).all(1)
    assert torch.equal(same.flatten(1).any(1), whole)
    assert whole.float().mean().item() == pytest.approx(share, abs=0.03 if 0 < share < 1 else 0)


def test_mse_is_the_squared_error_summed_over_a_picture():
    training = AeTraining(AeConfig(loss="mse"), (1, 2, 2))
    image, logits = torch.rand(3, 1, 2, 2), torch.randn(3, 1, 2, 2)
    expected = 4 * functional.mse_loss(torch.sigmoid(logits), image, reduction="none").mean(
        (1, 2, 3)
    )
    torch.testing.assert_close(training.error(logits, image), expected)


def test_cross_entropy_takes_grey_values_as_targets():
    training = AeTraining(AeConfig(loss="cross-entropy"), (1, 2, 2))
    image, logits = torch.rand(3, 1, 2, 2), torch.randn(3, 1, 2, 2)
    made = torch.sigmoid(logits)
    expected = -(image * made.log() + (1 - image) * (1 - made).log()).sum((1, 2, 3))
    torch.testing.assert_close(training.error(logits, image), expected)


def test_validation_is_of_clean_pictures_and_adds_what_was_restored():
    shape = (1, 8, 8)
    samples = Blobs(shape).held_out()
    found = {}
    for corruption in ("none", "salt-and-pepper"):
        config = dataclasses.replace(TINY, corruption=corruption, loss="cross-entropy")
        training = AeTraining(config, shape)
        torch.manual_seed(1)
        module = training.build()
        with torch.no_grad():
            found[corruption] = training.validate(module, samples, CPU)
            again = torch.sigmoid(module(torch.from_numpy(samples.image)))
    errors = (again.numpy() - samples.image) ** 2
    plain = found["none"]
    assert set(plain) == {"mse", "psnr", "reconstruction"}
    assert plain["mse"] == pytest.approx(errors.mean(), rel=1e-5)
    psnr = -10 * np.log10(errors.mean((1, 2, 3))).mean()
    assert plain["psnr"] == pytest.approx(psnr, rel=1e-5)
    denoising = found["salt-and-pepper"]
    assert {name: denoising[name] for name in plain} == pytest.approx(plain)
    assert set(denoising) - set(plain) == {"psnr_corrupted", "psnr_restored"}
    assert denoising["psnr_corrupted"] < 10


def test_the_preview_shows_what_the_network_saw_where_that_was_corrupted():
    image = torch.from_numpy(Blobs((1, 8, 8), 20).held_out().image)
    for corruption, kinds in (("none", 2), ("masking", 3)):
        training = AeTraining(dataclasses.replace(TINY, corruption=corruption), (1, 8, 8))
        pictures, row = training.preview(training.build(), Tensors(image))
        assert (len(pictures), row) == (kinds * 16, 8)
        assert torch.equal(pictures[:8], image[:8])
        assert torch.equal(pictures[8 * kinds :][:8], image[8:])


def test_many_draws_have_the_mean_and_covariance_of_the_mixture(draw, mixture):
    latents = draw(8000)
    assert (latents.dtype, latents.shape) == (np.float32, (8000, 2))
    left = latents[:, 0] < -1.5  # nearly all of the round component, nearly none of the other
    assert left.mean() == pytest.approx(0.3, abs=0.02)
    for group, mean, factor in zip((left, ~left), mixture[MEANS], mixture[CHOLESKY], strict=True):
        np.testing.assert_allclose(latents[group].mean(0), mean, atol=0.06)
        np.testing.assert_allclose(np.cov(latents[group].T), factor @ factor.T, atol=0.15)


def test_temperature_0_gives_the_means_of_the_components_by_weight(draw, mixture):
    latents = draw(2000, temperature=0.0)
    found, counts = np.unique(latents, axis=0, return_counts=True)
    np.testing.assert_array_equal(found, mixture[MEANS])
    np.testing.assert_allclose(counts / 2000, mixture[WEIGHTS], atol=0.03)


def test_temperature_scales_the_distance_from_the_mean(draw):
    still, one, two = (draw(50, temperature=t) for t in (0.0, 1.0, 2.0))
    np.testing.assert_allclose(two - still, 2 * (one - still), rtol=1e-4, atol=1e-5)


def test_truncation_bounds_the_standard_normal_behind_a_latent(draw, mixture):
    away = draw(1000, truncation=0.5) - draw(1000, temperature=0.0)
    heavy = draw(1000, temperature=0.0)[:, 0] > 0
    noise = np.linalg.solve(mixture[CHOLESKY][1], away[heavy].T)
    assert np.abs(noise).max() == pytest.approx(0.5, abs=0.01)


def test_a_diagonal_covariance_spreads_each_dimension_by_itself(draw, mixture):
    diagonal = np.array([[0.5, 0.1], [2, 1]], np.float32)
    full = np.stack([np.diag(row) for row in diagonal])
    one, other = (draw(200, tensors={**mixture, CHOLESKY: c}) for c in (diagonal, full))
    np.testing.assert_allclose(one, other, rtol=1e-6)


def test_a_latent_depends_on_its_item_alone_and_on_the_seed(draw):
    np.testing.assert_array_equal(draw(9)[:4], draw(4))
    assert not np.array_equal(draw(4), draw(4, seed=1))


def test_latents_get_the_shape_of_the_card(draw):
    tensors = fit(np.random.default_rng(0).standard_normal((100, 2, 3)), 2, 0)
    assert tensors[MEANS].shape == (2, 6)
    assert draw(5, tensors=tensors, latent=(2, 3)).shape == (5, 2, 3)


@pytest.mark.parametrize("missing", NAMES)
def test_a_bundle_without_a_mixture_says_why_it_cannot_be_sampled_from(draw, mixture, missing):
    del mixture[missing]
    with pytest.raises(ModelError, match=r"'mine' cannot be sampled from.*no prior") as caught:
        draw(1, tensors=mixture)
    assert missing in caught.value.expected
    assert missing not in caught.value.got
    assert "genloom train" in caught.value.hint


@pytest.mark.parametrize("name", NAMES)
def test_a_mixture_of_another_shape_is_refused_by_the_name_of_the_tensor(draw, mixture, name):
    mixture[name] = mixture[name][:1] if name != WEIGHTS else np.ones((2, 1), np.float32)
    with pytest.raises(ModelError, match=f"'{name}' of shape"):
        draw(1, tensors=mixture)


def test_a_mixture_for_another_latent_space_is_refused(draw, mixture):
    with pytest.raises(ModelError, match=r"does not fit its latents.*\(2, 3\)"):
        draw(1, tensors=mixture, latent=(3,))


@pytest.mark.parametrize("scale", [1.0, 1e-3, 1e4])
def test_a_fit_finds_the_mixture_that_made_the_latents_at_any_scale(draw, mixture, scale):
    fitted = fit(draw(4000) * np.float32(scale), 2, 0)
    order = np.argsort(fitted[WEIGHTS])
    np.testing.assert_allclose(fitted[WEIGHTS][order], mixture[WEIGHTS], atol=0.03)
    np.testing.assert_allclose(fitted[MEANS][order] / scale, mixture[MEANS], atol=0.15)
    np.testing.assert_allclose(fitted[CHOLESKY][order] / scale, mixture[CHOLESKY], atol=0.15)


def test_the_same_seed_gives_the_same_fit_bit_for_bit():
    latents = np.random.default_rng(3).standard_normal((400, 3)).astype(np.float32)
    one, same, other = (fit(latents, 4, seed) for seed in (5, 5, 6))
    assert all(np.array_equal(one[name], same[name]) for name in NAMES)
    assert not np.array_equal(one[MEANS], other[MEANS])


@pytest.mark.parametrize(
    ("count", "dimensions", "components"), [(3, 16, 1), (40, 4, 8), (500, 4, 10), (9, FULL + 1, 4)]
)
def test_few_latents_get_few_components(count, dimensions, components):
    latents = np.random.default_rng(0).standard_normal((count, dimensions))
    fitted = fit(latents.astype(np.float32), 10, 0)
    assert fitted[MEANS].shape == (components, dimensions)
    square = (dimensions,) if dimensions <= FULL else ()
    assert fitted[CHOLESKY].shape == (components, dimensions, *square)


def test_a_dimension_that_never_changes_is_drawn_as_it_was(draw):
    latents = np.random.default_rng(0).standard_normal((200, 2)).astype(np.float32)
    latents[:, 1] = 7
    drawn = draw(50, tensors=fit(latents, 3, 0))
    assert drawn[:, 0].std() > 0.5
    np.testing.assert_allclose(drawn[:, 1], 7, rtol=1e-6)


def test_the_mixture_of_a_bundle_is_fitted_to_the_latents_of_its_training_data(bundle):
    model = genloom.open_model(bundle, provider="cpu")
    source = Blobs((1, 11, 7))
    pictures = source.batch(0, source.count, 0).image.transpose(0, 2, 3, 1)
    latents = model.encode(np.ascontiguousarray(pictures))
    tensors = model.model.tensors
    mean = tensors[WEIGHTS] @ tensors[MEANS]
    np.testing.assert_allclose(mean, latents.mean(0), atol=1e-3 * np.abs(latents).max())


def test_a_bundle_passes_verify_and_is_sampled_without_its_training_side(bundle, catalog):
    opened = Bundle.open(bundle)
    assert list(verify(opened, catalog, runtime_named(catalog, "onnxruntime"))) == []
    shapes = opened.card.tensors.shapes
    assert (shapes[WEIGHTS], shapes[MEANS], shapes[CHOLESKY]) == ((2,), (2, 3), (2, 3, 3))
    model = genloom.open_model(bundle, provider="cpu")
    means = model.decode(model.model.tensors[MEANS])
    for picture in model.sample(6, seed=1, temperature=0.0):
        assert any(np.allclose(picture, mean, atol=1e-5) for mean in means)


def test_a_mixture_read_from_a_bundle_draws_what_the_prior_draws(bundle):
    model = genloom.open_model(bundle, provider="cpu").model
    item = Item(key="sample-000000", name="sample")
    drawn = Mixture.of(model).draw(random_state(4, "sample", item.key), 1.0, None)
    batch = model.prior([item], [random_state(4, "sample", item.key)])
    np.testing.assert_array_equal(batch.values[0], drawn)
    assert batch.model == model.digest


@pytest.fixture(scope="module")
def twins():
    """The three recipes, read with the installed plugins."""
    from genloom.catalog import Catalog

    catalog, paths = Catalog.load(), shipped_recipes()
    names = ("twin-ae", "twin-vae-without-kl", "twin-vae")
    return [read_recipe(paths[name], catalog) for name in names]


def test_the_twins_differ_in_one_thing_only(twins):
    plain, without, variational = (recipe.resolved() for recipe in twins)
    assert plain["train"] == without["train"] == variational["train"]
    assert plain["data"] == without["data"] == variational["data"]
    assert (without["model"]["beta"], variational["model"]["beta"]) == (0, 1)
    assert {**without["model"], "beta": 1} == variational["model"]
    for option in ("network", "latent", "widths"):
        assert plain["model"][option] == without["model"][option]
    assert plain["model"]["latent"] == 2
    assert (plain["model"]["loss"], plain["model"]["corruption"]) == ("cross-entropy", "none")
    assert without["model"]["likelihood"] == "bernoulli"


def test_the_twins_have_the_same_network_but_for_the_log_variance(twins):
    from genloom.catalog import Catalog

    catalog, shape = Catalog.load(), (1, 28, 28)
    plain, *others = (
        catalog.backend(recipe.family).training()(recipe.model, shape).build() for recipe in twins
    )
    own = {name: tuple(value.shape) for name, value in plain.state_dict().items()}
    *_, head_weight, head_bias = [name for name in own if name.startswith("encoder")]
    for other in others:
        shapes = {name: tuple(value.shape) for name, value in other.state_dict().items()}
        assert shapes[head_weight] == (2 * own[head_weight][0], own[head_weight][1])
        assert shapes[head_bias] == (2 * own[head_bias][0],)
        heads = {head_weight: own[head_weight], head_bias: own[head_bias]}
        assert {**shapes, **heads} == own
