"""Items, batches, pixels as numbers, and chance."""

from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as arrays

from genloom.types import (
    Batch,
    Item,
    Kind,
    as_dtype,
    as_float,
    digest_of,
    join,
    random_state,
)

DTYPES = [np.uint8, np.uint16, np.float32]


def items(count):
    return [Item(key=f"0/{n}.png", name=str(n)) for n in range(count)]


def images(count=2, size=(3, 5), channels=3, dtype=np.uint8):
    values = np.arange(count * size[0] * size[1] * channels) % 251
    return Batch.images(items(count), values.reshape(count, *size, channels).astype(dtype))


def latents(count=2, *, variance=True):
    mean = np.arange(count * 4, dtype=np.float32).reshape(count, 4)
    return Batch.latents(
        items(count), mean, model="digest", log_variance=-mean if variance else None
    )


@pytest.mark.parametrize(("dtype", "top"), [(np.uint8, 255), (np.uint16, 65535)])
def test_every_whole_pixel_value_survives_the_way_to_floats_and_back(dtype, top):
    every = np.arange(top + 1, dtype=dtype)
    floats = as_float(every)
    assert floats.dtype == np.float32
    assert floats[0] == 0
    assert floats[-1] == pytest.approx(1, abs=1e-6)
    assert (np.diff(floats) > 0).all()
    np.testing.assert_array_equal(as_dtype(floats, dtype), every)


def test_every_8_bit_value_survives_the_way_to_16_bits_and_back():
    every = np.arange(256, dtype=np.uint8)
    deep = as_dtype(every, np.uint16)
    assert (deep[0], deep[-1]) == (0, 65535)
    np.testing.assert_array_equal(deep, every.astype(np.uint16) * 257)
    np.testing.assert_array_equal(as_dtype(deep, np.uint8), every)


@pytest.mark.parametrize("dtype", [np.uint8, np.uint16])
def test_values_out_of_range_are_clamped_and_what_is_no_finite_number_is_refused(dtype):
    top = np.iinfo(dtype).max
    wild = np.array([-1e30, -0.1, 1.1, 1e30], np.float32)
    assert as_dtype(wild, dtype).tolist() == [0, 0, top, top]
    for value in (np.nan, np.inf, -np.inf):
        with pytest.raises(ValueError, match="not all pixels are finite numbers: 1 of 5"):
            as_dtype(np.append(wild, np.float32(value)), dtype)


@given(arrays.arrays(np.float32, 8, elements=st.floats(0, 1, width=32)))
def test_rounding_is_to_the_nearest_step(values):
    back = as_float(as_dtype(values, np.uint8))
    assert np.abs(back - values).max() <= 0.5 / 255 + 1e-6


def test_floats_are_handed_on_as_they_are_and_never_changed_in_place():
    values = np.array([-0.5, 0.25, 2], np.float32)
    before = values.copy()
    as_dtype(values, np.uint8)
    np.testing.assert_array_equal(values, before)
    assert as_float(values) is values
    assert as_dtype(values, np.float32) is values


def test_a_batch_has_one_value_for_each_item():
    with pytest.raises(ValueError, match="2 items but 3 values"):
        Batch.images(items(2), np.zeros((3, 4, 4, 1), np.uint8))


def test_pictures_have_four_axes():
    with pytest.raises(ValueError, match="N×H×W×C"):
        Batch.images(items(2), np.zeros((2, 4, 4), np.uint8))


def test_a_variance_has_the_shape_of_its_mean():
    with pytest.raises(ValueError, match="log_variance"):
        Batch.latents(
            items(2),
            np.zeros((2, 4), np.float32),
            model="m",
            log_variance=np.zeros((2, 3), np.float32),
        )


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("channels", [1, 3])
def test_data_is_the_pixels_as_contiguous_floats_with_channels_first(dtype, channels):
    batch = images(channels=channels, dtype=dtype)
    data = batch.data
    assert data.shape == (2, channels, 3, 5)
    assert data.dtype == np.float32
    assert data.flags.c_contiguous
    assert data[1, channels - 1, 2, 4] == as_float(batch.pixels)[1, 2, 4, channels - 1]


@pytest.mark.parametrize("dtype", [np.uint8, np.uint16])
def test_with_data_of_data_gives_the_same_pixels(dtype):
    batch = images(dtype=dtype)
    again = batch.with_data(batch.data)
    assert again.items == batch.items
    np.testing.assert_array_equal(as_dtype(again.pixels, dtype), batch.pixels)


