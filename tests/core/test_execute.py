"""Running plans: streaming, resuming, failing, and never touching what is not ours."""

import json
import os
import signal
import subprocess
import sys
import threading
import time
import unicodedata
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

import genloom
from genloom import (
    Batch,
    Cardinality,
    Catalog,
    Kind,
    Run,
    RunSettings,
    Stage,
    hookimpl,
    load_pipeline,
)
from genloom.engine import execute
from genloom.errors import GenloomError, InvalidFile, OutputError
from genloom.types import Item


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


class Plugin:
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


@pytest.fixture
def plugin():
    return Plugin()


@pytest.fixture
def catalog(plugin):
    catalog = Catalog.load()
    catalog.register(plugin, "test")
    return catalog


@pytest.fixture
def pipeline(tmp_path, catalog):
    """Makes a pipeline of the stages given as YAML lines."""

    def make(*stages, options=(), seed=0):
        file = tmp_path / "pipeline.yaml"
        lines = "".join(f"  - {stage}\n" for stage in stages)
        file.write_text(f"genloom: 1\nstages:\n{lines}")
        return load_pipeline(file, options, seed=seed, catalog=catalog)

    return make


@pytest.fixture
def photos(tmp_path):
    """Eight pictures of two sizes in two folders."""
    folder = tmp_path / "photos"
    random = np.random.default_rng(0)
    for index in range(8):
        size = (20, 30, 3) if index % 2 else (25, 25, 3)
        path = folder / ("one" if index < 5 else "two") / f"p{index}.png"
        path.parent.mkdir(parents=True, exist_ok=True)
        Image.fromarray(random.integers(0, 256, size, np.uint8)).save(path)
    return folder


def results(out: Path) -> dict[str, bytes]:
    return {
        path.relative_to(out).as_posix(): path.read_bytes()
        for path in sorted(out.rglob("*"))
        if path.is_file() and ".genloom" not in path.parts
    }


def pixels(path: Path) -> np.ndarray:
    with Image.open(path) as image:
        return np.asarray(image).astype(int)


def test_a_folder_tree_is_mirrored_and_every_picture_done(pipeline, photos, tmp_path):
    report = pipeline("load", "invert", "save").run(photos, tmp_path / "out")
    assert (report.done, report.failed, report.outcome, report.exit_code) == (8, 0, "done", 0)
    assert list(results(tmp_path / "out")) == [
        *[f"one/p{n}.png" for n in range(5)],
        *[f"two/p{n}.png" for n in range(5, 8)],
    ]
    before, after = pixels(photos / "one/p0.png"), pixels(tmp_path / "out/one/p0.png")
    assert np.array_equal(before + after, np.full_like(before, 255))


def test_running_again_does_nothing_and_touches_nothing(pipeline, photos, tmp_path):
    out = tmp_path / "out"
    pipeline("load", "invert", "save").run(photos, out)
    times = {path: path.stat().st_mtime_ns for path in out.rglob("*.png")}
    report = pipeline("load", "invert", "save").run(photos, out)
    assert (report.done, report.skipped, report.files) == (0, 8, 0)
    assert {path: path.stat().st_mtime_ns for path in out.rglob("*.png")} == times


def test_only_what_is_missing_or_changed_is_done_again(pipeline, photos, tmp_path):
    out = tmp_path / "out"
    pipeline("load", "invert", "save").run(photos, out)
    (out / "one/p1.png").unlink()
    Image.new("RGB", (25, 25), "red").save(photos / "two/p6.png")
    report = pipeline("load", "invert", "save").run(photos, out)
    assert (report.done, report.skipped) == (2, 6)
    assert pixels(out / "two/p6.png")[0, 0].tolist() == [0, 255, 255]


def test_a_touched_input_with_the_same_bytes_is_not_done_again(pipeline, photos, tmp_path):
    pipeline("load", "invert", "save").run(photos, tmp_path / "out")
    os.utime(photos / "one/p0.png", (1, 1))
    assert pipeline("load", "invert", "save").run(photos, tmp_path / "out").skipped == 8


