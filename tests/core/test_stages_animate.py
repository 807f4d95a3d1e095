"""`animate`: frames, times and how often it plays."""

from dataclasses import replace

import numpy as np
import pytest
from PIL import Image

from genloom import load_pipeline
from genloom.errors import StageError
from genloom.stages.animate import Animate
from genloom.testing import FakeRun, check_stage
from genloom.types import Batch, Item

FORMATS = {"gif": ".gif", "webp": ".webp", "apng": ".png"}


def frame(level, size=(6, 8), channels=3, alpha=None):
    pixels = np.full((1, *size, channels), level, np.uint8)
    return Batch.images([Item(key="k", name="n", alpha=alpha)], pixels)


def animated(members, **options):
    """The file that is written, opened."""
    run = FakeRun()
    stage = Animate(**options)
    seen = [stage(member, run) for member in members]
    item = Item(key="animate", name="animate")
    done = stage.gather(seen, item, run)
    assert done.kind.name == "nothing"
    assert [replace(one, notes=()) for one in done.items] == [item]
    (path,) = run.files
    assert path.name == f"animate{FORMATS[stage.format]}"
    with Image.open(path) as image:
        frames, times = [], []
        for index in range(getattr(image, "n_frames", 1)):
            image.seek(index)
            image.load()  # WebP tells the time of a frame only then
            times.append(image.info.get("duration"))
            frames.append(np.asarray(image.convert("RGB")).astype(int))
        return frames, times, image.info.get("loop")


def levels(frames):
    return [round(float(one.mean()), -1) for one in frames]


THREE = [frame(n) for n in (50, 100, 200)]


@pytest.mark.parametrize("format", FORMATS)
def test_every_picture_is_a_frame_in_order(format):
    frames, times, _ = animated(THREE, format=format, fps=10)
    assert levels(frames) == [50, 100, 200]
    assert frames[0].shape == (6, 8, 3)
    assert times == [100, 100, 100]


def test_a_full_animation_says_that_more_are_in_the_next_one(monkeypatch):
    monkeypatch.setattr("genloom.stages.animate.MOST", 3)
    stage, item = Animate(provenance="off"), Item(key="animate", name="animate")
    assert stage.most() == 3
    (full,) = stage.gather(THREE, item, FakeRun()).items
    (other,) = stage.gather(THREE[:2], item, FakeRun()).items
    assert full.notes == ("this animation is full (3 frames); any more are in the next one",)
    assert other.notes == ()


@pytest.mark.parametrize("format", FORMATS)
def test_a_bounce_plays_back_without_repeating_its_ends(format):
    frames, _, _ = animated(THREE, format=format, bounce=True)
    assert levels(frames) == [50, 100, 200, 100]
    assert levels(animated(THREE[:2], format=format, bounce=True)[0]) == [50, 100]


@pytest.mark.parametrize("format", FORMATS)
def test_one_picture_is_an_animation_too(format):
    for bounce in (False, True):
        assert levels(animated(THREE[:1], format=format, bounce=bounce)[0]) == [50]


@pytest.mark.parametrize("fps", [0.5, 1, 12, 25, 50])
def test_frames_last_as_long_as_asked(fps):
    for format, step in (("gif", 10), ("webp", 1), ("apng", 1)):
        _, times, _ = animated(THREE, format=format, fps=fps)
        assert times == pytest.approx([1000 / fps] * 3, abs=step)


@pytest.mark.parametrize(
    ("fps", "shown"), [(60, "50"), (30, "33.3"), (40, "50"), (90, "100"), (100, ""), (12, "")]
)
def test_a_gif_that_cannot_have_the_speed_asked_for_says_so(fps, shown):
    _, times, _ = animated(THREE, format="gif", fps=fps)
    assert times == [round(100 / fps) * 10] * 3
    stage = Animate(fps=fps, provenance="off")
    (item,) = stage.gather(THREE, Item(key="a", name="a"), FakeRun()).items
    note = f"GIF counts hundredths of a second: {shown} frames each second"
    assert item.notes == ((note,) if shown else ())
    member = Item(key="a", name="a")
    (item,) = Animate(fps=fps, format="webp").gather(THREE, member, FakeRun()).items
    assert item.notes == (), "WebP counts thousandths"


@pytest.mark.parametrize(("loop", "gif"), [(0, 0), (1, None), (2, 1), (5, 4)])
def test_it_plays_as_often_as_asked(loop, gif):
    assert animated(THREE, format="webp", loop=loop)[2] == loop
    assert animated(THREE, format="apng", loop=loop)[2] == loop
    assert animated(THREE, format="gif", loop=loop)[2] == gif  # GIF counts the repetitions


def test_small_pictures_are_enlarged_by_whole_pixels():
    pixels = np.arange(12, dtype=np.uint8).reshape(1, 3, 4, 1) * 20
    member = Batch.images([Item(key="k", name="n")], pixels)
    frames, _, _ = animated([member], format="apng", enlarge=3)
    np.testing.assert_array_equal(
        frames[0][..., 0], pixels[0, ..., 0].repeat(3, axis=0).repeat(3, axis=1)
    )


@pytest.mark.parametrize("format", FORMATS)
def test_grey_and_colour_go_together(format):
    colour = frame(100)
    colour.values[..., 0] = 200
    frames, _, _ = animated([frame(50, channels=1), colour], format=format)
    assert np.abs(frames[0] - 50).max() < 4
    assert np.abs(frames[1][0, 0] - [200, 100, 100]).max() < 4


def test_transparent_parts_are_white():
    alpha = np.zeros((6, 8), np.uint8)
    frames, _, _ = animated([frame(0, alpha=alpha)], format="apng")
    assert (frames[0] == 255).all()


@pytest.mark.parametrize("dtype", [np.uint16, np.float32])
def test_deep_pictures_become_8_bit_frames(dtype):
    top = 65535 if dtype == np.uint16 else 1
    pixels = np.full((1, 6, 8, 3), 0.2 * top).astype(dtype)
    member = Batch.images([Item(key="k", name="n")], pixels)
    frames, _, _ = animated([member], format="apng")
    assert (frames[0] == 51).all()


def test_frames_of_several_sizes_are_refused_with_a_way_out():
    with pytest.raises(StageError, match=r"must have one size; got 8×6, 9×6. Put a `resize`"):
        animated([frame(1), frame(2, size=(6, 9))])


def test_a_long_animation_begins_another_one():
    assert Animate().most() == 2000


@pytest.mark.parametrize("format", FORMATS)
def test_animate_keeps_the_contract_of_a_stage(format):
    check_stage(Animate, format=format)


def test_each_folder_becomes_an_animation_end_to_end(catalog, tmp_path):
    for n in range(5):
        path = tmp_path / f"in/{'ab'[n // 3]}/{n}.png"
        path.parent.mkdir(parents=True, exist_ok=True)
        Image.fromarray(np.full((6, 8), 40 * n, np.uint8)).save(path)
    path = tmp_path / "p.yaml"
    path.write_text("genloom: 1\nstages:\n- load\n- animate: {group: folder, format: webp}\n")
    report = load_pipeline(path, catalog=catalog).run(tmp_path / "in", tmp_path / "out")
    assert (report.outcome, report.files) == ("done", 2)
    for name, count in (("a", 3), ("b", 2)):
        with Image.open(tmp_path / f"out/{name}/animate.webp") as image:
            assert image.n_frames == count
