"""Written image files: what goes in comes back, and what a format cannot hold is noted."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from pictures import (
    NOWHERE,
    TYPES,
    picture,
    saved,
)
from PIL import Image

from genloom import imaging
from genloom.errors import ImageError
from genloom.imaging import encode, probe, read, write
from genloom.types import ImageInfo

LOSSLESS = [
    (ending, channels, alpha, bits)
    for ending, depths, alphas in (
        (".png", (8, 16), (False, True)),
        (".tif", (8, 16, 32), (False, True)),
        (".ppm", (8, 16), (False,)),
        (".bmp", (8,), (False,)),
    )
    for channels in (1, 3)
    for alpha in alphas
    for bits in depths
]


@pytest.mark.parametrize(("ending", "channels", "alpha", "bits"), LOSSLESS)
def test_lossless_formats_give_back_every_bit(tmp_path, ending, channels, alpha, bits):
    path = tmp_path / "file.part"
    pixels = picture(channels=channels, dtype=TYPES[bits])
    opacity = picture(channels=1, dtype=TYPES[bits], seed=1)[..., 0] if alpha else None
    assert write(path, pixels, ending=ending, alpha=opacity, info=ImageInfo(bits=bits)) == ()
    back = read(path)
    np.testing.assert_array_equal(back.pixels, pixels)
    assert back.pixels.dtype == TYPES[bits]
    assert (back.alpha is None) == (opacity is None)
    if alpha:
        np.testing.assert_array_equal(back.alpha, opacity)
    assert (back.info.bits, back.notes) == (bits, ())
    assert back.info.mode == ("grey" if channels == 1 else "rgb")
    assert probe(path)[:2] == (37, 53)


@pytest.mark.parametrize("ending", sorted(set(imaging.WRITABLE)))
@pytest.mark.parametrize("channels", [1, 3])
def test_every_format_gives_back_nearly_the_same_picture(tmp_path, ending, channels):
    pixels = picture(48, 64, channels)
    path = tmp_path / f"picture{ending}"
    write(path, pixels, ending=ending)
    back = read(path)
    assert back.pixels.shape[:2] == (48, 64)
    assert np.abs(back.pixels.astype(int) - pixels).mean() < 5
    assert back.info.format == imaging.WRITABLE[ending]


@given(st.data())
@settings(max_examples=40, deadline=None)
def test_saving_and_loading_is_the_identity(data):
    ending, channels, alpha, bits = data.draw(st.sampled_from(LOSSLESS))
    height, width = data.draw(st.integers(1, 40)), data.draw(st.integers(1, 40))
    pixels = picture(height, width, channels, TYPES[bits])
    opacity = picture(height, width, 1, TYPES[bits], 1)[..., 0] if alpha else None
    encoded, _ = encode(pixels, ending=ending, alpha=opacity, info=ImageInfo(bits=bits))
    back = read(NOWHERE, encoded)
    np.testing.assert_array_equal(back.pixels, pixels)
    again, _ = encode(back.pixels, ending=ending, alpha=back.alpha, info=back.info)
    np.testing.assert_array_equal(read(NOWHERE, again).pixels, pixels)


def test_webp_at_quality_100_is_lossless_even_where_nothing_shows():
    pixels, alpha = picture(), picture(channels=1, seed=1)[..., 0]
    alpha[:9] = 0
    back = read(NOWHERE, encode(pixels, ending=".webp", alpha=alpha, quality=100)[0])
    np.testing.assert_array_equal(back.pixels, pixels)
    np.testing.assert_array_equal(back.alpha, alpha)


@pytest.mark.parametrize("alpha", [None, 128])
@pytest.mark.parametrize("frames", [1, 2])
def test_a_lossless_webp_is_known_and_stays_lossless(alpha, frames):
    image = Image.fromarray(picture(32, 48))
    if alpha is not None:
        image.putalpha(alpha)
    more = {"save_all": True, "append_images": [Image.new(image.mode, image.size)] * (frames - 1)}
    for lossless in (False, True):
        first = read(NOWHERE, saved(image, "WEBP", lossless=lossless, **more))
        assert first.info.lossless == lossless
        data, _ = encode(first.pixels, ending=".webp", alpha=first.alpha, info=first.info)
        same = np.array_equal(read(NOWHERE, data).pixels, first.pixels)
        assert same == lossless


def test_floats_are_clamped_and_rounded():
    pixels = np.array([[[-1.0, 0.5, 2.0]]], np.float32)
    assert read(NOWHERE, encode(pixels, ending=".png")[0]).pixels.tolist() == [[[0, 128, 255]]]
    deep = read(NOWHERE, encode(pixels, ending=".png", info=ImageInfo(bits=16))[0])
    assert deep.pixels.tolist() == [[[0, 32768, 65535]]]
    kept = read(NOWHERE, encode(pixels, ending=".tif", info=ImageInfo(bits=32))[0])
    np.testing.assert_array_equal(kept.pixels, pixels)


@pytest.mark.parametrize(("ending", "bits", "written"), [(".jpg", 16, 8), (".png", 32, 16)])
def test_lost_depth_is_noted(ending, bits, written):
    data, notes = encode(picture(dtype=np.uint16), ending=ending, info=ImageInfo(bits=bits))
    assert f"{bits}-bit picture was written with {written} bits" in notes
    assert read(NOWHERE, data).info.bits == written


@pytest.mark.parametrize("ending", [".png", ".tif", ".webp"])
def test_channels_first_in_memory_are_written_with_alpha(ending):
    pixels = np.ascontiguousarray(picture().transpose(2, 0, 1)).transpose(1, 2, 0)
    opacity = picture(channels=1, seed=1)[..., 0]
    data, _ = encode(pixels, ending=ending, alpha=opacity, info=ImageInfo(lossless=True))
    np.testing.assert_array_equal(read(NOWHERE, data).pixels, pixels)


def test_16_bit_pixels_asked_for_as_8_are_noted():
    assert encode(picture(dtype=np.uint16), ending=".png")[1] == (
        "16-bit pixels were written with 8 bits",
    )


@pytest.mark.parametrize("ending", [".jpg", ".bmp", ".ppm"])
def test_transparency_is_flattened_onto_white_with_a_note(ending):
    pixels, alpha = np.zeros((16, 16, 3), np.uint8), np.full((16, 16), 255, np.uint8)
    assert encode(pixels, ending=ending, alpha=alpha)[1] == ()
    alpha[:, :8] = 0
    data, notes = encode(pixels, ending=ending, alpha=alpha)
    assert "flattened onto white" in notes[0]
    back = read(NOWHERE, data).pixels
    assert back[8, 2].min() > 250
    assert back[8, 13].max() < 5


def test_alpha_of_another_size_and_type_is_fitted():
    alpha = np.zeros((10, 10), np.uint16)
    alpha[:, 5:] = 65535
    back = read(NOWHERE, encode(picture(40, 40), ending=".png", alpha=alpha)[0])
    assert back.alpha.shape == (40, 40)
    assert (back.alpha[:, :15] < 16).all()  # Lanczos rings a little
    assert (back.alpha[:, 25:] > 239).all()


@pytest.mark.parametrize("pixels", [np.zeros((0, 4, 3)), np.zeros((4, 4, 2)), np.zeros(4)])
def test_what_is_no_picture_cannot_be_written(pixels):
    with pytest.raises(ImageError):
        encode(pixels, ending=".png")


def test_an_unknown_ending_names_those_that_can_be_written(tmp_path):
    with pytest.raises(ImageError, match=r"\.jpg.*\.png") as failure:
        write(tmp_path / "a", picture(), ending=".xyz")
    assert str(tmp_path) in str(failure.value)


def test_a_picture_beyond_the_limits_of_its_format_is_an_error(tmp_path):
    with pytest.raises(ImageError):
        write(tmp_path / "a", np.zeros((1, 20000, 3), np.uint8), ending=".webp")


def test_a_disk_that_refuses_is_an_error(tmp_path):
    with pytest.raises(ImageError, match="no such file"):
        write(tmp_path / "missing" / "a.png", picture(), ending=".png")


@pytest.mark.skipif(not Path("/dev/full").exists(), reason="needs a device that is always full")
def test_a_full_disk_is_an_error():
    with pytest.raises(ImageError, match="no space"):
        write(Path("/dev/full"), picture(), ending=".png")
