"""What the networks of a pipeline are given, on a few pictures."""

from __future__ import annotations

import itertools
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from genloom import imaging
from genloom.catalog import Catalog
from genloom.engine.binding import bind
from genloom.engine.execute import execute
from genloom.engine.plan import Plan
from genloom.engine.recording import Recorded, Recording
from genloom.engine.settings import RunSettings
from genloom.errors import GenloomError, ImageError
from genloom.pipeline import Pipeline
from genloom.runtime.pixels import IMAGE
from genloom.stage import Inputs, Stage
from genloom.types import Array

PICTURES = 4
SIDE = 384
"""How many pictures the pipeline is run on, and the side of the middle that is taken of each."""

Tensors = Mapping[str, Array]
"""The inputs of a call, by port."""


@dataclass(frozen=True)
class Load:
    """Calls of one graph: its bytes, inputs as the run gave them, and how many there were."""

    graph: bytes
    calls: tuple[Tensors, ...]
    count: int

    @property
    def takes_pictures(self) -> bool:
        """Whether the graph takes pictures."""
        inputs = self.calls[0].items()
        return any(name in (IMAGE, "image") and array.ndim == 4 for name, array in inputs)

    @property
    def work(self) -> float:
        """Millions of numbers that go into one call, in the mean."""
        return sum(a.size for call in self.calls for a in call.values()) / 1e6 / len(self.calls)


def ran(
    pipeline: Pipeline, catalog: Catalog, paths: Sequence[str], settings: RunSettings, folder: Path
) -> tuple[Plan, Recording]:
    """Run it on a few pictures and record what its networks are given."""
    recording = Recording()
    first = pipeline.steps[0].stage
    reads = type(first).sources is not Stage.sources
    pictures = tuple(_cut(first, paths, folder)) if reads else ()
    inputs = Inputs(pictures, folder / "out")
    plan = bind(pipeline, catalog, inputs, settings, watch=recording.watch)
    recording.on = True
    report = execute(plan)
    recording.on = False
    if report.outcome == "interrupted":
        raise KeyboardInterrupt
    if not report.done:
        reason = report.failures[0].reason if report.failures else "nothing was done"
        raise GenloomError("no picture came through, so there is nothing to measure", got=reason)
    return plan, recording


def _cut(first: Stage, paths: Sequence[str], folder: Path) -> Iterator[str]:
    """The middle of the first few pictures, as files."""
    for number, item in enumerate(itertools.islice(first.sources(Inputs(tuple(paths))), PICTURES)):
        if item.source is None:
            continue
        try:
            pixels = imaging.read(item.source).pixels
        except ImageError:
            continue
        top, left = (max(0, side - SIDE) // 2 for side in pixels.shape[:2])
        path = folder / f"{number}.png"
        imaging.write(path, pixels[top : top + SIDE, left : left + SIDE], ending=".png")
        yield str(path)


def loads(recording: Recording, model: str) -> Iterator[Load]:
    """Each graph that a model's calls went through; of the same graph, the network used most."""
    most: dict[bytes, Recorded] = {}
    for one in recording.networks:
        if one.model == model and one.calls.count:
            known = most.setdefault(one.graph, one)
            most[one.graph] = max(known, one, key=lambda each: each.calls.count)
    for graph, one in most.items():
        yield Load(graph, tuple(one.calls.kept[:PICTURES]), one.calls.count)


def shaped(inputs: Tensors, count: int, side: int | None) -> dict[str, Array]:
    """Inputs of another number of pictures, and of another size: cut, or mirrored on."""
    found = {}
    for name, array in inputs.items():
        if array.ndim:
            array = array[np.arange(count) % len(array)]
        if side is not None and array.ndim == 4:
            for axis in (1, 2) if name == IMAGE else (2, 3):
                array = array.take(_mirrored(array.shape[axis], side), axis)
        found[name] = np.ascontiguousarray(array)
    return found


def _mirrored(length: int, side: int) -> Array:
    """Positions along an axis, back and forth."""
    places = np.arange(side) % (2 * length)
    found: Array = np.minimum(places, 2 * length - 1 - places)
    return found
