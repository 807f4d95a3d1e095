"""The stages `denoise` and `noise`, and the estimate of the noise."""

import numpy as np
import pytest
from PIL import Image, ImageDraw

import genloom
from genloom.errors import GenloomError, OptionError
from genloom.options import check, options_of
from genloom.testing import FakeRun, check_stage, fake_model
from genloom.types import Batch, Item
from genloom_denoise.estimate import estimate_sigma
from genloom_denoise.stages import Denoise, Noise


def darker(image, noise_level):
    """A network whose result tells the level it was given."""
    return image - noise_level[:, None, None, None]


def run_with(network=darker):
    models = ("denoise-photo", "denoise-grey")
    return FakeRun({name: fake_model(network, ports=("noise_level",)) for name in models})


def pictures(count=2, channels=3, level=0.5):
    pixels = np.full((count, 12, 10, channels), level, np.float32)
    return Batch.images([Item(key=f"{n}", name=f"{n}") for n in range(count)], pixels)


def photograph(size=160):
    """Smooth shapes, edges and some texture, C×H×W, away from black and white."""
    y, x = np.mgrid[:size, :size] / size
    grey = 0.45 + 0.15 * np.sin(7 * x + 3 * y) + 0.1 * ((x - 0.5) ** 2 + (y - 0.4) ** 2 < 0.09)
    grey = grey + 0.04 * np.sin(60 * x) * np.sin(80 * y) * (x > 0.6)
    return np.stack([grey, grey * 0.9, grey * 0.8 + 0.05]).astype(np.float32)


@pytest.mark.parametrize("sigma", [0.0, 15, 100])
def test_the_network_is_told_sigma_in_units_of_full_scale(sigma):
    result = Denoise(sigma=sigma)(pictures(), run_with())
    np.testing.assert_allclose(result.data, 0.5 - sigma / 255, atol=1e-6)


@pytest.mark.parametrize("strength", [0.0, 0.25, 1.0])
def test_strength_blends_from_the_picture_to_the_result(strength):
    result = Denoise(sigma=51, strength=strength)(pictures(), run_with())
    np.testing.assert_allclose(result.data, 0.5 - strength * 0.2, atol=1e-6)


def test_strength_zero_changes_nothing_and_asks_no_model():
    batch = pictures()
    assert Denoise(strength=0)(batch, FakeRun()) is batch


def test_grey_pictures_stay_grey():
    result = Denoise(sigma=25)(pictures(channels=1), run_with())
    assert result.pixels.shape == (2, 12, 10, 1)


@pytest.mark.parametrize(
    ("options", "colour", "grey"),
    [
        ({}, "denoise-photo", "denoise-grey"),
        ({"model": "own"}, "own", "own"),
        ({"grey": "own"}, "denoise-photo", "own"),
        ({"model": "own", "grey": "denoise-grey"}, "own", "denoise-grey"),
    ],
)
def test_grey_pictures_have_a_network_of_their_own_unless_one_was_named(options, colour, grey):
    names = ("own", "denoise-photo", "denoise-grey")
    run = FakeRun({name: fake_model(darker, ports=("noise_level",)) for name in names})
    stage = Denoise(sigma=25, **options).with_options(ensemble=1)
    for channels, name in ((3, colour), (1, grey)):
        stage(pictures(channels=channels), run)
        assert [one for one in names if run.models[one].calls] == [name]
        run.models[name].calls.clear()


def test_auto_gives_each_picture_its_own_level():
    random = np.random.default_rng(0)
    noisy = np.stack(
        [photograph() + s / 255 * random.standard_normal((3, 160, 160)) for s in (5, 30)]
    )
    batch = pictures().with_data(noisy.astype(np.float32))
    levels = 255 * Denoise(sigma="auto", estimator=None).levels(batch, FakeRun())
    assert levels == pytest.approx([5, 30], rel=0.08)


@pytest.mark.parametrize("sigma", [5, 10, 15, 25, 40])
@pytest.mark.parametrize("channels", [1, 3])
def test_the_estimate_is_near_the_truth_on_clipped_noise(sigma, channels):
    random = np.random.default_rng(sigma)
    clean = photograph()[:channels]
    noisy = clean + sigma / 255 * random.standard_normal(clean.shape)
    filed = np.round(np.clip(noisy, 0, 1) * 255) / 255
    assert estimate_sigma(filed.astype(np.float32)) == pytest.approx(sigma, rel=0.08)


