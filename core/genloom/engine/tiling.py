"""Cut a picture into tiles of one shape, and know which part of each tile's result to keep.

Tiled equals untiled for a network whose output pixels depend on a finite square of input pixels:
every kept pixel lies at least half that square away from any edge of its tile that is not an edge
of the picture. Offsets are multiples of the network's total stride, so that every tile meets the
same phase of its strided layers as the whole picture would.
"""

from __future__ import annotations

import itertools
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import numpy as np

from genloom.types import Floats


@dataclass(frozen=True)
class Span:
    """One tile along one axis: where it starts, how long it is, and what of it is kept."""

    start: int
    length: int
    keep_from: int
    keep_to: int


@dataclass(frozen=True)
class Tile:
    """One tile: its rows and columns."""

    rows: Span
    columns: Span


def spans(length: int, tile: int, margin: int, multiple: int) -> list[Span]:
    """Cover an axis with tiles of one length; the last is shifted inward.

    Where the axis is no multiple of `multiple`, the last is shorter by what is missing.

    Args:
        length: of the axis.
        tile: length of a tile.
        margin: pixels at inner edges that are not kept.
        multiple: of which every offset is one.

    Raises:
        ValueError: when the tile is too short to keep anything.
    """
    if length <= tile:
        return [Span(0, length, 0, length)]
    step = (tile - 2 * margin) // multiple * multiple
    if step < multiple:
        raise ValueError(
            f"a tile of {tile} pixels is too small for a margin of {margin} on either side; "
            f"at least {2 * margin + multiple} are needed"
        )
    last = -(-(length - tile) // multiple) * multiple
    found: list[Span] = []
    kept = 0
    for start in (*range(0, last, step), last):
        end = length if start == last else start + tile - margin
        found.append(Span(start, min(tile, length - start), kept, end))
        kept = end
    return found


def shortest(length: int, tile: int, margin: int, multiple: int) -> int:
    """Length of the shortest tiles that cover an axis in as few as those of length `tile` do.

    It is a multiple of `multiple`, as `tile` is; the rest is as for `spans`.
    """
    count = len(spans(length, tile, margin, multiple))
    lost, whole = (-(-one // multiple) * multiple for one in (2 * margin, length))
    return -(-(whole + (count - 1) * lost) // (count * multiple)) * multiple


def tiles(
    size: tuple[int, int], tile: tuple[int, int], margin: int, multiple: int
) -> Iterator[Tile]:
    """Cover a picture of some height and width with tiles, row by row; see `spans`."""
    columns = spans(size[1], tile[1], margin, multiple)
    for rows in spans(size[0], tile[0], margin, multiple):
        for column in columns:
            yield Tile(rows, column)


def together(tiles: Sequence[Tile], most: int) -> Iterator[list[Tile]]:
    """Neighbours of one shape, at most so many of them."""
    for _, same in itertools.groupby(tiles, lambda tile: (tile.rows.length, tile.columns.length)):
        rest = list(same)
        yield from (rest[first : first + most] for first in range(0, len(rest), most))


def weights(span: Span, length: int, overlap: int, scale: int) -> Floats:
    """How much each output pixel of a tile counts along one axis where tiles are blended.

    Rises over `overlap` pixels from each edge that is not an edge of the picture; what tiles
    share is then divided by the sum of their weights.
    """
    place = np.arange(span.length * scale, dtype=np.float32) + np.float32(0.5)
    ramp = np.float32(max(1, overlap) * scale)
    ones = np.ones_like(place)
    rising = ones if span.start == 0 else np.minimum(place / ramp, 1)
    falling = ones if span.start + span.length >= length else np.minimum(place[::-1] / ramp, 1)
    result: Floats = np.minimum(rising, falling)
    return result
