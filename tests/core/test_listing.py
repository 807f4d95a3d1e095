"""What is done is told without making items of it, and never more than is true."""

import contextlib
import os
import sqlite3
from dataclasses import dataclass

import pytest
from PIL import Image

from genloom import load_pipeline, status
from genloom.engine import sources, tables
from genloom.engine.journal import Journal
from genloom.listing import PART, Made, Numbered, sketch
from genloom.stage import Inputs
from genloom.stages import listed
from genloom.stages.latent import Sample
from genloom.stages.load import Load
from genloom.types import Item


@pytest.fixture
def place(tmp_path, monkeypatch):
    """Three pictures in `in`, and a pipeline that copies."""
    monkeypatch.chdir(tmp_path)
    (tmp_path / "in/sub").mkdir(parents=True)
    for name in ("in/a.png", "in/ü.png", "in/sub/b.png"):
        Image.new("RGB", (4, 4)).save(name)
    (tmp_path / "copy.yaml").write_text("genloom: 1\nstages: [load, save]\n")
    return tmp_path


def copy(**settings):
    report = load_pipeline("copy.yaml").run("in", "out", **settings)
    return report.done, report.skipped


def undone(place):
    plan = load_pipeline("copy.yaml").plan("in", "out")
    with Journal(plan.out) as journal:
        return sorted(
            item.key
            for listing in sources.listings(plan.steps[0].stage, plan.inputs)
            for item in listing.items(sources.undone(listing, journal, plan.digests[0]))
        )


def test_nothing_of_a_finished_run_is_undone(place):
    assert copy() == (3, 0)
    assert undone(place) == []
    assert copy() == (0, 3)


@pytest.mark.parametrize("deed", ["content", "time", "gone", "link"])
def test_what_changed_or_lost_its_result_is_undone_and_nothing_else(place, deed):
    copy()
    if deed == "content":
        Image.new("RGB", (9, 9)).save("in/a.png")
    elif deed == "time":
        os.utime("in/a.png", ns=(1, 1))
    else:
        os.unlink("out/a.png")
    if deed == "link":  # one that leads nowhere is no result
        os.symlink("nothing", "out/a.png")
    assert undone(place) == ["0/a.png"]


def test_a_touched_file_with_the_same_bytes_is_looked_at_and_not_done_again(place):
    copy()
    os.utime("in/a.png", ns=(1, 1))
    assert copy() == (0, 3)


def test_other_options_make_all_of_it_undone(place):
    copy()
    (place / "copy.yaml").write_text("genloom: 1\nstages: [load, save: {quality: 50}]\n")
    assert len(undone(place)) == 3


def test_a_folder_of_more_names_than_are_held_is_told_file_by_file(place, monkeypatch):
    copy()
    monkeypatch.setattr(sources, "NAMES", 1)
    assert undone(place) == []
    os.unlink("out/ü.png")
    assert undone(place) == ["0/ü.png"]


def test_what_is_no_neighbour_in_the_journal_is_told_all_the_same(place):
    for number in range(30):  # between a.png and ü.png of the folder itself
        Image.new("RGB", (4, 4)).save(f"in/sub/n{number}.png")
    assert copy() == (33, 0)
    assert undone(place) == []
    os.unlink("out/ü.png")
    assert undone(place) == ["0/ü.png"]
    plan = load_pipeline("copy.yaml").plan("in", "out").digests[0]
    with Journal(place / "out") as journal:
        assert journal.finished("of no plan", [sketch("a.png", ""), sketch("ü.png", "")]) == {}
        apart = journal.finished(plan, [sketch("a.png", ""), sketch("ü.png", "")])
        assert sorted(apart.values()) == ["a.png", "ü.png"]
        near = journal.finished(plan, [sketch("a.png", ""), sketch("sub/n0.png", "")])
        assert {"sub/b.png", "sub/n0.png"} <= set(near.values())
        assert journal.finished(plan, []) == {}


def test_samples_are_listed_as_they_are_drawn():
    (listing,) = Sample(model="any", count=3).listings(Inputs())
    assert isinstance(listing, Numbered)
    assert [item.key for item in listing.items([0, 2])] == ["sample-000000", "sample-000002"]
    assert [one.split(PART)[:2] for one in listing.sketches(range(3))] == [
        [item.key, item.key] for item in Sample(model="any", count=3).sources(Inputs())
    ]
    assert listing.sketches(range(1, 2)) == listing.sketches(range(3))[1:2]


@dataclass(frozen=True, kw_only=True)
class Doubled(Load):
    """A stage of a plugin that has other sources than the stage it is made of."""

    def sources(self, inputs):
        for item in super().sources(inputs):
            yield item
            yield Item(key=f"{item.key}!", name=f"{item.name}-2", source=item.source)


def test_a_stage_that_changes_its_parents_sources_is_asked_for_those(place):
    found = sources.listings(Doubled(), Inputs(("in",)))
    assert sum(map(len, found)) == 6
    assert sum(map(len, sources.listings(Load(), Inputs(("in",))))) == 3


def test_a_text_names_an_item_and_its_file_and_nothing_else(place):
    items = list(Load().sources(Inputs(("in",))))
    asked = range(len(items))
    (made,) = [Made(items).sketches(asked)]
    assert made == [
        sketch(i.place, i.key, os.stat(i.source).st_size, os.stat(i.source).st_mtime_ns, str(real))
        for i in items
        for real in [place / i.source]
    ]
    listed = [
        one
        for listing in Load().listings(Inputs(("in",)))
        for one in listing.sketches(range(len(listing)))
    ]
    assert sorted(listed) == sorted(made)


