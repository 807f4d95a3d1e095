"""`save`: formats, endings, names."""

import contextlib
import json
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from making import plugin_with
from PIL import Image

from genloom import Kind, Run, Stage, imaging, load_pipeline
from genloom.errors import ImageError, InvalidFile, OutputError
from genloom.stages.save import Save
from genloom.testing import FakeRun, check_stage, image_batch
from genloom.types import Batch, Item

AVIF = pytest.mark.skipif(".avif" not in imaging.WRITABLE, reason="Pillow has no AVIF")
HEIC = pytest.mark.skipif(not imaging.can_write(".heic"), reason="needs pillow-heif")


def item(name="photo", source=None):
    return Item(key=f"0/{name}", name=name, source=source and Path(source))


@pytest.mark.parametrize(
    ("format", "source", "ending"),
    [
        ("same", "a/b.JPG", ".JPG"),
        ("same", "a/b.tif", ".tif"),
        ("same", "a/b.gif", ".gif"),
        ("same", "a/b.jfif", ".jfif"),
        ("same", "a/b.pgm", ".pgm"),
        ("same", "a/b.pbm", ".png"),
        ("same", "a/b", ".png"),
        ("same", None, ".png"),
        ("png", "a/b.jpg", ".png"),
        ("jpg", None, ".jpg"),
        ("webp", "b.png", ".webp"),
        ("same", "a/b.mpo", ".jpg"),
        ("same", "a/b.MPO", ".jpg"),
        pytest.param("avif", "b.png", ".avif", marks=AVIF),
        pytest.param("heic", "b.png", ".heic", marks=HEIC),
        pytest.param("same", "b.HEIC", ".HEIC", marks=HEIC),
        pytest.param("same", "b.hif", ".hif", marks=HEIC),
        ("tiff", "b.tif", ".tiff"),
        ("bmp", "b.png", ".bmp"),
    ],
)
def test_the_ending_is_that_of_the_format_or_of_the_source(format, source, ending):
    assert Save(format=format).ending(item(source=source)) == ending


@pytest.mark.parametrize(
    "format",
    [
        *("png", "jpg", "webp", "tiff", "bmp"),
        pytest.param("avif", marks=AVIF),
        pytest.param("heic", marks=HEIC),
    ],
)
def test_each_format_is_what_is_written(format):
    run = FakeRun()
    batch = image_batch(2)
    result = Save(format=format, quality=100)(batch, run)
    assert [item.key for item in result.items] == [item.key for item in batch.items]
    assert len(run.files) == 2
    with Image.open(run.files[0]) as image:
        assert image.format == {"jpg": "JPEG", "heic": "HEIF"}.get(format, format.upper())
        assert np.abs(np.asarray(image).astype(int) - batch.pixels[0]).max() < 24


def test_avif_is_refused_at_once_where_pillow_has_it_not(monkeypatch):
    monkeypatch.delitem(imaging.WRITABLE, ".avif", raising=False)
    with pytest.raises(
        ValueError, match="this Pillow cannot write avif; the one that pip brings can"
    ):
        Save(format="avif")


def test_heic_is_refused_at_once_where_nothing_writes_it(monkeypatch):
    monkeypatch.delitem(imaging.WRITABLE, ".heic", raising=False)
    with pytest.raises(ValueError, match="pip install pillow-heif"):
        Save(format="heic")


@AVIF
@pytest.mark.parametrize(("height", "width"), [(1, 2**15), (2**15, 1)])
def test_an_avif_is_as_large_as_can_be_read_again(height, width):
    run = FakeRun()
    Save(format="avif")(Batch.images([item()], np.zeros((1, height, width, 3), np.uint8)), run)
    assert imaging.read(run.files[0]).pixels.shape == (height, width, 3)
    larger = np.zeros((1, height + (height > 1), width + (width > 1), 3), np.uint8)
    with pytest.raises(ImageError, match=f"at most {2**15} pixels a side.*got"):
        Save(format="avif")(Batch.images([item()], larger), run)


@pytest.mark.parametrize("bad", [np.nan, np.inf])
def test_pixels_that_are_no_finite_numbers_are_not_saved(bad):
    batch, run = image_batch(1, dtype=np.float32), FakeRun()
    batch.values[0, 1, 2] = bad
    with pytest.raises(
        ImageError, match="cannot be encoded: not all pixels are finite numbers: 3 of"
    ):
        Save(format="png")(batch, run)
    assert run.files == []


