"""Cut a picture into tiles of one shape, and know which part of each tile's result to keep.

Tiled equals untiled for a network whose output pixels depend on a finite square of input pixels:
every kept pixel lies at least half that square away from any edge of its tile that is not an edge
of the picture. Offsets are multiples of the network's total stride, so that every tile meets the
same phase of its strided layers as the whole picture would.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass


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

    Args:
        length: of the axis, a multiple of `multiple`.
        tile: length of a tile; rounded down to a multiple.
        margin: pixels at inner edges that are not kept.
        multiple: of which every offset is one.

    Raises:
        ValueError: when the tile is too short to keep anything.
    """
    if length <= tile:
        return [Span(0, length, 0, length)]
    tile = tile // multiple * multiple
    margin = -(-margin // multiple) * multiple
    step = tile - 2 * margin
    if step < multiple:
        raise ValueError(
            f"a tile of {tile} pixels is too small for a margin of {margin} on either side; "
            f"at least {2 * margin + multiple} are needed"
        )
    starts = [*range(0, length - tile, step), length - tile]
    found: list[Span] = []
    kept = 0
    for start in starts:
        end = length if start == starts[-1] else start + tile - margin
        found.append(Span(start, tile, kept, end))
        kept = end
    return found


def tiles(height: int, width: int, tile: int, margin: int, multiple: int) -> Iterator[Tile]:
    """Cover a picture with tiles, row by row; see `spans`."""
    columns = spans(width, tile, margin, multiple)
    for rows in spans(height, tile, margin, multiple):
        for column in columns:
            yield Tile(rows, column)


def padded(length: int, multiple: int, minimum: int) -> int:
    """The smallest length a network takes that is not below `length`."""
    return -(-max(length, minimum) // multiple) * multiple
