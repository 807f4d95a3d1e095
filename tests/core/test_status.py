"""Where runs stand, and trying again what failed."""

import json
import os
import random
import shutil
import signal
import sqlite3
import subprocess
import sys
import threading
from dataclasses import dataclass
from typing import ClassVar

import pytest
from click.testing import CliRunner
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image

import genloom
from genloom import Batch, Catalog, Kind, Run, Stage, hookimpl, load_pipeline
from genloom.cli import main
from genloom.engine import snapshot
from genloom.engine.journal import Journal
from genloom.engine.records import UnitRecord
from genloom.engine.snapshot import Snapshot
from genloom.errors import GenloomError, OutputError


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


@pytest.fixture
def catalog():
    catalog = Catalog.load()
    catalog.register(Plugin(), "test")
    Fragile.broken.clear()
    Fragile.keys.clear()
    return catalog


@pytest.fixture
def place(tmp_path, monkeypatch):
    """A working folder with pipelines and nine pictures in three folders."""
    monkeypatch.chdir(tmp_path)
    pipeline("copy", "load", "save")
    pipeline("half", "load", "resize: {scale: 0.5}", "save")
    for n in range(9):
        picture(f"in/{'abc'[n // 3]}/p{n}.png", n * 20)
    return tmp_path


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


def test_a_finished_run_is_all_done_and_says_when_and_how_it_ended(place):
    load_pipeline("copy.yaml").run("in", "out")
    status = genloom.status("out")
    assert counts(status) == (9, 0, 0) and status.failures == [] and status.unmade == 0
    (run,) = status.runs
    assert run.outcome == "done" and run.started <= run.ended
    assert (run.counts["done"], run.counts["skipped"], run.counts["files"]) == (9, 0, 9)
    load_pipeline("copy.yaml").run("in", "out")
    (run,) = genloom.status("out").runs
    assert (run.counts["done"], run.counts["skipped"]) == (0, 9)


def test_what_failed_is_told_with_stage_and_reason(place):
    (place / "in/a/bad.png").write_bytes(b"no")
    load_pipeline("copy.yaml").run("in", "out")
    status = genloom.status("out")
    assert counts(status) == (9, 1, 0)
    (failure,) = status.failures
    assert failure.source == str(place / "in/a/bad.png")
    assert failure.stage == "load" and "not a picture" in failure.reason


def test_pending_is_what_a_run_would_do_now(place):
    load_pipeline("copy.yaml").run("in", "out")
    picture("in/new.png")
    picture("in/a/p0.png", 255)
    (place / "out/b/p3.png").unlink()
    (place / "in/c/p8.png").unlink()
    assert counts(genloom.status("out")) == (6, 0, 3)
    assert load_pipeline("copy.yaml").run("in", "out").done == 3
    assert counts(genloom.status("out")) == (9, 0, 0)


def test_a_failed_picture_that_was_mended_counts_as_failed_until_it_is_tried(place):
    (place / "in/a/bad.png").write_bytes(b"no")
    load_pipeline("copy.yaml").run("in", "out")
    picture("in/a/bad.png")
    assert counts(genloom.status("out")) == (9, 1, 0)
    (report,) = genloom.retry("out")
    assert (report.total, report.done, report.exit_code) == (1, 1, 0)
    assert counts(genloom.status("out")) == (10, 0, 0)


def test_another_command_makes_everything_pending_that_it_does_not_find_done(place):
    load_pipeline("copy.yaml").run("in", "out")
    chain = load_pipeline("half.yaml")
    chain.run("in/a", "other")
    with Journal(place / "out") as journal, Journal(place / "other") as other:
        journal._note("asked", other.noted("asked"))
    assert counts(genloom.status("out")) == (0, 0, 3)


def test_it_can_be_asked_from_anywhere_and_the_folder_be_moved(place, monkeypatch):
    load_pipeline("copy.yaml").run("in", "out")
    picture("in/new.png")
    monkeypatch.chdir("/")
    assert counts(genloom.status(place / "out")) == (9, 0, 1)
    assert os.getcwd() == "/"
    moved = place.with_name("moved")
    shutil.move(place, moved)
    assert counts(genloom.status(moved / "out")) == (9, 0, 1)


def test_the_status_for_programs_is_whole_and_plain(place):
    (place / "in/a/bad.png").write_bytes(b"no")
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
    assert str(place) not in json.dumps(asked)


def test_the_status_for_people_is_short_and_ends_with_the_counts(place):
    (place / "in/a/bad.png").write_bytes(b"no")
    command("run", "copy.yaml", "in", "-o", "out")
    failed, last, total = command("status", "out").stdout.splitlines()
    assert failed == f"failed: {place}/in/a/bad.png: load: " + failed.partition("load: ")[2]
    assert failed.count("bad.png") == 1
    assert last.startswith("last run: failed, ended 20") and "9 done, 0 done before" in last
    assert total == "9 done, 1 failed, 0 pending"


