"""The stages `upscale` and `apply`."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Annotated, Literal

import numpy as np
from annotated_types import Gt, Interval, Le

from genloom import imaging
from genloom.card import Card
from genloom.errors import GenloomError, ModelError, OptionError, StageError
from genloom.options import ModelName
from genloom.stage import Model, Run, Stage
from genloom.types import Array, Batch, Kind

NETWORK = "network"

Ensemble = Literal[1, 2, 4, 8]


@dataclass(frozen=True, kw_only=True)
class Apply(Stage):
    """Put pictures through any network that gives a picture for a picture.

    Args:
        model: a model with the part `network`, such as `genloom import` makes.
        strength: how much of the result is taken: 0 leaves the picture alone, 1 takes all. Only for
            networks that keep the size.
        ensemble: of how many ways to turn and mirror the picture the mean is taken; a little
            better than 1, at as many times the work.
    """

    name, takes, gives = "apply", Kind.IMAGE, Kind.IMAGE
    model: Annotated[str, ModelName(NETWORK)]
    strength: Annotated[float, Interval(ge=0, le=1)] = 1.0
    ensemble: Ensemble = 1

    def __call__(self, batch: Batch, run: Run) -> Batch:
        """Apply the network; nothing is done at strength 0."""
        if self.strength == 0:
            return batch
        model = run.model(self.model)
        others, whole = defaults(model, len(batch)), run.ends and self.strength == 1
        result = model.image(NETWORK, batch, ensemble=self.ensemble, rounded=whole, **others)
        if self.strength == 1:
            return result
        data = batch.data
        return result.with_data(data + np.float32(self.strength) * (result.data - data))

    def check_model(self, option: str, card: Card) -> None:
        """The network must need nothing but a picture, and keep its size if results are blended."""
        check_ports(card)
        if self.strength < 1 and card.scale != 1:
            raise OptionError(
                "strength",
                f"'{card.name}' enlarges pictures, so its result cannot be blended with them",
                other=option,
                expected="strength 1",
                got=f"{self.strength:g}",
            )


@dataclass(frozen=True, kw_only=True)
class Upscale(Stage):
    """Enlarge pictures with a network.

    Args:
        model: a model with the part `network` that enlarges, such as `genloom import` makes; unless
            said, `upscale-x4` for more than twice and up to four times, else `upscale-x2`.
        scale: factor for both sides; the network's own unless said. For another one the network is
            applied as often as comes nearest, and the rest is resampled.
        ensemble: of how many ways to turn and mirror the picture the mean is taken; a little
            better than 1, at as many times the work.
    """

    name, takes, gives = "upscale", Kind.IMAGE, Kind.IMAGE
    model: Annotated[str, ModelName(NETWORK)] | None = None
    scale: Annotated[float, Gt(0), Le(64)] | None = None
    ensemble: Ensemble = 1

    def __post_init__(self) -> None:
        if self.model is None:
            larger = self.scale is not None and 2 < self.scale <= 4
            object.__setattr__(self, "model", "upscale-x4" if larger else "upscale-x2")

    def __call__(self, batch: Batch, run: Run) -> Batch:
        """Enlarge; alpha follows."""
        assert self.model is not None  # since __post_init__
        model = run.model(self.model)
        own = model.card.scale
        scale = own if self.scale is None else self.scale
        height, width = (max(1, round(side * scale)) for side in batch.size)
        times = passes(own, scale)
        _check_pixels(height, width)
        _check_pixels(*(side * own**times for side in batch.size))
        others, exact = defaults(model, len(batch)), own**times == scale
        for number in range(1, times + 1):
            rounded = run.ends and exact and number == times
            batch = model.image(NETWORK, batch, ensemble=self.ensemble, rounded=rounded, **others)
        if batch.size == (height, width):
            return batch
        return batch.with_pixels(
            np.stack([imaging.resize(one, height, width, "lanczos") for one in batch.pixels])
        )

    def check_model(self, option: str, card: Card) -> None:
        """The network must enlarge, and need nothing but a picture."""
        if card.scale == 1:
            part = card.parts.get(NETWORK)
            told = part is not None and "noise_level" in part.inputs
            raise GenloomError(
                f"'{card.name}' keeps the size of pictures",
                expected="a model whose card says `scale: 2` or more",
                hint=f"The stage `{'denoise' if told else 'apply'}` takes it",
            )
        check_ports(card)


def passes(own: int, scale: float) -> int:
    """How often a network that enlarges `own` times is applied to come near `scale`, at least once.

    Once more only where it falls short by more than the square root of its own factor: beyond that,
    reducing costs less than enlarging by resampling.
    """
    count = 1
    while own**count < scale * own**-0.5:
        count += 1
    return count


def defaults(model: Model, count: int) -> dict[str, Array]:
    """What a network wants besides the picture, as its card says, for each picture."""
    ports = model.card.parts[NETWORK].inputs
    return {
        name: np.full(count, port.default, np.float32)
        for name, port in ports.items()
        if name != "image"
    }


def check_ports(card: Card) -> None:
    """Whether a network needs nothing but a picture.

    Raises:
        GenloomError: with the inputs that it lacks a default for.
    """
    part = card.parts.get(NETWORK)
    inputs = {} if part is None else part.inputs
    lacking = [n for n, port in inputs.items() if n != "image" and port.default is None]
    if lacking:
        raise ModelError(
            f"'{card.name}' needs to be told more than this stage knows",
            expected="a network whose other inputs have a default",
            got=", ".join(lacking),
            hint="The stage `denoise` takes it" if lacking == ["noise_level"] else "",
        )


def _check_pixels(height: int, width: int) -> None:
    if height * width > imaging.MAX_PIXELS:
        raise StageError(
            "the picture would become too large",
            expected=f"at most {imaging.MAX_PIXELS} pixels",
            got=f"{width}×{height}",
        )
