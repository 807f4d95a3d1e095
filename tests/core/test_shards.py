"""Runs in shards: each item in one of them, whatever else there is, and nobody's file lost."""

import json
import os
import shutil
import subprocess
import sys
from collections import Counter
from pathlib import Path

import pytest
from click.testing import CliRunner
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image

import genloom
from genloom import RunSettings, load_pipeline
from genloom.cli import main
from genloom.engine.journal import Journal, shards_in
from genloom.engine.shards import Shard
from genloom.errors import GenloomError, OutputError
from genloom.stage import Inputs
from genloom.stages.load import Load
from genloom.types import Item

NAMES = st.lists(st.text(min_size=1, max_size=12), unique=True, max_size=40)


class Listed(Load):
    """Brings the items it was told to."""

    items: list[Item]

    def sources(self, inputs):
        return iter(self.items)


def shares(names, count, steps=()):
    stage = Listed()
    object.__setattr__(stage, "items", [Item(key=f"0/{name}.png", name=name) for name in names])
    steps = (genloom_step("load", stage), *steps)
    return [
        [item.name for item in Shard(k, count).share(steps, Inputs())] for k in range(1, count + 1)
    ]


def genloom_step(name, stage):
    from genloom.pipeline import Step

    return Step(name, stage)


@given(NAMES, st.integers(1, 9))
def test_every_item_is_in_one_shard_in_order(names, count):
    parts = shares(names, count)
    assert Counter(name for part in parts for name in part) == Counter(names)
    assert all(part == [name for name in names if name in part] for part in parts)


@given(NAMES, NAMES, st.integers(1, 9))
def test_items_added_later_move_nothing(names, more, count):
    before, after = shares(names, count), shares([*more, *names], count)
    assert all(set(one) <= set(other) for one, other in zip(before, after, strict=True))


@given(st.text(min_size=1, max_size=12), st.integers(2, 9))
def test_names_that_some_system_takes_for_one_share_a_shard(name, count):
    parts = shares([name, name.casefold()], count)
    assert sum(bool(part) for part in parts) == 1


def test_shards_are_about_equal_and_the_same_for_ever():
    parts = shares([f"sample-{n:06d}" for n in range(4000)], 4)
    assert all(900 < len(part) < 1100 for part in parts)
    assert shares(["beach", "dunes", "forest", "city"], 3) == [
        ["beach", "forest"],
        ["dunes"],
        ["city"],
    ]


@pytest.mark.parametrize(
    "text", ["0/2", "3/2", "1/0", "1", "a/b", "1/2/3", "-1/2", " 1/2", 5, None]
)
def test_what_is_no_shard_is_refused(text):
    with pytest.raises(GenloomError, match="K/N with K from 1 to N"):
        RunSettings(shard=text)


@pytest.fixture
def place(tmp_path, monkeypatch):
    """A working folder with a pipeline and twelve pictures in four folders."""
    monkeypatch.chdir(tmp_path)
    pipeline("load", "save")
    for n in range(12):
        picture(f"in/{'abcd'[n // 3]}/p{n}.png", n * 20)
    return tmp_path


def pipeline(*stages, name="p.yaml"):
    Path(name).write_text("genloom: 1\nstages:\n" + "".join(f"  - {stage}\n" for stage in stages))


def picture(path, value=0, size=(8, 8)):
    Path(path).parent.mkdir(parents=True, exist_ok=True)
    Image.new("RGB", size, (value, 0, 0)).save(path)


def results(out):
    return {
        path.relative_to(out).as_posix(): path.read_bytes()
        for path in sorted(Path(out).rglob("*"))
        if path.is_file() and ".genloom" not in path.parts
    }


def command(*arguments):
    return CliRunner().invoke(main, list(arguments))


def in_shards(count, out="out", source="in", **settings):
    chain = load_pipeline("p.yaml")
    return [chain.run(source, out, shard=f"{k}/{count}", **settings) for k in range(1, count + 1)]


def test_shards_together_make_what_one_run_makes_and_resume_by_themselves(place):
    load_pipeline("p.yaml").run("in", "whole")
    reports = in_shards(3)
    assert sum(report.total for report in reports) == sum(report.done for report in reports) == 12
    assert results("out") == results("whole")
    again = in_shards(3)
    assert [report.skipped for report in again] == [report.done for report in reports]
    assert not any(report.done for report in again)


def test_the_first_of_one_is_the_whole_run(place):
    assert load_pipeline("p.yaml").run("in", "out", shard="1/1").done == 12
    assert load_pipeline("p.yaml").run("in", "out").skipped == 12


