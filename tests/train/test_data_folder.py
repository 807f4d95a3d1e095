"""A folder of pictures: what is read, skipped and said, as crops and as whole pictures."""

import cv2
import numpy as np
import pytest
import torch

from genloom.errors import GenloomError
from genloom_train.data import Opening, Samples
from genloom_train.data.checks import check_dataset
from genloom_train.data.folder import Folder
from genloom_train.latents import latents_of


def write_picture(path, height, width, value=None):
    path.parent.mkdir(parents=True, exist_ok=True)
    random = np.random.default_rng(height * width)
    pixels = random.integers(0, 256, (height, width, 3), np.uint8)
    if value is not None:
        pixels[:] = value
    cv2.imwrite(str(path), pixels)


@pytest.fixture
def photographs(tmp_path):
    for number in range(5):
        write_picture(tmp_path / f"{number}.png", 40 + number, 50)
    write_picture(tmp_path / "sub" / "deep" / "6.jpg", 60, 40)
    write_picture(tmp_path / "small.png", 8, 50)
    write_picture(tmp_path / ".hidden" / "no.png", 50, 50)
    (tmp_path / "broken.jpg").write_bytes(b"\xff\xd8 this is no picture")
    (tmp_path / "notes.txt").write_text("no picture either")
    return tmp_path


def test_a_folder_is_read_with_sub_folders_and_without_broken_files(photographs):
    source = Folder(crop=16).open(Opening(root=photographs))
    assert source.count == 5 and "1 held out" in source.description
    assert len(source.notes) == 2
    assert any("broken.jpg" in note for note in source.notes)
    assert any("small.png" in note for note in source.notes)
    assert source.held_out().image.shape[1:] == (3, 16, 16)
    assert source.held_out(larger=True).image.shape[2] in (40, 48)
    batch = source.batch(3, 7, seed=0)
    assert batch.image.shape == (7, 3, 16, 16) and batch.image.flags.c_contiguous


def test_of_a_broken_picture_nothing_is_said_but_the_note(photographs, capfd):
    whole = (photographs / "1.png").read_bytes()
    (photographs / "broken.png").write_bytes(whole[:12] + bytes(20) + whole[32:])
    (photographs / "cut.png").write_bytes(whole[:20])
    notes = Folder(crop=16).open(Opening(root=photographs)).notes
    assert sum("not a readable picture" in note for note in notes) == 3
    assert capfd.readouterr() == ("", "")


@pytest.mark.parametrize("dead_leaves", [0.0, 0.5])
def test_a_batch_is_a_function_of_seed_and_step(dead_leaves, photographs, monkeypatch):
    monkeypatch.setattr("genloom_train.data.folder.SYNTHETIC_COUNT", 2)
    monkeypatch.setattr("genloom_train.data.folder.SYNTHETIC_SIZE", 32)
    options = Folder(crop=16, dead_leaves=dead_leaves)
    one, two = (options.open(Opening(root=photographs)) for _ in range(2))
    one.batch(0, 4, seed=0)
    assert np.array_equal(one.batch(9, 4, seed=1).image, two.batch(9, 4, seed=1).image)
    assert not np.array_equal(one.batch(9, 4, seed=1).image, one.batch(8, 4, seed=1).image)
    assert not np.array_equal(one.batch(9, 4, seed=1).image, one.batch(9, 4, seed=2).image)


def test_held_out_pictures_are_in_no_batch(tmp_path):
    for number in range(6):
        write_picture(tmp_path / f"{number}.png", 32, 32, value=40 * number)
    source = Folder(crop=16, held_out=0.34).open(Opening(root=tmp_path))
    held_out = {round(float(picture.mean()), 3) for picture in source.held_out().image}
    seen = set()
    for step in range(40):
        seen |= {round(float(p.mean()), 3) for p in source.batch(step, 4, seed=0).image}
    assert len(held_out) == 2 and len(seen) == 4
    assert not held_out & seen