def test_a_file_that_is_gone_is_known_by_nothing_and_its_neighbours_by_what_they_are(place):
    (listing,) = list(Load(recursive=False).listings(Inputs(("in",))))
    before = listing.sketches(range(2))
    os.unlink("in/a.png")
    after = listing.sketches(range(2))
    assert sorted(map(bool, after)) == [False, True]
    assert next(filter(None, after)) in before


def test_a_picture_with_two_results_is_undone_when_either_is_missing(place):
    (place / "copy.yaml").write_text(
        "genloom: 1\nstages: [load, save, save: {to: 'twice/{folder}/{stem}'}]\n"
    )
    assert copy() == (3, 0)
    assert undone(place) == []
    os.unlink("out/twice/a.png")
    assert undone(place) == ["0/a.png"]
    assert copy() == (1, 2)
    os.unlink("out/sub/b.png")
    assert undone(place) == ["0/sub/b.png"]


def test_names_with_line_breaks_and_names_that_are_no_text_are_told_apart(place):
    for name in (b"in/x\ny.png", b"in/\xff.png", b"in/\xfe.png"):
        with open(name, "wb") as file:
            Image.new("RGB", (4, 4)).save(file, "png")
    assert copy()[0] == 6
    assert copy() == (0, 6)
    os.utime(b"in/x\ny.png", ns=(1, 1))
    Image.new("RGB", (5, 5)).save("in/x\ny.png")
    assert copy() == (1, 5)


def test_more_than_are_looked_up_together_are_told_in_parts(place, monkeypatch):
    for module in (listed, sources):
        monkeypatch.setattr(module, "TOGETHER", 2)
    for number in range(7):
        Image.new("RGB", (4, 4)).save(f"in/n{number}.png")
    assert copy() == (10, 0)
    assert undone(place) == []
    os.unlink("out/n3.png")
    os.utime("in/n6.png", ns=(1, 1))
    assert undone(place) == ["0/n3.png", "0/n6.png"]


def as_version_2(journal):
    """Make of a journal one that was written before it kept what finished units are known by."""
    with contextlib.closing(sqlite3.connect(journal)) as database, database:
        for column in ("sketch", "results"):
            database.execute(f"ALTER TABLE units DROP COLUMN {column}")
        database.execute("UPDATE meta SET value = '2' WHERE key = 'version'")


@pytest.mark.skipif(sqlite3.sqlite_version_info < (3, 35), reason="SQLite cannot drop columns")
def test_a_journal_of_the_version_before_is_read_and_brought_up_to_this_one(place):
    copy()
    (place / "in/broken.png").write_bytes(b"no picture")
    copy()
    os.unlink("out/ü.png")
    as_version_2("out/.genloom/journal.db")
    found = status("out")
    assert (found.done, found.failed, found.pending) == (2, 1, 1)
    assert undone(place) == ["0/broken.png", "0/ü.png"]
    assert copy() == (1, 2)
    assert undone(place) == ["0/broken.png"]


@pytest.mark.skipif(sqlite3.sqlite_version_info < (3, 35), reason="SQLite cannot drop columns")
def test_a_journal_is_brought_up_in_parts_and_a_damaged_row_does_not_stop_it(place, monkeypatch):
    monkeypatch.setattr(tables, "UPGRADED", 1)
    copy()
    as_version_2("out/.genloom/journal.db")
    with contextlib.closing(sqlite3.connect("out/.genloom/journal.db")) as database, database:
        damage = "UPDATE units SET inputs = '[[1' WHERE unit LIKE '%b.png'"
        assert database.execute(damage).rowcount == 1
    assert undone(place) == ["0/sub/b.png"]


@pytest.mark.skipif(sqlite3.sqlite_version_info < (3, 35), reason="SQLite cannot drop columns")
def test_ctrl_c_while_a_journal_is_brought_up_is_one(place, monkeypatch):
    def interrupted(*_):
        raise KeyboardInterrupt

    copy()
    as_version_2("out/.genloom/journal.db")
    with monkeypatch.context() as patch:
        patch.setattr(tables, "_sketch", interrupted)
        with pytest.raises(KeyboardInterrupt):
            undone(place)
    assert undone(place) == []


def test_files_named_from_the_working_folder_are_known_without_a_look_inside(place, monkeypatch):
    monkeypatch.chdir("in")
    found = sources.listings(Load(), Inputs(("a.png", "*.png")))
    texts = [text for listing in found for text in listing.sketches(range(len(listing)))]
    assert texts
    assert None not in texts


def test_results_in_two_folders_do_not_read_a_folder_for_each(place, monkeypatch):
    for number in range(20):
        Image.new("RGB", (4, 4)).save(f"in/n{number}.png")
    (place / "copy.yaml").write_text(
        "genloom: 1\nstages: [load, save: {to: 'x/{stem}'}, save: {to: 'y/{stem}'}]\n"
    )
    copy()
    read, original = [], sources._There._read
    monkeypatch.setattr(
        sources._There, "_read", lambda self, folder: read.append(folder) or original(self, folder)
    )
    assert undone(place) == []
    assert len(read) <= 4


@pytest.mark.skipif(sqlite3.sqlite_version_info < (3, 35), reason="SQLite cannot drop columns")
def test_shards_of_two_versions_are_counted_together(place):
    for shard in ("1/2", "2/2"):
        copy(shard=shard)
    as_version_2("out/.genloom/shard-2-of-2/journal.db")
    assert (status("out").done, status("out").pending) == (3, 0)
