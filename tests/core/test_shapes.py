"""Pictures of many sizes go in few shapes, and no pixel is another for that."""

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from genloom import models
from genloom.card import Card, SizeRule
from genloom.engine import shapes, tiling
from genloom.engine.compiling import compiled
from genloom.engine.cutting import Cutting
from genloom.engine.settings import RunSettings
from genloom.errors import OutOfMemory
from genloom.runtime import Network, Runtime, Settings
from genloom.runtime.ort import OnnxRuntime
from genloom.types import Batch, Item

LEVELS = np.array([0.25, 0.5, 0.75, 1, 0.1], np.float32)


class Searching(Runtime):
    """ONNX Runtime, on a provider that wants few shapes and has memory for so many values."""

    name = "searching"

    def __init__(self, few_shapes=True, limit=10**9):
        self.few_shapes, self.limit = few_shapes, limit
        self.seen = []

    def providers(self):
        return ("gpu",)

    def compile(self, graph, settings):
        network = OnnxRuntime().compile(graph, Settings(provider="cpu", threads=1))
        return _Searching(network, self)


class _Searching(Network):
    def __init__(self, network, runtime):
        self.network, self.runtime, self.provider = network, runtime, "gpu"
        self.inputs, self.outputs, self.types = network.inputs, network.outputs, network.types
        self.few_shapes = self.together = runtime.few_shapes

    def run(self, inputs):
        if max(array.size for array in inputs.values()) > self.runtime.limit:
            raise OutOfMemory("Failed to allocate memory")
        self.runtime.seen.append(max(map(np.shape, inputs.values()), key=len))
        return self.network.run(inputs)


def searching(catalog, familiar=0, **said):
    """A model that has met so many sizes that go as they are."""
    runtime = Searching(**said)
    chosen = RunSettings(precision="fp32")
    model = compiled(models.find("tiny-image", catalog), catalog, runtime, chosen, 1)
    for n in range(familiar):
        model.images._familiar.has(n)
    return model, runtime


def image(model, height, width, count=1, dtype=np.uint8):
    random = np.random.default_rng(height * 1000 + width)
    pixels = random.integers(0, 256, (count, height, width, 3), np.uint8)
    pixels = pixels if dtype == np.uint8 else pixels.astype(np.float32) / 255
    items = [Item(key=f"k{n}", name=f"k{n}") for n in range(count)]
    batch = Batch.images(items, pixels)
    return model.image("network", batch, noise_level=LEVELS[:count]).pixels


def test_a_hundred_sizes_are_seen_in_few_shapes_and_come_out_the_same(catalog):
    few, runtime = searching(catalog)
    plain, whole = searching(catalog, few_shapes=False)
    random = np.random.default_rng(5)
    sizes = [tuple(map(int, random.integers(96, 600, 2))) for _ in range(100)]
    for height, width in sizes:
        assert np.array_equal(image(few, height, width), image(plain, height, width))
    assert len(set(whole.seen)) > 90
    assert len(set(runtime.seen)) <= 30


def test_a_folder_of_few_sizes_goes_as_it_is(catalog):
    few, runtime = searching(catalog)
    for _ in range(2):
        for height in range(100, 100 + 2 * shapes.MOST_SIZES, 2):
            image(few, height, 150)
    assert {shape[1:3] for shape in runtime.seen} == {(n, 150) for n in range(100, 116, 2)}
    image(few, 300, 300)
    assert {shape[1:3] for shape in runtime.seen[-2:]} == {(64, 64)}


ANY = settings(max_examples=40, suppress_health_check=[HealthCheck.function_scoped_fixture])


@ANY
@given(height=st.integers(1, 400), width=st.integers(1, 400), count=st.integers(1, 5))
def test_pixels_are_those_of_pictures_that_go_whole(catalog, height, width, count):
    few, runtime = searching(catalog, shapes.MOST_SIZES)
    plain, _ = searching(catalog, few_shapes=False)
    found = image(few, height, width, count, np.float32)
    assert np.allclose(found, image(plain, height, width, count, np.float32), atol=1e-6)
    assert {shape[0] for shape in runtime.seen} <= {1, 2, 4, 8, 16}


@ANY
@given(limit=st.integers(64 * 64 * 3, 100_000), height=st.integers(64, 300))
def test_where_memory_is_scarce_tiles_get_smaller_still(catalog, limit, height):
    few, runtime = searching(catalog, shapes.MOST_SIZES, limit=limit)
    plain, _ = searching(catalog, few_shapes=False)
    assert np.array_equal(image(few, height, 200), image(plain, height, 200))
    assert runtime.seen


@given(
    height=st.integers(1, 4000),
    width=st.integers(1, 4000),
    margin=st.sampled_from([0, 9, 30, 131]),
    step=st.sampled_from([1, 8, 20, 96, 384]),
    least=st.sampled_from([1, 100]),
    most=st.integers(1, 2000),
)
def test_a_side_is_one_of_few_and_its_tiles_are_all_alike(height, width, margin, step, least, most):
    height, width = -(-height // step) * step, -(-width // step) * step
    rules = {"margin": margin, "step": step, "least": least, "most": most}
    side = shapes.tile(height, width, work=2, **rules)
    if side is None:
        return
    listed = {first * 2**power // step * step for first in (64, 96) for power in range(7)}
    assert least <= side <= min(most, height, width) and side in listed
    tiles = list(tiling.tiles((height, width), (side, side), margin, step))
    assert {(tile.rows.length, tile.columns.length) for tile in tiles} == {(side, side)}
    assert len(tiles) * side * side <= 2 * height * width


@pytest.mark.parametrize(
    ("height", "width", "margin", "step", "side"),
    [
        (1000, 1000, 9, 1, 512),  # two by two of 494 and the margins
        (512, 512, 9, 1, 512),
        (63, 900, 9, 1, None),  # too narrow
        (1000, 1000, 131, 8, None),  # four of 768 would be 2.4 times the work
        (1004, 1000, 9, 8, None),  # the last tile would be shorter
        (768, 1156, 46, 384, None),
    ],
)
def test_what_goes_whole_and_what_does_not(height, width, margin, step, side):
    found = shapes.tile(height, width, margin=margin, step=step, least=1, most=1536, work=2)
    assert found == side


def test_thin_pictures_are_not_cut_into_tiles_that_are_nearly_all_margin():
    card = Card.model_construct(name="wide", receptive_field=239, size=SizeRule())
    usual = Cutting(card).tiles(247, 30000)
    few = Cutting(card).tiles(247, 30000, few_shapes=True)
    work = [sum(t.rows.length * t.columns.length for t in tiles) for tiles in (usual, few)]
    assert work[1] <= shapes.MOST_WORK * work[0]


def test_counts_are_powers_of_two():
    counts = [1, 2, 3, 4, 7, 8, 15, 16, 17]
    assert [shapes.at_most(n) for n in counts] == [1, 2, 2, 4, 4, 8, 8, 16, 16]


def test_networks_that_see_pictures_whole_are_not_cut_for_it():
    for rule in ({"size": SizeRule()}, {"size": SizeRule(overlap=16)}):
        card = Card.model_construct(name="x", receptive_field="global", **rule)
        assert len(Cutting(card).tiles(700, 900, few_shapes=True)) == 1
