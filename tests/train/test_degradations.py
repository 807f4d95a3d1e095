"""What spoils pictures before a network learns to undo it."""

import numpy as np
import pytest
import torch
from PIL import Image

from genloom_train.degradations import (
    as_in_a_file,
    blindly_reduced,
    blurred,
    chroma_noise,
    jpeg,
    photographic_noise,
    reduced,
    shot_noise,
)

LUMA = torch.tensor([0.299, 0.587, 0.114])


def ramp(count=2, channels=3, size=64):
    """Pictures that grow lighter from left to right."""
    return torch.linspace(0.1, 0.9, size).expand(count, channels, size, size).clone()


def test_shot_noise_grows_with_the_light_and_has_the_size_it_was_asked_for():
    torch.manual_seed(0)
    level = torch.tensor([0.05, 0.1])
    noise = shot_noise(ramp(), level, torch.tensor([1.0, 0.0])) - ramp()
    assert noise.flatten(1).std(1).tolist() == pytest.approx(level.tolist(), rel=0.05)
    dark, light = noise[..., :16].flatten(1).std(1), noise[..., -16:].flatten(1).std(1)
    assert light[0] > 1.7 * dark[0]
    assert float(light[1]) == pytest.approx(float(dark[1]), rel=0.1)


def test_chroma_noise_leaves_the_luma_alone_and_is_coarse():
    torch.manual_seed(0)
    noise = chroma_noise(ramp(), torch.tensor([0.05, 0.1])) - ramp()
    assert noise.square().flatten(1).mean(1).sqrt().tolist() == pytest.approx([0.05, 0.1], rel=1e-3)
    assert (noise * LUMA[:, None, None]).sum(1).abs().max() < 1e-5
    step = noise[..., 1:] - noise[..., :-1]
    assert step.std() < 0.9 * noise.std()
    grey = ramp(channels=1)
    assert chroma_noise(grey, torch.tensor([0.05, 0.1])) is grey


@pytest.mark.parametrize("channels", [1, 3])
def test_jpeg_changes_more_at_a_lower_quality_and_nothing_where_there_is_none(channels):
    torch.manual_seed(0)
    picture = as_in_a_file(torch.rand(1, channels, 32, 32)).expand(3, -1, -1, -1)
    result = jpeg(picture, torch.tensor([0, 95, 20]))
    error = (result - picture).square().flatten(1).mean(1)
    assert error[0] == 0
    assert 0 < error[1] < error[2]
    assert result.shape == picture.shape


def test_jpeg_keeps_fine_colour_only_where_its_chroma_is_full():
    stripes = torch.zeros(2, 3, 16, 16)
    stripes[:, 0, :, ::2] = stripes[:, 2, :, 1::2] = 0.5
    half, full = jpeg(stripes, torch.tensor([95, 95]), torch.tensor([False, True]))
    assert (full - stripes[1]).abs().max() < 0.06 < (half - stripes[0]).abs().mean()


def test_reducing_is_pillows_bicubic():
    torch.manual_seed(0)
    picture = as_in_a_file(torch.rand(1, 3, 24, 32))
    pixels = (picture[0].permute(1, 2, 0) * 255).round().byte().numpy()
    small = np.asarray(Image.fromarray(pixels).resize((16, 12), Image.Resampling.BICUBIC))
    found = (reduced(picture, 2)[0].permute(1, 2, 0) * 255).round().numpy()
    assert np.abs(found - small).max() <= 1


def test_blur_is_as_wide_as_asked_for_and_keeps_the_mean():
    point = torch.zeros(2, 1, 65, 65)
    point[:, :, 32, 32] = 1
    result = blurred(point, torch.tensor([1.0, 3.0]))
    place = torch.arange(65) - 32.0
    spread = (result.sum(2)[:, 0] * place**2).sum(1).sqrt()
    assert spread.tolist() == pytest.approx([1.0, 3.0], rel=0.03)
    assert result.sum((1, 2, 3)).tolist() == pytest.approx([1, 1], rel=1e-4)


@pytest.mark.parametrize("scale", [2, 3, 4])
def test_blind_reduction_is_in_8_bits_and_near_the_plain_one_also_under_autocast(scale):
    picture = ramp(8, size=48)
    torch.manual_seed(0)
    small = blindly_reduced(picture, scale)
    assert small.shape == (8, 3, 48 // scale, 48 // scale)
    torch.testing.assert_close(small, as_in_a_file(small))
    assert (small - reduced(picture, scale)).abs().mean() < 0.05
    torch.manual_seed(0)
    with torch.autocast("cpu", torch.bfloat16):
        assert torch.equal(blindly_reduced(picture, scale), small)


def test_jpeg_keeps_colours_apart():
    red = torch.zeros(1, 3, 16, 16)
    red[:, 0] = 0.8
    assert (jpeg(red, torch.tensor([95])) - red).abs().max() < 0.02


@pytest.mark.parametrize("channels", [1, 3])
def test_the_noise_of_photographs_is_about_as_strong_as_asked_for_and_fits_a_file(channels):
    torch.manual_seed(0)
    clean = ramp(16, channels) * 0.5 + 0.25
    noisy = photographic_noise(clean, torch.full((16,), 0.06))
    error = (noisy - clean).square().flatten(1).mean(1).sqrt()
    assert error.min() > 0.02 and error.max() < 0.1
    torch.testing.assert_close(noisy, as_in_a_file(noisy))
