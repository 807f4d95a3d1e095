"""genloom as a library."""

import shutil

import numpy as np
import pytest
from PIL import Image

import genloom
from genloom.errors import MissingRequirement, ModelError, UnknownName


@pytest.fixture
def network(catalog):
    return genloom.open_model("tiny-image", catalog=catalog)


@pytest.fixture
def vae(catalog):
    return genloom.open_model("tiny-vae", catalog=catalog)


@pytest.mark.parametrize("dtype", [np.uint8, np.uint16, np.float32])
@pytest.mark.parametrize("shape", [(6, 8), (6, 8, 1), (6, 8, 3), (2, 6, 8, 3)])
def test_a_network_gives_back_the_layout_and_type_it_was_given(network, dtype, shape):
    given = np.full(shape, 100 if dtype != np.float32 else 0.5, dtype)
    result = network(given, noise_level=0.0)
    assert result.shape == shape and result.dtype == dtype
    assert np.allclose(result, given, atol=1e-6)


def test_ports_take_the_default_of_the_card(network):
    spot = np.zeros((5, 5, 3), np.float32)
    spot[2, 2] = 0.9
    assert np.allclose(network(spot), network(spot, noise_level=1.0))
    assert np.allclose(network(spot)[2, 2], 0.1)


def test_a_port_that_does_not_exist_is_refused_with_those_that_do(network):
    with pytest.raises(ModelError, match="noise_level"):
        network(np.zeros((4, 4, 3), np.uint8), sigma=3)


def test_a_port_of_a_model_that_has_none_is_refused(vae):
    with pytest.raises(ModelError, match="expected none, got nose_level"):
        vae(np.zeros((8, 8), np.uint8), nose_level=3)


@pytest.mark.parametrize("dtype", [np.int64, np.uint32, bool, complex, str])
def test_numbers_whose_range_is_not_known_are_refused(network, dtype):
    with pytest.raises(ModelError, match=r"expected uint8, uint16, or floats in \[0, 1\], got"):
        network(np.ones((4, 4, 3), dtype))


def test_lists_are_pictures_too_when_their_numbers_are(network, vae):
    assert network([[0.5, 0.25], [0.5, 0.25]], noise_level=0.0).dtype == np.float32
    assert vae.encode([[0.5] * 8] * 8).shape == (1, 4)
    with pytest.raises(ModelError, match="got int64"):
        network([[1, 2], [3, 4]])
    with pytest.raises(ModelError, match="these are not pictures"):
        network([[0.5], [0.5, 0.25]])


@pytest.mark.parametrize(
    "shape", [(4,), (0, 4, 3), (0, 4, 4, 3), (4, 4, 2), (1, 4, 4, 4), (1, 1, 4, 4, 3)]
)
def test_what_is_no_picture_is_refused(network, shape):
    with pytest.raises(ModelError, match="not pictures"):
        network(np.zeros(shape, np.uint8))


def test_an_autoencoder_encodes_decodes_and_reconstructs(vae):
    flat = np.full((8, 8), 51, np.uint8)
    assert np.allclose(vae.encode(flat), 0.2)
    assert np.allclose(vae.decode(np.full((3, 4), 0.2, np.float32)), 0.2)
    assert np.array_equal(vae(flat), flat)


def test_no_samples_at_all_are_refused(vae):
    with pytest.raises(
        ModelError, match=r"'count' is not right; expected a whole number from 1 .*got 0"
    ):
        vae.sample(0)


def test_samples_are_those_of_the_pipeline(vae, catalog, tmp_path):
    file = tmp_path / "sample.yaml"
    file.write_text("genloom: 1\nstages: [sample: {model: tiny-vae, count: 3}, decode, save]\n")
    genloom.load_pipeline(file, seed=9, catalog=catalog).run((), tmp_path / "out")
    drawn = vae.sample(3, seed=9)
    assert drawn.shape == (3, 8, 8, 1)
    for index in range(3):
        with Image.open(tmp_path / f"out/sample-{index:06d}.png") as image:
            assert np.abs(np.asarray(image) / 255 - drawn[index, ..., 0]).max() < 0.51 / 255


@pytest.mark.parametrize(
    ("wrong", "said"),
    [
        ({"count": 0}, "'count' is not right; expected a whole number from 1 to 1000000, got 0"),
        ({"count": -1}, "'count' is not right"),
        ({"temperature": -1}, "'temperature' is not right; expected a number from 0 to 10, got -1"),
        ({"truncation": 0}, "'truncation' is not right"),
        ({"truncation": float("nan")}, "'truncation' is not right"),
    ],
)
def test_samples_are_refused_with_what_the_pipeline_would_refuse(vae, wrong, said):
    with pytest.raises(ModelError, match=said):
        vae.sample(**{"count": 2, **wrong})


