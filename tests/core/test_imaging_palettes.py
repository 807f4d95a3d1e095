"""Palettes of image files survive where the format has them, and are noted where they are lost."""

from __future__ import annotations

import io
from dataclasses import replace

import numpy as np
import pytest
from pictures import (
    EVERYTHING,
    NOWHERE,
    SRGB,
    exif_block,
    indexed_image,
    picture,
    saved,
)
from PIL import Image

from genloom.imaging import encode, read
from genloom.types import ImageInfo


@pytest.mark.parametrize("format", ["PNG", "GIF"])
@pytest.mark.parametrize("clear", [None, 7])
def test_palette_survives_with_its_transparency(format, clear):
    image, options = indexed_image(clear)
    first = read(NOWHERE, saved(image, format, **options))
    assert (first.info.mode, first.pixels.shape) == ("palette", (16, 16, 3))
    assert (first.alpha is not None) == (clear is not None)
    data, notes = encode(
        first.pixels, ending=f".{format.lower()}", alpha=first.alpha, info=first.info
    )
    assert notes == ()
    with Image.open(io.BytesIO(data)) as kept:
        assert kept.mode == "P"
    back = read(NOWHERE, data)
    if clear is None:
        np.testing.assert_array_equal(back.pixels, first.pixels)
    else:
        np.testing.assert_array_equal(back.alpha, first.alpha)
        shown = first.alpha > 0
        np.testing.assert_array_equal(back.pixels[shown], first.pixels[shown])
        assert back.alpha[0, 7] == 0


def test_half_tones_of_a_palette_survive_in_png_and_are_noted_in_gif():
    image, _ = indexed_image()
    first = read(NOWHERE, saved(image, "PNG", transparency=bytes(range(256))))
    assert first.alpha[3, 4] == 3 * 16 + 4
    data, notes = encode(first.pixels, ending=".png", alpha=first.alpha, info=first.info)
    back = read(NOWHERE, data)
    np.testing.assert_array_equal(back.alpha, first.alpha)
    np.testing.assert_array_equal(back.pixels, first.pixels)
    assert notes == ()
    data, notes = encode(first.pixels, ending=".gif", alpha=first.alpha, info=first.info)
    assert "half-transparent" in notes[0]
    assert set(np.unique(read(NOWHERE, data).alpha)) == {0, 255}


@pytest.mark.parametrize("ending", [".png", ".gif"])
@pytest.mark.parametrize("alpha", [False, True])
def test_merged_colours_are_noted_and_stay_near(ending, alpha):
    pixels = picture(64, 64)
    opacity = np.full((64, 64), 255, np.uint8) if alpha else None
    if alpha:
        opacity[:8] = 0
    data, notes = encode(pixels, ending=ending, alpha=opacity, info=ImageInfo(mode="palette"))
    assert "colours were merged" in notes[0]
    back = read(NOWHERE, data)
    assert back.info.mode == "palette"
    assert np.abs(back.pixels[8:].astype(int) - pixels[8:]).mean() < 12
    if alpha:
        assert (back.alpha[:8] == 0).all()
        assert (back.alpha[8:] == 255).all()


@pytest.mark.parametrize("ending", [".tif", ".bmp"])
def test_palette_of_opaque_tiffs_and_bmps_survives(ending):
    image, _ = indexed_image()
    first = read(NOWHERE, saved(image, "TIFF" if ending == ".tif" else "BMP"))
    assert (first.info.mode, first.alpha) == ("palette", None)
    data, notes = encode(first.pixels, ending=ending, info=first.info)
    assert notes == ()
    with Image.open(io.BytesIO(data)) as kept:
        assert kept.mode == "P"
    np.testing.assert_array_equal(read(NOWHERE, data).pixels, first.pixels)


def test_palette_tiff_keeps_metadata_and_few_colours():
    pixels = np.zeros((300, 400, 3), np.uint8)
    pixels[::2, :, 1] = 77
    info = replace(EVERYTHING, mode="palette")
    back = read(NOWHERE, encode(pixels, ending=".tif", info=info)[0])
    np.testing.assert_array_equal(back.pixels, pixels)
    assert (back.info.mode, back.info.icc, back.info.dpi) == ("palette", SRGB, (300, 150))
    assert b"Genloom" in back.info.exif


@pytest.mark.parametrize(
    ("ending", "alpha", "note"),
    [
        (".jpg", False, "JPEG has no palette: written as RGB"),
        (".webp", True, "WEBP has no palette: written as RGB"),
        (".tif", True, "TIFF has no palette with transparency: written as RGBA"),
    ],
)
def test_a_palette_that_is_lost_is_noted(ending, alpha, note):
    opacity = np.full((12, 16), 99, np.uint8) if alpha else None
    pixels = picture(12, 16)
    _, notes = encode(pixels, ending=ending, alpha=opacity, info=ImageInfo(mode="palette"))
    assert notes == (note,)
    data, notes = encode(
        pixels, ending=ending, alpha=opacity, info=ImageInfo(mode="palette"), palette=False
    )
    assert (read(NOWHERE, data).info.mode, notes) == ("rgb", ())


def test_palette_can_be_declined():
    data, notes = encode(picture(), ending=".png", info=ImageInfo(mode="palette"), palette=False)
    assert notes == ()
    np.testing.assert_array_equal(read(NOWHERE, data).pixels, picture())


def test_palette_png_keeps_metadata():
    image, _ = indexed_image()
    data = saved(image, "PNG", icc_profile=SRGB, dpi=(300, 300), exif=exif_block(6))
    first = read(NOWHERE, data)
    again = read(NOWHERE, encode(first.pixels, ending=".png", info=first.info)[0])
    assert (again.info.icc, again.info.mode) == (SRGB, "palette")
    assert again.info.dpi == pytest.approx((300, 300), abs=0.1)
    assert again.info.exif == first.info.exif