@pytest.mark.parametrize("shade", [1.0, 0.4])
def test_strong_noise_is_estimated_as_it_was_before_it_was_clipped(shade):
    random = np.random.default_rng(1)
    noise = 50 / 255 * random.standard_normal((3, 160, 160))
    noisy = (shade * photograph() + noise).astype(np.float32)
    filed = np.round(np.clip(noisy, 0, 1) * 255) / 255
    assert filed.std() < 0.99 * noisy.std()
    assert estimate_sigma(filed.astype(np.float32)) == pytest.approx(50, rel=0.06)
    assert estimate_sigma(noisy) == pytest.approx(50, rel=0.06)


def test_print_on_white_paper_is_not_taken_for_noise():
    page = Image.new("L", (300, 200), 255)
    for row in range(4, 196, 14):
        ImageDraw.Draw(page).text((4, row), "print on white paper, line after line", fill=0)
    clean = np.asarray(page, np.float32)[None] / 255
    assert estimate_sigma(clean) < 1
    noisy = clean + 20 / 255 * np.random.default_rng(0).standard_normal(clean.shape)
    assert 15 < estimate_sigma(noisy.clip(0, 1).astype(np.float32)) < 30


@pytest.mark.parametrize("size", [(300, 200), (500, 300)])
def test_print_on_tinted_paper_is_not_taken_for_noise(size):
    page = Image.new("L", size, 240)
    for row in range(4, size[1] - 14, 15):
        ImageDraw.Draw(page).text((4, row), "print on paper that is not quite white", fill=40)
    assert estimate_sigma(np.asarray(page, np.float32)[None] / 255) < 1


@pytest.mark.parametrize("shade", [0.0, 0.3, 1.0])
@pytest.mark.parametrize("share", [0.25, 0.35, 0.6])
def test_flat_bars_leave_the_estimate_as_it_is(shade, share):
    random = np.random.default_rng(4)
    noisy = photograph(240) + 25 / 255 * random.standard_normal((3, 240, 240))
    filed = (np.round(np.clip(noisy, 0, 1) * 255) / 255).astype(np.float32)
    bar = round(240 * share / (1 - share) / 2)
    barred = np.pad(filed, ((0, 0), (bar, bar), (0, 0)), constant_values=shade)
    assert estimate_sigma(barred) == pytest.approx(25, rel=0.08)


def test_a_blown_out_sky_leaves_the_estimate_near_the_truth():
    random = np.random.default_rng(5)
    clean = photograph(240)
    clean[:, :160] += np.linspace(1.5, 0, 160)[:, None]
    noisy = clean + 25 / 255 * random.standard_normal(clean.shape)
    filed = (np.round(np.clip(noisy, 0, 1) * 255) / 255).astype(np.float32)
    assert ((filed == 1).all(axis=0)).mean() > 0.25
    assert estimate_sigma(filed) == pytest.approx(25, rel=0.15)


@pytest.mark.parametrize(("size", "shown"), [(160, 50), (19, 12)])
def test_transparent_pixels_are_no_part_of_the_estimate(size, shown):
    random = np.random.default_rng(6)
    noise = 25 / 255 * random.standard_normal((size, size, 3))
    alpha = np.zeros((size, size), np.uint8)
    alpha[:, :shown] = 255
    pixels = np.where(alpha[..., None] > 0, 0.5 + noise, 0.5 + 0.4 * np.sign(noise))
    batch = Batch.images([Item(key="1", name="1", alpha=alpha)], pixels[None].astype(np.float32))
    assert 255 * Denoise(estimator=None).levels(batch, FakeRun({}))[0] == pytest.approx(
        25, rel=0.15
    )
    hidden = Batch.images(
        [Item(key="1", name="1", alpha=0 * alpha)], pixels[None].astype(np.float32)
    )
    assert Denoise(estimator=None).levels(hidden, FakeRun({}))[0] == 0


def with_range(highest):
    model = run_with().model("denoise-photo")
    ports = dict(model.card.parts["network"].inputs)
    ports["noise_level"] = ports["noise_level"].model_copy(update={"range": (0, highest)})
    part = model.card.parts["network"].model_copy(update={"inputs": ports})
    return model.card.model_copy(update={"parts": {"network": part}})


def test_noise_beyond_what_a_network_was_trained_on_is_refused_when_told():
    card = with_range(55 / 255)
    Denoise(sigma=55).check_model("model", card)
    with pytest.raises(OptionError, match=r"at most 55") as error:
        Denoise(sigma=60).check_model("model", card)
    assert error.value.option == "sigma"


def test_the_estimate_of_a_clean_picture_is_near_zero():
    assert estimate_sigma(photograph()) < 1


