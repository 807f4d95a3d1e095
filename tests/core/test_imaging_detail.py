"""Parts of a picture that are worth a closer look."""

import numpy as np
import pytest

from genloom.imaging import around, enlarged, most_detailed, outlined


def two_busy_parts():
    picture = np.zeros((64, 96, 1), np.float32)
    random = np.random.default_rng(0)
    picture[8:24, 16:32] = random.random((16, 16, 1))
    picture[40:56, 64:80] = 0.5 * random.random((16, 16, 1))
    return picture


def test_the_busiest_part_comes_first_and_parts_do_not_overlap():
    picture = two_busy_parts()
    assert most_detailed(picture, 16, 16) == [(8, 16, 16, 16)]
    assert most_detailed(picture, 16, 16, 2) == [(8, 16, 16, 16), (40, 64, 16, 16)]
    many = most_detailed(picture, 16, 16, 100)
    taken = np.zeros(picture.shape[:2], int)
    for top, left, height, width in many:
        taken[top : top + height, left : left + width] += 1
    assert taken.max() == 1 and len(many) > 10


def test_bytes_and_floats_have_the_same_detail():
    picture = (two_busy_parts() * 255).astype(np.uint8)
    assert most_detailed(picture, 16, 16, 2) == most_detailed(picture / np.float32(255), 16, 16, 2)


@pytest.mark.parametrize("size", [(64, 96), (200, 300)])
def test_a_part_as_large_as_the_picture_is_the_picture(size):
    assert most_detailed(two_busy_parts(), *size, 3) == [(0, 0, 64, 96)]


def test_a_flat_picture_has_a_part_too():
    assert len(most_detailed(np.ones((9, 9, 3), np.uint8), 4, 4)) == 1


def test_a_part_about_a_point_stays_within_the_picture():
    picture = two_busy_parts()
    assert around(picture, 48, 32, 10, 20) == (27, 38, 10, 20)
    assert around(picture, 0, 63, 10, 20) == (54, 0, 10, 20)
    assert around(picture, 500, 0, 100, 20) == (0, 76, 64, 20)


def test_pixels_become_squares():
    picture = np.arange(12, dtype=np.uint8).reshape(3, 4, 1)
    made = enlarged(picture, (1, 2, 2, 2), 2)[..., 0]
    np.testing.assert_array_equal(made, np.kron([[6, 7], [10, 11]], np.ones((2, 2), np.uint8)))


def test_a_frame_is_white_outside_and_black_inside_and_leaves_the_rest():
    picture = np.full((8, 9, 3), 0.5, np.float32)
    made = outlined(picture, (1, 2, 6, 6))[..., 0]
    assert (made[1, 2:8] == 1).all() and (made[1:7, 7] == 1).all()
    assert (made[2, 3:7] == 0).all() and (made[2:6, 6] == 0).all()
    assert (made[3:5, 4:6] == 0.5).all() and (made[:, :2] == 0.5).all() and (made[7:] == 0.5).all()
    assert (picture == 0.5).all()
