"""Methods without a network, and pictures made worse for them."""

import sys
from types import ModuleType

import numpy as np
import pytest
import torch
from PIL import Image

from genloom.errors import GenloomError
from genloom_train.evaluation import classical
from genloom_train.evaluation.fidelity import fidelity
from genloom_train.evaluation.spoiling import conditions


def picture(channels=3, size=48):
    y, x = np.mgrid[:size, :size] / size
    planes = [200 * x + 30, 120 + 90 * np.sin(4 * y), 220 - 150 * x * y][:channels]
    values = np.stack(planes, 2)
    values[8:24, 8:24] = 40
    return values.astype(np.uint8)


def spoiled(channels=3, sigma=25.0):
    (condition,) = conditions("noise", 1, sigmas=(sigma,))
    return condition.spoil(picture(channels), "key")


@pytest.mark.parametrize("channels", [1, 3])
@pytest.mark.parametrize(
    ("name", "package"), [("non-local means", "cv2"), ("wavelet", "skimage"), ("CBM3D", "bm3d")]
)
def test_every_denoiser_at_hand_makes_a_noisy_picture_better(name, package, channels):
    pytest.importorskip(package)
    methods, _ = classical.denoisers()
    noisy = spoiled(channels)
    result = methods[name](noisy, 25.0)
    assert result.dtype == np.uint8 and result.shape == noisy.shape
    truth = picture(channels)
    assert fidelity(result, truth)["psnr"] > fidelity(noisy, truth)["psnr"] + 3


def test_methods_that_are_not_at_hand_are_named(monkeypatch):
    monkeypatch.setattr(classical, "find_spec", lambda name: None)
    methods, notes = classical.denoisers()
    assert list(methods) == ["noisy", "non-local means"]
    assert notes == [
        "wavelet is left out: scikit-image and PyWavelets not installed",
        "CBM3D is left out: bm3d not installed",
    ]


def test_bm3d_is_told_the_noise_level_of_pictures_in_0_to_1(monkeypatch):
    given = {}

    def bm3d_rgb(image, sigma):
        given.update(image=image, sigma=sigma)
        return image + 0.2

    fake = ModuleType("bm3d")
    fake.bm3d_rgb = bm3d_rgb
    monkeypatch.setitem(sys.modules, "bm3d", fake)
    result = classical.cbm3d(picture(), 51.0)
    assert given["sigma"] == pytest.approx(0.2)
    np.testing.assert_allclose(given["image"] * 255, picture())
    np.testing.assert_array_equal(result, np.minimum(picture().astype(int) + 51, 255))


@pytest.mark.parametrize("channels", [1, 3])
@pytest.mark.parametrize(
    ("method", "package"), [(classical.wavelet, "skimage"), (classical.cbm3d, "bm3d")]
)
def test_without_noise_a_picture_comes_back_as_it_is(method, package, channels):
    pytest.importorskip(package)
    np.testing.assert_array_equal(method(picture(channels), 0.0), picture(channels))


def test_bm3d_of_grey_pictures_is_called_so(monkeypatch):
    monkeypatch.setattr(classical, "find_spec", lambda name: name)
    assert list(classical.denoisers(1)[0])[-1] == "BM3D"
    assert list(classical.denoisers(3)[0])[-1] == "CBM3D"


def test_enlargers_are_pillow_s_filters():
    small = picture(size=12)
    methods = classical.enlargers()
    for name, filter in (("bicubic", Image.BICUBIC), ("Lanczos", Image.LANCZOS)):
        expected = np.asarray(Image.fromarray(small).resize((36, 36), filter))
        np.testing.assert_array_equal(methods[name](small, 3), expected)
        assert methods[name](small[..., :1], 3).shape == (36, 36, 1)


def test_noise_has_its_strength_is_in_8_bits_and_depends_on_the_key_alone():
    (condition,) = conditions("noise", 1, sigmas=(10.0,))
    flat = np.full((64, 64, 3), 128, np.uint8)
    noisy = condition.spoil(flat, "0/a.png")
    assert noisy.dtype == np.uint8
    assert (noisy.astype(float) - 128).std() == pytest.approx(10, rel=0.05)
    np.testing.assert_array_equal(noisy, condition.spoil(flat, "0/a.png"))
    for key in ("0/b.png", "1/a.png"):
        assert (noisy != condition.spoil(flat, key)).mean() > 0.5
    white = condition.spoil(np.full((64, 64, 3), 255, np.uint8), "0/a.png")
    assert (white == 255).mean() > 0.4  # clipped


@pytest.mark.parametrize("name", ["photographic", "blind"])
def test_what_torch_draws_depends_on_the_key_alone_and_changes_nothing_for_others(name):
    (condition,) = conditions(name, 2 if name == "blind" else 1, sigmas=(25.0,)[: name != "blind"])
    torch.manual_seed(3)
    expected = torch.rand(2)
    torch.manual_seed(3)
    one = condition.spoil(picture(), "a")
    assert torch.equal(torch.rand(2), expected)
    np.testing.assert_array_equal(one, condition.spoil(picture(), "a"))
    assert (one != condition.spoil(picture(), "b")).any()


def test_methods_are_told_sigma_or_how_large_the_difference_is():
    truth = picture()
    (noise,) = conditions("noise", 1, sigmas=(25.0,))
    assert noise.level(truth, truth) == 25
    (jpeg,) = conditions("jpeg", 1, qualities=(5,))
    assert jpeg.level(truth + np.uint8(3), truth) == pytest.approx(3)
    assert 1 < jpeg.level(jpeg.spoil(truth, "a"), truth) < 30


def test_reduction_is_pillow_s_bicubic_filter():
    (condition,) = conditions(None, 3)
    expected = np.asarray(Image.fromarray(picture()).resize((16, 16), Image.BICUBIC))
    np.testing.assert_array_equal(condition.spoil(picture(), "a"), expected)
    assert condition.suffix == "" and condition.name == "x3"


def test_unless_said_there_are_three_levels_of_each_kind():
    names = [c.name for kind in (None, "photographic", "jpeg") for c in conditions(kind, 1)]
    assert names == ["sigma 15", "sigma 25", "sigma 50", "photographic 15", "photographic 25",
                     "photographic 50", "jpeg 20", "jpeg 40", "jpeg 60"]  # fmt: skip


@pytest.mark.parametrize(
    ("words", "given"),
    [
        ("keeps the size cannot undo 'bicubic'; expected noise or", ("bicubic", 1)),
        ("enlarges cannot undo 'noise'", ("noise", 2)),
    ],
)
def test_degradations_that_do_not_fit_the_network_are_refused(words, given):
    with pytest.raises(GenloomError, match=words):
        conditions(*given)


def test_levels_that_say_nothing_are_refused():
    with pytest.raises(GenloomError, match="'--sigma' says nothing"):
        conditions("jpeg", 1, sigmas=(5.0,))
    with pytest.raises(GenloomError, match="'--quality' says nothing"):
        conditions("bicubic", 2, qualities=(5,))
