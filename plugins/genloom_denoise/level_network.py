"""A small network that says how noisy a picture is."""

from __future__ import annotations

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn import functional

from genloom.types import Floats
from genloom_denoise import NoiseLevelConfig
from genloom_denoise.level import CELL, OFFSET

WAVE = 5
"""Height and width of the filters, in pixels."""
SCALES = (1, 2, 4)
"""How much smaller the pictures are that the filters look at."""
POWERS = (-3.0, -1.0, 0.5, 2.0)
"""Powers of the means over cells: of calm cells mostly, to lively ones mostly."""
CALM = -3.0
"""Power of a cell's energy by which it counts where the calmest are looked at together."""
FAINTEST = 0.3
"""Added to energies in 8-bit units before the logarithm: what rounding leaves of nothing."""
FLAT = 0.2 / 255
"""How far apart values of a cell of one colour are at the most."""
MIDDLE, SPREAD = 1.0, 1.5
"""What the logarithms of energies are about, and how far around it they lie."""
START = 2.0
"""What the logarithm of a level is about, where training begins."""
LEAK = 0.1
"""Slope below zero."""
EMPTY = 1e-4
"""Added to means, which are 0 where all cells are of one colour."""
LEAST = 1e-9
"""What is divided by, at least, where no cell counts."""
EVIDENCE = 4
"""Numbers by which a verdict weighs the estimate of white noise."""
COLOURS = np.array([[0.299, 0.587, 0.114], [-0.169, -0.331, 0.5], [0.5, -0.419, -0.081]])
"""Luma, and the differences of blue and of red from it (BT.601)."""


