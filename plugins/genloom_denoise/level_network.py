"""A small network that says how noisy a picture is."""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torch.nn import functional

from genloom_denoise import NoiseLevelConfig
from genloom_denoise.level import CELL

FAINTEST = 1e-3
"""Added to energies (on [0, 1]) before the logarithm: a quarter of an 8-bit step."""
CENTRE = 4.0
"""Added to logarithms of energies, which then lie around 0."""
MIDDLE = 2.0
"""What the logarithm of a level is about, where training begins."""
LEAK = 0.1
"""Slope below zero, so that no layer over cells falls silent."""
CALM, LEVELS = 2.0, (-1.0, 5.0)
"""How much less a cell counts for each step that it seems noisier, and steps that there are."""
SUREST = 4.0
"""Largest logarithm of a confidence, and smallest, negated."""


class NoiseLevelNetwork(nn.Module):
    """Pictures N×3×H×W, H and W multiples of `CELL` → maps of N×H/8×W/8.

    What two layers of filters find is averaged, as absolute values, over cells of 8×8 pixels. Of
    the logarithms of these energies, and of the cell's mean colour, a few layers over cells make an
    estimate for each cell and say how sure it is; behind the first they know what there is in the
    rest of the picture, whose calm parts show what of the others is noise. The filters begin
    without a mean, so that they see noise before they see pictures.
    """

    def __init__(self, config: NoiseLevelConfig, channels: int = 3) -> None:
        super().__init__()
        filters, width = config.filters, config.width
        self.fine = nn.Conv2d(channels, filters, 5, padding=2, padding_mode="replicate")
        self.coarse = nn.Conv2d(filters, filters, 3, stride=2, padding=1, padding_mode="replicate")
        self.enter = nn.Conv2d(2 * filters + channels, width, 1)
        self.layers = nn.ModuleList(
            nn.Conv2d(width, width, 3, padding=1, padding_mode="replicate")
            for _ in range(config.layers)
        )
        self.context = nn.Linear(width, width)
        self.tail = nn.Conv2d(width, 2, 1)
        with torch.no_grad():
            self.fine.weight -= self.fine.weight.mean((1, 2, 3), keepdim=True)
            if self.fine.bias is not None:
                self.fine.bias.zero_()
            self.tail.weight *= 0.1
            self.context.weight.zero_()  # what is summed over a picture must not lead at first

    def forward(self, image: Tensor) -> tuple[Tensor, Tensor]:
        """Logarithm of the noise level in 8-bit units plus `OFFSET`, and confidence, above 0."""
        fine = self.fine(image)
        coarse = self.coarse(functional.relu(fine))
        x = torch.cat(
            [_energies(fine, CELL), _energies(coarse, CELL // 2), _mean(image, CELL)], dim=1
        )
        x = functional.leaky_relu(self.enter(x), LEAK)
        for index, layer in enumerate(self.layers):
            x = x + functional.leaky_relu(layer(x), LEAK)
            if index == 0:
                x = x + self.context(x.mean((2, 3)))[..., None, None]
        found, sure = self.tail(x).float().unbind(1)
        found = found + MIDDLE
        calm = CALM * found.detach().clamp(*LEVELS)
        return found, (sure.clamp(-SUREST, SUREST) - calm).exp()


def pooled(log_level: Tensor, confidence: Tensor) -> Tensor:
    """The estimate for each picture, (N,): the mean of its cells weighted by confidence."""
    return (log_level * confidence).sum((1, 2)) / confidence.sum((1, 2))


def _mean(image: Tensor, cell: int) -> Tensor:
    return functional.avg_pool2d(image, cell)


def _energies(found: Tensor, cell: int) -> Tensor:
    """Logarithm of the mean absolute value in each cell."""
    return (_mean(found.abs(), cell) + FAINTEST).log() + CENTRE
