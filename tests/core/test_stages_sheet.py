"""`grid` and `compare`."""

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image

from genloom import load_pipeline
from genloom.errors import StageError
from genloom.stages.compare import Compare
from genloom.stages.geometry import Crop, Resize
from genloom.stages.sheet import Grid, flattened
from genloom.testing import FakeRun, check_stage, image_batch
from genloom.types import Batch, ImageInfo, Item, as_float


def flat(level, size=(4, 4), channels=3, **item):
    """One picture of one level."""
    pixels = np.full((1, *size, channels), level, np.float32)
    return Batch.images([Item(key="k", name="n", **item)], pixels)


def sheet(members, **options):
    stage = Grid(**options)
    seen = [stage(member, FakeRun()) for member in members]
    return stage.gather(seen, Item(key="grid", name="grid"), FakeRun())


def test_pictures_stand_row_by_row_with_gaps_between_and_around():
    made = sheet([flat(n / 10) for n in range(5)], columns=3, gap=2).pixels[0, :, :, 0]
    assert made.shape == (2 * 4 + 3 * 2, 3 * 4 + 4 * 2)
    for n in range(5):
        row, column = divmod(n, 3)
        top, left = 2 + row * 6, 2 + column * 6
        assert (made[top : top + 4, left : left + 4] == np.float32(n / 10)).all()
    assert (made[:2] == 1).all()
    assert (made[8:, 14:] == 1).all()
    assert (made[:, 6:8] == 1).all()


def test_without_a_gap_pictures_touch():
    made = sheet([flat(0.25), flat(0.5)], gap=0).pixels[0, :, :, 0]
    np.testing.assert_array_equal(made, np.repeat(np.float32([[0.25, 0.5]]), 4, 1).repeat(4, 0))


def test_the_background_is_between_and_behind():
    made = sheet([flat(1.0, (4, 4)), flat(1.0, (2, 2))], gap=1, background=0.25).pixels[0, :, :, 0]
    assert made[0, 0] == made[1, 6] == 0.25
    assert made[2:4, 7:9].min() == 1  # the small one is in the middle of its cell


