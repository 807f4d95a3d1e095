"""A small residual U-Net that is told how strong the noise is."""

from __future__ import annotations

import itertools
from collections.abc import Sequence

import torch
from torch import Tensor, nn
from torch.nn import functional

from genloom_denoise import DenoiserConfig
from genloom_train.blocks import Residual

LEVEL_SCALE = 10.0
"""Noise levels (σ / 255, mostly below 0.22) are multiplied by this before the first layer."""
EMBEDDING = 32
KNEE = 2 / 255
"""The noise level at which half of what the network finds is taken off."""


class DenoisingUnet(nn.Module):
    """image − gate(noise_level) · f(image, noise_level), gate(x) = x / (x + KNEE).

    f estimates the noise. The gate is 0 at level 0, where the picture passes unchanged, and nearly
    1 at noise that can be seen. (In proportion to the level f would have to give the noise in units
    of its deviation, and ReLUs divide badly: 1.5 dB less after a short training.) The picture
    enters 2× unshuffled (Zhang, Zuo & Zhang 2018, FFDNet); f is a U-Net (Ronneberger et al. 2015)
    of residual blocks without normalisation (Zhang et al. 2022, DRUNet). The level adds a vector to
    every scale.

    A blind network estimates the noise itself: image − f(image). Guides enter f beside the picture;
    where albedo is among them, a second output of f is multiplied by it, pixel by pixel, so that
    textures come out as sharp as they are there.
    """

    def __init__(self, config: DenoiserConfig, channels: int = 3) -> None:
        super().__init__()
        widths, count = config.widths, config.blocks
        blocks = (count,) * len(widths) if isinstance(count, int) else count
        self.widths, self.guides = widths, config.guides
        self.head = nn.Conv2d(4 * (channels + 3 * len(config.guides)), widths[0], 3, padding=1)
        self.level = None if config.blind else _embedding(sum(widths))
        self.encoders = nn.ModuleList(map(_blocks, widths, blocks))
        steps = list(itertools.pairwise(widths))
        self.downs = nn.ModuleList(nn.Conv2d(a, b, 2, stride=2) for a, b in steps)
        self.ups = nn.ModuleList(nn.ConvTranspose2d(b, a, 2, stride=2) for a, b in steps)
        self.decoders = nn.ModuleList(map(_blocks, widths[:-1], blocks))
        outputs = 2 if "albedo" in config.guides else 1
        self.tail = nn.Conv2d(widths[0], 4 * channels * outputs, 3, padding=1)
        self._calm()

    @torch.no_grad()
    def _calm(self) -> None:
        """Start near the identity: without normalisation, depth must not add up at first."""
        blocks = [module for module in self.modules() if isinstance(module, Residual)]
        for block in blocks:
            block.second.weight.mul_(len(blocks) ** -0.5)
        self.tail.weight.mul_(0.1)

    @property
    def multiple(self) -> int:
        """Heights and widths must be multiples of this."""
        return int(2 ** len(self.widths))

    def forward(
        self,
        image: Tensor,
        first: Tensor | None = None,
        second: Tensor | None = None,
        third: Tensor | None = None,
    ) -> Tensor:
        """Image N×C×H×W → the picture without the noise.

        The others are noise_level (N,) in σ / 255 unless the network is blind, then the guides,
        N×3×H×W each. (The exporter knows no variable number of arguments.)
        """
        more = [value for value in (first, second, third) if value is not None]
        level = None if self.level is None else more[0][:, None]
        guides = more if self.level is None else more[1:]
        found = self._estimate(torch.cat([image, *guides], 1), level)
        if "albedo" in self.guides:
            plain, shaded = found.chunk(2, dim=1)
            found = plain + shaded * guides[self.guides.index("albedo")]
        if level is None:
            return image - found
        return image - (level / (level + KNEE))[..., None, None] * found

    def _estimate(self, x: Tensor, level: Tensor | None) -> Tensor:
        """The U-Net: N×C×H×W → N×C'×H×W."""
        vectors: Sequence[Tensor] = ()
        if self.level is not None and level is not None:
            vectors = self.level(LEVEL_SCALE * level)[..., None, None].split(self.widths, dim=1)
        x = self.head(functional.pixel_unshuffle(x, 2))
        skips: list[Tensor] = []
        for index, encoder in enumerate(self.encoders):
            x = encoder(x + vectors[index] if vectors else x)
            if index < len(self.downs):
                skips.append(x)
                x = self.downs[index](x)
        for index in reversed(range(len(self.ups))):
            x = self.decoders[index](self.ups[index](x) + skips[index])
        return functional.pixel_shuffle(self.tail(x), 2)


def _embedding(count: int) -> nn.Module:
    """A noise level, scaled, to a vector for every level of the U-Net."""
    return nn.Sequential(nn.Linear(1, EMBEDDING), nn.ReLU(), nn.Linear(EMBEDDING, count))


def _blocks(width: int, count: int) -> nn.Module:
    return nn.Sequential(*[Residual(width) for _ in range(count)])
