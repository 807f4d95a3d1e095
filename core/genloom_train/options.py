"""The options of a recipe's sections `train:` and `export:`."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Annotated, Literal

from annotated_types import Ge, Gt, Interval


@dataclass(frozen=True, kw_only=True)
class TrainOptions:
    """How to train. State `steps` or `epochs`, not both.

    Args:
        steps: optimiser steps.
        epochs: the same, counted in passes over the data.
        start: name or path of a bundle whose weights training begins with, of the same network:
            fine-tuning.
        batch: pictures in a step.
        optimiser: Adam (Kingma & Ba 2015), or AdamW (Loshchilov & Hutter 2019).
        learning_rate: its highest value.
        weight_decay: of AdamW.
        schedule: of the learning rate. `cosine` and `linear` fall to zero at the last step, `step`
            to a tenth at half of the steps and to a hundredth at three quarters (He et al. 2016),
            `constant` does not fall.
        warmup: steps in which the learning rate rises from zero.
        clip: largest norm of the gradient of each optimiser's parameters; null leaves it alone.
        ema: decay of the running average of weights that is validated and exported; 0 is off.
        precision: of the arithmetic; weights stay float32.
        channels_last: memory layout of images and convolution weights.
        keep: which weights are exported: those of the `last` step, or those of the validation that
            was `best` by `watch`.
        watch: name of a figure of the validation, for `keep: best` and `patience`.
        better: whether a `lower` or a `higher` value of `watch` is better; unless said, its name
            decides (`psnr`, `ssim`, `accuracy`, `recall` and the like: higher; else lower).
        patience: training ends early after so many validations without a better value of `watch`.
        compile: translate the network to fused kernels (`torch.compile`): a minute at the start,
            then faster steps; on a CPU it needs a C++ compiler.
        seed: of weights, noise and the order of the data.
        log_every: steps between lines of metrics.
        validate_every: steps between validations; there is always one at the end.
        sample_every: steps between grids of samples.
        checkpoint_every: steps between checkpoints; the last two are kept.
    """

    steps: Annotated[int, Ge(1)] | None = None
    epochs: Annotated[float, Gt(0)] | None = None
    start: str | None = None
    batch: Annotated[int, Interval(ge=1, le=65_536)] = 64
    optimiser: Literal["adam", "adamw"] = "adam"
    learning_rate: Annotated[float, Interval(gt=0, le=10)] = 1e-3
    weight_decay: Annotated[float, Interval(ge=0, le=1)] = 0.0
    schedule: Literal["cosine", "linear", "constant", "step"] = "cosine"
    warmup: Annotated[int, Ge(0)] = 0
    clip: Annotated[float, Gt(0)] | None = None
    ema: Annotated[float, Interval(ge=0, lt=1)] = 0.0
    precision: Literal["32-true", "bf16-mixed", "16-mixed"] = "32-true"
    channels_last: bool = False
    compile: bool = False
    keep: Literal["last", "best"] = "last"
    watch: str | None = None
    better: Literal["lower", "higher"] | None = None
    patience: Annotated[int, Ge(1)] | None = None
    seed: Annotated[int, Interval(ge=0, lt=2**31)] = 0
    log_every: Annotated[int, Ge(1)] = 50
    validate_every: Annotated[int, Ge(1)] = 1000
    sample_every: Annotated[int, Ge(1)] = 1000
    checkpoint_every: Annotated[int, Ge(1)] = 500

    def steps_for(self, count: int) -> int:
        """Optimiser steps, for a data set of `count` pictures."""
        if self.steps is not None:
            return self.steps
        return max(1, math.ceil((self.epochs or 0) * count / self.batch))

    def rate(self, step: int, steps: int) -> float:
        """The learning rate's factor at `step` of `steps`: warm-up times schedule."""
        done = step / steps
        falls = {
            "cosine": 0.5 * (1 + math.cos(math.pi * done)),
            "linear": 1 - done,
            "constant": 1.0,
            "step": 1.0 if done < 0.5 else 0.1 if done < 0.75 else 0.01,
        }
        warm = min(1.0, (step + 1) / self.warmup) if self.warmup else 1.0
        return warm * falls[self.schedule]


@dataclass(frozen=True, kw_only=True)
class ExportOptions:
    """How the bundle is called.

    Args:
        name: name of the bundle and of its folder.
        summary: one line that says what the model does.
        licence: of the weights.
    """

    name: str
    summary: str = ""
    licence: str = "MIT"
