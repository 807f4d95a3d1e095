"""Squares that repeat without seams, made of the picture of a style."""

from __future__ import annotations

from typing import Literal

import numpy as np

from genloom.types import Array, Floats

Ends = Literal["wrap", "symmetric"]
"""How numpy calls the ways in which a picture goes on beyond its borders."""


def overlap(side: int) -> int:
    """Pixels in which `seamless` looks for a way to join the ends of a square of that side."""
    return max(1, side // 8)


def seamless(picture: Floats, side: int) -> Floats:
    """The middle of a picture, made so that copies of it side by side have no seams.

    Its last rows and columns are joined to its first ones where they differ least. A picture that
    is too small is repeated first, joined to itself in the same way.

    Args:
        picture: 1×C×H×W; H and W at least twice `overlap(side)`.
        side: height and width of the result, 1×C×side×side.
    """
    ring = _ring(_ring(picture, side).swapaxes(2, 3), side).swapaxes(2, 3)
    return np.ascontiguousarray(ring)


def detail(texture: Floats, half: int, ends: Ends) -> Floats:
    """Pictures N×C×H×W without their slow changes of light and colour, about 0.

    Args:
        texture: the pictures.
        half: what is left is finer than about twice this, in pixels.
        ends: how a picture goes on beyond its borders: as one that repeats, or mirrored.
    """
    slow = texture
    for axis in (2, 3, 2, 3):
        slow = _averaged(slow, half, axis, ends)
    return texture - slow


def _averaged(picture: Floats, half: int, axis: int, ends: Ends) -> Floats:
    """Means of 2·half + 1 neighbours along an axis."""
    around = [(half + 1, half) if n == axis else (0, 0) for n in range(picture.ndim)]
    sums = np.cumsum(np.pad(picture, around, mode=ends), axis, dtype=np.float64)
    length = picture.shape[axis]
    first, last = (np.take(sums, np.arange(length) + n, axis) for n in (0, 2 * half + 1))
    return np.asarray((last - first) / (2 * half + 1), np.float32)


def _ring(picture: Floats, side: int) -> Floats:
    """The middle `side` rows, the first of which fit the last."""
    shared, rows = overlap(side), picture
    while rows.shape[2] < side + shared:
        meeting = _joined(rows[:, :, -shared:], picture[:, :, :shared])
        rows = np.concatenate([rows[:, :, :-shared], meeting, picture[:, :, shared:]], 2)
    top = (rows.shape[2] - side - shared) // 2
    middle, beyond = rows[:, :, top : top + side], rows[:, :, top + side : top + side + shared]
    return np.concatenate([_joined(beyond, middle[:, :, :shared]), middle[:, :, shared:]], 2)


def _joined(above: Floats, below: Floats) -> Floats:
    """Two pictures of one size, 1×C×H×W: the one above a line along which they differ least.

    The line is found column by column, as in Efros & Freeman 2001, "Image quilting".
    """
    differ = np.square(above - below).sum((0, 1))
    costs = [differ[:, 0]]
    for column in differ.T[1:]:
        costs.append(column + _least(costs[-1]))
    row = int(costs[-1].argmin())
    line = [row]
    for cost in costs[-2::-1]:
        first = max(0, row - 1)
        row = first + int(cost[first : row + 2].argmin())
        line.append(row)
    rows = np.arange(len(differ)).reshape(-1, 1)
    return np.where(rows < np.array(line[::-1]), above, below)


def _least(costs: Array) -> Array:
    """The least of each number and its two neighbours."""
    beyond = np.pad(costs, 1, constant_values=np.inf)
    return np.asarray(np.minimum(np.minimum(beyond[:-2], beyond[2:]), costs))
