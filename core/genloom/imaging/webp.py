"""What Pillow does not tell about a WebP file."""

from __future__ import annotations

from collections.abc import Iterator

FRAME_HEADER = 16


def is_lossless(data: bytes) -> bool:
    """Whether the first frame of a WebP was compressed without loss."""
    for name, start in _chunks(data, 12):
        if name == b"ANMF":
            name = next(_chunks(data, start + FRAME_HEADER), (b"", 0))[0]
        if name in (b"VP8L", b"VP8 ", b"ALPH"):
            return name == b"VP8L"
    return False


def _chunks(data: bytes, position: int) -> Iterator[tuple[bytes, int]]:
    """Name and start of each chunk of a RIFF file from a position on."""
    while position + 8 <= len(data):
        yield data[position : position + 4], position + 8
        size = int.from_bytes(data[position + 4 : position + 8], "little")
        position += 8 + size + size % 2
