"""Finished files reach the disk: large ones while the run goes on, small ones together."""

import os
import signal
import threading

import numpy as np
import pytest
from PIL import Image

import genloom
from genloom.engine import syncing


@pytest.fixture
def synced(monkeypatch):
    """The names of files that were put on the disk, and an event at each."""
    names, happened, real = [], threading.Event(), os.fsync

    def fsync(handle):
        real(handle)
        names.append(os.path.basename(os.readlink(f"/proc/self/fd/{handle}")))
        happened.set()

    monkeypatch.setattr(syncing.os, "fsync", fsync)
    return names, happened


@pytest.fixture
def sync():
    made = syncing.Syncing()
    yield made
    made.close()


def files(folder, count, size=10):
    for number in range(count):
        path = folder / f"{number}.png"
        path.write_bytes(bytes(size))
        yield path


def test_small_files_wait_for_the_others(sync, synced, tmp_path):
    names, _ = synced
    paths = list(files(tmp_path, 100))
    for path in paths:
        sync.add(path, path.stat().st_size)
    assert sync._begun == [] and names == []
    assert sync.problems(paths) == dict.fromkeys(paths, "")
    assert sorted(names) == sorted(path.name for path in paths)


def test_large_files_are_put_on_the_disk_before_anybody_asks(sync, synced, tmp_path, monkeypatch):
    names, happened = synced
    monkeypatch.setattr(syncing, "EARLY_BYTES", 100)
    paths = list(files(tmp_path, 3, 50))
    for path in paths:
        sync.add(path, path.stat().st_size)
    assert happened.wait(30)
    assert sync.problems(paths) == dict.fromkeys(paths, "")
    assert sorted(names) == ["0.png", "1.png", "2.png"], "each once"
    assert sync.problems([]) == {}


def test_what_does_not_reach_the_disk_is_told_of_that_file_alone(sync, tmp_path, monkeypatch):
    monkeypatch.setattr(syncing, "EARLY_BYTES", 15)
    good, gone = files(tmp_path, 2)
    gone.unlink()
    for path in (good, gone):
        sync.add(path, 10)
    assert sync.problems([good, gone]) == {good: "", gone: "No such file or directory"}


def test_a_file_that_was_not_added_is_put_on_the_disk_all_the_same(sync, synced, tmp_path):
    names, _ = synced
    paths = list(files(tmp_path, 3))
    sync.add(paths[0], 10)
    assert sync.problems(paths) == dict.fromkeys(paths, "")
    assert sorted(names) == ["0.png", "1.png", "2.png"]


@pytest.mark.parametrize("nth", [1, 2, 5, 8])
def test_ctrl_c_while_a_finished_file_is_taken_ends_the_run_and_loses_nothing(
    nth, tmp_path, monkeypatch
):
    for number in range(8):
        pixels = np.full((8, 8, 3), number, np.uint8)
        (tmp_path / "in").mkdir(exist_ok=True)
        Image.fromarray(pixels).save(tmp_path / f"in/{number}.png")
    pipeline = tmp_path / "p.yaml"
    pipeline.write_text(
        "genloom: 1\nname: p\nstages: [load, {save: {provenance: sidecar}}]\n", encoding="utf-8"
    )
    seen, real = [], syncing.Syncing.add

    def add(self, path, size):
        seen.append(path)
        if len(seen) == nth:
            os.kill(os.getpid(), signal.SIGINT)
        real(self, path, size)

    monkeypatch.setattr(syncing.Syncing, "add", add)
    report = genloom.load_pipeline(pipeline).run(tmp_path / "in", tmp_path / "out")
    assert report.outcome == "interrupted" and report.done >= (nth + 1) // 2
    kept = sorted((tmp_path / "out").glob("*.png"))
    assert len(kept) == report.done
    monkeypatch.setattr(syncing.Syncing, "add", real)
    again = genloom.load_pipeline(pipeline).run(tmp_path / "in", tmp_path / "out")
    assert (again.outcome, again.done + again.skipped) == ("done", 8)
    assert again.skipped == report.done