def test_changed_options_do_everything_again_and_force_too(pipeline, photos, tmp_path):
    out = tmp_path / "out"
    pipeline("load", "resize: {scale: 0.5}", "save").run(photos, out)
    again = pipeline("load", "resize: {scale: 1.5}", "save")
    assert again.run(photos, out).done == 8
    assert again.run(photos, out).done == 0
    assert again.run(photos, out, force=True).done == 8


def test_a_broken_picture_is_recorded_and_skipped_and_tried_again(pipeline, photos, tmp_path):
    (photos / "one/bad.png").write_bytes(b"not a picture")
    report = pipeline("load", "invert", "save").run(photos, tmp_path / "out")
    assert (report.done, report.failed, report.exit_code) == (8, 1, 1)
    (failure,) = report.failures
    assert failure.stage == "load" and "not a picture" in failure.reason
    Image.new("RGB", (4, 4)).save(photos / "one/bad.png")
    report = pipeline("load", "invert", "save").run(photos, tmp_path / "out")
    assert (report.done, report.skipped, report.exit_code) == (1, 8, 0)


def test_a_broken_picture_whose_name_is_no_text_is_recorded_like_any_other(
    pipeline, photos, tmp_path
):
    try:
        (photos / os.fsdecode(b"bad\xff.png")).write_bytes(b"no")
        Image.new("RGB", (4, 4)).save(photos / os.fsdecode(b"good\xff.png"))
    except OSError:
        pytest.skip("this file system takes only text")
    for done in (9, 0):
        report = pipeline("load", "save").run(photos, tmp_path / "out")
        assert (report.done, report.failed) == (done, 1)
        assert "not a picture" in report.failures[0].reason
        said = (
            {"written as good\ufffd, because the name of the file is not UTF-8"} if done else set()
        )
        assert set(report.notes) == said
    twin = tmp_path / "twin" / os.fsdecode(b"good\xff.png")
    twin.parent.mkdir()
    Image.new("RGB", (4, 4), "red").save(twin)  # a unit whose key holds the path
    for done in (1, 0):
        assert pipeline("load", "save").run(twin, tmp_path / "out").done == done


def test_one_failure_in_a_batch_fails_only_that_picture(pipeline, photos, tmp_path):
    chain = pipeline("load", "invert: {fail_on: p3}", "save")
    report = chain.run(photos, tmp_path / "out", batch=8)
    assert (report.done, report.failed) == (7, 1)
    (failure,) = report.failures
    assert failure.item.name == "one/p3" and "told to fail" in failure.reason
    assert "RuntimeError" in failure.trace
    assert "one/p3.png" not in results(tmp_path / "out")


def test_fail_fast_stops_and_keeps_what_is_done(pipeline, photos, tmp_path):
    chain = pipeline("load", "slow", "invert: {fail_on: p2}", "save")
    report = chain.run(photos, tmp_path / "out", fail_fast=True, workers=1, batch=1)
    assert report.outcome == "stopped" and report.exit_code == 1
    assert {"one/p0.png", "one/p1.png"} <= set(results(tmp_path / "out"))
    assert "two/p7.png" not in results(tmp_path / "out")


@pytest.mark.parametrize(
    ("how", "said"),
    [
        ("kind", "of kind image"),
        ("none", "NoneType"),
        ("count", "wrong number"),
        ("file", "none"),
        ("exit", "SystemExit: 7"),
    ],
)
def test_a_stage_that_breaks_its_promise_is_named(pipeline, photos, tmp_path, how, said):
    report = pipeline("load", f"wrong: {{how: {how}}}", "save").run(photos, tmp_path / "out")
    assert report.failed == 8
    assert all(f.stage == "wrong" and said in f.reason for f in report.failures)
    assert results(tmp_path / "out") == {}


