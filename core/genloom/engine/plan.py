"""Bind a pipeline to inputs, models and a runtime. A plan can be printed without running."""

from __future__ import annotations

import hashlib
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from typing import Any

from genloom import machine, options
from genloom.catalog import Catalog
from genloom.engine.model import TILE, CompiledModel
from genloom.errors import GenloomError, MissingRequirement, OutputError, PluginError, shown
from genloom.models import Bundle, shadowed
from genloom.pipeline import Pipeline, Step
from genloom.runtime import Network, Runtime, Settings, trial
from genloom.runtime.best import Best
from genloom.stage import Inputs
from genloom.types import Item, digest_of

BATCH = 16
BATCH_PIXELS = 512 * 512
QUEUE_BYTES = 256 * 2**20

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
        queue_bytes: bound on each of the queues between decoding, computing and writing.
        force: do again what is done already.
        fail_fast: stop at the first picture that fails.
    """

    provider: str = "auto"
    provider_options: Mapping[str, str] = field(default_factory=dict)
    runtime: str = "auto"
    threads: int = 0
    workers: int = 0
    batch: int = 0
    tile: int = TILE
    queue_bytes: int = QUEUE_BYTES
    force: bool = False
    fail_fast: bool = False

    def __post_init__(self) -> None:
        for name, least in _LEAST.items():
            value = getattr(self, name)
            if not isinstance(value, int) or value < least:
                raise GenloomError(
                    f"the setting '{name}' is not right",
                    expected=f"a whole number of at least {least}",
                    got=shown(value),
                )


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

    def _digest(self, steps: Sequence[Step]) -> str:
        versions = {}
        for step in steps:
            owner = self.catalog.stage_owner(step.name)
            if not owner.builtin:
                versions[step.name] = str(owner)
        files = {str(path): _file_digest(path) for path in _option_files(steps)}
        resolved = self.pipeline.resolved()
        resolved["stages"] = resolved["stages"][: len(steps)]
        return digest_of({"pipeline": resolved, "plugins": versions, "files": files})

    def sources(self) -> Iterator[Item]:
        """The items that the chain begins with, in order."""
        return self.steps[0].stage.sources(self.inputs)

    def describe(self) -> dict[str, Any]:
        """The plan as plain values, for printing."""
        return {
            "pipeline": self.pipeline.name,
            "seed": self.pipeline.seed,
            "items": self.total,
            "out": str(self.out),
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
        GenloomError: when the inputs name nothing.
        ModelError: when a graph that a stage uses is damaged.
        MissingRequirement: when the provider asked for is not at hand or does not take a graph.
    """
    settings = settings or RunSettings()
    _check_out(inputs)
    total = sum(1 for _ in pipeline.steps[0].stage.sources(inputs))
    if total == 0:
        raise GenloomError(
            "there is nothing to do",
            got=", ".join(inputs.paths) or "no input",
            hint="Name files, folders or globs of pictures after the pipeline",
        )
    runtime = _runtime_for(pipeline, catalog, settings)
    workers, threads = _parallel(settings, total)
    models, providers = {}, {}
    for name, bundle in pipeline.bundles.items():
        assert runtime is not None
        models[name] = compiled(bundle, catalog, runtime, settings, threads, workers)
        providers[name] = _compile(models[name], pipeline.parts_used(name))
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
    compile_settings = Settings(
        provider=settings.provider,
        options=settings.provider_options,
        threads=threads,
        calls=calls,
    )

    def compile_graph(graph: bytes) -> Network:
        return runtime.compile(graph, compile_settings)

    backend = catalog.backend(bundle.card.family)
    return CompiledModel(bundle, backend, compile_graph, tile=settings.tile)


def _compile(model: CompiledModel, parts: Sequence[str]) -> str:
    """Compile parts now, so that what fails does so before anything is written.

    Returns:
        the provider that took them, or all of them where `auto` came to different ones.
    """
    return ", ".join(dict.fromkeys(model.network(part).provider for part in parts))


def runtime_named(catalog: Catalog, name: str) -> Runtime:
    """A runtime by name; `auto` for all that are installed, as one.

    Raises:
        MissingRequirement: when its library is not installed, or none is.
    """
    if name == "auto":
        at_hand = list(_runtimes_at_hand(catalog))
        if not at_hand:
            raise MissingRequirement.extra("onnxruntime", "cpu", "running a model")
        return Best(at_hand)
    runtime = catalog.runtime(name)
    if not runtime.providers():
        raise MissingRequirement.extra(name, "cpu", "running a model")
    return runtime


def _runtimes_at_hand(catalog: Catalog) -> Iterator[Runtime]:
    """Those whose library is installed; one that does not start breaks none of the others."""
    for name in catalog.runtimes():
        try:
            runtime = catalog.runtime(name)
            if runtime.providers():
                yield runtime
        except PluginError:
            continue
        except Exception as error:  # a plugin raises anything
            catalog.refuse("runtime", name, error)


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
    threads = settings.threads or max(1, cores // min(workers, total))
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


def _option_files(steps: Sequence[Step]) -> Iterator[Path]:
    for step in steps:
        for option in options.options_of(type(step.stage)).values():
            value = getattr(step.stage, option.name)
            if isinstance(value, Path):
                yield value


def _file_digest(path: Path) -> str:
    try:
        return hashlib.sha256(path.read_bytes()).hexdigest()
    except OSError as error:
        raise GenloomError(
            f"a file that an option names cannot be read ({error.strerror})", where=str(path)
        ) from None
