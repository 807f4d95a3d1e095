"""Removing noise: the stages `denoise` and `noise`, the families `denoiser` and `noise-level`."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any, Literal

from annotated_types import Interval, Len

from genloom.backend import Backend
from genloom.hookspecs import hookimpl
from genloom.stage import Stage
from genloom_denoise.stages import Denoise, Noise

genloom_api = 1

Guide = Literal["albedo", "normal"]
Width = Annotated[int, Interval(ge=1, le=1024)]
Count = Annotated[int, Interval(ge=1, le=16)]


@dataclass(frozen=True, kw_only=True)
class DenoiserConfig:
    """The `model:` section of a recipe for a denoiser.

    Args:
        widths: channels of each level of the U-Net; the first works at half the picture's size,
            each further one at half of that.
        blocks: residual blocks at each level, on the way down and again on the way up; or a number
            for each level.
        sigma: largest noise it is trained on, in 8-bit units; each picture gets 0 to this.
        weak: how much more of the weak noise there is: levels are sigma · u^weak, u uniform in 0
            to 1; with 1 all are as frequent.
        clipped: share of training pictures whose noisy values are clipped and rounded to 8 bits,
            as a file holds them; the others keep what the noise made of them.
        photographic: share of training pictures that get what photographs have instead of white
            noise: noise that grows with the light, chroma noise, the artefacts of JPEG.
        learn_from: `clean` pictures, to which noise is added unless the data set brings noisy
            versions of them; or `noisy` pictures alone (Neighbor2Neighbor, Huang et al. 2021).
        error: what is minimised: `rms`, the root mean square of each picture, means over pictures
            taken; or `absolute`, whose least is at the median, for targets that are noisy
            themselves: clipping their noise at black and white shifts means and no medians.
        blind: whether the network sees for itself how strong the noise is, instead of being told.
        guides: pictures that the network looks at besides the noisy one, which the data set brings.
    """

    widths: Annotated[tuple[Width, ...], Len(1, 5)] = (32, 64, 96)
    blocks: Count | tuple[Count, ...] = 2
    sigma: Annotated[float, Interval(gt=0, le=100)] = 55.0
    weak: Annotated[float, Interval(ge=0.1, le=10)] = 1.0
    clipped: Annotated[float, Interval(ge=0, le=1)] = 0.5
    photographic: Annotated[float, Interval(ge=0, le=1)] = 0.0
    learn_from: Literal["clean", "noisy"] = "clean"
    error: Literal["rms", "absolute"] = "rms"
    blind: bool = False
    guides: tuple[Guide, ...] = ()


@dataclass(frozen=True, kw_only=True)
class NoiseLevelConfig:
    """The `model:` section of a recipe for an estimator of noise levels.

    Args:
        filters: filters at each of three scales; they are given and do not learn.
        width: channels of the layers that tell the level from what these find.
        layers: how many of these there are.
        sigma: largest noise it is trained on, in 8-bit units.
        weak: how much more of the weak noise there is: levels are sigma · u^weak, u uniform in 0
            to 1.
        clean: share of training pictures without noise.
        photographic: share of training pictures whose noise grows with the light, often with chroma
            noise, instead of white noise.
        jpeg: share of training pictures, clean ones too, that went through JPEG.
        clipped: share of the others with white noise that is clipped and rounded to 8 bits.
        exposed: share of training pictures made darker or lighter before.
        bars: share of training pictures with a bar of one colour, which has no noise and does not
            count.
        grey: share of training pictures that are grey.
        reduced: share of training pictures that are texture as fine as noise: the finest of a few,
            reduced to half, a quarter or an eighth and continued by its mirror image, or a random
            field. Of the others a part as large is taken. At 0 crops stay whole.
        white: share of training pictures whose level of white noise is told, the estimate that use
            brings; the others train what does without it, and cost less time.
    """

    filters: Annotated[int, Interval(ge=4, le=96)] = 32
    width: Annotated[int, Interval(ge=2, le=1024)] = 64
    layers: Count = 2
    sigma: Annotated[float, Interval(gt=0, le=100)] = 60.0
    weak: Annotated[float, Interval(ge=0.1, le=10)] = 1.5
    clean: Annotated[float, Interval(ge=0, le=1)] = 0.25
    photographic: Annotated[float, Interval(ge=0, le=1)] = 0.4
    jpeg: Annotated[float, Interval(ge=0, le=1)] = 0.5
    clipped: Annotated[float, Interval(ge=0, le=1)] = 0.75
    exposed: Annotated[float, Interval(ge=0, le=1)] = 0.3
    bars: Annotated[float, Interval(ge=0, le=1)] = 0.15
    grey: Annotated[float, Interval(ge=0, le=1)] = 0.15
    reduced: Annotated[float, Interval(ge=0, le=1)] = 0.0
    white: Annotated[float, Interval(ge=0, le=1)] = 0.5


class Denoiser(Backend):
    """Denoisers: `network` takes `image` and `noise_level` (σ / 255), gives `result`."""

    family = "denoiser"
    config = DenoiserConfig

    def training(self) -> Any:
        """The training side; imports torch."""
        from genloom_denoise.training import DenoiserTraining

        return DenoiserTraining


class NoiseLevel(Backend):
    """Estimators: `estimator` takes `image` and `white_level` (σ / 255), gives `log_level`.

    That is the logarithm of the noise level in 8-bit units plus a half, (N,).
    """

    family = "noise-level"
    config = NoiseLevelConfig

    def training(self) -> Any:
        """The training side; imports torch."""
        from genloom_denoise.level_training import NoiseLevelTraining

        return NoiseLevelTraining


@hookimpl
def genloom_stages() -> list[type[Stage]]:
    """Bring the stages."""
    return [Denoise, Noise]


@hookimpl
def genloom_backends() -> list[type[Backend]]:
    """Bring the families."""
    return [Denoiser, NoiseLevel]


@hookimpl
def genloom_datasets() -> Mapping[str, Any]:
    """Bring the data set `rendered`."""
    from genloom_denoise.rendered import Rendered

    return {"rendered": Rendered}


@hookimpl
def genloom_models() -> list[Path]:
    """Bring the bundles beside this file."""
    return [Path(__file__).parent / "models"]
