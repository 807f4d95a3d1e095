"""Networks that paint in the style of any picture (Huang & Belongie 2017)."""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torch.nn import functional

from genloom_style import AdainConfig
from genloom_style.content import luminance
from genloom_style.discriminators import Comparer
from genloom_style.network import residual_blocks, twice
from genloom_train.efficientnet import CHANNELS, EfficientNetLite

EPSILON = 1e-5
"""Added to deviations that are divided by."""

LOUD = 4.0
"""What a style's detail is multiplied by, so that its deviation is about 1."""


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


class Pretrained(nn.Module):
    """Maps of EfficientNet-Lite0, which are not trained, mixed by a convolution 1×1, which is.

    A network that has learned to see photographs tells textures apart before training begins, as
    VGG19 does in the paper. The maps are brought to a quarter of the picture's size.
    """

    MAPS = 4

    def __init__(self, config: AdainConfig) -> None:
        super().__init__()
        self.seeing = EfficientNetLite(self.MAPS).requires_grad_(False)
        stem, *others = CHANNELS[: self.MAPS]
        self.mix = nn.Conv2d(4 * stem + sum(others), config.width, 1)

    def forward(self, image: Tensor) -> Tensor:
        """N×C×H×W in [0, 1] → N×width×H/4×W/4."""
        stem, half, quarter, eighth = self.seeing(image.expand(-1, 3, -1, -1))
        fine = [functional.pixel_unshuffle(stem, 2), functional.avg_pool2d(half, 2)]
        maps: Tensor = self.mix(torch.cat([*fine, quarter, twice(eighth)], 1))
        return maps


class Decoder(nn.Module):
    """Feature maps as a picture. It sees the style's own detail beside them, at every size.

    The maps come with the mean and deviation of the style's. The decoder reads them off, and they
    decide the mean and deviation of what each of its convolutions gives: conditional instance
    normalisation (Dumoulin et al. 2017; Ghiasi et al. 2017). So the style is told at every depth
    and size, not once. Numbers alone do not say what a tile or a stroke looks like; so the decoder
    sees some, repeated over the picture.
    """

    def __init__(self, config: AdainConfig, channels: int) -> None:
        super().__init__()
        width, known = config.width, config.width
        half, quarter = max(1, width // 2), max(1, width // 4)
        self.told = nn.Sequential(nn.Linear(2 * width, known), nn.ReLU())
        self.coarse = nn.Conv2d(16 * channels, width, 3, padding=1)
        self.body = nn.ModuleList(Told(width, known) for _ in range(config.blocks))
        self.up = nn.Conv2d(width + 4 * channels, half, 3, padding=1)
        self.up_told = Normal(half, known)
        self.narrow = nn.Conv2d(half, quarter, 1)
        self.fine = nn.Conv2d(quarter, quarter, 3, padding=1)
        self.finest = nn.Conv2d(channels, quarter, 3, padding=1)
        self.fine_told = Normal(quarter, known)
        self.tail = nn.Conv2d(quarter, channels, 3, padding=1)

    def forward(self, latent: Tensor, detail: Tensor) -> Tensor:
        """N×width×H/4×W/4 and N×C×P×P, about 0, which repeats → N×C×H×W, about [0, 1]."""
        style = self.told(torch.cat([mean(latent), deviation(latent)], 1).flatten(1))
        rows, columns = latent.shape[2:]
        seen = LOUD * repeated(detail, 4 * rows, 4 * columns)
        x = latent + self.coarse(functional.pixel_unshuffle(seen, 4))
        for block in self.body:
            x = block(x, style)
        x = self.up(torch.cat([twice(x), functional.pixel_unshuffle(seen, 2)], 1))
        x = self.narrow(functional.relu(self.up_told(x, style)))
        x = self.fine(twice(x)) + self.finest(seen)
        picture: Tensor = self.tail(functional.relu(self.fine_told(x, style)))
        return 0.5 + picture


def repeated(texture: Tensor, height: int, width: int) -> Tensor:
    """Squares N×C×P×P side by side, as N×C×height×width."""
    side = torch.ones_like(texture[0, 0, 0], dtype=torch.int64).sum()  # for ONNX's `Mod`
    rows, columns = (torch.arange(n, device=texture.device) % side for n in (height, width))
    return texture.index_select(2, rows).index_select(3, columns)


class Normal(nn.Module):
    """Instance normalisation; mean and deviation afterwards come from what is known of the style.

    Args:
        width: channels.
        known: numbers that are known.
    """

    def __init__(self, width: int, known: int) -> None:
        super().__init__()
        self.scale, self.shift = nn.Linear(known, width), nn.Linear(known, width)
        nn.init.ones_(self.scale.bias)
        nn.init.zeros_(self.shift.bias)

    def forward(self, x: Tensor, style: Tensor) -> Tensor:
        """N×width×H×W and N×known → N×width×H×W."""
        scale, shift = self.scale(style)[..., None, None], self.shift(style)[..., None, None]
        scale = scale / (deviation(x) + EPSILON)
        told: Tensor = x * scale + (shift - mean(x) * scale)
        return told


class Told(nn.Module):
    """A residual block with such normalisation."""

    def __init__(self, width: int, known: int) -> None:
        super().__init__()
        self.first, self.second = (nn.Conv2d(width, width, 3, padding=1) for _ in range(2))
        self.before, self.after = (Normal(width, known) for _ in range(2))

    def forward(self, x: Tensor, style: Tensor) -> Tensor:
        """N×width×H×W and N×known → N×width×H×W."""
        change = functional.relu(self.before(self.first(x), style))
        changed: Tensor = x + self.after(self.second(change), style)
        return changed


class AdaptiveNets(nn.Module):
    """An encoder and a decoder, and their discriminator where there is one."""

    def __init__(self, config: AdainConfig, channels: int = 3) -> None:
        super().__init__()
        learned = config.encoder == "learned"
        self.encoder = Encoder(config, channels) if learned else Pretrained(config)
        self.decoder = Decoder(config, channels)
        width = config.discriminator_width
        self.discriminator = Comparer(width, channels) if config.adversarial else None

    def forward(self, image: Tensor, style: Tensor, detail: Tensor) -> Tensor:
        """Pictures in the style of others, whose detail is given as the decoder takes it.

        They are N×C×H×W each, of whatever sizes. The first are seen without their colours, so that
        these are the style's.
        """
        latent: Tensor = self.encoder(luminance(image).expand_as(image))
        painted: Tensor = self.decoder(adapted(latent, self.encoder(style)), detail)
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