def test_a_grey_picture_in_three_channels_counts_once():
    random = np.random.default_rng(3)
    noisy = (photograph()[:1] + 20 / 255 * random.standard_normal((1, 160, 160))).astype(np.float32)
    assert estimate_sigma(noisy.repeat(3, axis=0)) == estimate_sigma(noisy)


@pytest.mark.parametrize("value", [0.0, 0.5, 1.0])
def test_the_estimate_of_one_flat_colour_is_zero(value):
    assert estimate_sigma(np.full((3, 64, 64), value, np.float32)) == pytest.approx(0, abs=1e-3)


@pytest.mark.parametrize("size", [(1, 1), (2, 9), (3, 3), (19, 40), (23, 24)])
def test_small_pictures_have_an_estimate_too(size):
    random = np.random.default_rng(0)
    picture = (0.5 + 10 / 255 * random.standard_normal((3, *size))).astype(np.float32)
    assert 0 <= estimate_sigma(picture) <= 40


def test_noise_has_the_sigma_asked_for_and_the_seed_decides_it():
    batch = pictures().with_data(np.full((2, 3, 80, 80), 0.5, np.float32))
    one, two = (Noise(sigma=25)(batch, FakeRun(seed=seed)).data for seed in (1, 2))
    assert 255 * (one - 0.5).std(axis=(1, 2, 3)) == pytest.approx([25, 25], rel=0.05)
    assert np.array_equal(one, Noise(sigma=25)(batch, FakeRun(seed=1)).data)
    assert not np.array_equal(one, two)
    assert not np.array_equal(one[0], one[1])


def test_noise_does_not_depend_on_the_batch():
    batch = pictures()
    together = Noise()(batch, FakeRun()).data
    alone = [Noise()(one, FakeRun()).data for one in batch]
    np.testing.assert_array_equal(together, np.concatenate(alone))


@pytest.mark.parametrize("bad", [{"sigma": -1}, {"sigma": "much"}, {"sigma": 101}, {"strength": 2}])
def test_values_out_of_range_are_refused(bad):
    assert check(Denoise, bad)[1]


def test_the_options_say_what_they_mean():
    described = options_of(Denoise)
    assert "8-bit" in described["sigma"].description
    assert described["model"].model.parts == ("network",)


def test_the_stages_keep_the_contract():
    check_stage(Noise)
    check_stage(Denoise, run_with(), sigma=20)
    run = run_with()
    run.models["noise-level"] = genloom.open_model("noise-level", provider="cpu", threads=1).model
    check_stage(Denoise, run, strength=0.5)


def test_a_network_that_is_not_told_the_level_gets_none():
    run = FakeRun({"blind": fake_model(lambda image: image * 0.5, name="blind")})
    result = Denoise(model="blind", strength=0.5)(pictures(), run)
    np.testing.assert_allclose(result.data, 0.375, atol=1e-6)
    card = run.models["blind"].card
    Denoise(model="blind").check_model("model", card)
    with pytest.raises(OptionError, match="cannot be told; expected sigma: auto, got 25") as error:
        Denoise(model="blind", sigma=25).check_model("model", card)
    assert error.value.option == "sigma"


def test_a_network_that_enlarges_is_sent_to_the_stage_that_takes_it():
    card = fake_model(name="other", scale=2).card
    with pytest.raises(GenloomError, match=r"'other' enlarges.*`upscale` takes it"):
        Denoise(model="other").check_model("model", card)


@pytest.mark.parametrize("options", [{"ports": ("noise_level", "style")}])
def test_a_network_that_is_no_denoiser_is_refused(options):
    card = fake_model(name="other", **options).card
    with pytest.raises(GenloomError, match="'other' is no denoiser"):
        Denoise(model="other").check_model("model", card)


@pytest.mark.parametrize(
    ("model", "said"),
    [
        ("denoise-render", "'denoise-render' knows albedo, normal"),
        ("denoise-photo", "'denoise-photo' knows no guides"),
    ],
)
def test_a_guide_that_no_network_looks_at_is_noted(model, said):
    run = FakeRun({model: genloom.open_model(model, provider="cpu", threads=1).model})
    guides = {"albdo": np.zeros((12, 10, 3), np.uint8)}
    batch = pictures(1).with_items([Item(key="1", name="1", guides=guides)])
    stage = Denoise(model=model, sigma="auto" if model == "denoise-render" else 20)
    assert stage(batch, run).items[0].notes == (f"its guide 'albdo' is not used: {said}",)
