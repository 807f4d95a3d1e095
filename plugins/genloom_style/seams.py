"""Squares that repeat without seams, made of the picture of a style."""

from __future__ import annotations

import torch
from torch import Tensor
from torch.nn import functional


def overlap(side: int) -> int:
    """Pixels in which `seamless` looks for a way to join the ends of a square of that side."""
    return max(1, side // 8)


def seamless(picture: Tensor, side: int) -> Tensor:
    """The middle of a picture, made so that copies of it side by side have no seams.

    Its last rows and columns are joined to its first ones where they differ least. A picture that
    is too small is repeated first, joined to itself in the same way.

    Args:
        picture: 1×C×H×W; H and W at least twice `overlap(side)`.
        side: height and width of the result, 1×C×side×side.
    """
    return _ring(_ring(picture, side).mT, side).mT.contiguous()


def detail(texture: Tensor) -> Tensor:
    """A seamless square without its slow changes of light and colour: 1×C×P×P, about 0."""
    half = max(1, overlap(texture.shape[-1]) // 2)
    around = functional.pad(texture, (2 * half,) * 4, mode="circular")
    for _ in range(2):
        around = functional.avg_pool2d(around, 2 * half + 1, 1)
    return texture - around


def _ring(picture: Tensor, side: int) -> Tensor:
    """The middle `side` rows, the first of which fit the last."""
    shared, rows = overlap(side), picture
    while rows.shape[2] < side + shared:
        meeting = _joined(rows[:, :, -shared:], picture[:, :, :shared])
        rows = torch.cat([rows[:, :, :-shared], meeting, picture[:, :, shared:]], 2)
    top = (rows.shape[2] - side - shared) // 2
    middle, beyond = rows[:, :, top : top + side], rows[:, :, top + side : top + side + shared]
    return torch.cat([_joined(beyond, middle[:, :, :shared]), middle[:, :, shared:]], 2)


def _joined(above: Tensor, below: Tensor) -> Tensor:
    """Two pictures of one size, 1×C×H×W: the one above a line along which they differ least.

    The line is found column by column, as in Efros & Freeman 2001, "Image quilting".
    """
    differ = (above - below).square().sum((0, 1))
    costs = [differ[:, 0]]
    for column in differ.T[1:]:
        costs.append(column + _least(costs[-1]))
    row = int(costs[-1].argmin())
    line = [row]
    for cost in costs[-2::-1]:
        first = max(0, row - 1)
        row = first + int(cost[first : row + 2].argmin())
        line.append(row)
    rows = torch.arange(len(differ)).reshape(-1, 1)
    return torch.where(rows < torch.tensor(line[::-1]), above, below)


def _least(costs: Tensor) -> Tensor:
    """The least of each number and its two neighbours."""
    found = functional.max_pool1d(-costs.reshape(1, 1, -1), 3, stride=1, padding=1)
    return -found.flatten()
