"""What tests of `status` and `retry` share: a stage that fails when told to, and pictures."""

import os
from dataclasses import dataclass
from typing import ClassVar

from click.testing import CliRunner
from PIL import Image

from genloom import Batch, Kind, Run, Stage, hookimpl
from genloom.cli import main


@dataclass(frozen=True, kw_only=True)
class Fragile(Stage):
    """Fails on what it is told to, and remembers what it was given."""

    name, takes, gives = "fragile", Kind.IMAGE, Kind.IMAGE
    broken: ClassVar[set[str]] = set()
    keys: ClassVar[list[str]] = []

    def __call__(self, batch: Batch, run: Run) -> Batch:
        for item in batch.items:
            if item.key in self.broken:
                raise RuntimeError("told to fail")
        self.keys.extend(item.key for item in batch.items)
        return batch


class Plugin:
    genloom_api = 1

    @hookimpl
    def genloom_stages(self):
        return [Fragile]


def pipeline(name, *stages):
    with open(f"{name}.yaml", "w") as file:
        file.write("genloom: 1\nstages:\n" + "".join(f"  - {stage}\n" for stage in stages))


def picture(path, value=0):
    os.makedirs(os.path.dirname(path), exist_ok=True)
    Image.new("RGB", (8, 8), (value, 0, 0)).save(path)


def command(*arguments):
    return CliRunner().invoke(main, list(arguments))


def counts(status):
    return status.done, status.failed, status.pending