@pytest.mark.parametrize(("batch", "workers"), [(1, 1), (16, 1), (1, 4), (3, 2), (0, 0)])
def test_the_seed_decides_the_pictures_whatever_the_batch_and_workers(
    pipeline, photos, tmp_path, batch, workers
):
    chain = pipeline("load", "copies", "save", seed=5)
    chain.run(photos, tmp_path / "one", batch=1, workers=1)
    report = chain.run(photos, tmp_path / "other", batch=batch, workers=workers)
    assert report.files == 24
    assert results(tmp_path / "one") == results(tmp_path / "other")
    pipeline("load", "copies", "save", seed=6).run(photos, tmp_path / "seed")
    assert results(tmp_path / "one") != results(tmp_path / "seed")


def test_children_get_names_and_noise_of_their_own(pipeline, photos, tmp_path):
    pipeline("load", "copies: {count: 2}", "save").run(photos / "two/p6.png", tmp_path / "out")
    first, second = (pixels(tmp_path / f"out/p6-00{k}.png") for k in range(2))
    assert not np.array_equal(first, second)


def test_a_foreign_file_is_never_overwritten_not_even_by_force(pipeline, photos, tmp_path):
    out = tmp_path / "out"
    (out / "one").mkdir(parents=True)
    (out / "one/p0.png").write_text("mine")
    report = pipeline("load", "invert", "save").run(photos, out, force=True)
    assert (report.done, report.failed) == (7, 1)
    assert "did not write" in report.failures[0].reason
    assert (out / "one/p0.png").read_text() == "mine"
    (out / "one/p0.png").unlink()
    assert pipeline("load", "invert", "save").run(photos, out).done == 1


def test_a_result_edited_by_hand_is_kept_unless_forced(pipeline, photos, tmp_path):
    out = tmp_path / "out"
    pipeline("load", "invert", "save").run(photos, out)
    (out / "one/p0.png").write_text("edited")
    assert pipeline("load", "invert", "save").run(photos, out).skipped == 8
    other = pipeline("load", "save")
    report = other.run(photos, out)
    assert (report.done, report.failed) == (7, 1)
    assert "changed since" in report.failures[0].reason
    assert (out / "one/p0.png").read_text() == "edited"
    assert other.run(photos, out, force=True).failed == 0
    assert (out / "one/p0.png").read_bytes()[:4] == b"\x89PNG"


def test_pictures_that_would_get_one_name_are_told_apart_and_it_is_said(pipeline, tmp_path):
    folder, out = tmp_path / "in", tmp_path / "out"
    folder.mkdir()
    for name, colour in (
        ("a.jpg", "red"),
        ("a.png", "green"),
        ("A.webp", "blue"),
        ("b.jpg", "red"),
    ):
        Image.new("RGB", (8, 8), colour).save(folder / name)
    report = pipeline("load", "save: {format: png}").run(folder, out)
    assert report.exit_code == 0
    assert set(results(out)) == {"a.jpg.png", "a.png", "A.webp.png", "b.png"}
    assert pixels(out / "a.png")[0, 0].tolist() == [0, 128, 0]
    assert sum(len(pictures) for pictures in report.notes.values()) == 2
    again = pipeline("load", "save: {format: png}").run(folder, out)
    assert again.skipped == 4


def test_names_that_differ_only_in_case_are_told_apart(pipeline, tmp_path):
    folder = tmp_path / "in"
    folder.mkdir()
    Image.new("RGB", (8, 8), "red").save(folder / "a.png")
    Image.new("RGB", (8, 8), "blue").save(folder / "A.png")
    if len(list(folder.iterdir())) < 2:
        pytest.skip("this file system ignores case")
    pipeline("load", "save").run(folder, tmp_path / "out")
    names = [name.casefold() for name in results(tmp_path / "out")]
    assert len(set(names)) == 2


