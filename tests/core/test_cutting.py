"""Tiles are as large as pays for the model, and no larger than a picture needs them."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from genloom.card import Card, Part, SizeRule
from genloom.engine.cutting import SIDES, TILE, WORTH, Cutting, usual_side


def card(field, **rule):
    return Card.model_construct(name="x", receptive_field=field, size=SizeRule(**rule))


def computed(tiles):
    return sum(tile.rows.length * tile.columns.length for tile in tiles)


@pytest.mark.parametrize(
    ("field", "rule", "side"),
    [
        (11, {}, 768),
        (39, {}, 768),
        (45, {"multiple": 8}, 768),
        (83, {"multiple": 8}, 1024),
        (263, {"multiple": 8}, 1536),
        (93, {"multiple": 4, "stride": 384}, 1536),  # of 768 or 1024 less than half would be kept
        (3000, {}, 1536),
        ("global", {}, 1536),
        ("global", {"overlap": 32}, 1536),
        (39, {"fixed": (256, 256)}, 1536),
    ],
)
def test_the_side_is_the_smallest_that_costs_hardly_more(field, rule, side):
    assert usual_side(card(field, **rule)) == Cutting(card(field, **rule)).tile == side


@given(height=st.integers(300, 6000), width=st.integers(300, 6000), margin=st.integers(0, 300))
def test_no_picture_is_computed_much_more_often_than_endless_ones_in_the_largest_tiles(
    height, width, margin
):
    tiles = Cutting(card(2 * margin + 1)).tiles(height, width)
    most = WORTH * (TILE / (TILE - 2 * margin)) ** 2
    assert computed(tiles) <= 1.02 * most * height * width  # sides are whole numbers


def test_tiles_share_a_picture_evenly():
    tiles = Cutting(card(39), 1536).tiles(2448, 3264)
    assert {(tile.rows.length, tile.columns.length) for tile in tiles} == {(1243, 1114)}
    assert len(tiles) == 6


@pytest.mark.parametrize(
    "model",
    [
        card("global", overlap=16),
        card("global", fixed=(64, 64), overlap=16),
        card(39, fixed=(64, 64)),
    ],
)
def test_tiles_that_are_blended_or_of_one_size_stay_as_they_are(model):
    tiles = Cutting(model, 64).tiles(150, 130)
    assert {(tile.rows.length, tile.columns.length) for tile in tiles} == {(64, 64)}


def test_networks_of_squares_get_squares():
    tiles = Cutting(card(9, square=True), 64).tiles(140, 140)
    other = Cutting(card(9, square=True), 64).tiles(70, 140)
    assert all(tile.rows.length == tile.columns.length < 64 for tile in (*tiles, *other))


def test_no_tile_is_smaller_than_the_network_takes():
    tiles = Cutting(card(3, minimum=50), 64).tiles(66, 200)
    assert min(tile.rows.length for tile in tiles) >= 50


@given(
    field=st.one_of(st.integers(1, 150), st.just("global")),
    multiple=st.integers(1, 8),
    stride=st.integers(1, 48),
    minimum=st.integers(1, 200),
    square=st.booleans(),
    size=st.tuples(st.integers(1, 500), st.integers(1, 500)),
    asked=st.integers(16, 400),
    most=st.one_of(st.none(), st.integers(1, 90_000)),
    few_shapes=st.booleans(),
)
def test_every_tile_is_of_a_size_that_the_network_takes(
    field, multiple, stride, minimum, square, size, asked, most, few_shapes
):
    rule = {"multiple": multiple, "stride": stride, "minimum": minimum, "square": square}
    model = card(field, **rule, overlap=20 if field == "global" else 0)
    tiles = Cutting(model, asked).tiles(*model.size.padded(*size), most, few_shapes=few_shapes)
    for tile in tiles:
        rows, columns = tile.rows.length, tile.columns.length
        assert min(rows, columns) >= minimum
        assert rows % multiple == columns % multiple == 0
        assert rows == columns or not square


def test_sides_that_are_tried_grow():
    assert list(SIDES) == sorted(SIDES) and SIDES[-1] == TILE


@pytest.mark.parametrize(
    ("model", "makes", "why"),
    [
        (card("global"), "result", "sees a picture whole"),
        (card("global"), "log_level", ""),
        (card("global", fixed=(28, 28)), "image", "takes one size only"),
        (card(263, multiple=8), "result", "sees 263 pixels far, so they are of 528"),
        (card(39), "result", ""),
        (card("global", overlap=16), "result", ""),
    ],
)
def test_it_says_why_tiles_are_not_as_asked(model, makes, why):
    part = Part.model_construct(outputs={makes: None})
    said = Cutting(model.model_copy(update={"parts": {"part": part}}), 100).unheeded
    assert why in said if why else said == ""
