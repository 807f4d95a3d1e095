"""`genloom status` says what is done, failed and pending, and changes nothing."""

import json
import os
import random
import shutil
import signal
import sqlite3
import subprocess
import sys
import threading

import pytest
from asking import command, counts, picture, pipeline

import genloom
from genloom import load_pipeline
from genloom.engine import snapshot
from genloom.engine.journal import Journal
from genloom.engine.records import UnitRecord
from genloom.engine.snapshot import Snapshot
from genloom.errors import GenloomError, OutputError


def test_a_finished_run_is_all_done_and_says_when_and_how_it_ended(nine_pictures):
    load_pipeline("copy.yaml").run("in", "out")
    status = genloom.status("out")
    assert counts(status) == (9, 0, 0) and status.failures == [] and status.unmade == 0
    (run,) = status.runs
    assert run.outcome == "done" and run.started <= run.ended
    assert (run.counts["done"], run.counts["skipped"], run.counts["files"]) == (9, 0, 9)
    load_pipeline("copy.yaml").run("in", "out")
    (run,) = genloom.status("out").runs
    assert (run.counts["done"], run.counts["skipped"]) == (0, 9)


def test_what_failed_is_told_with_stage_and_reason(nine_pictures):
    (nine_pictures / "in/a/bad.png").write_bytes(b"no")
    load_pipeline("copy.yaml").run("in", "out")
    status = genloom.status("out")
    assert counts(status) == (9, 1, 0)
    (failure,) = status.failures
    assert failure.source == str(nine_pictures / "in/a/bad.png")
    assert failure.stage == "load" and "not a picture" in failure.reason


def test_pending_is_what_a_run_would_do_now(nine_pictures):
    load_pipeline("copy.yaml").run("in", "out")
    picture("in/new.png")
    picture("in/a/p0.png", 255)
    (nine_pictures / "out/b/p3.png").unlink()
    (nine_pictures / "in/c/p8.png").unlink()
    assert counts(genloom.status("out")) == (6, 0, 3)
    assert load_pipeline("copy.yaml").run("in", "out").done == 3
    assert counts(genloom.status("out")) == (9, 0, 0)


def test_a_failed_picture_that_was_mended_counts_as_failed_until_it_is_tried(nine_pictures):
    (nine_pictures / "in/a/bad.png").write_bytes(b"no")
    load_pipeline("copy.yaml").run("in", "out")
    picture("in/a/bad.png")
    assert counts(genloom.status("out")) == (9, 1, 0)
    (report,) = genloom.retry("out")
    assert (report.total, report.done, report.exit_code) == (1, 1, 0)
    assert counts(genloom.status("out")) == (10, 0, 0)


def test_what_failed_and_is_gone_since_is_told_of_the_last_run_alone(nine_pictures):
    (nine_pictures / "in/a/bad.png").write_bytes(b"no")
    load_pipeline("copy.yaml").run("in", "out")
    (nine_pictures / "in/a/bad.png").unlink()
    status = genloom.status("out")
    assert (counts(status), status.failures) == ((9, 0, 0), [])
    assert (status.runs[-1].outcome, status.runs[-1].counts["failed"]) == ("failed", 1)


def test_what_was_named_and_is_gone_since_is_missed(nine_pictures):
    load_pipeline("copy.yaml").run(["in/a", "in/b/p3.png"], "out")
    (nine_pictures / "in/b/p3.png").unlink()
    status = genloom.status("out")
    assert counts(status) == (4, 0, None)
    assert "there is no file or folder 'in/b/p3.png'" in status.unknown


def test_another_command_makes_everything_pending_that_it_does_not_find_done(nine_pictures):
    load_pipeline("copy.yaml").run("in", "out")
    chain = load_pipeline("half.yaml")
    chain.run("in/a", "other")
    with Journal(nine_pictures / "out") as journal, Journal(nine_pictures / "other") as other:
        journal._note("asked", other.noted("asked"))
    assert counts(genloom.status("out")) == (0, 0, 3)


def test_it_can_be_asked_from_anywhere_and_the_folder_be_moved(nine_pictures, monkeypatch):
    load_pipeline("copy.yaml").run("in", "out")
    picture("in/new.png")
    monkeypatch.chdir("/")
    assert counts(genloom.status(nine_pictures / "out")) == (9, 0, 1)
    assert os.getcwd() == "/"
    moved = nine_pictures.with_name("moved")
    shutil.move(nine_pictures, moved)
    assert counts(genloom.status(moved / "out")) == (9, 0, 1)


