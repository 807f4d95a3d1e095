"""Generators and discriminators, for pictures of any size and colour.

The convolutional generator normalises over the batch while it trains, and by the running averages
afterwards, so a picture is then the same in whatever batch it is made. The discriminator does not:
real and made pictures have other averages, which would give them away.
"""

from __future__ import annotations

import itertools
import math
from collections.abc import Sequence

import torch
from torch import Tensor, nn
from torch.nn.utils.parametrizations import spectral_norm

from genloom.errors import GenloomError
from genloom_gan import GanConfig
from genloom_train.networks import Cut, dense_decoder, pyramid
from genloom_train.training import Shape

SLOPE = 0.2
"""Of leaky ReLUs (Radford et al. 2016, section 3)."""

LABEL = 4.0
"""Weight of a class beside the latent's dimensions, which are many and of size one."""


class Generator(nn.Module):
    """A latent, and the class where there are classes, to a picture in [0, 1]."""

    def __init__(self, config: GanConfig, shape: Shape, classes: int = 0) -> None:
        super().__init__()
        build = conv_generator if config.network == "convolutional" else dense_decoder
        self.body = build(shape, config.widths, config.latent + classes)

    def forward(self, latent: Tensor, label: Tensor | None = None) -> Tensor:
        """N×latent and N×classes (one-hot, or a mixture) → N×C×H×W."""
        if label is not None:
            latent = torch.cat([latent, LABEL * label], 1)
        return torch.sigmoid(self.body(latent))


class Discriminator(nn.Module):
    """A picture, and the class where there are classes, to a score: above 0 for real ones."""

    def __init__(self, config: GanConfig, shape: Shape, classes: int = 0) -> None:
        super().__init__()
        build = conv_features if config.network == "convolutional" else dense_features
        self.features, width = build(shape, config.discriminator_widths or config.widths)
        self.score = nn.Linear(width, 1)
        self.classes = nn.Linear(classes, width, bias=False) if classes else None
        if config.spectral_norm:
            for module in list(self.modules()):
                if isinstance(module, nn.Linear | nn.Conv2d):
                    spectral_norm(module)

    def forward(self, image: Tensor, label: Tensor | None = None) -> Tensor:
        """N×C×H×W in [0, 1] and N×classes (one-hot) → N.

        The class enters as an inner product with the features (Miyato & Koyama 2018, equation 3).
        """
        features = self.features(2 * image - 1)
        score: Tensor = self.score(features)[:, 0]
        if self.classes is not None:
            score = score + (self.classes(label) * features).sum(1)
        return score


def conv_generator(shape: Shape, widths: Sequence[int], latent: int) -> nn.Module:
    """One dense layer, then enlargements cut to each level's size; gives logits.

    Enlarged is by nearest neighbour, with a convolution after it, which draws no checkerboard
    (Odena et al. 2016).
    """
    sizes = pyramid(shape, len(widths))
    inner = (widths[-1], *sizes[-1])
    layers: list[nn.Module] = [nn.Linear(latent, math.prod(inner)), nn.Unflatten(1, inner)]
    layers += [nn.BatchNorm2d(widths[-1]), nn.ReLU()]
    outermost = max(8, widths[0] // 2)
    channels = [*reversed(widths), outermost]
    for (before, after), size in zip(
        itertools.pairwise(channels), reversed(sizes[:-1]), strict=True
    ):
        layers += [nn.Upsample(scale_factor=2), Cut(size)]
        layers += [nn.Conv2d(before, after, 3, padding=1, bias=False), nn.BatchNorm2d(after)]
        layers += [nn.ReLU()]
    return nn.Sequential(*layers, nn.Conv2d(outermost, shape[0], 3, padding=1))


def conv_features(shape: Shape, widths: Sequence[int]) -> tuple[nn.Module, int]:
    """Strided convolutions; gives all of the last map, and how many numbers that is.

    Kernels are a multiple of the stride, so that every pixel has the same say and the gradient
    draws no checkerboard (Odena et al. 2016).
    """
    height, width = shape[1:]
    least = 2 ** len(widths)
    if min(height, width) < least:
        raise GenloomError(
            f"'model.widths' of the discriminator halve the picture {len(widths)} times",
            expected=f"pictures of at least {least}×{least}",
            got=f"{height}×{width}",
        )
    layers: list[nn.Module] = []
    for before, after in itertools.pairwise([shape[0], *widths]):
        layers += [nn.Conv2d(before, after, 4, stride=2, padding=1), nn.LeakyReLU(SLOPE)]
        height, width = height // 2, width // 2
    return nn.Sequential(*layers, nn.Flatten()), widths[-1] * height * width


def dense_features(shape: Shape, widths: Sequence[int]) -> tuple[nn.Module, int]:
    """Fully connected layers; gives the units of the last, and how many there are."""
    layers: list[nn.Module] = [nn.Flatten()]
    for before, after in itertools.pairwise([math.prod(shape), *widths]):
        layers += [nn.Linear(before, after), nn.LeakyReLU(SLOPE)]
    return nn.Sequential(*layers), widths[-1]


class Adversaries(nn.Module):
    """Both networks of a training; only the generator is exported."""

    def __init__(self, config: GanConfig, shape: Shape, classes: int = 0) -> None:
        super().__init__()
        self.generator = Generator(config, shape, classes)
        self.discriminator = Discriminator(config, shape, classes)
