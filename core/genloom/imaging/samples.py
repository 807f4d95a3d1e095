"""Colour and alpha of a picture, put together some rows at a time."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import numpy as np

from genloom import scratch
from genloom.types import Array


@dataclass(frozen=True)
class Samples:
    """What is written of a picture, H×W×(1 to 4), without a copy of all of it.

    Attributes:
        pixels: H×W×C.
        alpha: H×W, of the same type.
    """

    pixels: Array
    alpha: Array | None = None

    @property
    def shape(self) -> tuple[int, int, int]:
        """Height, width and number of samples of a pixel."""
        height, width, count = self.pixels.shape
        return height, width, count + (self.alpha is not None)

    @property
    def dtype(self) -> np.dtype[Any]:
        """Type of the samples."""
        return self.pixels.dtype

    @property
    def nbytes(self) -> int:
        """Bytes of all samples."""
        return self.pixels.nbytes + (0 if self.alpha is None else self.alpha.nbytes)

    @property
    def whole(self) -> Array:
        """All rows."""
        return self[:]

    def __getitem__(self, rows: slice) -> Array:
        """Some rows, one after the other in memory."""
        if self.alpha is None:
            return np.ascontiguousarray(self.pixels[rows])
        both = np.concatenate([self.pixels[rows], self.alpha[rows, :, None]], axis=2)
        return np.ascontiguousarray(both)  # N×C×H×W of a stage leaves its mark on the order

    def strips(self, height: int = 0) -> Iterator[Array]:
        """All rows in order, so many at a time, by default about `scratch.STRIP` bytes."""
        step = height or max(1, self.shape[0] * scratch.STRIP // self.nbytes)
        for top in range(0, self.shape[0], step):
            yield self[top : top + step]
            scratch.release(self.pixels)
            if self.alpha is not None:
                scratch.release(self.alpha)