@pytest.mark.parametrize("name", ["status", "retry"])
@pytest.mark.parametrize(
    ("out", "got"),
    [("in", "a folder without one"), ("in/a/p0.png", "got a file"), ("gone", "nothing")],
)
def test_a_folder_without_a_journal_is_an_error_and_none_is_made(place, name, out, got):
    result = command(name, out)
    assert result.exit_code == 2
    assert "there is no journal of a run" in result.stderr and got in result.stderr
    assert not (place / out / ".genloom").exists()


def test_inputs_that_cannot_be_counted_any_more_are_said_to_be_unknown(place):
    (place / "in/a/bad.png").write_bytes(b"no")
    load_pipeline("copy.yaml").run("in", "out")
    (place / "in").rename(place / "elsewhere")
    status = genloom.status("out")
    assert counts(status) == (9, 1, None) and "no file or folder" in status.unknown
    assert len(status.failures) == 1
    (place / "copy.yaml").unlink()
    result = command("status", "out")
    assert "9 done, 1 failed, an unknown number pending" in result.stdout
    assert "note: pending is not known: there is no pipeline file 'copy.yaml'" in result.stdout


def test_a_journal_that_kept_no_command_is_read_as_far_as_it_goes(place):
    with Journal(place / "out") as journal:
        journal.begin_run({})
        journal.record([("a", UnitRecord("done", "p", ()), [])])
    status = genloom.status("out")
    assert (status.done, status.pending) == (1, None)
    assert "does not hold the command" in status.unknown
    with pytest.raises(GenloomError, match="does not hold the command"):
        genloom.retry("out")
    Journal(place / "empty").close()
    assert genloom.status("empty").pending is None
    with pytest.raises(OutputError, match="no run has begun"):
        genloom.retry("empty")


def test_a_damaged_journal_or_one_of_another_version_is_an_error(place):
    load_pipeline("copy.yaml").run("in", "out")
    with Journal(place / "out") as journal:
        journal._database.execute("UPDATE meta SET value = '99' WHERE key = 'version'")
    with pytest.raises(OutputError, match="another version"):
        genloom.status("out")
    (place / "out/.genloom/journal.db").write_bytes(b"this is no database" * 99)
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


def test_it_can_be_asked_while_a_run_goes_on_and_after_that_was_killed(place):
    (place / "in/a/a.png").write_bytes(b"no")
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


def test_a_process_that_runs_into_the_folder_itself_is_not_disturbed(place):
    asked = []

    def observe(event):
        if event["event"] == "start":
            with pytest.raises(OutputError, match="this process itself"):
                genloom.status("out")
            asked.append(event)

    load_pipeline("copy.yaml").run("in", "out", observe=observe)
    assert asked and counts(genloom.status("out")) == (9, 0, 0)


def test_asking_changes_nothing_in_the_folder(place):
    load_pipeline("copy.yaml").run("in", "out")
    before = {path: path.stat().st_mtime_ns for path in (place / "out").rglob("*")}
    genloom.status("out")
    assert {path: path.stat().st_mtime_ns for path in (place / "out").rglob("*")} == before


def test_retry_tries_what_failed_and_nothing_else(place, catalog, monkeypatch):
    pipeline("fragile", "load", "fragile", "save")
    Fragile.broken |= {"0/a/p1.png", "0/c/p7.png"}
    load_pipeline("fragile.yaml", catalog=catalog).run("in", "out", batch=1)
    Fragile.keys.clear()
    Fragile.broken.remove("0/a/p1.png")
    picture("in/new.png")
    monkeypatch.chdir("/")
    (report,) = genloom.retry(place / "out", catalog=catalog)
    assert (report.total, report.done, report.failed, report.skipped) == (2, 1, 1, 0)
    assert Fragile.keys == ["0/a/p1.png"]
    assert (place / "out/a/p1.png").exists() and not (place / "out/new.png").exists()
    assert counts(genloom.status(place / "out", catalog=catalog)) == (9 - 1, 1, 1)
    Fragile.broken.clear()
    assert genloom.retry(place / "out", catalog=catalog)[0].exit_code == 0
    assert genloom.retry(place / "out", catalog=catalog)[0].total == 0


def test_retry_is_the_same_command_with_all_that_was_asked(place, catalog):
    pipeline("fragile", "load", "fragile", "resize: {scale: 1.0}", "save")
    Fragile.broken.add("0/p1.png")
    chain = load_pipeline("fragile.yaml", {"resize.scale": 0.5}, seed=3, catalog=catalog)
    chain.run("in/a", "out", workers=1, batch=1, force=True)
    Fragile.broken.clear()
    events = []
    (report,) = genloom.retry("out", observe=events.append, catalog=catalog)
    assert report.done == 1
    assert events[0]["plan"]["seed"] == 3 and events[0]["total"] == 1
    with Image.open("out/p1.png") as image:
        assert image.size == (4, 4)
    assert chain.run("in/a", "out").skipped == 3


