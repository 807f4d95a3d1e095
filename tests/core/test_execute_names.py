"""Names of results: no two alike, none in the place of what is not ours."""

import unicodedata

import pytest
from PIL import Image
from running import pixels, results

from genloom.errors import OutputError


def test_a_foreign_file_is_never_overwritten_not_even_by_force(pipeline, photos, tmp_path):
    out = tmp_path / "out"
    (out / "one").mkdir(parents=True)
    (out / "one/p0.png").write_text("mine")
    report = pipeline("load", "invert", "save").run(photos, out, force=True)
    assert (report.done, report.failed) == (7, 1)
    assert "did not write" in report.failures[0].reason
    assert (out / "one/p0.png").read_text() == "mine"
    (out / "one/p0.png").unlink()
    assert pipeline("load", "invert", "save").run(photos, out).done == 1


def test_pictures_that_would_get_one_name_are_told_apart_and_it_is_said(pipeline, tmp_path):
    folder, out = tmp_path / "in", tmp_path / "out"
    folder.mkdir()
    for name, colour in (
        ("a.jpg", "red"),
        ("a.png", "green"),
        ("A.webp", "blue"),
        ("b.jpg", "red"),
    ):
        Image.new("RGB", (8, 8), colour).save(folder / name)
    report = pipeline("load", "save: {format: png}").run(folder, out)
    assert report.exit_code == 0
    assert set(results(out)) == {"a.jpg.png", "a.png", "A.webp.png", "b.png"}
    assert pixels(out / "a.png")[0, 0].tolist() == [0, 128, 0]
    assert sum(len(pictures) for pictures in report.notes.values()) == 2
    again = pipeline("load", "save: {format: png}").run(folder, out)
    assert again.skipped == 4


def test_names_that_differ_only_in_case_are_told_apart(pipeline, tmp_path):
    folder = tmp_path / "in"
    folder.mkdir()
    Image.new("RGB", (8, 8), "red").save(folder / "a.png")
    Image.new("RGB", (8, 8), "blue").save(folder / "A.png")
    if len(list(folder.iterdir())) < 2:
        pytest.skip("this file system ignores case")
    pipeline("load", "save").run(folder, tmp_path / "out")
    names = [name.casefold() for name in results(tmp_path / "out")]
    assert len(set(names)) == 2


def test_two_saves_of_one_chain_do_not_overwrite_each_other(pipeline, photos, tmp_path):
    chain = pipeline("load", "save", "invert", "save: {id: after, to: '{folder}/{stem}-inverted'}")
    chain.run(photos, tmp_path / "out")
    assert {"one/p0.png", "one/p0-inverted.png"} <= set(results(tmp_path / "out"))
    pipeline("load", "save", "invert", "save").run(photos, tmp_path / "same")
    assert len(results(tmp_path / "same")) == 16


def test_out_inside_input_is_not_read_back_in(pipeline, photos):
    out = photos / "results"
    pipeline("load", "invert", "save").run(photos, out)
    report = pipeline("load", "invert", "save").run(photos, out)
    assert (report.total, report.skipped) == (8, 8)


def test_out_that_is_the_input_is_refused(pipeline, photos):
    with pytest.raises(OutputError, match="is the input folder"):
        pipeline("load", "save").run(photos, photos)


def test_out_that_is_a_file_is_refused(pipeline, photos, tmp_path):
    (tmp_path / "out").write_text("x")
    with pytest.raises(OutputError, match="is a file"):
        pipeline("load", "save").run(photos, tmp_path / "out")


def test_results_never_leave_the_output_folder(pipeline, tmp_path):
    # `..` is refused when the pipeline is read; pictures at the top have no folder to be named by.
    folder = tmp_path / "in"
    folder.mkdir()
    Image.new("RGB", (4, 4)).save(folder / "top.png")
    report = pipeline("load", "save: {to: '{folder}'}").run(folder, tmp_path / "out")
    assert report.failed == 1
    assert "outside" in report.failures[0].reason


def test_names_that_other_systems_reserve_are_avoided_and_it_is_said(pipeline, tmp_path):
    folder = tmp_path / "in"
    folder.mkdir()
    for name in ("con.png", "a:b.png", "c\\d.png", "plain.png"):
        Image.new("RGB", (4, 4)).save(folder / name)
    report = pipeline("load", "save").run(folder, tmp_path / "out")
    assert set(results(tmp_path / "out")) == {"con_.png", "a_b.png", "c_d.png", "plain.png"}
    assert set(report.notes) == {
        "written as con_, because not every system takes 'con'",
        "written as a_b, because not every system takes 'a:b'",
        "written as c_d, because not every system takes 'c\\d'",
    }


def test_a_name_that_differs_is_said_with_what_is_in_the_way(pipeline, tmp_path):
    folder = tmp_path / "in"
    folder.mkdir()
    for name in ("x.pbm", "x.ppm", "X.ppm", unicodedata.normalize("NFD", "é.ppm"), "é.ppm"):
        Image.new("1" if name.endswith("pbm") else "RGB", (4, 4)).save(folder / name)
    if len(list(folder.iterdir())) < 5:
        pytest.skip("this file system takes some of the names for one")
    report = pipeline("load", "save").run(folder, tmp_path / "out")
    assert {note for note in report.notes if "because" in note} == {
        "written as x-2.ppm, because X.ppm is another picture's",
        "written as x.pbm.png, because its folder holds another picture named x",
        "named é~2, because another name differs only in its Unicode form",
    }


def test_a_second_result_of_one_picture_is_not_called_another_pictures(pipeline, photos, tmp_path):
    chain = pipeline("load", "save", "invert", "save: {id: after}")
    notes = chain.run(photos / "one/p0.png", tmp_path / "out").notes
    assert list(notes) == ["written as p0-2.png, because p0.png is another result of this picture"]
