"""Patterns that repeat from one small pixel to the next: no loss of single pixels sees them."""

from __future__ import annotations

import torch
from torch import Tensor
from torch.nn import functional

CELLS = 8
"""Over so many small pixels a pattern is looked for."""
NEAR = 5
"""So many pixels in height and width count as near."""
DIRECTIONS = ((0, 1), (1, 0), (1, 1), (1, -1))
"""Rows and columns that one step leads down and to the right: along, down, and both diagonals."""


def checkerboard(error: Tensor, scale: int) -> Tensor:
    """How strongly an error N×C×H×W repeats every `scale` pixels over an area; 0 is not at all.

    The pixels at one place within their small pixel are averaged over `CELLS`² small pixels: what
    is left of their differences is a pattern. The mean of its absolute values.
    """
    places = functional.pixel_unshuffle(error, scale)
    cells = min(CELLS, *places.shape[2:])
    mean = functional.avg_pool2d(places, cells, max(1, cells // 2))
    pattern = mean.reshape(len(error), -1, scale**2, *mean.shape[2:])
    return (pattern - pattern.mean(2, keepdim=True)).abs().mean()


def dotted(made: Tensor, truth: Tensor, scale: int) -> Tensor:
    """How much stronger patterns along lines are than in the true pictures; 0 is nowhere.

    Along rows, columns and diagonals every `scale`-th pixel is averaged, over half of `CELLS` small
    pixels, or what fits: what such means of pixels that follow each other differ by is a pattern.
    It counts as far as the next half has it too, so that one edge across the line is none, and as
    far as it is stronger than any near it in the true picture, so that texture is none.

    Args:
        made: N×C×H×W.
        truth: the same shape.
        scale: the period of the patterns, in pixels.
    """
    half = max(1, min(CELLS, min(made.shape[2:]) // scale - 1) // 2)
    found = []
    for down, right in DIRECTIONS:
        with torch.no_grad():
            there = _common(truth, scale, half, down, right)
            allowed = functional.max_pool2d(there, NEAR, stride=1, padding=NEAR // 2)
        excess = _common(made, scale, half, down, right) - allowed
        found.append(functional.relu(excess).mean())
    return torch.stack(found).mean()


def stray(made: Tensor, truth: Tensor) -> Tensor:
    """How much more detail pictures N×C×H×W have than the true ones have anywhere near; 0 is none.

    Detail is the distance from the mean over `NEAR`² pixels. Edges and texture may lie and look a
    little otherwise than in the true picture; faint lines beside an edge, where that is smooth, may
    not. The mean over all pixels.
    """
    allowed = functional.max_pool2d(_detail(truth), NEAR, stride=1, padding=NEAR // 2)
    return functional.relu(_detail(made) - allowed).mean()


def _detail(image: Tensor) -> Tensor:
    reach = NEAR // 2
    around = functional.avg_pool2d(image, NEAR, 1, reach, count_include_pad=False)
    return (image - around).abs()


def _common(image: Tensor, scale: int, half: int, down: int, right: int) -> Tensor:
    comb = torch.stack(_steps(image, half, scale * down, scale * right)).mean(0)
    phases = _steps(comb, scale, down, right)
    pattern = phases[0] - torch.stack(phases).mean(0)
    here, there = _steps(pattern, 2, half * scale * down, half * scale * right)
    return torch.minimum(here.abs(), there.abs()) * (here * there > 0)


def _steps(values: Tensor, count: int, down: int, right: int) -> list[Tensor]:
    """`count` parts of pictures, each so much further than the one before, as large as can be."""
    height = values.shape[2] - (count - 1) * down
    width, start = values.shape[3] - (count - 1) * abs(right), max(0, -(count - 1) * right)
    return [
        values[:, :, row : row + height, column : column + width]
        for row, column in ((k * down, start + k * right) for k in range(count))
    ]
