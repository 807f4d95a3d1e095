"""How many items there are is told by what is undone, where that is not much."""

import os
import signal

import pytest
from PIL import Image

import genloom
from genloom import load_pipeline
from genloom.engine import sources, standing
from genloom.engine.commit import Committer
from genloom.stages import folders

FOLDERS = 6


@pytest.fixture
def place(tmp_path):
    """A folder with a picture in each of six folders, and a pipeline for them."""
    for number in range(FOLDERS):
        (tmp_path / f"in/{number}").mkdir(parents=True)
        Image.new("L", (8, 8), number).save(tmp_path / f"in/{number}/a.png")
    (tmp_path / "p.yaml").write_text("genloom: 1\nname: p\nstages: [load, save]\n")
    return tmp_path


@pytest.fixture
def entered(monkeypatch):
    """The names of the folders that were read."""
    names, real = [], folders._inside

    def inside(folder):
        names.append(folder.name)
        return real(folder)

    monkeypatch.setattr(folders, "_inside", inside)
    monkeypatch.setattr("genloom.machine.cores", lambda: 1)
    return names


def run(place, **settings):
    """A run, and all it told."""
    told = []
    report = load_pipeline(place / "p.yaml").run(
        place / "in", place / "out", observe=told.append, **settings
    )
    return report, told


def test_a_finished_run_reads_each_folder_once(place, entered):
    run(place)
    entered.clear()
    report, told = run(place)
    assert (report.total, report.skipped, report.done) == (FOLDERS, FOLDERS, 0)
    assert told[0]["event"] == "start" and told[0]["total"] == FOLDERS
    assert [event["items"] for event in told if event["event"] == "skipped"] == [FOLDERS]
    # Whether there is anything to do is seen in the first folder with a picture.
    assert sorted(entered) == ["0", "0", "1", "2", "3", "4", "5", "in", "in"]


@pytest.mark.parametrize(("ahead", "reads"), [(0, 3), (1, 3), (2, 2), (1000, 2)])
def test_what_is_undone_is_counted_apart_only_where_it_is_more_than_is_held(
    place, entered, monkeypatch, ahead, reads
):
    run(place)
    for number in (1, 4):
        (place / f"out/{number}/a.png").unlink()
    monkeypatch.setattr(standing, "AHEAD", ahead)
    entered.clear()
    report, told = run(place)
    assert told[0]["total"] == report.total == FOLDERS
    assert (report.skipped, report.done, report.notes) == (FOLDERS - 2, 2, {})
    items = [event["key"] for event in told if event["event"] == "item"]
    assert items == ["0/1/a.png", "0/4/a.png"]
    assert entered.count("in") == reads


def test_a_shard_counts_its_own(place, monkeypatch):
    for ahead in (0, 1000):
        monkeypatch.setattr(standing, "AHEAD", ahead)
        reports = [run(place, shard=f"{k}/2")[0] for k in (1, 2)]
        assert sum(report.total for report in reports) == FOLDERS
        for report in reports:
            assert report.total == report.done + report.skipped
        (place / "out/3/a.png").unlink()


def test_ctrl_c_while_it_looks_ahead_is_no_run_in_the_journal(place, monkeypatch):
    run(place)
    real = sources.undone

    def undone(*arguments):
        os.kill(os.getpid(), signal.SIGINT)
        return real(*arguments)

    monkeypatch.setattr("genloom.engine.resume.undone", undone)
    report, told = run(place)
    monkeypatch.undo()
    assert report.outcome == "interrupted" and [event["event"] for event in told] == ["end"]
    status = genloom.status(place / "out")
    assert (status.done, status.pending) == (FOLDERS, 0)
    assert [(one.outcome, one.counts["done"]) for one in status.runs] == [("done", FOLDERS)]


def test_ctrl_c_after_some_are_found_done_shows_no_progress_before_the_start(place, monkeypatch):
    run(place)
    real, looked = sources.undone, []

    def undone(*arguments):
        looked.append(arguments)
        if len(looked) == FOLDERS:
            os.kill(os.getpid(), signal.SIGINT)
        return real(*arguments)

    monkeypatch.setattr("genloom.engine.resume.undone", undone)
    report, told = run(place)
    assert report.outcome == "interrupted" and report.skipped > 0
    assert [event["event"] for event in told] == ["end"]


def test_ctrl_c_while_results_are_committed_counts_them(place, monkeypatch):
    real = Committer.flush

    def flush(committer):
        units = real(committer)
        os.kill(os.getpid(), signal.SIGINT)
        return units

    monkeypatch.setattr(Committer, "flush", flush)
    report, told = run(place)
    assert (report.outcome, report.done) == ("interrupted", FOLDERS)
    assert [event["event"] for event in told].count("item") == FOLDERS