def test_numbers_of_numpy_are_numbers(vae):
    drawn = vae.sample(np.int64(2), temperature=np.float32(0), truncation=np.float64(0.5))
    assert drawn.shape == (2, 8, 8, 1)


def test_options_come_as_values_or_as_text(catalog, tmp_path):
    file = tmp_path / "p.yaml"
    file.write_text("genloom: 1\nstages: [load, resize: {scale: 2}, save]\n")
    for options in ({"resize.scale": 3, "resize.filter": "area"}, ["resize.scale=3"]):
        loaded = genloom.load_pipeline(file, options, catalog=catalog)
        assert loaded.pipeline.steps[1].stage.scale == 3


def test_unknown_names_are_answered_with_the_nearest(catalog):
    with pytest.raises(UnknownName, match="Did you mean 'tiny-vae'"):
        genloom.open_model("tiny-vea", catalog=catalog)
    with pytest.raises(UnknownName, match="unknown pipeline"):
        genloom.load_pipeline("nonsense", catalog=catalog)


def test_a_provider_that_is_not_at_hand_is_refused_when_a_model_is_opened(catalog):
    with pytest.raises(MissingRequirement, match="'nonsense' is not at hand"):
        genloom.open_model("tiny-vae", provider="nonsense", catalog=catalog)


def test_a_damaged_part_is_found_when_a_model_is_opened(catalog, tiny_bundles, tmp_path):
    shutil.copytree(tiny_bundles / "tiny-vae", tmp_path / "vae")
    (tmp_path / "vae/decoder.onnx").write_bytes(b"damaged")
    with pytest.raises(ModelError, match="the graph of 'decoder' is not the one"):
        genloom.open_model(tmp_path / "vae", catalog=catalog)


def test_pipelines_with_models_run_over_files(catalog, tmp_path):
    Image.new("RGB", (30, 20), (200, 100, 50)).save(tmp_path / "a.png")
    file = tmp_path / "p.yaml"
    file.write_text(
        "genloom: 1\nstages:\n"
        "  - load\n  - encode: {model: tiny-vae}\n  - sample: {count: 2, temperature: 0}\n"
        "  - decode\n  - save\n"
    )
    loaded = genloom.load_pipeline(file, catalog=catalog)
    plan = loaded.plan(tmp_path / "a.png", tmp_path / "out")
    assert plan.providers == {"tiny-vae": "cpu"}
    report = loaded.run(tmp_path / "a.png", tmp_path / "out")
    assert (report.done, report.files) == (1, 2)
    with Image.open(tmp_path / "out/a-001.png") as image:
        assert (image.mode, image.size) == ("L", (8, 8))


def test_classes_are_named_or_numbered_and_checked(catalog):
    opened = genloom.open_model("tiny-cvae", catalog=catalog)
    latents = np.zeros((2, 4), np.float32)
    names = list(opened.card.labels[:2])
    assert np.array_equal(opened.decode(latents, names), opened.decode(latents, [0, 1]))
    for wrong in ([99, 0], [-1, 0], ["no such class", 0]):
        with pytest.raises(UnknownName, match="class"):
            opened.decode(latents, wrong)
    with pytest.raises(ModelError, match=r"one label for each.*expected 2, got 1"):
        opened.decode(latents, [0])


def test_a_model_without_classes_refuses_labels(vae):
    with pytest.raises(ModelError, match="knows no classes"):
        vae.sample(2, label=1)
    with pytest.raises(ModelError, match="knows no classes"):
        vae.decode(np.zeros((1, 4), np.float32), [0])


def test_a_sound_bundle_has_nothing_wrong_and_a_damaged_one_is_told(
    catalog, tiny_bundles, tmp_path
):
    folder = shutil.copytree(tiny_bundles / "tiny-image", tmp_path / "tiny-image")
    assert genloom.verify_model(folder, catalog=catalog) == []
    (folder / "network.onnx").write_bytes(b"damaged")
    (problem,) = genloom.verify_model(folder, catalog=catalog)
    assert "not the one the card describes" in problem


def test_tiles_may_be_asked_for(catalog):
    model = genloom.open_model("tiny-image", tile=40, catalog=catalog)
    assert model.model.tile == 40


def test_an_ensemble_is_refused_where_no_network_would_heed_it(vae, network):
    picture = np.zeros((8, 8), np.uint8)
    assert vae(picture, ensemble=1).shape == (8, 8)
    with pytest.raises(ModelError, match="no network whose results could be averaged"):
        vae(picture, ensemble=2)
    with pytest.raises(ModelError, match="'ensemble' is not right"):
        network(picture, ensemble=3)
