"""Tiles cover a picture exactly once, at offsets a strided network can bear."""

import itertools

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from genloom.engine import tiling


@given(
    blocks=st.integers(1, 60),
    multiple=st.sampled_from([1, 2, 4, 8]),
    margin=st.integers(0, 20),
    spare=st.integers(1, 10),
)
def test_spans_keep_every_pixel_once_and_stay_clear_of_inner_edges(blocks, multiple, margin, spare):
    length = blocks * multiple
    rounded = -(-margin // multiple) * multiple
    tile = 2 * rounded + spare * multiple
    spans = tiling.spans(length, tile, margin, multiple)
    assert spans[0].keep_from == 0 and spans[-1].keep_to == length
    for before, after in itertools.pairwise(spans):
        assert before.keep_to == after.keep_from
    for span in spans:
        assert span.start % multiple == 0
        assert span.length == min(tile, length)
        assert span.start >= 0 and span.start + span.length <= length
        assert span.keep_from == 0 or span.keep_from - span.start >= margin
        assert span.keep_to == length or span.start + span.length - span.keep_to >= margin


@given(
    length=st.integers(1, 3000),
    multiple=st.sampled_from([1, 2, 8, 48]),
    margin=st.integers(0, 60),
    spare=st.integers(1, 30),
)
def test_the_shortest_tiles_are_as_few_and_no_shorter_ones_would_do(
    length, multiple, margin, spare
):
    tile = (-(-2 * margin // multiple) + spare) * multiple
    count = len(tiling.spans(length, tile, margin, multiple))
    short = tiling.shortest(length, tile, margin, multiple)
    assert short <= tile and short % multiple == 0
    assert len(tiling.spans(length, short, margin, multiple)) == count
    if count > 1 and short - multiple >= 2 * margin + multiple:
        assert len(tiling.spans(length, short - multiple, margin, multiple)) > count


def test_a_picture_no_larger_than_a_tile_is_one_tile():
    assert len(list(tiling.tiles((64, 48), (64, 64), 10, 8))) == 1


def test_a_tile_too_small_for_its_margin_is_refused_with_the_size_needed():
    with pytest.raises(ValueError, match="at least 72"):
        tiling.spans(1000, 64, 32, 8)


def test_the_last_tile_is_shorter_where_the_axis_is_no_multiple():
    first, last = tiling.spans(45, 32, 4, 8)
    assert (first.start, first.length, last.start, last.length) == (0, 32, 16, 29)
    assert first.keep_to == last.keep_from == 28


def test_blended_tiles_count_the_same_everywhere_at_the_picture_s_edges():
    spans = tiling.spans(40, 16, 4, 1)
    total = np.zeros(80)
    for span in spans:
        total[span.start * 2 : (span.start + span.length) * 2] += tiling.weights(span, 40, 8, 2)
    assert total.min() > 0
    assert total[0] == total[-1] == 1


@given(height=st.integers(1, 300), width=st.integers(1, 300), most=st.integers(1, 9))
def test_tiles_go_together_in_their_order_and_in_one_shape(height, width, most):
    tiles = list(tiling.tiles((height, width), (40, 40), 4, 8))
    groups = list(tiling.together(tiles, most))
    assert [tile for group in groups for tile in group] == tiles
    for group in groups:
        assert len({(tile.rows.length, tile.columns.length) for tile in group}) == 1
        assert 1 <= len(group) <= most
