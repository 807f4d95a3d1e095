"""Running again: what is done stays, and what is missing or changed is made."""

import json
import os
import signal
import subprocess
import sys
from dataclasses import replace

import pytest
from PIL import Image
from running import pixels, results

from genloom import (
    RunSettings,
    load_pipeline,
)


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


def test_what_was_done_before_is_told_of_in_few_events(pipeline, photos, tmp_path):
    chain, events = pipeline("load", "invert", "save"), []
    chain.run(photos, tmp_path / "out")
    chain.run(photos, tmp_path / "out", observe=events.append)
    skipped = [event["items"] for event in events if event["event"] == "skipped"]
    assert skipped == [8] and events[-1]["event"] == "end"


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


def test_a_resume_on_another_provider_says_so(pipeline, photos, tmp_path):
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
