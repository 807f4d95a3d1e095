"""One output folder for several inputs: each picture has a place, and keeps it."""

import shutil
from pathlib import Path

import pytest
from PIL import Image

from genloom import load_pipeline


@pytest.fixture
def place(tmp_path, monkeypatch):
    """Two folders with a picture of one name, and pipelines to run over them."""
    monkeypatch.chdir(tmp_path)
    picture("A/x.png", "red")
    picture("B/x.png", "blue")
    (tmp_path / "copy.yaml").write_text("genloom: 1\nstages: [load, save]\n")
    (tmp_path / "sheet.yaml").write_text("genloom: 1\nstages: [load, grid, save]\n")
    return tmp_path


def picture(path, colour):
    Path(path).parent.mkdir(parents=True, exist_ok=True)
    Image.new("RGB", (4, 4), colour).save(path)


def run(pipeline, *inputs, out="out"):
    return load_pipeline(pipeline).run(inputs, out)


def results(place, out="out"):
    """Names of results and the colour of each in its middle."""
    found = {}
    for path in (place / out).rglob("*.png"):
        with Image.open(path) as image:
            pixel = image.getpixel((image.width // 2, image.height // 2))
        found[path.relative_to(place / out).as_posix()] = {255: "red"}.get(pixel[0], "blue")
    return found


def test_a_picture_of_another_folder_never_takes_the_place_of_one(place):
    run("copy.yaml", "A/x.png")
    report = run("copy.yaml", "B/x.png")
    assert results(place) == {"x.png": "red", "x-2.png": "blue"}
    assert any("x-2.png" in note for note in report.notes)
    for name in "AB":
        assert run("copy.yaml", f"{name}/x.png").skipped == 1
        assert run("copy.yaml", name).skipped == 1
    assert len(results(place)) == 2


def test_a_changed_picture_keeps_its_place(place):
    run("copy.yaml", "A")
    picture("A/x.png", "blue")
    assert run("copy.yaml", "A").done == 1
    assert results(place) == {"x.png": "blue"}


def test_inputs_that_were_moved_are_known_again(place):
    run("copy.yaml", "A")
    run("sheet.yaml", "A")
    (place / "A").rename(place / "C")
    assert run("copy.yaml", "C").skipped == 1
    assert run("sheet.yaml", "C").skipped == 1
    assert set(results(place)) == {"x.png", "grid.png"}


def test_one_folder_and_then_two_have_the_places_that_two_have_at_once(place):
    run("copy.yaml", "A")
    run("copy.yaml", "A", "B")
    run("copy.yaml", "A", "B", out="other")
    assert results(place, "other") == {"A/x.png": "red", "B/x.png": "blue"}
    assert results(place) == {"x.png": "red"} | results(place, "other")


def test_two_folders_in_the_other_order_have_the_same_places(place):
    run("copy.yaml", "A", "B")
    run("copy.yaml", "B", "A")
    assert results(place) == {"A/x.png": "red", "B/x.png": "blue"}


def test_a_folder_that_is_named_twice_counts_once(place):
    run("copy.yaml", "A", "A/x.png", place / "A", "A/*.png")
    assert results(place) == {"x.png": "red"}
    assert run("copy.yaml", "A").skipped == 1


def test_a_sheet_of_other_pictures_never_takes_the_place_of_one(place):
    run("sheet.yaml", "A")
    report = run("sheet.yaml", "B")
    assert results(place) == {"grid.png": "red", "grid-2.png": "blue"}
    assert any("grid-2.png" in note for note in report.notes)
    assert run("sheet.yaml", "A").skipped == run("sheet.yaml", "B").skipped == 1


def test_a_sheet_that_gets_more_pictures_keeps_its_place(place):
    run("sheet.yaml", "A")
    shutil.copy("B/x.png", "A/w.png")
    run("sheet.yaml", "A")
    run("sheet.yaml", "A", "B")
    assert set(results(place)) == {"grid.png"}
