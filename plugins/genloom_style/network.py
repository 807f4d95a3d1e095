"""A network that paints in one style."""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torch.nn import functional

from genloom_style import StylizerConfig
from genloom_style.content import luminance
from genloom_style.discriminators import Discriminator
from genloom_train.blocks import Residual

MULTIPLE = 4
"""Heights and widths must be multiples of this: the networks work at a quarter of the size."""

RIM = 16
"""Pixels that a picture is continued by on each side: convolutions that pad with zeros draw lines
along borders, which are cut off with it."""


class StylingNet(nn.Module):
    """The picture's light plus what the network makes of it (after Johnson et al. 2016).

    Most of it works at a quarter of the picture's size. There is no normalisation, unlike in the
    paper, so that a pixel depends on a small square of the picture and large ones can be tiled.
    Such a network does to equal places equal things, and could draw no lines on an even sky. So
    beside the picture it sees a texture that repeats without seams. It begins as the detail of a
    part of the style's picture and is learned on.

    Args:
        config: of the recipe.
        texture: what it begins as, 1×C×P×P about 0, where P is the recipe's period; its right end
            fits its left one, and its lower end its upper one.
    """

    def __init__(self, config: StylizerConfig, texture: Tensor) -> None:
        super().__init__()
        channels, width = texture.shape[1], config.width
        half, quarter = max(1, width // 2), max(1, width // 4)
        self.texture = Texture(texture, MULTIPLE)
        self.head = nn.Conv2d(4 * 2 * channels, half, 3, padding=1)
        self.down = nn.Conv2d(half, width, 4, stride=2, padding=1)
        self.body = residual_blocks(width, config.blocks)
        self.up = nn.Conv2d(width, half, 3, padding=1)
        self.fine = nn.Conv2d(half, quarter, 3, padding=1)
        self.tail = nn.Conv2d(quarter, channels, 3, padding=1)
        with torch.no_grad():
            self.tail.weight.mul_(0.1)  # begin near the picture

    def forward(self, image: Tensor) -> Tensor:
        """N×C×H×W → the same shape. In training the texture begins anywhere, by chance."""
        if self.training:  # on parts of pictures, whose borders nobody will see
            return self._painted(image)
        continued = functional.pad(image, (RIM, RIM, RIM, RIM), mode="replicate")
        return self._painted(continued)[:, :, RIM:-RIM, RIM:-RIM]

    def _painted(self, image: Tensor) -> Tensor:
        seen = torch.cat([image, self.texture(image)], 1)
        fine = functional.relu(self.head(functional.pixel_unshuffle(seen, 2)))
        x = functional.relu(self.body(functional.relu(self.down(fine))))
        x = functional.relu(self.up(twice(x)) + fine)
        x = functional.relu(self.fine(twice(x)))
        change: Tensor = self.tail(x)
        return luminance(image) + change


class Texture(nn.Module):
    """A learned texture that repeats over pictures of any size: a torus, so it has no ends.

    Args:
        texture: what it begins as, 1×C×P×P.
        step: in training it begins anywhere, by chance, at multiples of this.
    """

    def __init__(self, texture: Tensor, step: int = 1) -> None:
        super().__init__()
        self.texture, self.step = nn.Parameter(texture.clone()), step

    def forward(self, x: Tensor) -> Tensor:
        """N×C'×H×W → N×C×H×W, which depends on nothing but the shape.

        In training each picture has another part of it.
        """
        if self.training:
            return torch.cat([self._part(x) for _ in range(len(x))])
        return self._part(x).expand(x.shape[0], -1, -1, -1)

    def _part(self, x: Tensor) -> Tensor:
        rows, columns = (self._places(side, x.device) for side in x.shape[2:])
        return self.texture[:, :, rows][:, :, :, columns]

    def _places(self, length: int, device: torch.device) -> Tensor:
        """Which row of the texture goes with each row of a picture."""
        side = self.texture.shape[-1]
        start = self.step * int(torch.randint(side // self.step, ())) if self.training else 0
        return (torch.arange(length, device=device) + start) % side


class Stylizers(nn.Module):
    """A network that knows one style, and its discriminator where there is one."""

    def __init__(self, config: StylizerConfig, texture: Tensor) -> None:
        super().__init__()
        self.network = StylingNet(config, texture)
        width, channels = config.discriminator_width, texture.shape[1]
        self.discriminator = Discriminator(width, channels) if config.adversarial else None


def residual_blocks(width: int, count: int) -> nn.Sequential:
    """Residual blocks whose changes do not add up with depth at first."""
    blocks = [Residual(width) for _ in range(count)]
    with torch.no_grad():
        for block in blocks:
            block.second.weight.mul_(count**-0.5)
    return nn.Sequential(*blocks)


def twice(x: Tensor) -> Tensor:
    """Twice the height and width, linearly: a convolution after it makes no checkerboard.

    Odena, Dumoulin & Olah 2016, "Deconvolution and checkerboard artifacts".
    """
    return functional.interpolate(x, scale_factor=2.0, mode="bilinear", align_corners=False)
