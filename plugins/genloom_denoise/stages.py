"""The stages `denoise` and `noise`."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Annotated, Literal

import numpy as np
from annotated_types import Interval

from genloom.card import Card, Port
from genloom.errors import GenloomError, OptionError
from genloom.options import ModelName
from genloom.stage import Run, Stage
from genloom.types import Array, Batch, Floats, Item, Kind, as_float
from genloom_denoise.estimate import estimate_sigma
from genloom_denoise.level import PART, check_estimator, noise_levels

Sigma = Annotated[float, Interval(ge=0, le=100)]


@dataclass(frozen=True, kw_only=True)
class Denoise(Stage):
    """Remove noise from pictures.

    A network for rendered pictures looks at their guides too, if `load` was told of them and the
    files are there.

    Args:
        model: a model of the family `denoiser`, or an imported network that keeps the size; unless
            said, `denoise-photo`.
        grey: the same for grey pictures; unless said, `denoise-grey`, or the model that was named.
        sigma: standard deviation of the noise in 8-bit units, or `auto` to estimate it for each
            picture. A larger value smooths more. A network that is not told the noise level, but
            sees it for itself, takes only `auto`.
        estimator: what `auto` asks: a model of the family `noise-level`. `null` takes the estimate
            of white noise that networks which learned from noisy pictures were told in training;
            it finds next to nothing in JPEG files.
        strength: how much of the result is taken: 0 leaves the picture alone, 1 takes all.
        ensemble: of how many ways to turn and mirror the picture the mean is taken; a little
            better than 1, at as many times the work.
    """

    name, takes, gives = "denoise", Kind.IMAGE, Kind.IMAGE
    model: Annotated[str, ModelName("network")] | None = None
    grey: Annotated[str, ModelName("network")] | None = None
    sigma: Sigma | Literal["auto"] = "auto"
    estimator: Annotated[str, ModelName(PART)] | None = "noise-level"
    strength: Annotated[float, Interval(ge=0, le=1)] = 1.0
    ensemble: Literal[1, 2, 4, 8] = 1

    def __post_init__(self) -> None:
        grey = self.grey or self.model or "denoise-grey"
        object.__setattr__(self, "grey", grey)
        object.__setattr__(self, "model", self.model or "denoise-photo")

    def __call__(self, batch: Batch, run: Run) -> Batch:
        """Denoise at the level given or estimated; nothing is done at strength 0."""
        if self.strength == 0:
            return batch
        name = self.grey if batch.pixels.shape[3] == 1 else self.model
        assert name is not None  # since __post_init__
        model = run.model(name)
        ports: dict[str, Array] = {}
        if _is_told(model.card):
            ports["noise_level"] = np.minimum(self.levels(batch, run), _strongest(model.card))
        ports |= _guides(model.card, batch)
        batch = batch.with_items([_noted(item, model.card) for item in batch.items])
        whole = run.ends and self.strength == 1
        result = model.image("network", batch, ensemble=self.ensemble, rounded=whole, **ports)
        result = result.with_items([replace(item, guides={}) for item in result.items])
        if self.strength == 1:
            return result
        data = batch.data
        return result.with_data(data + np.float32(self.strength) * (result.data - data))

    def check_model(self, option: str, card: Card) -> None:
        """The network must keep the size, want no more than a noise level, and want it if said."""
        if option == "estimator":
            check_estimator(card)
            return
        part = card.parts.get("network")
        others = set() if part is None else set(part.inputs) - {"image", "noise_level"}
        others -= set(_guide_ports(card))
        if card.scale > 1 and not others:
            raise GenloomError(
                f"'{card.name}' enlarges pictures",
                expected="a network that keeps the size",
                got=f"scale {card.scale}",
                hint="The stage `upscale` takes it",
            )
        if card.scale != 1 or others:
            raise GenloomError(
                f"'{card.name}' is no denoiser",
                expected="a network that keeps the size and takes a picture, and a noise level",
                got=", ".join(sorted(others)) or f"scale {card.scale}",
            )
        if self.sigma != "auto" and _is_told(card) and self.sigma > 255 * _strongest(card) + 0.01:
            raise OptionError(
                "sigma",
                f"'{card.name}' was not trained on noise as strong",
                expected=f"sigma at most {255 * _strongest(card):g}",
                got=f"{self.sigma:g}",
            )
        if self.sigma != "auto" and part is not None and not _is_told(card):
            raise OptionError(
                "sigma",
                f"'{card.name}' sees for itself how strong the noise is, and cannot be told",
                expected="sigma: auto",
                got=f"{self.sigma:g}",
                hint="`strength` takes less of its result",
            )

    def uses(self, option: str) -> bool:
        """Nothing is estimated where the noise is told."""
        return option != "estimator" or self.sigma == "auto"

    def levels(self, batch: Batch, run: Run) -> Floats:
        """σ / 255 of each picture, (N,)."""
        if self.sigma != "auto":
            return np.full(len(batch), self.sigma / 255, np.float32)
        if self.estimator is None:
            sigmas = [estimate_sigma(one.data[0], one.items[0].alpha) for one in batch]
            return np.array(sigmas, np.float32) / np.float32(255)
        return noise_levels(batch, run.model(self.estimator))


def _is_told(card: Card) -> bool:
    """Whether the network takes a noise level."""
    part = card.parts.get("network")
    return part is not None and "noise_level" in part.inputs


def _strongest(card: Card) -> np.float32:
    """The highest noise level that a network takes."""
    span = card.parts["network"].inputs["noise_level"].range
    return np.float32(1.0 if span is None else span[1])


def _guide_ports(card: Card) -> dict[str, Port]:
    """The inputs besides the picture that are pictures, and need not be there."""
    part = card.parts.get("network")
    inputs = {} if part is None else part.inputs
    return {
        name: port
        for name, port in inputs.items()
        if name != "image" and len(port.axes) == 4 and port.default is not None
    }


def _noted(item: Item, card: Card) -> Item:
    """The item, with a note for each of its guides that the network does not look at."""
    known = ", ".join(_guide_ports(card)) or "no guides"
    for name in sorted(item.guides.keys() - _guide_ports(card).keys()):
        item = item.noting(f"its guide '{name}' is not used: '{card.name}' knows {known}")
    return item


def _guides(card: Card, batch: Batch) -> dict[str, Array]:
    """The guides that a network takes, N×H×W×C; where a picture has none, the port's default."""
    found = {}
    for name, port in _guide_ports(card).items():
        even = np.full((*batch.size, int(port.axes[1])), port.default, np.float32)
        found[name] = np.stack(
            [
                np.broadcast_to(as_float(item.guides[name]), even.shape)
                if name in item.guides
                else even
                for item in batch.items
            ]
        )
    return found


@dataclass(frozen=True, kw_only=True)
class Noise(Stage):
    """Add Gaussian noise to pictures; the same seed adds the same noise.

    Args:
        sigma: standard deviation of the noise in 8-bit units.
    """

    name, takes, gives = "noise", Kind.IMAGE, Kind.IMAGE
    sigma: Sigma = 25.0

    def __call__(self, batch: Batch, run: Run) -> Batch:
        """Values may leave [0, 1]; they are clamped when the picture is saved."""
        data = batch.data
        shape = data.shape[1:]
        noise = np.stack([run.random(item).standard_normal(shape) for item in batch.items])
        return batch.with_data(data + np.float32(self.sigma / 255) * noise.astype(np.float32))
