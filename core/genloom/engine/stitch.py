"""Put the results of tiles together."""

from __future__ import annotations

import numpy as np

from genloom import scratch
from genloom.card import Card
from genloom.engine import tiling
from genloom.types import Array


class Stitch:
    """Puts the results of tiles together.

    Where the receptive field is finite, each pixel is taken from a tile that knows it exactly;
    where a network was cut that sees a picture whole, tiles are blended over their overlap.

    Args:
        size: height and width of the picture.
        padded: the same once padded to the model's size rule; what is beyond `size` is dropped.
        card: of the model.
    """

    def __init__(self, size: tuple[int, int], padded: tuple[int, int], card: Card) -> None:
        self._size, self._padded, self._scale = size, padded, card.scale
        self._overlap = card.size.overlap if card.receptive_field == "global" else 0
        self._height, self._width = size[0] * card.scale, size[1] * card.scale
        self._sum: Array | None = None
        self._weight: Array | None = None

    @property
    def result(self) -> Array:
        """The whole picture, N×H×W×C, once all tiles were added."""
        assert self._sum is not None
        if self._weight is not None:
            for part in scratch.strips(self._sum, self._weight):
                self._sum[part] /= self._weight[part]
            self._weight = None
        return self._sum

    def add(self, done: Array, tile: tiling.Tile) -> None:
        """Put one tile's result, N×H×W×C, where it belongs; uint8 only where none are blended."""
        if (tile.rows.length, tile.columns.length) == self._padded:
            self._sum = np.ascontiguousarray(done[:, : self._height, : self._width])
            return
        if self._sum is None:
            size = (len(done), self._height, self._width)
            self._sum = scratch.zeros((*size, done.shape[3]), done.dtype)
            if self._overlap:
                self._weight = scratch.zeros((1, *size[1:], 1), np.float32)
        (y, top), (x, left) = self._kept(tile.rows, 0), self._kept(tile.columns, 1)
        piece = done[:, y, x]
        if self._weight is None:
            self._sum[:, top, left] = piece
            scratch.release(self._sum)
            return
        rows = tiling.weights(tile.rows, self._padded[0], self._overlap, self._scale)[y]
        columns = tiling.weights(tile.columns, self._padded[1], self._overlap, self._scale)[x]
        weight = (rows[:, None] * columns)[..., None]
        self._sum[:, top, left] += piece * weight
        self._weight[:, top, left] += weight
        scratch.release(self._sum, self._weight)

    def _kept(self, span: tiling.Span, axis: int) -> tuple[slice, slice]:
        """What of a tile is used along an axis, within the tile and within the picture."""
        first, last = span.keep_from, span.keep_to
        if self._overlap:
            first, last = span.start, span.start + span.length
        start, scale = span.start, self._scale
        last = max(first, min(last, self._size[axis]))
        inside = slice((first - start) * scale, (last - start) * scale)
        return inside, slice(first * scale, last * scale)