def test_with_data_does_not_clamp():
    batch = images()
    wide = batch.with_data(batch.data * 100 - 5).pixels
    assert wide.min() < 0 < 1 < wide.max()


def test_data_of_latents_is_their_mean_as_it_is():
    batch = latents()
    assert batch.data is batch.values
    changed = batch.with_data(batch.data + 1)
    np.testing.assert_array_equal(changed.values, batch.values + 1)
    assert changed.model == "digest"


def test_a_batch_says_its_size_and_its_bytes_with_variance_and_alpha():
    assert images(size=(3, 5)).size == (3, 5)
    assert latents().nbytes == 2 * (2 * 4 * 4)
    assert Batch.nothing(items(3)).nbytes == 0
    alpha = np.zeros((3, 5), np.uint8)
    seen = images(1).with_items([Item(key="k", name="n", alpha=alpha)])
    assert seen.nbytes == 3 * 5 * 3 + 3 * 5


@pytest.mark.parametrize("make", [images, latents, lambda: Batch.nothing(items(2))])
def test_a_batch_falls_into_batches_of_one_and_they_join_to_the_same(make):
    batch = make()
    parts = list(batch)
    assert [len(part) for part in parts] == [1, 1]
    whole = join(parts)
    assert (whole.kind, whole.items, whole.model) == (batch.kind, batch.items, batch.model)
    np.testing.assert_array_equal(whole.values, batch.values)
    if batch.log_variance is not None:
        np.testing.assert_array_equal(whole.log_variance, batch.log_variance)


@given(st.integers(0, 5), st.integers(0, 5))
def test_a_slice_keeps_values_and_items_together(start, stop):
    part = latents(5)[start:stop]
    assert [item.name for item in part.items] == [str(n) for n in range(5)[start:stop]]
    np.testing.assert_array_equal(part.values, latents(5).values[start:stop])
    np.testing.assert_array_equal(part.log_variance, -part.values)


def test_what_does_not_belong_together_does_not_join():
    with pytest.raises(ValueError, match="join"):
        join([images(1), latents(1)])
    with pytest.raises(ValueError, match="join"):
        join([latents(1), latents(1, variance=False)])


def test_a_child_has_a_key_and_a_name_of_its_own():
    item = Item(key="0/a.png", name="a", source=Path("a.png"))
    child = item.child(7)
    assert (child.key, child.name, child.source) == ("0/a.png#7", "a-007", item.source)


def test_a_note_is_kept_once():
    item = Item(key="k", name="n").noting("cut").noting("cut").noting("grey")
    assert item.notes == ("cut", "grey")


def test_kinds_are_equal_by_name_and_open_to_more():
    assert Kind("image") == Kind.IMAGE
    assert str(Kind("sound")) == "sound"
    assert Kind("sound") != Kind.IMAGE


# A change of these numbers changes every picture that was ever sampled: see rule 2.
PINNED = [
    (
        (0, "sample", "sample-000000"),
        [-0.45619499385280304, 0.2830658820963729, 1.7445433042863088],
    ),
    (
        (7, "sample", "sample-000000"),
        [-0.5215972345601061, 1.0883292340117432, -0.5902720723106258],
    ),
    (
        (0, "sample", "0/größe.png#3"),
        [-0.08374711798288845, -1.4104674292765698, -0.31275580583169704],
    ),
]


@pytest.mark.parametrize(("place", "numbers"), PINNED)
def test_the_random_numbers_of_a_place_never_change(place, numbers):
    np.testing.assert_allclose(random_state(*place).standard_normal(3), numbers, atol=1e-8)


PLACES = st.tuples(st.integers(0, 2**63 - 1), st.text(max_size=9), st.text(max_size=20))


@given(PLACES, PLACES)
def test_random_numbers_depend_on_seed_stage_and_key_and_on_nothing_else(one, other):
    first = random_state(*one).randint(2**31, size=8)
    random_state(*other).standard_normal(100)
    np.testing.assert_array_equal(random_state(*one).randint(2**31, size=8), first)
    plain = all("\0" not in text for text in (*one[1:], *other[1:]))
    if plain and one != other:
        assert (random_state(*other).randint(2**31, size=8) != first).any()


def test_a_digest_does_not_depend_on_the_order_of_keys():
    assert digest_of({"a": 1, "b": [1, "x"]}) == digest_of({"b": [1, "x"], "a": 1})
    assert digest_of({"a": 1}) != digest_of({"a": 2})
    assert digest_of({"path": Path("a/b")}) == digest_of({"path": "a/b"})
