"""Few shapes, for providers that compile or search for each new one.

The first few sizes of pictures go as they are: most folders have no more. Of others, sides of tiles
are taken from a short list: 64 pixels, 96, 128, 192, 256 and so on, a power of two or one and a
half of it. Counts of items in a call are powers of two.
"""

from __future__ import annotations

import threading
from collections.abc import Hashable, Iterator
from math import inf

SIDES = (64, 96)
"""The first two sides in pixels; each of the others is twice the last but one."""


MOST_WORK = 2.0
"""How many times the pixels of a picture its tiles may have together; beyond that it goes whole."""

MOST_SIZES = 8
"""Sizes of pictures that go as they are."""


class Familiar:
    """The sizes of pictures that are met first. Safe to use from several threads."""

    def __init__(self, most: int = MOST_SIZES) -> None:
        self._most, self._sizes = most, set[Hashable]()
        self._lock = threading.Lock()

    def has(self, size: Hashable) -> bool:
        """Whether a size is one of the first few."""
        with self._lock:
            if len(self._sizes) < self._most:
                self._sizes.add(size)
            return size in self._sizes


def at_most(count: int) -> int:
    """The largest power of two that is not above a count of 1 or more."""
    return 1 << (count.bit_length() - 1)


def tile(
    height: int, width: int, *, margin: int, step: int, least: int, most: int, work: float = inf
) -> int | None:
    """Side of the square tiles that cover a picture with the fewest pixels computed.

    Args:
        height: of the picture.
        width: the same.
        margin: pixels of a tile at inner edges that are not kept.
        step: of which every side is a multiple.
        least: the smallest side that is wanted.
        most: the largest.
        work: how many times the pixels of the picture may be computed.

    Returns:
        None where the picture is too small, the margins would cost too much, or the last tiles
        would be shorter than the others.
    """
    if height % step or width % step:
        return None
    sides = {side // step * step for side in _listed(min(most, height, width))}
    sides = {side for side in sides if side >= least}
    pixels = {side: _computed(height, width, side, margin, step) for side in sides}
    side = min(pixels, key=lambda side: (pixels[side], -side), default=0)
    return side if side and pixels[side] < inf and pixels[side] <= work * height * width else None


def _computed(height: int, width: int, side: int, margin: int, step: int) -> float:
    """Pixels of all tiles of a side that cover a picture."""
    kept = (side - 2 * margin) // step * step
    if kept < step:
        return inf
    rows, columns = (1 + -(-(length - side) // kept) for length in (height, width))
    return rows * columns * side * side


def _listed(most: int) -> Iterator[int]:
    for first in SIDES:
        side = first
        while side <= most:
            yield side
            side *= 2
