"""Compiled models: any size and colour in, tiles equal to the whole."""

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from genloom import models
from genloom.card import Port, SizeRule
from genloom.engine.arrays import reflect, turn, with_channels
from genloom.engine.compiling import compiled, runtime_named
from genloom.engine.inference import ImageInference
from genloom.engine.model import CompiledModel
from genloom.engine.networks import Form
from genloom.engine.settings import RunSettings
from genloom.errors import ModelError
from genloom.types import Batch, Item, as_float


def items(count):
    return [Item(key=f"k{index}", name=f"k{index}") for index in range(count)]


def picture(*shape, dtype=np.uint8, seed=0):
    random = np.random.default_rng(seed)
    if dtype == np.float32:
        return random.random(shape, np.float32)
    return random.integers(0, np.iinfo(dtype).max + 1, shape, dtype)


@pytest.fixture
def open_tiny(catalog):
    def make(name="tiny-image", **settings):
        run_settings = RunSettings(**settings)
        bundle = models.find(name, catalog)
        runtime = runtime_named(catalog, "onnxruntime")
        return compiled(bundle, catalog, runtime, run_settings, 1)

    return make


def blur(pixels):
    """What tiny-image does, written in numpy."""
    floats = np.pad(as_float(pixels), ((0, 0), (1, 1), (1, 1), (0, 0)))
    height, width = pixels.shape[1:3]
    parts = [floats[:, y : y + height, x : x + width] for y in range(3) for x in range(3)]
    return sum(parts) / np.float32(9)


def put(model, network):
    """Put something in the place of the graph, that is given floats."""
    model.networks.folds = lambda part: False
    model.networks._networks["network", Form.FLOATS] = network


LEVEL = {"noise_level": np.ones(1, np.float32)}


@pytest.mark.parametrize("dtype", [np.uint8, np.uint16, np.float32])
def test_a_network_sees_pixels_in_the_unit_range_whatever_their_type(open_tiny, dtype):
    pixels = picture(1, 10, 12, 3, dtype=dtype)
    result = open_tiny().image("network", Batch.images(items(1), pixels), **LEVEL)
    assert result.pixels.dtype == np.float32
    assert np.allclose(result.pixels, blur(pixels), atol=1e-6)


@settings(
    max_examples=40,
    deadline=None,
    suppress_health_check=[HealthCheck.function_scoped_fixture],
)
@given(height=st.integers(1, 90), width=st.integers(1, 90), tile=st.integers(16, 40))
def test_tiled_equals_untiled_at_every_size(open_tiny, height, width, tile):
    pixels = picture(2, height, width, 3, seed=height * 100 + width)
    batch = Batch.images(items(2), pixels)
    level = {"noise_level": np.array([1, 0.5], np.float32)}
    whole = open_tiny(tile=1000).image("network", batch, **level).pixels
    tiled = open_tiny(tile=tile).image("network", batch, **level).pixels
    assert whole.shape == pixels.shape
    assert np.allclose(whole, tiled, atol=1e-6)


def test_large_pictures_really_are_cut(open_tiny, monkeypatch):
    shapes = []
    original = ImageInference._result

    def spy(self, networks, part, form, image, others):
        shapes.append(image.shape)
        return original(self, networks, part, form, image, others)

    monkeypatch.setattr(ImageInference, "_result", spy)
    batch = Batch.images(items(1), picture(1, 100, 100, 3))
    open_tiny(tile=40).image("network", batch, **LEVEL)
    assert len(shapes) > 4
    assert set(shapes) == {(1, 36, 36, 3)}, "tiles have one shape, the smallest of which as few do"


def test_grey_stays_grey_through_a_colour_network(open_tiny):
    pixels = picture(1, 9, 9, 1)
    result = open_tiny().image("network", Batch.images(items(1), pixels), **LEVEL)
    assert result.pixels.shape == (1, 9, 9, 1)
    inner = (slice(None), slice(1, -2), slice(1, -2))
    assert np.allclose(result.pixels[inner], blur(pixels)[inner], atol=1e-6)


def test_colour_through_a_grey_network_is_done_colour_by_colour(open_tiny, catalog):
    model = open_tiny()
    grey = CompiledModel(model.bundle, model.backend, model.networks._compile)
    card = model.card.model_copy(update={"channels": 1})
    object.__setattr__(grey.bundle, "card", card)
    seen = []

    class Echo:
        together = few_shapes = False

        def run(self, inputs):
            seen.append({name: array.shape for name, array in inputs.items()})
            return {"result": inputs["image"]}

    put(grey, Echo())
    pixels = picture(2, 8, 6, 3)
    level = np.array([0.1, 0.2], np.float32)
    result = grey.image("network", Batch.images(items(2), pixels), noise_level=level)
    assert seen == [{"image": (6, 1, 8, 6), "noise_level": (6,)}]
    assert np.allclose(result.pixels, as_float(pixels))


