"""Features for pictures that no judge knows: of a small network whose weights are random but fixed.

Random networks tell sets of pictures apart that trained ones were not made for (Naeem et al. 2020,
section 3.3). They see edges, colours and textures, and where these are; not what is shown.
"""

from __future__ import annotations

import itertools

import numpy as np
import torch
from torch import nn

from genloom.types import Floats

WIDTHS = (32, 64, 64)
CELLS = 2
"""The last map is averaged over so many cells each way."""
SEED = 0
CHUNK = 500


def random_features(pixels: Floats) -> Floats:
    """Features N×256 of pictures N×H×W×C in [0, 1], 8×8 pixels or more."""
    network = _network(pixels.shape[3])
    found = []
    for start in range(0, len(pixels), CHUNK):
        image = torch.from_numpy(pixels[start : start + CHUNK].transpose(0, 3, 1, 2).copy())
        with torch.no_grad():
            found.append(network(2 * image - 1).numpy())
    return np.concatenate(found)


def _network(channels: int) -> nn.Module:
    """Three strided convolutions with orthogonal weights, the same every time."""
    random = torch.Generator().manual_seed(SEED)
    layers: list[nn.Module] = []
    for before, after in itertools.pairwise((channels, *WIDTHS)):
        layer = nn.Conv2d(before, after, 4, stride=2, padding=1, bias=False)
        nn.init.orthogonal_(layer.weight, gain=2**0.5, generator=random)
        layers += [layer, nn.ReLU()]
    return nn.Sequential(*layers, nn.AdaptiveAvgPool2d(CELLS), nn.Flatten())
