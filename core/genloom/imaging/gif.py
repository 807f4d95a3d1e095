"""XMP in a GIF, which Pillow neither writes nor reads: an application extension.

The packet stands there as it is, not cut into blocks. A trailer behind it, of every byte counted
down, leads readers that take its letters for lengths of blocks to its end (XMP specification,
part 3, 1.1.2).
"""

from __future__ import annotations

_HEAD = b"\x21\xff\x0bXMP DataXMP"
_TRAILER = bytes([1, *range(255, -1, -1), 0])
_TABLE = 128
"""The flag of a GIF whose colours stand before its first frame."""


def with_xmp(encoded: bytes, packet: bytes) -> bytes:
    """A GIF with a packet before its first frame; extensions came with version 89a."""
    flags = encoded[10]
    at = 13 + (3 << (flags & 7) + 1 if flags & _TABLE else 0)
    return b"".join((b"GIF89a", encoded[6:at], _HEAD, packet, _TRAILER, encoded[at:]))


def xmp_in(data: bytes) -> bytes | None:
    """The first packet of a GIF, wherever it stands; None when it has none."""
    start = data.find(_HEAD) + len(_HEAD)
    end = data.find(_TRAILER[:3], start)
    return data[start:end] if start >= len(_HEAD) and end >= 0 else None