def test_a_model_of_one_size_gets_pictures_of_that_size_and_says_so(open_tiny):
    model = open_tiny("tiny-vae")
    encoded = model.encode(Batch.images(items(1), picture(1, 20, 30, 3)))
    assert encoded.values.shape == (1, 4)
    assert encoded.log_variance.shape == (1, 4)
    assert "resized from 30×20 to the model's 8×8" in encoded.items[0].notes
    assert model.decode(encoded).pixels.shape == (1, 8, 8, 1)


def test_what_is_encoded_can_be_decoded(open_tiny):
    model = open_tiny("tiny-vae")
    flat = np.kron(np.array([[0.1, 0.4], [0.6, 0.9]], np.float32), np.ones((4, 4), np.float32))
    batch = Batch.images(items(1), flat[None, ..., None])
    assert np.allclose(model.decode(model.encode(batch)).pixels, flat[None, ..., None], atol=1e-6)


def test_latents_of_another_model_are_refused(open_tiny):
    model = open_tiny("tiny-vae")
    with pytest.raises(ModelError, match="another model"):
        model.decode(Batch.latents(items(1), np.zeros((1, 4), np.float32), model="f" * 64))


def test_a_model_that_sees_a_picture_whole_is_never_cut(open_tiny, monkeypatch):
    model = open_tiny(tile=16)
    card = model.card.model_copy(update={"receptive_field": "global"})
    object.__setattr__(model.bundle, "card", card)
    assert len(model.cutting.tiles(400, 400)) == 1
    fixed = card.model_copy(update={"size": SizeRule(fixed=(64, 64))})
    object.__setattr__(model.bundle, "card", fixed)
    with pytest.raises(ModelError, match="one size only"):
        model.cutting.tiles(100, 100)


def test_a_model_of_one_size_with_a_finite_field_is_tiled(open_tiny):
    model = open_tiny()
    card = model.card.model_copy(update={"size": SizeRule(fixed=(16, 16))})
    object.__setattr__(model.bundle, "card", card)
    pixels = picture(1, 37, 11, 3)
    result = model.image("network", Batch.images(items(1), pixels), **LEVEL)
    inner = (slice(None), slice(1, -1), slice(1, -1))
    assert np.allclose(result.pixels[inner], blur(pixels)[inner], atol=1e-6)


def changed(model, **fields):
    """The model with another card."""
    card = model.card.model_copy(update=fields)
    object.__setattr__(model.bundle, "card", card)
    return model


def seen_by(model, function):
    """Put a function in the place of the graph; gives the shapes it is called with."""
    shapes = []

    class Spy:
        together = few_shapes = False

        def run(self, inputs):
            shapes.append(inputs["image"].shape)
            return {"result": function(inputs["image"])}

    put(model, Spy())
    return shapes


def test_a_graph_for_one_picture_gets_one_at_a_time(open_tiny):
    model = open_tiny()
    port = Port(axes=(1, 3, "height", "width"))
    part = model.card.parts["network"].model_copy(
        update={"inputs": {"image": port}, "outputs": {"result": port}}
    )
    shapes = seen_by(changed(model, parts={"network": part}), lambda image: image)
    pixels = picture(3, 8, 6, 3)
    result = model.image("network", Batch.images(items(3), pixels))
    assert shapes == [(1, 3, 8, 6)] * 3
    assert np.allclose(result.pixels, as_float(pixels))


@pytest.mark.parametrize("size", [(37, 11), (20, 12), (64, 100), (5, 5)])
def test_every_tile_of_a_model_of_one_size_has_that_size(open_tiny, size):
    rule = SizeRule(fixed=(20, 12), stride=2)
    model = changed(open_tiny(), size=rule, receptive_field=3)
    shapes = seen_by(model, lambda image: image)
    pixels = picture(1, *size, 3)
    result = model.image("network", Batch.images(items(1), pixels))
    assert set(shapes) == {(1, 3, 20, 12)}
    assert np.allclose(result.pixels, as_float(pixels))