class NoiseLevelNetwork(nn.Module):
    """Pictures N×3×H×W, H and W multiples of `CELL`, and levels of white noise → levels (N,).

    What waves of a cosine transform find at three scales is averaged over cells of 8×8 pixels, and
    that over the picture in several ways, from which calm cells decide to which lively ones do:
    noise is everywhere, texture mostly is not, and its amplitudes fall where those of noise do not.
    Also over the calmest cells together, by all fine waves. From the logarithms of these means a
    few layers tell the level. The waves do not learn.
    """

    waves: Tensor

    def __init__(self, config: NoiseLevelConfig, channels: int = 3) -> None:
        super().__init__()
        self.register_buffer("waves", torch.from_numpy(_waves(config.filters)))
        width = config.width
        found = len(SCALES) * config.filters * (len(POWERS) + 2) + channels + 1
        sizes = [found, *[width] * config.layers]
        self.layers = nn.ModuleList(map(nn.Linear, sizes[:-1], sizes[1:]))
        self.tail = nn.Linear(width, 1)
        self.verdict = Verdict(width)
        with torch.no_grad():
            self.tail.weight *= 0.1

    def forward(self, image: Tensor, white_level: Tensor) -> Tensor:
        """Logarithm of the noise level in 8-bit units plus `OFFSET`, (N,).

        `white_level` is what the estimate of white noise finds, σ / 255, (N,); below 0 unknown.
        """
        with torch.no_grad():
            x = self._statistics(image)
        for layer in self.layers:
            x = functional.leaky_relu(layer(x), LEAK)
        found: Tensor = self.tail(x)[:, 0] + START
        shift: Tensor = self.verdict(x, found, white_level)
        return found + shift

    def _statistics(self, image: Tensor) -> Tensor:
        """What is found in pictures, N×C, about -1 to 2."""
        responses = [self._responses(image, scale) for scale in SCALES]
        absolute, squares = (
            torch.cat([_cells(kind(r), s) for r, s in zip(responses, SCALES, strict=True)], 1)
            for kind in (torch.abs, torch.square)
        )
        lively = _lively(image)
        share = lively.mean((2, 3))
        counting = lively / share.clamp_min(LEAST)[..., None, None]
        energies = absolute + FAINTEST
        means = [((energies**p * counting).mean((2, 3)) + EMPTY).pow(1 / p).log() for p in POWERS]
        peaks = (((squares + FAINTEST**2).sqrt() * counting).mean((2, 3)) + EMPTY).log()
        calm = self._calmness(energies) * counting
        together = (energies * calm).sum((2, 3)) / calm.sum((2, 3)).clamp_min(LEAST)
        calmest = together.clamp_min(FAINTEST).log()
        logs = torch.cat([*means, peaks, calmest], 1)
        colour = (_cells(image, 1) * counting).mean((2, 3))
        return torch.cat([(logs - MIDDLE) / SPREAD, colour, share], 1)

    def _calmness(self, energies: Tensor) -> Tensor:
        """How much cells count for what the calmest of them hold, N×1×h×w."""
        fine = energies[:, : 2 * len(self.waves)]
        return (CALM * fine.log().mean(1, keepdim=True)).exp()

    def _responses(self, image: Tensor, scale: int) -> Tensor:
        """What the waves find in pictures reduced, in 8-bit units."""
        small = functional.avg_pool2d(image, scale) if scale > 1 else image
        around = functional.pad(small, (WAVE // 2,) * 4, mode="replicate")
        return 255 * functional.conv2d(around, self.waves)


class Verdict(nn.Module):
    """How far the level of a picture moves towards that of white noise.

    Where a picture holds white noise the estimate of it is right to a few hundredths; in texture it
    is too high, and in JPEG files and for coloured blotches too low.
    """

    def __init__(self, width: int) -> None:
        super().__init__()
        self.enter = nn.Linear(width + EVIDENCE, width // 2)
        self.tail = nn.Linear(width // 2, 1)

    def forward(self, picture: Tensor, found: Tensor, white_level: Tensor) -> Tensor:
        """The shift of the logarithm `found`, (N,), from what is known of a picture, N×C."""
        known = (white_level >= 0).float()
        white = (255 * white_level.clamp_min(0) + OFFSET).log()
        apart = white - found
        evidence = torch.stack([found, white, apart, apart.abs()], 1)
        x = functional.leaky_relu(self.enter(torch.cat([picture, evidence], 1)), LEAK)
        share: Tensor = self.tail(x)[:, 0].sigmoid()
        return known * share * apart


def _waves(count: int) -> Floats:
    """Filters count×3×5×5 of norm 1 without a mean: half for luma, a quarter for each difference.

    Waves of the cosine transform, from the finest to the coarsest, spread evenly.
    """
    places = np.arange(WAVE)
    basis = np.cos(np.pi * (places + 0.5) * places[:, None] / WAVE)
    basis /= np.linalg.norm(basis, axis=1, keepdims=True)
    colours = COLOURS / np.linalg.norm(COLOURS, axis=1, keepdims=True)
    pairs = [(i, j) for i in places for j in places if i + j > 0]
    order = sorted(pairs, key=lambda pair: -(pair[0] ** 2 + pair[1] ** 2))
    quarter = count // 4
    found = [
        colour[:, None, None] * np.outer(basis[down], basis[along])
        for colour, many in zip(colours, (count - 2 * quarter, quarter, quarter), strict=True)
        for down, along in (order[index * len(order) // many] for index in range(many))
    ]
    return np.stack(found).astype(np.float32)


def _cells(values: Tensor, scale: int) -> Tensor:
    """The mean in each cell of `CELL` pixels before the picture was reduced."""
    return functional.avg_pool2d(values, CELL // scale)


def _lively(image: Tensor) -> Tensor:
    """1 for cells that are not of one colour, nor beside such a one, else 0; N×1×H/8×W/8.

    What is cut out, blown out or a bar shows no noise, and at its edge only a part.
    """
    spans = functional.max_pool2d(image, CELL) + functional.max_pool2d(-image, CELL)
    flat = (spans.amax(1, keepdim=True) <= FLAT).float()
    return 1 - functional.max_pool2d(flat, 3, stride=1, padding=1)
