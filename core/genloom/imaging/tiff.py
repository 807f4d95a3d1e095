"""A TIFF writer for every pixel type: Pillow writes no 16-bit colour and OpenCV no metadata."""

from __future__ import annotations

import struct
import zlib
from collections.abc import Sequence
from typing import Any, BinaryIO

import numpy as np

from genloom.errors import ImageError
from genloom.imaging.metadata import DESCRIPTIVE, EXIF_IFD, GPS_IFD
from genloom.imaging.samples import Samples
from genloom.types import Array, ImageInfo

STRIP_BYTES = 1 << 20
HEADER = 8
LARGEST = 1 << 32
DEFLATE, HORIZONTAL = 8, 2
UNSIGNED, FLOAT = 1, 3
STRAIGHT_ALPHA = 2
PALETTE = 3
XMP = 700


def write_tiff(
    file: BinaryIO, samples: Samples, info: ImageInfo, table: Array | None = None
) -> None:
    """Samples of uint8, uint16 or float32 as a deflated little-endian TIFF.

    With a `table` of up to 256 colours (r, g, b, r, …) the samples are indices into it.

    Raises:
        ImageError: when it would be longer than offsets in a TIFF reach.
    """
    height, width, count = samples.shape
    rows = max(1, STRIP_BYTES // (width * count * samples.dtype.itemsize))
    predict = samples.dtype.kind == "u" and table is None
    tags = _tags(samples, info, predict) | {278: rows}
    if table is not None:
        tags |= {262: PALETTE, 320: _colour_map(table)}
    sizes = [0] * -(-height // rows)
    # How long the directory is does not depend on where the strips are.
    file.write(bytes(HEADER + len(_directory(tags, sizes))))
    for index, strip in enumerate(samples.strips(rows)):
        packed = _strip(strip, predict)
        sizes[index] = len(packed)
        if sum(sizes) >= LARGEST:
            raise ImageError(
                "the picture is too large for a TIFF", expected=f"less than {LARGEST} bytes"
            )
        file.write(packed)
    file.seek(0)
    file.write(b"II*\0" + struct.pack("<I", HEADER) + _directory(tags, sizes))


def _directory(tags: dict[int, Any], sizes: Sequence[int]) -> bytes:
    """The directory of strips of such sizes that follow it."""
    from PIL import TiffImagePlugin

    directory = TiffImagePlugin.ImageFileDirectory_v2(b"II*\0\0\0\0\0")
    for tag, value in tags.items():
        directory[tag] = value
    # Pillow adds the length of the directory to these when it writes it.
    directory[273] = tuple(int(at) for at in np.cumsum([0, *sizes[:-1]]))
    directory[279] = tuple(sizes)
    return directory.tobytes(HEADER)


def _colour_map(table: Array) -> tuple[int, ...]:
    """All reds, then all greens, then all blues, 16 bits each."""
    colours = np.zeros((256, 3), np.uint16)
    colours[: len(table) // 3] = table.reshape(-1, 3)
    return tuple(int(value) for value in (colours * 257).T.ravel())


def _strip(samples: Array, predict: bool) -> bytes:
    if predict:
        differences = samples.copy()
        differences[:, 1:] -= samples[:, :-1]
        samples = differences
    little = samples.astype(samples.dtype.newbyteorder("<"), copy=False)
    return zlib.compress(np.ascontiguousarray(little).data, 4)


def _tags(samples: Samples, info: ImageInfo, predict: bool) -> dict[int, Any]:
    height, width, count = samples.shape
    whole = samples.dtype.kind == "u"
    tags: dict[int, Any] = {
        256: width,
        257: height,
        258: (samples.dtype.itemsize * 8,) * count,
        259: DEFLATE,
        262: 2 if count > 2 else 1,
        277: count,
        284: 1,
        317: HORIZONTAL if predict else 1,
        339: (UNSIGNED if whole else FLOAT,) * count,
    }
    if count in (2, 4):
        tags[338] = (STRAIGHT_ALPHA,)
    if info.icc:
        tags[34675] = info.icc
    if info.xmp:
        tags[XMP] = info.xmp
    if info.dpi:
        tags |= {282: info.dpi[0], 283: info.dpi[1], 296: 2}
    return tags | _exif_tags(info.exif)


def _exif_tags(block: bytes | None) -> dict[int, Any]:
    from PIL import Image

    exif = Image.Exif()
    if block:
        exif.load(block)
    tags: dict[int, Any] = {tag: exif[tag] for tag in DESCRIPTIVE if tag in exif}
    for tag in (EXIF_IFD, GPS_IFD):
        if tag in exif and (values := exif.get_ifd(tag)):
            tags[tag] = dict(values)
    return tags