def test_the_status_for_programs_is_whole_and_plain(nine_pictures):
    (nine_pictures / "in/a/bad.png").write_bytes(b"no")
    arguments = ["--set", "resize.scale=2", "--seed", "5", "--workers", "1"]
    command("run", "half.yaml", "in/*/*.png", "-o", "out", *arguments)
    result = command("status", "out", "--json")
    assert result.exit_code == 0
    plain = json.loads(result.stdout)
    assert (plain["done"], plain["failed"], plain["pending"], plain["unmade"]) == (9, 1, 0, 0)
    assert [failure["key"] for failure in plain["failures"]] == ["a/bad.png"]
    (run,) = plain["runs"]
    asked = run["asked"]
    assert run["outcome"] == "failed" and run["started"] <= run["ended"]
    assert asked["pipeline"] == "half.yaml" and asked["overrides"] == ["resize.scale=2"]
    assert asked["inputs"] == ["in/*/*.png"] and asked["folder"] == ".." and asked["seed"] == 5
    assert asked["settings"]["workers"] == 1
    assert str(nine_pictures) not in json.dumps(asked)


def test_the_status_for_people_is_short_and_ends_with_the_counts(nine_pictures):
    (nine_pictures / "in/a/bad.png").write_bytes(b"no")
    command("run", "copy.yaml", "in", "-o", "out")
    failed, last, total = command("status", "out").stdout.splitlines()
    assert failed == f"failed: {nine_pictures}/in/a/bad.png: load: " + failed.partition("load: ")[2]
    assert failed.count("bad.png") == 1
    assert last.startswith("last run: failed, ended 20") and "9 done, 0 done before" in last
    assert total == "9 done, 1 failed, 0 pending"


@pytest.mark.parametrize("name", ["status", "retry"])
@pytest.mark.parametrize(
    ("out", "got"),
    [("in", "a folder without one"), ("in/a/p0.png", "got a file"), ("gone", "nothing")],
)
def test_a_folder_without_a_journal_is_an_error_and_none_is_made(nine_pictures, name, out, got):
    result = command(name, out)
    assert result.exit_code == 2
    assert "there is no journal of a run" in result.stderr and got in result.stderr
    assert not (nine_pictures / out / ".genloom").exists()


def test_inputs_that_cannot_be_counted_any_more_are_said_to_be_unknown(nine_pictures):
    (nine_pictures / "in/a/bad.png").write_bytes(b"no")
    load_pipeline("copy.yaml").run("in", "out")
    (nine_pictures / "in").rename(nine_pictures / "elsewhere")
    status = genloom.status("out")
    assert counts(status) == (9, 1, None) and "no file or folder" in status.unknown
    assert len(status.failures) == 1
    (nine_pictures / "copy.yaml").unlink()
    result = command("status", "out")
    assert "9 done, 1 failed, an unknown number pending" in result.stdout
    assert "note: pending is not known: there is no pipeline file 'copy.yaml'" in result.stdout


def test_a_journal_that_kept_no_command_is_read_as_far_as_it_goes(nine_pictures):
    with Journal(nine_pictures / "out") as journal:
        journal.begin_run({})
        journal.record([("a", UnitRecord("done", "p", ()), [])])
    status = genloom.status("out")
    assert (status.done, status.pending) == (1, None)
    assert "does not hold the command" in status.unknown
    with pytest.raises(GenloomError, match="does not hold the command"):
        genloom.retry("out")
    Journal(nine_pictures / "empty").close()
    assert genloom.status("empty").pending is None
    with pytest.raises(OutputError, match="no run has begun"):
        genloom.retry("empty")


def test_a_damaged_journal_or_one_of_another_version_is_an_error(nine_pictures):
    load_pipeline("copy.yaml").run("in", "out")
    with Journal(nine_pictures / "out") as journal:
        journal._database.execute("UPDATE meta SET value = '99' WHERE key = 'version'")
    with pytest.raises(OutputError, match="another version"):
        genloom.status("out")
    (nine_pictures / "out/.genloom/journal.db").write_bytes(b"this is no database" * 99)
    with pytest.raises(OutputError, match="damaged"):
        genloom.status("out")


