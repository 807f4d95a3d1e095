"""A PNG writer that needs only some rows of a picture at a time.

Every row is stored as the differences from the row above and packed by run lengths and Huffman
codes: what enlarged photographs are best written as in little time (`benchmarks/codecs.py`).
"""

from __future__ import annotations

import struct
import zlib
from typing import BinaryIO

import numpy as np

from genloom.imaging.packing import packer
from genloom.imaging.png_chunks import SIGNATURE, made, put
from genloom.imaging.samples import Samples
from genloom.types import Array, ImageInfo

HEADER_END = 33
INCH = 0.0254
UP = 2
PIECE = 2**20
"""About how many bytes are packed at once; the packed ones are copied with the interpreter held."""

RECORD = "genloom"
"""Keyword of the chunk that says how a picture was made."""


def write_png(file: BinaryIO, samples: Samples, info: ImageInfo, record: str = "") -> None:
    """Samples of uint8 or uint16 as a PNG with profile, EXIF, XMP and resolution.

    The `record` of how it was made stands in a text chunk of its own.
    """
    height, width, count = samples.shape
    colours = {1: 0, 2: 4, 3: 2, 4: 6}[count]
    header = struct.pack(">IIBBBBB", width, height, 8 * samples.dtype.itemsize, colours, 0, 0, 0)
    file.write(SIGNATURE + made(b"IHDR", header))
    file.write(_metadata(info) + _texts(info, record))
    packed = packer()
    above = np.zeros(width * count * samples.dtype.itemsize, np.uint8)
    for strip in samples.strips(max(1, PIECE // len(above))):
        rows = _bytes(strip)
        if body := packed.compress(_filtered(rows, above).data):
            put(file, b"IDAT", body)
        above = rows[-1].copy()
    put(file, b"IDAT", packed.flush())
    file.write(made(b"IEND", b""))


def with_texts(encoded: bytes, info: ImageInfo, record: str) -> bytes:
    """A PNG of another writer with the text chunks of XMP and of the record."""
    return encoded[:HEADER_END] + _texts(info, record) + encoded[HEADER_END:]


def _bytes(samples: Array) -> Array:
    """Rows of bytes, H×(W·C·size), as PNG has them: the high one first."""
    big = samples.astype(samples.dtype.newbyteorder(">"), copy=False)
    return big.view(np.uint8).reshape(len(samples), -1)


def _filtered(rows: Array, above: Array) -> Array:
    """Rows as they are packed: the number of the filter, then differences from the row above."""
    filtered = np.full((len(rows), rows.shape[1] + 1), UP, np.uint8)
    np.subtract(rows[0], above, out=filtered[0, 1:])
    np.subtract(rows[1:], rows[:-1], out=filtered[1:, 1:])
    return filtered


def _metadata(info: ImageInfo) -> bytes:
    chunks = b""
    if info.icc:
        chunks += made(b"iCCP", b"ICC profile\0\0" + zlib.compress(info.icc))
    if info.dpi:
        across, down = (round(value / INCH) for value in info.dpi)
        chunks += made(b"pHYs", struct.pack(">IIB", across, down, 1))
    if info.exif:
        chunks += made(b"eXIf", info.exif)
    return chunks


def _texts(info: ImageInfo, record: str) -> bytes:
    chunks = b""
    if info.xmp:
        chunks += made(b"iTXt", b"XML:com.adobe.xmp\0\0\0\0\0" + info.xmp)
    if record:
        chunks += made(b"iTXt", RECORD.encode() + b"\0\0\0\0\0" + record.encode())
    return chunks
