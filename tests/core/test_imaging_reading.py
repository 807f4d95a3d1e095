"""Image files that others wrote are read as they stored them."""

from __future__ import annotations

import os
import subprocess
import sys

import numpy as np
import pytest
from pictures import (
    NOWHERE,
    chunk,
    picture,
    png_bytes,
    saved,
    tiff_bytes,
)
from PIL import Image, ImageCms

from genloom.errors import ImageError
from genloom.imaging import probe, read


@pytest.mark.parametrize(
    ("mode", "channels", "alpha"),
    [("L", 1, False), ("LA", 1, True), ("RGB", 3, False), ("RGBA", 3, True)],
)
@pytest.mark.parametrize("format", ["PNG", "TIFF"])
def test_pillow_files_are_read_exactly(mode, channels, alpha, format):
    samples = picture(channels=channels + alpha)
    image = Image.fromarray(samples[..., 0] if samples.shape[2] == 1 else samples)
    assert image.mode == mode
    back = read(NOWHERE, saved(image, format))
    np.testing.assert_array_equal(back.pixels, samples[..., :channels])
    assert (back.alpha is not None) == alpha
    if alpha:
        np.testing.assert_array_equal(back.alpha, samples[..., -1])


@pytest.mark.parametrize(("colour", "count"), [(0, 1), (2, 3), (4, 2), (6, 4)])
def test_16_bit_png_keeps_16_bits(colour, count):
    samples = picture(channels=count, dtype=np.uint16)
    data = png_bytes(samples, colour)
    back = read(NOWHERE, data)
    channels = 1 if count < 3 else 3
    np.testing.assert_array_equal(back.pixels, samples[..., :channels])
    if count in (2, 4):
        np.testing.assert_array_equal(back.alpha, samples[..., -1])
    assert back.info.bits == 16
    assert probe(NOWHERE, data)[:2] == (37, 53)
    assert samples.nbytes <= probe(NOWHERE, data)[2] <= 2 * samples.nbytes


@pytest.mark.parametrize(("colour", "count"), [(0, 1), (2, 3)])
def test_the_transparent_colour_of_a_16_bit_png_is_alpha(colour, count):
    samples = picture(channels=count, dtype=np.uint16)
    clear = chunk(b"tRNS", samples[5, 6].astype(">u2").tobytes())
    back = read(NOWHERE, png_bytes(samples, colour, clear))
    np.testing.assert_array_equal(back.pixels, samples)
    assert back.alpha[5, 6] == 0
    assert back.alpha[5, 7] == 65535


@pytest.mark.parametrize("order", ["<", ">"])
@pytest.mark.parametrize("packed", [False, True])
@pytest.mark.parametrize("tile", [0, 16])
@pytest.mark.parametrize("count", [1, 2, 3, 4])
@pytest.mark.parametrize(("dtype", "predictor"), [("u2", 1), ("u2", 2), ("f4", 1), ("f4", 3)])
def test_deep_tiffs_of_every_layout_are_read_exactly(order, packed, tile, count, dtype, predictor):
    samples = picture(channels=count, dtype=np.uint16 if dtype == "u2" else np.float32)
    tags = {338: (2,)} if count in (2, 4) else {}
    predictor = predictor if packed else 1
    data = tiff_bytes(
        samples, order=order, packed=packed, tile=tile, predictor=predictor, tags=tags
    )
    back = read(NOWHERE, data)
    channels = 1 if count < 3 else 3
    np.testing.assert_array_equal(back.pixels, samples[..., :channels])
    if count in (2, 4):
        np.testing.assert_array_equal(back.alpha, samples[..., -1])
    assert probe(NOWHERE, data)[:2] == (37, 53)
    assert probe(NOWHERE, data)[2] >= samples.nbytes


def test_16_bit_tiff_of_another_writer_is_read_exactly(tmp_path):
    cv2 = pytest.importorskip("cv2")
    samples = picture(channels=3, dtype=np.uint16)
    for compression in (1, 5, 8):
        done, data = cv2.imencode(".tif", samples[..., ::-1], [259, compression])
        assert done
        np.testing.assert_array_equal(read(NOWHERE, data.tobytes()).pixels, samples)


