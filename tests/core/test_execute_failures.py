"""What fails in a run is told, and stops nothing else."""

import os

import pytest
from PIL import Image
from running import results

from genloom import (
    hookimpl,
)


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


def test_nothing_left_to_gather_is_no_crash(pipeline, tmp_path):
    folder = tmp_path / "in"
    folder.mkdir()
    (folder / "bad.png").write_bytes(b"no")
    report = pipeline("load", "grid", "save").run(folder, tmp_path / "out")
    assert (report.done, report.failed) == (0, 1)


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
