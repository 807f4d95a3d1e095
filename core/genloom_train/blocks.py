"""Network blocks that several families share. None of them looks further than its kernels."""

from __future__ import annotations

from abc import ABC, abstractmethod

import torch
from torch import Tensor, nn
from torch.nn import functional


class Growth(nn.Module, ABC):
    """What a network may have more of than the bundle that its training begins with."""

    @abstractmethod
    def silence(self) -> None:
        """Make it change nothing; it learns from there."""


class Residual(Growth):
    """x + conv(relu(conv(x))), 3×3, of constant width (He et al. 2016, without normalisation)."""

    def __init__(self, width: int) -> None:
        super().__init__()
        self.first = nn.Conv2d(width, width, 3, padding=1)
        self.second = nn.Conv2d(width, width, 3, padding=1)

    def forward(self, x: Tensor) -> Tensor:
        """N×width×H×W → the same shape."""
        change: Tensor = self.second(functional.relu(self.first(x)))
        return x + change

    @torch.no_grad()
    def silence(self) -> None:
        """Make it the identity; it learns from there."""
        self.second.weight.zero_()
        if self.second.bias is not None:
            self.second.bias.zero_()


class SubPixelUp(nn.Module):
    """Twice the height and width by a 3×3 convolution and a pixel shuffle (Shi et al. 2016).

    The four phases of the shuffle start equal, as in nearest-neighbour enlargement, so that there
    is no checkerboard to unlearn (Aitken et al. 2017).
    """

    def __init__(self, width: int, out: int) -> None:
        super().__init__()
        self.convolution = nn.Conv2d(width, 4 * out, 3, padding=1)
        weight = self.convolution.weight.data
        weight.copy_(weight[::4].repeat_interleave(4, 0))
        nn.init.zeros_(self.convolution.bias)  # type: ignore[arg-type]

    def forward(self, x: Tensor) -> Tensor:
        """N×width×H×W → N×out×2H×2W."""
        return functional.pixel_shuffle(self.convolution(x), 2)
