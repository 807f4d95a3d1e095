"""Squares of a style that repeat without seams."""

import numpy as np
import pytest

from genloom_style.seams import detail, overlap, seamless


def steps(picture):
    """The largest step between neighbours of a picture, and across the ends where it repeats."""
    inside = max(np.abs(np.diff(picture, axis=axis)).max() for axis in (2, 3))
    rows, columns = picture[:, :, [0, -1]], picture[:, :, :, [0, -1]]
    ends = max(np.abs(np.diff(rows, axis=2)).max(), np.abs(np.diff(columns, axis=3)).max())
    return float(inside), float(ends)


def noise(height, width):
    return np.random.default_rng(0).random((1, 1, height, width), np.float32)


def waves(height, width, length):
    """Waves of that length, both ways, in three colours."""
    y, x = np.mgrid[:height, :width].astype(np.float32)
    wave = 0.5 + 0.25 * (np.sin(6.2832 * y / length) + np.cos(6.2832 * x / length))
    return np.stack([wave, 1 - wave, wave / 2])[None]


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
    picture = noise(60, 70)
    assert np.isin(seamless(picture, 48), picture).all()


@pytest.mark.parametrize("ends", ["wrap", "symmetric"])
def test_detail_is_what_is_left_without_slow_changes(ends):
    fine, slow = waves(64, 64, 4), waves(64, 64, 64)
    kept = detail(fine + slow, 4, ends)
    assert np.abs(kept - (fine - fine.mean((2, 3), keepdims=True))).mean() < 0.1 * slow.std()
    np.testing.assert_allclose(detail(fine + 5, 4, ends), detail(fine, 4, ends), atol=1e-4)
    assert np.abs(detail(noise(8, 8), 12, ends)).mean() > 0.01


def test_the_overlap_is_never_nothing():
    assert [overlap(side) for side in (8, 16, 384)] == [1, 2, 48]
