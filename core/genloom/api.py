"""genloom as a library: `load_pipeline`, `open_model` and `verify_model`."""

from __future__ import annotations

import contextlib
import os
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from genloom import models, pipeline
from genloom.backend import class_weights
from genloom.card import Card
from genloom.catalog import Catalog
from genloom.engine import bench, tune
from genloom.engine.again import plans_again
from genloom.engine.binding import bind
from genloom.engine.compiling import compiled, runtime_named
from genloom.engine.execute import execute
from genloom.engine.model import CompiledModel
from genloom.engine.plan import Plan
from genloom.engine.report import Report
from genloom.engine.settings import RunSettings
from genloom.engine.status import Status, examine
from genloom.engine.verify import verify_all
from genloom.errors import ModelError, shown
from genloom.options import check, plain
from genloom.runtime import EXACT
from genloom.stage import Inputs
from genloom.stages.latent import Sample
from genloom.types import Array, Batch, Floats, Item, as_dtype, random_state

Paths = str | os.PathLike[str] | Sequence[str | os.PathLike[str]]


@dataclass(frozen=True)
class LoadedPipeline:
    """A checked pipeline, ready to run: what `load_pipeline` gives."""

    pipeline: pipeline.Pipeline
    catalog: Catalog

    def plan(self, inputs: Paths, out: str | os.PathLike[str], **settings: Any) -> Plan:
        """Bind it to inputs and an output folder without running.

        Args:
            inputs: a file, folder or glob, or several; `()` for pipelines that sample.
            out: the output folder.
            settings: fields of `genloom.RunSettings`.
        """
        chosen = RunSettings(**settings)
        return bind(self.pipeline, self.catalog, Inputs(_paths(inputs), Path(out)), chosen)

    def run(
        self,
        inputs: Paths,
        out: str | os.PathLike[str],
        *,
        observe: Callable[[dict[str, Any]], None] | None = None,
        **settings: Any,
    ) -> Report:
        """Run it over inputs. Resumes by itself: what is done in `out` is not done again.

        Raises:
            GenloomError: when nothing could be run; pictures that fail are in the report instead.
        """
        return execute(self.plan(inputs, out, **settings), observe)

    def bench(self, inputs: Paths, *, rounds: int = bench.ROUNDS, **settings: Any) -> bench.Bench:
        """Measure how fast it is and what limits it, as `genloom bench` does.

        Raises:
            GenloomError: when nothing can be run, or no picture comes through.
        """
        chosen = RunSettings(**settings)
        return bench.bench(self.pipeline, self.catalog, _paths(inputs), chosen, rounds)

    def tune(
        self,
        inputs: Paths,
        *,
        seconds: float = tune.SECONDS,
        tell: Callable[[str], None] = lambda text: None,
        **settings: Any,
    ) -> list[tune.Tuning]:
        """Find the fastest settings for its models and keep them, as `genloom tune` does.

        Args:
            inputs: pictures to measure on; `()` for pipelines that sample.
            seconds: to spend in all, about.
            tell: told in words of every step.
            settings: of `genloom.RunSettings` the runtime, `precision_floor` and `queue_bytes`.

        Raises:
            GenloomError: when the pipeline has no models, or does not run.
            OutputError: when what was found cannot be kept.
        """
        chosen = RunSettings(**settings)
        return tune.tune(self.pipeline, self.catalog, _paths(inputs), chosen, seconds, tell)


def _paths(inputs: Paths) -> tuple[str, ...]:
    many = [inputs] if isinstance(inputs, str | os.PathLike) else inputs
    return tuple(os.fspath(path) for path in many)


def load_pipeline(
    source: str | os.PathLike[str],
    options: Mapping[str, Any] | Sequence[str] = (),
    *,
    seed: int | None = None,
    catalog: Catalog | None = None,
) -> LoadedPipeline:
    """Read and check a pipeline by name or path.

    Args:
        source: a pipeline's name, or the path of a file.
        options: `{"denoise.strength": 0.5}`, or `["denoise.strength=0.5"]` as on the command line.
        seed: in place of the file's.
        catalog: the plugins; the installed ones unless given.

    Raises:
        InvalidFile: with every problem of the file.
    """
    import json

    catalog = catalog or Catalog.load()
    if isinstance(options, Mapping):
        options = [f"{name}={json.dumps(plain(value))}" for name, value in options.items()]
    return LoadedPipeline(pipeline.load(os.fspath(source), catalog, options, seed), catalog)


