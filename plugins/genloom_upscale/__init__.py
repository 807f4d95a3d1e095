"""Image-to-image networks in a pipeline: stages `upscale`, `apply`; the family `upscaler`."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any, Literal

from annotated_types import Interval

from genloom.backend import Backend
from genloom.hookspecs import hookimpl
from genloom.stage import Stage
from genloom_upscale.stages import Apply, Upscale

genloom_api = 1

Weight = Annotated[float, Interval(ge=0, le=1000)]


@dataclass(frozen=True, kw_only=True)
class UpscalerConfig:
    """The `model:` section of a recipe for a network that enlarges.

    Args:
        scale: how many times height and width are enlarged.
        network: `residual`, blocks of two convolutions (SRResNet without its normalisation: Ledig
            et al. 2017, Lim et al. 2017); or `compact`, a plain stack of convolutions.
        width: channels of the convolutions.
        blocks: residual blocks, or convolutions of the stack.
        steady: whether what does not change along a row or a column of the small picture must not
            change along it in the large one either: no dotted lines beside edges.
        finish: channels of the convolutions at the large size, which follow the others; 0 is none.
        degradation: how small pictures are made of large ones: `bicubic`; or `blind`: blurred and
            reduced in several ways, with noise and the artefacts of JPEG.
        pixel: weight of the mean absolute difference to the true picture.
        perceptual: weight of the difference in feature maps.
        features: where these come from: `random` filters; or `vgg19` or `efficientnet`, where their
            weights are at hand.
        adversarial: weight of a discriminator's verdict (SRGAN); 0 trains without one.
        relativistic: whether the discriminator says which of two pictures is more real, rather than
            whether one is (Jolicoeur-Martineau 2019; ESRGAN).
        checkerboard: weight of the error that repeats from one small pixel to the next: a pattern
            that a discriminator lets pass, and eyes do not.
        dotted: weight of what repeats along lines, as far as the true picture has nothing like it.
        stray: weight of detail where the true picture has none near, such as lines beside edges.
        discriminator_width: channels of its first layer.
        discriminator_rate: its learning rate, as a multiple of the recipe's.
    """

    scale: Annotated[int, Interval(ge=2, le=4)] = 2
    network: Literal["residual", "compact"] = "residual"
    width: Annotated[int, Interval(ge=1, le=1024)] = 48
    blocks: Annotated[int, Interval(ge=1, le=64)] = 8
    steady: bool = False
    finish: Annotated[int, Interval(ge=0, le=256)] = 0
    degradation: Literal["bicubic", "blind"] = "bicubic"
    pixel: Weight = 1.0
    perceptual: Weight = 0.0
    features: Literal["random", "vgg19", "efficientnet"] = "random"
    adversarial: Weight = 0.0
    relativistic: bool = True
    checkerboard: Weight = 0.0
    dotted: Weight = 0.0
    stray: Weight = 0.0
    discriminator_width: Annotated[int, Interval(ge=1, le=1024)] = 32
    discriminator_rate: Annotated[float, Interval(gt=0, le=100)] = 1.0


class Upscaler(Backend):
    """Networks that enlarge: `network` takes `image`, gives a larger `result`."""

    family = "upscaler"
    config = UpscalerConfig

    def training(self) -> Any:
        """The training side; imports torch."""
        from genloom_upscale.training import UpscalerTraining

        return UpscalerTraining


@hookimpl
def genloom_stages() -> list[type[Stage]]:
    """Bring the stages."""
    return [Apply, Upscale]


@hookimpl
def genloom_backends() -> list[type[Backend]]:
    """Bring the family."""
    return [Upscaler]


@hookimpl
def genloom_models() -> list[Path]:
    """Bring the bundles beside this file."""
    return [Path(__file__).parent / "models"]
