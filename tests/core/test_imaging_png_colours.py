"""Colours that a PNG states without a profile are kept as one."""

import io
import struct
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image, ImageCms

from genloom.imaging import encode, read
from genloom.imaging.png_chunks import made
from genloom.imaging.png_colours import SRGB, profile_of

NOWHERE = Path("nowhere")
ADOBE = (0.3127, 0.329, 0.64, 0.33, 0.21, 0.71, 0.15, 0.06)


def png(*chunks, mode="RGB"):
    """The bytes of a PNG with chunks before its pixels."""
    file = io.BytesIO()
    Image.new(mode, (4, 3), 100).save(file, "PNG")
    data = file.getvalue()
    return data[:33] + b"".join(made(*chunk) for chunk in chunks) + data[33:]


def gamma(value):
    return b"gAMA", struct.pack(">I", round(value * 100_000))


def places(values):
    return b"cHRM", struct.pack(">8I", *(round(value * 100_000) for value in values))


def in_srgb(icc, colour):
    """A colour of a profile, as littleCMS converts it."""
    mode = "L" if isinstance(colour, int) else "RGB"
    profile = ImageCms.ImageCmsProfile(io.BytesIO(icc))
    to = ImageCms.createProfile("sRGB")
    made = ImageCms.profileToProfile(Image.new(mode, (1, 1), colour), profile, to, 1, "RGB")
    return made.getpixel((0, 0))


def curved(linear):
    linear = np.clip(linear, 0, 1)
    return 255 * np.where(linear <= 0.0031308, 12.92 * linear, 1.055 * linear ** (1 / 2.4) - 0.055)


def test_linear_pixels_are_shown_as_such():
    picture = read(NOWHERE, png(gamma(1)))
    assert picture.pixels[0, 0].tolist() == [100, 0, 0]
    shown = in_srgb(picture.info.icc, (64, 128, 200))
    assert np.allclose(shown, curved(np.array([64, 128, 200]) / 255), atol=1)
    assert any("became an ICC profile" in note for note in picture.notes)


def test_other_primaries_are_those_of_their_space():
    icc = read(NOWHERE, png(gamma(1 / 2.2), places(ADOBE))).info.icc
    assert np.allclose(in_srgb(icc, (100, 100, 100)), 100, atol=1), "grey stays grey"
    # By the matrices of Adobe RGB (1998) and sRGB.
    adobe = [[0.57667, 0.18556, 0.18823], [0.29734, 0.62736, 0.07529], [0.02703, 0.07069, 0.99134]]
    srgb = [[0.4124, 0.3576, 0.1805], [0.2126, 0.7152, 0.0722], [0.0193, 0.1192, 0.9505]]
    linear = np.linalg.solve(srgb, np.array(adobe) @ (np.array([150, 128, 110]) / 255) ** 2.2)
    assert np.allclose(in_srgb(icc, (150, 128, 110)), curved(linear), atol=1.5)


def test_grey_gets_a_grey_one():
    picture = read(NOWHERE, png(gamma(1), mode="L"))
    assert picture.info.icc[16:20] == b"GRAY"
    assert np.allclose(in_srgb(picture.info.icc, 128), curved(np.array([128 / 255])), atol=1)


@pytest.mark.parametrize(
    "chunks",
    [
        (),
        (gamma(0.45455), places(SRGB)),
        (gamma(0.45455),),
        (gamma(1), (b"sRGB", b"\0")),
        (gamma(0),),
        (places((0.3, 0.3) * 4),),
        (places((0.3, 0) * 4),),
    ],
)
def test_srgb_and_nonsense_get_none(chunks):
    picture = read(NOWHERE, png(*chunks))
    assert (picture.info.icc, picture.notes) == (None, ())


def test_a_profile_that_is_there_stays():
    own = ImageCms.ImageCmsProfile(ImageCms.createProfile("sRGB")).tobytes()
    file = io.BytesIO()
    Image.new("RGB", (4, 3)).save(file, "PNG", icc_profile=own)
    data = file.getvalue()
    assert read(NOWHERE, data[:33] + made(*gamma(1)) + data[33:]).info.icc == own


def test_it_goes_into_other_formats():
    picture = read(NOWHERE, png(gamma(1)))
    data, notes = encode(picture.pixels, ending=".jpg", info=picture.info)
    assert notes == () and read(NOWHERE, data).info.icc == picture.info.icc


@given(st.floats(), st.lists(st.floats(), max_size=9), st.booleans())
def test_no_numbers_are_an_error(value, numbers, grey):
    icc = profile_of({"gamma": value, "chromaticity": tuple(numbers)}, grey=grey)
    assert icc is None or struct.unpack_from(">I", icc)[0] == len(icc)


@pytest.mark.parametrize(("codes", "said"), [(b"\1\x0d\0\1", False), (b"\x09\x10\0\1", True)])
def test_colours_that_are_coded_are_named(codes, said):
    notes = read(NOWHERE, png((b"cICP", codes))).notes
    assert notes == (("colours of primaries 9, transfer 16 were taken for sRGB's",) if said else ())
