"""The stage `stylize`."""

import dataclasses

import cv2
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from making import plugin_with

import genloom
from genloom.card import Port, SizeRule
from genloom.errors import GenloomError, InvalidFile, ModelError
from genloom.testing import FakeRun, FakeRuntime, check_stage, fake_bundle, fake_model, image_batch
from genloom_style.stages import RIM, WHOLE, Stylize, recoloured, repeating, seen_whole


def painted(image):
    return image[:, ::-1] * np.float32(0.5) + np.float32(0.3)


@pytest.fixture
def style(tmp_path):
    path = tmp_path / "style.png"
    cv2.imwrite(str(path), np.random.default_rng(0).integers(0, 256, (30, 50, 3), np.uint8))
    return path


def maps_model():
    """A model whose encoder gives the colours of 2×2 pixels as feature maps, named as `adain`'s."""
    model = fake_model(name="any")

    def run(part, inputs):
        model.calls.append((part, dict(inputs)))
        if part == "decoder":
            return {"image": inputs["latent"].repeat(2, axis=2).repeat(2, axis=3)}
        count, channels, height, width = inputs["image"].shape
        blocks = inputs["image"].reshape(count, channels, height // 2, 2, width // 2, 2)
        return {"latent": blocks.mean(axis=(3, 5), dtype=np.float32)}

    encoder = model.card.parts["encoder"]
    latent = {"latent": Port(axes=("batch", 3, "rows", "columns"))}
    parts = {"encoder": encoder.model_copy(update={"outputs": latent})}
    parts["decoder"] = model.card.parts["decoder"]
    card = model.card.model_copy(update={"parts": parts, "latent": None})
    model.bundle = dataclasses.replace(model.bundle, card=card)
    model.run = run
    return model


@pytest.fixture
def run():
    return FakeRun({"one": fake_model(painted, name="one"), "any": maps_model()})


@pytest.fixture
def asking(run):
    """A model whose decoder asks for the style's detail."""
    model = run.models["any"]
    decoder, side = model.card.parts["decoder"], Port(axes=("batch", 3, "side", "side"))
    changed = decoder.model_copy(update={"inputs": {**decoder.inputs, "style": side}})
    card = model.card.model_copy(update={"parts": {**model.card.parts, "decoder": changed}})
    model.bundle = dataclasses.replace(model.bundle, card=card)
    return model


def test_a_decoder_that_asks_for_it_sees_the_style_s_detail_for_every_picture(run, style, asking):
    Stylize(model="any", style=style, style_size=40)(image_batch(2), run)
    (seen,) = [inputs["style"] for part, inputs in asking.calls if part == "decoder"]
    assert seen.shape == (2, 3, 21, 21) and np.array_equal(seen[0], seen[1])
    picture = cv2.resize(cv2.imread(str(style))[..., ::-1], (40, 24), interpolation=cv2.INTER_AREA)
    assert 0.5 < seen.std() / (picture / 255).std() < 1.2 and abs(seen.mean()) < 0.03


def test_a_motif_is_drawn_as_strongly_as_is_said(run, style, asking):
    for motif in (1.0, 0.25, 0.0):
        Stylize(model="any", style=style, motif=motif)(image_batch(1), run)
    whole, weak, none = (inputs["style"] for part, inputs in asking.calls if part == "decoder")
    np.testing.assert_allclose(weak, whole / 4, atol=1e-6)
    assert whole.std() > 0.05 and not none.any()


@pytest.mark.parametrize("size", [(1, 3), (8, 40), (90, 70)], ids=str)
def test_the_detail_of_any_picture_repeats(size):
    picture = np.random.default_rng(0).random((1, 3, *size), np.float32)
    found = repeating(picture)
    side = 8 * max(9, min(size)) // 9
    assert found.shape == (1, 3, side, side) and found.dtype == np.float32
    assert abs(found.mean()) < 0.06 and found.std() > 0.1


@pytest.mark.parametrize("options", [{}, {"strength": 0.3}, {"keep_colour": True}])
@pytest.mark.parametrize("model", ["one", "any"])
def test_stylize_keeps_the_contract_of_a_stage(run, style, model, options):
    chosen = {"style": style, "style_size": 24} if model == "any" else {}
    check_stage(Stylize, run, model=model, **chosen, **options)


def test_a_picture_of_a_style_without_a_model_takes_the_model_of_any_style(style):
    assert Stylize().model == "style-woodcut"
    assert Stylize(style=style).model == "style-any"
    assert Stylize(style=style, model="mine").model == "mine"
    assert Stylize(model="style-mosaic").with_options(strength=0.5).model == "style-mosaic"


def test_strength_blends_pixels_and_zero_leaves_the_picture_alone(run):
    batch = image_batch(2)
    assert Stylize(model="one", strength=0)(batch, run) is batch
    whole, half = (Stylize(model="one", strength=s)(batch, run).data for s in (1, 0.5))
    assert np.allclose(whole, painted(batch.data), atol=1e-6)
    assert np.allclose(half, (batch.data + whole) / 2, atol=1e-6)


WEIGHTS = np.array([0.299, 0.587, 0.114])[:, None, None]


def chroma(data):
    return data - (data * WEIGHTS).sum(1, keepdims=True)


def test_keep_colour_takes_the_luminance_of_the_result_and_the_colour_of_the_picture(run):
    batch = image_batch(1)
    result = Stylize(model="one", keep_colour=True)(batch, run).data
    right = (painted(batch.data) * WEIGHTS).sum(1)
    assert np.allclose((result * WEIGHTS).sum(1), right, atol=1e-5)
    assert np.allclose(chroma(result), chroma(batch.data), atol=1e-5)


@pytest.mark.parametrize("light", [0.0, 0.05, 0.95, 1.0])
def test_colours_that_are_too_strong_for_their_light_are_paled_and_never_clipped(light):
    picture = np.random.default_rng(0).random((1, 3, 20, 20), np.float32)
    result = recoloured(np.full((1, 1, 20, 20), light, np.float32), picture)
    assert result.min() > -1e-6 and result.max() < 1 + 1e-6
    assert np.allclose((result * WEIGHTS).sum(1), light, atol=1e-5)
    own, kept = chroma(picture), chroma(result)
    assert np.allclose(np.cross(own, kept, axis=1), 0, atol=1e-5), "the hue is the picture's"
    assert ((own * kept).sum(1) > -1e-6).all()


def test_grey_pictures_get_the_style_s_colours_unless_theirs_are_kept(run):
    grey = image_batch(1, channels=1)
    assert Stylize(model="one")(grey, run).pixels.shape[3] == 3
    assert Stylize(model="one", keep_colour=True)(grey, run).pixels.shape[3] == 1


@pytest.mark.parametrize("size", [(24, 32), (17, 13), (1, 3)])
def test_a_picture_gets_the_mean_and_deviation_of_the_style_s_features(run, style, size):
    batch = image_batch(1, size=size)
    result = Stylize(model="any", style=style, style_size=50)(batch, run)
    assert result.size == size
    parts = [(part, inputs) for part, inputs in run.models["any"].calls if part == "encoder"]
    rim = 2 * 16
    assert sorted(inputs["image"].shape[2:] for _, inputs in parts) == sorted(
        [(30, 50), tuple(side + rim + side % 2 for side in size)]
    )
    ((_, decoded),) = [call for call in run.models["any"].calls if call[0] == "decoder"]
    pixels = cv2.imread(str(style))[..., ::-1].reshape(15, 2, 25, 2, 3).mean((1, 3)) / 255
    mean, deviation = decoded["latent"].mean((2, 3)), decoded["latent"].std((2, 3))
    assert np.allclose(mean, pixels.mean((0, 1)), atol=1e-3)
    if min(size) > 2:
        assert np.allclose(deviation, pixels.std((0, 1)), atol=1e-3)


def test_pictures_are_seen_in_grey_and_mirrored_at_their_border(run, style):
    batch = image_batch(1, size=(12, 14))
    assert Stylize(model="any", style=style)(batch, run).size == (12, 14)
    seen = [inputs["image"] for part, inputs in run.models["any"].calls if part == "encoder"]
    (grey,) = (image[0] for image in seen if image.shape[2:] == (44, 46))
    light = (batch.data[0] * WEIGHTS).sum(0)
    assert np.allclose(grey, np.pad(light, 16, mode="symmetric"), atol=1e-6)


def test_the_style_s_picture_is_encoded_once_however_many_batches_there_are(run, style):
    stage = Stylize(model="any", style=style)
    results = [stage(image_batch(1), run).data for _ in range(3)]
    assert np.array_equal(results[0], results[2])
    assert [part for part, _ in run.models["any"].calls].count("encoder") == 3 + 1
    Stylize(model="any", style=style, style_size=20)(image_batch(1), run)
    assert [part for part, _ in run.models["any"].calls].count("encoder") == 3 + 1 + 2


def test_what_one_sees_through_in_the_style_s_picture_is_white(run, tmp_path):
    seen = np.zeros((2, 8, 8, 4), np.uint8)
    seen[0, ..., 2] = 200  # red, in the order of OpenCV, and seen through
    seen[1] = 255
    results = []
    for name, pixels in zip(("through", "white"), seen, strict=True):
        cv2.imwrite(str(tmp_path / f"{name}.png"), pixels)
        stage = Stylize(model="any", style=tmp_path / f"{name}.png")
        results.append(stage(image_batch(1), run).data)
    assert np.allclose(*results, atol=1e-6)


def test_many_large_pictures_are_computed_one_by_one(run, style, monkeypatch):
    stage, batch = Stylize(model="any", style=style), image_batch(3)
    together = stage(batch, run).data
    run.models["any"].calls.clear()
    monkeypatch.setattr("genloom_style.stages.WHOLE", 24 * 32)
    assert np.allclose(stage(batch, run).data, together, atol=1e-6)
    counts = [len(array) for _, inputs in run.models["any"].calls for array in inputs.values()]
    assert counts == [1] * 6


def test_the_style_s_picture_is_brought_to_the_size_asked_for(run, style):
    Stylize(model="any", style=style, style_size=100)(image_batch(1), run)
    shapes = [
        inputs["image"].shape for part, inputs in run.models["any"].calls if part == "encoder"
    ]
    assert (1, 3, 60, 100) in shapes


def test_a_picture_too_large_to_be_seen_whole_is_painted_smaller_and_enlarged(
    run, style, monkeypatch
):
    stage, batch = Stylize(model="any", style=style), image_batch(2)
    plain = stage(batch, run)
    assert [item.notes for item in plain.items] == [()] * 2
    monkeypatch.setattr("genloom_style.stages.WHOLE", 12 * 16)
    run.models["any"].calls.clear()
    painted = stage(batch, run)
    assert painted.data.shape == batch.data.shape
    sides = [
        inputs["image"].shape[2:] for part, inputs in run.models["any"].calls if part == "encoder"
    ]
    assert sides == [(12 + 2 * RIM, 16 + 2 * RIM)] * 2
    for item in painted.items:
        assert item.notes == ("painted at 16×12, as large as 'any' sees whole, and enlarged",)


@given(st.integers(1, 10**5), st.integers(1, 10**5))
def test_what_is_seen_whole_has_the_shape_of_the_picture_and_fits(height, width):
    rows, columns = seen_whole(height, width)
    assert 1 <= rows <= height
    assert 1 <= columns <= width
    assert rows * columns <= WHOLE
    if height * width <= WHOLE:
        assert (rows, columns) == (height, width)
    elif min(rows, columns) > 1:
        assert rows * columns > WHOLE / 2


def test_models_that_do_not_fit_are_refused_with_what_would(run, style, tmp_path):
    one, any_ = run.models["one"].card, run.models["any"].card
    Stylize(model="one").check_model("model", one)
    Stylize(model="any", style=style).check_model("model", any_)
    with pytest.raises(GenloomError, match=r"none is named.*`style:`"):
        Stylize(model="any").check_model("model", any_)
    with pytest.raises(GenloomError, match=r"knows one style.*family `adain`"):
        Stylize(model="one", style=style).check_model("model", one)
    with pytest.raises(GenloomError, match=r"enlarges.*`upscale`"):
        Stylize(model="one").check_model("model", one.model_copy(update={"scale": 2}))
    told = fake_model(lambda image, noise_level: image, ports=("noise_level",)).card
    with pytest.raises(GenloomError, match="got noise_level"):
        Stylize(model="one").check_model("model", told)
    with pytest.raises(GenloomError, match=r"grey pictures.*`channels: 3`, got 1"):
        Stylize(model="any", style=style).check_model(
            "model", any_.model_copy(update={"channels": 1})
        )
    fixed = any_.model_copy(update={"size": SizeRule(fixed=(32, 32))})
    with pytest.raises(GenloomError, match="has no style"):
        Stylize(model="any", style=style).check_model("model", fixed)
    latent = {"latent": Port(axes=("batch", 3, 8, 8))}
    encoder = any_.parts["encoder"].model_copy(update={"outputs": latent})
    of_one_size = any_.model_copy(update={"parts": {**any_.parts, "encoder": encoder}})
    with pytest.raises(GenloomError, match="has no style"):
        Stylize(model="any", style=style).check_model("model", of_one_size)
    plain = fake_model().card
    parts = {name: plain.parts[name] for name in ("encoder", "decoder")}
    with pytest.raises(GenloomError, match=r"has no style.*`stylizer` or `adain`"):
        Stylize(model="x").check_model("model", plain.model_copy(update={"parts": parts}))
    (tmp_path / "text.png").write_text("no picture")
    with pytest.raises(GenloomError, match=r"text\.png"):
        Stylize(model="any", style=tmp_path / "text.png").check_model("model", any_)


def test_a_style_that_is_not_there_is_said_at_its_line(tmp_path):
    path = tmp_path / "chain.yaml"
    stages = "  - load\n  - stylize:\n      style: nowhere.jpg\n  - save\n"
    path.write_text(f"genloom: 1\nname: chain\nstages:\n{stages}")
    with pytest.raises(InvalidFile, match=r"6:\d+.*'stylize\.style' names a file that is not"):
        genloom.load_pipeline(path)


@pytest.fixture
def chain(tmp_path, catalog, monkeypatch):
    """Makes a pipeline of `load`, `stylize` with options, and `save`, and one picture for it."""
    monkeypatch.chdir(tmp_path)
    cv2.imwrite("photo.png", np.full((8, 8, 3), 100, np.uint8))
    maps_bundle(tmp_path / "models", "maps")
    catalog.register(plugin_with(runtimes=[FakeRuntime]), "fake")

    def make(**options):
        lines = "".join(f"      {name}: {value}\n" for name, value in options.items())
        stages = f"  - load\n  - stylize:\n{lines}  - save\n"
        (tmp_path / "chain.yaml").write_text(f"genloom: 1\nstages:\n{stages}")
        return genloom.load_pipeline("chain.yaml", catalog=catalog)

    return make


def maps_bundle(folder, name):
    """A bundle of the fake runtime, whose parts are those of `maps_model`."""
    bundle = fake_bundle(folder, name)
    encoder = bundle.card.parts["encoder"]
    latent = {"latent": Port(axes=("batch", 3, "rows", "columns"))}
    parts = {"encoder": encoder.model_copy(update={"outputs": latent})}
    parts["decoder"] = bundle.card.parts["decoder"]
    size = SizeRule(multiple=8)
    update = {"parts": parts, "latent": None, "family": "adain", "size": size}
    bundle.card.model_copy(update=update).write(bundle.folder)
    return bundle


def test_a_model_of_an_earlier_genloom_is_refused(run, style):
    card = run.models["any"].card
    for multiple, fits in ((8, True), (4, False)):
        size = SizeRule(multiple=multiple)
        older = card.model_copy(update={"family": "adain", "size": size})
        stage = Stylize(model="any", style=style)
        if fits:
            stage.check_model("model", older)
        else:
            with pytest.raises(GenloomError, match=r"earlier genloom.*of 4.*Train it anew"):
                stage.check_model("model", older)


@pytest.mark.parametrize("kept", [60, 400])
def test_a_style_that_is_no_picture_or_damaged_is_refused_at_its_line_with_its_path(
    chain, style, kept
):
    chain(model="maps", style=style)
    style.write_bytes(style.read_bytes()[:kept])
    with pytest.raises(InvalidFile, match=r"^chain\.yaml:6:14: .*style\.png: "):
        chain(model="maps", style=style)


def test_a_style_for_a_network_that_takes_none_is_said_at_the_style(chain, style):
    with pytest.raises(InvalidFile, match=r"^chain\.yaml:6:14: 'style-mosaic' knows one style"):
        chain(model="style-mosaic", style=style)


def test_a_damaged_decoder_is_found_before_anything_runs(chain, style, tmp_path):
    loaded = chain(model="maps", style=style)
    (tmp_path / "models" / "maps" / "decoder.onnx").write_bytes(b"damaged")
    with pytest.raises(ModelError, match="the graph of 'decoder' is not the one"):
        loaded.plan("photo.png", "out", runtime="fake")
