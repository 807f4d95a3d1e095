"""Bundles are found by name in a fixed order, checked by hash, and described as they are."""

from __future__ import annotations

import shutil

import pytest

from genloom import models
from genloom.card import Origin, Port, SizeRule
from genloom.errors import InvalidFile, ModelError, UnknownName
from genloom.models import Bundle


@pytest.fixture
def at(tiny_bundles):
    """Copies a tiny bundle to a place, under a name of choice, with a summary of choice."""

    def copy(place, name="tiny-vae", summary=""):
        folder = place / name
        shutil.copytree(tiny_bundles / "tiny-vae", folder)
        card = folder / "model.yaml"
        text = card.read_text().replace("name: tiny-vae", f"name: {name}")
        card.write_text(text.replace("Means of quadrants.", summary or "x"))
        return folder

    return copy


def test_a_name_means_project_then_user_then_plugin(catalog, empty_place, at):
    def found():
        return models.find("tiny-vae", catalog)

    assert found().origin == "the plugin tiny"
    at(models.user_folder())
    assert found().origin == "your models"
    at(empty_place / "models")
    assert found().origin == "the project's models/"


def test_a_path_comes_before_every_name(catalog, empty_place, at):
    at(empty_place / "models")
    at(empty_place)
    assert models.find("tiny-vae", catalog).folder.resolve() == empty_place / "tiny-vae"


def test_a_path_is_relative_to_the_pipeline_first(catalog, empty_place, at):
    at(empty_place / "shop" / "bundles", "mine")
    bundle = models.find("bundles/mine", catalog, base=empty_place / "shop")
    assert bundle.card.name == "mine"
    with pytest.raises(UnknownName):
        models.find("bundles/mine", catalog)


@pytest.mark.parametrize("name", ["../models/tiny-vae", "a/tiny-vae", "..\\tiny-vae"])
def test_a_name_with_a_path_in_it_does_not_wander_through_the_places(
    catalog, empty_place, at, name
):
    at(empty_place / "models")
    with pytest.raises(UnknownName):
        models.find(name, catalog)


def test_an_unknown_name_gets_the_nearest_one(catalog, empty_place):
    with pytest.raises(UnknownName, match="Did you mean 'tiny-vae'"):
        models.find("tiny-vea", catalog)


def test_what_a_bundle_hides_is_known(catalog, empty_place, at, tiny_bundles):
    at(empty_place / "models")
    bundle = models.find("tiny-vae", catalog)
    (hidden,) = models.shadowed(bundle, catalog)
    assert hidden.folder == tiny_bundles / "tiny-vae" and hidden.origin == "the plugin tiny"


def test_the_overview_says_what_is_hidden_and_what_is_broken(catalog, empty_place, at):
    at(empty_place / "models")
    broken = empty_place / "models" / "broken"
    broken.mkdir()
    (broken / "model.yaml").write_text("genloom: 1\nname: broken\n")
    rows = {(row["name"], row["from"]): row for row in models.overview(catalog)}
    assert rows["tiny-vae", "the project's models/"]["hidden_by"] == ""
    assert rows["tiny-vae", "the plugin tiny"]["hidden_by"] == "the project's models/"
    assert "'family' is missing" in rows["broken", "the project's models/"]["error"]
    row = rows["tiny-image", "the plugin tiny"]
    assert (row["family"], row["channels"], row["size"]) == (
        "tiny-image",
        "colour",
        "multiples of 2",
    )
    assert row["parts"] == ["network"]


def test_the_size_on_disk_is_that_of_all_files(tiny_bundles):
    folder = tiny_bundles / "tiny-vae"
    total = sum(path.stat().st_size for path in folder.iterdir())
    assert Bundle.open(folder).nbytes == total > 0