def test_a_picture_that_cannot_be_written_is_told_without_its_temporary_name(tmp_path):
    batch = Batch.images([item()], np.zeros((1, 1, 20000, 3), np.uint8))
    with pytest.raises(ImageError) as caught:
        Save(format="webp")(batch, FakeRun(folder=tmp_path))
    assert str(caught.value).startswith("cannot be encoded: ")
    assert str(tmp_path) not in str(caught.value)


def test_in_a_run_only_the_picture_with_such_pixels_fails(catalog, tmp_path):
    @dataclass(frozen=True, kw_only=True)
    class Spoil(Stage):
        """Divide by zero in one picture."""

        name, takes, gives = "spoil", Kind.IMAGE, Kind.IMAGE

        def __call__(self, batch: Batch, run: Run) -> Batch:
            bad = [np.nan if item.name == "p1" else 0.5 for item in batch.items]
            return batch.with_data(batch.data + np.array(bad, np.float32).reshape(-1, 1, 1, 1))

    assert catalog.register(plugin_with(stages=[Spoil]), "spoils").error == ""
    for index in range(3):
        Image.new("RGB", (8, 8)).save(tmp_path / f"p{index}.png")
    (tmp_path / "p.yaml").write_text("genloom: 1\nstages: [load, spoil, save]\n")
    loaded = load_pipeline(tmp_path / "p.yaml", catalog=catalog)
    report = loaded.run(str(tmp_path / "p*.png"), tmp_path / "out")
    (failure,) = report.failures
    assert (report.done, failure.item.name, failure.stage) == (2, "p1", "save")
    assert (
        failure.reason == "cannot be encoded: not all pixels are finite numbers: 192 of 192 are not"
    )


def test_what_is_saved_is_handed_on_unchanged():
    batch = image_batch(1, dtype=np.float32)
    assert Save()(batch, FakeRun()).pixels is batch.pixels


def test_less_quality_makes_smaller_files():
    sizes = []
    for quality in (10, 60, 95):
        run = FakeRun()
        Save(format="jpg", quality=quality)(image_batch(1, size=(64, 64)), run)
        sizes.append(run.files[0].stat().st_size)
    assert sizes == sorted(sizes)
    assert sizes[0] < sizes[2] / 2


def test_what_a_format_cannot_keep_is_noted_on_the_item():
    batch = image_batch(1, dtype=np.uint16, alpha=True)
    (done,) = Save(format="jpg")(batch, FakeRun()).items
    assert len(done.notes) >= 2


@pytest.mark.parametrize(
    ("pattern", "names"),
    [
        ("{folder}/{stem}", ["top.png", "sub/deep/low.png"]),
        ("{stem}", ["top.png", "low.png"]),
        ("all/{name}", ["all/top.png", "all/sub/deep/low.png"]),
        ("{folder}/small/{stem}-x", ["small/top-x.png", "sub/deep/small/low-x.png"]),
        ("{{{stem}}}", ["{top}.png", "{low}.png"]),
    ],
)
def test_the_pattern_says_where_results_go(tmp_path, pattern, names):
    run = FakeRun(folder=tmp_path)
    for name in ("top", "sub/deep/low"):
        Save(to=pattern)(Batch.images([item(name)], np.zeros((1, 2, 2, 3), np.uint8)), run)
    assert [path.relative_to(tmp_path).as_posix() for path in run.files] == names


@pytest.mark.parametrize(
    "pattern",
    ["../{stem}", "a/../../{stem}", "{folder}/..", "/abs/{stem}", "\\\\host\\{stem}", "..\\{stem}",
     "C:/{stem}", "C:{stem}", ""],
)  # fmt: skip
def test_a_pattern_that_leads_out_is_refused(pattern):
    with pytest.raises(ValueError, match="leads out of the output folder"):
        Save(to=pattern)


@pytest.mark.parametrize(
    "pattern",
    ["{name.__class__}", "{stem[0]}", "{stem!r}", "{stem:>999999999}", "{}", "{0}", "{other}"],
)
def test_a_pattern_holds_nothing_but_its_three_fields(pattern):
    with pytest.raises(ValueError, match=r"may hold only \{folder\}, \{stem\}, \{name\}"):
        Save(to=pattern)


@pytest.mark.parametrize("pattern", ["{stem", "stem}", "{stem:{folder}"])
def test_a_broken_pattern_is_refused(pattern):
    with pytest.raises(ValueError, match="pattern"):
        Save(to=pattern)


