"""Bind a pipeline to inputs, models and a runtime. A plan can be printed without running."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import cached_property, partial
from hashlib import sha256
from pathlib import Path
from types import MappingProxyType
from typing import Any

from genloom import machine, options
from genloom.catalog import Catalog
from genloom.engine import tuned
from genloom.engine.compiling import compiled, falls_back_to_cpu, runtime_named
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
from genloom.errors import GenloomError, MissingRequirement, ModelError, OutputError
from genloom.limits import MAX_OPTION_FILE_BYTES
from genloom.models import Bundle, shadowed
from genloom.pipeline import Pipeline, Step
from genloom.runtime import INT8, Network, Runtime, Settings, trial
from genloom.stage import Inputs
from genloom.types import Item, digest_of

Watch = Callable[[str, bytes, Network], Network]
"""Told of a network: the model's name, the bytes that were compiled, and what they became."""

NO_TILES: Mapping[str, int] = MappingProxyType({})


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


def bind(
    pipeline: Pipeline,
    catalog: Catalog,
    inputs: Inputs,
    settings: RunSettings | None = None,
    *,
    watch: Watch | None = None,
    tiles: Mapping[str, int] = NO_TILES,
) -> Plan:
    """Bind a pipeline to inputs, models and a runtime.

    `watch` is told of every network that is compiled, and gives the one that is used. `tiles` are
    sides of tiles for models by name, in place of what the settings say for all.

    Raises:
        OutputError: when OUT cannot be used.
        GenloomError: when the inputs name nothing, or the run cannot be cut into shards.
        ModelError: when a graph that a stage uses is damaged.
        MissingRequirement: when the provider asked for is not at hand or does not take a graph.
    """
    settings = settings or RunSettings()
    _check_out(inputs)
    shard = Shard.of(settings.shard)
    some = count(pipeline.steps, inputs, shard, machine.cores())
    # That nothing falls to one shard is no mistake.
    if some == 0 and next(pipeline.steps[0].stage.sources(inputs), None) is None:
        raise GenloomError(
            "there is nothing to do",
            got=", ".join(inputs.paths) or "no input",
            hint="Name files, folders or globs of pictures after the pipeline",
        )
    shard.check(pipeline.steps, inputs)
    runtime = _runtime_for(pipeline, catalog, settings)
    found = _tuned(pipeline, catalog, settings)
    # Those of a whole run are chosen for the model that takes most.
    slowest = max(found.values(), key=lambda answer: answer.pace, default=None)
    lead = slowest if len(found) == len(pipeline.bundles) else None
    workers, threads = parallel(settings, some, lead)
    models, providers = {}, {}
    for name, bundle in pipeline.bundles.items():
        assert runtime is not None
        own, seen = _with(settings, found.get(name), bundle), watch and partial(watch, name)
        own = replace(own, tile=tiles.get(name, own.tile))
        spare = falls_back_to_cpu(runtime, settings)
        models[name] = compiled(bundle, catalog, runtime, own, threads, workers, seen, spare)
        parts, last = pipeline.parts_used(name), pipeline.ends_with(name)
        try:
            providers[name] = models[name].prepare(parts, rounded=last)
        except (MissingRequirement, ModelError) as error:
            if name not in found:
                raise
            # Nobody asked for what was tuned; what was measured with it says nothing either.
            plain = bind(
                pipeline, catalog, inputs, replace(settings, tuned=False), watch=watch, tiles=tiles
            )
            note = f"what was tuned, {found[name]}, does not work here: {error}"
            return replace(plain, settings=settings, untuned={name: note})
    return Plan(
        pipeline=pipeline,
        catalog=catalog,
        inputs=inputs,
        settings=settings,
        workers=workers,
        threads=threads,
        models=models,
        providers=providers,
        batch=settings.batch or (lead.batch if lead else BATCH),
        batch_pixels=lead.pixels if lead else BATCH_PIXELS,
        tuned=found,
    )


def _tuned(pipeline: Pipeline, catalog: Catalog, settings: RunSettings) -> dict[str, Answer]:
    """What was found for the models, where nobody asks for another provider or precision."""
    unsaid = settings.runtime == "auto" and not settings.provider_options
    if not settings.tuned or not unsaid or tuned.is_off():
        return {}
    known = tuned.answers(pipeline.bundles.values(), catalog)
    found = {name: known.get(bundle.digest) for name, bundle in pipeline.bundles.items()}
    return {
        name: answer
        for name, answer in found.items()
        if answer is not None
        and settings.provider in ("auto", answer.provider)
        and settings.precision in ("auto", answer.precision)
    }


def _with(settings: RunSettings, answer: Answer | None, bundle: Bundle) -> RunSettings:
    """The settings for one model: what was asked for, else what was found."""
    if answer is None:
        return settings
    # Other tiles change what a network gives that sees a picture whole.
    tile = answer.tile if bundle.card.receptive_field != "global" else 0
    # Only of int8 `auto` does not think by itself.
    precision = INT8 if answer.precision == INT8 else settings.precision
    return replace(
        settings, provider=answer.provider, tile=settings.tile or tile, precision=precision
    )


def _runtime_for(pipeline: Pipeline, catalog: Catalog, settings: RunSettings) -> Runtime | None:
    """The runtime for the pipeline's models, where it has any."""
    if pipeline.bundles:
        return runtime_named(catalog, settings.runtime)
    if settings.provider != "auto" or settings.provider_options:
        # Nothing will run on it, but a misspelt provider is a mistake here too.
        chosen = Settings(provider=settings.provider, options=settings.provider_options)
        runtime_named(catalog, settings.runtime).compile(trial.GRAPH, chosen)
    return None


def parallel(settings: RunSettings, total: int, tuned: Answer | None = None) -> tuple[int, int]:
    """Workers, and threads of each call.

    On a CPU, several pictures at a time with few threads each are faster than one with many; but
    a single picture gets all cores.
    """
    cores = machine.cores()
    workers = settings.workers or (tuned.workers if tuned else cores)
    threads = settings.threads or max(1, cores // max(1, min(workers, total)))
    return workers, threads


def _check_out(inputs: Inputs) -> None:
    out = inputs.out
    if out is None:
        raise GenloomError("there is no output folder", hint="Give one with -o")
    if out.exists() and not out.is_dir():
        raise OutputError("the output folder is a file", where=str(out))
    for text in inputs.paths:
        path = Path(text)
        if path.is_dir() and path.resolve() == out.resolve():
            raise OutputError(
                "the output folder is the input folder",
                where=str(out),
                hint="Write to another folder; genloom never overwrites its inputs",
            )


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