def test_held_out_crops_lie_all_over_the_held_out_pictures(tmp_path, monkeypatch):
    for number in range(2):
        write_picture(tmp_path / f"{number}.png", 32, 48)
    source = Folder(crop=16).open(Opening(root=tmp_path))
    crops = source.held_out().image
    assert len(crops) == 5 * 9 and len(np.unique(crops, axis=0)) == 45
    monkeypatch.setattr("genloom_train.data.crops.HELD_OUT_CROPS", 10)
    fewer = source.held_out().image
    assert len(fewer) == 10 and np.array_equal(fewer[1], crops[4])


def test_statistics_of_crops_are_of_many_and_of_whole_pictures_of_each_once(tmp_path, monkeypatch):
    monkeypatch.setattr("genloom_train.latents.MOST", 1000)
    for number in range(4):
        write_picture(tmp_path / f"{number}.png", 32, 48)
    for options, count in ((Folder(crop=16), 1000), (Folder(size=16), 3)):
        source = options.open(Opening(root=tmp_path))
        latents, _ = latents_of(lambda image: image.flatten(1), source, torch.device("cpu"))
        assert len(latents) == count


def test_samples_are_spread_over_those_that_are_sorted():
    samples = Samples(np.zeros((100, 1, 2, 2), np.float32), np.arange(100) // 10)
    assert samples.spread(10).label.tolist() == list(range(10))
    assert samples.spread(100) is samples


def test_colours_are_in_rgb_order_and_grey_is_an_option(tmp_path):
    for number in range(2):
        write_picture(tmp_path / f"{number}.png", 32, 32, value=(0, 0, 255))
    red = Folder(crop=16).open(Opening(root=tmp_path)).batch(0, 1, seed=0).image
    assert red[0, :, 0, 0].tolist() == [1, 0, 0]
    grey = Folder(crop=16, colour="grey").open(Opening(root=tmp_path))
    assert grey.shape == (1, 16, 16)


def test_large_pictures_are_reduced_and_memory_is_bounded(tmp_path):
    for number in range(8):
        write_picture(tmp_path / f"{number}.png", 600, 900)
    source = Folder(crop=16, memory=4).open(Opening(root=tmp_path))
    assert source.count == 1 and sum("4 MB are full" in note for note in source.notes) == 6
    assert Folder(crop=16, memory=4, longest=300).open(Opening(root=tmp_path)).count == 7


@pytest.mark.parametrize("make", [False, True], ids=["no folder", "an empty folder"])
def test_no_pictures_is_an_error(make, tmp_path):
    if make:
        (tmp_path / "empty").mkdir()
    with pytest.raises(GenloomError, match="folder"):
        Folder().open(Opening(root=tmp_path / "empty"))


@pytest.mark.parametrize(
    ("turn", "seen"), [(True, {"up", "down", "left", "right"}), (False, {"up"})]
)
def test_without_turning_up_is_up(turn, seen, tmp_path):
    for number in range(2):
        picture = np.zeros((32, 32, 3), np.uint8)
        picture[:16] = 255
        cv2.imwrite(str(tmp_path / f"{number}.png"), picture)
    source = Folder(crop=32, turn=turn).open(Opening(root=tmp_path))
    image = source.batch(0, 64, seed=0).image[:, 0]
    sides = {"up": image[:, 4, 8:24], "down": image[:, 28, 8:24],
             "left": image[:, 8:24, 4], "right": image[:, 8:24, 28]}  # fmt: skip
    whole = {name for name, side in sides.items() if (side.min(1) > 0.5).any()}
    assert whole == seen


@pytest.fixture
def labelled(tmp_path):
    """Ten dark cats, ten light dogs of another size; no birds; one picture beside the folders."""
    for number in range(10):
        write_picture(tmp_path / "cat" / f"{number}.png", 40, 30 + number, value=20 + number)
        write_picture(tmp_path / "dog" / "deep" / f"{number}.jpg", 24, 64, value=200 + number)
    write_picture(tmp_path / "beside.png", 40, 40)
    (tmp_path / "dog" / "broken.jpg").write_bytes(b"\xff\xd8 this is no picture")
    (tmp_path / "bird").mkdir()
    (tmp_path / ".git").mkdir()
    return tmp_path


@pytest.mark.parametrize("how", [{"size": 16}, {"crop": 16}], ids=["whole", "crops"])
def test_sub_folders_are_labels(how, labelled):
    source = check_dataset(Folder(labels="folders", held_out=0.2, **how), Opening(root=labelled))
    assert (source.labels, source.count) == (("cat", "dog"), 16)
    held_out = source.held_out()
    assert set(held_out.label) == {0, 1}
    for samples in (source.batch(3, 9, 0), held_out):
        light = samples.image.mean(axis=(1, 2, 3)) > 0.5
        assert np.array_equal(samples.label, light)
    assert set(source.notes) == {
        "beside.png: not in a sub-folder, which would be its label; skipped",
        "dog/broken.jpg: not a readable picture, skipped",
        "bird: no usable pictures, so it is no label",
    }


def test_a_folder_without_sub_folders_has_no_labels_to_take(tmp_path):
    for number in range(3):
        write_picture(tmp_path / f"{number}.png", 20, 20)
    with pytest.raises(GenloomError, match=r"in sub-folders, got 0; 0\.png: not in a sub-folder"):
        Folder(labels="folders", size=8).open(Opening(root=tmp_path))


def test_whole_pictures_of_mixed_sizes_come_to_one_and_each_once_in_an_epoch(labelled):
    source = check_dataset(Folder(size=16, held_out=0.5), Opening(root=labelled))
    assert source.shape == (3, 16, 16) and source.labels == ()
    epoch = np.concatenate([source.batch(step, 1, 0).image for step in range(source.count)])
    assert len({picture.tobytes() for picture in epoch}) == source.count
    grey = Folder(size=8, colour="grey").open(Opening(root=labelled))
    assert grey.shape == (1, 8, 8)


def test_the_middle_of_a_picture_is_what_is_kept(tmp_path):
    picture = np.zeros((20, 60, 3), np.uint8)
    picture[:, 20:40] = 255
    for number in range(2):
        cv2.imwrite(str(tmp_path / f"{number}.png"), picture)
    for size in (10, 30):
        image = Folder(size=size).open(Opening(root=tmp_path)).batch(0, 1, 0).image
        assert image.shape == (1, 3, size, size) and image.min() == 1


def test_mirroring_turns_half_of_the_training_pictures_and_none_that_are_held_out(tmp_path):
    picture = np.zeros((8, 8, 3), np.uint8)
    picture[:, 4:] = 255
    for number in range(9):
        cv2.imwrite(str(tmp_path / f"{number}.png"), picture)
    source = check_dataset(Folder(size=8, mirror=True, held_out=0.3), Opening(root=tmp_path))
    left = source.batch(0, 64, 0).image[:, 0, 0, 0]
    assert 16 < left.sum() < 48
    assert source.held_out().image[:, 0, 0, 0].sum() == 0


@pytest.mark.parametrize(
    ("options", "said"),
    [
        ({"dead_leaves": 0.1, "size": 8}, "dead_leaves"),
        ({"dead_leaves": 0.1, "labels": "folders"}, "dead_leaves"),
        ({"mirror": True}, r"data\.mirror"),
    ],
)
def test_options_that_do_not_go_together_are_refused(options, said, labelled):
    with pytest.raises(GenloomError, match=said):
        Folder(**options).open(Opening(root=labelled))


def test_a_label_whose_only_picture_is_held_out_is_noted(tmp_path):
    for name in ("a", "b"):
        write_picture(tmp_path / name / "1.png", 20, 20)
    source = Folder(size=8, labels="folders").open(Opening(root=tmp_path))
    assert source.count == 1
    assert source.notes == ("label 'a': no training pictures",)


def test_of_several_crops_the_one_with_the_most_detail_is_taken(tmp_path):
    for number in range(3):
        pixels = np.full((64, 64, 3), 128, np.uint8)
        pixels[:, 32:] = np.random.default_rng(number).integers(0, 256, (64, 32, 3), np.uint8)
        cv2.imwrite(str(tmp_path / f"{number}.png"), pixels)

    def detail(choices):
        source = Folder(crop=16, choices=choices).open(Opening(root=tmp_path))
        return float(source.batch(0, 32, 0).image.std((1, 2, 3)).mean())

    assert detail(6) > 1.3 * detail(1)
