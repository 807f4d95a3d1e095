"""The judge: a classifier whose features and verdicts models are measured with."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

import genloom
from genloom import models
from genloom.api import OpenModel
from genloom.card import Card
from genloom.catalog import Catalog
from genloom.errors import GenloomError, ModelError
from genloom.likelihood import Doubles
from genloom.types import Array, Batch, Floats, Item
from genloom_train.data import Source
from genloom_train.evaluation.real import Real

PART = "classifier"
CHUNK = 500
CONFIDENT = 0.9
"""Probability of a class from which on the judge counts as confident."""


@dataclass(frozen=True)
class Seen:
    """What a judge sees in pictures.

    Attributes:
        features: N×F.
        probabilities: of the classes, N×K.
    """

    features: Floats
    probabilities: Doubles

    def __len__(self) -> int:
        return len(self.features)

    @property
    def chosen(self) -> Array:
        """The likeliest class of each picture, (N,)."""
        return np.asarray(self.probabilities.argmax(axis=1))

    @property
    def shares(self) -> Doubles:
        """Share of each class among the pictures, (K,)."""
        counts = np.bincount(self.chosen, minlength=self.probabilities.shape[1])
        return np.asarray(counts / len(self), np.float64)

    @property
    def confident(self) -> float:
        """Share of the pictures whose likeliest class has a probability of `CONFIDENT` or more."""
        return float((self.probabilities.max(axis=1) >= CONFIDENT).mean())


class Judge:
    """A bundle with the part `classifier`: `image` → `features`, `logits`.

    Raises:
        ModelError: when the bundle is no such model.
    """

    def __init__(self, opened: OpenModel) -> None:
        if not judges(opened.card):
            raise ModelError(
                f"'{opened.card.name}' cannot judge",
                expected=f"a model with the part '{PART}' that gives features and logits",
                got=", ".join(opened.card.parts),
                hint="`genloom models list` shows the models at hand and their parts",
            )
        self.model = opened.model

    @property
    def card(self) -> Card:
        """What the judge is."""
        return self.model.card

    @property
    def labels(self) -> tuple[str, ...]:
        """Names of the classes it tells apart."""
        return self.card.labels

    def look(self, pixels: Floats) -> Seen:
        """See pictures N×H×W×C; they are brought to its channels and size."""
        features, logits = [], []
        for start in range(0, len(pixels), CHUNK):
            part = pixels[start : start + CHUNK]
            items = [Item(key=f"picture-{n}", name="picture") for n in range(len(part))]
            image = self.model.fit(Batch.images(items, part)).data
            outputs = self.model.run(PART, {"image": image})
            features.append(outputs["features"].reshape(len(part), -1))
            logits.append(outputs["logits"])
        return Seen(np.concatenate(features), softmax(np.concatenate(logits)))

    def positions(self, labels: tuple[str, ...]) -> Array | None:
        """Where each class of others stands among its own, (classes,); None if it lacks one."""
        if not labels or not set(labels) <= set(self.labels):
            return None
        return np.array([self.labels.index(label) for label in labels])

    def right(self, seen: Seen, real: Real) -> float | None:
        """Share of real pictures that it takes for what they are; None where nobody knows that."""
        places = self.positions(real.labels)
        if places is None or real.label is None:
            return None
        return float((seen.chosen == places[real.label]).mean())


def softmax(logits: Floats) -> Doubles:
    """Probabilities of logits, N×K."""
    shifted = logits.astype(np.float64) - logits.max(axis=1, keepdims=True)
    weights: Doubles = np.exp(shifted)
    weights /= weights.sum(axis=1, keepdims=True)
    return weights


def judges(card: Card) -> bool:
    """Whether a model can judge."""
    part = card.parts.get(PART)
    return part is not None and {"features", "logits"} <= set(part.outputs)


def open_judge(name: str | None, source: Source, catalog: Catalog, threads: int = 0) -> Judge:
    """The judge of that name or path; unless named, the first at hand that knows the data.

    It knows the data if it tells the same classes apart in pictures of the same shape.

    Raises:
        GenloomError: when there is none.
        ModelError: when the model named is no judge.
    """
    if name is None:
        name = _fitting(source, catalog)
    if name is None:
        raise GenloomError(
            "no judge knows this data",
            expected=f"a classifier of {', '.join(source.labels) or 'pictures like these'}, "
            f"{source.shape[2]}×{source.shape[1]}",
            got="none among the models at hand",
            hint="Train one (a recipe of the family 'classifier', as fashion-classifier is) and "
            "name it with --judge",
        )
    return Judge(genloom.open_model(name, threads=threads, catalog=catalog))


def _fitting(source: Source, catalog: Catalog) -> str | None:
    channels, *size = source.shape
    for found in models.available(catalog):
        if found.error:
            continue
        card = Card.read(found.folder)
        fits = (card.channels, card.size.fixed) == (channels, tuple(size))
        if judges(card) and fits and source.labels and card.labels == tuple(source.labels):
            return str(found.folder)
    return None
