"""Pictures in numpy's files: shapes, types and labels that fit, and those that do not."""

from pathlib import Path

import numpy as np
import pytest

from genloom.errors import GenloomError
from genloom_train.data import Opening
from genloom_train.data.arrays import Arrays
from genloom_train.data.checks import check_dataset

RANDOM = np.random.default_rng(0)


def bytes_of(*shape):
    return RANDOM.integers(0, 256, shape, np.uint8)


def opened(path, **options):
    return check_dataset(Arrays(**options), Opening(root=path))


@pytest.mark.parametrize(
    ("array", "shape"),
    [
        (bytes_of(20, 5, 6), (1, 5, 6)),
        (bytes_of(20, 5, 6, 1), (1, 5, 6)),
        (bytes_of(20, 5, 6, 3), (3, 5, 6)),
        (RANDOM.random((20, 5, 6), np.float32), (1, 5, 6)),
        (RANDOM.random((20, 5, 6, 3)), (3, 5, 6)),
        (RANDOM.random((20, 5, 6)) < 0.5, (1, 5, 6)),
    ],
    ids=["grey", "grey, one channel", "colour", "floats", "doubles", "booleans"],
)
def test_pictures_of_a_single_array(array, shape, tmp_path):
    np.save(tmp_path / "pictures.npy", array)
    source = opened(tmp_path)
    assert (source.shape, source.count, source.labels) == (shape, 18, ())
    everything = np.concatenate([source.batch(0, 18, 0).image, source.held_out().image])
    scale = 255 if array.dtype == np.uint8 else 1
    assert everything.mean() == pytest.approx(array.mean() / scale, abs=1e-5)


def test_pictures_and_labels_of_one_file_stay_together(tmp_path):
    label = np.arange(40) % 4
    np.savez(tmp_path / "a.npz", images=np.full((40, 2, 2), 60) * label[:, None, None] / 255,
             labels=label)  # fmt: skip
    source = opened(tmp_path / "a.npz", held_out=0.25)
    assert (source.count, source.labels) == (32, ("0", "1", "2", "3"))
    for samples in (source.batch(1, 9, 2), source.held_out()):
        assert np.array_equal(np.rint(samples.image[:, 0, 0, 0] * 255 / 60), samples.label)


def test_a_file_may_bring_its_own_test_pictures_and_labels_that_are_texts(tmp_path):
    names = np.array(["dog", "cat", "owl"])
    np.savez_compressed(
        tmp_path / "a.npz", x_train=bytes_of(6, 4, 4), y_train=names[[0, 1, 0, 1, 0, 1]],
        x_test=bytes_of(3, 4, 4), y_test=names[[2, 1, 0]],
    )  # fmt: skip
    source = opened(tmp_path)
    assert source.labels == ("cat", "dog", "owl")
    assert source.held_out().label.tolist() == [2, 0, 1]
    assert source.notes == ("label 'owl': no training pictures",)


@pytest.mark.parametrize("part", ["y_train", "y_test"])
def test_labels_of_only_one_part_are_refused(part, tmp_path):
    arrays = {"x_train": bytes_of(6, 4, 4), "x_test": bytes_of(6, 4, 4), part: np.arange(6) % 2}
    np.savez(tmp_path / "a.npz", **arrays)
    with pytest.raises(GenloomError, match=rf"both y_train and y_test, or neither, got {part}\."):
        opened(tmp_path)


def test_classes_can_be_named_and_one_without_pictures_is_noted(tmp_path):
    np.savez(tmp_path / "a.npz", images=bytes_of(9, 4, 4), labels=np.array([0, 2, 0] * 3)[:, None])
    assert opened(tmp_path).notes == ("label '1': no training pictures",)
    assert opened(tmp_path, labels=("a", "b", "c")).labels == ("a", "b", "c")
    with pytest.raises(GenloomError, match="more classes than names; expected numbers below 2"):
        opened(tmp_path, labels=("a", "b"))


@pytest.mark.parametrize(
    ("arrays", "said"),
    [
        ({"images": bytes_of(4, 9)}, r"no pictures of one size.*got shape \(4, 9, 1, 1\)|shape"),
        ({"images": bytes_of(4, 3, 9, 9)}, r"moveaxis"),
        ({"images": bytes_of(4, 9, 9, 4)}, r"1 or 3 channels"),
        ({"images": bytes_of(0, 9, 9)}, r"at least one"),
        ({"images": np.full((4, 9, 9), 255.0)}, r"leave their range.*got 255 to 255"),
        ({"images": np.full((4, 9, 9), np.nan)}, r"leave their range.*nan"),
        ({"images": np.full((4, 9, 9), 7, np.int64)}, r"uint8.*got int64"),
        ({"images": np.full((4, 9, 9), 1j)}, r"complex"),
        ({"images": bytes_of(4, 9, 9), "labels": np.arange(3)}, r"expected 4 labels, got 3"),
        ({"images": bytes_of(4, 9, 9), "labels": np.array([0, 1, -1, 0])}, r"labels are not right"),
        ({"images": bytes_of(4, 9, 9), "labels": np.eye(4)}, r"labels are not right"),
        ({"images": bytes_of(4, 9, 9), "labels": np.array([0, 1, 2, 10**9])}, r"too large"),
        ({"pictures": bytes_of(4, 9, 9)}, r"one called images.*got pictures"),
    ],
)
def test_arrays_that_do_not_fit_are_refused(arrays, said, tmp_path):
    np.savez(tmp_path / "a.npz", **arrays)
    with pytest.raises(GenloomError, match=said):
        opened(tmp_path)


def test_a_file_that_is_cut_short_pickled_or_no_array_is_refused(tmp_path):
    whole = tmp_path / "a.npy"
    np.save(whole, bytes_of(9, 9, 9))
    data = whole.read_bytes()
    pickled = tmp_path / "p.npy"
    np.save(pickled, np.array([{}, Path()], dtype=object), allow_pickle=True)
    whole.write_bytes(data[:-9])
    text = tmp_path / "t.npz"
    text.write_text("no array")
    for path in (whole, pickled, text):
        with pytest.raises(GenloomError, match="the arrays cannot be read"):
            opened(path)


def test_which_file_is_meant_must_be_clear(tmp_path):
    with pytest.raises(GenloomError, match=r"got none.*--data FILE"):
        opened(tmp_path)
    for name in ("a", "b"):
        np.save(tmp_path / f"{name}.npy", bytes_of(9, 9, 9))
    with pytest.raises(GenloomError, match=r"exactly one, got a\.npy, b\.npy"):
        opened(tmp_path)
    assert opened(tmp_path / "a.npy").count == 8
    assert Arrays(path=Path("b.npy")).open(Opening(base=tmp_path)).count == 8
