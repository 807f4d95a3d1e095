"""Measure a bundle on the held-out pictures of a data set: what `genloom eval` does."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

import numpy as np

import genloom
from genloom.catalog import Catalog
from genloom.errors import ModelError
from genloom.types import Array, Floats
from genloom_train.data import Source
from genloom_train.evaluation.bounds import bounds
from genloom_train.evaluation.distances import LEAST, distances, too_few
from genloom_train.evaluation.figures import Figure, Figures, in_words, rounded
from genloom_train.evaluation.inception import inception_features, open_inception
from genloom_train.evaluation.judge import Judge, Seen, open_judge
from genloom_train.evaluation.random_features import random_features
from genloom_train.evaluation.real import Real, held_out, open_source
from genloom_train.evaluation.similarity import reconstruction
from genloom_train.evaluation.subject import Subject
from genloom_train.evaluation.verdicts import obeyed, verdicts

NEEDS = {
    "reconstruction": "an encoder and a decoder",
    "likelihood": "an encoder that gives a log-variance, and a likelihood on its card",
    "samples": "a decoder or generator and a prior",
}
"""What can be measured of a model, and what that takes."""

PARTS = tuple(NEEDS)
Say = Callable[[str], None]


@dataclass(frozen=True, kw_only=True)
class Request:
    """What to measure.

    Attributes:
        model: name or path of a bundle.
        dataset: name of a data set; `options` are its own, as `option=value`, `data` its folder.
        judge: name or path of a classifier; the one that knows the data unless named.
        features: what distances are measured in; those of a random network where no judge knows
            the data.
        only: which of `PARTS`; all that the model can do unless said.
        count: held-out pictures used at most.
        seed: of the choice of pictures and of every draw.
        draws: k of the importance-weighted bound.
        threads: of the runtime; 0 leaves the choice to it.
    """

    model: str
    dataset: str
    options: tuple[str, ...] = ()
    data: Path | None = None
    judge: str | None = None
    features: Literal["judge", "inception", "random"] = "judge"
    only: tuple[str, ...] = ()
    count: int | None = None
    seed: int = 0
    draws: int = 50
    threads: int = 0


def evaluate(request: Request, catalog: Catalog, say: Say = lambda text: None) -> Figures:
    """Measure a model; `say` is told what is being done.

    Raises:
        GenloomError: when the model, the data or the judge is not at hand or does not fit.
    """
    opened = genloom.open_model(request.model, threads=request.threads, catalog=catalog)
    subject = Subject(opened)
    parts = wanted(subject, request.only)
    source = open_source(request.dataset, request.options, request.data, request.seed, catalog)
    return _Evaluation(request, subject, source, catalog, say).run(parts)


def wanted(subject: Subject, only: Sequence[str]) -> tuple[str, ...]:
    """What to measure of a model: `only`, else everything it can do.

    Raises:
        ModelError: when it cannot do that, or nothing at all.
    """
    able = (subject.reconstructs, subject.variational, subject.samples)
    can = tuple(part for part, is_able in zip(PARTS, able, strict=True) if is_able)
    lacking = [part for part in only if part not in can] or ([] if can else list(PARTS))
    if lacking:
        raise ModelError(
            f"'{subject.card.name}' cannot be measured by {in_words(lacking)}",
            expected="a model with " + " or ".join(NEEDS[part] for part in lacking),
            got=f"the parts {in_words(list(subject.card.parts))}",
            hint=f"It can be measured by {in_words(can)}" if can else "",
        )
    return tuple(part for part in PARTS if part in (only or can))


class _Evaluation:
    """One model on one data set."""

    def __init__(
        self, request: Request, subject: Subject, source: Source, catalog: Catalog, say: Say
    ) -> None:
        self.request, self.subject, self.source = request, subject, source
        self.catalog, self.say = catalog, say
        self.features = request.features
        self.notes: list[str] = []
        self.about: dict[str, Any] = {}
        self.classes: dict[str, dict[str, float]] = {}

    def run(self, parts: Sequence[str]) -> Figures:
        """Measure, part by part."""
        request, subject = self.request, self.subject
        given = held_out(self.source, request.seed, request.count)
        parts = self._possible(parts, len(given))
        # The judge is opened before anything long is done, in case there is none.
        judge = self._judge() if "samples" in parts else None
        inception = open_inception() if self._inception and "samples" in parts else None
        real = subject.fit(given)
        self._describe(given, real)
        figures: list[Figure] = []
        if "reconstruction" in parts:
            self.say(f"reconstructing {len(real)} pictures")
            figures += reconstruction(subject, real)
        if "likelihood" in parts:
            self.say(f"bounds on {len(real)} pictures, {request.draws} draws each")
            figures += bounds(subject, real, request.draws, request.seed)
        if "samples" in parts:
            figures += self._samples(real, judge, inception)
        return Figures(
            about=self.about,
            figures=tuple(figures),
            classes=self.classes,
            notes=tuple(self.notes),
        )

    def _possible(self, parts: Sequence[str], count: int) -> tuple[str, ...]:
        """The parts that so many pictures allow.

        Raises:
            GenloomError: when there are too few for what was asked for.
        """
        if "samples" not in parts or count >= 2 * LEAST:
            return tuple(parts)
        rest = tuple(part for part in parts if part != "samples")
        if self.request.only or not rest:
            raise too_few(count)
        self.notes.append(f"samples are not measured: {too_few(count)}")
        return rest

    @property
    def _inception(self) -> bool:
        return self.features == "inception"

    def _judge(self) -> Judge | None:
        """The judge; without one, unless it is named, distances are measured in other features."""
        request = self.request
        try:
            return open_judge(request.judge, self.source, self.catalog, request.threads)
        except genloom.GenloomError as error:
            if request.judge is not None:
                raise
            self.notes.append(f"classes are not looked at: {error}")
        if self.features == "judge":
            self.features = "random"
            self.notes.append("distances are in the features of a random network")
        return None

    def _describe(self, given: Real, real: Real) -> None:
        subject, request = self.subject, self.request
        self.about |= {
            "model": subject.card.name,
            "digest": subject.model.digest,
            "dataset": request.dataset,
            "data": self.source.description,
            "pictures": len(real),
            "seed": request.seed,
        }
        self.notes += real.change_from(given)

    def _samples(self, real: Real, judge: Judge | None, inception: Any) -> list[Figure]:
        subject, request = self.subject, self.request
        reference, other = real.halves()
        asked = self._asked(other)
        self.say(f"drawing {len(other)} pictures")
        drawn = subject.pictures(subject.prior(len(other), seed=request.seed, labels=asked))
        self.about["samples"] = len(drawn)
        figures: list[Figure] = []
        sets = (drawn, other.pixels, reference.pixels)
        if inception is not None:
            self.say("looking at them with the Inception network")
            figures += self._distances([inception_features(inception, one) for one in sets])
        if self.features == "random":
            figures += self._distances([random_features(one) for one in sets])
        if judge is not None:
            self.say(f"looking at them with '{judge.card.name}'")
            seen = [judge.look(one) for one in sets]
            if self.features == "judge":
                figures += self._distances([one.features for one in seen])
            figures += self._verdicts(judge, seen, other, asked)
        return figures

    def _distances(self, features: Sequence[Floats]) -> list[Figure]:
        """Distances of the samples to one half of the real pictures, beside the other half's."""
        drawn, other, reference = features
        name, seed = self.features, self.request.seed
        if len(other) <= other.shape[1]:
            self.notes.append(
                f"FID of {len(other)} pictures in {other.shape[1]} dimensions says little: "
                f"more pictures than dimensions are needed"
            )
        found, floor = (distances(one, reference, seed) for one in (drawn, other))
        return [Figure(f"{key}_{name}", found[key], floor[key]) for key in found]

    def _asked(self, other: Real) -> list[int] | None:
        """The classes to ask of a conditional model: those of real pictures, else all in turn."""
        card = self.subject.card
        if not card.conditional:
            return None
        if self.subject.classes(other) is not None and other.label is not None:
            return [int(label) for label in other.label]
        return [number % len(card.labels) for number in range(len(other))]

    def _verdicts(
        self, judge: Judge, seen: Sequence[Seen], other: Real, asked: list[int] | None
    ) -> list[Figure]:
        drawn, real, reference = seen
        right = judge.right(real, other)
        self.about["judge"] = {
            "name": judge.card.name,
            "digest": judge.model.digest,
            "accuracy": None if right is None else rounded(right),
        }
        shares = {"samples": drawn.shares, "real": real.shares}
        self.classes = {
            name: dict(zip(judge.labels, map(float, values), strict=True))
            for name, values in shares.items()
        }
        figures = verdicts(drawn, real, reference)
        if asked is not None:
            places: Array | None = judge.positions(self.subject.card.labels)
            if places is None:
                self.notes.append("the judge does not know the model's classes by name")
            else:
                figures.append(
                    Figure("label_accuracy", obeyed(drawn, places[np.array(asked)]), right)
                )
        return figures
