"""Out of memory: smaller batches, smaller tiles, then the CPU where it may; the same results."""

import re

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from scarcity import LEVELS, image, pictures, plenty, scarce

from genloom.card import SizeRule
from genloom.engine import arrays
from genloom.engine.room import Room, pieces
from genloom.engine.watching import Verdict, Watched
from genloom.errors import MissingRequirement, ModelError, OutOfMemory
from genloom.types import Batch, Item


@settings(max_examples=60, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(
    limit=st.integers(64 * 64 * 3, 200_000),
    count=st.integers(1, 5),
    height=st.integers(1, 150),
    width=st.integers(1, 150),
    tile=st.sampled_from([16, 80, 1536]),
    rounded=st.booleans(),
    dtype=st.sampled_from([np.uint8, np.float32]),
    together=st.booleans(),
)
def test_results_are_the_same_under_any_limit(
    catalog, limit, count, height, width, tile, rounded, dtype, together
):
    batch = pictures(count, height, width, dtype)
    wanted = image(plenty(catalog), batch, rounded=rounded)
    model, runtime = scarce(
        catalog, limits={"gpu": limit}, tile=tile, together=together, cpu_fallback=False
    )
    found = image(model, batch, rounded=rounded)
    assert found.dtype == wanted.dtype
    assert np.abs(found.astype(np.float32) - wanted).max() <= (1 if rounded else 1e-6)
    assert len([fits for *_, fits in runtime.calls if not fits]) <= 20


@pytest.mark.parametrize(("stride", "field"), [(96, 3), (40, 61), (1, 31), (8, 200)])
def test_tiles_as_small_as_they_get_keep_to_the_stride_and_the_field(catalog, stride, field):
    batch = pictures(2, 500, 700)
    wanted = image(plenty(catalog), batch)
    model, runtime = scarce(catalog, limits={"gpu": 1})
    size = SizeRule(multiple=2, stride=stride)
    card = model.card.model_copy(update={"size": size, "receptive_field": field})
    object.__setattr__(model.bundle, "card", card)
    with pytest.raises(OutOfMemory, match="in tiles of") as caught:
        image(model, batch)
    least = re.search(r"in tiles of (\d+)×(\d+)", str(caught.value))
    side = int(least[1])
    assert side >= 64 and side - 2 * (field // 2) >= max(side // 2 - size.step, size.step)
    runtime.limits = {"gpu": side * side * 3}
    assert np.abs(image(model, batch) - wanted).max() <= 1e-6


def test_memory_that_runs_out_around_a_call_makes_tiles_smaller_too(catalog, monkeypatch):
    model, _ = scarce(catalog, limits={"gpu": 10**9})
    batch = pictures(1, 300, 300, np.float32)
    wanted, shapes = image(plenty(catalog), batch), []
    original = arrays.planes

    def planes(pixels):
        shapes.append(pixels.shape[1:3])
        if shapes[-1][0] > 150:
            raise MemoryError("Unable to allocate")
        return original(pixels)

    monkeypatch.setattr(arrays, "planes", planes)
    assert np.allclose(image(model, batch), wanted, atol=1e-6)
    assert [side for side, _ in shapes[:3]] == [300, 152, 102]
    monkeypatch.setattr(arrays, "planes", lambda pixels: np.empty(2**50))
    with pytest.raises(OutOfMemory, match="has no memory for one picture of 300×300"):
        image(model, batch)


def test_the_batch_is_halved_before_tiles_are_made_smaller(catalog):
    model, runtime = scarce(catalog, limits={"gpu": 100 * 100 * 3})
    image(model, pictures(5, 100, 100, np.float32))
    assert [shape for _, shape, _ in runtime.calls] == [
        (5, 3, 100, 100),
        (2, 3, 100, 100),
        *[(1, 3, 100, 100)] * 5,
    ]


def test_then_the_tile_and_what_fitted_is_remembered(catalog):
    model, runtime = scarce(catalog, limits={"gpu": 90 * 90 * 3})
    image(model, pictures(1, 200, 200, np.float32))
    assert not all(fits for *_, fits in runtime.calls)
    runtime.calls.clear()
    image(model, pictures(1, 200, 200, np.float32, seed=1))
    shapes = {shape for _, shape, _ in runtime.calls}
    assert all(fits for *_, fits in runtime.calls) and len(shapes) == 1
    assert 64 <= shapes.pop()[3] <= 90
    assert {provider for provider, *_ in runtime.calls} == {"gpu"}
    (note,) = model.fallback.notes()
    assert note.startswith("gpu ran out of memory at 1 × 200×200, 1 × 102×102")
    assert [text.partition(" at ")[2] for text in model.fallback.reductions()] == [
        "1 × 200×200; less at a time",
        "1 × 102×102; less at a time",
    ]


def test_small_pictures_still_go_together_after_a_large_one_was_cut(catalog):
    model, runtime = scarce(catalog, limits={"gpu": 70 * 70 * 3})
    image(model, pictures(1, 200, 200, np.float32))
    runtime.calls.clear()
    image(model, pictures(5, 20, 20, np.float32))
    assert [shape for _, shape, _ in runtime.calls] == [(5, 3, 20, 20)]


def test_the_cpu_computes_what_does_not_fit_where_it_may(catalog):
    model, runtime = scarce(catalog, limits={"gpu": 1000, "cpu": 10**9}, provider="auto")
    batch = pictures(2, 100, 100)
    assert np.array_equal(image(model, batch), image(plenty(catalog), batch))
    assert runtime.calls[-1] == ("cpu", (2, 100, 100, 3), True)
    assert "on the CPU" in model.fallback.notes()[1]
    tried = len(runtime.calls)
    image(model, batch)
    assert len(runtime.calls) == tried + 1, "what cannot fit is not tried again"
    image(model, pictures(1, 10, 10))
    assert runtime.calls[-1][0] == "gpu", "what fits stays where it is"


@pytest.mark.parametrize("given", [{"provider": "gpu"}, {"cpu_fallback": False}])
def test_a_provider_asked_for_by_name_does_not_become_the_cpu(catalog, given):
    model, runtime = scarce(catalog, limits={"gpu": 1000, "cpu": 10**9}, **given)
    with pytest.raises(OutOfMemory) as caught:
        image(model, pictures(2, 300, 400))
    assert {provider for provider, *_ in runtime.calls} == {"gpu"}
    text = str(caught.value)
    assert "'tiny-image' has no memory for one picture of 400×300, in tiles of 64×64" in text
    assert "gpu ran out at 2 × 400×300, 1 × 400×300, 1 × " in text and "1 × 60×62. " in text
    assert "--cpu-fallback" in text


def test_the_cpu_may_be_asked_for(catalog):
    model, runtime = scarce(
        catalog, limits={"gpu": 1000, "cpu": 10**9}, provider="gpu", cpu_fallback=True
    )
    image(model, pictures(1, 300, 400))
    assert runtime.calls[-1][0] == "cpu"


def test_a_fall_back_that_there_is_not_is_refused(catalog):
    with pytest.raises(MissingRequirement, match="no provider 'cpu' to fall back on"):
        scarce(catalog, limits={"gpu": 1}, cpu_fallback=True)


def test_where_nothing_helps_the_error_says_what_was_tried_and_the_calls_end(catalog):
    model, runtime = scarce(catalog, limits={"gpu": 10, "cpu": 10})
    with pytest.raises(OutOfMemory, match="1 × 62×62 on the CPU") as caught:
        image(model, pictures(5, 1000, 1000))
    assert len(runtime.calls) < 40
    assert isinstance(caught.value, ModelError)
    with pytest.raises(OutOfMemory):
        image(model, pictures(1, 1000, 1000))


def test_a_graph_that_does_not_load_for_want_of_memory_goes_to_the_cpu(catalog):
    model, _ = scarce(catalog, loads=False)
    assert model.prepare(["network"], rounded=True) == "cpu"
    named, _ = scarce(catalog, loads=False, provider="gpu")
    with pytest.raises(OutOfMemory, match="no memory to load"):
        named.prepare(["network"], rounded=True)


def test_encoding_and_decoding_are_cut_into_smaller_batches_too(catalog):
    batch = Batch.images(
        [Item(key=f"k{n}", name=f"k{n}") for n in range(7)],
        np.random.default_rng(1).random((7, 8, 8, 1), np.float32),
    )
    model, runtime = scarce(catalog, "tiny-vae", limits={"gpu": 2 * 64})
    found, wanted = model.encode(batch), plenty(catalog, "tiny-vae").encode(batch)
    assert np.allclose(found.values, wanted.values)
    assert np.allclose(found.log_variance, wanted.log_variance)
    assert [shape[0] for _, shape, _ in runtime.calls] == [7, 3, 1] + [1] * 6
    assert np.allclose(model.decode(found).pixels, plenty(catalog, "tiny-vae").decode(found).pixels)


def test_a_network_that_sees_a_picture_whole_is_not_cut(catalog):
    model, runtime = scarce(catalog, limits={"gpu": 1000})
    whole = model.card.model_copy(update={"receptive_field": "global"})
    object.__setattr__(model.bundle, "card", whole)
    with pytest.raises(OutOfMemory, match="400×300, whole"):
        image(scarce_again(model, runtime), pictures(1, 300, 400))
    assert {shape[1:3] for _, shape, _ in runtime.calls} == {(300, 400)}
    blended = whole.model_copy(update={"size": SizeRule(multiple=2, overlap=8)})
    object.__setattr__(model.bundle, "card", blended)
    runtime.calls.clear()
    with pytest.raises(OutOfMemory):
        image(model, pictures(1, 300, 400))
    assert len({shape for _, shape, _ in runtime.calls}) == 1, "other tiles, other results"


def scarce_again(model, runtime):
    """The model without a CPU to fall back on."""
    model.fallback.spare = None
    return model


def test_a_precision_is_not_judged_by_a_call_that_ran_out_of_memory(catalog):
    model, _ = scarce(catalog, limits={"gpu": 5000}, precision="auto")
    network = model.networks.get("network")
    network.precision = "bf16"
    verdict = Verdict("bf16", 50.0)
    watched = Watched(network, lambda: network, verdict)
    with pytest.raises(OutOfMemory):
        watched.run({"image": np.zeros((1, 3, 99, 99), np.float32), "noise_level": LEVELS[:1]})
    assert verdict.precision == ""


def test_tiles_of_several_pictures_go_together_where_that_is_faster(catalog):
    batch = pictures(2, 100, 100, np.float32)
    wanted = image(plenty(catalog), batch)
    model, runtime = scarce(catalog, limits={"gpu": 10**9}, tile=40, together=True, batch=7)
    assert np.allclose(image(model, batch), wanted, atol=1e-6)
    assert [shape for _, shape, _ in runtime.calls] == [*[(6, 3, 36, 36)] * 3]
    model, runtime = scarce(catalog, limits={"gpu": 10**9}, tile=40, together=True)
    assert np.allclose(image(model, batch), wanted, atol=1e-6)
    assert [len(shape) and shape[0] for _, shape, _ in runtime.calls] == [16, 2]
    model, runtime = scarce(catalog, limits={"gpu": 10**9}, tile=40, batch=16)
    image(model, batch)
    assert {shape[0] for _, shape, _ in runtime.calls} == {2}, "on the CPU it gains nothing"


def test_one_value_for_all_pictures_holds_for_all_of_their_tiles_too(catalog):
    batch, level = pictures(2, 100, 100, np.float32), np.array([0.5], np.float32)
    model, _ = scarce(catalog, limits={"gpu": 10**9}, tile=40, together=True)
    found = model.image("network", batch, noise_level=level).pixels
    wanted = plenty(catalog).image("network", batch, noise_level=level).pixels
    assert np.allclose(found, wanted, atol=1e-6)


def test_tiles_that_go_together_are_bounded_in_pixels_unless_asked(catalog):
    batch = pictures(1, 1000, 600)
    for said in ({}, {"batch": 16}):
        model, runtime = scarce(catalog, limits={"gpu": 10**9}, tile=200, together=True, **said)
        image(model, batch)
        (area,) = {shape[1] * shape[2] for _, shape, _ in runtime.calls}
        most = 16 if said else 512 * 512 // area
        assert max(shape[0] for _, shape, _ in runtime.calls) == most <= 16


def test_calls_that_fail_together_are_halved_once():
    room = Room()
    for _ in range(4):
        room.ran_out(16, 100, "10×10")
    assert room.most == 800 and room.failures == ["16 × 10×10"]


@given(count=st.integers(1, 100), each=st.integers(1, 1000), limit=st.integers(1, 50_000))
def test_pieces_are_all_items_in_order_or_an_error_after_few_calls(count, each, limit):
    room, calls = Room(), 0

    def call(which):
        nonlocal calls
        calls += 1
        if (which.stop - which.start) * each > limit:
            raise MemoryError
        return list(range(which.start, which.stop))

    if each > limit:
        with pytest.raises(OutOfMemory):
            pieces(room, count, each, "item", call)
    else:
        done = pieces(room, count, each, "item", call)
        assert [item for some in done for item in some] == list(range(count))
    assert calls <= count + 8
