"""Pictures of more than 8 bits a channel that Pillow cuts to 8 or misreads.

Each is decoded by Pillow's own strict decoders, told to hand over the stored bytes. OpenCV would
read most of them too, but it accepts damaged files, prints to stderr, turns TIFFs by itself and
silently misreads TIFFs with separate planes or with grey and alpha.
"""

from __future__ import annotations

import io
import math
import struct
import sys
import zlib
from dataclasses import dataclass
from typing import Any, BinaryIO

import numpy as np

from genloom.errors import ImageError
from genloom.imaging.formats import check_density, check_size
from genloom.imaging.guard import PPM_HEADER, TIFF_ORDERS
from genloom.types import Array

SWAPPED = {"B": "L", "L": "B", "N": "B" if sys.byteorder == "little" else "L"}
PNG_GREY_ALPHA, PNG_RGBA = 4, 6


def is_deep_png(data: bytes) -> bool:
    """Whether these bytes begin a PNG of 16 bits a channel."""
    return data[:8] == b"\x89PNG\r\n\x1a\n" and data[24:25] == b"\x10"


def deep_png(data: bytes) -> Array:
    """Stored samples of a 16-bit PNG, H×W×(1 to 4)."""
    from PIL import Image

    if data[25] == PNG_GREY_ALPHA:
        # Two 16-bit samples are filtered exactly as four 8-bit ones are, so ask for those.
        header = b"IHDR" + data[16:24] + bytes([8, PNG_RGBA]) + data[26:29]
        data = data[:12] + header + struct.pack(">I", zlib.crc32(header)) + data[33:]
        with Image.open(io.BytesIO(data), formats=["PNG"]) as image:
            return np.ascontiguousarray(image).view(">u2").astype(np.uint16)
    with Image.open(io.BytesIO(data), formats=["PNG"]) as image:
        if image.mode.startswith("I"):
            return np.asarray(image).astype(np.uint16)[..., None]
        # Pillow keeps the upper byte of each sample; read as if swapped, it keeps the lower one.
        high = np.asarray(image).astype(np.uint16)
    with Image.open(io.BytesIO(data), formats=["PNG"]) as image:
        tile = image.tile[0]
        raw = str(tile.args)
        swapped = raw[:-1] + SWAPPED[raw[-1]]
        image.tile = [tile._replace(args=swapped)]
        whole: Array = high << 8 | np.asarray(image)
        return whole


def binary_ppm(data: bytes) -> Array | None:
    """Samples of a binary PGM or PPM scaled to 8 or 16 bits, H×W×(1 or 3); None for others.

    Pillow reads those that are neither of 8 nor of 16 bits sample by sample, for hours.
    """
    found = PPM_HEADER.match(data)
    if not found or data[:2] not in (b"P5", b"P6") or not 0 < int(found["top"]) < 65536:
        return None
    width, height, top = (int(found[name]) for name in ("width", "height", "top"))
    check_size(height, width)
    shape = (height, width, 1 if data[:2] == b"P5" else 3)
    stored, full = (np.dtype(">u2"), 65535) if top > 255 else (np.dtype("u1"), 255)
    count = math.prod(shape)
    if len(data) - found.end() < count * stored.itemsize:
        raise ImageError("the file is damaged: cut short")
    samples = np.frombuffer(data, stored, count, found.end()).reshape(shape)
    if top != full:
        samples = np.minimum(np.rint(samples.astype(np.float32) * (full / top)), full)
    return samples.astype(np.uint16 if top > 255 else np.uint8)


@dataclass(frozen=True)
class TiffLayout:
    """How the first directory of a TIFF stores its samples."""

    tags: Any
    order: str
    height: int
    width: int
    samples: int
    bits: int
    kind: int
    photometric: int

    UNSIGNED, SIGNED, FLOAT = 1, 2, 3

    @property
    def is_deep(self) -> bool:
        """Whether this reader should be used: more than 8 bits of grey or RGB, or floats."""
        return self.photometric in (0, 1, 2) and self.bits in (16, 32, 64)

    @property
    def is_plain(self) -> bool:
        """Whether the packing (none, LZW or deflate) bounds the pixels a byte can stand for."""
        return self.tags.get(259, 1) in (1, 5, 8, 32946)

    @property
    def dtype(self) -> np.dtype[Any]:
        """The type of one stored sample."""
        letter = {self.UNSIGNED: "u", self.FLOAT: "f"}.get(self.kind)
        if letter is None or (letter == "u" and self.bits == 64):
            raise ImageError("samples of this type are not supported", got=f"{self.bits}-bit")
        return np.dtype(f"{self.order}{letter}{self.bits // 8}")