def test_a_shard_that_nothing_falls_to_is_done(place):
    reports = in_shards(40)
    assert sum(report.done for report in reports) == 12
    assert {report.outcome for report in reports} == {"done"}
    (place / "empty").mkdir()
    with pytest.raises(GenloomError, match="nothing to do"):
        in_shards(2, "other", "empty")


def test_the_status_of_shards_is_one_and_what_none_has_begun_is_pending(place):
    (place / "in/a/bad.png").write_bytes(b"no")
    first = Shard(1, 3)
    part = load_pipeline("p.yaml").run("in", "out", shard="1/3")
    status = genloom.status("out")
    assert status.done + status.failed == part.total and status.pending == 13 - part.total
    in_shards(3)
    status = genloom.status("out")
    assert (status.done, status.failed, status.pending) == (12, 1, 0)
    assert [failure.key for failure in status.failures] == ["a/bad.png"]
    assert sorted(str(run.shard) for run in status.runs) == ["1/3", "2/3", "3/3"]
    assert str(first) == "1/3"
    lines = command("status", "out").stdout.splitlines()
    assert sum(line.startswith("last run of shard") for line in lines) == 3
    assert lines[-1] == "12 done, 1 failed, 0 pending"


def test_retry_tries_the_failed_of_all_shards(place):
    for name in ("a/x", "b/y", "c/z", "d/w"):
        (place / f"in/{name}.png").write_bytes(b"no")
    in_shards(2)
    for name in ("a/x", "b/y", "c/z", "d/w"):
        picture(f"in/{name}.png")
    reports = genloom.retry("out")
    assert [report.exit_code for report in reports] == [0, 0]
    assert sum(report.done for report in reports) == sum(report.total for report in reports) == 4
    assert command("retry", "out").exit_code == 0


def test_a_folder_stays_with_the_shards_it_was_begun_in(place):
    load_pipeline("p.yaml").run("in", "out", shard="2/3")
    for other in ("1/2", ""):
        with pytest.raises(OutputError, match="another number of shards; expected --shard K/3"):
            load_pipeline("p.yaml").run("in", "out", shard=other)
    assert [str(shard) for shard in shards_in(place / "out")] == ["2/3"]
    assert sorted(path.name for path in (place / "out/.genloom").iterdir()) == ["shard-2-of-3"]
    load_pipeline("p.yaml").run("in", "whole")
    with pytest.raises(OutputError, match=r"expected no --shard, got --shard 1/2"):
        load_pipeline("p.yaml").run("in", "whole", shard="1/2")
    assert load_pipeline("p.yaml").run("in", "whole").skipped == 12


def test_each_shard_has_its_own_temporary_files(place):
    with Journal(place / "out", Shard(1, 2)) as one:
        (one.temporary / "half").write_text("x")
        with Journal(place / "out", Shard(2, 2)) as other:
            other.clear_temporary()
            with pytest.raises(OutputError, match="another genloom run"):
                Journal(place / "out", Shard(2, 2))
        assert (one.temporary / "half").exists()


def test_another_provider_is_noted_across_shards_while_they_run(place):
    from genloom.engine.execute import execute

    with Journal(place / "out", Shard(1, 2)) as journal:
        journal.begin_run({"models": {"m": {"provider": "cuda"}}})
        plan = load_pipeline("p.yaml").plan("in", "out", shard="2/2")
        plan.providers["m"] = "cpu"
        assert list(execute(plan).notes) == ["computed on cpu; shard 1/2 used cuda"]


def test_groups_are_never_split(place):
    pipeline("load", "grid: {group: folder}", "save")
    load_pipeline("p.yaml").run("in", "whole")
    reports = in_shards(3)
    assert results("out") == results("whole")
    assert sum(report.files for report in reports) == 4
    assert all(report.total % 3 == 0 for report in reports)
    status = genloom.status("out")
    assert (status.done, status.pending, status.unmade) == (12, 0, 0)
    assert [report.skipped for report in in_shards(3)] == [report.done for report in reports]


def test_the_groups_of_groups_are_never_split(place):
    for n in range(4):
        picture(f"in/{'abcd'[n]}/deep/q{n}.png", n)
    pipeline(
        "load",
        "grid: {group: folder, max_items: 2}",
        "save",
        "grid: {id: up, group: folder}",
        "save: {id: top}",
    )
    load_pipeline("p.yaml").run("in", "whole")
    in_shards(3)
    assert results("out") == results("whole")


