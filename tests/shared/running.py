"""Stages that do as they are told, and what a run left behind."""

import time
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from PIL import Image

from genloom import Batch, Cardinality, Kind, Run, Stage, hookimpl


@dataclass(frozen=True, kw_only=True)
class Invert(Stage):
    """Invert."""

    name, takes, gives = "invert", Kind.IMAGE, Kind.IMAGE
    fail_on: str = ""

    def __call__(self, batch: Batch, run: Run) -> Batch:
        if any(self.fail_on and self.fail_on in item.key for item in batch.items):
            raise RuntimeError("told to fail")
        return batch.with_data(1 - batch.data)


@dataclass(frozen=True, kw_only=True)
class Copies(Stage):
    """Each picture `count` times, with noise of its own."""

    name, takes, gives = "copies", Kind.IMAGE, Kind.IMAGE
    cardinality = Cardinality.ONE_TO_MANY
    count: int = 3

    def __call__(self, batch: Batch, run: Run) -> Batch:
        items = [item.child(k) for item in batch.items for k in range(self.count)]
        pixels = np.repeat(batch.data, self.count, axis=0)
        noise = np.stack([run.random(item).standard_normal(pixels.shape[1:]) for item in items])
        pixels = pixels + 0.1 * noise.astype(np.float32)
        return Batch.images(items, pixels.transpose(0, 2, 3, 1))


@dataclass(frozen=True, kw_only=True)
class Wrong(Stage):
    """Breaks its promises in the way it is told to."""

    name, takes, gives = "wrong", Kind.IMAGE, Kind.IMAGE
    how: str = "kind"

    def __call__(self, batch: Batch, run: Run) -> Batch:
        if self.how == "kind":
            return Batch.nothing(batch.items)
        if self.how == "none":
            return None
        if self.how == "exit":
            raise SystemExit(7)
        if self.how == "count":
            return Batch.images([*batch.items, *batch.items], np.repeat(batch.pixels, 2, axis=0))
        with run.output(batch.items[0], ".png"):
            return batch


@dataclass(frozen=True, kw_only=True)
class Slow(Stage):
    """Takes its time."""

    name, takes, gives = "slow", Kind.IMAGE, Kind.IMAGE
    seconds: float = 0.05

    def __call__(self, batch: Batch, run: Run) -> Batch:
        time.sleep(self.seconds * len(batch))
        return batch


class Telling:
    """A plugin with these stages that keeps what it is told of a run, in `told`."""

    genloom_api = 1

    def __init__(self):
        self.told = []

    @hookimpl
    def genloom_stages(self):
        return [Invert, Copies, Wrong, Slow]

    @hookimpl
    def genloom_after_item(self, item, files):
        self.told.append(("after", item.key, [file.name for file in files]))

    @hookimpl
    def genloom_item_failed(self, item, reason):
        self.told.append(("failed", item.key, reason))

    @hookimpl
    def genloom_before_run(self, plan):
        self.told.append(("before", plan.total))

    @hookimpl
    def genloom_after_run(self, report):
        self.told.append(("end", report.outcome))


def results(out: Path) -> dict[str, bytes]:
    """The files of an output folder by their names, without those of genloom itself."""
    return {
        path.relative_to(out).as_posix(): path.read_bytes()
        for path in sorted(out.rglob("*"))
        if path.is_file() and ".genloom" not in path.parts
    }


def pixels(path: Path) -> np.ndarray:
    with Image.open(path) as image:
        return np.asarray(image).astype(int)
