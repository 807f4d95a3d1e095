"""How near a restored picture is to the true one: figures against values known otherwise."""

import math

import numpy as np
import pytest
import torch
from PIL import Image

from genloom import imaging
from genloom.demo import PHOTOGRAPHS
from genloom.errors import GenloomError, MissingRequirement
from genloom_train import weights
from genloom_train.evaluation import perceptual
from genloom_train.evaluation.fidelity import (
    fidelity,
    gradient_distance,
    psnr_y,
    without_border,
)
from genloom_train.evaluation.patterns import dotted_lines, grid_energy


def picture(seed=0, size=(48, 40), channels=3, noise=6):
    """Smooth, with some noise."""
    random = np.random.default_rng(seed)
    y, x = np.mgrid[: size[0], : size[1]] / 12
    smooth = 128 + 50 * np.sin(x) + 40 * np.cos(y + 0.5 * x)
    values = smooth[..., None] + random.normal(0, noise, (*size, channels))
    return np.clip(values, 20, 235).astype(np.uint8)


def test_an_error_of_ten_everywhere_is_28_dB():  # noqa: N802
    truth = picture()
    found = fidelity(truth + np.uint8(10), truth)
    assert found["psnr"] == pytest.approx(20 * math.log10(255 / 10), abs=1e-4)
    # Y spans 219 of 255 levels.
    assert found["psnr_y"] == pytest.approx(20 * math.log10(255 / 10 * 255 / 219), abs=1e-4)
    assert found["gradient_distance"] == pytest.approx(0, abs=1e-9)


def test_psnr_of_y_weighs_colours_as_bt_601_does():
    truth = np.full((8, 8, 3), 100, np.uint8)
    for channel, weight in enumerate((65.481, 128.553, 24.966)):
        result = truth.copy()
        result[..., channel] += 20
        expected = 20 * math.log10(255 / (weight * 20 / 255))
        assert psnr_y(result, truth) == pytest.approx(expected, abs=1e-3)


def test_ssim_of_pictures_without_structure_is_the_formula_s():
    """Wang et al. 2004, equation 6, where both variances are 0."""
    one, other = (np.full((32, 32, 1), level, np.uint8) for level in (51, 102))
    c = 0.01**2
    expected = (2 * 0.2 * 0.4 + c) / (0.2**2 + 0.4**2 + c)
    assert fidelity(one, other)["ssim"] == pytest.approx(expected, abs=1e-5)


def test_equal_pictures_get_the_best_of_everything():
    found = fidelity(picture(), picture(), scale=2)
    assert found == {
        "psnr": 120.0, "psnr_y": 120.0, "ssim": pytest.approx(1), "gradient_distance": 0,
        "checkerboard": 1, "dotted": pytest.approx(0.9, abs=0.1),
    }  # fmt: skip


def test_grey_pictures_have_no_figure_of_y():
    assert "psnr_y" not in fidelity(picture(channels=1), picture(1, channels=1))


def test_what_is_cut_off_is_not_looked_at():
    truth, result = picture(), picture()
    result[:3], result[-3:], result[:, :3], result[:, -3:] = 0, 0, 0, 0
    assert fidelity(result, truth)["psnr"] < 20
    assert fidelity(result, truth, border=3)["psnr"] == 120
    assert fidelity(result, truth, border=2)["psnr"] < 40


def test_a_border_that_leaves_nothing_is_refused():
    with pytest.raises(GenloomError, match=r"too small.*at least 48 pixels.*--border 0"):
        without_border(picture(), 20)


def test_blur_and_noise_both_change_the_distribution_of_gradients():
    truth = picture()
    values = truth.astype(float)
    blurred = values + np.roll(values, 1, 0) + np.roll(values, 1, 1) + np.roll(values, 1, (0, 1))
    noisy = np.clip(values + np.random.default_rng(5).normal(0, 9, values.shape), 0, 255)
    little = np.clip(values + np.random.default_rng(5).normal(0, 2, values.shape), 0, 255)
    distance = {
        name: gradient_distance(one.astype(np.uint8), truth)
        for name, one in {"blurred": blurred / 4, "noisy": noisy, "little": little}.items()
    }
    assert distance["little"] < 0.3 * distance["noisy"]
    assert distance["blurred"] > 1


def test_gradients_count_by_their_distribution_and_not_by_their_place():
    truth = picture()
    assert gradient_distance(truth[:, ::-1], truth) < 0.25
    ramp = np.repeat(np.arange(40, dtype=np.uint8)[None, :, None], 30, 0)
    assert gradient_distance(3 * ramp, ramp) == pytest.approx(2)


