"""Resuming chains that gather: pictures and pages are done, and made again, each by itself."""

import signal
import subprocess
import sys
from collections import Counter
from dataclasses import dataclass
from pathlib import Path
from typing import ClassVar

import numpy as np
import pytest
from PIL import Image

from genloom import Batch, Cardinality, Catalog, Kind, Run, Stage, hookimpl, load_pipeline


@dataclass(frozen=True, kw_only=True)
class Seen(Stage):
    """Remembers what it was given, and fails on what it is told to."""

    name, takes, gives = "seen", Kind.IMAGE, Kind.IMAGE
    keys: ClassVar[list[str]] = []
    broken: ClassVar[set[str]] = set()

    def __call__(self, batch: Batch, run: Run) -> Batch:
        (item,) = batch.items
        self.keys.append(item.key)
        if item.key in self.broken:
            raise RuntimeError("told to fail")
        return batch


@dataclass(frozen=True, kw_only=True)
class Copies(Stage):
    """Each picture three times."""

    name, takes, gives = "copies", Kind.IMAGE, Kind.IMAGE
    cardinality = Cardinality.ONE_TO_MANY

    def __call__(self, batch: Batch, run: Run) -> Batch:
        items = [item.child(k) for item in batch.items for k in range(3)]
        return Batch.images(items, np.repeat(batch.pixels, 3, axis=0))


class Plugin:
    genloom_api = 1

    @hookimpl
    def genloom_stages(self):
        return [Seen, Copies]


@pytest.fixture
def pipeline(tmp_path):
    catalog = Catalog.load()
    catalog.register(Plugin(), "test")
    Seen.broken.clear()

    def make(*stages):
        file = tmp_path / "pipeline.yaml"
        file.write_text("genloom: 1\nstages:\n" + "".join(f"  - {stage}\n" for stage in stages))
        return load_pipeline(file, catalog=catalog)

    return make


