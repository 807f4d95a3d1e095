"""A small convolutional network that tells classes apart."""

from __future__ import annotations

import itertools

from torch import Tensor, nn

from genloom_classifier import ClassifierConfig


class Classifier(nn.Module):
    """Convolutions to a vector of features, and one dense layer from there to the classes.

    Args:
        config: the options of the recipe.
        channels: of the pictures.
        classes: how many there are.
    """

    def __init__(self, config: ClassifierConfig, channels: int, classes: int) -> None:
        super().__init__()
        first, *_ = widths = config.widths
        layers: list[nn.Module] = [_convolution(channels, first)]
        for before, after in itertools.pairwise(widths):
            layers += [_convolution(before, after, stride=2), Bend(after)]
        self.body = nn.Sequential(*layers, nn.AdaptiveAvgPool2d(1), nn.Flatten())
        self.dropout = nn.Dropout(config.dropout)
        self.head = nn.Linear(widths[-1], classes)

    def forward(self, image: Tensor) -> tuple[Tensor, Tensor]:
        """Pictures N×C×H×W in [0, 1] → features N×F, none of them negative, and logits."""
        features: Tensor = self.body(2 * image - 1)
        return features, self.head(self.dropout(features))


class Bend(nn.Module):
    """relu(x + norm(conv(x))), 3×3, of constant width."""

    def __init__(self, width: int) -> None:
        super().__init__()
        self.change = nn.Sequential(_plain(width, width), nn.BatchNorm2d(width))
        self.relu = nn.ReLU()

    def forward(self, x: Tensor) -> Tensor:
        """N×width×H×W → the same shape."""
        bent: Tensor = self.relu(x + self.change(x))
        return bent


def _convolution(before: int, after: int, stride: int = 1) -> nn.Module:
    return nn.Sequential(_plain(before, after, stride), nn.BatchNorm2d(after), nn.ReLU())


def _plain(before: int, after: int, stride: int = 1) -> nn.Module:
    return nn.Conv2d(before, after, 3, stride=stride, padding=1, bias=False)
