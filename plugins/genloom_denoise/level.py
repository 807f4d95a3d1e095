"""How noisy pictures are, as a network of the family `noise-level` finds it in a few crops."""

from __future__ import annotations

import math
from collections.abc import Sequence

import numpy as np

from genloom.card import Card
from genloom.errors import GenloomError
from genloom.stage import Model
from genloom.types import Array, Batch, Floats, as_float
from genloom_denoise.estimate import SMALLEST, estimate_sigma_of

CELL = 8
"""Height and width of the cells over which the network averages what it finds, in pixels."""
OFFSET = 0.5
"""Added to levels in 8-bit units before the logarithm, of which means and errors are taken."""
PART, PORTS = "estimator", {"image", "white_level"}
"""The part of a bundle that is asked, and what it takes."""
SIDE, MOST = 128, 12
"""Height and width of a crop, and crops of a picture at the most; smaller pictures go whole."""
PLACES = 8
"""Rows and columns of the places at which crops may lie."""
LIVELY = 0.5
"""A crop counts that has this share of what the liveliest has in pixels that may show noise."""
UNKNOWN = -1.0
"""The level of white noise where there is no estimate of it."""
STRONGEST = 100 / 255
"""The highest level that is ever told."""


def check_estimator(card: Card) -> None:
    """The network must take a picture and the level of white noise."""
    inputs = set(card.parts[PART].inputs)
    if inputs != PORTS:
        raise GenloomError(
            f"'{card.name}' estimates noise in another way",
            expected=f"a network that takes {', '.join(sorted(PORTS))}",
            got=", ".join(sorted(inputs)),
            hint="Train it again: genloom train noise-level -o MODELS --data PHOTOGRAPHS",
        )


def noise_levels(batch: Batch, model: Model) -> Floats:
    """σ / 255 of each picture, (N,), 0 to `STRONGEST`.

    The network is told how much white noise there would be. It sees the crops of a picture one
    below the other, and no other's, so the batch changes nothing.
    """
    return np.array([_level(one, model) for one in batch], np.float32)


def _level(picture: Batch, model: Model) -> float:
    """σ / 255 of one picture, 0 to `STRONGEST`."""
    crops = _crops(picture.pixels[0], picture.items[0].alpha)
    padded = np.concatenate([_padded(crop) for crop in crops])
    fitted = model.fit(Batch.images([picture.items[0]], padded[None]))
    white = np.array([_white(crops)], np.float32)
    found = model.run(PART, {"image": fitted.data, "white_level": white})
    return min(max(math.exp(found["log_level"][0]) - OFFSET, 0.0) / 255, STRONGEST)


def _white(crops: Sequence[Array]) -> float:
    """σ / 255 of white noise in crops of a picture; of pictures too small to tell, `UNKNOWN`."""
    if min(crops[0].shape[:2]) < SMALLEST:
        return UNKNOWN
    return estimate_sigma_of([as_float(crop).transpose(2, 0, 1) for crop in crops]) / 255


def _crops(pixels: Array, alpha: Array | None = None) -> list[Array]:
    """Of a picture H×W×C all, or crops that lie all over it where it is not of one colour.

    Places are multiples of `CELL`, as those of JPEG's blocks are. What is wholly transparent where
    there is an `alpha`, H×W, is of one colour.
    """
    height, width = pixels.shape[:2]
    if height * width <= MOST * SIDE * SIDE:
        return [_opaque(pixels, alpha)]
    places = [(top, left) for top in _places(height) for left in _places(width)]
    parts = [(slice(top, top + SIDE), slice(left, left + SIDE)) for top, left in places]
    crops = [_opaque(pixels[part], None if alpha is None else alpha[part]) for part in parts]
    alive = np.array([_alive(crop) for crop in crops])
    chosen = np.flatnonzero(alive >= LIVELY * alive.max())
    spread = np.linspace(0, len(chosen) - 1, min(MOST, len(chosen)))
    return [crops[index] for index in chosen[spread.round().astype(int)]]


def _opaque(pixels: Array, alpha: Array | None) -> Array:
    if alpha is None:
        return pixels
    result: Array = np.where(np.expand_dims(alpha > 0, 2), pixels, pixels.dtype.type(0))
    return result


def _places(side: int) -> list[int]:
    last = max(0, side - SIDE)
    return sorted({int(place) // CELL * CELL for place in np.linspace(0, last, PLACES)})


def _padded(pixels: Array) -> Array:
    """With its mirror image up to the next multiple of `CELL`, and at least two cells."""
    missing = [max(2 * CELL, -(-side // CELL) * CELL) - side for side in pixels.shape[:2]]
    return np.pad(pixels, ((0, missing[0]), (0, missing[1]), (0, 0)), mode="symmetric")


def _alive(crop: Array) -> float:
    """Share of pixels, of every other row, that differ from the next one, not all at an extreme."""
    rows = crop[::2]
    top = np.iinfo(crop.dtype).max if crop.dtype.kind == "u" else 1
    left, right = rows[:, :-1], rows[:, 1:]
    inside = ((left > 0) & (left < top)).any(axis=2)
    return float(((left != right).any(axis=2) & inside).mean())