def tiff_layout(file: BinaryIO) -> TiffLayout | None:
    """The layout of a TIFF; None if the file does not begin as one does."""
    from PIL import TiffImagePlugin

    file.seek(0)
    start = file.read(16)
    order = TIFF_ORDERS.get(start[:4])
    if order is None or len(start) < 16:
        return None
    tags = TiffImagePlugin.ImageFileDirectory_v2(start[: 16 if b"+" in start[:4] else 8])
    file.seek(tags.next)
    tags.load(file)
    bits = tags.get(258, (1,))
    kinds = tags.get(339, (1,))
    if len(set(bits)) > 1 or len(set(kinds)) > 1:
        raise ImageError("channels of different depth are not supported", got=str(bits))
    numbers = (tags[257], tags[256], tags.get(277, 1), bits[0], kinds[0], tags.get(262, 1))
    return TiffLayout(tags, order, *(int(number) for number in numbers))


def deep_tiff(data: bytes, layout: TiffLayout) -> Array:
    """Stored samples of a deep TIFF, H×W×(any), uint16, or float32 for what is wider."""
    from PIL import Image

    if layout.tags.get(284, 1) != 1 and layout.samples > 1:
        raise ImageError("deep TIFFs with separate planes are not supported")
    if layout.tags.get(266, 1) != 1:
        raise ImageError("deep TIFFs with reversed bits are not supported")
    check_size(layout.height, layout.width)
    with Image.open(io.BytesIO(_as_bytes(data, layout)), formats=["TIFF"]) as image:
        stored = np.asarray(image)
    samples = _undo_predictor(stored, layout)[:, : layout.width]
    if layout.kind == layout.UNSIGNED and layout.photometric == 0:
        samples = np.iinfo(samples.dtype).max - samples
    if samples.dtype.kind == "u" and layout.bits == 32:
        return (samples / 0xFFFFFFFF).astype(np.float32)
    return samples.astype(np.uint16 if layout.bits == 16 and samples.dtype.kind == "u" else "f4")


def _as_bytes(data: bytes, layout: TiffLayout) -> bytes:
    """The same strips or tiles under a directory that calls them an 8-bit grey picture of bytes."""
    size = layout.samples * layout.dtype.itemsize
    tags = layout.tags
    width = layout.width
    if 322 in tags:  # tiles are padded to their full width, which a predictor must see
        width = -(-width // tags[322]) * tags[322]
        check_density(max(tags[323], layout.height), width, len(data) * size)
    entries = {256: width * size, 257: layout.height, 258: 8, 259: tags.get(259, 1), 262: 1, 277: 1}
    if 322 in tags:
        entries |= {322: tags[322] * size, 323: tags[323], 324: tags[324], 325: tags[325]}
    else:
        entries |= {273: tags[273], 278: tags.get(278, layout.height), 279: tags[279]}
    return with_directory(data, layout.order, entries)


def with_directory(data: bytes, order: str, entries: dict[int, Any]) -> bytes:
    """A classic TIFF of the same bytes, with a new first directory at its end."""
    data += b"\0" * (len(data) % 2)
    after = len(data) + 6 + 12 * len(entries)
    head, tail = struct.pack(f"{order}H", len(entries)), b""
    for tag in sorted(entries):
        value = entries[tag]
        values = value if isinstance(value, tuple) else (value,)
        packed = struct.pack(f"{order}{len(values)}I", *values)
        if len(values) > 1:
            tail, packed = tail + packed, struct.pack(f"{order}I", after + len(tail))
        head += struct.pack(f"{order}HHI", tag, 4, len(values)) + packed
    magic = b"II*\0" if order == "<" else b"MM\0*"
    return magic + struct.pack(f"{order}I", len(data)) + data[8:] + head + b"\0\0\0\0" + tail


def _undo_predictor(stored: Array, layout: TiffLayout) -> Array:
    """Samples from the stored bytes, with the differences of predictors 2 and 3 undone."""
    predictor = int(layout.tags.get(317, 1)) if layout.tags.get(259, 1) != 1 else 1
    if predictor not in (1, 2, 3):
        raise ImageError("the file is damaged: unknown predictor", got=str(predictor))
    height, row = stored.shape
    size = layout.dtype.itemsize
    tile = int(layout.tags[322]) if 322 in layout.tags else row // (layout.samples * size)
    if predictor == 3:
        steps = stored.reshape(height, -1, tile * size, layout.samples)
        planes = np.add.accumulate(steps, axis=2, dtype=np.uint8)
        planes = planes.reshape(height, -1, size, tile * layout.samples).swapaxes(2, 3)
        samples = np.ascontiguousarray(planes).view(layout.dtype.newbyteorder(">"))
        return samples.reshape(height, -1, layout.samples)
    if predictor == 2:
        words = stored.view(f"{layout.order}u{size}").reshape(height, -1, tile, layout.samples)
        whole = np.add.accumulate(words, axis=2, dtype=f"=u{size}")
        return whole.view(layout.dtype.newbyteorder("=")).reshape(height, -1, layout.samples)
    return stored.view(layout.dtype).reshape(height, -1, layout.samples)
