"""Discriminators: what teaches networks a style where feature maps do not know it."""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torch.nn import functional
from torch.nn.utils.parametrizations import spectral_norm

SLOPE = 0.2
RIM = 2
"""Verdicts at the border of a picture that are not asked for: they see beyond it."""


class Discriminator(nn.Module):
    """Whether patches are the style's own (Isola et al. 2017).

    All of it has spectral norm (Miyato et al. 2018), so that however sure it is, its verdict does
    not outweigh what a picture shows.
    """

    def __init__(self, width: int, channels: int = 3) -> None:
        super().__init__()
        self.patches = patches(width, channels)
        self.judge = spectral_norm(nn.Conv2d(2 * width, 1, 3, padding=1))

    def forward(self, image: Tensor) -> Tensor:
        """N×C×H×W in [0, 1] → N×1×H'×W', higher where it looks like the style."""
        scores: Tensor = self.judge(self.patches(2 * image - 1))
        return scores[:, :, RIM:-RIM, RIM:-RIM]


class Comparer(nn.Module):
    """Whether patches are of the style that another picture shows (Park et al. 2020)."""

    def __init__(self, width: int, channels: int = 3) -> None:
        super().__init__()
        self.patches = patches(width, channels)
        self.both = spectral_norm(nn.Conv2d(4 * width, 2 * width, 1))
        self.judge = spectral_norm(nn.Conv2d(2 * width, 1, 1))

    def forward(self, image: Tensor, style: Tensor) -> Tensor:
        """How much a picture looks like another, patch by patch.

        Args:
            image: N×C×H×W in [0, 1].
            style: M×C×H×W, where N is a multiple of M: the first M go with them, the next M again.

        Returns:
            N×1×H'×W', higher where it looks like its style.
        """
        seen = self.patches(2 * image - 1)[:, :, RIM:-RIM, RIM:-RIM]
        wanted = self.patches(2 * style - 1).mean((2, 3), keepdim=True)
        wanted = wanted.repeat(len(image) // len(style), 1, 1, 1).expand_as(seen)
        both = functional.leaky_relu(self.both(torch.cat([seen, wanted], 1)), SLOPE)
        scores: Tensor = self.judge(both)
        return scores


SEEN = 4 * (2 * RIM + 1)
"""Pixels of the smallest picture that they have a verdict on."""


def patches(width: int, channels: int) -> nn.Sequential:
    """Features of patches of about 40 pixels, with spectral norm: N×C×H×W → N×2·width×H/4×W/4."""
    wide = 2 * width
    first = nn.Conv2d(channels, width, 4, stride=2, padding=1)
    layers: list[nn.Module] = [spectral_norm(first), nn.LeakyReLU(SLOPE)]
    for before, kernel, stride in ((width, 4, 2), (wide, 3, 1), (wide, 3, 1)):
        convolution = nn.Conv2d(before, wide, kernel, stride=stride, padding=1)
        layers += [spectral_norm(convolution), nn.LeakyReLU(SLOPE)]
    return nn.Sequential(*layers)


def told_apart(real: Tensor, fake: Tensor) -> tuple[Tensor, dict[str, Tensor]]:
    """What a discriminator minimises (the hinge loss; Lim & Ye 2017), and how often it is right.

    Args:
        real: its scores of what it should find real, of any shape.
        fake: its scores of what it should not.
    """
    loss = functional.relu(1 - real).mean() + functional.relu(1 + fake).mean()
    return loss, {
        "loss_discriminator": loss.detach(),
        "accuracy_real": (real > 0).float().mean(),
        "accuracy_made": (fake < 0).float().mean(),
    }