def status(out: str | os.PathLike[str], *, catalog: Catalog | None = None) -> Status:
    """Where the runs into an output folder stand, as `genloom status` says it.

    Meanwhile the working folder of the process is the one that the run was started from.

    Raises:
        OutputError: when the folder has no journal, or this process itself is running into it.
    """
    return examine(Path(out), catalog or Catalog.load())


def retry(
    out: str | os.PathLike[str],
    *,
    observe: Callable[[dict[str, Any]], None] | None = None,
    catalog: Catalog | None = None,
) -> list[Report]:
    """Try again what failed in an output folder, with the command of its last run.

    Meanwhile the working folder of the process is the one that the run was started from.

    Returns:
        a report for each shard, or the one of the whole run; none after one was interrupted.

    Raises:
        OutputError: when the folder has no journal, or another run is using it.
        GenloomError: when the command is not known, or what it runs has changed since.
    """
    catalog, reports = catalog or Catalog.load(), []
    with contextlib.closing(plans_again(Path(out), catalog)) as plans:
        for plan in plans:
            reports.append(execute(plan, observe, failed_only=True))
            if reports[-1].outcome == "interrupted":
                break
    return reports


class OpenModel:
    """A model on arrays: what `open_model` gives.

    Pictures are H×W, H×W×C or N×H×W×C, uint8, uint16 or float32 in [0, 1]; C is 1 or 3. Results
    have the layout and dtype of what came in.
    """

    def __init__(self, model: CompiledModel) -> None:
        self.model = model

    @property
    def card(self) -> Card:
        """What the model is."""
        return self.model.card

    def __call__(self, pictures: Array, *, ensemble: int = 1, **ports: float | Array) -> Array:
        """Image to image: through the network, or through encoder and decoder.

        Args:
            pictures: see above.
            ensemble: for a network, of how many ways to turn and mirror the pictures the mean is
                taken: 1, 2, 4 or 8.
            ports: other inputs of the network by name, such as `noise_level=25 / 255`, or a guide
                laid out as the pictures are; one that the card gives a default need not be named.
        """
        given = _pixels(pictures)
        batch = _batch(given)
        values = self._ports(ports, len(batch))
        if "network" in self.card.parts:
            result = self.model.image("network", batch, ensemble=ensemble, rounded=True, **values)
        elif ensemble != 1:
            raise ModelError(
                f"'{self.card.name}' has no network whose results could be averaged",
                expected="ensemble 1",
                got=shown(ensemble),
            )
        else:
            result = self.model.decode(self.model.encode(batch))
        return _like(result.pixels, given)

    @property
    def notes(self) -> list[str]:
        """What one should know of how it computed so far: where memory ran out, say."""
        return self.model.fallback.notes()

    def encode(self, pictures: Array) -> Floats:
        """Pictures to latents N×…: the mean, where there is a posterior."""
        return np.asarray(self.model.encode(_batch(_pixels(pictures))).values, np.float32)

    def decode(self, latents: Floats, labels: Sequence[str | int] | None = None) -> Floats:
        """Latents N×… to pictures N×H×W×C, float32 in [0, 1]; a conditional model wants classes.

        Args:
            latents: as `encode` gives them.
            labels: the class of each, by name or position.

        Raises:
            UnknownName: when there is no such class.
            ModelError: when the model is not conditional, or there is not one label for each.
        """
        items = [Item(key=f"array-{index}", name="array") for index in range(len(latents))]
        label = None if labels is None else self._label(labels, len(latents))
        values = np.asarray(latents, np.float32)
        return self._decoded(Batch.latents(items, values, model=self.model.digest, label=label))

    def _decoded(self, batch: Batch) -> Floats:
        return np.asarray(np.clip(self.model.decode(batch).pixels, 0, 1), np.float32)

    def sample(
        self,
        count: int,
        *,
        seed: int = 0,
        temperature: float = 1.0,
        truncation: float | None = None,
        label: str | int | None = None,
    ) -> Floats:
        """New pictures from the prior, N×H×W×C, float32: those of the pipeline `sample`.

        `label` names the class that a conditional model is to draw, by name or position; unless
        said it draws classes too.

        Raises:
            ModelError: when the stage `sample` would not take these values.
            UnknownName: when there is no such class.
        """
        _check_sampling(count=count, temperature=temperature, truncation=truncation)
        items = [Item(key=f"sample-{n:06d}", name="sample") for n in range(count)]
        random = [random_state(seed, "sample", item.key) for item in items]
        batch = self.model.prior(
            items,
            random,
            temperature=temperature,
            truncation=truncation,
            labels=None if label is None else self._positions([label] * count),
        )
        return self._decoded(batch)

    def _label(self, labels: Sequence[str | int], count: int) -> Floats | None:
        if len(labels) != count:
            raise ModelError(
                "there must be one label for each latent", expected=str(count), got=str(len(labels))
            )
        return class_weights(self.card, (), self._positions(labels))

    def _positions(self, labels: Sequence[str | int]) -> list[int]:
        """The positions of classes given by name or position."""
        if not self.card.conditional:
            raise ModelError(
                f"the model '{self.card.name}' knows no classes to draw",
                expected="a conditional model, or no label",
                got=repr(labels[0]) if labels else "no label",
            )
        return [self.card.label_index(label) for label in labels]

    def _ports(self, given: Mapping[str, float | Array], count: int) -> dict[str, Array]:
        part = self.card.parts.get("network")
        known = {} if part is None else {n: p for n, p in part.inputs.items() if n != "image"}
        values: dict[str, float | Array] = {
            name: port.default for name, port in known.items() if port.default is not None
        }
        values |= given
        if set(values) != set(known):
            raise ModelError(
                f"'{self.card.name}' needs other inputs",
                expected=", ".join(known) or "none",
                got=", ".join(given) or "none",
            )
        return {
            name: _batch(_pixels(value)).pixels
            if isinstance(value, np.ndarray) and value.ndim > 1
            else np.full(count, value, np.float32)
            for name, value in values.items()
        }