def test_a_picture_added_later_does_not_rename_what_is_done(pipeline, tmp_path):
    folder, out = tmp_path / "in", tmp_path / "out"
    folder.mkdir()
    Image.new("RGB", (8, 8), "red").save(folder / "a.jpg")
    chain = pipeline("load", "save: {format: png}")
    chain.run(folder, out)
    Image.new("RGB", (8, 8), "green").save(folder / "a.png")
    report = chain.run(folder, out)
    assert (report.done, report.skipped) == (1, 1)
    assert len(results(out)) == 2
    assert pixels(out / "a.png")[0, 0, 0] > 250


def test_results_of_another_format_are_left_and_said_and_not_needed(pipeline, photos, tmp_path):
    out, one = tmp_path / "out", photos / "one/p0.png"
    pipeline("load", "save").run(one, out)
    other = pipeline("load", "save: {format: webp}")
    report = other.run(one, out)
    assert set(results(out)) == {"p0.png", "p0.webp"}
    assert list(report.notes) == ["p0.png is left from an earlier run"]
    assert other.run(one, out).skipped == 1
    (out / "p0.png").unlink()
    assert other.run(one, out).skipped == 1
    (out / "p0.webp").unlink()
    assert other.run(one, out).done == 1


def test_a_result_that_is_left_from_an_earlier_run_is_still_genlooms_own(
    pipeline, photos, tmp_path
):
    out, one = tmp_path / "out", photos / "one/p0.png"
    for stage in ("save", "save: {format: webp}", "save: {quality: 9}"):
        assert pipeline("load", stage).run(one, out).done == 1
    assert set(results(out)) == {"p0.png", "p0.webp"}


def test_two_saves_of_one_chain_do_not_overwrite_each_other(pipeline, photos, tmp_path):
    chain = pipeline("load", "save", "invert", "save: {id: after, to: '{folder}/{stem}-inverted'}")
    chain.run(photos, tmp_path / "out")
    assert {"one/p0.png", "one/p0-inverted.png"} <= set(results(tmp_path / "out"))
    pipeline("load", "save", "invert", "save").run(photos, tmp_path / "same")
    assert len(results(tmp_path / "same")) == 16


def test_out_inside_input_is_not_read_back_in(pipeline, photos):
    out = photos / "results"
    pipeline("load", "invert", "save").run(photos, out)
    report = pipeline("load", "invert", "save").run(photos, out)
    assert (report.total, report.skipped) == (8, 8)


def test_out_that_is_the_input_is_refused(pipeline, photos):
    with pytest.raises(OutputError, match="is the input folder"):
        pipeline("load", "save").run(photos, photos)


def test_out_that_is_a_file_is_refused(pipeline, photos, tmp_path):
    (tmp_path / "out").write_text("x")
    with pytest.raises(OutputError, match="is a file"):
        pipeline("load", "save").run(photos, tmp_path / "out")


def test_no_pictures_at_all_is_an_error_that_says_so(pipeline, tmp_path):
    (tmp_path / "empty").mkdir()
    with pytest.raises(GenloomError, match="nothing to do"):
        pipeline("load", "save").run(tmp_path / "empty", tmp_path / "out")
    with pytest.raises(GenloomError, match="nothing to do"):
        pipeline("load", "save").run((), tmp_path / "out")


def test_a_grid_waits_for_its_whole_group_and_says_why_it_is_missing(pipeline, photos, tmp_path):
    out = tmp_path / "out"
    (photos / "one/bad.png").write_bytes(b"no")
    chain = pipeline("load", "grid: {group: folder}", "save")
    report = chain.run(photos, out)
    assert list(results(out)) == ["two/grid.png"]
    assert (report.done, report.failed, report.unmade) == (8, 1, 1)
    (photos / "one/bad.png").unlink()
    report = chain.run(photos, out)
    assert (report.done, report.skipped) == (5, 3)
    assert list(results(out)) == ["one/grid.png", "two/grid.png"]


