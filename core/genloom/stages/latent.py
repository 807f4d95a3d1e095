"""The latent stages: `encode`, `sample`, `interpolate`, `decode`."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Annotated, Literal

import numpy as np
from annotated_types import Ge, Le

from genloom.card import Card
from genloom.errors import OptionError, StageError, UnknownName
from genloom.options import ModelName
from genloom.stage import Cardinality, Run, Stage
from genloom.types import Batch, Floats, Item, Kind, join

EACH = "each"
LONGEST_WALK = 10_000
"""Most items that `interpolate` walks through: it holds all their latents at once."""


@dataclass(frozen=True, kw_only=True)
class Encode(Stage):
    """Turn pictures into latents of a model: a posterior, where the family has one.

    Pictures are brought to the model's channels, and to its size when it takes only one.

    Args:
        model: name or path of a model with an encoder.
    """

    name, takes, gives = "encode", Kind.IMAGE, Kind.LATENT
    model: Annotated[str, ModelName("encoder")]

    def __call__(self, batch: Batch, run: Run) -> Batch:
        """Encode a batch of pictures."""
        return run.model(self.model).encode(batch)


@dataclass(frozen=True, kw_only=True)
class Sample(Stage):
    """Draw latents: from the model's prior when nothing comes before, else from each posterior.

    Args:
        model: name or path of the model; after `encode`, the model that encoded.
        count: how many: in all from the prior, for each picture from a posterior.
        temperature: scales the standard deviation; 1 is the model's own, 0 gives the mean.
        truncation: numbers of the standard normal beyond ±truncation are drawn again; fewer
            odd pictures, less variety.
        label: for a conditional model, the class to draw, by name or number; `each` draws them in
            turn. Unless said, the class is drawn too, or after `encode` the one recognised.
    """

    name, takes, gives = "sample", (Kind.NOTHING, Kind.LATENT), Kind.LATENT
    cardinality = Cardinality.ONE_TO_MANY
    needs_posterior, gives_posterior = True, False
    model: Annotated[str | None, ModelName("decoder|generator")] = None
    count: Annotated[int, Ge(1), Le(1_000_000)] = 1
    temperature: Annotated[float, Ge(0), Le(10)] = 1.0
    truncation: Annotated[float, Ge(0.1), Le(10)] | None = None
    label: int | str | None = None

    def check_model(self, option: str, card: Card) -> None:
        """A class can be asked of a conditional model only, and it must be one of its own."""
        if self.label is None:
            return
        if not card.conditional:
            raise OptionError(
                "label",
                f"the model '{card.name}' knows no classes to draw from",
                other=option,
                expected="a conditional model, or no `label`",
                got=f"label {self.label!r}",
            )
        if self.label != EACH:
            try:
                card.label_index(self.label)
            except UnknownName as error:
                raise OptionError.of("label", error, other=option) from None

    def __call__(self, batch: Batch, run: Run) -> Batch:
        """From nothing, one latent for each item; from latents, `count` for each."""
        if batch.kind == Kind.NOTHING:
            model = run.model(str(self.model))
            return model.prior(
                batch.items,
                [run.random(item) for item in batch.items],
                temperature=self.temperature,
                truncation=self.truncation,
                labels=self._labels(batch.items, model.card),
            )
        return join([self._posterior(one, run) for one in batch])

    def _labels(self, items: Sequence[Item], card: Card) -> list[int] | None:
        if self.label is None:
            return None
        if self.label == EACH:
            return [int(item.key.rpartition("-")[2]) % len(card.labels) for item in items]
        return [card.label_index(self.label)] * len(items)

    def _posterior(self, one: Batch, run: Run) -> Batch:
        """Draws z = μ + temperature · σ · ε (Kingma & Welling 2014, section 2.4)."""
        from genloom.backend import class_weights, truncated_normal

        (item,) = one.items
        if one.log_variance is None:
            raise StageError(
                "there is no posterior to sample from",
                expected="a latent with mean and log-variance, from a variational model's encoder",
                got="a plain latent",
            )
        shape = (self.count, *one.values.shape[1:])
        noise = truncated_normal(run.random(item), shape, self.truncation)
        spread = np.float32(self.temperature) * np.exp(0.5 * one.log_variance)
        children = [item.child(k) for k in range(self.count)] if self.count > 1 else [item]
        drawn = derived(one, children, one.values + spread * noise)
        if self.label is None:
            return drawn
        card = run.model(str(self.model)).card
        labels = [
            k % len(card.labels) if self.label == EACH else card.label_index(self.label)
            for k in range(self.count)
        ]
        return replace(drawn, label=class_weights(card, (), labels))


@dataclass(frozen=True, kw_only=True)
class Interpolate(Stage):
    """Walk from each latent to the next: neighbours in the order they came in.

    `spherical` keeps the length of a latent between those of its ends, as fits a Gaussian prior
    (White 2016, Sampling Generative Networks). A walk has 10 000 items at the most.

    Args:
        steps: pictures from one latent up to, but not with, the next; the last one is added.
        method: straight line, or great circle.
        loop: whether the walk returns to where it began.
        group: one walk through all items, or one for each folder.
        allow_missing: whether to go on without items that failed.
    """

    name, takes, gives = "interpolate", Kind.LATENT, Kind.LATENT
    cardinality = Cardinality.MANY_TO_MANY
    gives_posterior = False
    steps: Annotated[int, Ge(1), Le(1000)] = 8
    method: Literal["linear", "spherical"] = "spherical"
    loop: bool = False
    group: Literal["all", "folder"] = "all"
    allow_missing: bool = False

    def most(self) -> int:
        """One more than a walk may have, so that a longer one is refused and never cut in two."""
        return LONGEST_WALK + 1

    def gather(self, members: Sequence[Batch], item: Item, run: Run) -> Batch:
        """All latents of the walk."""
        if len(members) > LONGEST_WALK:
            raise StageError(
                "the walk is too long",
                expected=f"at most {LONGEST_WALK} items",
                hint="Walk through one folder at a time with `group: folder`",
            )
        if len(members) < 2:
            raise StageError("nothing to walk between", expected="two items or more", got="one")
        means = [member.values[0] for member in members]
        ends = [*means[1:], means[0]] if self.loop else means[1:]
        walk = slerp if self.method == "spherical" else lerp
        fractions = [np.float32(step / self.steps) for step in range(self.steps)]
        pairs = list(zip(means, ends, strict=False))
        frames = [walk(start, end, t) for start, end in pairs for t in fractions]
        if not self.loop:
            frames.append(means[-1])
        children = [item.child(k) for k in range(len(frames))]
        label = self._labels(members, fractions)
        return Batch.latents(children, np.stack(frames), model=members[0].model, label=label)

    def _labels(self, members: Sequence[Batch], fractions: Sequence[np.float32]) -> Floats | None:
        """Classes are mixed along the straight line, whatever the method."""
        labels = [member.label[0] for member in members if member.label is not None]
        if len(labels) < len(members):
            return None
        ends = [*labels[1:], labels[0]] if self.loop else labels[1:]
        frames = [lerp(a, b, t) for a, b in zip(labels, ends, strict=False) for t in fractions]
        return np.stack(frames if self.loop else [*frames, labels[-1]])


def derived(one: Batch, children: Sequence[Item], values: Floats) -> Batch:
    """Latents made out of one latent, of its model and its class."""
    label = None if one.label is None else np.repeat(one.label, len(values), axis=0)
    return Batch.latents(children, values, model=one.model, label=label)


def lerp(start: Floats, end: Floats, t: float | np.float32) -> Floats:
    """The point at fraction t of the straight line from start to end."""
    return np.asarray(start + np.float32(t) * (end - start), np.float32)


def slerp(start: Floats, end: Floats, t: float | np.float32) -> Floats:
    """The point at fraction t of the arc from start to end; lengths are interpolated too."""
    lengths = np.linalg.norm(start), np.linalg.norm(end)
    if min(lengths) < 1e-8:
        return lerp(start, end, t)
    cosine = float(np.clip(np.vdot(start, end) / (lengths[0] * lengths[1]), -1, 1))
    angle = np.arccos(cosine)
    if np.sin(angle) < 1e-4:
        return lerp(start, end, t)
    first, second = np.sin((1 - t) * angle) / np.sin(angle), np.sin(t * angle) / np.sin(angle)
    length = (1 - t) * lengths[0] + t * lengths[1]
    direction = first * start / lengths[0] + second * end / lengths[1]
    return np.asarray(length * direction, np.float32)


@dataclass(frozen=True, kw_only=True)
class Decode(Stage):
    """Turn latents into pictures; a posterior that was not sampled is decoded at its mean.

    Args:
        model: name or path of the model; the one that made the latents unless said.
    """

    name, takes, gives = "decode", Kind.LATENT, Kind.IMAGE
    model: Annotated[str | None, ModelName("decoder|generator")] = None

    def __call__(self, batch: Batch, run: Run) -> Batch:
        """Decode a batch of latents."""
        return run.model(str(self.model)).decode(batch)
