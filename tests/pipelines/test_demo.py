"""The demo: a page whose pictures all exist, and figures that are measured."""

import re
from pathlib import Path
from urllib.parse import unquote

import pytest

from genloom import imaging
from genloom.demo import PHOTOGRAPHS, psnr, run_demo
from genloom.demo.page import refuse_foreign
from genloom.errors import OutputError


@pytest.fixture(scope="module")
def result(tmp_path_factory):
    said = []
    made = run_demo(tmp_path_factory.mktemp("demo"), said.append, provider="cpu")
    assert len(said) == len(made.chapters)
    return made


def test_every_picture_of_the_page_lies_beside_it(result):
    html = result.page.read_text(encoding="utf-8")
    links = re.findall(r'(?:src|href)="([^"]+)"', html)
    assert len(links) > 15
    for link in links:
        path = result.page.parent / unquote(link)
        assert path.is_file(), link


def test_the_page_loads_nothing_from_elsewhere(result):
    assert "http" not in result.page.read_text(encoding="utf-8")


def test_a_page_of_its_own_is_written_again(result):
    refuse_foreign(result.page, sorted(PHOTOGRAPHS.glob("*.jpg")))
    assert not list(result.page.parent.rglob("*.part"))


def test_a_page_made_again_claims_no_time_for_what_was_there_already(result):
    first = result.page.read_text(encoding="utf-8")
    assert (
        re.search(r"offline, in \d+ seconds, by", first)
        and len(re.findall(r"\d s</p>", first)) == 7
    )
    again = run_demo(result.page.parent, print, provider="cpu").page.read_text(encoding="utf-8")
    assert "offline, by" in again and " s</p>" not in again


@pytest.mark.parametrize("name", ["index.html", "clean/cat.jpg"])
def test_files_that_it_did_not_write_are_never_overwritten(tmp_path, name):
    (tmp_path / name).parent.mkdir(exist_ok=True)
    (tmp_path / name).write_text("mine")
    with pytest.raises(OutputError, match=f"{name}: .*Give the demo another folder with -o"):
        run_demo(tmp_path, print)
    assert (tmp_path / name).read_text() == "mine"
    assert [path.name for path in tmp_path.rglob("*") if path.is_file()] == [Path(name).name]


@pytest.mark.parametrize(("title", "gain"), [("Denoise", 5), ("Enlarge", 0.4)])
def test_each_photograph_comes_out_closer_to_the_true_one(result, title, gain):
    (chapter,) = (chapter for chapter in result.chapters if chapter.title == title)
    assert len(chapter.pairs) == 6
    for pair in chapter.pairs:
        assert pair.after_psnr > pair.before_psnr + gain, pair.name


def test_each_photograph_is_painted_once(result):
    (chapter,) = (chapter for chapter in result.chapters if chapter.title == "Paint")
    assert sorted(pair.before for pair in chapter.pairs) == sorted(
        (result.page.parent / "clean").glob("*.jpg")
    )
    for pair in chapter.pairs:
        before, after = (imaging.read(path).pixels for path in (pair.before, pair.after))
        assert after.shape == before.shape and psnr(before, after) < 25, pair.name


def test_every_chapter_shows_something(result):
    assert [chapter.title for chapter in result.chapters] == [
        "Denoise",
        "Enlarge",
        "Paint",
        "Sample",
        "Reconstruct",
        "Variations",
        "Interpolate",
    ]
    assert all(chapter.pairs or chapter.sheets for chapter in result.chapters)
