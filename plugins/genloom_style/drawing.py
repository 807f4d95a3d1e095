"""What generated pictures of styles are drawn with."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np

from genloom.types import Array, Floats

FINENESS = 2
"""How much larger than the picture it is drawn."""


@dataclass(frozen=True, kw_only=True)
class Look:
    """What a pattern looks like.

    Attributes:
        palette: colours from dark to light, N×3 in [0, 1].
        grain: pixels from line to line, across a stroke, or from tile to tile.
        turns: how much directions change over the picture; 0 keeps one.
    """

    palette: Floats
    grain: float
    turns: float = 1.0


Pattern = Callable[[int, Look, np.random.Generator], Floats]


def hills(size: int, count: int, random: np.random.Generator) -> Floats:
    """A smooth field, size×size, about −1 to 1, with `count` hills and valleys along a side."""
    import cv2

    coarse = random.uniform(-1, 1, (count + 3, count + 3)).astype(np.float32)
    return np.asarray(cv2.resize(coarse, (size, size), interpolation=cv2.INTER_CUBIC), np.float32)


def equalised(field: Floats) -> Floats:
    """A field with all values from 0 to 1 equally often."""
    ranks = np.empty(field.size, np.float32)
    ranks[np.argsort(field, axis=None, kind="stable")] = np.linspace(0, 1, field.size)
    return ranks.reshape(field.shape)


def mixed(palette: Floats, shade: float | Array) -> Array:
    """Colours between those of a palette: shade 0 is the first, 1 the last."""
    places = np.linspace(0, 1, len(palette))
    return np.stack([np.interp(shade, places, palette[:, c]) for c in range(3)], -1)


def reduced(picture: Floats, size: int) -> Floats:
    """A picture drawn large, reduced to size×size and kept in [0, 1]."""
    import cv2

    reduced = cv2.resize(picture, (size, size), interpolation=cv2.INTER_AREA)
    return np.asarray(np.clip(reduced, 0, 1), np.float32)