def test_retry_on_the_command_line_shows_and_ends_as_run_does(place):
    (place / "in/a/bad.png").write_bytes(b"no")
    assert command("run", "copy.yaml", "in", "-o", "out").exit_code == 1
    result = command("retry", "out")
    assert result.exit_code == 1
    assert result.stdout.startswith("copy: 1 item → ") and "0 done, 1 failed" in result.stdout
    assert result.stderr.startswith("failed: in/a/bad.png: load: ")
    picture("in/a/bad.png")
    assert len(command("retry", "out", "-q").stdout.splitlines()) == 1
    (place / "in/a/bad.png").write_bytes(b"no again")
    command("run", "copy.yaml", "in", "-o", "out")
    events = [json.loads(line) for line in command("retry", "out", "--json").stdout.splitlines()]
    assert [event["event"] for event in events] == ["start", "item", "end"]
    assert events[-1]["report"]["failed"] == 1


def test_retry_refuses_a_pipeline_that_changed_or_is_gone(place):
    (place / "in/a/bad.png").write_bytes(b"no")
    load_pipeline("copy.yaml").run("in", "out")
    pipeline("copy", "load", "resize: {scale: 2}", "save")
    result = command("retry", "out")
    assert result.exit_code == 2
    assert "'copy.yaml'" in result.stderr and "has changed since the run" in result.stderr
    assert "`genloom run copy.yaml … -o out`" in result.stderr
    (place / "copy.yaml").unlink()
    result = command("retry", "out")
    assert result.exit_code == 2 and "there is no pipeline file 'copy.yaml'" in result.stderr
    pipeline("copy", "load", "save  # as it was")
    assert genloom.retry("out")[0].total == 1


@pytest.mark.parametrize("group", ["all", "folder"])
def test_retry_makes_the_groups_whole_in_which_something_failed(place, catalog, group):
    grid = f"grid: {{group: {group}, max_items: 3}}"
    pipeline("sheet", "load", "fragile", grid, "save")
    Fragile.broken.add("0/b/p4.png")
    chain = load_pipeline("sheet.yaml", catalog=catalog)
    report = chain.run("in", "out", batch=1)
    assert (report.done, report.failed, report.unmade) == (8, 1, 1)
    status = genloom.status("out", catalog=catalog)
    assert status.failed == 1 and status.unmade == 1
    assert [failure.stage for failure in status.failures] == ["fragile", "grid"]
    Fragile.broken.clear()
    Fragile.keys.clear()
    (report,) = genloom.retry("out", catalog=catalog)
    assert report.exit_code == 0 and report.files >= 1
    assert not any(key.startswith("0/a") for key in Fragile.keys), "those sheets stand"
    status = genloom.status("out", catalog=catalog)
    assert (*counts(status), status.unmade) == (9, 0, 0, 0)
    assert status.failures == []


def test_retry_makes_a_sheet_again_that_failed_though_its_pictures_did_not(place, catalog):
    pipeline("sheet", "load", "save", "grid: {group: folder}", "save: {id: sheet}")
    (place / "out/b").mkdir(parents=True)
    (place / "out/b/grid.png").write_text("mine")
    report = load_pipeline("sheet.yaml", catalog=catalog).run("in", "out")
    assert (report.done, report.unmade) == (9, 1) or report.failures
    status = genloom.status("out", catalog=catalog)
    assert (*counts(status), status.unmade) == (9, 0, 0, 1)
    (place / "out/b/grid.png").unlink()
    (report,) = genloom.retry("out", catalog=catalog)
    assert (report.total, report.files, report.skipped) == (3, 1, 3)
    assert genloom.status("out", catalog=catalog).unmade == 0


def test_a_killed_run_whose_pictures_are_done_and_whose_sheet_is_not_is_not_called_done(place):
    pipeline("sheet", "load", "grid", "save")
    load_pipeline("sheet.yaml").run("in", "out")
    assert (*counts(genloom.status("out")), genloom.status("out").unmade) == (9, 0, 0, 0)
    with sqlite3.connect(place / "out/.genloom/journal.db") as database:
        database.execute("DELETE FROM units WHERE unit LIKE 'grid:%'")
    database.close()
    assert (*counts(genloom.status("out")), genloom.status("out").unmade) == (0, 0, 9, 1)


@given(
    inputs=st.lists(st.text(min_size=1), max_size=3),
    overrides=st.lists(st.text(), max_size=2),
    seed=st.integers(0, 2**63 - 1),
)
def test_whatever_is_asked_is_read_back_as_it_was(tmp_path_factory, inputs, overrides, seed):
    from genloom.engine.asked import Asked

    asked = Asked(
        pipeline="p",
        overrides=tuple(overrides),
        seed=seed,
        inputs=tuple(inputs),
        folder="..",
        settings={"provider": "cpu"},
    )
    with Journal(tmp_path_factory.mktemp("out")) as journal:
        journal.begin_run({}, vars(asked))
        assert Asked.read(journal.noted("asked")) == asked
