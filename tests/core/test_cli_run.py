"""`genloom run`, `plan`, `validate`, `schema` and `pipelines`, as a user meets them."""

import json
import os
import subprocess
import sys
from pathlib import Path

import click
import numpy as np
import pytest
from click.testing import CliRunner
from PIL import Image

from genloom.cli import main, progress
from genloom.engine.packet import Failure
from genloom.engine.report import Report
from genloom.engine.timing import Times
from genloom.types import Item


@pytest.fixture
def place(tmp_path, monkeypatch):
    """A working folder with a pipeline, three pictures and a broken one."""
    monkeypatch.chdir(tmp_path)
    (tmp_path / "half.yaml").write_text(
        "# Halve pictures.\ngenloom: 1\nstages:\n  - load\n  - resize: {scale: 0.5}\n  - save\n"
    )
    (tmp_path / "in").mkdir()
    for index in range(3):
        Image.fromarray(np.full((8, 8, 3), 40 * index, np.uint8)).save(f"in/p{index}.png")
    (tmp_path / "in/bad.png").write_bytes(b"no")
    return tmp_path


def genloom(*arguments):
    return CliRunner().invoke(main, list(arguments))


def test_run_prints_what_it_does_what_failed_and_how_it_went(place):
    result = genloom("run", "half.yaml", "in", "-o", "out")
    assert result.exit_code == 1
    first, *_, last = result.stdout.splitlines()
    assert first == "half: 4 items → out"
    assert last.startswith("3 done, 1 failed, 3 files written in ")
    assert result.stderr.startswith("failed: in/bad.png: load: ")
    assert result.stderr.count("in/bad.png") == 1


def test_run_again_says_what_was_done_before(place):
    (place / "in/bad.png").unlink()
    assert genloom("run", "half.yaml", "in", "-o", "out").exit_code == 0
    result = genloom("run", "half.yaml", "in", "-o", "out")
    assert "0 done, 3 done before, 0 files written" in result.stdout
    assert "3 done, 3 files" in genloom("run", "half.yaml", "in", "-o", "out", "--force").stdout


def test_quiet_leaves_failures_and_the_closing_line(place):
    result = genloom("run", "half.yaml", "in", "-o", "out", "--quiet")
    assert len(result.stdout.splitlines()) == 1
    assert len(result.stderr.splitlines()) == 1


def test_json_is_one_event_a_line_and_the_last_is_the_report(place):
    result = genloom("run", "half.yaml", "in", "-o", "out", "--json")
    events = [json.loads(line) for line in result.stdout.splitlines()]
    assert [event["event"] for event in events] == ["start", *["item"] * 4, "end"]
    report = events[-1]["report"]
    assert (report["done"], report["failed"], report["outcome"]) == (3, 1, "failed")
    (failure,) = report["failures"]
    assert failure["source"] == "in/bad.png" and failure["stage"] == "load"
    assert events[1]["files"] == [] or events[1]["files"][0].startswith("out/")


@pytest.mark.skipif(sys.platform != "linux", reason="elsewhere names are text")
def test_json_tells_names_of_files_that_are_no_text(place):
    odd = Path("in") / os.fsdecode(b"Caf\xe9.png")
    Image.new("RGB", (4, 4)).save(odd)
    command = [sys.executable, "-m", "genloom", "run", "half.yaml", "in", "-o", "out", "--json"]
    result = subprocess.run(command, capture_output=True, check=False)
    *_, end = [json.loads(line.decode()) for line in result.stdout.splitlines()]
    assert str(odd) in [name for names in end["report"]["notes"].values() for name in names]
    assert not result.stderr


def test_options_of_the_command_line_reach_the_run(place):
    arguments = ["--set", "resize.scale=2", "--seed", "5", "--workers", "1", "--batch", "2"]
    assert genloom("run", "half.yaml", "in", "-o", "out", *arguments).exit_code == 1
    with Image.open("out/p0.png") as image:
        assert image.size == (16, 16)


def test_fail_fast_says_that_it_stopped(place):
    result = genloom("run", "half.yaml", "in", "-o", "out", "--fail-fast", "--workers", "1")
    assert result.exit_code == 1
    assert "stopped at the first failure" in result.stdout


