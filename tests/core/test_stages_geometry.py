"""`resize` and `crop`."""

import itertools

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image

from genloom import load_pipeline
from genloom.errors import InvalidFile, StageError
from genloom.stages.geometry import Crop, Resize
from genloom.testing import FakeRun, check_stage, image_batch

DTYPES = [np.uint8, np.uint16, np.float32]
FILTERS = ["nearest", "bilinear", "bicubic", "lanczos", "area"]
SIDES = st.integers(1, 400)


@pytest.mark.parametrize(
    ("options", "size"),
    [
        ({"width": 10}, (5, 10)),
        ({"height": 10}, (10, 20)),
        ({"width": 10, "height": 10}, (10, 10)),
        ({"long_side": 10}, (5, 10)),
        ({"short_side": 10}, (10, 20)),
        ({"scale": 0.5}, (20, 40)),
        ({"scale": 2}, (80, 160)),
        ({"scale": 0.001}, (1, 1)),
        ({"long_side": 160, "enlarge": False}, (40, 80)),
        ({"scale": 2, "enlarge": False}, (40, 80)),
        ({"long_side": 40, "enlarge": False}, (20, 40)),
    ],
)
def test_each_way_of_saying_a_size_gives_it(options, size):
    stage = Resize(**options)
    assert stage.target(40, 80) == size
    result = stage(image_batch(2, size=(40, 80)), FakeRun())
    assert result.size == size
    assert len(result) == 2


WAYS = {
    "width": 8,
    "height": 8,
    "long_side": 8,
    "short_side": 8,
    "scale": 2.0,
}


CHOICES = [names for count in range(4) for names in itertools.combinations(WAYS, count)]


@pytest.mark.parametrize("names", CHOICES, ids="+".join)
def test_exactly_one_way_of_saying_a_size_is_taken(names):
    options = {name: WAYS[name] for name in names}
    if set(names) == {"width", "height"} or len(names) == 1:
        Resize(**options)
    else:
        with pytest.raises(ValueError, match="resize needs exactly one of"):
            Resize(**options)


@given(SIDES, SIDES, st.integers(1, 500))
def test_a_side_that_was_asked_for_is_exact_and_the_other_follows(height, width, side):
    new = Resize(long_side=side).target(height, width)
    assert max(new) == side
    assert min(new) == max(1, round(min(height, width) * side / max(height, width)))
    assert min(Resize(short_side=side).target(height, width)) == side
    assert Resize(width=side).target(height, width)[1] == side
    assert Resize(height=side).target(height, width)[0] == side
    held = Resize(long_side=side, enlarge=False).target(height, width)
    assert max(held) == min(side, max(height, width))


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("filter", FILTERS)
def test_the_type_of_pixels_is_kept_and_a_flat_picture_stays_flat(dtype, filter):
    batch = image_batch(1, size=(9, 12), dtype=dtype)
    flat = batch.with_pixels(np.full_like(batch.pixels, batch.pixels.max()))
    result = Resize(scale=1.7, filter=filter)(flat, FakeRun()).pixels
    assert result.dtype == dtype
    np.testing.assert_allclose(result, flat.pixels.max(), rtol=1e-5)


def test_the_same_size_is_the_same_batch():
    batch = image_batch(1, size=(9, 12))
    assert Resize(width=12)(batch, FakeRun()) is batch


def test_filters_differ():
    batch = image_batch(1)
    results = [Resize(scale=0.6, filter=name)(batch, FakeRun()).pixels for name in FILTERS]
    for one, other in itertools.combinations(results, 2):
        assert (one != other).any()


def test_a_picture_that_would_become_too_large_is_refused_before_it_does():
    with pytest.raises(StageError, match="would become too large"):
        Resize(short_side=100_000)(image_batch(1, size=(2, 24)), FakeRun())


def test_colours_that_cannot_be_seen_do_not_bleed_into_those_that_can():
    batch = image_batch(1, size=(16, 16), alpha=True)
    pixels = np.zeros_like(batch.pixels)
    pixels[:, :, :8], pixels[:, :, 8:] = (255, 0, 0), (0, 255, 0)
    alpha = np.zeros((16, 16), np.uint8)
    alpha[:, :8] = 255
    (item,) = batch.items
    batch = batch.with_pixels(pixels).with_items([type(item)(key="k", name="n", alpha=alpha)])
    shrunk = Resize(width=5)(batch, FakeRun()).pixels[0, 2, 2]  # of both halves
    assert shrunk[0] > 250
    assert shrunk[1] < 5


