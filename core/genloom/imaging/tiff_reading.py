"""A large TIFF as many small ones, so that a decoder never holds more than some strips of it."""

from __future__ import annotations

import io
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any, BinaryIO

from genloom import scratch
from genloom.imaging.deep import TiffLayout, with_directory

WIDTH, HEIGHT, BITS, PACKING, COLOURS = 256, 257, 258, 259, 262
OFFSETS, ROWS, COUNTS, PLANES = 273, 278, 279, 284
TILE_WIDTH, TILE_HEIGHT, TILE_OFFSETS, TILE_COUNTS = 322, 323, 324, 325
MEANING = (BITS, PACKING, COLOURS, 266, 277, 317, 320, 338, 339)
"""Tags that samples cannot be understood without; no other is carried over."""

RAW = 1
PACKINGS = (RAW, 5, 8, 32946, 32773)
"""None, LZW, deflate by both its numbers, PackBits: each strip by itself and without tables."""

PALETTE = 3
PLAIN = (0, 1, 2, PALETTE)
"""Grey either way round, RGB and palette."""


@dataclass(frozen=True)
class CutTiff:
    """A TIFF whose rows can be had in parts, each of whole strips or rows of tiles.

    Attributes:
        layout: of the whole.
        strips: where each strip or tile is in the file: begin and length.
        high: rows of one strip or tile.
        across: how many lie beside each other.
        row: bytes of a decoded row, with what tiles are wider than the picture.
    """

    layout: TiffLayout
    strips: tuple[tuple[int, int], ...]
    high: int
    across: int
    row: int

    @property
    def piece(self) -> int:
        """Bytes of the largest part, decoded or as it is stored, whichever is more."""
        stored = max(sum(count for _, count in own) for _, own in self._steps())
        return max(self.high * self._step * self.row, stored)

    @property
    def _step(self) -> int:
        """How many strips or rows of tiles are one part."""
        return max(1, scratch.STRIP // (self.high * self.row))

    def _steps(self) -> Iterator[tuple[slice, tuple[tuple[int, int], ...]]]:
        rows, step = self.high * self._step, self._step * self.across
        for part, top in enumerate(range(0, self.layout.height, rows)):
            own = self.strips[part * step : (part + 1) * step]
            yield slice(top, min(top + rows, self.layout.height)), own

    def parts(self, file: BinaryIO) -> Iterator[tuple[slice, bytes]]:
        """Rows, and a TIFF of them."""
        tags = self.layout.tags
        tiled = TILE_WIDTH in tags
        for rows, own in self._steps():
            body, offsets = bytearray(8), []
            for at, count in own:
                offsets.append(len(body))
                file.seek(at)
                body += file.read(count)
            entries: dict[int, Any] = {tag: tags[tag] for tag in MEANING if tag in tags}
            entries |= {WIDTH: self.layout.width, HEIGHT: rows.stop - rows.start}
            entries |= {TILE_OFFSETS if tiled else OFFSETS: tuple(offsets)}
            entries |= {TILE_COUNTS if tiled else COUNTS: tuple(count for _, count in own)}
            if tiled:
                entries |= {tag: tags[tag] for tag in (TILE_WIDTH, TILE_HEIGHT)}
            else:
                entries[ROWS] = self.high
            yield rows, with_directory(bytes(body), self.layout.order, entries)


def cut_tiff(file: BinaryIO, layout: TiffLayout) -> CutTiff | None:
    """How a large TIFF is cut; None for all else, and where it cannot be."""
    tags, nbytes = layout.tags, layout.height * layout.width * layout.samples * layout.bits // 8
    apart = tags.get(PLANES, 1) != 1 and layout.samples > 1
    if nbytes <= scratch.STRIP or apart or tags.get(PACKING, RAW) not in PACKINGS:
        return None
    if layout.photometric not in PLAIN:
        return None
    tiled = TILE_WIDTH in tags
    high = int(tags.get(TILE_HEIGHT if tiled else ROWS, layout.height))
    wide = int(tags[TILE_WIDTH]) if tiled else layout.width
    if wide < 1 or high < 1:
        return None
    across = -(-layout.width // wide)
    offsets = _numbers(tags.get(TILE_OFFSETS if tiled else OFFSETS))
    counts = _numbers(tags.get(TILE_COUNTS if tiled else COUNTS))
    if tags.get(PACKING, RAW) == RAW and not tiled and len(offsets) == 1:
        row = -(-layout.width * layout.samples * layout.bits // 8)
        offsets = tuple(range(offsets[0], offsets[0] + row * layout.height, row))
        counts, high = (row,) * layout.height, 1
    down = -(-layout.height // high)
    size = file.seek(0, io.SEEK_END)
    whole = all(at + count <= size for at, count in zip(offsets, counts, strict=False))
    whole = whole and sum(counts) <= size  # no two of them are the same bytes
    if not len(offsets) == len(counts) == down * across > 1 or not whole:
        return None  # damaged, or of one strip
    pixel = 4 if layout.photometric == PALETTE else layout.samples * -(-layout.bits // 8)
    strips = tuple(zip(offsets, counts, strict=True))
    return CutTiff(layout, strips, high, across, across * wide * pixel)


def _numbers(value: Any) -> tuple[int, ...]:
    return value if isinstance(value, tuple) else () if value is None else (int(value),)