def test_tiles_begin_at_multiples_of_the_stride_though_the_picture_is_none(open_tiny):
    model = changed(open_tiny(tile=32), size=SizeRule(stride=8), receptive_field=5)
    shapes = seen_by(model, lambda image: image)
    pixels = picture(1, 61, 83, 3)
    result = model.image("network", Batch.images(items(1), pixels))
    assert all(
        tile.rows.start % 8 == tile.columns.start % 8 == 0 for tile in model.cutting.tiles(61, 83)
    )
    assert {shape[2] for shape in shapes} == {32, 29}
    assert np.allclose(result.pixels, as_float(pixels))


def test_a_square_model_gets_squares(open_tiny):
    model = changed(open_tiny(), size=SizeRule(multiple=4, square=True))
    shapes = seen_by(model, lambda image: image)
    result = model.image("network", Batch.images(items(1), picture(1, 9, 17, 3)))
    assert shapes == [(1, 3, 20, 20)] and result.size == (9, 17)


@pytest.mark.parametrize("rule", [SizeRule(overlap=8), SizeRule(overlap=8, fixed=(24, 24))])
def test_a_model_that_sees_a_picture_whole_is_cut_and_blended_where_that_was_asked(open_tiny, rule):
    model = changed(open_tiny(tile=24), size=rule, receptive_field="global")
    mean = lambda image: image - image.mean(axis=(2, 3), keepdims=True)  # noqa: E731
    shapes = seen_by(model, mean)
    flat = np.full((1, 70, 50, 3), 0.4, np.float32)
    assert np.allclose(model.image("network", Batch.images(items(1), flat)).pixels, 0, atol=1e-6)
    assert len(shapes) > 4
    ramp = np.linspace(0, 1, 70, dtype=np.float32)[None, :, None, None] * np.ones_like(flat)
    result = model.image("network", Batch.images(items(1), ramp)).pixels
    assert np.abs(np.diff(result[0], axis=0)).max() < 0.05, "no seam"


def test_padding_is_that_of_the_tools_networks_come_from():
    row = np.array([[1, 2, 3]], np.float32)[None, ..., None]
    assert reflect(row, 2, 7)[0, :, :, 0].tolist() == [[1, 2, 3, 2, 1, 1, 1]] * 2


@pytest.mark.parametrize(
    ("rule", "field", "side"),
    [
        (SizeRule(multiple=2), 101, 200),
        (SizeRule(multiple=2, stride=48), 3, 96),
        (SizeRule(multiple=2, stride=10), 11, 20),
    ],
)
def test_tiles_are_never_smaller_than_what_keeps_half_of_their_side(open_tiny, rule, field, side):
    model = changed(open_tiny(tile=16), size=rule, receptive_field=field)
    assert str(model.cutting) == f"tiles of {side}, field {field} px"
    pixels = picture(1, 200, 98, 3)
    result = model.image("network", Batch.images(items(1), pixels), **LEVEL)
    assert np.allclose(result.pixels, blur(pixels), atol=1e-5)
    assert model.image("network", Batch.images(items(1), pixels[:, :1, :1]), **LEVEL).size == (1, 1)


@pytest.mark.parametrize("ensemble", [0, -1, 3, 16, "2"])
def test_an_ensemble_of_another_number_of_ways_is_refused(open_tiny, ensemble):
    batch = Batch.images(items(1), picture(1, 8, 8, 3))
    with pytest.raises(ModelError, match="'ensemble' is not right; expected 1 or 2 or 4 or 8"):
        open_tiny().image("network", batch, ensemble=ensemble, **LEVEL)


def test_a_graph_that_does_not_compile_is_told_with_its_model_and_part(open_tiny):
    model = open_tiny()
    model.networks._compile = lambda graph, precision: runtime_fails()
    with pytest.raises(ModelError, match=r"^'network' of the model 'tiny-image': it does not load"):
        model.network("network")


def runtime_fails():
    raise ModelError("it does not load")


def test_the_prior_draws_each_item_from_its_own_numbers(open_tiny):
    model = open_tiny("tiny-vae")
    seeds = [np.random.RandomState(seed) for seed in (1, 2, 1)]
    latents = model.prior(items(3), seeds, temperature=1.0).values
    assert np.array_equal(latents[0], latents[2]) and not np.array_equal(latents[0], latents[1])
    seeds = [np.random.RandomState(1)] * 2
    assert (model.prior(items(2), seeds, temperature=0.0).values == 0).all()


