"""Image files: what is stored comes back, whatever is broken is an ImageError, nothing else."""

from __future__ import annotations

import io
import os
import struct
import subprocess
import sys
import zlib
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image, ImageCms, TiffImagePlugin

from genloom import imaging
from genloom.errors import ImageError
from genloom.imaging import decoding, encode, metadata, probe, read, resize, write
from genloom.types import ImageInfo

NOWHERE = Path("nowhere")
SRGB = ImageCms.ImageCmsProfile(ImageCms.createProfile("sRGB")).tobytes()
GREY_ICC = SRGB[:16] + b"GRAY" + SRGB[20:]
HAS_AVIF = ".avif" in imaging.WRITABLE


def picture(height=37, width=53, channels=3, dtype=np.uint8, seed=0):
    """Smooth, with noise in the low bits, so that every bit of 16 matters."""
    y, x = np.mgrid[0:height, 0:width]
    waves = [np.sin(x / 9 + c) * np.cos(y / 7 - c) for c in range(channels)]
    noise = np.random.default_rng(seed).normal(0, 0.003, (height, width, channels))
    values = np.clip(np.stack(waves, 2) * 0.45 + 0.5 + noise, 0, 1)
    top = {np.uint8: 255, np.uint16: 65535, np.float32: 1}[dtype]
    return (values * top).astype(dtype)


def exif_block(orientation=1):
    exif = Image.Exif()
    exif[0x010F] = "Genloom"
    exif[0x0112] = orientation
    exif[0x8769] = {0x9003: "2026:11:24 08:00:00", 0x927C: b"maker note"}
    exif[0x8825] = {1: "N"}
    return exif.tobytes()


def saved(image, format, **options):
    file = io.BytesIO()
    image.save(file, format, **options)
    return file.getvalue()


def chunk(name, body):
    return struct.pack(">I", len(body)) + name + body + struct.pack(">I", zlib.crc32(name + body))


def png_bytes(samples, colour, extra=b""):
    """A plain PNG, written here so that the reader is not tested against our own writer."""
    height, width = samples.shape[:2]
    big = samples.astype(samples.dtype.newbyteorder(">")).reshape(height, -1)
    rows = b"".join(b"\0" + row.tobytes() for row in big)
    header = struct.pack(">IIBBBBB", width, height, 8 * samples.itemsize, colour, 0, 0, 0)
    body = chunk(b"IHDR", header) + extra + chunk(b"IDAT", zlib.compress(rows))
    return b"\x89PNG\r\n\x1a\n" + body + chunk(b"IEND", b"")


def tiff_bytes(samples, *, order="<", packed=True, tile=0, predictor=1, tags=None):
    """A TIFF of any pixel type in one strip or in tiles, by an encoder of its own."""
    height, width, count = samples.shape
    blocks = [samples]
    if tile:
        rows, columns = -height % tile, -width % tile
        padded = np.pad(samples, ((0, rows), (0, columns), (0, 0)), mode="edge")
        blocks = [
            padded[y : y + tile, x : x + tile]
            for y in range(0, height, tile)
            for x in range(0, width, tile)
        ]
    bodies = [_tiff_block(block, order, packed, predictor) for block in blocks]
    head = b"II*\0\0\0\0\0" if order == "<" else b"MM\0*\0\0\0\0"
    directory = TiffImagePlugin.ImageFileDirectory_v2(head)
    kind = 3 if samples.dtype.kind == "f" else 1
    values = {256: width, 257: height, 258: (samples.itemsize * 8,) * count, 277: count}
    values |= {259: 8 if packed else 1, 262: 2 if count > 2 else 1, 339: (kind,) * count}
    offsets = tuple(int(n) for n in np.cumsum([0] + [len(b) for b in bodies[:-1]]))
    sizes = tuple(map(len, bodies))
    values |= {317: predictor} if predictor > 1 else {}
    values |= tags or {}
    if not tile:
        values |= {278: height, 273: offsets, 279: sizes}
    else:  # Pillow moves strip offsets only, so place the tiles by hand
        values |= {322: tile, 323: tile, 324: offsets, 325: sizes}
        for tag, value in values.items():
            directory[tag] = value
        after = 8 + len(directory.tobytes(8))
        values[324] = tuple(after + at for at in offsets)
    for tag, value in values.items():
        directory[tag] = value
    start = struct.pack(f"{order}I", 8)
    return head[:4] + start + directory.tobytes(8) + b"".join(bodies)


