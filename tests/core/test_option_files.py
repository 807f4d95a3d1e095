"""Files that options name: known by what they hold, read once, and used as they were hashed."""

from __future__ import annotations

import threading
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pytest
from making import plugin_with
from PIL import Image

from genloom import Catalog, Kind, Stage, load_pipeline
from genloom.engine import plan
from genloom.engine.execute import execute
from genloom.engine.stagerun import Once, Shared, StageRun
from genloom.errors import GenloomError, UnknownName


@dataclass(frozen=True, kw_only=True)
class Lighten(Stage):
    """Add the number that a file holds; the numbers of `more` files, too."""

    name, takes, gives = "lighten", Kind.IMAGE, Kind.IMAGE
    table: Path
    more: tuple[Path, ...] = ()

    def __call__(self, batch, run):
        number = run.once((self, "number"), lambda: self._number(run))
        return batch.with_pixels(batch.pixels + np.uint8(number))

    def _number(self, run):
        made.append(threading.get_ident())
        return sum(int(run.file(path)) for path in (self.table, *self.more))


made: list[int] = []


@pytest.fixture
def chain(tmp_path, monkeypatch):
    """Makes the pipeline that lightens five black pictures by the numbers in files."""
    catalog = Catalog.load()
    catalog.register(plugin_with(stages=[Lighten]), "plugin")
    monkeypatch.chdir(tmp_path)
    made.clear()
    for number in range(5):
        Path("in").mkdir(exist_ok=True)
        Image.new("L", (4, 4 + number), 0).save(f"in/{number}.png")

    def make(**options):
        given = ", ".join(f"{name}: {value}" for name, value in options.items())
        Path("chain.yaml").write_text(
            f"genloom: 1\nstages: [load, {{lighten: {{{given}}}}}, save]\n"
        )
        return load_pipeline("chain.yaml", catalog=catalog)

    return make


def light(folder="out"):
    """The one value of all results."""
    (value,) = {int(np.asarray(Image.open(path)).max()) for path in Path(folder).glob("*.png")}
    return value


def test_a_file_is_known_by_what_it_holds_and_not_by_its_path(chain, tmp_path):
    for name in ("one", "same"):
        Path(name).write_text("3")
    Path("other").write_text("4")
    assert chain(table="one").run("in", "out").done == 5
    assert chain(table="same").run("in", "out").skipped == 5
    assert chain(table=tmp_path / "one").run("in", "out").skipped == 5
    assert chain(table="other").run("in", "out").done == 5
    assert light() == 4
    Path("other").write_text("5")
    assert chain(table="other").run("in", "out").done == 5
    assert light() == 5


def test_every_file_of_an_option_that_names_several_counts(chain):
    for name in ("one", "two"):
        Path(name).write_text("3")
    assert chain(table="one", more="[one, two]").run("in", "out").done == 5
    Path("two").write_text("4")
    assert chain(table="one", more="[one, two]").run("in", "out").done == 5
    assert light() == 3 + 3 + 4


def test_a_file_that_changes_after_the_plan_changes_nothing_until_the_next_run(chain):
    Path("one").write_text("3")
    plan = chain(table="one").plan("in", "out")
    assert plan.describe()["fingerprint"]
    Path("one").write_text("9")
    assert execute(plan).done == 5
    assert light() == 3
    assert chain(table="one").run("in", "out").done == 5
    assert light() == 9


def test_what_is_made_of_a_file_is_made_once_in_a_run(chain):
    Path("one").write_text("3")
    assert chain(table="one").run("in", "out", workers=4, batch=1).done == 5
    assert len(made) == 1


def test_what_could_not_be_made_is_tried_again():
    once, results = Once(), iter([OSError("not now"), 7])

    def make():
        result = next(results)
        if isinstance(result, Exception):
            raise result
        return result

    with pytest.raises(OSError, match="not now"):
        once("key", make)
    assert [once("key", make), once("key", make)] == [7, 7]


def test_a_file_that_no_option_names_is_not_given(tmp_path):
    run = StageRun("s", 0, {}, tmp_path, shared=Shared({Path("table.txt"): b"1"}))
    assert run.file(Path("table.txt")) == b"1"
    with pytest.raises(UnknownName, match=r"s: .*'table.tx'. Did you mean 'table.txt'"):
        run.file(Path("table.tx"))


def test_a_file_too_large_to_hold_is_an_error_before_anything_is_made(chain, monkeypatch):
    Path("one").write_text("3")
    monkeypatch.setattr(plan, "MAX_OPTION_FILE_BYTES", 0)
    with pytest.raises(GenloomError, match="too large; expected at most 0 bytes, got 1"):
        chain(table="one").run("in", "out")
    assert not made and not list(Path("out").rglob("*.png"))
