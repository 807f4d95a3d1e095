"""Pictures in the style of others: stage `stylize`, the families `stylizer` and `adain`."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any, Literal

import numpy as np
from annotated_types import Interval, MultipleOf

from genloom.backend import Backend
from genloom.hookspecs import hookimpl
from genloom.stage import Model, Stage
from genloom.types import Batch
from genloom.types import Kind as KindOfBatch
from genloom_style.stages import DECODER, STYLE, Stylize

genloom_api = 1

Count = Annotated[int, Interval(ge=1, le=1024)]
Kind = Literal["random", "vgg19", "efficientnet"]
Weight = Annotated[float, Interval(ge=0, le=1000)]


@dataclass(frozen=True, kw_only=True)
class StylizerConfig:
    """The `model:` section of a recipe for a network that knows one style.

    Args:
        style: the picture whose style it learns; in a recipe, a path from the recipe's folder.
        style_size: longer side in pixels that it is reduced to: smaller makes a finer style.
        width: channels at a quarter of the picture's size.
        blocks: residual blocks.
        period: pixels after which the texture repeats that the network sees beside a picture; it
            begins as the middle of the style's picture, without slow changes of light and colour.
        features: feature maps that styles are compared in: those of `random` filters, or those of
            `vgg19` or `efficientnet`, where their weights are at hand.
        texture: weight of the difference of their Gram matrices.
        adversarial: weight of a discriminator's verdict on patches; 0 trains without one.
        discriminator_width: channels of its first layer.
        discriminator_rate: its learning rate, as a multiple of the recipe's.
        tone: weight of the difference in light between a picture and its painting.
        colour: weight of their difference in colour.
        grain: pixels of the finest detail in which these two are compared.
        content: weight of their difference in a coarse feature map.
    """

    style: Path
    style_size: Annotated[int, Interval(ge=32, le=4096)] = 512
    width: Count = 40
    blocks: Annotated[int, Interval(ge=1, le=64)] = 4
    period: Annotated[int, Interval(ge=8, le=1024), MultipleOf(8)] = 384
    features: Kind = "random"
    texture: Weight = 0.0
    adversarial: Weight = 1.0
    discriminator_width: Count = 32
    discriminator_rate: Annotated[float, Interval(gt=0, le=100)] = 0.1
    tone: Weight = 20.0
    colour: Weight = 0.0
    grain: Annotated[int, Interval(ge=1, le=64)] = 8
    content: Weight = 0.0


@dataclass(frozen=True, kw_only=True)
class AdainConfig:
    """The `model:` section of a recipe for networks that take their style from a picture.

    Args:
        styles: a folder of style pictures; in a recipe, a path from the recipe's folder. Unless
            said, patterns are generated.
        patterns: how many are generated.
        photographs: share of the training pictures that take another one as their style.
        encoder: whether the encoder is `learned`; or the first layers of `efficientnet`, which stay
            as they are, where their weights are at hand.
        width: channels of the feature maps, at a quarter of the picture's size.
        blocks: residual blocks of the decoder, and of a learned encoder.
        features: feature maps that styles are compared in: those of `random` filters, or those of
            `vgg19` or `efficientnet`, where their weights are at hand.
        palette: weight of the difference in mean and deviation of each colour, and of the
            differences between colours.
        texture: weight of the difference of their Gram matrices.
        adversarial: weight of a discriminator's verdict on patches; 0 trains without one.
        discriminator_width: channels of its first layer.
        discriminator_rate: its learning rate, as a multiple of the recipe's.
        identity: weight of the mean absolute difference between a picture and what is painted of it
            in its own style, for the first of each batch.
        tone: weight of the difference in light between a picture and its painting, once that has
            the picture's mean and contrast.
        colour: weight of their difference in colour, in the same way.
        grain: pixels of the finest detail in which these two are compared.
        content: weight of their difference in a coarse feature map, where each channel is brought
            to the same mean and deviation.
    """

    styles: Path | None = None
    patterns: Annotated[int, Interval(ge=1, le=10_000)] = 200
    photographs: Annotated[float, Interval(ge=0, le=1)] = 0.25
    encoder: Literal["learned", "efficientnet"] = "learned"
    width: Count = 48
    blocks: Annotated[int, Interval(ge=1, le=64)] = 3
    features: Kind = "random"
    palette: Weight = 5.0
    texture: Weight = 0.0
    adversarial: Weight = 1.0
    discriminator_width: Count = 32
    discriminator_rate: Annotated[float, Interval(gt=0, le=100)] = 0.1
    identity: Weight = 5.0
    tone: Weight = 10.0
    colour: Weight = 0.0
    grain: Annotated[int, Interval(ge=1, le=64)] = 8
    content: Weight = 0.0


class Stylizer(Backend):
    """Networks that know one style: `network` takes `image`, gives `result`."""

    family = "stylizer"
    config = StylizerConfig

    def training(self) -> Any:
        """The training side; imports torch."""
        from genloom_style.training import StylizerTraining

        return StylizerTraining


class Adain(Backend):
    """Networks that take their style from a picture, in the statistics of feature maps.

    `encoder` takes `image` and gives `latent`, `decoder` takes `latent` and `style` and gives
    `image`. Between them the stage `stylize` gives each channel the mean and deviation of the
    style's; `style` is the detail of the style's picture, as a square that repeats.
    """

    family = "adain"
    config = AdainConfig

    def decode(self, model: Model, batch: Batch) -> Batch:
        """Latents → pictures, without the detail of any style."""
        if STYLE not in model.card.parts[DECODER].inputs:
            return super().decode(model, batch)
        shape = (len(batch), model.card.channels, 1, 1)
        inputs = {"latent": batch.data, STYLE: np.zeros(shape, np.float32)}
        image = model.run(DECODER, inputs)["image"]
        pixels = np.ascontiguousarray(image.transpose(0, 2, 3, 1))
        return Batch(kind=KindOfBatch.IMAGE, items=batch.items, values=pixels)

    def training(self) -> Any:
        """The training side; imports torch."""
        from genloom_style.adaptive_training import AdainTraining

        return AdainTraining


@hookimpl
def genloom_stages() -> list[type[Stage]]:
    """Bring the stage."""
    return [Stylize]


@hookimpl
def genloom_backends() -> list[type[Backend]]:
    """Bring the families."""
    return [Adain, Stylizer]


@hookimpl
def genloom_models() -> list[Path]:
    """Bring the bundles beside this file."""
    return [Path(__file__).parent / "models"]
