"""A PNG writer: OpenCV's fast encoder, and chunks for what it leaves out."""

from __future__ import annotations

import struct
import zlib

import numpy as np

from genloom.errors import ImageError
from genloom.types import Array, ImageInfo

HEADER_END = 33
INCH = 0.0254

RECORD = "genloom"
"""Keyword of the chunk that says how a picture was made."""


def png(samples: Array, info: ImageInfo, record: str = "") -> bytes:
    """Samples H×W×(1 to 4) of uint8 or uint16 as a PNG with profile, EXIF, XMP and resolution.

    The `record` of how it was made stands in a text chunk of its own.
    """
    import cv2

    count = samples.shape[2]
    if count == 2:  # OpenCV has no grey with alpha
        encoded = _grey_alpha(samples)
    else:
        if count > 2:
            samples = cv2.cvtColor(
                samples, cv2.COLOR_RGB2BGR if count == 3 else cv2.COLOR_RGBA2BGRA
            )
        done, buffer = cv2.imencode(".png", samples)
        if not done:
            raise ImageError("the PNG encoder failed")
        encoded = buffer.tobytes()
    return _with_chunks(encoded, _metadata(info) + _texts(info, record))


def with_texts(encoded: bytes, info: ImageInfo, record: str) -> bytes:
    """A PNG of another writer with the text chunks of XMP and of the record."""
    return _with_chunks(encoded, _texts(info, record))


def _with_chunks(encoded: bytes, chunks: bytes) -> bytes:
    return encoded[:HEADER_END] + chunks + encoded[HEADER_END:]


def _grey_alpha(samples: Array) -> bytes:
    height, width, _ = samples.shape
    big = samples.astype(samples.dtype.newbyteorder(">"))
    rows = np.ascontiguousarray(big).view(np.uint8).reshape(height, -1)
    step = 2 * samples.itemsize
    filtered = np.ones((height, rows.shape[1] + 1), np.uint8)  # 1: difference from the left
    filtered[:, 1:] = rows
    filtered[:, 1 + step :] -= rows[:, :-step]
    header = struct.pack(">IIBBBBB", width, height, 8 * samples.itemsize, 4, 0, 0, 0)
    body = _chunk(b"IDAT", zlib.compress(filtered.data, 4))
    return b"\x89PNG\r\n\x1a\n" + _chunk(b"IHDR", header) + body + _chunk(b"IEND", b"")


def _metadata(info: ImageInfo) -> bytes:
    chunks = b""
    if info.icc:
        chunks += _chunk(b"iCCP", b"ICC profile\0\0" + zlib.compress(info.icc))
    if info.dpi:
        across, down = (round(value / INCH) for value in info.dpi)
        chunks += _chunk(b"pHYs", struct.pack(">IIB", across, down, 1))
    if info.exif:
        chunks += _chunk(b"eXIf", info.exif)
    return chunks


def _texts(info: ImageInfo, record: str) -> bytes:
    chunks = b""
    if info.xmp:
        chunks += _chunk(b"iTXt", b"XML:com.adobe.xmp\0\0\0\0\0" + info.xmp)
    if record:
        chunks += _chunk(b"iTXt", RECORD.encode() + b"\0\0\0\0\0" + record.encode())
    return chunks


def _chunk(name: bytes, body: bytes) -> bytes:
    return struct.pack(">I", len(body)) + name + body + struct.pack(">I", zlib.crc32(name + body))
