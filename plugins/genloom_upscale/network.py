"""Networks that enlarge pictures, and the discriminator that sharpens them."""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torch.nn import functional
from torch.nn.utils.parametrizations import spectral_norm

from genloom_train.blocks import Residual
from genloom_upscale import UpscalerConfig

SLOPE = 0.2


class UpscalingNet(nn.Module):
    """A plain enlargement plus what the network adds to it, by a sub-pixel convolution.

    All convolutions work at the small size (Shi et al. 2016). The added detail starts at zero, so
    an untrained network is the plain enlargement, and there is no checkerboard to unlearn.
    """

    def __init__(self, config: UpscalerConfig, channels: int = 3) -> None:
        super().__init__()
        width, self.scale = config.width, config.scale
        self.head = nn.Conv2d(channels, width, 3, padding=1)
        if config.network == "residual":
            self.body: nn.Module = _residual(width, config.blocks)
        else:
            self.body = _compact(width, config.blocks)
        self.mode = "bilinear" if config.network == "residual" else "nearest"
        self.tail = nn.Conv2d(width, channels * config.scale**2, 3, padding=1)
        nn.init.zeros_(self.tail.weight)
        nn.init.zeros_(self.tail.bias)  # type: ignore[arg-type]

    def forward(self, image: Tensor) -> Tensor:
        """N×C×H×W → N×C×(scale·H)×(scale·W)."""
        x = self.head(image)
        added = functional.pixel_shuffle(self.tail(x + self.body(x)), self.scale)
        corners = None if self.mode == "nearest" else False
        plain = functional.interpolate(
            image, scale_factor=float(self.scale), mode=self.mode, align_corners=corners
        )
        return plain + added


def _residual(width: int, count: int) -> nn.Module:
    blocks = [Residual(width) for _ in range(count)]
    with torch.no_grad():
        for block in blocks:  # without normalisation, depth must not add up at first
            block.second.weight.mul_(count**-0.5)
    return nn.Sequential(*blocks, nn.Conv2d(width, width, 3, padding=1))


def _compact(width: int, count: int) -> nn.Module:
    layers: list[nn.Module] = []
    for _ in range(count):
        layers += [nn.PReLU(width), nn.Conv2d(width, width, 3, padding=1)]
    return nn.Sequential(*layers, nn.PReLU(width))


class Discriminator(nn.Module):
    """How real a picture looks, patch by patch (Isola et al. 2017), with spectral norm."""

    def __init__(self, width: int, channels: int = 3) -> None:
        super().__init__()
        widths = (width, 2 * width, 4 * width, 4 * width)
        layers: list[nn.Module] = [nn.Conv2d(channels, width, 3, padding=1), nn.LeakyReLU(SLOPE)]
        before = width
        for after in widths[1:]:
            down = nn.Conv2d(before, after, 4, stride=2, padding=1)
            layers += [spectral_norm(down), nn.LeakyReLU(SLOPE)]
            same = nn.Conv2d(after, after, 3, padding=1)
            layers += [spectral_norm(same), nn.LeakyReLU(SLOPE)]
            before = after
        self.layers = nn.Sequential(*layers, nn.Conv2d(before, 1, 3, padding=1))

    def forward(self, image: Tensor) -> Tensor:
        """N×C×H×W in [0, 1] → N×1×H/8×W/8, higher where it looks real."""
        scores: Tensor = self.layers(2 * image - 1)
        return scores


class Upscalers(nn.Module):
    """The network, and its discriminator where there is one."""

    def __init__(self, config: UpscalerConfig, channels: int = 3) -> None:
        super().__init__()
        self.network = UpscalingNet(config, channels)
        self.discriminator = (
            Discriminator(config.discriminator_width, channels) if config.adversarial else None
        )
