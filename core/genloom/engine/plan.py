"""Bind a pipeline to inputs, models and a runtime. A plan can be printed without running."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from hashlib import sha256
from pathlib import Path
from typing import Any

from genloom import machine, options
from genloom.catalog import Catalog
from genloom.engine.model import TILE, CompiledModel
from genloom.engine.networks import FLOOR
from genloom.engine.shards import Shard
from genloom.errors import (
    GenloomError,
    MissingRequirement,
    OutputError,
    PluginError,
    did_you_mean,
    shown,
)
from genloom.models import Bundle, shadowed
from genloom.pipeline import Pipeline, Step
from genloom.runtime import EXACT, Network, Runtime, Settings, trial
from genloom.runtime.best import Best
from genloom.stage import Inputs
from genloom.types import Item, digest_of

BATCH = 16
BATCH_PIXELS = 512 * 512
QUEUE_BYTES = 256 * 2**20

PRECISIONS = ("auto", EXACT, "bf16", "fp16")

_LEAST = {"threads": 0, "workers": 0, "batch": 0, "tile": 16, "queue_bytes": 1}
"""The smallest values of settings that are numbers."""


@dataclass(frozen=True, kw_only=True)
class RunSettings:
    """How to run; nothing here changes the pixels beyond float rounding.

    Attributes:
        provider: `auto` or one execution provider; `provider_options` are its own.
        runtime: name of a runtime; `auto` looks for the provider in all that are installed.
        threads: threads of one call to a network; 0 divides the cores among the workers.
        workers: pictures computed at a time; 0 for as many as there are cores.
        batch: pictures of one shape in one call; 0 lets the engine choose by their size.
        tile: side in pixels of the tiles that large pictures are cut into.
        precision: what networks compute in: `fp32`, `bf16`, `fp16`, or `auto` for the fastest that
            the provider has. The first results of a lower precision are compared with those of
            fp32, which is taken where they are further apart than `precision_floor`.
        precision_floor: least peak signal-to-noise ratio between the two, in dB.
        queue_bytes: bound on each of the queues between decoding, computing and writing.
        force: do again what is done already.
        fail_fast: stop at the first picture that fails.
        shard: `K/N` for the K-th of N parts, each a run with a journal of its own.
    """

    provider: str = "auto"
    provider_options: Mapping[str, str] = field(default_factory=dict)
    runtime: str = "auto"
    threads: int = 0
    workers: int = 0
    batch: int = 0
    tile: int = TILE
    precision: str = "auto"
    precision_floor: float = FLOOR
    queue_bytes: int = QUEUE_BYTES
    force: bool = False
    fail_fast: bool = False
    shard: str = ""

    def __post_init__(self) -> None:
        for name, least in _LEAST.items():
            value = getattr(self, name)
            if not isinstance(value, int) or value < least:
                raise GenloomError(
                    f"the setting '{name}' is not right",
                    expected=f"a whole number of at least {least}",
                    got=shown(value),
                )
        if self.precision not in PRECISIONS:
            raise GenloomError(
                f"there is no precision '{self.precision}'",
                expected=" or ".join(PRECISIONS),
                hint=did_you_mean(self.precision, PRECISIONS),
            )
        Shard.of(self.shard)


@dataclass(frozen=True, kw_only=True)
class Plan:
    """A pipeline bound to what it will run on."""

    pipeline: Pipeline
    catalog: Catalog
    inputs: Inputs
    settings: RunSettings
    total: int
    workers: int
    threads: int
    models: Mapping[str, CompiledModel]
    providers: Mapping[str, str]

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
            "batch": self.settings.batch or f"up to {BATCH}, {BATCH_PIXELS} pixels",
            "tile": self.settings.tile,
            "precision_floor": self.settings.precision_floor,
            "provider_options": dict(self.settings.provider_options),
            "queue_bytes": self.settings.queue_bytes,
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
            "cutting": self.models[name].cutting,
            "scale": card.scale,
        }


def bind(
    pipeline: Pipeline, catalog: Catalog, inputs: Inputs, settings: RunSettings | None = None
) -> Plan:
    """Bind a pipeline to inputs, models and a runtime.

    Raises:
        OutputError: when OUT cannot be used.
        GenloomError: when the inputs name nothing, or the run cannot be cut into shards.
        ModelError: when a graph that a stage uses is damaged.
        MissingRequirement: when the provider asked for is not at hand or does not take a graph.
    """
    settings = settings or RunSettings()
    _check_out(inputs)
    shard = Shard.of(settings.shard)
    total = sum(1 for _ in shard.share(pipeline.steps, inputs))
    # That nothing falls to one shard is no mistake.
    if total == 0 and next(pipeline.steps[0].stage.sources(inputs), None) is None:
        raise GenloomError(
            "there is nothing to do",
            got=", ".join(inputs.paths) or "no input",
            hint="Name files, folders or globs of pictures after the pipeline",
        )
    shard.check(pipeline.steps, inputs)
    runtime = _runtime_for(pipeline, catalog, settings)
    workers, threads = _parallel(settings, total)
    models, providers = {}, {}
    for name, bundle in pipeline.bundles.items():
        assert runtime is not None
        models[name] = compiled(bundle, catalog, runtime, settings, threads, workers)
        parts, last = pipeline.parts_used(name), pipeline.ends_with(name)
        providers[name] = models[name].prepare(parts, rounded=last)
    return Plan(
        pipeline=pipeline,
        catalog=catalog,
        inputs=inputs,
        settings=settings,
        total=total,
        workers=workers,
        threads=threads,
        models=models,
        providers=providers,
    )


def compiled(
    bundle: Bundle,
    catalog: Catalog,
    runtime: Runtime,
    settings: RunSettings,
    threads: int,
    calls: int = 1,
) -> CompiledModel:
    """A bundle ready to run, up to `calls` of them at a time."""

    def compile_graph(graph: bytes, precision: str) -> Network:
        chosen = Settings(
            provider=settings.provider,
            options=settings.provider_options,
            threads=threads,
            calls=calls,
            precision=precision,
        )
        return runtime.compile(graph, chosen)

    return CompiledModel(
        bundle,
        catalog.backend(bundle.card.family),
        compile_graph,
        tile=settings.tile,
        precision=settings.precision,
        floor=settings.precision_floor,
    )


def runtime_named(catalog: Catalog, name: str) -> Runtime:
    """A runtime by name; `auto` for all that are installed, as one.

    Raises:
        MissingRequirement: when its library is not installed, or none is.
    """
    if name != "auto":
        return _at_hand(catalog, name)
    at_hand, lacking = [], dict[str, GenloomError]()
    for each, kind in catalog.runtimes().items():
        try:
            at_hand.append(_at_hand(catalog, each))
        except MissingRequirement:
            extras = [name for name, extra in kind.extras.items() if extra]
            lacking |= {name: kind.missing(f"the provider '{name}'", name) for name in extras}
        except PluginError as error:  # one that does not start breaks none of the others
            lacking |= dict.fromkeys(kind.extras, error)
    if not at_hand:
        raise MissingRequirement.extra("onnxruntime", "cpu", "running a model")
    return Best(at_hand, lacking)


def _at_hand(catalog: Catalog, name: str) -> Runtime:
    """A runtime whose library is installed.

    Raises:
        MissingRequirement: when it is not.
        PluginError: when it does not start.
    """
    runtime = catalog.runtime(name)
    try:
        there = bool(runtime.providers())
    except Exception as error:  # a plugin raises anything
        raise catalog.refuse("runtime", name, error) from error
    if not there:
        raise runtime.missing(f"the runtime '{name}'")
    return runtime


def _runtime_for(pipeline: Pipeline, catalog: Catalog, settings: RunSettings) -> Runtime | None:
    """The runtime for the pipeline's models, where it has any."""
    if pipeline.bundles:
        return runtime_named(catalog, settings.runtime)
    if settings.provider != "auto" or settings.provider_options:
        # Nothing will run on it, but a misspelt provider is a mistake here too.
        chosen = Settings(provider=settings.provider, options=settings.provider_options)
        runtime_named(catalog, settings.runtime).compile(trial.GRAPH, chosen)
    return None


def _parallel(settings: RunSettings, total: int) -> tuple[int, int]:
    """Workers, and threads of each call.

    On a CPU, several pictures at a time with few threads each are faster than one with many; but
    a single picture gets all cores.
    """
    cores = machine.cores()
    workers = settings.workers or cores
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
        return path.read_bytes()
    except OSError as error:
        raise GenloomError(
            f"a file that an option names cannot be read ({error.strerror})", where=str(path)
        ) from None
