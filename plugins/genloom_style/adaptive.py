"""Networks that paint in the style of any picture (Huang & Belongie 2017)."""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torch.nn import functional

from genloom_style import AdainConfig
from genloom_style.discriminators import Comparer
from genloom_style.network import MULTIPLE, Texture, residual_blocks, twice

EPSILON = 1e-5
"""Added to deviations that are divided by."""


class Encoder(nn.Module):
    """A picture as feature maps at a quarter of its size, without normalisation."""

    def __init__(self, config: AdainConfig, channels: int) -> None:
        super().__init__()
        width, half = config.width, max(1, config.width // 2)
        self.head = nn.Conv2d(4 * channels, half, 3, padding=1)
        self.down = nn.Conv2d(half, width, 4, stride=2, padding=1)
        self.body = residual_blocks(width, config.blocks)

    def forward(self, image: Tensor) -> Tensor:
        """N×C×H×W in [0, 1] → N×width×H/4×W/4."""
        x = functional.relu(self.head(functional.pixel_unshuffle(2 * image - 1, 2)))
        maps: Tensor = self.body(functional.relu(self.down(x)))
        return maps


class Decoder(nn.Module):
    """Feature maps as a picture. It sees a learned texture, as `StylingNet` does."""

    def __init__(self, config: AdainConfig, channels: int) -> None:
        super().__init__()
        width, side = config.width, config.period // (2 * MULTIPLE)
        half, quarter = max(1, width // 2), max(1, width // 4)
        self.texture = Texture(0.5 * torch.randn(1, width, side, side))
        self.body = residual_blocks(width, config.blocks)
        self.up = nn.Conv2d(width, half, 3, padding=1)
        self.fine = nn.Conv2d(half, quarter, 3, padding=1)
        self.tail = nn.Conv2d(quarter, channels, 3, padding=1)

    def forward(self, latent: Tensor) -> Tensor:
        """N×width×H/4×W/4 → N×C×H×W, about [0, 1]."""
        x = functional.relu(self.body(latent + self.texture(latent)))
        x = functional.relu(self.up(twice(x)))
        picture: Tensor = self.tail(functional.relu(self.fine(twice(x))))
        return 0.5 + picture


class AdaptiveNets(nn.Module):
    """An encoder and a decoder, and their discriminator where there is one."""

    def __init__(self, config: AdainConfig, channels: int = 3) -> None:
        super().__init__()
        self.encoder, self.decoder = Encoder(config, channels), Decoder(config, channels)
        width = config.discriminator_width
        self.discriminator = Comparer(width, channels) if config.adversarial else None

    def forward(self, image: Tensor, style: Tensor) -> Tensor:
        """Pictures in the style of others, N×C×H×W each; their heights and widths may differ."""
        latent: Tensor = self.encoder(image)
        painted: Tensor = self.decoder(adapted(latent, self.encoder(style)))
        return painted


def adapted(content: Tensor, style: Tensor) -> Tensor:
    """Feature maps N×C×H×W with the mean and deviation of the style's in each channel.

    Adaptive instance normalisation (Huang & Belongie 2017, equation 8).
    """
    content, style = content.float(), style.float()
    unit = (content - mean(content)) / (deviation(content) + EPSILON)
    return unit * deviation(style) + mean(style)


def mean(maps: Tensor) -> Tensor:
    """N×C×H×W → N×C×1×1."""
    return maps.mean((2, 3), keepdim=True)


def deviation(maps: Tensor) -> Tensor:
    """N×C×H×W → N×C×1×1; its gradient is finite where maps are even."""
    return (maps - mean(maps)).square().mean((2, 3), keepdim=True).add(1e-8).sqrt()
