"""Pairs of pictures: what is read, skipped and said."""

import cv2
import numpy as np
import pytest

from genloom.errors import GenloomError
from genloom_train.data import Opening
from genloom_train.data.checks import check_dataset
from genloom_train.data.pairs import Pairs


@pytest.fixture
def folder(tmp_path):
    random = np.random.default_rng(0)
    for number in range(4):
        clean = random.integers(40, 200, (40, 50, 3), np.uint8)
        cv2.imwrite(str(tmp_path / f"{number}.clean.png"), clean)
        cv2.imwrite(str(tmp_path / f"{number}.noisy.png"), clean + 7)
    cv2.imwrite(str(tmp_path / "alone.noisy.png"), clean)
    cv2.imwrite(str(tmp_path / "odd.noisy.png"), clean)
    cv2.imwrite(str(tmp_path / "odd.clean.png"), clean[:30])
    return tmp_path


def opened(folder, **options):
    return check_dataset(Pairs(crop=16, **options), Opening(root=folder))


def test_both_pictures_of_a_pair_show_the_same_crop(folder):
    source = opened(folder)
    batch = source.batch(0, 8, 0)
    assert source.shape == batch.image.shape[1:] == (3, 16, 16)
    np.testing.assert_allclose(batch.others["noisy"] - batch.image, 7 / 255, atol=1e-6)
    held_out = source.held_out(larger=True)
    np.testing.assert_allclose(held_out.others["noisy"] - held_out.image, 7 / 255, atol=1e-6)


def test_what_has_no_partner_is_noted(folder):
    source = opened(folder)
    assert source.count == 3
    assert any("alone" in note and "alone.clean.png" in note for note in source.notes)
    assert any("odd" in note and "another size" in note for note in source.notes)


def test_grey_pairs_have_one_channel_each(folder):
    source = opened(folder, colour="grey")
    batch = source.batch(0, 4, 0)
    assert batch.image.shape == batch.others["noisy"].shape == (4, 1, 16, 16)
    assert (batch.others["noisy"] > batch.image).mean() > 0.9


def test_pairs_beyond_the_memory_are_left_out_and_noted(tmp_path):
    pixels = np.random.default_rng(0).integers(0, 256, (250, 250, 3), np.uint8)
    for number in range(4):
        for kind in ("clean", "noisy"):
            cv2.imwrite(str(tmp_path / f"{number}.{kind}.png"), pixels)
    source = Pairs(crop=16, memory=1).open(Opening(root=tmp_path))
    assert source.count == 1
    assert any("1 MB are full" in note for note in source.notes)


def test_equally_noisy_pictures_take_either_place(folder):
    batch = opened(folder, swap=True).batch(0, 64, 0)
    difference = np.sign(batch.others["noisy"] - batch.image).mean((1, 2, 3))
    assert set(difference.tolist()) == {-1.0, 1.0}


def test_a_folder_without_pairs_says_how_they_are_named(tmp_path):
    with pytest.raises(GenloomError, match=r"too few pairs") as caught:
        Pairs().open(Opening(root=tmp_path))
    assert ".noisy.png" in str(caught.value) and ".clean.png" in str(caught.value)


def test_no_folder_is_told():
    with pytest.raises(GenloomError, match=r"not there"):
        Pairs().open(Opening())
