"""A JPEG writer for pictures too large for memory.

The encoder takes a picture whole, so each strip of whole blocks becomes a JPEG of its own. The
compressed strips then follow each other as the intervals of one JPEG between restart markers, for
which the encoder's state begins anew: pixel for pixel what it would make of the whole.
"""

from __future__ import annotations

import struct
from collections.abc import Callable
from typing import BinaryIO

from genloom import scratch
from genloom.errors import ImageError
from genloom.imaging.samples import Samples
from genloom.types import Array

LARGEST = 65_500
"""Longest side in pixels that libjpeg takes."""

LONGEST_INTERVAL = 65_535
"""Most blocks between two restart markers."""

START_OF_FRAME, START_OF_SCAN, RESTART, INTERVAL, END = 0xC0, 0xDA, 0xD0, 0xDD, b"\xff\xd9"

Encode = Callable[[Array, bool], bytes]
"""Makes a baseline JPEG of some rows, with metadata or without, always with the same tables."""


def write_jpeg(file: BinaryIO, samples: Samples, block: int, encode: Encode) -> None:
    """Samples H×W×(1 or 3) of uint8 as one JPEG.

    Args:
        file: what is written to.
        samples: what is written.
        block: side in pixels of what is coded together: 16 where colour is subsampled, else 8.
        encode: makes a JPEG of a strip; the first one is asked for metadata.

    Raises:
        ImageError: when a side is longer than a JPEG can have.
    """
    height, width, _ = samples.shape
    if max(height, width) > LARGEST:
        raise ImageError(
            "the picture is too large for a JPEG",
            expected=f"at most {LARGEST} pixels a side",
            got=f"{width}×{height}",
        )
    across = -(-width // block)
    down = min(LONGEST_INTERVAL // across, scratch.STRIP // (samples.nbytes // height * block))
    down = max(1, down)
    for index, strip in enumerate(samples.strips(down * block)):
        head, scan = _parted(encode(strip, not index), height, across * down)
        file.write(bytes([0xFF, RESTART + (index - 1) % 8]) if index else head)
        file.write(scan)
    file.write(END)


def _parted(encoded: bytes, height: int, interval: int) -> tuple[bytes, bytes]:
    """A JPEG's header, changed to another height and to an interval of blocks, and its scan."""
    at, head = 2, encoded[:2]
    while encoded[at + 1] != START_OF_SCAN:
        (length,) = struct.unpack_from(">H", encoded, at + 2)
        segment = encoded[at : at + 2 + length]
        if segment[1] == START_OF_FRAME:
            segment = segment[:5] + struct.pack(">H", height) + segment[7:]
        head += segment
        at += 2 + length
    (length,) = struct.unpack_from(">H", encoded, at + 2)
    head += struct.pack(">BBHH", 0xFF, INTERVAL, 4, interval) + encoded[at : at + 2 + length]
    return head, encoded[at + 2 + length : -len(END)]