@given(st.text(st.sampled_from("a/\\.{}:~stem"), max_size=12), st.sampled_from(["p", "a/b/p"]))
def test_no_pattern_writes_outside(tmp_path_factory, pattern, name):
    out = tmp_path_factory.mktemp("out")
    try:
        stage = Save(to=pattern)
    except ValueError:
        return
    run = FakeRun(folder=out)
    with contextlib.suppress(OutputError):
        stage(Batch.images([item(name)], np.zeros((1, 2, 2, 1), np.uint8)), run)
    for path in run.files:
        assert path.resolve().is_relative_to(out.resolve())


def test_save_keeps_the_contract_of_a_stage():
    check_stage(Save, format="png")


@pytest.fixture
def go(catalog, tmp_path):
    """Runs `load, save` with options over what the folder `in` holds."""
    (tmp_path / "in").mkdir()

    def go(options="{}"):
        path = tmp_path / "p.yaml"
        path.write_text(f"genloom: 1\nstages:\n- load\n- save: {options}\n")
        report = load_pipeline(path, catalog=catalog).run(tmp_path / "in", tmp_path / "out")
        assert report.failures == []
        return report

    return go


def mode_of(path):
    with Image.open(path) as image:
        return image.mode


def test_a_palette_is_kept_or_given_up_on_demand(go, tmp_path):
    Image.new("RGB", (8, 8), (10, 200, 30)).quantize(4).save(tmp_path / "in/a.png")
    go()
    assert mode_of(tmp_path / "out/a.png") == "P"
    go("{palette: false}")
    assert mode_of(tmp_path / "out/a.png") == "RGB"


def test_a_lossless_webp_stays_lossless_unless_a_format_is_asked_for(go, tmp_path):
    pixels = np.random.default_rng(0).integers(0, 256, (8, 8, 3), np.uint8)
    Image.fromarray(pixels).save(tmp_path / "in/a.webp", lossless=True)
    go()
    np.testing.assert_array_equal(np.asarray(Image.open(tmp_path / "out/a.webp")), pixels)
    go("{format: webp, quality: 50}")
    assert (np.asarray(Image.open(tmp_path / "out/a.webp")) != pixels).any()


def test_the_first_picture_of_an_mpo_becomes_a_jpeg_and_the_rest_is_noted(go, tmp_path):
    first, second = (Image.new("RGB", (16, 8), name) for name in ("red", "blue"))
    first.save(tmp_path / "in/a.mpo", "MPO", save_all=True, append_images=[second])
    report = go()
    with Image.open(tmp_path / "out/a.jpg") as image:
        assert (image.format, image.getpixel((3, 3))[0] > 200) == ("JPEG", True)
    assert "only the first frame was read; 1 left out" in str(report.notes)


def test_modes_and_depths_come_back_as_they_were(go, tmp_path):
    deep = np.arange(64, dtype=np.uint16).reshape(8, 8) * 1000
    Image.fromarray(deep).save(tmp_path / "in/deep.png")
    Image.fromarray((deep // 256).astype(np.uint8)).save(tmp_path / "in/grey.png")
    Image.fromarray(np.dstack([deep // 256] * 4).astype(np.uint8)).save(tmp_path / "in/alpha.png")
    go()
    for name in ("deep", "grey", "alpha"):
        given, result = (np.asarray(Image.open(tmp_path / place / f"{name}.png"))
                         for place in ("in", "out"))  # fmt: skip
        assert given.dtype == result.dtype
        np.testing.assert_array_equal(given, result)


@pytest.mark.parametrize(
    "pattern",
    [".genloom/{stem}", "./.Genloom/{stem}", "{folder}/.genloom/{stem}", ".genloom\\tmp/{stem}"],
)
def test_nothing_is_written_into_the_folder_of_the_journal(go, pattern):
    with pytest.raises(InvalidFile, match=r"p.yaml:4:3: .* leads into the folder of the journal"):
        go(json.dumps({"to": pattern}))


def test_other_hidden_folders_are_no_concern(go, tmp_path):
    Image.new("L", (4, 4)).save(tmp_path / "in/a.png")
    go("{to: '.genloom-like/{stem}'}")
    assert (tmp_path / "out/.genloom-like/a.png").is_file()


def test_a_pattern_that_leads_out_is_refused_at_its_line(go):
    with pytest.raises(InvalidFile, match=r"p.yaml:4:3: the pattern '../\{stem\}' leads out"):
        go("{to: '../{stem}'}")
