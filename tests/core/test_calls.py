"""Calling stages: what they give is checked, and what they raise is a failure."""

import sys
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pytest

from genloom import Cardinality, Catalog, Kind, Stage, hookimpl, load_pipeline
from genloom.engine.calls import Caller
from genloom.engine.packet import Packet, Unit
from genloom.pipeline import Step
from genloom.stages.geometry import Crop
from genloom.types import Batch, Item


@pytest.fixture
def caller(tmp_path):
    return Caller(0, {}, Path(tmp_path), {})


def packet(shape=(1, 100, 100, 3), **said):
    item = Item(key="0/a.png", name="a", **said)
    return Packet(Unit(item.key, item), item, Batch.images([item], np.zeros(shape, np.uint8)))


def test_a_part_of_a_picture_does_not_keep_the_whole_alive(caller):
    given = packet(alpha=np.ones((100, 100), np.uint8))
    ((cropped,),) = caller.apply([Step("crop", Crop(width=10, height=10))], [given])
    for array in (cropped.batch.values, cropped.item.alpha):
        owner = array if array.base is None else array.base
        assert owner.nbytes <= 10 * 10 * 3


def test_most_of_a_picture_is_not_copied(caller):
    given = packet()
    ((cropped,),) = caller.apply([Step("crop", Crop(width=90, height=90))], [given])
    assert np.shares_memory(cropped.batch.values, given.batch.values)


@dataclass(frozen=True, kw_only=True)
class Rude(Stage):
    """Breaks its promises in the place it is told to."""

    name, takes, gives = "rude", Kind.IMAGE, Kind.IMAGE
    cardinality = Cardinality.MANY_TO_MANY
    where: str = ""

    def __call__(self, batch, run):
        if self.where == "call":
            sys.exit(7)
        return batch

    def group_of(self, item):
        if self.where == "group":
            raise ValueError("no group")
        return ""

    def gather(self, members, item, run):
        if self.where == "exit":
            sys.exit(7)
        if self.where == "none":
            return Batch.images((), np.zeros((0, 4, 4, 3), np.uint8))
        return members[0]


@dataclass(frozen=True, kw_only=True)
class Costly(Stage):
    """Makes pictures, and cannot tell what they cost."""

    name, takes, gives = "costly", Kind.NOTHING, Kind.IMAGE
    cardinality = Cardinality.NONE_TO_MANY
    count: int = 2

    def cost(self, item):
        raise ValueError("no cost")

    def __call__(self, batch, run):
        return Batch.images(batch.items, np.zeros((1, 4, 4, 3), np.uint8))


@dataclass(frozen=True, kw_only=True)
class Drops(Stage):
    """Makes nothing of a picture."""

    name, takes, gives = "drops", Kind.IMAGE, Kind.IMAGE
    cardinality = Cardinality.ONE_TO_MANY

    def __call__(self, batch, run):
        return Batch.images((), np.zeros((0, 4, 4, 3), np.uint8))


class Plugin:
    genloom_api = 1

    @hookimpl
    def genloom_stages(self):
        return [Rude, Costly, Drops]


@pytest.fixture
def run(tmp_path):
    def go(*stages):
        catalog = Catalog.load()
        catalog.register(Plugin(), "test")
        file = tmp_path / "p.yaml"
        file.write_text("genloom: 1\nstages:\n" + "".join(f"  - {stage}\n" for stage in stages))
        return load_pipeline(file, catalog=catalog).run((), tmp_path / "out", force=True)

    return go


@pytest.mark.parametrize(
    ("where", "failed", "reason"),
    [
        ("call", 2, "SystemExit: 7"),
        ("group", 2, "ValueError: no group (in the plugin test"),
        ("exit", 0, "SystemExit: 7"),
        ("none", 0, "gave no items"),
    ],
)
def test_whatever_a_stage_does_is_a_failure_and_never_the_end_of_the_run(
    run, where, failed, reason
):
    report = run("costly", f"rude: {{where: {where}}}", "save")
    assert (report.failed, report.unmade, report.outcome) == (failed, 1, "failed")
    assert reason in report.failures[0].reason
    assert report.files == 0


def test_a_cost_that_is_not_known_harms_nothing(run):
    assert run("costly", "save").done == 2


def test_a_stage_that_makes_nothing_of_a_picture_is_named(run):
    report = run("costly", "drops", "save")
    assert report.failed == 2
    assert "'drops' gave no items" in report.failures[0].reason
