"""Stages that move through latent space: `walk`, `traverse`, `shift`."""

from __future__ import annotations

import math
from dataclasses import dataclass, replace
from typing import Annotated, Literal

import numpy as np
from annotated_types import Ge, Interval, Le

from genloom.card import Card
from genloom.errors import GenloomError, OptionError, UnknownName
from genloom.options import ModelName
from genloom.stage import Cardinality, Run, Stage
from genloom.stages.latent import derived
from genloom.types import Batch, Floats, Kind, join

CLASS_MEANS = "class_means"
"""The tensor of a bundle that holds the mean latent of each class, (classes, …latent)."""


@dataclass(frozen=True, kw_only=True)
class Walk(Stage):
    """Wander at random from each latent: `steps` latents, the first is the one that came in.

    Each is √(1 − stride²) times the one before plus stride · ε with ε from N(0, I), so that a walk
    that begins in a standard normal prior stays in it (an autoregressive Gaussian process).

    Args:
        steps: latents in a walk.
        stride: 0 stays where it is, 1 draws each anew.
    """

    name, takes, gives = "walk", Kind.LATENT, Kind.LATENT
    cardinality = Cardinality.ONE_TO_MANY
    gives_posterior = False
    steps: Annotated[int, Ge(1), Le(10_000)] = 60
    stride: Annotated[float, Ge(0), Le(1)] = 0.15

    def __call__(self, batch: Batch, run: Run) -> Batch:
        """`steps` latents for each."""
        return join([self._walk(one, run) for one in batch])

    def _walk(self, one: Batch, run: Run) -> Batch:
        (item,) = one.items
        random = run.random(item)
        keep = np.float32(math.sqrt(1 - self.stride**2))
        walk = [one.values[0]]
        for _ in range(self.steps - 1):
            noise = random.standard_normal(walk[0].shape).astype(np.float32)
            walk.append(keep * walk[-1] + np.float32(self.stride) * noise)
        return derived(one, [item.child(k) for k in range(self.steps)], np.stack(walk))


@dataclass(frozen=True, kw_only=True)
class Traverse(Stage):
    """Move one number of each latent from −extent to extent and leave the others as they are.

    Args:
        dimension: which one, counted from 0; `all` moves one after the other.
        steps: latents for each dimension.
        extent: how far, in the latent's own units: standard deviations of a N(0, I) prior.
        model: name or path of the model; the one that made the latents unless said.
    """

    name, takes, gives = "traverse", Kind.LATENT, Kind.LATENT
    cardinality = Cardinality.ONE_TO_MANY
    gives_posterior = False
    dimension: Annotated[int, Ge(0)] | Literal["all"] = "all"
    steps: Annotated[int, Ge(2), Le(1000)] = 9
    extent: Annotated[float, Interval(gt=0, le=100)] = 3.0
    model: Annotated[str | None, ModelName()] = None

    def check_model(self, option: str, card: Card) -> None:
        """The dimension must be one of the model's."""
        count = math.prod(card.latent or (0,))
        if self.dimension != "all" and count and self.dimension >= count:
            raise OptionError(
                "dimension",
                f"the latents of '{card.name}' have no dimension {self.dimension}",
                other=option,
                expected=f"0 to {count - 1}",
            )

    def __call__(self, batch: Batch, run: Run) -> Batch:
        """`steps` latents for each dimension, for each latent."""
        return join([self._traverse(one) for one in batch])

    def _traverse(self, one: Batch) -> Batch:
        (item,) = one.items
        flat = one.values.reshape(-1)
        dimensions = range(flat.size) if self.dimension == "all" else [self.dimension]
        places = np.linspace(-self.extent, self.extent, self.steps, dtype=np.float32)
        moved = np.tile(flat, (len(dimensions), self.steps, 1))
        for row, dimension in enumerate(dimensions):
            moved[row, :, dimension] = places
        values = moved.reshape(-1, *one.values.shape[1:])
        return derived(one, [item.child(k) for k in range(len(values))], values)


@dataclass(frozen=True, kw_only=True)
class Shift(Stage):
    """Add an attribute: the mean latent of one class minus that of another, times `amount`.

    The arithmetic of Larsen et al. 2016 (section 4.2) on means that the bundle keeps. The class
    that a conditional model is told turns by as much into `towards`.

    Args:
        towards: the class to move to, by name or number.
        away_from: the class to move from; the mean of all classes unless said.
        amount: 1 adds the whole difference, −1 takes it away.
        steps: latents on the way from none of it to all of it; 1 gives the last alone.
        model: name or path of the model; the one that made the latents unless said.
    """

    name, takes, gives = "shift", Kind.LATENT, Kind.LATENT
    cardinality = Cardinality.ONE_TO_MANY
    gives_posterior = False
    towards: int | str
    away_from: int | str | None = None
    amount: Annotated[float, Ge(-100), Le(100)] = 1.0
    steps: Annotated[int, Ge(1), Le(1000)] = 1
    model: Annotated[str | None, ModelName()] = None

    def check_model(self, option: str, card: Card) -> None:
        """The model must have means of its classes, and the classes must be its own."""
        if card.tensors is None or CLASS_MEANS not in card.tensors.shapes:
            raise GenloomError(
                f"the model '{card.name}' keeps no means of classes to do arithmetic with",
                expected=f"a bundle with the tensor '{CLASS_MEANS}', trained on data with labels",
                got=", ".join(card.tensors.shapes) if card.tensors else "no tensors",
            )
        for name, label in (("towards", self.towards), ("away_from", self.away_from)):
            try:
                if label is not None:
                    card.label_index(label)
            except UnknownName as error:
                raise OptionError.of(name, error, other=option) from None

    def __call__(self, batch: Batch, run: Run) -> Batch:
        """`steps` latents for each."""
        model = run.model(str(self.model))
        direction = self._direction(model.card, np.asarray(model.tensors[CLASS_MEANS], np.float32))
        towards = model.card.label_index(self.towards)
        return join([self._shift(one, direction, towards) for one in batch])

    def _direction(self, card: Card, means: Floats) -> Floats:
        towards = means[card.label_index(self.towards)]
        if self.away_from is None:
            return np.asarray(towards - means.mean(axis=0), np.float32)
        return np.asarray(towards - means[card.label_index(self.away_from)], np.float32)

    def _shift(self, one: Batch, direction: Floats, towards: int) -> Batch:
        (item,) = one.items
        amounts = np.linspace(0, self.amount, self.steps, dtype=np.float32)
        amounts = amounts if self.steps > 1 else np.array([self.amount], np.float32)
        values = one.values + amounts.reshape(-1, *[1] * direction.ndim) * direction
        children = [item.child(k) for k in range(self.steps)] if self.steps > 1 else [item]
        moved = derived(one, children, values)
        if one.label is None:
            return moved
        asked = np.zeros_like(one.label)
        asked[:, towards] = 1
        shares = np.clip(amounts, 0, 1)[:, None]
        return replace(moved, label=(1 - shares) * one.label + shares * asked)
