"""The family `noise-level`, what it learns from, and the bundle that `denoise` asks."""

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

import genloom
from genloom.errors import GenloomError, InvalidFile
from genloom.testing import FakeRun, fake_model
from genloom.types import Batch, Item, as_dtype, as_float
from genloom_denoise import NoiseLevel, NoiseLevelConfig, level, level_training, spoiling
from genloom_denoise.estimate import estimate_sigma
from genloom_denoise.level_network import NoiseLevelNetwork
from genloom_denoise.level_training import NoiseLevelTraining
from genloom_denoise.spoiling import HARMLESS, spoilt
from genloom_denoise.stages import Denoise
from genloom_train.degradations import as_in_a_file, jpeg
from genloom_train.testing import check_backend

torch.set_num_threads(1)

TINY = NoiseLevelConfig(filters=4, width=8, layers=1)
PHOTOGRAPHS = Path(genloom.__file__).parent / "demo/photographs"
NAMES = ["astronaut", "cat", "coffee", "parrot", "raccoon", "rocket"]
PLAIN = {"jpeg": 0.0, "photographic": 0.0, "exposed": 0.0, "bars": 0.0, "grey": 0.0, "clean": 0.0}


@pytest.fixture(scope="module")
def model():
    return genloom.open_model("noise-level", provider="cpu", threads=1).model


def batch_of(*pixels):
    items = [Item(key=f"{n}", name=f"{n}") for n in range(len(pixels))]
    return Batch.images(items, np.stack(pixels))


def found(model, pixels):
    return 255 * float(level.noise_levels(batch_of(pixels), model)[0])