def open_model(
    name: str | os.PathLike[str],
    *,
    provider: str = "auto",
    threads: int = 0,
    tile: int = 0,
    precision: str = EXACT,
    catalog: Catalog | None = None,
) -> OpenModel:
    """Open a model by name or path, compiled and ready; `tile`, `precision` as in `RunSettings`.

    What a provider has no memory for, the CPU computes where `provider` is `auto`; the model's
    `notes` say so.

    Raises:
        UnknownName: when there is no such model.
        MissingRequirement: when the provider is not at hand.
        ModelError: when a graph of it is damaged.
    """
    catalog = catalog or Catalog.load()
    settings = RunSettings(provider=provider, threads=threads, tile=tile, precision=precision)
    bundle = models.find(os.fspath(name), catalog)
    runtime = runtime_named(catalog, settings.runtime)
    model = compiled(bundle, catalog, runtime, settings, threads)
    model.prepare(tuple(bundle.card.parts), rounded=True)
    return OpenModel(model)


def verify_model(name: str | os.PathLike[str], *, catalog: Catalog | None = None) -> list[str]:
    """Check a bundle against its card, as `genloom models verify` does; gives what is wrong."""
    (verdict,) = verify_all([os.fspath(name)], catalog or Catalog.load())
    return list(verdict.problems)


def _check_sampling(**given: Any) -> None:
    """Check values as the stage `sample` checks its options."""
    values = {n: v.item() if isinstance(v, np.generic) else v for n, v in given.items()}
    for problem in check(Sample, values)[1]:
        raise ModelError(
            f"'{problem.name}' is not right", expected=problem.expected, got=shown(problem.got)
        )


def _pixels(pictures: Array) -> Array:
    """Pictures as an array of a type whose range is known."""
    try:
        pixels = np.asarray(pictures)
    except ValueError as error:  # lists of unequal length
        raise ModelError(f"these are not pictures ({error})") from None
    if pixels.dtype in (np.uint8, np.uint16):
        return pixels
    if not np.issubdtype(pixels.dtype, np.floating):
        raise ModelError(
            "the range of these pictures is not known",
            expected="uint8, uint16, or floats in [0, 1]",
            got=str(pixels.dtype),
        )
    return pixels.astype(np.float32, copy=False)


def _batch(pixels: Array) -> Batch:
    shape = pixels.shape
    if pixels.ndim == 2:
        pixels = pixels[..., None]
    if pixels.ndim == 3:
        pixels = pixels[None]
    if pixels.ndim != 4 or pixels.shape[3] not in (1, 3) or 0 in shape:
        raise ModelError(
            "these are not pictures",
            expected="H×W, H×W×C or N×H×W×C with C of 1 or 3",
            got=f"shape {shape}",
        )
    items = [Item(key=f"array-{index}", name="array") for index in range(len(pixels))]
    return Batch.images(items, pixels)


def _like(result: Array, given: Array) -> Array:
    result = as_dtype(result, given.dtype)
    if given.ndim < 4:
        result = result[0]
    return result[..., 0] if given.ndim == 2 else result