@pytest.mark.parametrize(
    ("count", "size", "columns"),
    [(1, (4, 4), 1), (9, (4, 4), 3), (10, (4, 4), 4), (2, (4, 4), 2), (16, (4, 16), 2),
     (16, (16, 4), 8)],
)  # fmt: skip
def test_sheets_are_about_square_unless_said(count, size, columns):
    made = sheet([flat(0.5, size)] * count, gap=0)
    assert made.size[1] == columns * size[1]
    assert made.size[0] == -(-count // columns) * size[0]


def test_fewer_pictures_than_columns_leave_no_empty_columns():
    assert sheet([flat(0.5)] * 2, columns=10, gap=0).size == (4, 8)


def test_pictures_larger_than_their_cell_are_shrunk_and_smaller_ones_are_not_enlarged():
    made = sheet([flat(0.5, (40, 20)), flat(0.25, (3, 5))], cell=10, gap=0, columns=2)
    assert made.size == (10, 10)
    assert (made.pixels[0, :, :5] == np.float32(0.5)).all()


def test_grey_beside_colour_becomes_colour_and_grey_alone_stays_grey():
    colour = flat(0.5)
    colour.values[..., 0] = 0.75
    mixed = sheet([flat(0.25, channels=1), colour], gap=0).pixels[0]
    assert mixed.shape == (4, 8, 3)
    assert (mixed[:, :4] == 0.25).all()
    assert (mixed[0, 4] == np.float32([0.75, 0.5, 0.5])).all()
    assert sheet([flat(0.25, channels=1)] * 2).pixels.shape[3] == 1


@pytest.mark.parametrize("dtype", [np.uint8, np.uint16, np.float32])
def test_pictures_of_any_type_come_out_as_the_levels_they_had(dtype):
    batch = image_batch(1, size=(8, 8), dtype=dtype)
    made = sheet([batch], gap=0)
    np.testing.assert_allclose(made.pixels, as_float(batch.pixels), atol=1e-6)


def test_what_is_transparent_shows_the_background():
    alpha = np.zeros((4, 4), np.uint8)
    alpha[:, :2] = 255
    member = flat(0.0, alpha=alpha)
    made = sheet([member], gap=0, background=0.5)
    assert (made.pixels[0, :, :2] == 0).all()
    assert (made.pixels[0, :, 2:] == 0.5).all()
    assert made.items[0].alpha is None
    assert (flattened(member, 1.0)[:, 2:] == 1).all()


def test_values_out_of_range_do_not_shine_into_the_sheet():
    made = sheet([flat(1.5), flat(-0.5)], gap=0).pixels
    assert (made.min(), made.max()) == (0, 1)


def test_a_sheet_keeps_the_depth_and_the_profile_that_its_pictures_share():
    deep, other = ImageInfo(bits=16, icc=b"p3"), ImageInfo(bits=8, icc=b"p3")
    (item,) = sheet([flat(0.5, info=deep), flat(0.5, info=other)]).items
    assert (item.info.bits, item.info.icc, item.notes) == (16, b"p3", ())
    (item,) = sheet([flat(0.5, info=deep), flat(0.5, info=ImageInfo())]).items
    assert item.info.icc is None
    assert item.notes == ("its pictures have several colour profiles; the sheet has none",)


@given(st.integers(1, 12), st.integers(1, 5), st.integers(0, 3))
def test_every_picture_is_on_the_sheet_once(count, columns, gap):
    levels = [(n + 1) / 20 for n in range(count)]
    made = sheet([flat(level) for level in levels], columns=columns, gap=gap, background=0.0)
    seen, times = np.unique(made.pixels[0, :, :, 0], return_counts=True)
    found = {round(float(level) * 20): int(time) for level, time in zip(seen, times, strict=True)}
    found.pop(0, None)
    assert found == {n + 1: 16 for n in range(count)}


def test_grid_keeps_the_contract_of_a_stage():
    check_stage(Grid, cell=16, gap=1)


@pytest.fixture
def source(tmp_path):
    """A picture file, and the batch that loading it would give."""

    def source(pixels, alpha=None, dtype=None):
        path = tmp_path / "source.png"
        Image.fromarray(pixels if alpha is None else np.dstack([pixels, alpha])).save(path)
        shown = pixels if pixels.ndim == 3 else pixels[..., None]
        items = [Item(key="0/source.png", name="source", source=path, alpha=alpha)]
        return Batch.images(items, shown[None])

    return source


def picture(level, channels=3, size=(4, 6)):
    shape = size if channels == 1 else (*size, channels)
    return np.full(shape, level, np.uint8)


def compare(before, after, **options):
    return Compare(**options)(before.with_pixels(after), FakeRun()).pixels[0]


def test_before_is_on_the_left_and_after_on_the_right(source):
    made = compare(source(picture(51)), np.full((1, 4, 6, 3), 0.6, np.float32), gap=2)
    assert made.shape == (4, 14, 3)
    np.testing.assert_allclose(made[:, :6], 0.2, atol=1e-6)
    assert (made[:, 6:8] == 1).all()
    np.testing.assert_allclose(made[:, 8:], 0.6, atol=1e-6)


def test_before_is_above_after_when_stacked(source):
    made = compare(source(picture(51)), np.full((1, 4, 6, 3), 0.6, np.float32), layout="stacked",
                   gap=1)  # fmt: skip
    assert made.shape == (9, 6, 3)
    np.testing.assert_allclose(made[:4], 0.2, atol=1e-6)
    np.testing.assert_allclose(made[5:], 0.6, atol=1e-6)


@pytest.mark.parametrize("width", [1, 2, 3, 6, 7])
def test_a_split_picture_keeps_its_size(source, width):
    before = source(picture(0, size=(4, width)))
    made = compare(before, np.full((1, 4, width, 3), 0.5, np.float32), layout="split")
    assert made.shape == (4, width, 3)
    if width > 3:
        assert (made[:, 0] == 0).all()
        assert (made[:, -1] == np.float32(0.5)).all()
        assert (made[:, width // 2] == 1).all()


def test_before_is_brought_to_the_size_of_after(source):
    made = compare(source(picture(51)), np.full((1, 8, 12, 3), 0.6, np.float32), gap=0)
    assert made.shape == (8, 24, 3)
    np.testing.assert_allclose(made[:, :12], 0.2, atol=1e-6)


@pytest.mark.parametrize("anchor", ["left", "bottom-right", "centre"])
def test_before_is_cropped_as_after_was(source, anchor):
    pixels = np.random.default_rng(0).integers(0, 256, (9, 13, 3), np.uint8)
    batch = source(pixels)
    for stage in (
        Crop(width=11, height=7, anchor=anchor),
        Crop(width=5, height=6, anchor=anchor),
    ):
        batch = stage(batch, FakeRun())
    made = Compare(gap=0)(batch, FakeRun()).pixels[0]
    assert made.shape == (6, 10, 3)
    np.testing.assert_allclose(made[:, :5], made[:, 5:], atol=1e-6)


def test_before_is_cropped_as_after_was_when_it_was_resized_in_between(source):
    pixels = np.repeat(np.repeat(np.arange(48, dtype=np.uint8).reshape(6, 8), 8, 0), 8, 1)
    batch = source(np.dstack([pixels * 5] * 3))
    for stage in (Resize(scale=0.5, filter="nearest"), Crop(width=8, height=8, anchor="right")):
        batch = stage(batch, FakeRun())
    made = Compare(layout="stacked", gap=0)(batch, FakeRun()).pixels[0]
    assert made.shape == (16, 8, 3)
    assert np.abs(made[:8] - made[8:]).max() < 0.1


def test_grey_beside_colour_is_shown_as_colour(source):
    made = compare(source(picture(51, channels=1)), np.full((1, 4, 6, 3), 0.6, np.float32))
    assert made.shape[2] == 3
    made = compare(source(picture(51)), np.full((1, 4, 6, 1), 0.6, np.float32))
    assert made.shape[2] == 3
    made = compare(source(picture(51, channels=1)), np.full((1, 4, 6, 1), 0.6, np.float32))
    assert made.shape[2] == 1


def test_16_bit_pictures_are_compared_at_their_depth(tmp_path):
    path = tmp_path / "deep.png"
    deep = np.arange(24, dtype=np.uint16).reshape(4, 6) * 2000 + 1
    Image.fromarray(deep).save(path)
    item = Item(key="k", name="n", source=path, info=ImageInfo(bits=16, mode="grey"))
    made = Compare(gap=0)(Batch.images([item], deep[None, ..., None]), FakeRun())
    np.testing.assert_array_equal(made.pixels[0, :, :6], made.pixels[0, :, 6:])
    np.testing.assert_allclose(made.pixels[0, :, :6, 0] * 65535, deep, atol=0.01)
    assert made.items[0].info.bits == 16


def test_transparent_parts_are_white_on_both_sides(source):
    alpha = np.zeros((4, 6), np.uint8)
    before = source(picture(0), alpha)
    made = Compare(gap=0)(before, FakeRun())
    assert (made.pixels == 1).all()
    assert made.items[0].alpha is None


def test_what_no_longer_holds_is_not_written_into_the_sheet(source):
    batch = source(picture(5))
    info = ImageInfo(exif=b"Exif", dpi=(300, 300), mode="palette", icc=b"p3", bits=32)
    batch = batch.with_items([replace(batch.items[0], info=info)])
    (item,) = Compare()(batch, FakeRun()).items
    assert item.info == ImageInfo(icc=b"p3", bits=16)


@pytest.fixture
def busy(source):
    """A picture of 40×60 that is flat but for a busy part of 8×8 at row 20, column 12."""
    pixels = np.full((40, 60, 3), 128, np.uint8)
    pixels[20:28, 12:20] = np.random.default_rng(0).integers(0, 256, (8, 8, 3))
    return source(pixels)


def test_the_part_with_the_most_detail_is_enlarged_below_both(busy):
    after = as_float(busy.pixels) * np.float32(0.5)
    made = compare(busy, after, zoom=3, crop=8, gap=2)
    assert made.shape == (40 + 2 + 24, 60 + 2 + 60, 3)
    strips = made[42:, :60], made[42:, 62:]
    for strip, side in zip(strips, (as_float(busy.pixels)[0], after[0]), strict=True):
        np.testing.assert_array_equal(strip[::3, ::3], strip[2::3, 2::3])
        found = np.lib.stride_tricks.sliding_window_view(side, (8, 20, 3)).reshape(-1, 8, 20, 3)
        assert (found == strip[::3, ::3]).all((1, 2, 3)).any()
    assert np.ptp(strips[0]) > 0.9
    assert not np.array_equal(made[:40, :60], as_float(busy.pixels)[0])  # framed


@pytest.mark.parametrize(
    ("layout", "shape"),
    [("side", (40 + 4 + 12, 124)), ("stacked", (84 + 4 + 28, 60)), ("split", (40 + 4 + 12, 60))],
)
def test_every_layout_has_room_for_what_is_enlarged(busy, layout, shape):
    made = compare(busy, as_float(busy.pixels), zoom=3, crop=4, layout=layout)
    assert made.shape == (*shape, 3)


@pytest.mark.parametrize("at", [(0, 0), (30, 20), (59, 39), (1000, 1000)])
def test_the_part_that_is_named_is_enlarged_and_lies_within_the_picture(busy, at):
    after = as_float(busy.pixels)
    made = compare(busy, after, zoom=2, crop=10, gap=0, at=at)
    left, top = min(max(0, at[0] - 15), 30), min(max(0, at[1] - 5), 30)
    np.testing.assert_array_equal(made[40::2, 60::2], after[0, top : top + 10, left : left + 30])


def test_a_picture_narrower_than_the_enlargement_gets_a_wider_sheet(source):
    made = compare(source(picture(5)), np.zeros((1, 4, 6, 3), np.float32), zoom=8, gap=0)
    assert made.shape == (4 + 32, 16, 3)


def test_samples_have_no_before():
    with pytest.raises(StageError, match="there is no before to compare with"):
        Compare()(image_batch(1), FakeRun())


@pytest.fixture
def go(catalog, tmp_path):
    """Runs stages over 7 pictures in two folders; gives results by name."""
    for n in range(7):
        path = tmp_path / f"in/{'ab'[n // 4]}/{n}.png"
        path.parent.mkdir(parents=True, exist_ok=True)
        Image.fromarray(picture(30 * n, channels=1 + 2 * (n % 2))).save(path)

    def go(*stages):
        lines = "".join(f"  - {stage}\n" for stage in ("load", *stages, "save"))
        (tmp_path / "p.yaml").write_text(f"genloom: 1\nstages:\n{lines}")
        report = load_pipeline(tmp_path / "p.yaml", catalog=catalog).run(
            tmp_path / "in", tmp_path / "out"
        )
        assert report.failures == []
        paths = [p for p in (tmp_path / "out").rglob("*.png") if ".genloom" not in p.parts]
        out = tmp_path / "out"
        return {p.relative_to(out).as_posix(): np.asarray(Image.open(p)) for p in sorted(paths)}

    return go


def test_more_pictures_than_a_sheet_holds_begin_another_end_to_end(go):
    results = go("grid: {max_items: 3, columns: 3, gap: 0}")
    assert {name: made.shape for name, made in results.items()} == {
        "grid.png": (4, 18, 3),
        "grid-002.png": (4, 18, 3),
        "grid-003.png": (4, 6),
    }
    assert results["grid-003.png"][0, 0] == 180


def test_each_folder_gets_its_sheet_end_to_end(go):
    assert list(go("grid: {group: folder}")) == ["a/grid.png", "b/grid.png"]


def test_each_picture_is_compared_with_its_own_source_end_to_end(go):
    results = go("resize: {scale: 2}", "compare: {gap: 0}")
    assert len(results) == 7
    assert list(results)[1] == "a/1.png"
    assert results["a/1.png"].shape == (8, 24, 3)
    assert (results["a/1.png"] == 30).all()
    assert (results["b/6.png"] == 180).all()
    assert Path("a/0.png").as_posix() in results