def test_a_grid_can_go_without_what_failed_and_is_made_again_when_it_is_mended(
    pipeline, photos, tmp_path
):
    (photos / "one/bad.png").write_bytes(b"no")
    chain = pipeline("load", "save", "grid: {allow_missing: true}", "save: {id: sheet}")
    report = chain.run(photos, tmp_path / "out")
    assert len(results(tmp_path / "out")) == 9
    assert (report.failed, report.unmade, report.exit_code) == (1, 0, 1)
    before = results(tmp_path / "out")["grid.png"]
    Image.new("RGB", (25, 25), "red").save(photos / "one/bad.png")
    assert chain.run(photos, tmp_path / "out").exit_code == 0
    assert results(tmp_path / "out")["grid.png"] != before


def test_sheets_have_pages(pipeline, photos, tmp_path):
    pipeline("load", "grid: {max_items: 3}", "save").run(photos, tmp_path / "out")
    assert list(results(tmp_path / "out")) == ["grid-002.png", "grid-003.png", "grid.png"]


def test_nothing_left_to_gather_is_no_crash(pipeline, tmp_path):
    folder = tmp_path / "in"
    folder.mkdir()
    (folder / "bad.png").write_bytes(b"no")
    report = pipeline("load", "grid", "save").run(folder, tmp_path / "out")
    assert (report.done, report.failed) == (0, 1)


def test_plugins_are_told_what_happens(pipeline, photos, tmp_path, plugin):
    (photos / "one/bad.png").write_bytes(b"no")
    pipeline("load", "invert", "save").run(photos, tmp_path / "out")
    assert plugin.told[0] == ("before", 9)
    assert plugin.told[-1] == ("end", "failed")
    assert ("after", "0/two/p7.png", ["p7.png"]) in plugin.told
    assert [entry[1] for entry in plugin.told if entry[0] == "failed"] == ["0/one/bad.png"]


def test_a_hook_that_raises_does_not_harm_the_run_and_is_remembered(pipeline, photos, tmp_path):
    class Rude:
        genloom_api = 1

        @hookimpl
        def genloom_after_item(self, item, files):
            raise RuntimeError("rude")

    chain = pipeline("load", "invert", "save")
    chain.catalog.register(Rude(), "rude")
    assert chain.run(photos, tmp_path / "out").done == 8
    assert "genloom_after_item" in chain.catalog.plugins["rude"].error


def test_events_tell_the_whole_story(pipeline, photos, tmp_path):
    events = []
    (photos / "one/bad.png").write_bytes(b"no")
    pipeline("load", "invert", "save").run(photos, tmp_path / "out", observe=events.append)
    assert events[0]["event"] == "start" and events[0]["total"] == 9
    assert sum(event["items"] for event in events if event["event"] == "item") == 9
    states = [event["state"] for event in events if event["event"] == "item"]
    assert states.count("failed") == 1
    assert events[-1]["report"].done == 8


def test_what_was_done_before_is_told_of_in_few_events(pipeline, photos, tmp_path):
    chain, events = pipeline("load", "invert", "save"), []
    chain.run(photos, tmp_path / "out")
    chain.run(photos, tmp_path / "out", observe=events.append)
    skipped = [event["items"] for event in events if event["event"] == "skipped"]
    assert skipped == [8] and events[-1]["event"] == "end"


def test_alpha_follows_resizing_and_cropping(pipeline, tmp_path):
    folder = tmp_path / "in"
    folder.mkdir()
    image = np.zeros((40, 60, 4), np.uint8)
    image[:20, :, 3] = 255
    Image.fromarray(image).save(folder / "a.png")
    chain = pipeline(
        "load", "crop: {width: 30, height: 20, anchor: top}", "resize: {scale: 2}", "save"
    )
    chain.run(folder, tmp_path / "out")
    after = pixels(tmp_path / "out/a.png")
    assert after.shape == (40, 60, 4)
    assert (after[..., 3] == 255).all()