def test_plan_shows_stages_without_running_and_json_is_whole(place):
    result = genloom("plan", "half.yaml", "in", "-o", "out")
    assert result.exit_code == 0
    assert "resize" in result.stdout and "scale=0.5" in result.stdout
    described = json.loads(genloom("plan", "half.yaml", "in", "-o", "out", "--json").stdout)
    assert described["items"] == 4
    assert not (place / "out").exists()


@pytest.mark.parametrize(
    ("arguments", "code", "said"),
    [
        (["run", "half.yml", "in", "-o", "out"], 2, "Did you mean 'half.yaml'?"),
        (["run", "half", "in", "-o", "out"], 2, "unknown pipeline 'half'"),
        (["run", "half.yaml", "inn", "-o", "out"], 2, "Did you mean 'in'?"),
        (["run", "half.yaml", "in", "-o", "in"], 2, "the output folder is the input folder"),
        (["run", "half.yaml", "in"], 2, "Missing option"),
        (["run", "half.yaml", "in", "-o", "out", "--set", "resize.scal=2"], 2, "'scale'"),
        (["run", "half.yaml", "in", "-o", "out", "--provider-option", "x"], 2, "NAME=VALUE"),
        (["run", "half.yaml", "in", "-o", "out", "--provider", "cpo"], 3, "Did you mean 'cpu'?"),
        (["runn"], 2, "Did you mean 'run'?"),
        (["validate", "half.yaml", "none.yaml"], 2, "none.yaml"),
        (["schema", "recepe"], 2, "Did you mean 'recipe'?"),
    ],
)
def test_wrong_usage_exits_2_and_says_what_to_do(place, arguments, code, said):
    result = genloom(*arguments)
    assert result.exit_code == code
    assert said in result.output
    assert "Traceback" not in result.output


def test_validate_reports_every_file_and_every_problem(place):
    (place / "bad.yaml").write_text("genloom: 1\nstages:\n  - lod\n  - resize: {scale: big}\n")
    result = genloom("validate", "half.yaml", "bad.yaml")
    assert result.exit_code == 2
    assert "half.yaml: a correct pipeline" in result.stdout
    assert "bad.yaml:3:5: " in result.stderr and "bad.yaml:4:21: " in result.stderr


def test_validate_knows_recipes(place):
    (place / "recipe.yaml").write_text("genloom: 1\nrecipe: vea\n")
    result = genloom("validate", "recipe.yaml")
    assert result.exit_code == 2
    assert "Did you mean 'vae'" in result.stderr


def test_schemas_of_both_kinds_of_files_are_json(place):
    pipeline = json.loads(genloom("schema").stdout)
    assert pipeline["properties"]["stages"]["type"] == "array"
    recipe = json.loads(genloom("schema", "recipe").stdout)
    assert "recipe" in json.dumps(recipe)


def test_pipelines_are_listed_with_what_they_do_and_shown(place):
    (place / "pipelines").mkdir()
    (place / "half.yaml").rename(place / "pipelines/half.yaml")
    listed = genloom("pipelines", "list").stdout
    assert "Halve pictures." in listed and "denoise" in listed
    assert genloom("pipelines", "show", "half").stdout.startswith("# Halve pictures.")
    assert genloom("run", "half", "in", "-o", "out").exit_code == 1


def test_the_columns_of_the_list_of_pipelines_never_run_together(place):
    (place / "pipelines").mkdir()
    (place / "pipelines" / f"{'long' * 9}.yaml").write_text(f"# {'words ' * 20}\n")
    listed = genloom("pipelines", "list").stdout.splitlines()
    assert any(line.endswith("words  the project's pipelines/") for line in listed)
    assert len({line.rindex("  ") for line in listed}) == 1
    rows = json.loads(genloom("pipelines", "list", "--json").stdout)
    (row,) = [row for row in rows if row["from"] == "the project's pipelines/"]
    assert (row["name"], row["summary"]) == ("long" * 9, ("words " * 20).strip())
    assert row["file"].endswith("long.yaml")


def test_pipelines_are_listed_and_shown_whatever_their_files_hold(place):
    (place / "pipelines/folder.yaml").mkdir(parents=True)
    (place / "pipelines/latin.yaml").write_bytes("# Drôle.\n".encode("latin-1"))
    listed = genloom("pipelines", "list")
    assert listed.exit_code == 0
    assert "Dr�le." in listed.stdout and "cannot be read" in listed.stdout
    assert genloom("pipelines", "show", "latin").stdout == "# Dr�le.\n"


