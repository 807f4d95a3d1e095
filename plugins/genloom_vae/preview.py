"""The sheet that shows how a training goes."""

from __future__ import annotations

import torch
from torch import Tensor

ROW = 8
"""Pictures in a row."""


def sheet(image: Tensor, again: Tensor, drawn: Tensor) -> tuple[Tensor, int]:
    """Rows of pictures, each above its reconstructions; then samples; and how many make a row."""
    row = min(ROW, len(image))
    pairs = [
        part
        for start in range(0, len(image), row)
        for part in (image[start : start + row], again[start : start + row])
    ]
    return torch.cat([*pairs, drawn]), row