def test_values_outside_the_range_are_clamped_once_at_the_end(pipeline, photos, tmp_path, catalog):
    chain = pipeline("load", "copies: {count: 1}", "save")
    assert chain.run(photos, tmp_path / "out").exit_code == 0


def test_temporary_files_of_a_killed_run_are_cleared(pipeline, photos, tmp_path):
    stale = tmp_path / "out/.genloom/tmp/123-4.png"
    stale.parent.mkdir(parents=True)
    stale.write_bytes(b"half")
    pipeline("load", "save").run(photos, tmp_path / "out")
    assert list(stale.parent.iterdir()) == []


def test_the_journal_keeps_what_the_run_resolved(pipeline, photos, tmp_path):
    from genloom.engine.journal import Journal

    chain = pipeline("load", "invert", "save", seed=3)
    plan = chain.plan(photos, tmp_path / "out")
    chain.run(photos, tmp_path / "out")
    with Journal(tmp_path / "out") as journal:
        assert journal.last_resolved() == json.loads(json.dumps(plan.describe(), default=str))
        assert journal.last_resolved()["seed"] == 3


def test_a_run_that_an_error_ends_is_not_called_done(pipeline, photos, tmp_path, monkeypatch):
    from genloom.engine.commit import Committer
    from genloom.engine.journal import Journal

    def crash(self):
        raise ZeroDivisionError

    monkeypatch.setattr(Committer, "flush", crash)
    with pytest.raises(ZeroDivisionError):
        pipeline("load", "save").run(photos, tmp_path / "out")
    with Journal(tmp_path / "out") as journal:
        query = "SELECT outcome FROM runs"
        assert journal._database.execute(query).fetchall() == [("broken",)]


def test_pictures_with_a_number_sign_in_their_name_are_counted_one_by_one(
    pipeline, photos, tmp_path
):
    for name in ("a.png", "a.png#1.png", "a#2.png"):
        (photos / name).write_bytes(b"no")
    report = pipeline("load", "copies: {count: 2}", "save").run(photos, tmp_path / "out")
    assert (report.done, report.failed) == (8, 3)


def test_a_plan_runs_nothing(pipeline, photos, tmp_path):
    described = pipeline("load", "invert", "save").plan(photos, tmp_path / "out").describe()
    assert described["items"] == 8
    assert [stage["id"] for stage in described["stages"]] == ["load", "invert", "save"]
    assert not (tmp_path / "out").exists()


def test_memory_does_not_grow_with_the_number_of_pictures(pipeline, tmp_path, monkeypatch):
    folder = tmp_path / "many"
    folder.mkdir()
    for index in range(120):
        Image.new("RGB", (64, 64), (index, 0, 0)).save(folder / f"{index:03d}.bmp")
    alive, most = set(), [0]
    lock = threading.Lock()

    class Watch:
        genloom_api = 1

        @hookimpl
        def genloom_stages(self):
            return [Counted]

    @dataclass(frozen=True, kw_only=True)
    class Counted(Stage):
        """Counts pictures that were decoded and not yet written."""

        name, takes, gives = "counted", Kind.IMAGE, Kind.IMAGE

        def __call__(self, batch, run):
            with lock:
                alive.update(item.key for item in batch.items)
                most[0] = max(most[0], len(alive))
            return batch

    catalog = Catalog.load()
    catalog.register(Watch(), "watch")
    file = tmp_path / "watch.yaml"
    file.write_text("genloom: 1\nstages: [load, counted, save]\n")

    def forget(event):
        if event["event"] == "item":
            alive.discard(event["key"])

    # What is written and waits for its name counts here too.
    monkeypatch.setattr(execute, "GROUP_FILES", 32)
    chain = load_pipeline(file, catalog=catalog)
    report = chain.run(
        folder, tmp_path / "out", queue_bytes=4 * 64 * 64 * 3, workers=1, batch=1, observe=forget
    )
    assert report.done == 120
    assert most[0] < 60


