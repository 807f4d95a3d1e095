"""Squares of a style that repeat without seams."""

import pytest
import torch

from genloom_style.seams import detail, overlap, seamless


def steps(picture):
    """The largest step between neighbours of a picture, and across the ends where it repeats."""
    inside = max((picture.diff(dim=axis)).abs().max() for axis in (2, 3))
    ends = max(
        (picture.narrow(axis, 0, 1) - picture.narrow(axis, -1, 1)).abs().max() for axis in (2, 3)
    )
    return float(inside), float(ends)


def waves(height, width, length):
    """Waves of that length, both ways, in three colours."""
    y, x = torch.meshgrid(torch.arange(height), torch.arange(width), indexing="ij")
    wave = 0.5 + 0.25 * (torch.sin(6.2832 * y / length) + torch.cos(6.2832 * x / length))
    return torch.stack([wave, 1 - wave, wave / 2])[None]


@pytest.mark.parametrize("size", [(80, 96), (24, 40), (12, 90)], ids=str)
def test_the_ends_of_a_square_fit_however_small_the_picture(size):
    """Of waves whose length does not divide the square, so that a plain part has a seam."""
    picture = waves(*size, 7)
    square = seamless(picture, 48)
    assert square.shape == (1, 3, 48, 48)
    inside, ends = steps(square)
    assert ends <= inside + 1e-6 < 0.5
    if size == (80, 96):
        _, plain = steps(picture[:, :, :48, :48])
        assert plain > 1.2 * ends


def test_a_square_holds_nothing_but_pixels_of_the_picture():
    picture = torch.rand(1, 1, 60, 70)
    assert torch.isin(seamless(picture, 48), picture).all()


def test_detail_is_what_is_left_without_slow_changes():
    fine, slow = waves(64, 64, 4), waves(64, 64, 64)
    kept = detail(fine + slow)
    assert (kept - (fine - fine.mean((2, 3), keepdim=True))).abs().mean() < 0.1 * slow.std()
    assert detail(fine + 5).allclose(detail(fine), atol=1e-4)
    assert detail(torch.rand(1, 1, 8, 8)).abs().mean() > 0.01


def test_the_overlap_is_never_nothing():
    assert [overlap(side) for side in (8, 16, 384)] == [1, 2, 48]
