"""A pipeline bound to what it will run on. A plan can be printed without running."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from hashlib import sha256
from pathlib import Path
from typing import Any

from genloom import machine, options
from genloom.catalog import Catalog
from genloom.engine.cutting import TILE
from genloom.engine.model import CompiledModel
from genloom.engine.settings import (
    BATCH,
    BATCH_PIXELS,
    QUEUE_BYTES,
    QUEUE_BYTES_A_THREAD,
    RunSettings,
)
from genloom.engine.shards import Shard
from genloom.engine.sources import count
from genloom.engine.tuned import Answer
from genloom.errors import GenloomError
from genloom.limits import MAX_OPTION_FILE_BYTES
from genloom.models import shadowed
from genloom.pipeline import Pipeline, Step
from genloom.stage import Inputs
from genloom.types import Item, digest_of


@dataclass(frozen=True, kw_only=True)
class Plan:
    """A pipeline bound to what it will run on.

    Attributes:
        batch: pictures of one call at the most, and `batch_pixels` of all of them together.
        tuned: what was found for models and is used; none where something else is asked for.
        untuned: for models for which what was found does not work: what the user should know.
    """

    pipeline: Pipeline
    catalog: Catalog
    inputs: Inputs
    settings: RunSettings
    workers: int
    threads: int
    models: Mapping[str, CompiledModel]
    providers: Mapping[str, str]
    batch: int = BATCH
    batch_pixels: int = BATCH_PIXELS
    tuned: Mapping[str, Answer] = field(default_factory=dict)
    untuned: Mapping[str, str] = field(default_factory=dict)

    @property
    def out(self) -> Path:
        """The output folder."""
        return self.inputs.out or Path()

    @property
    def steps(self) -> tuple[Step, ...]:
        """The stages, in order."""
        return self.pipeline.steps

    @cached_property
    def digests(self) -> tuple[str, ...]:
        """SHA-256 of all that decides the results of each level of units, inputs aside.

        Level 0 ends before the first stage that gathers, level 1 before the second, and so on.
        """
        ends = [n for n, step in enumerate(self.steps) if step.stage.cardinality.gathers]
        return tuple(self._digest(self.steps[:end]) for end in (*ends, len(self.steps)))

    @cached_property
    def files(self) -> dict[Path, bytes]:
        """The files that options name, read once: what is hashed is what stages are given."""
        named = {path for step in self.steps for paths in _files(step).values() for path in paths}
        return {path: _read(path) for path in sorted(named)}

    def _digest(self, steps: Sequence[Step]) -> str:
        versions = {}
        for step in steps:
            owner = self.catalog.stage_owner(step.name)
            if not owner.builtin:
                versions[step.name] = str(owner)
        resolved = self.pipeline.resolved()
        resolved["stages"] = resolved["stages"][: len(steps)]
        files = {}
        for step, entry in zip(steps, resolved["stages"], strict=True):
            for name, paths in _files(step).items():  # what they hold decides, not where they lie
                files[f"{step.id}.{name}"] = [
                    sha256(self.files[path]).hexdigest() for path in paths
                ]
                entry["options"][name] = None
        return digest_of({"pipeline": resolved, "plugins": versions, "files": files})

    @property
    def tile(self) -> int:
        """Longest side of the tiles of any model; without one, that which was asked for."""
        return max((m.tile for m in self.models.values()), default=self.settings.tile or TILE)

    @property
    def codecs(self) -> int:
        """Threads that decode and write; few calls to a network at a time may need many."""
        return max(2, self.workers if self.settings.workers else max(self.workers, machine.cores()))

    @cached_property
    def queue_bytes(self) -> int:
        """Bytes that each queue may hold: enough for every thread to have large results in work."""
        if self.settings.queue_bytes:
            return self.settings.queue_bytes
        spare = (machine.free_memory() or 0) // 16
        return max(QUEUE_BYTES, min(self.codecs * QUEUE_BYTES_A_THREAD, spare))

    @cached_property
    def total(self) -> int:
        """How many items fall to this run: counted when that is asked for, unless it was known."""
        return count(self.steps, self.inputs, self.shard)

    def counted(self, total: int) -> None:
        """Take what a run found out on its way, so that nobody counts."""
        vars(self)["total"] = total

    @property
    def shard(self) -> Shard:
        """Which part of the run this is."""
        return Shard.of(self.settings.shard)

    def sources(self) -> Iterator[Item]:
        """The items that the chain begins with, in order: those of its shard."""
        return self.shard.share(self.steps, self.inputs)

    def describe(self) -> dict[str, Any]:
        """The plan as plain values, for printing."""
        return {
            "pipeline": self.pipeline.name,
            "seed": self.pipeline.seed,
            "items": self.total,
            "out": str(self.out),
            "shard": str(self.shard),
            "stages": [
                {
                    "id": step.id,
                    "stage": step.name,
                    "plugin": self.catalog.stage_owner(step.name).name,
                    "gives": str(step.stage.gives),
                    "cardinality": step.stage.cardinality.value,
                    "options": options.values_of(step.stage),
                }
                for step in self.steps
            ],
            "models": {name: self._describe_model(name) for name in self.models},
            "workers": self.workers,
            "threads": self.threads,
            "batch": self.settings.batch or f"up to {self.batch}, {self.batch_pixels} pixels",
            "tile": self.tile,
            "precision_floor": self.settings.precision_floor,
            "provider_options": dict(self.settings.provider_options),
            "queue_bytes": self.queue_bytes,
            "fingerprint": self.digests[-1],
        }

    def _describe_model(self, name: str) -> dict[str, Any]:
        card, bundle = self.models[name].card, self.models[name].bundle
        plain = Path(name).name == name  # a path says itself which bundle it means
        return {
            "family": card.family,
            "from": bundle.origin,
            "hides": [other.origin for other in shadowed(bundle, self.catalog)] if plain else [],
            "digest": bundle.digest,
            "provider": self.providers[name],
            "precision": self.models[name].precisions,
            "receptive_field": card.receptive_field,
            "cutting": str(self.models[name].cutting),
            "scale": card.scale,
            "tuned": str(self.tuned[name]) if name in self.tuned else "",
        }


def _files(step: Step) -> dict[str, list[Path]]:
    """The files that the options of a stage name, by option."""
    found = {}
    for name in options.options_of(type(step.stage)):
        value = getattr(step.stage, name)
        values = value if isinstance(value, tuple) else (value,)
        if paths := [path for path in values if isinstance(path, Path)]:
            found[name] = paths
    return found


def _read(path: Path) -> bytes:
    try:
        if (size := path.stat().st_size) > MAX_OPTION_FILE_BYTES:
            raise GenloomError(
                "a file that an option names is too large",
                where=str(path),
                expected=f"at most {MAX_OPTION_FILE_BYTES} bytes",
                got=str(size),
            )
        return path.read_bytes()
    except OSError as error:
        raise GenloomError(
            f"a file that an option names cannot be read ({error.strerror})", where=str(path)
        ) from None
