"""Files in the format of MNIST: what is read, found and refused."""

import gzip
import struct

import numpy as np
import pytest

from genloom.errors import GenloomError
from genloom_train.data import Opening
from genloom_train.data.checks import check_dataset
from genloom_train.data.fashion_mnist import LABELS, FashionMnist
from genloom_train.data.idx import FILES, Idx, Mnist, read_idx


def idx(array):
    axes = struct.pack(f">{array.ndim}I", *array.shape)
    return bytes([0, 0, 8, array.ndim]) + axes + array.astype(np.uint8).tobytes()


def write_fashion(folder, *, zipped, train=20, test=10, prefix=""):
    folder.mkdir(parents=True, exist_ok=True)
    random = np.random.default_rng(0)
    for (part, what), name in FILES.items():
        count = train if part == "train" else test
        array = (
            random.integers(0, 256, (count, 28, 28)) if what == "image" else np.arange(count) % 10
        )
        data = idx(array)
        path = folder / (f"{prefix}{name}.gz" if zipped else f"{prefix}{name}")
        path.write_bytes(gzip.compress(data) if zipped else data)


@pytest.mark.parametrize("zipped", [True, False], ids=["gz", "plain"])
def test_fashion_mnist_is_read_from_its_files(zipped, tmp_path):
    write_fashion(tmp_path, zipped=zipped)
    source = FashionMnist().open(Opening(root=tmp_path))
    batch = source.batch(0, 6, seed=1)
    assert batch.image.shape == (6, 1, 28, 28) and batch.image.dtype == np.float32
    assert batch.image.min() >= 0 and batch.image.max() <= 1
    assert batch.label.dtype == np.int64
    assert len(source.held_out()) == 10
    assert (source.shape, source.count, len(source.labels)) == ((1, 28, 28), 20, 10)


def test_fashion_mnist_is_found_through_the_environment_and_the_recipe(tmp_path, monkeypatch):
    write_fashion(tmp_path / "fashion-mnist", zipped=True)
    monkeypatch.setenv("GENLOOM_DATA", str(tmp_path))
    assert FashionMnist().open(Opening()).count == 20
    monkeypatch.delenv("GENLOOM_DATA")
    from pathlib import Path

    assert FashionMnist(path=Path("fashion-mnist")).open(Opening(base=tmp_path)).count == 20


def test_missing_fashion_mnist_says_how_to_get_it(tmp_path):
    with pytest.raises(GenloomError, match="apt-get download dataset-fashion-mnist"):
        FashionMnist().open(Opening(root=tmp_path))


@pytest.mark.parametrize(
    "data",
    [b"", b"\0\0\x08", b"\0\0\x0d\x01\0\0\0\x01\0", idx(np.zeros((3, 4)))[:-1], b"\0\0\x08\0"],
)
def test_a_damaged_idx_file_is_refused(data, tmp_path):
    path = tmp_path / "file"
    path.write_bytes(data)
    with pytest.raises(GenloomError, match="IDX"):
        read_idx(path)


def test_a_damaged_gzip_file_is_refused(tmp_path):
    path = tmp_path / "file.gz"
    for data in (b"not gzip", gzip.compress(idx(np.zeros((9, 9))))[:-9]):
        path.write_bytes(data)
        with pytest.raises(GenloomError, match="cannot be read"):
            read_idx(path)


def test_pictures_and_labels_must_fit_each_other(tmp_path):
    write_fashion(tmp_path, zipped=False)
    (tmp_path / FILES["train", "label"]).write_bytes(idx(np.zeros(7)))
    with pytest.raises(GenloomError, match="do not fit"):
        FashionMnist().open(Opening(root=tmp_path))


def test_idx_files_of_any_name_are_read_and_their_classes_counted(tmp_path):
    write_fashion(tmp_path, zipped=False, prefix="kuzushiji-")
    source = check_dataset(Idx(prefix="kuzushiji-"), Opening(root=tmp_path))
    assert (source.count, len(source.held_out())) == (20, 10)
    assert source.labels == tuple("0123456789")
    named = Idx(prefix="kuzushiji-", labels=tuple("abcdefghijk"))
    assert named.open(Opening(root=tmp_path)).notes == ("label 'k': no training pictures",)
    with pytest.raises(GenloomError, match=r"10 names in data\.labels, got 2"):
        Idx(prefix="kuzushiji-", labels=("a", "b")).open(Opening(root=tmp_path))


def test_idx_files_may_lack_labels_and_test_pictures(tmp_path):
    (tmp_path / FILES["train", "image"]).write_bytes(idx(np.zeros((20, 4, 5))))
    source = check_dataset(Idx(), Opening(root=tmp_path))
    assert (source.count, len(source.held_out()), source.labels) == (18, 2, ())
    assert source.batch(0, 2, 0).label is None


@pytest.mark.parametrize("part", ["train", "test"])
def test_idx_labels_of_only_one_part_are_refused_with_the_file_that_is_missing(part, tmp_path):
    write_fashion(tmp_path, zipped=False)
    (tmp_path / FILES[part, "label"]).unlink()
    with pytest.raises(GenloomError, match=f"only some.*expected {FILES[part, 'label']}"):
        Idx().open(Opening(root=tmp_path))


def test_emnist_calls_its_test_files_otherwise(tmp_path):
    write_fashion(tmp_path, zipped=True)
    for path in tmp_path.iterdir():
        path.rename(tmp_path / path.name.replace("t10k", "test"))
    assert len(Idx().open(Opening(root=tmp_path)).held_out()) == 10


def test_missing_idx_files_are_named(tmp_path):
    with pytest.raises(GenloomError, match=r"x-train-images-idx3-ubyte.*--data FOLDER"):
        Idx(prefix="x-").open(Opening(root=tmp_path))
    with pytest.raises(GenloomError, match="no folder"):
        Idx().open(Opening())


def test_mnist_has_digits_for_labels_and_is_not_looked_for_where_fashion_lies(tmp_path):
    write_fashion(tmp_path / "mnist", zipped=True)
    assert Mnist().open(Opening(root=tmp_path)).labels == tuple("0123456789")
    with pytest.raises(GenloomError, match="Fashion-MNIST is not at hand"):
        FashionMnist().open(Opening(root=tmp_path))
    assert FashionMnist().open(Opening(root=tmp_path / "mnist")).labels == LABELS


def test_labels_beyond_the_ten_are_refused(tmp_path):
    write_fashion(tmp_path, zipped=False)
    (tmp_path / FILES["train", "label"]).write_bytes(idx(np.arange(20)))
    with pytest.raises(GenloomError, match="not those of MNIST"):
        Mnist().open(Opening(root=tmp_path))


def test_a_header_that_promises_more_than_there_is_allocates_nothing(tmp_path):
    path = tmp_path / "file"
    path.write_bytes(b"\0\0\x08\x04" + b"\xff" * 16)
    with pytest.raises(GenloomError, match="cut short or damaged"):
        read_idx(path)
