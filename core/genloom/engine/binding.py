"""Bind a pipeline to inputs, models and a runtime."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import replace
from functools import partial
from pathlib import Path
from types import MappingProxyType

from genloom import machine
from genloom.catalog import Catalog
from genloom.engine import tuned
from genloom.engine.compiling import compiled, falls_back_to_cpu, runtime_named
from genloom.engine.plan import Plan
from genloom.engine.settings import (
    BATCH,
    BATCH_PIXELS,
    RunSettings,
)
from genloom.engine.shards import Shard
from genloom.engine.sources import count
from genloom.engine.tuned import Answer
from genloom.errors import GenloomError, MissingRequirement, ModelError, OutputError
from genloom.models import Bundle
from genloom.pipeline import Pipeline
from genloom.runtime import INT8, Network, Runtime, Settings, trial
from genloom.stage import Inputs

Watch = Callable[[str, bytes, Network], Network]
"""Told of a network: the model's name, the bytes that were compiled, and what they became."""

NO_TILES: Mapping[str, int] = MappingProxyType({})


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