SCRIPT = """
import sys
from genloom.cli import main
sys.argv = ["genloom", *sys.argv[1:]]
main()
"""


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_an_interrupt_keeps_what_is_done_exits_130_and_resumes(tmp_path, photos, number):
    for index in range(40):
        Image.new("RGB", (400, 400), (index, 9, 9)).save(photos / f"many{index}.png")
    file = tmp_path / "p.yaml"
    file.write_text("genloom: 1\nstages: [load, resize: {scale: 6}, resize: {scale: 0.1}, save]\n")
    command = [sys.executable, "-c", SCRIPT, "run", str(file), str(photos), "-o"]
    process = subprocess.Popen(
        [*command, str(tmp_path / "out"), "--workers", "1", "--batch", "1", "--json"],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )
    for line in process.stdout:
        if '"item"' in line:
            break
    process.send_signal(number)
    rest, errors = process.communicate(timeout=60)
    assert process.returncode == 130, errors
    done = json.loads(rest.splitlines()[-1])["report"]["done"]
    assert 0 < done < 48
    finished = results(tmp_path / "out")
    assert len(finished) == done
    report = load_pipeline(file).run(photos, tmp_path / "out")
    assert (report.skipped, report.done) == (done, 48 - done)
    assert finished.items() <= results(tmp_path / "out").items()


def test_a_run_works_outside_the_main_thread(pipeline, photos, tmp_path):
    reports = []
    thread = threading.Thread(
        target=lambda: reports.append(pipeline("load", "save").run(photos, tmp_path / "out"))
    )
    thread.start()
    thread.join()
    assert reports[0].done == 8


def test_results_never_leave_the_output_folder(pipeline, tmp_path):
    # `..` is refused when the pipeline is read; pictures at the top have no folder to be named by.
    folder = tmp_path / "in"
    folder.mkdir()
    Image.new("RGB", (4, 4)).save(folder / "top.png")
    report = pipeline("load", "save: {to: '{folder}'}").run(folder, tmp_path / "out")
    assert report.failed == 1
    assert "outside" in report.failures[0].reason


def test_names_that_other_systems_reserve_are_avoided_and_it_is_said(pipeline, tmp_path):
    folder = tmp_path / "in"
    folder.mkdir()
    for name in ("con.png", "a:b.png", "c\\d.png", "plain.png"):
        Image.new("RGB", (4, 4)).save(folder / name)
    report = pipeline("load", "save").run(folder, tmp_path / "out")
    assert set(results(tmp_path / "out")) == {"con_.png", "a_b.png", "c_d.png", "plain.png"}
    assert set(report.notes) == {
        "written as con_, because not every system takes 'con'",
        "written as a_b, because not every system takes 'a:b'",
        "written as c_d, because not every system takes 'c\\d'",
    }


def test_a_name_that_differs_is_said_with_what_is_in_the_way(pipeline, tmp_path):
    folder = tmp_path / "in"
    folder.mkdir()
    for name in ("x.pbm", "x.ppm", "X.ppm", unicodedata.normalize("NFD", "é.ppm"), "é.ppm"):
        Image.new("1" if name.endswith("pbm") else "RGB", (4, 4)).save(folder / name)
    if len(list(folder.iterdir())) < 5:
        pytest.skip("this file system takes some of the names for one")
    report = pipeline("load", "save").run(folder, tmp_path / "out")
    assert {note for note in report.notes if "because" in note} == {
        "written as x-2.ppm, because X.ppm is another picture's",
        "written as x.pbm.png, because its folder holds another picture named x",
        "named é~2, because another name differs only in its Unicode form",
    }


def test_a_second_result_of_one_picture_is_not_called_another_pictures(pipeline, photos, tmp_path):
    chain = pipeline("load", "save", "invert", "save: {id: after}")
    notes = chain.run(photos / "one/p0.png", tmp_path / "out").notes
    assert list(notes) == ["written as p0-2.png, because p0.png is another result of this picture"]


