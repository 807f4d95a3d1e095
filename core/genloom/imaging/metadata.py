"""EXIF, ICC and resolution: taken from files, made to fit the pixels that are kept."""

from __future__ import annotations

import math
import struct
from typing import TYPE_CHECKING

from genloom.types import Array

if TYPE_CHECKING:
    from PIL import Image

ORIENTATION = 0x0112
EXIF_IFD, GPS_IFD = 0x8769, 0x8825
EXIF_PREFIX = b"Exif\0\0"
SIZES = {0x0100: True, 0x0101: False, 0xA002: True, 0xA003: False}
"""Tags that tell the size of the picture in pixels: whether it is the width."""

_LONG = 4  # the type of a number of 32 bits

# Tags of a TIFF that describe the picture rather than how its bytes are stored, with ORIENTATION
# left out on purpose: description, make, model, software, date, artist, host, copyright, XP*.
DESCRIPTIVE = (270, 271, 272, 305, 306, 315, 316, 33432, 40091, 40092, 40093, 40094, 40095)


def orient(pixels: Array, orientation: int) -> Array:
    """Pixels H×W or H×W×C turned upright from one of the eight EXIF orientations."""
    if orientation in (5, 6, 7, 8):
        pixels = pixels.swapaxes(0, 1)
    # Once swapped, 5 is upright; 6 is left to be mirrored, 8 to be flipped, 7 both.
    if orientation in (2, 3, 6, 7):
        pixels = pixels[:, ::-1]
    if orientation in (3, 4, 7, 8):
        pixels = pixels[::-1]
    return pixels


def upright_exif(exif: bytes) -> bytes:
    """The same EXIF block, byte for byte, but with its orientation (if any) set to upright.

    Patched in place, because writing the block anew would break maker notes, whose offsets are
    absolute. Returns the block without the `Exif` prefix that JPEG puts before it; an empty one if
    it cannot be understood.
    """
    block = bytearray(exif.removeprefix(EXIF_PREFIX))
    order, start = _beginning(block)
    if not start or start + 2 > len(block):
        return b""
    for at, tag in _entries(block, order, start):
        if tag == ORIENTATION:
            struct.pack_into(f"{order}HIHH", block, at + 2, 3, 1, 1, 0)
    return bytes(block)


def sized_exif(exif: bytes, height: int, width: int) -> bytes:
    """The same EXIF block with the size in pixels it tells, if any, set, and without a thumbnail.

    Patched in place too; the bytes of the thumbnail stay, but nothing leads to them.
    """
    block = bytearray(exif)
    order, start = _beginning(block)
    if not start:
        return exif
    entries = _entries(block, order, start)
    # Of hostile blocks that name many, one.
    inner = next((at for at, tag in entries if tag == EXIF_IFD), None)
    others = [] if inner is None else struct.unpack_from(f"{order}I", block, inner + 8)
    for directory in dict.fromkeys((start, *others)):
        for at, tag in _entries(block, order, directory):
            if tag in SIZES:
                size = width if SIZES[tag] else height
                struct.pack_into(f"{order}HII", block, at + 2, _LONG, 1, size)
    if start + 2 <= len(block):
        after = start + 2 + 12 * struct.unpack_from(f"{order}H", block, start)[0]
        if after + 4 <= len(block):  # where the thumbnail's directory lies
            struct.pack_into(f"{order}I", block, after, 0)
    return bytes(block)


def _beginning(block: bytes | bytearray) -> tuple[str, int]:
    """The order of bytes and where the first directory lies; 0 if this is no EXIF block."""
    order = {b"II": "<", b"MM": ">"}.get(bytes(block[:2]))
    if order is None or len(block) < 14:
        return "", 0
    return order, struct.unpack_from(f"{order}I", block, 4)[0]


def _entries(block: bytes | bytearray, order: str, start: int) -> list[tuple[int, int]]:
    """Where each entry of a directory lies, and its tag."""
    if start + 2 > len(block):
        return []
    (count,) = struct.unpack_from(f"{order}H", block, start)
    places = range(start + 2, min(start + 2 + 12 * count, len(block) - 11), 12)
    return [(at, struct.unpack_from(f"{order}H", block, at)[0]) for at in places]


def exif_of(image: Image.Image) -> bytes | None:
    """The EXIF block of a decoded picture, upright; None if it has none."""
    raw = image.info.get("exif")
    if isinstance(raw, bytes) and image.format != "TIFF":
        return upright_exif(raw) or None
    return descriptive_exif(image.getexif())


def descriptive_exif(exif: Image.Exif) -> bytes | None:
    """An EXIF block of what a TIFF directory tells about the picture; None if it tells nothing."""
    from PIL import Image

    if not exif:
        return None
    kept = Image.Exif()
    for tag in DESCRIPTIVE:
        if tag in exif:
            kept[tag] = exif[tag]
    for tag in (EXIF_IFD, GPS_IFD):
        if tag in exif and (values := exif.get_ifd(tag)):
            kept[tag] = dict(values)
    return kept.tobytes().removeprefix(EXIF_PREFIX) if len(kept) else None


def icc_fits(icc: bytes, channels: int) -> bool:
    """Whether a profile describes pictures of 1 (grey) or 3 (RGB) channels."""
    return len(icc) >= 128 and icc[16:20] == (b"GRAY" if channels == 1 else b"RGB ")


def dpi_of(value: object) -> tuple[float, float] | None:
    """Resolution as two positive finite numbers of dots per inch, horizontal first, or None."""
    try:
        across, down = (float(part) for part in value)  # type: ignore[attr-defined]
    except (TypeError, ValueError, ZeroDivisionError):
        return None
    # JPEG files without a resolution claim 1 dpi or less.
    good = all(math.isfinite(part) and 1 < part < 1e6 for part in (across, down))
    return (across, down) if good else None