def test_what_is_gathered_into_one_group_is_refused_with_the_reason(place):
    pipeline("load", "save", "grid", "save: {id: sheet}")
    with pytest.raises(GenloomError, match="'grid' gathers all of it into one group"):
        in_shards(2)
    assert not (place / "out").exists()
    result = command("plan", "p.yaml", "in", "-o", "out", "--shard", "1/2")
    assert result.exit_code == 2 and "`group: folder`" in result.stderr
    assert load_pipeline("p.yaml").run("in", "out", shard="1/1").exit_code == 0


def test_pictures_that_differ_in_their_ending_are_told_apart_as_in_one_run(place):
    shutil.rmtree("in")
    for n in range(6):
        for ending in ("jpg", "png", "webp"):
            picture(f"in/x{n}.{ending}", n * 30)
    pipeline("load", "save: {format: png}")
    load_pipeline("p.yaml").run("in", "whole")
    in_shards(3)
    assert results("out") == results("whole") and len(results("out")) == 18
    picture("in/late.jpg")
    in_shards(3)
    picture("in/late.png", 255)
    assert all(report.exit_code == 0 for report in in_shards(3))
    assert len(results("out")) == 20


RACE = """
import os, sys, time
from genloom.engine import commit
from genloom.cli import main
place, ready = commit.Committer._place, sys.argv[1]
def waiting(self, move, final):
    # Both have seen that the name is free; now they go.
    open(f"{ready}/{os.getpid()}", "w").close()
    while len(os.listdir(ready)) < 2:
        time.sleep(0.001)
    place(self, move, final)
commit.Committer._place = waiting
sys.argv = ["genloom", *sys.argv[2:]]
main()
"""


def test_two_shards_that_want_one_name_at_one_moment_do_not_overwrite_each_other(place):
    shutil.rmtree("in")
    pipeline("load", "save: {to: '{stem}'}")  # folders are not kept apart
    folders = iter(f"f{n}" for n in range(100))
    one, other = (next(f for f in folders if Shard(k, 2).takes(f"{f}/p")) for k in (1, 2))
    picture(f"in/{one}/p.png", 50)
    picture(f"in/{other}/p.png", 200)
    (place / "ready").mkdir()
    arguments = [str(place / "ready"), "run", "p.yaml", "in", "-o", "out", "--json", "--shard"]
    processes = [
        subprocess.Popen(
            [sys.executable, "-c", RACE, *arguments, f"{k}/2"], stdout=subprocess.PIPE, text=True
        )
        for k in (1, 2)
    ]
    ends = [json.loads(p.communicate(timeout=120)[0].splitlines()[-1]) for p in processes]
    reports = [end["report"] for end in ends]
    assert sorted(report["done"] for report in reports) == [0, 1]
    (failure,) = [failure for report in reports for failure in report["failures"]]
    assert (
        "this shard did not write" in failure["reason"] and "{folder}/{stem}" in failure["reason"]
    )
    winner = reports[0]["done"] == 1
    assert list(results("out")) == ["p.png"]
    with Image.open("out/p.png") as image:
        assert image.getpixel((0, 0))[0] == (50 if winner else 200)
    assert not list((place / "out/.genloom").rglob("tmp/*"))
    again = in_shards(2)
    assert sorted((report.skipped, report.failed) for report in again) == [(0, 1), (1, 0)]
    assert in_shards(2, force=True)[0 if winner else 1].failed == 0


def test_shards_find_names_taken_where_files_cannot_have_two_names(place, monkeypatch):
    def no(*_):
        raise PermissionError(1, "Operation not permitted")

    monkeypatch.setattr(os, "link", no)
    load_pipeline("p.yaml").run("in", "whole")
    in_shards(2)
    assert results("out") == results("whole")


def test_two_shards_run_at_the_same_time(place):
    for n in range(30):
        picture(f"in/many/m{n}.png", n, (64, 64))
    arguments = [sys.executable, "-c", "from genloom.cli import main; main()"]
    arguments += ["run", "p.yaml", "in", "-o", "out", "-q", "--shard"]
    processes = [subprocess.Popen([*arguments, f"{k}/2"], stdout=subprocess.PIPE) for k in (1, 2)]
    assert [process.wait(timeout=120) for process in processes] == [0, 0]
    for process in processes:
        process.stdout.close()
    load_pipeline("p.yaml").run("in", "whole")
    assert results("out") == results("whole")
    status = genloom.status("out")
    assert (status.done, status.pending) == (42, 0)