def test_white_is_zero_is_turned_over_and_premultiplied_colour_made_straight():
    grey = picture(channels=1, dtype=np.uint16)
    back = read(NOWHERE, tiff_bytes(grey, tags={262: 0}))
    np.testing.assert_array_equal(back.pixels, 65535 - grey)
    samples = np.full((4, 4, 4), 1000, np.uint16)
    samples[..., 3], samples[0, 0] = 32768, 0
    back = read(NOWHERE, tiff_bytes(samples, tags={338: (1,)}))
    assert abs(int(back.pixels[1, 1, 0]) - 2000) <= 1
    assert back.pixels[0, 0, 0] == 0


def test_wider_samples_become_floats_and_surplus_channels_are_noted():
    double = picture(channels=1, dtype=np.float32).astype(np.float64)
    back = read(NOWHERE, tiff_bytes(double))
    np.testing.assert_array_equal(back.pixels, double.astype(np.float32))
    assert "64-bit" in back.notes[0]
    whole = np.full((3, 3, 1), 1 << 31, np.uint32)
    assert read(NOWHERE, tiff_bytes(whole)).pixels[0, 0, 0] == pytest.approx(0.5)
    five = picture(channels=5, dtype=np.uint16)
    back = read(NOWHERE, tiff_bytes(five, tags={338: (0, 2)}))
    np.testing.assert_array_equal(back.alpha, five[..., 4])
    assert "1 extra channel" in back.notes[0]


@pytest.mark.parametrize("tags", [{284: 2}, {266: 2}, {339: (2, 2, 2)}, {317: 7}])
def test_deep_tiffs_we_cannot_read_are_refused_rather_than_misread(tags):
    with pytest.raises(ImageError):
        read(NOWHERE, tiff_bytes(picture(dtype=np.uint16), tags=tags))


def test_deep_ppm_is_scaled_to_16_bits():
    samples = np.array([[[0, 500, 1023]]], ">u2")
    back = read(NOWHERE, b"P6 # by hand\n1 1\n1023\n" + samples.tobytes())
    assert back.pixels.tolist() == [[[0, round(500 * 65535 / 1023), 65535]]]
    assert back.info.bits == 16
    grey = read(NOWHERE, b"P5 1 1 65535\n" + b"\x12\x34")
    assert (grey.pixels.item(), grey.info.bits) == (0x1234, 16)


def test_one_bit_picture_becomes_grey_with_a_note():
    back = read(NOWHERE, saved(Image.new("1", (4, 3), 1), "PNG"))
    assert back.pixels.shape == (3, 4, 1)
    assert (back.pixels == 255).all()
    assert "1-bit" in back.notes[0]


def test_cmyk_is_converted_and_its_profile_dropped():
    data = saved(Image.new("CMYK", (8, 8), (255, 0, 0, 0)), "JPEG", icc_profile=b"x" * 200)
    back = read(NOWHERE, data)
    assert back.info.icc is None
    assert "CMYK" in back.notes[0]
    assert np.abs(back.pixels[4, 4].astype(int) - [0, 255, 255]).max() < 6


def test_lab_and_ycbcr_become_rgb():
    red = ImageCms.applyTransform(
        Image.new("RGB", (4, 4), (200, 30, 40)),
        ImageCms.buildTransform(
            ImageCms.createProfile("sRGB"), ImageCms.createProfile("LAB"), "RGB", "LAB"
        ),
    )
    back = read(NOWHERE, saved(red, "TIFF"))
    assert np.abs(back.pixels[0, 0].astype(int) - [200, 30, 40]).max() < 6
    back = read(NOWHERE, saved(Image.new("YCbCr", (4, 4), (100, 128, 128)), "TIFF"))
    assert back.pixels[0, 0].tolist() == [100, 100, 100]


@pytest.mark.parametrize("format", ["GIF", "PNG", "WEBP", "TIFF"])
def test_of_several_frames_the_first_is_read_and_the_rest_noted(format):
    frames = [Image.new("RGB", (9, 8), colour) for colour in ("red", "blue", "lime")]
    options = {"lossless": True} if format == "WEBP" else {}
    data = saved(frames[0], format, save_all=True, append_images=frames[1:], **options)
    back = read(NOWHERE, data)
    assert back.pixels[0, 0].tolist() == [255, 0, 0]
    assert any("2 left out" in note for note in back.notes)


def test_importing_imaging_imports_neither_pillow_nor_opencv():
    code = "import sys, genloom.imaging; print('cv2' in sys.modules, 'PIL.Image' in sys.modules)"
    done = subprocess.run(
        [sys.executable, "-c", code],
        capture_output=True,
        text=True,
        check=True,
        env={**os.environ, "PYTHONPATH": os.pathsep.join(sys.path)},
    )
    assert done.stdout.split() == ["False", "False"]