@pytest.mark.parametrize("scale", [2, 3, 4])
def test_a_checkerboard_of_one_level_is_seen(scale):
    truth = picture(size=(96, 96), noise=2)
    found = []
    for height in (0, 1, 4):
        made = picture(1, size=(96, 96), noise=2)
        made[::scale, ::scale] += np.uint8(height)
        found.append(fidelity(made, truth, scale=scale)["checkerboard"])
    none, little, much = found
    assert 0.6 < none < 1.6
    assert little > 1.5 * none
    assert much > 5 * little


def test_a_pattern_of_another_period_is_no_checkerboard():
    truth = picture(size=(96, 96))
    marked = truth.copy()
    marked[::3, ::3] += 6
    assert grid_energy(marked, 2) < 1.3 * grid_energy(truth, 2)


@pytest.mark.parametrize("scale", [2, 3, 4])
@pytest.mark.parametrize(("down", "right"), [(0, 1), (1, 0), (1, 1), (1, -1)])
def test_dots_along_one_line_are_seen_though_the_whole_picture_hides_them(scale, down, right):
    truth = picture(size=(128, 128), noise=1)
    dotted, solid = truth.copy(), truth.copy()
    for step in range(128):
        row, column = step if down else 60, step * right if right else 60
        solid[row, column] += 12
        if step % scale == 0:
            dotted[row, column] += 12
    assert 0.9 < dotted_lines(truth, truth, scale) <= 1
    assert dotted_lines(dotted, truth, scale) > 2
    if not (down and right):  # a diagonal line of pixels has stairs
        assert dotted_lines(solid, truth, scale) < 1.5


def test_neither_texture_nor_blur_is_dots():
    truth, other = picture(size=(128, 128), noise=12), picture(1, size=(128, 128), noise=12)
    smooth = picture(size=(128, 128), noise=0)
    assert dotted_lines(other, truth, 4) < 2  # what chance makes of it
    assert dotted_lines(smooth, truth, 4) < 1


def test_dots_of_another_period_are_none():
    truth = picture(size=(128, 128), noise=1)
    marked = truth.copy()
    marked[::5, 60] += 12
    own = truth.copy()
    own[::4, 60] += 12
    assert dotted_lines(marked, truth, 4) < 0.7 * dotted_lines(own, truth, 4)


def test_other_methods_draw_no_dots_on_photographs():
    path = PHOTOGRAPHS / "rocket.jpg"
    truth = np.asarray(Image.open(path).convert("RGB"))[:160, :200]
    small = imaging.resize(truth, 40, 50, "bicubic")
    for way in ("bicubic", "lanczos"):
        made = imaging.resize(small, 160, 200, way)
        assert dotted_lines(made, truth, 4) < 1.5
        made = made.copy()
        made[40:120:4, 100] ^= 16
        assert dotted_lines(made, truth, 4) > 1.5


def test_a_picture_smaller_than_a_block_of_the_spectrum_has_no_such_figure():
    found = fidelity(picture(size=(20, 31)), picture(size=(20, 31)), scale=3)
    assert not {"checkerboard", "dotted"} & set(found)


def test_lpips_is_given_where_its_network_is():
    found = fidelity(picture(), picture(1), lpips=lambda result, truth: 0.25)
    assert list(found)[3] == "lpips" and found["lpips"] == 0.25


def test_lpips_without_weights_says_where_they_belong(monkeypatch, tmp_path):
    monkeypatch.setenv("TORCH_HOME", str(tmp_path))
    with pytest.raises(MissingRequirement, match=r"alexnet-owt-7be5be79\.pth") as caught:
        perceptual.open_lpips()
    assert str(tmp_path) in str(caught.value)


@pytest.mark.parametrize("data", [b"no weights", None])
def test_weights_of_lpips_that_are_none_are_refused(monkeypatch, tmp_path, data):
    monkeypatch.setenv("TORCH_HOME", str(tmp_path))
    weights.place(perceptual.FILE).parent.mkdir(parents=True)
    if data is None:
        torch.save({"features.0.weight": torch.zeros(1)}, weights.place(perceptual.FILE))
    else:
        weights.place(perceptual.FILE).write_bytes(data)
    with pytest.raises(GenloomError, match="cannot be used"):
        perceptual.open_lpips()