@pytest.fixture
def photos(tmp_path):
    """Nine pictures in three folders."""
    for n in range(9):
        path = tmp_path / "photos" / "abc"[n // 3] / f"p{n}.png"
        path.parent.mkdir(parents=True, exist_ok=True)
        Image.new("RGB", (8, 8), (n * 20, 0, 0)).save(path)
    return tmp_path / "photos"


@pytest.fixture
def run(photos, tmp_path):
    """Runs a chain; gives the report, the inputs it computed, and the results it wrote."""

    def go(chain, **settings):
        before = times(tmp_path / "out")
        Seen.keys.clear()
        settings = {"batch": 1, "workers": 1} | settings
        report = chain.run(photos, tmp_path / "out", **settings)
        after = times(tmp_path / "out")
        wrote = {name for name in after if after[name] != before.get(name)}
        return report, sorted({key.split("#")[0] for key in Seen.keys}), wrote

    return go


def times(out: Path) -> dict[str, int]:
    return {
        path.relative_to(out).as_posix(): path.stat().st_mtime_ns
        for path in out.rglob("*.png")
        if ".genloom" not in path.parts
    }


SHEET = ("load", "seen", "save", "grid: {allow_missing: true}", "save: {id: sheet}")
EVERY = {f"{'abc'[n // 3]}/p{n}.png" for n in range(9)}


def test_a_sheet_that_stands_is_not_made_again_and_neither_are_its_pictures(pipeline, run):
    report, _, wrote = run(pipeline(*SHEET))
    assert (report.done, report.files, wrote) == (9, 10, {*EVERY, "grid.png"})
    report, computed, wrote = run(pipeline(*SHEET))
    assert (report.done, report.skipped, report.files) == (0, 9, 0)
    assert (computed, wrote) == ([], set())


def test_a_changed_picture_is_written_with_its_sheet_and_nothing_else(pipeline, run, photos):
    run(pipeline(*SHEET))
    Image.new("RGB", (8, 8), "blue").save(photos / "b/p4.png")
    report, computed, wrote = run(pipeline(*SHEET))
    assert (report.done, report.skipped, report.files) == (1, 8, 2)
    assert len(computed) == 9, "a sheet needs all of its pictures"
    assert wrote == {"b/p4.png", "grid.png"}


def test_a_result_that_was_deleted_is_made_again_without_its_sheet(pipeline, run, tmp_path):
    run(pipeline(*SHEET))
    (tmp_path / "out/b/p4.png").unlink()
    report, computed, wrote = run(pipeline(*SHEET))
    assert (report.done, report.skipped) == (1, 8)
    assert (computed, wrote) == (["0/b/p4.png"], {"b/p4.png"})


def test_a_sheet_that_was_deleted_is_made_again_without_writing_its_pictures(
    pipeline, run, tmp_path
):
    run(pipeline(*SHEET))
    (tmp_path / "out/grid.png").unlink()
    report, _, wrote = run(pipeline(*SHEET))
    assert (report.done, report.skipped, report.files, wrote) == (0, 9, 1, {"grid.png"})


def test_a_sheet_without_a_broken_picture_stays_done_until_the_picture_changes(
    pipeline, run, photos
):
    (photos / "b/p4.png").write_bytes(b"broken")
    report, _, wrote = run(pipeline(*SHEET))
    assert (report.done, report.failed) == (8, 1)
    assert wrote == {*EVERY, "grid.png"} - {"b/p4.png"}
    for _ in range(2):
        report, computed, wrote = run(pipeline(*SHEET))
        assert (report.done, report.skipped, report.failed, report.exit_code) == (0, 8, 1, 1)
        assert (computed, wrote) == ([], set())
    (photos / "b/p4.png").write_bytes(b"broken in another way")
    assert run(pipeline(*SHEET))[2] == {"grid.png"}
    Image.new("RGB", (8, 8), "blue").save(photos / "b/p4.png")
    report, _, wrote = run(pipeline(*SHEET))
    assert (report.done, report.failed, wrote) == (1, 0, {"b/p4.png", "grid.png"})


def test_a_picture_that_comes_good_brings_its_sheet_up_to_date_in_the_same_run(pipeline, run):
    Seen.broken.add("0/b/p4.png")
    run(pipeline(*SHEET))
    assert run(pipeline(*SHEET))[1:] == (["0/b/p4.png"], set())
    Seen.broken.clear()
    report, _, wrote = run(pipeline(*SHEET))
    assert (report.done, report.skipped, report.failed) == (1, 8, 0)
    assert wrote == {"b/p4.png", "grid.png"}
    assert run(pipeline(*SHEET))[1:] == ([], set())


def test_a_sheet_that_misses_a_picture_stays_pending(pipeline, run):
    chain = ("load", "seen", "save", "grid", "save: {id: sheet}")
    Seen.broken.add("0/b/p4.png")
    report, _, wrote = run(pipeline(*chain))
    assert (report.done, report.failed, report.unmade) == (8, 1, 1)
    report, computed, wrote = run(pipeline(*chain))
    assert (report.done, report.skipped, report.failed, report.unmade) == (0, 8, 1, 1)
    assert (len(computed), wrote) == (9, set())
    Seen.broken.clear()
    assert run(pipeline(*chain))[2] == {"b/p4.png", "grid.png"}


def test_adding_or_removing_a_sheet_writes_nothing_a_second_time(pipeline, run, tmp_path):
    run(pipeline("load", "seen", "save"))
    report, _, wrote = run(pipeline(*SHEET))
    assert (report.skipped, wrote) == (9, {"grid.png"})
    assert run(pipeline("load", "seen", "save"))[2] == set()
    assert set(times(tmp_path / "out")) == {*EVERY, "grid.png"}


def test_another_layout_of_the_sheet_leaves_the_pictures_alone(pipeline, run):
    run(pipeline(*SHEET))
    wider = [stage.replace("true", "true, columns: 9") for stage in SHEET]
    assert run(pipeline(*wider))[2] == {"grid.png"}


def test_pages_that_stand_are_left_out_of_the_run(pipeline, run, photos):
    chain = ("load", "seen", "grid: {max_items: 2}", "save")
    assert len(run(pipeline(*chain))[2]) == 5
    Image.new("RGB", (8, 8), "blue").save(photos / "c/p6.png")
    report, computed, wrote = run(pipeline(*chain))
    assert computed == ["0/c/p6.png", "0/c/p7.png", "0/c/p8.png"]
    assert (wrote, report.done, report.skipped) == ({"grid-004.png"}, 3, 6)
    Image.new("RGB", (8, 8), "red").save(photos / "c/p9.png")
    assert run(pipeline(*chain))[1:] == (["0/c/p8.png", "0/c/p9.png"], {"grid-005.png"})


def test_a_picture_that_is_gone_moves_all_that_follow(pipeline, run, photos):
    chain = ("load", "seen", "grid: {max_items: 2}", "save")
    run(pipeline(*chain))
    (photos / "a/p2.png").unlink()
    assert run(pipeline(*chain))[2] == {"grid-002.png", "grid-003.png", "grid-004.png"}


def test_folders_whose_sheet_stands_are_left_out_of_the_run(pipeline, run, photos):
    chain = ("load", "seen", "grid: {group: folder}", "save")
    run(pipeline(*chain))
    Image.new("RGB", (8, 8), "blue").save(photos / "b/p4.png")
    report, computed, wrote = run(pipeline(*chain))
    assert (report.done, report.skipped, wrote) == (3, 6, {"b/grid.png"})
    assert computed == ["0/b/p3.png", "0/b/p4.png", "0/b/p5.png"]


def test_pages_that_share_the_children_of_a_picture_are_each_made_once(pipeline, run, tmp_path):
    chain = ("load", "seen", "copies", "grid: {max_items: 5}", "save")
    assert len(run(pipeline(*chain))[2]) == 6
    assert run(pipeline(*chain))[1:] == ([], set())
    for name in ("grid-002.png", "grid-006.png"):  # the last holds nothing but such children
        (tmp_path / "out" / name).unlink()
        assert run(pipeline(*chain))[2] == {name}


def test_sheets_of_sheets_are_resumed_too(pipeline, run, photos):
    chain = ("load", "seen", "grid: {group: folder}", "save", "grid: {id: all}", "save: {id: top}")
    _, _, wrote = run(pipeline(*chain))
    assert wrote == {"a/grid.png", "b/grid.png", "c/grid.png", "all.png"}
    assert run(pipeline(*chain))[1:] == ([], set())
    Image.new("RGB", (8, 8), "blue").save(photos / "b/p4.png")
    report, _, wrote = run(pipeline(*chain))
    assert wrote == {"b/grid.png", "all.png"}
    assert (report.done, report.failed, report.files) == (9, 0, 2)
    assert run(pipeline(*chain))[1:] == ([], set())


def test_force_makes_all_of_it_again(pipeline, run):
    run(pipeline(*SHEET))
    report, _, wrote = run(pipeline(*SHEET), force=True)
    assert (report.done, wrote) == (9, {*EVERY, "grid.png"})


def test_progress_is_told_as_pictures_pass_not_when_the_sheet_is_done(pipeline, photos, tmp_path):
    for n in range(100):
        Image.new("RGB", (8, 8), (n, 0, 9)).save(photos / f"m{n}.png")
    events = []
    pipeline(*SHEET).run(photos, tmp_path / "out", observe=events.append)
    told = [(event["items"], event["key"]) for event in events if event["event"] == "item"]
    assert told[-1] == (0, "grid:#1"), "109 pictures are two sheets"
    assert Counter(items for items, _ in told) == {1: 109, 0: 2}
    first = next(index for index, (items, _) in enumerate(told) if items == 0)
    assert first >= 100


SCRIPT = """
import os, signal, sys
from genloom.engine import execute
from genloom.cli import main
execute.GROUP_FILES = 4
count, left = execute.Committer.flush, [int(sys.argv[1])]
def flush(self):
    units = count(self)
    left[0] -= any(unit.files for unit in units)
    if left[0] == 0:
        os.kill(os.getpid(), signal.SIGKILL)
    return units
execute.Committer.flush = flush
sys.argv = ["genloom", *sys.argv[2:]]
main()
"""


def test_killed_again_and_again_a_run_with_a_sheet_keeps_what_it_finished(
    pipeline, photos, tmp_path
):
    for n in range(20):
        Image.new("RGB", (8, 8), (n, 0, 9)).save(photos / f"m{n}.png")
    out, chain = tmp_path / "out", tmp_path / "sheet.yaml"
    chain.write_text("genloom: 1\nstages: [load, save, grid: {max_items: 8}, save: {id: sheet}]\n")
    load_pipeline(chain).run(photos, tmp_path / "straight")
    kept = {}
    for _ in range(12):
        command = [sys.executable, "-c", SCRIPT, "2", "run", chain, photos, "-o", out]
        process = subprocess.run([*map(str, command)], capture_output=True)
        now = times(out)
        assert kept.items() <= now.items(), "what is done is left alone"
        assert process.returncode == 0 or len(now) > len(kept)
        kept = now
        if process.returncode == 0:
            break
        assert process.returncode == -signal.SIGKILL, process.stderr
    assert process.returncode == 0
    straight = tmp_path / "straight"
    assert set(kept) == set(times(straight))
    assert all((out / name).read_bytes() == (straight / name).read_bytes() for name in kept)
