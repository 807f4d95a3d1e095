"""Pictures as arrays the way networks take them: channels, planes, parts, ways to turn them."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from genloom import imaging
from genloom.engine import tiling
from genloom.types import Array, Batch, Floats, as_float

LUMA = np.array([0.299, 0.587, 0.114], np.float32)
"""Weights of red, green and blue in grey (ITU-R BT.601, as Pillow and OpenCV use)."""


def turn(pixels: Array, way: int, *, back: bool = False) -> Array:
    """N×H×W×C in one of eight ways, 0 to 7: upside down, left to right, rows for columns."""
    swapped = pixels.swapaxes(1, 2) if way & 4 and not back else pixels
    turned = swapped[:, :: -1 if way & 1 else 1, :: -1 if way & 2 else 1]
    return turned.swapaxes(1, 2) if way & 4 and back else turned


def joined(arrays: Sequence[Array]) -> Array:
    """All of them along the first axis; a single one as it is."""
    return arrays[0] if len(arrays) == 1 else np.concatenate(arrays)


def cut(pixels: Array, tile: tiling.Tile) -> Array:
    """A tile of pictures N×H×W×C, padded where it reaches beyond them."""
    rows, columns = tile.rows, tile.columns
    return reflect(pixels, rows.length, columns.length, rows.start, columns.start)


def planes(pixels: Array) -> Floats:
    """Pictures N×H×W×C as floats N×C×H×W."""
    return np.ascontiguousarray(as_float(pixels).transpose(0, 3, 1, 2))


def reflect(pixels: Array, height: int, width: int, top: int = 0, left: int = 0) -> Array:
    """A part of N×H×W×C that may reach beyond the bottom and the right.

    What is beyond is mirrored about the last row and column, and repeats the last one where a
    picture is too small for that: as the tools do that community networks come from, so that pixels
    are equal.
    """
    bottom, right = top + height, left + width
    if bottom <= pixels.shape[1] and right <= pixels.shape[2]:
        return pixels[:, top:bottom, left:right]
    rows, columns = _mirrored(top, bottom, pixels.shape[1]), _mirrored(left, right, pixels.shape[2])
    return pixels[:, rows[:, None], columns]


def _mirrored(start: int, end: int, length: int) -> Array:
    """Which of so many rows stand for those from `start` to `end`."""
    places = np.arange(start, end)
    return np.where(places < length, places, np.maximum(0, 2 * (length - 1) - places))


def with_channels(pixels: Array, channels: int) -> Array:
    """Grey as three equal channels, or colour as its luma; dtype is kept for the former."""
    if pixels.shape[-1] == channels:
        return pixels
    if channels == 3:
        return np.repeat(pixels, 3, axis=-1)
    return as_float(pixels) @ LUMA[:, None]


def shown(batch: Batch) -> Array:
    """The pixels of a batch as networks see them: colours go on into what is transparent."""
    alphas = [item.alpha for item in batch.items]
    if all(alpha is None or alpha.shape != batch.size for alpha in alphas):
        return batch.pixels  # or enlarged already, and their alpha not yet
    pairs = zip(batch.pixels, alphas, strict=True)
    return joined([imaging.continued(*pair)[None] for pair in pairs])
