"""Encoders and decoders that several families share, for pictures of any size and colour."""

from __future__ import annotations

import itertools
import math
from collections.abc import Sequence

from torch import Tensor, nn

from genloom_train.blocks import Residual, SubPixelUp
from genloom_train.training import Shape


def dense_encoder(shape: Shape, widths: Sequence[int], out: int) -> nn.Module:
    """Fully connected, ReLU between the layers."""
    sizes = [math.prod(shape), *widths]
    layers: list[nn.Module] = [nn.Flatten()]
    for before, after in itertools.pairwise(sizes):
        layers += [nn.Linear(before, after), nn.ReLU()]
    return nn.Sequential(*layers, nn.Linear(sizes[-1], out))


def dense_decoder(shape: Shape, widths: Sequence[int], latent: int) -> nn.Module:
    """The encoder's layers in reverse."""
    sizes = [latent, *reversed(widths)]
    layers: list[nn.Module] = []
    for before, after in itertools.pairwise(sizes):
        layers += [nn.Linear(before, after), nn.ReLU()]
    return nn.Sequential(*layers, nn.Linear(sizes[-1], math.prod(shape)), nn.Unflatten(1, shape))


def pyramid(shape: Shape, levels: int) -> list[tuple[int, int]]:
    """Height and width of each level from the picture inwards: halved, rounded up."""
    sizes = [shape[1:]]
    for _ in range(levels):
        height, width = sizes[-1]
        sizes.append(((height + 1) // 2, (width + 1) // 2))
    return sizes


def conv_encoder(shape: Shape, widths: Sequence[int], out: int) -> nn.Module:
    """Strided convolutions, a residual block on the smallest map, one dense layer."""
    layers: list[nn.Module] = []
    for before, after in itertools.pairwise([shape[0], *widths]):
        layers += [nn.Conv2d(before, after, 3, stride=2, padding=1), nn.ReLU()]
    height, width = pyramid(shape, len(widths))[-1]
    dense = nn.Linear(widths[-1] * height * width, out)
    return nn.Sequential(*layers, Residual(widths[-1]), nn.ReLU(), nn.Flatten(), dense)


def conv_decoder(shape: Shape, widths: Sequence[int], latent: int) -> nn.Module:
    """One dense layer, a residual block, then sub-pixel enlargements cut to each level's size."""
    sizes = pyramid(shape, len(widths))
    inner = (widths[-1], *sizes[-1])
    layers: list[nn.Module] = [nn.Linear(latent, math.prod(inner)), nn.Unflatten(1, inner)]
    layers.append(Residual(widths[-1]))
    outermost = max(8, widths[0] // 2)
    channels = [*reversed(widths), outermost]
    for (before, after), size in zip(
        itertools.pairwise(channels), reversed(sizes[:-1]), strict=True
    ):
        layers += [nn.ReLU(), SubPixelUp(before, after), Cut(size)]
    return nn.Sequential(*layers, nn.ReLU(), nn.Conv2d(outermost, shape[0], 3, padding=1))


class Cut(nn.Module):
    """The top left part of a map, for levels of odd size."""

    def __init__(self, size: tuple[int, int]) -> None:
        super().__init__()
        self.size = size

    def forward(self, x: Tensor) -> Tensor:
        """N×C×H×W → N×C×size."""
        return x[:, :, : self.size[0], : self.size[1]]