def _tiff_block(samples, order, packed, predictor):
    if predictor == 2:
        samples = np.diff(samples, axis=1, prepend=samples[:, :1] * 0)
    if predictor == 3:
        height, width, count = samples.shape
        planes = samples.astype(">f4").view(np.uint8).reshape(height, width * count, 4)
        planes = planes.swapaxes(1, 2).reshape(height, -1, count)
        samples = np.diff(planes, axis=1, prepend=planes[:, :1] * 0)
    raw = samples.astype(samples.dtype.newbyteorder(order)).tobytes()
    return zlib.compress(raw) if packed else raw


# What is written comes back.

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
TYPES = {8: np.uint8, 16: np.uint16, 32: np.float32}


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


# What others wrote is read.


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


# Palettes.


def indexed_image(transparency=None):
    image = Image.new("P", (16, 16))
    image.putpalette([value for i in range(256) for value in (i, 255 - i, i // 2)])
    image.putdata(list(range(256)))
    options = {} if transparency is None else {"transparency": transparency}
    return image, options


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


# Metadata.

EVERYTHING = ImageInfo(icc=SRGB, exif=exif_block().removeprefix(b"Exif\0\0"), dpi=(300.0, 150.0))
KEPT = [
    (".png", "icc exif dpi"),
    (".jpg", "icc exif dpi"),
    (".tif", "icc exif dpi"),
    (".webp", "icc exif"),
    (".bmp", "dpi"),
    (".gif", ""),
    (".ppm", ""),
    pytest.param(
        ".avif", "icc exif", marks=pytest.mark.skipif(not HAS_AVIF, reason="Pillow has no AVIF")
    ),
    *([(".heic", "icc exif")] if imaging.can_write(".heic") else []),
]


@pytest.mark.parametrize(("ending", "kept"), KEPT)
def test_metadata_survives_where_the_format_can_hold_it_and_is_noted_elsewhere(ending, kept):
    data, notes = encode(picture(8, 8, 3)[:, :, :] // 64 * 64, ending=ending, info=EVERYTHING)
    info = read(NOWHERE, data).info
    assert (info.icc == SRGB) == ("icc" in kept)
    assert (info.exif is not None) == ("exif" in kept)
    if "dpi" in kept:
        assert info.dpi == pytest.approx((300, 150), abs=150 if ending == ".jpg" else 0.1)
    assert len(notes) == 3 - len(kept.split())
    if "exif" in kept:
        exif = Image.Exif()
        exif.load(info.exif)
        assert exif[0x010F] == "Genloom"
        assert exif.get_ifd(0x8769)[0x9003] == "2026:11:24 08:00:00"
        assert exif.get_ifd(0x8769)[0x927C] == b"maker note"
        assert exif.get_ifd(0x8825)[1] == "N"


@pytest.mark.parametrize(("channels", "bits"), [(1, 16), (3, 16), (3, 32)])
def test_deep_tiff_keeps_metadata(channels, bits):
    icc = GREY_ICC if channels == 1 else SRGB
    info = ImageInfo(icc=icc, exif=EVERYTHING.exif, dpi=(300.0, 150.0), bits=bits)
    data, notes = encode(picture(channels=channels, dtype=TYPES[bits]), ending=".tif", info=info)
    assert notes == ()
    back = read(NOWHERE, data)
    assert (back.info.icc, back.info.dpi) == (icc, (300, 150))
    assert b"Genloom" in back.info.exif


def test_what_hangs_behind_a_jpeg_is_not_read_with_it(tmp_path, monkeypatch):
    monkeypatch.setattr(decoding, "APPENDED", 2**20)
    path, plain = tmp_path / "long.jpg", tmp_path / "plain.jpg"
    Image.fromarray(picture(30, 40, 3)).save(plain)
    path.write_bytes(plain.read_bytes())
    os.truncate(path, 2**28)  # of nothing but zeros, and so of no size on the disk
    read_at_once = []

    class Watched(io.FileIO):
        def read(self, size=-1):
            data = super().read(size)
            read_at_once.append(len(data))
            return data

    with Watched(path) as file, open(plain, "rb") as short:
        found, wanted = decoding.decode(file), decoding.decode(short)
    np.testing.assert_array_equal(found.samples, wanted.samples)
    assert max(read_at_once) == 2**20 + decoding.DENSE * 30 * 40


def test_exif_tells_the_size_of_what_is_written_and_keeps_no_old_thumbnail():
    block = Image.Exif()
    block[0x010F], block[0x0112], block[0x0100], block[0x0101] = "Genloom", 6, 64, 48
    block[0x8769] = {0xA002: 64, 0xA003: 48, 0x927C: b"maker note"}
    data = bytearray(block.tobytes())
    start = struct.unpack_from(">I" if data[6:8] == b"MM" else "<I", data, 10)[0] + 6
    order = ">" if data[6:8] == b"MM" else "<"
    after = start + 2 + 12 * struct.unpack_from(f"{order}H", data, start)[0]
    struct.pack_into(f"{order}I", data, after, 8)  # any directory will do as a thumbnail's
    info = ImageInfo(exif=bytes(data).removeprefix(b"Exif\0\0"))
    written, _ = encode(picture(96, 128, 3), ending=".jpg", info=info)
    back = read(NOWHERE, written).info.exif
    exif = Image.Exif()
    exif.load(back)
    assert (exif[0x0100], exif[0x0101], exif[0x010F]) == (128, 96, "Genloom")
    inner = exif.get_ifd(0x8769)
    assert (inner[0xA002], inner[0xA003], inner[0x927C]) == (128, 96, b"maker note")
    assert struct.unpack_from(f"{order}I", back, after - 6) == (0,)


def test_exif_of_many_directories_is_gone_through_once(monkeypatch):
    seen, entries = [], metadata._entries
    monkeypatch.setattr(metadata, "_entries", lambda *a: seen.append(a) or entries(*a))
    entry = struct.pack("<HHII", 0x8769, 4, 1, 8)  # an inner directory, which is the outer one
    many = b"II*\0" + struct.pack("<IH", 8, 60000) + entry * 60000 + bytes(4)
    assert len(metadata.sized_exif(many, 10, 20)) == len(many)
    assert len(seen) <= 3


def test_exif_that_claims_more_entries_than_it_has_is_left_alone():
    entry = struct.pack("<HHII", 0x010F, 2, 4, 0)
    overstated = b"II*\0" + struct.pack("<IH", 8, 9) + entry + b"MAKE" * 4
    assert metadata.sized_exif(overstated, 10, 20) == overstated


def test_palette_png_keeps_metadata():
    image, _ = indexed_image()
    data = saved(image, "PNG", icc_profile=SRGB, dpi=(300, 300), exif=exif_block(6))
    first = read(NOWHERE, data)
    again = read(NOWHERE, encode(first.pixels, ending=".png", info=first.info)[0])
    assert (again.info.icc, again.info.mode) == (SRGB, "palette")
    assert again.info.dpi == pytest.approx((300, 300), abs=0.1)
    assert again.info.exif == first.info.exif


def test_a_profile_of_another_colour_space_is_dropped_with_a_note():
    image = Image.new("L", (4, 4), 9)
    back = read(NOWHERE, saved(image, "PNG", icc_profile=SRGB))
    assert back.info.icc is None
    assert "ICC" in back.notes[0]
    _, notes = encode(picture(channels=1), ending=".png", info=ImageInfo(icc=SRGB))
    assert "ICC" in notes[0]


@pytest.mark.parametrize("orientation", range(1, 9))
@pytest.mark.parametrize("format", ["JPEG", "PNG", "WEBP", "TIFF", "deep PNG", "deep TIFF"])
def test_orientation_is_applied_once(orientation, format):
    samples = np.zeros((16, 24, 3), np.uint8)
    samples[:8, :8] = 255  # a white corner and a grey edge tell all eight apart
    samples[8:, :8] = 128
    turn = {2: "FLIP_LEFT_RIGHT", 3: "ROTATE_180", 4: "FLIP_TOP_BOTTOM", 5: "TRANSPOSE"}
    turn |= {6: "ROTATE_270", 7: "TRANSVERSE", 8: "ROTATE_90"}
    upright = Image.fromarray(samples)
    if orientation > 1:
        upright = upright.transpose(Image.Transpose[turn[orientation]])
    exif = exif_block(orientation)
    if format == "deep PNG":
        block = chunk(b"eXIf", exif.removeprefix(b"Exif\0\0"))
        data = png_bytes(samples.astype(np.uint16) * 257, 2, block)
    elif format == "deep TIFF":
        data = tiff_bytes(samples.astype(np.uint16) * 257, tags={274: orientation, 271: "Genloom"})
    else:
        data = saved(Image.fromarray(samples), format, exif=exif, quality=100)
    back = read(NOWHERE, data)
    assert back.pixels.shape[:2] == (upright.height, upright.width)
    scale = 257 if format.startswith("deep") else 1
    assert np.abs(back.pixels.astype(float) / scale - np.asarray(upright)).max() < 12
    kept = Image.Exif()
    kept.load(back.info.exif)
    assert kept.get(0x0112, 1) == 1
    assert kept[0x010F] == "Genloom"
    if format != "deep TIFF":
        assert probe(NOWHERE, data)[:2] == back.pixels.shape[:2]
    again = read(NOWHERE, encode(back.pixels, ending=".png", info=back.info)[0])
    np.testing.assert_array_equal(again.pixels // scale, back.pixels // scale)


def test_damaged_exif_and_text_do_not_cost_the_picture():
    data = saved(
        Image.new("RGB", (8, 8), "red"),
        "JPEG",
        exif=b"Exif\0\0II*\0\xff\xff\xff\x7f",
        comment=b"hello",
    )
    back = read(NOWHERE, data)
    assert back.pixels.shape == (8, 8, 3)
    assert any("comments" in note for note in back.notes)
    assert back.info.exif is None


def test_exif_too_long_for_jpeg_is_noted():
    info = ImageInfo(exif=b"II*\0\x08\0\0\0\0\0\0\0\0\0" + b"x" * 70000)
    data, notes = encode(picture(), ending=".jpg", info=info)
    assert "too long" in notes[0]
    assert read(NOWHERE, data).info.exif is None


# Depth and alpha on writing.


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


# Broken files.


def test_a_png_of_absurd_size_is_told_our_limit_and_not_the_librarys():
    header = b"IHDR" + struct.pack(">IIBBBBB", 60000, 60000, 8, 2, 0, 0, 0)
    chunk = struct.pack(">I", 13) + header + struct.pack(">I", zlib.crc32(header))
    data = b"\x89PNG\r\n\x1a\n" + chunk + struct.pack(">I", 100) + b"IDAT" + bytes(104)
    for function in (read, probe):
        with pytest.raises(ImageError, match="too large; expected at most 1000000000 pixels"):
            function(NOWHERE, data)


GOOD = {
    "png": encode(picture(), ending=".png")[0],
    "png16": encode(picture(dtype=np.uint16), ending=".png", info=ImageInfo(bits=16))[0],
    "jpeg": encode(picture(), ending=".jpg", info=EVERYTHING)[0],
    "webp": encode(picture(), ending=".webp")[0],
    "gif": encode(picture(), ending=".gif")[0],
    "tiff": encode(picture(), ending=".tif", info=EVERYTHING)[0],
    "tiff16": encode(picture(dtype=np.uint16), ending=".tif", info=ImageInfo(bits=16))[0],
    "bmp": encode(picture(), ending=".bmp")[0],
    "ppm": encode(picture(), ending=".ppm")[0],
    "ppm16": encode(picture(dtype=np.uint16), ending=".ppm", info=ImageInfo(bits=16))[0],
}


@pytest.mark.parametrize("kind", GOOD)
@pytest.mark.parametrize("share", [0.02, 0.3, 0.6, 0.95])
def test_truncated_files_are_errors(tmp_path, kind, share):
    data = GOOD[kind]
    path = tmp_path / "cut"
    path.write_bytes(data[: int(len(data) * share)])
    with pytest.raises(ImageError) as failure:
        read(path)
    assert str(path) in str(failure.value)


@pytest.mark.parametrize(
    "data", [b"", b"\0" * 100, b"hello", b"<svg/>", b"%!PS-Adobe-3.0 EPSF-3.0\n"]
)
def test_what_is_no_picture_is_an_error(tmp_path, data):
    path = tmp_path / "file.png"
    path.write_bytes(data)
    for reader in (read, probe):
        with pytest.raises(ImageError) as failure:
            reader(path)
        assert "0x" not in str(failure.value)


@pytest.mark.parametrize(("height", "width"), [(100_000, 100_000), (0, 5), (2**31 - 1, 2**31 - 1)])
def test_decompression_bombs_and_empty_pictures_are_errors(height, width):
    header = chunk(b"IHDR", struct.pack(">IIBBBBB", width, height, 8, 2, 0, 0, 0))
    body = header + chunk(b"IDAT", zlib.compress(b"")) + chunk(b"IEND", b"")
    for reader in (read, probe):
        with pytest.raises(ImageError):
            reader(NOWHERE, b"\x89PNG\r\n\x1a\n" + body)


def test_a_deep_tiff_bomb_is_an_error():
    data = tiff_bytes(np.zeros((1, 1, 3), np.float32), tags={256: 1 << 20, 257: 1 << 20})
    for reader in (read, probe):
        with pytest.raises(ImageError, match="too large"):
            reader(NOWHERE, data)


def test_files_too_short_for_their_pixels_are_refused_before_memory_is_taken():
    deep = tiff_bytes(np.zeros((1, 1, 3), np.float32), tags={256: 30000, 257: 30000})
    gif = bytearray(GOOD["gif"])
    gif[6:10] = struct.pack("<HH", 30000, 30000)
    for data in (deep, bytes(gif)):
        with pytest.raises(ImageError, match="too short for its pixels"):
            read(NOWHERE, data)


def test_large_pictures_below_the_limit_give_no_warning():
    data = saved(Image.new("1", (15000, 13000)), "PNG")  # 195 megapixels; Pillow refuses 179
    assert probe(NOWHERE, data)[:2] == (13000, 15000)
    assert read(NOWHERE, data).pixels.shape == (13000, 15000, 1)


def test_paths_that_are_no_files_are_errors(tmp_path):
    pipe = tmp_path / "pipe"
    os.mkfifo(pipe)
    cases = {tmp_path: "a folder", pipe: "a special file", tmp_path / "gone": "no such file"}
    for path, reason in cases.items():
        for reader in (read, probe):
            with pytest.raises(ImageError, match=reason):
                reader(path)


def test_permission_and_memory_failures_are_errors(tmp_path, monkeypatch):
    path = tmp_path / "a.png"
    path.write_bytes(GOOD["png"])

    def deny(self, *args):
        raise PermissionError(13, "Permission denied")

    monkeypatch.setattr(Path, "open", deny)
    with pytest.raises(ImageError, match="permission denied"):
        read(path)

    def exhaust(*args, **kwargs):
        raise MemoryError

    monkeypatch.setattr(Image, "open", exhaust)
    with pytest.raises(ImageError, match="not enough memory"):
        read(path, GOOD["png"])


def attempt(data):
    for reader in (read, probe):
        try:
            reader(NOWHERE, data)
        except ImageError as error:
            assert str(error)


@given(st.binary(max_size=400))
@settings(max_examples=150, deadline=None)
def test_any_bytes_are_a_picture_or_an_image_error(data):
    attempt(data)


@given(
    st.sampled_from(sorted(GOOD)),
    st.lists(st.tuples(st.integers(0, 1 << 16), st.integers(0, 255)), max_size=12),
    st.integers(0, 300),
    st.booleans(),
)
@settings(max_examples=400, deadline=None)
def test_mutated_pictures_are_a_picture_or_an_image_error(kind, changes, near, cut):
    data = bytearray(GOOD[kind])
    for at, value in changes:  # half of them in the header, where they hurt most
        data[at % (near or len(data)) % len(data)] = value
    attempt(bytes(data[: len(data) - near] if cut else data))


@given(st.binary(max_size=200), st.sampled_from([b"II*\0", b"MM\0*", b"II+\0", b"GIF89a", b"P6 "]))
@settings(max_examples=150, deadline=None)
def test_bytes_behind_a_magic_number_are_a_picture_or_an_image_error(data, magic):
    attempt(magic + data)


def test_many_threads_decode_at_once_without_a_warning(capfd):
    kinds = sorted(set(GOOD) - {"tiff", "tiff16"})  # Pillow's libtiff prints what it dislikes

    def work(index):
        data = bytearray(GOOD[kinds[index % len(kinds)]])
        data[-40 - index % 50] ^= 0xFF
        attempt(bytes(data))
        return read(NOWHERE, GOOD["png16"]).pixels.sum()

    with ThreadPoolExecutor(8) as pool:
        assert len(set(pool.map(work, range(160)))) == 1
    assert capfd.readouterr().err == ""


# Resizing.


@pytest.mark.parametrize("filter", ["nearest", "bilinear", "bicubic", "lanczos", "area"])
@pytest.mark.parametrize("dtype", [np.uint8, np.uint16, np.float32])
@pytest.mark.parametrize("shape", [(20, 30), (20, 30, 1), (20, 30, 3), (20, 30, 4)])
def test_resize_keeps_type_and_level(filter, dtype, shape):
    pixels = np.full(shape, 1 if dtype == np.float32 else 200, dtype)
    for height, width in ((7, 11), (41, 33)):
        result = resize(pixels, height, width, filter)
        assert result.shape == (height, width, *shape[2:])
        assert result.dtype == dtype
        np.testing.assert_allclose(result, pixels.ravel()[0], rtol=1e-5)


def test_shrinking_is_antialiased():
    stripes = np.zeros((64, 64, 3), np.uint16)
    stripes[:, ::2] = 65535
    for filter in ("bilinear", "bicubic", "lanczos", "area"):
        assert np.abs(resize(stripes, 16, 16, filter)[2:-2, 2:-2] / 65535 - 0.5).max() < 0.05


def test_floats_may_overshoot_and_integers_are_clamped():
    edge = np.zeros((8, 8, 1), np.float32)
    edge[:, 4:] = 1
    assert resize(edge, 32, 32, "lanczos").max() > 1
    assert resize((edge * 65535).astype(np.uint16), 32, 32, "lanczos").max() == 65535


def test_an_unknown_filter_names_the_known():
    with pytest.raises(ImageError, match="lanczos"):
        resize(picture(), 4, 4, "sinc")


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
