"""What is done is told without making items of it, and never more than is true."""

import os
from dataclasses import dataclass

import pytest
from PIL import Image

from genloom import load_pipeline
from genloom.engine import sources
from genloom.engine.journal import Journal
from genloom.engine.records import Signature, recorded, written
from genloom.listing import Numbered
from genloom.stage import Inputs
from genloom.stages.latent import Sample
from genloom.stages.load import Load
from genloom.types import Item

FACTS = ("0/a.png", 4, 17, "/in/a.png")


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


@pytest.mark.parametrize("key", ["0/a.png", '0/"\\\n.png', "0/ü😀.png"])
@pytest.mark.parametrize("sha256", ["", "ab" * 32])
def test_a_text_of_the_journal_is_of_the_file_it_was_written_for_and_no_other(key, sha256):
    text = written((Signature(key, 4, 17, sha256, "/in/a.png"),))
    assert recorded(text, key, 4, 17, "/in/a.png")
    for facts in [
        ("0/b.png", 4, 17, "/in/a.png"),
        (key, 5, 17, "/in/a.png"),
        (key, 4, 18, "/in/a.png"),
        (key, 4, 17, "/in/b.png"),
    ]:
        assert not recorded(text, *facts)


def test_a_text_of_several_files_or_of_a_failed_member_is_of_no_file():
    one, other = Signature("0/a.png", 4, 17, "", "/in/a.png"), Signature("0/b.png", 1, 2, "", "/b")
    assert not recorded(written((one, other)), *FACTS)
    assert not recorded(written((other, one)), *FACTS)
    assert not recorded(written((Signature("0/a.png", 4, 17, "", "/in/a.png", True),)), *FACTS)
    assert not recorded("", *FACTS)


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
    with Journal(place / "out") as journal:
        known, files = journal.finished("of no plan", ["a.png", "ü.png"])
        assert (known, sorted(files)) == ({}, [("a.png", "a.png"), ("ü.png", "ü.png")])
        known, files = journal.finished("of no plan", ["a.png", "sub/n0.png"])
        assert {"sub/b.png", "sub/n0.png"} <= {unit for unit, _ in files}
        assert journal.finished("of no plan", []) == ({}, [])


def test_samples_are_listed_as_they_are_drawn():
    (listing,) = Sample(model="any", count=3).listings(Inputs())
    assert isinstance(listing, Numbered)
    assert [item.key for item in listing.items([0, 2])] == ["sample-000000", "sample-000002"]
    assert [sketch[0] for sketch in listing.sketches()] == [
        item.key for item in Sample(model="any", count=3).sources(Inputs())
    ]


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
