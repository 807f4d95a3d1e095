"""Put the results of tiles together."""

from __future__ import annotations

import numpy as np

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
        self._sum: Array | None = None
        self._weight = np.zeros((size[0] * card.scale, size[1] * card.scale, 1), np.float32)

    @property
    def result(self) -> Array:
        """The whole picture, N×H×W×C."""
        assert self._sum is not None
        return self._sum / self._weight if self._overlap else self._sum

    def add(self, done: Array, tile: tiling.Tile) -> None:
        """Put one tile's result, N×H×W×C, where it belongs; uint8 only where none are blended."""
        if (tile.rows.length, tile.columns.length) == self._padded:
            height, width = self._weight.shape[:2]
            self._sum, self._overlap = np.ascontiguousarray(done[:, :height, :width]), 0
            return
        if self._sum is None:
            count, channels = len(done), done.shape[3]
            self._sum = np.zeros((count, *self._weight.shape[:2], channels), done.dtype)
        (y, top), (x, left) = self._kept(tile.rows, 0), self._kept(tile.columns, 1)
        piece = done[:, y, x]
        if not self._overlap:
            self._sum[:, top, left] = piece
            return
        rows = tiling.weights(tile.rows, self._padded[0], self._overlap, self._scale)[y]
        columns = tiling.weights(tile.columns, self._padded[1], self._overlap, self._scale)[x]
        weight = (rows[:, None] * columns)[..., None]
        self._sum[:, top, left] += piece * weight
        self._weight[top, left] += weight

    def _kept(self, span: tiling.Span, axis: int) -> tuple[slice, slice]:
        """What of a tile is used along an axis, within the tile and within the picture."""
        first, last = span.keep_from, span.keep_to
        if self._overlap:
            first, last = span.start, span.start + span.length
        start, scale = span.start, self._scale
        last = max(first, min(last, self._size[axis]))
        inside = slice((first - start) * scale, (last - start) * scale)
        return inside, slice(first * scale, last * scale)
