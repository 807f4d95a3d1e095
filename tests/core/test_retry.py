"""`genloom retry` tries again what failed, as it was asked the first time."""

import json

import pytest
from asking import Fragile, command, counts, picture, pipeline
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image

import genloom
from genloom import load_pipeline
from genloom.engine.journal import Journal


def test_retry_tries_what_failed_and_nothing_else(nine_pictures, fragile, monkeypatch):
    pipeline("fragile", "load", "fragile", "save")
    Fragile.broken |= {"0/a/p1.png", "0/c/p7.png"}
    load_pipeline("fragile.yaml", catalog=fragile).run("in", "out", batch=1)
    Fragile.keys.clear()
    Fragile.broken.remove("0/a/p1.png")
    picture("in/new.png")
    monkeypatch.chdir("/")
    (report,) = genloom.retry(nine_pictures / "out", catalog=fragile)
    assert (report.total, report.done, report.failed, report.skipped) == (2, 1, 1, 0)
    assert Fragile.keys == ["0/a/p1.png"]
    assert (nine_pictures / "out/a/p1.png").exists() and not (
        nine_pictures / "out/new.png"
    ).exists()
    assert counts(genloom.status(nine_pictures / "out", catalog=fragile)) == (9 - 1, 1, 1)
    Fragile.broken.clear()
    assert genloom.retry(nine_pictures / "out", catalog=fragile)[0].exit_code == 0
    assert genloom.retry(nine_pictures / "out", catalog=fragile)[0].total == 0


def test_retry_is_the_same_command_with_all_that_was_asked(nine_pictures, fragile):
    pipeline("fragile", "load", "fragile", "resize: {scale: 1.0}", "save")
    Fragile.broken.add("0/p1.png")
    chain = load_pipeline("fragile.yaml", {"resize.scale": 0.5}, seed=3, catalog=fragile)
    chain.run("in/a", "out", workers=1, batch=1, force=True)
    Fragile.broken.clear()
    events = []
    (report,) = genloom.retry("out", observe=events.append, catalog=fragile)
    assert report.done == 1
    assert events[0]["plan"]["seed"] == 3 and events[0]["total"] == 1
    with Image.open("out/p1.png") as image:
        assert image.size == (4, 4)
    assert chain.run("in/a", "out").skipped == 3


def test_retry_on_the_command_line_shows_and_ends_as_run_does(nine_pictures):
    (nine_pictures / "in/a/bad.png").write_bytes(b"no")
    assert command("run", "copy.yaml", "in", "-o", "out").exit_code == 1
    result = command("retry", "out")
    assert result.exit_code == 1
    assert result.stdout.startswith("copy: 1 item → ") and "0 done, 1 failed" in result.stdout
    assert result.stderr.startswith("failed: in/a/bad.png: load: ")
    picture("in/a/bad.png")
    assert len(command("retry", "out", "-q").stdout.splitlines()) == 1
    (nine_pictures / "in/a/bad.png").write_bytes(b"no again")
    command("run", "copy.yaml", "in", "-o", "out")
    events = [json.loads(line) for line in command("retry", "out", "--json").stdout.splitlines()]
    assert [event["event"] for event in events] == ["start", "item", "end"]
    assert events[-1]["report"]["failed"] == 1


def test_retry_refuses_a_pipeline_that_changed_or_is_gone(nine_pictures):
    (nine_pictures / "in/a/bad.png").write_bytes(b"no")
    load_pipeline("copy.yaml").run("in", "out")
    pipeline("copy", "load", "resize: {scale: 2}", "save")
    result = command("retry", "out")
    assert result.exit_code == 2
    assert "'copy.yaml'" in result.stderr and "has changed since the run" in result.stderr
    assert "`genloom run copy.yaml … -o out`" in result.stderr
    (nine_pictures / "copy.yaml").unlink()
    result = command("retry", "out")
    assert result.exit_code == 2 and "there is no pipeline file 'copy.yaml'" in result.stderr
    pipeline("copy", "load", "save  # as it was")
    assert genloom.retry("out")[0].total == 1


@pytest.mark.parametrize("group", ["all", "folder"])
def test_retry_makes_the_groups_whole_in_which_something_failed(nine_pictures, fragile, group):
    grid = f"grid: {{group: {group}, max_items: 3}}"
    pipeline("sheet", "load", "fragile", grid, "save")
    Fragile.broken.add("0/b/p4.png")
    chain = load_pipeline("sheet.yaml", catalog=fragile)
    report = chain.run("in", "out", batch=1)
    assert (report.done, report.failed, report.unmade) == (8, 1, 1)
    status = genloom.status("out", catalog=fragile)
    assert status.failed == 1 and status.unmade == 1
    assert [failure.stage for failure in status.failures] == ["fragile", "grid"]
    Fragile.broken.clear()
    Fragile.keys.clear()
    (report,) = genloom.retry("out", catalog=fragile)
    assert report.exit_code == 0 and report.files >= 1
    assert not any(key.startswith("0/a") for key in Fragile.keys), "those sheets stand"
    status = genloom.status("out", catalog=fragile)
    assert (*counts(status), status.unmade) == (9, 0, 0, 0)
    assert status.failures == []


def test_retry_makes_a_sheet_again_that_failed_though_its_pictures_did_not(nine_pictures, fragile):
    pipeline("sheet", "load", "save", "grid: {group: folder}", "save: {id: sheet}")
    (nine_pictures / "out/b").mkdir(parents=True)
    (nine_pictures / "out/b/grid.png").write_text("mine")
    report = load_pipeline("sheet.yaml", catalog=fragile).run("in", "out")
    assert (report.done, report.unmade) == (9, 1) or report.failures
    status = genloom.status("out", catalog=fragile)
    assert (*counts(status), status.unmade) == (9, 0, 0, 1)
    (nine_pictures / "out/b/grid.png").unlink()
    (report,) = genloom.retry("out", catalog=fragile)
    assert (report.total, report.files, report.skipped) == (3, 1, 3)
    assert genloom.status("out", catalog=fragile).unmade == 0


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