def test_what_a_plugin_prints_does_not_mix_with_json(capsys):
    with progress.show(as_json=True) as observe:
        print("hello from a hook")
        observe({"event": "item"})
    captured = capsys.readouterr()
    assert (captured.out, captured.err) == ('{"event": "item"}\n', "hello from a hook\n")


def report(**said):
    failure = Failure(Item(key="grid:#0", name="grid", gathered=True), "grid", "told to")
    values = {"total": 5, "done": 3, "files": 3, "seconds": 1.25, "failures": [failure]}
    return Report(**{**values, **said})


def test_a_report_and_its_failures_are_plain_values():
    plain = report(notes={"resized": ["a.png"]}, providers={"m": "cpu"}).plain()
    assert json.loads(json.dumps(plain)) == {
        "total": 5,
        "done": 3,
        "skipped": 0,
        "failed": 0,
        "unmade": 1,
        "files": 3,
        "outcome": plain["outcome"],
        "seconds": 1.25,
        "providers": {"m": "cpu"},
        "precisions": {},
        "failures": [{"key": "grid:#0", "source": None, "stage": "grid", "reason": "told to"}],
        "notes": {"resized": ["a.png"]},
        "times": Times().plain(),
    }


def test_the_closing_line_says_how_to_go_on_and_what_is_not_made():
    assert "1 not made" in progress.end_text(report())
    text = progress.end_text(report(outcome="interrupted"))
    assert "run the same command again" in text


def test_notes_are_said_once_with_the_number_of_pictures_and_not_endlessly():
    notes = {f"note {n}": [f"p{k}.png" for k in range(3)] for n in range(15)}
    lines = progress.end_text(report(notes=notes)).splitlines()
    assert lines[0] == "note: p0.png and 2 more: note 0"
    assert "5 more" in lines[10] and len(lines) == 12


def test_plain_lines_report_progress_in_long_runs(capsys, monkeypatch):
    clock = iter(range(0, 1000, 7))
    monkeypatch.setattr(progress.time, "monotonic", lambda: next(clock))
    observe = progress._Lines(quiet=False)
    plan = {"pipeline": "p", "models": {"m": {"provider": "cpu", "hides": []}}, "out": "o"}
    observe({"event": "start", "total": 4, "plan": plan})
    for _ in range(4):
        observe({"event": "item", "items": 1, "failures": []})
    lines = capsys.readouterr().out.splitlines()
    assert lines[0] == "p: 4 items through m on cpu → o"
    assert any(line.startswith("2 of 4") for line in lines)


def test_a_terminal_gets_a_live_line_and_the_end(monkeypatch, capsys):
    monkeypatch.setattr(sys.stderr, "isatty", lambda: True, raising=False)
    plan = {"pipeline": "p", "models": {}, "out": "o"}
    failure = Failure(Item(key="0/a.png", name="a"), "load", "no [picture]")
    with progress.show() as observe:
        observe({"event": "start", "total": 2, "plan": plan})
        observe({"event": "skipped", "items": 1})
        observe({"event": "item", "items": 1, "failures": [failure]})
        observe({"event": "end", "report": report(failures=[failure])})
    captured = capsys.readouterr()
    assert "failed: a: load: no [picture]" in captured.err
    assert "3 done, 1 failed" in captured.out


def test_commands_are_those_of_genloom_first_and_then_those_of_plugins():
    names = main.list_commands(click.Context(main))
    assert names[0] == "run" and "train" in names


@pytest.mark.parametrize("where", ["genloom.catalog.Catalog.load", "genloom.api.bind"])
@pytest.mark.parametrize("wrapped", [False, True])
def test_ctrl_c_before_the_first_picture_exits_130_with_one_line(
    place, monkeypatch, where, wrapped
):
    def interrupted(*_, **__):
        if wrapped:
            raise RuntimeError("Error calling __set_name__") from KeyboardInterrupt()
        raise KeyboardInterrupt

    monkeypatch.setattr(where, interrupted)
    result = genloom("run", "half.yaml", "in", "-o", "out")
    assert (result.exit_code, result.stderr) == (130, "genloom: interrupted\n")
