"""Profile, EXIF, resolution and orientation of image files."""

from __future__ import annotations

import io
import os
import struct

import numpy as np
import pytest
from pictures import (
    EVERYTHING,
    GREY_ICC,
    HAS_AVIF,
    NOWHERE,
    SRGB,
    TYPES,
    chunk,
    exif_block,
    picture,
    png_bytes,
    saved,
    tiff_bytes,
)
from PIL import Image

from genloom import imaging
from genloom.imaging import decoding, encode, metadata, probe, read
from genloom.types import ImageInfo

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
