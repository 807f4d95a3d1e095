"""`load`: which pictures are found, in which order, under which keys and names."""

import os
import unicodedata
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image

from genloom import load_pipeline
from genloom.errors import GenloomError, ImageError
from genloom.stage import Inputs
from genloom.stages.filenames import natural
from genloom.stages.load import Load
from genloom.testing import FakeRun
from genloom.types import Batch, Item


@pytest.fixture
def place(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    return tmp_path


def touch(*names):
    for name in names:
        Path(name).parent.mkdir(parents=True, exist_ok=True)
        Path(name).touch()


def found(*paths, out=None, **options):
    inputs = Inputs(tuple(map(str, paths)), None if out is None else Path(out))
    return list(Load(**options).sources(inputs))


def keys(*paths, **how):
    return [item.key for item in found(*paths, **how)]


def test_a_folder_is_walked_in_natural_order_files_before_folders(place):
    touch("in/img10.png", "in/img2.png", "in/B.png", "in/a/z.png", "in/a10/x.png", "in/a9/x.png",
          "in/a/sub/y.png")  # fmt: skip
    assert keys("in") == [
        "0/B.png",
        "0/img2.png",
        "0/img10.png",
        "0/a/z.png",
        "0/a/sub/y.png",
        "0/a9/x.png",
        "0/a10/x.png",
    ]


def test_only_pictures_of_a_folder_are_taken_whatever_the_case_of_their_ending(place):
    touch("in/a.PNG", "in/b.txt", "in/c.jpeg", "in/d", "in/e.onnx", "in/f.TIFF")
    assert keys("in") == ["0/a.PNG", "0/c.jpeg", "0/f.TIFF"]


def test_what_is_hidden_is_left_out(place):
    touch("in/.a.png", "in/.b/c.png", "in/d.png", "in/._d.png")
    assert keys("in") == ["0/d.png"]
    assert keys("in/**") == ["0/d.png"]
    assert keys("in/.*.png") == ["0/._d.png", "0/.a.png"]


def test_sub_folders_are_left_out_on_demand(place):
    touch("in/a.png", "in/sub/b.png")
    assert keys("in", recursive=False) == ["0/a.png"]


def test_items_say_their_name_group_and_source(place):
    touch("in/a.b.png", "in/sub/deep/c.jpg")
    first, second = found("in")
    assert (first.name, first.group, first.source) == ("a.b", "", Path("in/a.b.png"))
    assert (second.name, second.group) == ("sub/deep/c", "sub/deep")


def test_the_output_folder_is_not_read_back(place):
    touch("in/a.png", "in/out/b.png", "in/output/c.png", "in/sub/out/d.png")
    expected = ["0/a.png", "0/output/c.png", "0/sub/out/d.png"]
    assert keys("in", out="in/out") == expected
    assert keys("in/**/*.png", out="in/out") == expected
    os.symlink("in", "link")
    assert keys("in", out="link/out") == expected


def test_inputs_below_the_output_folder_are_read_all_the_same(place):
    touch("work/in/a.png", "work/in/b.png")
    assert keys("work/in", out="work") == ["0/a.png", "0/b.png"]
    assert keys("work/in/*.png", out="work") == ["0/a.png", "0/b.png"]
    assert keys("work/in/a.png", out="work") == ["0/a.png"]


def test_naming_only_pictures_of_the_output_folder_is_refused(place):
    touch("out/a.png")
    with pytest.raises(GenloomError, match="lie in the output folder"):
        found("out/a.png", out="out")
    with pytest.raises(GenloomError, match="lie in the output folder"):
        found("out/*.png", out="out")


def test_a_file_that_is_named_is_taken_whatever_it_is(place):
    touch("in/a.txt", "in/.b.png")
    assert keys("in/a.txt", "in/.b.png") == ["0/a.txt", "0/.b.png"]


def test_files_of_one_folder_share_a_root_as_if_the_shell_had_not_split_them(place):
    touch("in/a.png", "in/b.png", "other/c.png")
    items = found("in/a.png", "other/c.png", "in/b.png")
    assert [item.key for item in items] == ["0/a.png", "0/b.png", "1/c.png"]
    assert [item.name for item in items] == ["in/a", "in/b", "other/c"]


def test_a_picture_that_is_named_twice_is_taken_once(place):
    touch("in/a.png", "in/b.png", "in/sub/c.png")
    assert keys("in", "in/a.png") == ["0/a.png", "0/b.png", "0/sub/c.png"]
    assert keys("in/a.png", "in/a.png", "./in/a.png") == ["0/a.png"]
    assert keys("in/a.png", place / "in/a.png") == ["0/a.png"]
    assert keys("in", "in/sub") == ["0/a.png", "0/b.png", "0/sub/c.png"]
    assert keys("in/**/**/*.png") == ["0/a.png", "0/b.png", "0/sub/c.png"]
    os.symlink("in", "link")
    assert len(keys("in", "link")) == 3


def test_two_links_to_one_file_are_two_pictures(place):
    touch("in/a.png")
    os.symlink("a.png", "in/b.png")
    assert keys("in") == ["0/a.png", "0/b.png"]


def test_results_of_several_roots_are_kept_apart_by_name(place):
    touch("x/in/a.png", "y/in/a.png", "z/In/a.png", "in-2/a.png")
    items = found("x/in", "y/in", "in-2", "z/In")
    assert [item.key for item in items] == ["0/a.png", "1/a.png", "2/a.png", "3/a.png"]
    names = [item.name.casefold() for item in items]
    assert names == ["in/a", "in-3/a", "in-2/a", "in-4/a"]


def test_a_hidden_root_keeps_its_dot(place):
    touch(".in/a.png", "in/a.png")
    assert [item.group for item in found(".in", "in")] == [".in", "in"]


def test_globs_match_below_their_fixed_part(place):
    touch("in/a1.png", "in/a2.jpg", "in/b.png", "in/s/a10.png", "in/s/t/a3.png", "in/s/t/n.txt")
    assert keys("in/a*") == ["0/a1.png", "0/a2.jpg"]
    assert keys("in/a[0-9].png") == ["0/a1.png"]
    assert keys("in/?.png") == ["0/b.png"]
    assert keys("in/*/a*.png") == ["0/s/a10.png"]
    assert keys("in/**/a*.png") == ["0/a1.png", "0/s/a10.png", "0/s/t/a3.png"]
    assert keys("in/**") == ["0/a1.png", "0/a2.jpg", "0/b.png", "0/s/a10.png", "0/s/t/a3.png"]
    assert keys("**/t/*") == ["0/in/s/t/a3.png"]
    assert keys(f"{place}/in/*.jpg") == ["0/a2.jpg"]


def test_a_name_that_looks_like_a_glob_is_taken_as_it_is_when_it_exists(place):
    touch("in/a[1].png", "in/a1.png")
    assert keys("in/a[1].png") == ["0/a[1].png"]


def test_a_glob_that_matches_nothing_is_told(place):
    touch("in/a.txt", "in/sub/b.png")
    with pytest.raises(GenloomError, match=r"no pictures match 'in/\*\.png'$"):
        found("in/*.png")
    with pytest.raises(GenloomError, match=r"what is in them is 'in/s\*/\*\*'"):
        found("in/s*")
    with pytest.raises(GenloomError, match=r"not a pattern for files|no pictures match"):
        found("in/a**b")


def test_an_input_that_is_not_there_is_told_with_the_nearest_name(place):
    touch("photos/beach.png")
    with pytest.raises(GenloomError, match=r"'photso'. Did you mean 'photos'\?"):
        found("photso")
    with pytest.raises(GenloomError, match=r"'photos/beech.png'. Did you mean 'beach.png'\?"):
        found("photos/beech.png")
    with pytest.raises(GenloomError, match=r"there is no file or folder 'photso'. Did you mean"):
        found("photso/deep/beach.png")


def test_pictures_that_differ_only_in_their_ending_are_flagged(place):
    touch("in/a.png", "in/A.jpg", "in/b.png", "in/sub/b.png")
    twins = {item.key: item.twin for item in found("in")}
    assert twins == {"0/A.jpg": True, "0/a.png": True, "0/b.png": False, "0/sub/b.png": False}
    assert [item.twin for item in found("in/a.png", "in/A.jpg")] == [True, True]
    assert [item.twin for item in found("in/a.png")] == [False]


def test_links_that_lead_round_in_circles_do_not_hang(place):
    touch("in/a.png", "in/sub/b.png")
    for name in ("one", "two", "three"):
        os.symlink("..", f"in/sub/{name}")
    assert keys("in") == ["0/a.png", "0/sub/b.png"]
    assert keys("in/**/*.png") == ["0/a.png", "0/sub/b.png"]


def test_a_name_has_one_key_in_every_unicode_form(place):
    decomposed = unicodedata.normalize("NFD", "größe")
    assert decomposed != "größe"
    touch(f"in/{decomposed}.png")
    (item,) = found("in")
    assert (item.key, item.name) == ("0/größe.png", "größe")
    assert item.source.exists()


def test_names_that_are_one_when_normalised_are_told_apart(place):
    touch(f"in/{unicodedata.normalize('NFD', 'é')}.png", "in/é.png")
    if len(os.listdir("in")) == 1:
        pytest.skip("this file system normalises names")
    assert {item.key for item in found("in")} == {"0/é.png", "0/é~2.png"}


def test_a_name_that_is_no_text_can_be_a_key(place):
    try:
        touch(os.fsdecode(b"in/\xff\xfe.png"))
    except OSError:
        pytest.skip("this file system takes only text")
    (item,) = found("in")
    assert FakeRun().random(item).randint(9) >= 0
    assert item.source.exists()


def test_a_folder_that_cannot_be_entered_becomes_a_failure(place, monkeypatch):
    touch("in/a.png", "in/closed/b.png")
    scandir = os.scandir

    def guarded(path):
        if str(path).endswith("closed"):
            raise PermissionError(13, "Permission denied", str(path))
        return scandir(path)

    monkeypatch.setattr(os, "scandir", guarded)
    *_, closed = found("in")
    assert closed.key == "0/closed"
    with pytest.raises(ImageError, match="the folder cannot be read"):
        Load()(Batch.nothing([closed]), FakeRun())


def test_nothing_named_is_nothing_found():
    assert found() == []


def test_the_cost_of_a_picture_is_what_its_pixels_take(place):
    Image.new("RGB", (7, 5)).save("a.png")
    (item,) = found("a.png")
    assert Load().cost(item) == 7 * 5 * 3
    touch("bad.png")
    assert Load().cost(found("bad.png")[0]) == 0
    assert Load().cost(Item(key="k", name="n")) == 0


def test_a_picture_is_loaded_with_all_that_its_file_said(place):
    pixels = np.arange(4 * 6 * 4, dtype=np.uint8).reshape(4, 6, 4)
    Image.fromarray(pixels).save("a.png", dpi=(300, 300))
    batch = Load()(Batch.nothing(found("a.png")), FakeRun())
    np.testing.assert_array_equal(batch.pixels[0], pixels[..., :3])
    (item,) = batch.items
    np.testing.assert_array_equal(item.alpha, pixels[..., 3])
    assert (item.info.format, item.info.bits) == ("PNG", 8)


def test_an_item_without_a_file_cannot_be_loaded():
    with pytest.raises(ImageError, match="no file"):
        Load()(Batch.nothing([Item(key="k", name="n")]), FakeRun())


def test_a_tree_is_mirrored_end_to_end(place, catalog):
    for name in ("in/a.png", "in/sub/b.c.png", "in/sub/b.d.jpg"):
        Path(name).parent.mkdir(parents=True, exist_ok=True)
        Image.new("RGB", (4, 4)).save(name)
    Path("p.yaml").write_text("genloom: 1\nstages: [load, save]\n")
    report = load_pipeline("p.yaml", catalog=catalog).run("in", "in/out")
    assert (report.outcome, report.total) == ("done", 3)
    again = load_pipeline("p.yaml", catalog=catalog).run("in", "in/out")
    assert (again.total, again.skipped) == (3, 3)
    written = {p.relative_to("in/out").as_posix() for p in Path("in/out").rglob("*.[pj]*")}
    assert {"a.png", "sub/b.c.png", "sub/b.d.jpg"} <= written


@given(st.lists(st.integers(0, 10**6), min_size=2, max_size=6))
def test_numbers_in_names_are_ordered_as_numbers(numbers):
    names = [f"img{number}.png" for number in numbers]
    in_order = sorted(names, key=natural)
    assert in_order == [f"img{number}.png" for number in sorted(numbers)]


@given(st.text(), st.text())
def test_the_natural_order_of_any_two_names_is_strict(one, other):
    assert (natural(one) == natural(other)) == (one == other)
    assert natural(one) <= natural(other) or natural(other) <= natural(one)