def photograph(name, side=256):
    with Image.open(PHOTOGRAPHS / f"{name}.jpg") as image:
        pixels = np.asarray(image.convert("RGB"))
    top, left = ((length - side) // 2 for length in pixels.shape[:2])
    return pixels[top : top + side, left : left + side]


def noisy(clean, sigma, seed=0):
    noise = np.random.default_rng(seed).normal(0, sigma, clean.shape)
    return np.clip(np.rint(clean + noise), 0, 255).astype(np.uint8)


def filed(pixels, quality, full=False):
    image = torch.from_numpy(pixels.transpose(2, 0, 1)[None].astype(np.float32) / 255)
    read = jpeg(image, torch.tensor([quality]), torch.tensor([full]))[0].numpy()
    return (read.transpose(1, 2, 0) * 255).round().astype(np.uint8)


def error(one, other):
    return float(np.sqrt(np.mean((one.astype(float) - other) ** 2)))


def test_it_keeps_the_contract_of_a_family(tmp_path):
    card = check_backend(NoiseLevel, TINY, tmp_path, shape=(3, 24, 24))
    assert card.size.multiple == 8 and card.receptive_field == "global"
    assert card.precision == "fp32"


def test_the_bundle_asks_for_what_the_family_exports(model):
    exported = NoiseLevelTraining(NoiseLevelConfig(), (3, 24, 24)).card()
    assert {name: getattr(model.card, name) for name in exported} == exported


def test_crops_that_are_no_whole_cells_are_refused():
    with pytest.raises(GenloomError, match="a multiple of 8"):
        NoiseLevelTraining(TINY, (3, 20, 24))
    with pytest.raises(GenloomError, match="a multiple of 16"):
        NoiseLevelTraining(replace(TINY, reduced=0.5), (3, 24, 32))


def test_the_network_tells_a_level_for_each_picture():
    white = torch.tensor([0.1, level.UNKNOWN])
    assert NoiseLevelNetwork(TINY)(torch.rand(2, 3, 32, 48), white).shape == (2,)


def test_cells_of_one_colour_have_no_say():
    torch.manual_seed(0)
    network = NoiseLevelNetwork(TINY)
    image = 0.5 + 0.05 * torch.randn(1, 3, 64, 64)
    barred = torch.cat([image, torch.full((1, 3, 16, 64), 0.5)], 2)
    alone, with_bar = (network._statistics(one)[0] for one in (image, barred))
    torch.testing.assert_close(with_bar[:-1], alone[:-1], atol=0.25, rtol=0)
    assert alone[-1] == 1 and with_bar[-1] == pytest.approx(0.7)
    assert network._statistics(torch.full((1, 3, 32, 32), 0.5)).isfinite().all()


def test_waves_have_no_mean_and_see_white_noise_as_it_is():
    torch.manual_seed(0)
    network = NoiseLevelNetwork(NoiseLevelConfig())
    torch.testing.assert_close(network.waves.sum((1, 2, 3)), torch.zeros(32), atol=1e-5, rtol=0)
    found = network._responses(torch.randn(1, 3, 128, 128) / 255, 1)[0]
    torch.testing.assert_close(found.flatten(1).std(1), torch.ones(32), rtol=0.1, atol=0)


def test_the_verdict_goes_some_way_to_the_estimate_of_white_noise_where_there_is_one():
    network = NoiseLevelNetwork(TINY)
    image, white = torch.rand(4, 3, 32, 32), torch.tensor([0.02, 0.1, 0.3, level.UNKNOWN])
    alone = network(image, torch.full((4,), level.UNKNOWN))
    logs = (255 * white[:3] + level.OFFSET).log()
    torch.nn.init.zeros_(network.verdict.tail.weight)
    for share in (50.0, 0.0, -50.0):
        with torch.no_grad():
            network.verdict.tail.bias[0] = share
        found = network(image, white)
        way = torch.sigmoid(torch.tensor(share))
        torch.testing.assert_close(found[:3], (1 - way) * alone[:3] + way * logs)
        torch.testing.assert_close(found[3], alone[3])


def spoilt_by(**options):
    torch.manual_seed(0)
    clean = torch.rand(12, 3, 1, 1).mul(0.4).add(0.3).expand(-1, -1, 64, 64)
    noisy, sigma = spoilt(clean, NoiseLevelConfig(**{**PLAIN, **options}))
    return noisy - clean, sigma


def test_of_white_noise_the_level_is_its_deviation():
    noise, sigma = spoilt_by(sigma=30, clipped=0.5)
    torch.testing.assert_close(noise.flatten(1).std(1), sigma, rtol=0.05, atol=1e-3)
    assert sigma.min() >= 0 and sigma.max() <= 30 / 255 and sigma.std() > 0.01


def test_of_a_jpeg_file_it_is_the_error_less_what_jpeg_alone_does_to_the_picture():
    noise, sigma = spoilt_by(jpeg=1.0)
    error = noise.square().mean((1, 2, 3)).sqrt()
    assert (sigma <= error).all() and (sigma**2 >= error**2 - HARMLESS**2 - 1e-9).all()
    assert error.max() > 2 * HARMLESS


def test_small_artefacts_of_jpeg_count_as_nothing_and_large_ones_in_part():
    torch.manual_seed(0)
    clean = as_in_a_file(torch.rand(16, 3, 64, 64) * torch.rand(16, 1, 1, 1) ** 4)
    filed, sigma = spoilt(clean, NoiseLevelConfig(**{**PLAIN, "jpeg": 1.0, "clean": 1.0}))
    error = (filed - clean).square().mean((1, 2, 3)).sqrt()
    harmless = error <= HARMLESS
    assert harmless.any() and not harmless.all()
    assert not sigma[harmless].any()
    torch.testing.assert_close(sigma**2, (error**2 - HARMLESS**2).clamp_min(0))


def test_some_crops_become_fine_texture_and_of_the_others_a_part_is_taken(monkeypatch):
    torch.manual_seed(0)
    monkeypatch.setattr(spoiling, "texture", lambda clean: torch.full((3, 16, 24), 0.4))
    clean = as_in_a_file(torch.rand(16, 3, 32, 48))
    mixed, _ = spoilt(clean, NoiseLevelConfig(**{**PLAIN, "clean": 1.0, "reduced": 0.5}))
    assert mixed.shape == (16, 3, 16, 24)
    is_texture = (mixed == 0.4).flatten(1).all(1)
    parts = clean.unfold(2, 16, 1).unfold(3, 24, 1)
    is_part = (parts == mixed[:, :, None, None]).all(5).all(4).all(1).any(2).any(1)
    assert 0 < is_texture.sum() < 16 and (is_texture ^ is_part).all()


def test_training_tells_some_pictures_how_much_white_noise_there_would_be():
    torch.manual_seed(0)
    image = as_in_a_file(0.5 + 0.1 * torch.randn(4, 3, 64, 64))
    some = level_training._white(image, 0.5)
    assert (255 * some[:2]).tolist() == pytest.approx([25.5, 25.5], rel=0.1)
    assert some[2:].tolist() == [level.UNKNOWN] * 2
    assert level_training._white(image, 0.0).tolist() == [level.UNKNOWN] * 4


def test_of_photographic_noise_it_is_that_before_it_was_clipped():
    noise, sigma = spoilt_by(photographic=1.0, sigma=20)
    found = noise.square().mean((1, 2, 3)).sqrt()
    torch.testing.assert_close(found, sigma, rtol=0.05, atol=2e-3)


def test_clean_pictures_have_none():
    noise, sigma = spoilt_by(clean=1.0, clipped=0.0)
    assert not noise.any() and not sigma.any()


def test_grey_pictures_stay_grey_and_bars_have_no_noise():
    torch.manual_seed(0)
    clean = torch.rand(8, 3, 32, 32)
    one, _ = spoilt(clean, NoiseLevelConfig(**{**PLAIN, "grey": 1.0}))
    assert torch.equal(one[:, 0], one[:, 1]) and torch.equal(one[:, 1], one[:, 2])
    barred, _ = spoilt(clean, NoiseLevelConfig(**{**PLAIN, "bars": 1.0}))
    calm_rows = (barred == barred[..., :1]).all(3).all(1).any(1)
    calm_columns = (barred == barred[:, :, :1]).all(2).all(1).any(1)
    assert (calm_rows | calm_columns).all()


def test_a_small_picture_goes_whole_and_ends_with_its_mirror_image():
    pixels = np.arange(9 * 20 * 3, dtype=np.uint8).reshape(9, 20, 3)
    (crop,) = map(level._padded, level._crops(pixels))
    assert crop.shape == (16, 24, 3) and crop.dtype == np.uint8
    np.testing.assert_array_equal(crop[:9, :20], pixels)
    np.testing.assert_array_equal(crop[9:, :20], pixels[:1:-1])


def test_of_a_large_picture_a_few_crops_are_taken_in_step_with_jpeg_s_blocks():
    rows, columns = np.indices((1500, 2100), np.uint16)
    pixels = np.stack([rows, columns, rows ^ columns], axis=2)
    crops = level._crops(pixels)
    assert len(crops) == level.MOST
    assert all(crop.shape == (level.SIDE, level.SIDE, 3) for crop in crops)
    corners = {(int(crop[0, 0, 0]), int(crop[0, 0, 1])) for crop in crops}
    assert len(corners) == level.MOST
    assert all(top % 8 == left % 8 == 0 for top, left in corners)


def test_crops_lie_where_the_picture_is_not_of_one_colour():
    pixels = np.zeros((1200, 1000, 3), np.uint8)
    pixels[500:800] = np.random.default_rng(0).integers(1, 255, (300, 1000, 3))
    assert all(crop.any(axis=(1, 2)).mean() > 0.5 for crop in level._crops(pixels))


@pytest.mark.parametrize("size", [(1, 1), (2, 9), (17, 40)])
def test_the_smallest_pictures_have_an_estimate_too(model, size):
    pixels = np.random.default_rng(0).integers(90, 110, (*size, 3)).astype(np.uint8)
    assert 0 <= found(model, pixels) <= 100


def test_pictures_of_one_colour_have_no_noise(model):
    assert found(model, np.full((64, 48, 3), 90, np.uint8)) < 0.5


@pytest.mark.parametrize("sigma", [5, 15, 25, 50])
@pytest.mark.parametrize("name", ["astronaut", "coffee", "cat"])
def test_white_noise_is_found_as_it_was_before_it_was_clipped(model, name, sigma):
    assert found(model, noisy(photograph(name), sigma)) == pytest.approx(sigma, rel=0.12)


@pytest.mark.parametrize("quality", [95, 85, 75])
@pytest.mark.parametrize("full", [False, True], ids=["4:2:0", "4:4:4"])
def test_noise_in_jpeg_files_is_found(model, quality, full):
    clean = photograph("coffee")
    pixels = filed(noisy(clean, 15), quality, full)
    assert found(model, pixels) == pytest.approx(error(pixels, clean), rel=0.35)


@pytest.fixture(scope="module")
def denoised(model):
    """A picture after the stage `denoise`, which is told nothing."""
    denoiser = genloom.open_model("denoise-photo", provider="cpu", threads=1).model
    run = FakeRun({"denoise-photo": denoiser, "noise-level": model})
    return lambda pixels: as_dtype(Denoise()(batch_of(pixels), run).pixels[0], np.uint8)


@pytest.mark.parametrize("name", NAMES)
def test_clean_photographs_stay_as_they_are(denoised, name):
    clean = photograph(name)
    assert error(denoised(clean), clean) < 2.1  # 41.7 dB


def test_photographs_in_jpeg_files_of_high_quality_are_left_nearly_alone(denoised):
    lost = []
    for name in NAMES:
        clean = photograph(name)
        given = filed(clean, 95)
        lost.append(20 * np.log10(error(denoised(given), clean) / error(given, clean)))
    assert np.mean(lost) < 0.5  # dB


@pytest.mark.parametrize("name", ["astronaut", "coffee", "parrot", "raccoon", "rocket"])
def test_clean_grey_photographs_are_not_taken_for_white_noise(model, name):
    grey = np.rint(photograph(name).mean(2, keepdims=True)).astype(np.uint8)
    assert found(model, grey) < 3.5


def test_texture_that_white_noise_explains_is_left_to_the_network(model):
    grey = np.rint(photograph("raccoon").mean(2, keepdims=True)).astype(np.uint8)
    assert found(model, grey) < 0.5 * estimate_sigma(as_float(grey).transpose(2, 0, 1))
    assert 13 < found(model, noisy(grey, 15)) < 19


@pytest.mark.parametrize("side", [200, 600])
def test_what_is_transparent_is_not_looked_at(model, side):
    random = np.random.default_rng(3)
    pixels = np.clip(128 + random.normal(0, 12, (side, side, 3)), 0, 255).astype(np.uint8)
    alpha = np.zeros((side, side), np.uint8)
    alpha[:, : side // 2] = 255
    other = np.where(alpha[..., None] > 0, pixels, 255 - pixels[::-1] // 2)
    found = [
        level.noise_levels(Batch.images([Item(key="1", name="1", alpha=alpha)], one[None]), model)
        for one in (pixels, other)
    ]
    assert found[0] == found[1] and 255 * found[0] == pytest.approx(12, rel=0.3)


def test_grey_pictures_are_the_same_in_one_channel_and_in_three_and_in_16_bits(model):
    grey = noisy(photograph("cat").mean(2, keepdims=True), 20)
    one = found(model, grey)
    assert one == pytest.approx(20, rel=0.12)
    assert found(model, grey.repeat(3, axis=2)) == pytest.approx(one, rel=1e-4)
    assert found(model, grey.astype(np.uint16) * 257) == pytest.approx(one, rel=1e-4)


def test_bars_and_cut_out_parts_do_not_decide(model):
    pixels = noisy(photograph("astronaut"), 25)
    barred = np.pad(pixels, ((64, 64), (0, 0), (0, 0)))
    cut_out = pixels.copy()
    cut_out[:, 160:] = 0
    assert found(model, barred) == pytest.approx(25, rel=0.15)
    assert found(model, cut_out) == pytest.approx(25, rel=0.15)


def test_noise_is_seen_in_what_is_not_blown_out(model):
    light = np.clip(1.8 * photograph("coffee", 300).astype(float), 0, 255)
    assert found(model, noisy(light, 25)) == pytest.approx(25, rel=0.2)


def test_the_batch_changes_nothing(model):
    pictures = [noisy(photograph("cat"), sigma) for sigma in (3, 30)]
    alone = [level.noise_levels(batch_of(one), model)[0] for one in pictures]
    assert level.noise_levels(batch_of(*pictures), model).tolist() == alone


def test_the_estimator_is_asked_for_auto_only():
    told = fake_model(lambda image, noise_level: image, ports=("noise_level",))
    pixels = np.full((8, 8, 3), 0.5, np.float32)
    run = FakeRun({"denoise-photo": told})
    Denoise(sigma=10)(batch_of(pixels), run)
    Denoise(estimator=None)(batch_of(pixels), run)
    with pytest.raises(GenloomError, match="noise-level"):
        Denoise()(batch_of(pixels), run)
    asked = genloom.load_pipeline("denoise").pipeline.bundles
    assert set(asked) == {"denoise-photo", "denoise-grey", "noise-level"}
    asked = genloom.load_pipeline("denoise", {"denoise.sigma": 25}).pipeline.bundles
    assert set(asked) == {"denoise-photo", "denoise-grey"}


def test_an_estimator_that_is_none_is_refused():
    with pytest.raises(InvalidFile, match="a model with the part 'estimator'"):
        genloom.load_pipeline("denoise", {"denoise.estimator": "denoise-photo"})


def test_an_estimator_that_takes_a_picture_alone_is_refused(model):
    card = model.card
    part = card.parts["estimator"]
    old = part.model_copy(update={"inputs": {"image": part.inputs["image"]}})
    with pytest.raises(GenloomError, match="expected a network that takes image, white_level"):
        Denoise().check_model("estimator", card.model_copy(update={"parts": {"estimator": old}}))
    Denoise().check_model("estimator", card)
