"""Networks that enlarge pictures, and the discriminator that sharpens them."""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torch.nn import functional
from torch.nn.utils.parametrizations import spectral_norm

from genloom_train.blocks import Growth, Residual
from genloom_upscale import UpscalerConfig

SLOPE = 0.2


class UpscalingNet(nn.Module):
    """A plain enlargement plus what the network adds to it, by a sub-pixel convolution.

    All convolutions work at the small size (Shi et al. 2016). The added detail starts at zero, so
    an untrained network is the plain enlargement, and there is no checkerboard to unlearn.

    A `steady` one cannot draw dotted lines: where the small picture does not change along a row or
    a column, as beside a straight edge, the large one does not either. A sub-pixel convolution as
    such may draw there only what repeats every `scale` pixels, and a discriminator asks for it.

    With `finish` there are convolutions at the large size too, which see what was drawn.
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
        self.steady = config.steady
        self.finish = (
            Finish(width, config.finish, channels, config.scale) if config.finish else None
        )

    @torch.no_grad()
    def settle(self) -> None:
        """Make the last convolution steady, if it shall be; to be called after each update."""
        if self.steady:
            self.tail.weight.copy_(steady(self.tail.weight, self.scale))
            bias = self.tail.bias
            assert bias is not None
            phases = bias.view(-1, self.scale**2)
            bias.copy_(phases.mean(1, keepdim=True).expand_as(phases).flatten())

    def forward(self, image: Tensor) -> Tensor:
        """N×C×H×W → N×C×(scale·H)×(scale·W)."""
        x = self.head(image)
        x = x + self.body(x)
        added = functional.pixel_shuffle(self.tail(x), self.scale)
        corners = None if self.mode == "nearest" else False
        plain = functional.interpolate(
            image, scale_factor=float(self.scale), mode=self.mode, align_corners=corners
        )
        drawn = plain + added
        return drawn if self.finish is None else self.finish(drawn, x)


class Finish(Growth):
    """Adds to a large picture what it and the features of the small one suggest.

    The features are enlarged linearly: a convolution after that draws no pattern of its own (Odena,
    Dumoulin & Olah 2016). Starts by adding nothing.
    """

    def __init__(self, features: int, width: int, channels: int, scale: int) -> None:
        super().__init__()
        self.scale = float(scale)
        self.features = nn.Conv2d(features, width, 3, padding=1)
        self.picture = nn.Conv2d(channels, width, 3, padding=1)
        self.middle = nn.Conv2d(width, width, 3, padding=1)
        self.result = nn.Conv2d(width, channels, 3, padding=1)
        self.silence()

    def forward(self, drawn: Tensor, features: Tensor) -> Tensor:
        """N×C×sH×sW and N×features×H×W → N×C×sH×sW."""
        known = functional.interpolate(
            self.features(features), scale_factor=self.scale, mode="bilinear", align_corners=False
        )
        x = functional.relu(self.picture(drawn) + known)
        added: Tensor = self.result(functional.relu(self.middle(x)))
        return drawn + added

    @torch.no_grad()
    def silence(self) -> None:
        """Make it add nothing."""
        nn.init.zeros_(self.result.weight)
        nn.init.zeros_(self.result.bias)  # type: ignore[arg-type]


def steady(weight: Tensor, scale: int) -> Tensor:
    """The steady weights that are nearest to those of a sub-pixel convolution.

    For input that is constant along columns only the sums of a kernel's columns count. They are
    made the same at the `scale` places below each other within a small pixel, and the sums of its
    rows at those beside each other: an orthogonal projection.

    Args:
        weight: (C·scale²)×I×K×K, its first axis in the order of `pixel_shuffle`.
        scale: how many times height and width are enlarged.
    """
    # C, place below, place beside, I, row, column
    found = weight.view(-1, scale, scale, *weight.shape[1:])
    for place, taps in ((1, 4), (2, 5)):
        mean = found.mean(taps, keepdim=True)
        found = found - (mean - mean.mean(place, keepdim=True))
    return found.reshape(weight.shape)


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