HELD = """
import sys
from genloom.engine import execute
from genloom.cli import main
execute.GROUP_FILES, execute.GROUP_SECONDS = 4, 1e9
flush = execute.Committer.flush
def held(self):
    units = flush(self)
    print("flushed", flush=True)
    sys.stdin.readline()
    return units
execute.Committer.flush = held
sys.argv = ["genloom", *sys.argv[1:]]
main()
"""


def test_it_can_be_asked_while_a_run_goes_on_and_after_that_was_killed(nine_pictures):
    (nine_pictures / "in/a/a.png").write_bytes(b"no")
    arguments = ["run", "copy.yaml", "in", "-o", "out", "--workers", "1", "--batch", "1"]
    with subprocess.Popen(
        [sys.executable, "-c", HELD, *arguments],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
    ) as process:
        while process.stdout.readline() != "flushed\n":
            pass
        status = genloom.status("out")
        assert status.runs[0].outcome == "running" and status.runs[0].ended is None
        assert f"process {process.pid}" in status.runs[0].holder
        assert status.failed == 1 and 0 < status.done < 9
        assert sum(counts(status)) == 10
        assert "running, began" in command("status", "out").stdout
        with pytest.raises(OutputError, match="another genloom run"):
            genloom.retry("out")
        process.send_signal(signal.SIGKILL)
        process.communicate()
    killed = genloom.status("out")
    assert killed.runs[0].outcome == "killed"
    assert counts(killed) == counts(status)
    assert load_pipeline("copy.yaml").run("in", "out").skipped == status.done


def test_a_copy_is_whole_however_busily_the_journal_is_written(tmp_path, monkeypatch):
    """Each commit writes one name into two units; a copy that is torn would hold two names."""
    monkeypatch.setattr(snapshot, "HELD", set())  # as if another process had it
    (tmp_path / ".genloom").mkdir()
    begun, stop, pauses = threading.Event(), threading.Event(), random.Random(0)

    def write():
        with Journal(tmp_path) as journal:
            journal._database.execute("PRAGMA wal_autocheckpoint = 3")
            journal._database.execute("PRAGMA synchronous = OFF")
            number = 0
            while not stop.is_set():
                record = UnitRecord("failed", "p", (), "s", f"{number}" + "x" * 3000)
                journal.record([(unit, record, []) for unit in ("a", "b")])
                begun.set()
                number += 1
                stop.wait(pauses.expovariate(100))

    thread = threading.Thread(target=write)
    thread.start()
    seen = set()
    try:
        assert begun.wait(60)
        for _ in range(100):
            if len(seen) == 10:
                break
            try:
                with Snapshot(tmp_path) as copy:
                    reasons = {record.reason for _, record in copy.units("failed")}
                    check = copy._execute("PRAGMA integrity_check").fetchone()
            except OutputError as error:
                assert "too fast" in str(error)
                continue
            assert check == ("ok",) and len(reasons) <= 1
            seen |= reasons
    finally:
        stop.set()
        thread.join()
    assert seen, "not one copy was whole"


def test_a_process_that_runs_into_the_folder_itself_is_not_disturbed(nine_pictures):
    asked = []

    def observe(event):
        if event["event"] == "start":
            with pytest.raises(OutputError, match="this process itself"):
                genloom.status("out")
            asked.append(event)

    load_pipeline("copy.yaml").run("in", "out", observe=observe)
    assert asked and counts(genloom.status("out")) == (9, 0, 0)


def test_asking_changes_nothing_in_the_folder(nine_pictures):
    load_pipeline("copy.yaml").run("in", "out")
    before = {path: path.stat().st_mtime_ns for path in (nine_pictures / "out").rglob("*")}
    genloom.status("out")
    assert {path: path.stat().st_mtime_ns for path in (nine_pictures / "out").rglob("*")} == before


def test_a_killed_run_whose_pictures_are_done_and_whose_sheet_is_not_is_not_called_done(
    nine_pictures,
):
    pipeline("sheet", "load", "grid", "save")
    load_pipeline("sheet.yaml").run("in", "out")
    assert (*counts(genloom.status("out")), genloom.status("out").unmade) == (9, 0, 0, 0)
    with sqlite3.connect(nine_pictures / "out/.genloom/journal.db") as database:
        database.execute("DELETE FROM units WHERE unit LIKE 'grid:%'")
    database.close()
    assert (*counts(genloom.status("out")), genloom.status("out").unmade) == (0, 0, 9, 1)