@pytest.mark.parametrize(
    ("options", "box"),
    [
        ({"width": 10}, (0, 35, 40, 10)),
        ({"height": 10}, (15, 0, 10, 80)),
        ({"width": 10, "height": 20}, (10, 35, 20, 10)),
        ({"width": 100, "height": 100}, (0, 0, 40, 80)),
        ({"aspect": 1.0}, (0, 20, 40, 40)),
        ({"aspect": 4.0}, (10, 0, 20, 80)),
        ({"aspect": 0.5}, (0, 30, 40, 20)),
        ({"aspect": 2.0}, (0, 0, 40, 80)),
        ({"width": 11}, (0, 34, 40, 11)),
    ],
)
def test_each_way_of_saying_a_part_keeps_it(options, box):
    stage = Crop(**options)
    assert stage.crop_box(40, 80) == box
    batch = image_batch(2, size=(40, 80))
    top, left, height, width = box
    kept = stage(batch, FakeRun()).pixels
    np.testing.assert_array_equal(kept, batch.pixels[:, top : top + height, left : left + width])


@pytest.mark.parametrize(
    ("anchor", "corner"),
    [
        ("centre", (15, 35)),
        ("top", (0, 35)),
        ("bottom", (30, 35)),
        ("left", (15, 0)),
        ("right", (15, 70)),
        ("top-left", (0, 0)),
        ("top-right", (0, 70)),
        ("bottom-left", (30, 0)),
        ("bottom-right", (30, 70)),
    ],
)
def test_the_anchor_says_which_part(anchor, corner):
    assert Crop(width=10, height=10, anchor=anchor).crop_box(40, 80) == (*corner, 10, 10)


@given(SIDES, SIDES, st.floats(0.02, 100))
def test_the_part_of_an_aspect_lies_within_and_is_as_large_as_can_be(height, width, aspect):
    top, left, h, w = Crop(aspect=aspect).crop_box(height, width)
    assert 0 <= top <= height - h
    assert 0 <= left <= width - w
    assert min(h, w) >= 1
    assert h == height or w == width
    assert w == max(1, min(width, round(height * aspect)))


@pytest.mark.parametrize("options", [{}, {"width": 5, "aspect": 1.0}, {"height": 5, "aspect": 1.0}])
def test_crop_takes_sides_or_an_aspect(options):
    with pytest.raises(ValueError, match="crop needs width and/or height, or aspect"):
        Crop(**options)


@pytest.mark.parametrize("options", [{"scale": 0.5}, {"scale": 3.0}, {"width": 8, "height": 8}])
def test_resize_keeps_the_contract_of_a_stage(options):
    check_stage(Resize, **options)


@pytest.mark.parametrize("options", [{"width": 8}, {"aspect": 1.0, "anchor": "bottom-right"}])
def test_crop_keeps_the_contract_of_a_stage(options):
    check_stage(Crop, **options)


@pytest.fixture
def go(catalog, tmp_path):
    """Runs stages over one picture; gives the result as an array."""

    def go(pixels, *stages, mode=None):
        (tmp_path / "in").mkdir(exist_ok=True)
        Image.fromarray(pixels).save(tmp_path / "in/a.png")
        lines = "".join(f"  - {stage}\n" for stage in ("load", *stages, "save"))
        (tmp_path / "p.yaml").write_text(f"genloom: 1\nstages:\n{lines}")
        loaded = load_pipeline(tmp_path / "p.yaml", catalog=catalog)
        report = loaded.run(tmp_path / "in", tmp_path / "out", force=True)
        assert report.failures == []
        return np.asarray(Image.open(tmp_path / "out/a.png"))

    return go


def gradient(height=8, width=12):
    y, x = np.mgrid[0:height, 0:width].astype(np.uint8)
    return np.stack([x * 20, y * 30, x * 0, y * 10 + x * 10], axis=2)


def test_alpha_is_cropped_with_its_picture(go):
    given = gradient()
    kept = go(given, "crop: {width: 5, height: 3, anchor: bottom-right}")
    np.testing.assert_array_equal(kept, given[5:, 7:])
    np.testing.assert_array_equal(go(given, "crop: {aspect: 1.0}"), given[:, 2:10])


def test_alpha_is_resized_with_its_picture(go):
    given = gradient()
    given[..., 3] = 200
    result = go(given, "resize: {scale: 2}")
    assert result.shape == (16, 24, 4)
    assert (result[..., 3] == 200).all()
    assert go(gradient(), "resize: {width: 6}", "crop: {height: 2}").shape == (2, 6, 4)


def test_bad_combinations_are_refused_at_their_line(catalog, tmp_path):
    path = tmp_path / "p.yaml"
    path.write_text("genloom: 1\nstages:\n- load\n- resize: {width: 5, scale: 2}\n- crop\n- save\n")
    with pytest.raises(InvalidFile) as caught:
        load_pipeline(path, catalog=catalog)
    assert [(problem.line, problem.column) for problem in caught.value.problems] == [(4, 3), (5, 3)]
