"""Two small pictures of one: neighbours, drawn at random (Huang et al. 2021, Neighbor2Neighbor)."""

from __future__ import annotations

import torch
from torch import Tensor

PAIRS = ((0, 1), (0, 2), (1, 3), (2, 3), (1, 0), (2, 0), (3, 1), (3, 2))
"""Which two of the four pixels of a 2×2 cell: neighbours, in either order."""


def neighbours(*pictures: Tensor) -> list[tuple[Tensor, Tensor]]:
    """Of each 2×2 cell two neighbouring pixels, N×C×H/2×W/2 each; the same ones of each picture.

    Odd heights and widths lose their last row or column.
    """
    count, _, height, width = pictures[0].shape
    cells = (count, height // 2, width // 2)
    device = pictures[0].device
    pairs = torch.tensor(PAIRS, device=device)[torch.randint(len(PAIRS), cells, device=device)]
    return [(_taken(p, pairs[..., 0]), _taken(p, pairs[..., 1])) for p in pictures]


def _taken(picture: Tensor, which: Tensor) -> Tensor:
    """The pixel `which` (0 to 3, N×H/2×W/2) of each cell."""
    height, width = (side - side % 2 for side in picture.shape[2:])
    even = picture[:, :, :height, :width]
    rows = [even[:, :, row::2, column::2] for row in (0, 1) for column in (0, 1)]
    stacked = torch.stack(rows, dim=-1)
    index = which[:, None, :, :, None].expand(*stacked.shape[:-1], 1)
    return stacked.gather(-1, index)[..., 0]