def test_items_are_plain_values():
    child = Item(key="0/a.png", name="a").child(2)
    assert (child.key, child.name) == ("0/a.png#2", "a-002")
    assert genloom.Item is Item


def test_invalid_pipelines_never_reach_the_engine(pipeline):
    with pytest.raises(InvalidFile):
        pipeline("save")


def test_a_file_that_does_not_reach_the_disk_is_a_failure_and_not_done(
    pipeline, photos, tmp_path, monkeypatch
):
    from genloom.engine import commit

    real = commit.os.fsync

    def full(handle):
        path = os.readlink(f"/proc/self/fd/{handle}")
        if path.endswith(".png"):
            raise OSError(28, "No space left on device")
        real(handle)

    monkeypatch.setattr(commit.os, "fsync", full)
    report = pipeline("load", "save").run(photos / "one", tmp_path / "out")
    assert report.failed == 5
    assert "No space left" in report.failures[0].reason
    assert results(tmp_path / "out") == {}
    monkeypatch.setattr(commit.os, "fsync", real)
    assert pipeline("load", "save").run(photos / "one", tmp_path / "out").done == 5


def test_a_result_that_cannot_get_its_name_fails_alone_and_is_made_when_it_can(
    pipeline, photos, tmp_path, monkeypatch
):
    from genloom.engine import commit

    replace = os.replace

    def across(source, target):
        if str(target).endswith("p2.png"):
            raise OSError(18, "Invalid cross-device link", str(source), None, str(target))
        replace(source, target)

    out, chain = tmp_path / "out", pipeline("load", "save")
    monkeypatch.setattr(commit.os, "replace", across)
    report = chain.run(photos, out)
    assert (report.done, report.failed, report.outcome) == (7, 1, "failed")
    assert (
        "cross-device" in report.failures[0].reason and ".genloom" not in report.failures[0].reason
    )
    (out / "one/p2.png").write_text("mine")  # the name was given back, and is anybody's
    monkeypatch.setattr(commit.os, "replace", replace)
    report = chain.run(photos, out, force=True)
    assert (report.done, report.failed) == (7, 1)
    assert (out / "one/p2.png").read_text() == "mine"
    (out / "one/p2.png").unlink()
    assert chain.run(photos, out).done == 1


def test_a_folder_in_the_place_of_a_result_stops_nothing_else(pipeline, photos, tmp_path):
    out, chain = tmp_path / "out", pipeline("load", "save")
    chain.run(photos, out)
    (out / "one/p2.png").unlink()
    (out / "one/p2.png").mkdir()
    report = chain.run(photos, out, force=True)
    assert (report.done, report.failed) == (7, 1)


def test_a_resume_on_another_provider_says_so(pipeline, photos, tmp_path, catalog):
    from genloom.engine.journal import Journal

    with Journal(tmp_path / "out") as journal:
        journal.begin_run({"models": {"m": {"provider": "cuda"}}})
    chain = pipeline("load", "save")
    plan = chain.plan(photos, tmp_path / "out")
    plan.providers["m"] = "cpu"
    from genloom.engine.execute import execute

    notes = execute(plan).notes
    assert any("the run before in this folder used cuda" in note for note in notes)


def test_a_resume_with_other_options_of_the_provider_says_so(pipeline, photos, tmp_path):
    from genloom.engine.execute import execute

    def notes(**options):
        plan = pipeline("load", "save").plan(photos, tmp_path / "out")
        plan.providers["m"] = "cpu"
        plan = replace(plan, settings=RunSettings(provider_options=options))
        return [note for note in execute(plan).notes if "computed" in note]

    assert notes() == []
    (note,) = notes(HINT="bf16")
    assert "options HINT=bf16; the run before in this folder had no options" in note
    assert notes(HINT="bf16") == []
    (note,) = notes()
    assert "the run before in this folder had the provider's options HINT=bf16" in note
