"""Where the time of a run went: in the report, in JSON events, and as a table."""

from __future__ import annotations

import json
import threading

import pytest
from click.testing import CliRunner
from making import five_pictures

from genloom import load_pipeline
from genloom.cli import main
from genloom.cli.times import times_lines
from genloom.engine.timing import Lane, Meter, QueueFill, StageTime, ThreadTime, Times

CHAIN = "genloom: 1\nstages:\n  - load\n  - apply: {model: tiny-image}\n  - resize: {scale: 0.5}\n"


@pytest.fixture
def place(empty_place):
    """A working folder with five pictures, a broken one, and three pipelines."""
    five_pictures(empty_place / "in")
    (empty_place / "in/bad.png").write_bytes(b"no")
    (empty_place / "chain.yaml").write_text(f"{CHAIN}  - save\n")
    (empty_place / "sheet.yaml").write_text(
        f"{CHAIN}  - grid: {{columns: 2, max_items: 2}}\n  - save\n"
    )
    (empty_place / "half.yaml").write_text(
        "genloom: 1\nstages: [load, resize: {scale: 0.5}, save]\n"
    )
    return empty_place


def test_every_stage_has_its_items_and_calls_and_shares_lie_within_0_and_1(place, catalog):
    report = load_pipeline("chain.yaml", catalog=catalog).run("in", "out", workers=2)
    times = report.times
    assert [one.id for one in times.stages] == ["load", "apply", "resize", "save"]
    assert [one.side for one in times.stages] == ["decode", "compute", "compute", "write"]
    assert [one.items for one in times.stages] == [6, 5, 5, 5]
    assert times.stages[0].calls == 6 and 2 <= times.stages[1].calls <= 5
    for one in times.stages:
        assert one.seconds > 0 and 0 <= one.share <= 1
    assert {one.pool: one.threads for one in times.threads} == {"files": 2, "compute": 2}
    for one in times.threads:
        assert 0 < one.share <= 1
    # What stages took is part of what their threads were busy.
    computing = sum(one.seconds for one in times.stages if one.side == "compute")
    assert computing <= times.threads[1].seconds
    assert times.limit in ("decode", "compute", "write", "commit")
    assert 0 < sum(times.waited.values()) <= times.seconds


def test_every_queue_says_how_full_it_was_and_of_what_it_may_hold(place, catalog):
    report = load_pipeline("sheet.yaml", catalog=catalog).run("in", "out", queue_bytes=2**20)
    queues = report.times.queues
    assert [(one.stages, one.pages) for one in queues] == [
        (("load",), False),
        (("apply", "resize"), False),
        (("grid",), False),
        (("grid",), True),
        (("save",), False),
    ]
    for one in queues:
        assert 0 <= one.items <= one.most
        assert 0 <= one.bytes <= one.budget == 2**20
    (grid,) = [one for one in report.times.stages if one.id == "grid"]
    assert grid.side == "compute" and grid.items >= 5


def test_a_run_that_does_nothing_has_times_too(place, catalog):
    loaded = load_pipeline("chain.yaml", catalog=catalog)
    (place / "in/bad.png").unlink()
    loaded.run("in", "out")
    times = loaded.run("in", "out").times
    assert [one.items for one in times.stages] == [0, 0, 0, 0]
    assert [one.share for one in times.threads][1] == 0


def test_the_last_event_of_json_carries_the_times(place, tmp_path):
    result = CliRunner().invoke(main, ["run", "half.yaml", "in", "-o", "out", "--json"])
    times = json.loads(result.stdout.splitlines()[-1])["report"]["times"]
    assert [one["id"] for one in times["stages"]] == ["load", "resize", "save"]
    assert {"items", "calls", "seconds", "cpu", "share", "side"} <= set(times["stages"][0])
    assert times["limit"] and set(times["waited"]) == {"decode", "compute", "write", "commit"}


def test_the_table_stands_before_the_closing_line_only_where_it_is_asked_for(place):
    command = ["run", "half.yaml", "in", "-o", "out", "--force"]
    assert "CPU s" not in CliRunner().invoke(main, command).stdout
    lines = CliRunner().invoke(main, [*command, "--times"]).stdout.splitlines()
    first = next(n for n, line in enumerate(lines) if line.startswith("stage "))
    assert [line.split()[0] for line in lines[first + 1 : first + 4]] == ["load", "resize", "save"]
    assert lines[-1].startswith("5 done, 1 failed")
    assert all(len(line) <= 80 for line in lines)


def test_the_side_that_was_waited_for_most_is_the_limit_and_stands_first():
    queues = (
        QueueFill(("load",), "decode", False, 3.0, 72, 2.0**20, 2**28, 0.5),
        QueueFill(("a", "b"), "compute", False, 9.5, 128, 2.0**21, 2**28, 6.0),
        QueueFill(("save",), "write", False, 0.0, 72, 0.0, 2**28, 0.0),
    )
    times = Times(
        seconds=10.0,
        cores=2,
        cpu=15.0,
        committing=1.0,
        stages=(StageTime("load", "decode", 7, 7, 1.0, 0.5, 0.05),),
        queues=queues,
        threads=(ThreadTime("files", 2, 1.0, 0.05), ThreadTime("compute", 4, 30.0, 0.75)),
    )
    assert times.limit == "compute"
    *_, queue, _, _, threads, waited = times_lines(times)
    assert queue.split() == ["a", "+", "b", "9.5", "128", "2.0", "256", "6.00"]
    assert threads == "threads busy: 2 for files 5 %, 4 for compute 75 %; 75 % of 2 cores used"
    assert waited == "waited for computing 60 %, the disk 10 %, decoding 5 %, writing 0 %"


def test_the_fill_of_a_queue_is_the_mean_over_time(monkeypatch):
    clock = iter([0.0, 1.0, 4.0])
    monkeypatch.setattr("genloom.engine.timing.time.perf_counter", lambda: next(clock))
    lane = Lane(("a",), "compute", "compute", 100, 10)
    for items, nbytes in ((4, 40), (0, 0), (2, 20)):
        lane.holds(items, nbytes)
    fill = lane.fill()
    assert (fill.items, fill.bytes) == (1.0, 10.0)  # four for one second, none for three


def test_calls_of_many_threads_are_all_counted(catalog, place):
    (step, *_) = load_pipeline("chain.yaml", catalog=catalog).pipeline.steps
    meter = Meter({"files": 8})
    meter.lane([step], "decode", "files", budget=1, most=1)

    def work():
        for _ in range(200):
            with meter.busy("files"), meter.call(step, [None, None]):
                pass

    threads = [threading.Thread(target=work) for _ in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(60)
    (one,) = meter.times().stages
    assert (one.calls, one.items) == (1600, 3200)