def test_a_graph_comes_back_only_as_the_card_describes_it(at, tmp_path):
    bundle = Bundle.open(at(tmp_path))
    path = bundle.folder / "encoder.onnx"
    assert bundle.graph("encoder") == path.read_bytes()
    data = bytearray(path.read_bytes())
    data[-1] ^= 1
    path.write_bytes(data)
    with pytest.raises(ModelError, match="not the one the card describes"):
        bundle.graph("encoder")
    path.unlink()
    with pytest.raises(ModelError, match="cannot be read"):
        bundle.graph("encoder")
    with pytest.raises(ModelError, match="one of encoder, decoder"):
        bundle.graph("generator")


def test_the_digest_does_not_follow_what_is_said_for_people(at, tmp_path):
    one = Bundle.open(at(tmp_path / "a", "one", "first"))
    other = Bundle.open(at(tmp_path / "b", "other", "second"))
    assert one.digest == other.digest
    said = {"licence": "MIT", "metrics": {"PSNR": 30.0}, "origin": Origin(seconds=3)}
    assert Bundle(one.folder, one.card.model_copy(update=said)).digest == one.digest


@pytest.mark.parametrize(
    "changed",
    [
        {"family": "else"},
        {"channels": 3},
        {"range": (-1.0, 1.0)},
        {"size": SizeRule(multiple=8)},
        {"scale": 2},
        {"receptive_field": 9},
        {"latent": (2, 2)},
        {"labels": ("a", "b")},
    ],
    ids=str,
)
def test_the_digest_follows_all_of_the_card_that_decides_pixels(at, tmp_path, changed):
    bundle = Bundle.open(at(tmp_path))
    other = bundle.card.model_copy(update=changed)
    assert Bundle(bundle.folder, other).digest != bundle.digest


def test_the_digest_follows_graphs_and_their_ports(at, tmp_path):
    bundle = Bundle.open(at(tmp_path))
    parts = bundle.card.parts
    level = Port(axes=("batch",), default=0.5)
    for changed in ({"sha256": "0" * 64}, {"inputs": {"noise_level": level}}):
        encoder = parts["encoder"].model_copy(update=changed)
        other = bundle.card.model_copy(update={"parts": parts | {"encoder": encoder}})
        assert Bundle(bundle.folder, other).digest != bundle.digest


def test_a_path_that_is_no_bundle_is_called_what_it_is(catalog, empty_place, at):
    (empty_place / "x4.pth").write_bytes(b"")
    with pytest.raises(UnknownName, match=r"'x4\.pth' is a file.*`genloom import"):
        models.find("x4.pth", catalog)
    at(empty_place / "mine", "one")
    with pytest.raises(UnknownName, match=r"folder 'mine' is no model.*mine/one"):
        models.find("mine", catalog)
    (empty_place / "plain").mkdir()
    with pytest.raises(UnknownName, match=r"unknown model 'plain'"):
        models.find("plain", catalog)


def test_a_folder_without_a_card_is_no_bundle(tmp_path):
    with pytest.raises(ModelError, match="not a model bundle"):
        Bundle.open(tmp_path)


def test_every_problem_of_a_card_is_told_with_its_line(tmp_path):
    (tmp_path / "model.yaml").write_text(
        "genloom: 1\nname: ../evil\nfamily: x\nchannels: 4\nparts: {}\nreceptive_feild: 3\n"
    )
    with pytest.raises(InvalidFile) as caught:
        Bundle.open(tmp_path)
    assert [problem.line for problem in caught.value.problems] == [2, 4, 5, 6]
    assert "Did you mean 'receptive_field'" in str(caught.value)


@pytest.mark.parametrize("file", ["../up.onnx", "/etc/passwd", "a/b.onnx", "net.pkl"])
def test_a_card_cannot_name_a_file_outside_its_folder(at, tmp_path, file):
    folder = at(tmp_path)
    text = (folder / "model.yaml").read_text()
    (folder / "model.yaml").write_text(text.replace("encoder.onnx", file))
    with pytest.raises(InvalidFile, match="file"):
        Bundle.open(folder)


def test_a_card_written_and_read_is_the_same(tiny_bundles, tmp_path):
    card = Bundle.open(tiny_bundles / "tiny-image").card
    card.write(tmp_path)
    assert Bundle.open(tmp_path).card == card
