"""Whatever is broken in an image file is an ImageError, and nothing else."""

from __future__ import annotations

import os
import struct
import zlib
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from pictures import (
    EVERYTHING,
    NOWHERE,
    chunk,
    picture,
    saved,
    tiff_bytes,
)
from PIL import Image

from genloom.errors import ImageError
from genloom.imaging import encode, probe, read
from genloom.types import ImageInfo


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
