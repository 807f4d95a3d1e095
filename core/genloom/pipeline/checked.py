"""What a checked pipeline is."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from genloom import options
from genloom.models import Bundle
from genloom.options import Option
from genloom.stage import Stage
from genloom.yamlfile import Where

FORMAT = 1
MAX_SEED = 2**63 - 1


@dataclass(frozen=True)
class Step:
    """One stage of a pipeline under its id."""

    id: str
    stage: Stage
    where: Where = ()

    @property
    def name(self) -> str:
        """Name of the stage."""
        return self.stage.name


@dataclass(frozen=True)
class Pipeline:
    """A checked pipeline: its stages fit together and its models are at hand.

    Attributes:
        name: for people; the file's stem unless the file says otherwise.
        seed: all chance in a run comes from it.
        steps: the stages in order.
        bundles: the model bundles by the name that options call them.
        file: where it was read from; None for a text. `source` is how it was asked for: a name or
            a path.
        overrides: the `--set` values it was read with.
    """

    name: str
    seed: int
    steps: tuple[Step, ...]
    bundles: Mapping[str, Bundle] = field(default_factory=dict)
    description: str = ""
    file: Path | None = None
    source: str = ""
    overrides: tuple[str, ...] = ()

    def parts_used(self, name: str) -> tuple[str, ...]:
        """The parts of a model that the stages ask for; all, where a stage does not say which."""
        parts = self.bundles[name].card.parts
        marks = [
            option.model
            for step in self.steps
            for option, value in model_options(step.stage)
            if value == name and option.model is not None
        ]
        if not all(mark.parts for mark in marks):
            return tuple(parts)
        used = {part for mark in marks for part in mark.match(parts).values()}
        return tuple(part for part in parts if part in used)

    @property
    def last(self) -> Step | None:
        """The step whose results are written and then done with, if there is one."""
        if len(self.steps) < 2:
            return None
        step, end = self.steps[-2:]
        return step if end.stage.writes and not end.stage.cardinality.gathers else None

    def ends_with(self, name: str) -> bool:
        """Whether a model's results are written and then done with."""
        stage = None if self.last is None else self.last.stage
        return stage is not None and any(value == name for _, value in model_options(stage))

    def resolved(self) -> dict[str, Any]:
        """What decides the pixels, as plain values: stages with all options, seed, models."""
        return {
            "genloom": FORMAT,
            "seed": self.seed,
            "stages": [
                {"id": step.id, "stage": step.name, "options": options.values_of(step.stage)}
                for step in self.steps
            ],
            "models": {name: bundle.digest for name, bundle in sorted(self.bundles.items())},
        }


def model_options(stage: Stage) -> Iterator[tuple[Option, str | None]]:
    """The options of a stage that name models, with their values; None for one it does not use."""
    for option in options.options_of(type(stage)).values():
        if option.model is not None:
            yield option, getattr(stage, option.name) if stage.uses(option.name) else None