def test_a_damaged_graph_is_refused_when_it_is_needed(open_tiny, tmp_path, catalog, tiny_bundles):
    import shutil

    folder = shutil.copytree(tiny_bundles / "tiny-image", tmp_path / "bundle")
    graph = folder / "network.onnx"
    graph.write_bytes(graph.read_bytes() + b"x")
    bundle = models.Bundle.open(folder)
    runtime = runtime_named(catalog, "onnxruntime")
    model = compiled(bundle, catalog, runtime, RunSettings(), 1)
    with pytest.raises(ModelError, match="not the one the card describes"):
        model.network("network")


@given(h=st.integers(1, 12), w=st.integers(1, 12), to=st.tuples(*[st.integers(1, 60)] * 2))
def test_reflection_pads_to_any_size_and_keeps_the_picture(h, w, to):
    pixels = picture(1, h, w, 3)
    padded = reflect(pixels, *(max(pair) for pair in zip((h, w), to, strict=True)))
    assert padded.shape == (1, max(h, to[0]), max(w, to[1]), 3)
    assert np.array_equal(padded[:, :h, :w], pixels)


def test_channels_are_matched_without_changing_grey():
    grey = picture(1, 3, 3, 1)
    assert np.array_equal(with_channels(grey, 3)[..., 1:2], grey)
    assert np.allclose(with_channels(with_channels(grey, 3), 1), as_float(grey), atol=1e-6)


WAYS = {1: [(0, 1)], 2: [(0, 1)], 4: [(0, 1), (0, -1)], 8: [(0, 1), (0, -1), (1, 0), (-1, 0)]}
"""Where a network that moves pictures to the right moves them to, turned in so many ways."""


@pytest.mark.parametrize("ensemble", WAYS)
@pytest.mark.parametrize("channels", [1, 3])
def test_an_ensemble_is_the_mean_over_pictures_turned_and_mirrored(open_tiny, ensemble, channels):
    model, sizes = open_tiny(), []

    class Right:
        together = few_shapes = False

        def run(self, inputs):
            sizes.append(inputs["image"].shape[2:])
            return {"result": np.roll(inputs["image"], 1, axis=3)}

    put(model, Right())
    pixels = picture(2, 8, 6, channels)
    batch = Batch.images(items(2), pixels)
    result = model.image("network", batch, ensemble=ensemble, noise_level=np.zeros(2, np.float32))
    moved = [np.roll(as_float(pixels), way, axis=(1, 2)) for way in WAYS[ensemble]]
    assert np.allclose(result.pixels, np.mean(moved, 0), atol=1e-6)
    assert len(sizes) == ensemble and ((6, 8) in sizes) == (ensemble == 8)


def test_guides_turn_with_their_picture(open_tiny):
    image, guide = picture(1, 8, 6, 3), picture(1, 8, 6, 3, seed=5)
    whole = open_tiny()
    seen = []

    def spy(part, pixels, ports, rounded=False):
        seen.append((pixels, ports["guide"]))
        return as_float(pixels).copy()

    whole.images.whole_or_tiled = spy
    whole.image("network", Batch.images(items(1), image), ensemble=8, guide=guide)
    assert len(seen) == 8
    for way, (pixels, turned) in enumerate(seen):
        assert np.array_equal(pixels, turn(image, way)) and np.array_equal(turned, turn(guide, way))
    assert len({pixels.tobytes() for pixels, _ in seen}) == 8


@pytest.mark.parametrize("dtype", [np.uint8, np.uint16, np.float32])
def test_a_cut_out_part_is_shown_to_the_network_without_a_black_rim(open_tiny, dtype):
    top = 1 if dtype == np.float32 else np.iinfo(dtype).max
    alpha, pixels = np.zeros((12, 10), dtype), np.zeros((2, 12, 10, 3), dtype)
    alpha[3:9, 2:8], pixels[:, 3:9, 2:8] = top, dtype(0.75 * top)
    whole = Item(key="2", name="2")
    batch = Batch.images([Item(key="1", name="1", alpha=alpha), whole], pixels)
    first, second = open_tiny().image("network", batch, noise_level=np.ones(2, np.float32)).pixels
    assert np.allclose(first[1:-1, 1:-1], as_float(dtype(0.75 * top)), atol=1e-6)
    assert second[3, 2].max() < 0.7 * as_float(dtype(0.75 * top))  # it has no part that is cut out


def test_an_enlarged_picture_whose_alpha_is_not_yet_is_taken_as_it_is(open_tiny):
    item = Item(key="1", name="1", alpha=np.eye(4, dtype=np.uint8))
    batch = Batch.images([item], picture(1, 8, 8, 3))
    found = open_tiny().image("network", batch, **LEVEL).pixels
    assert np.allclose(found, blur(batch.pixels), atol=1e-6)
