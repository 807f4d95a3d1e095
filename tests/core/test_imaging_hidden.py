"""Colours that go on where a picture is transparent."""

import numpy as np
import pytest

from genloom import imaging, scratch
from genloom.engine import arrays
from genloom.imaging.hidden import REACH
from genloom.types import Batch, Item


def disc(dtype, background=0):
    """A disc of one colour, and its opacity; black where nobody sees it."""
    rows, columns = np.mgrid[:64, :80]
    opaque = (rows - 30) ** 2 + (columns - 40) ** 2 < 20**2
    colour = np.array([200, 100, 50]).astype(dtype)
    pixels = np.where(opaque[..., None], colour, np.array(background, dtype))
    return pixels.astype(dtype), (opaque * 255).astype(np.uint8)


@pytest.mark.parametrize("dtype", [np.uint8, np.uint16, np.float32])
def test_a_cut_out_part_has_its_colours_around_it_too(dtype):
    pixels, alpha = disc(dtype)
    result = imaging.continued(pixels, alpha)
    assert result.dtype == dtype
    row = result[30]  # the disc reaches from column 21 to 59
    assert (row[21 - REACH : 60 + REACH] == pixels[30, 40]).all()
    assert (row[: 21 - REACH] == 0).all()
    assert (pixels[alpha == 0] == 0).all(), "what was given changes"


def test_visible_pixels_stay_as_they_are_however_faint():
    pixels = np.random.default_rng(0).integers(0, 256, (40, 30, 3), np.uint8)
    alpha = np.random.default_rng(1).integers(0, 3, (40, 30), np.uint8)
    result = imaging.continued(pixels, alpha)
    np.testing.assert_array_equal(result[alpha > 0], pixels[alpha > 0])
    assert (result[alpha == 0] != pixels[alpha == 0]).any()


def test_where_two_colours_meet_it_is_their_mean():
    pixels = np.zeros((1, 3, 1), np.uint8)
    pixels[0, 0], pixels[0, 2] = 10, 21
    assert imaging.continued(pixels, np.array([[1, 0, 1]], np.uint8))[0, 1] == 16


def test_pictures_that_are_wholly_opaque_or_transparent_are_not_copied():
    pixels, alpha = disc(np.uint8)
    for opacity in (None, np.full_like(alpha, 255), np.zeros_like(alpha)):
        assert imaging.continued(pixels, opacity) is pixels


@pytest.mark.parametrize("dtype", [np.uint8, np.float32])
def test_large_pictures_go_through_files_and_by_strips_without_seams(monkeypatch, tmp_path, dtype):
    pixels = np.random.default_rng(0).integers(0, 256, (150, 20, 3)).astype(dtype)
    alpha = np.random.default_rng(1).integers(0, 90, (150, 20), np.uint8) // 89
    expected = imaging.continued(pixels, alpha)
    monkeypatch.setattr(scratch, "IN_MEMORY", 500)
    monkeypatch.setattr(scratch, "STRIP", 300)
    items = [Item(key="k", name="k", alpha=alpha)]
    with scratch.within(tmp_path):
        found = arrays.shown(Batch.images(items, pixels[None]))
    assert scratch._file_of(found) is not None
    np.testing.assert_array_equal(found[0], expected)
