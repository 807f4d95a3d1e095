"""Guides: files that go with a picture, from `load` through tiles to the network."""

import os
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

import genloom
from genloom import load_pipeline
from genloom.card import Part, Port, SizeRule
from genloom.engine.calls import _followed
from genloom.engine.networks import Form
from genloom.errors import GenloomError, ImageError, ModelError
from genloom.runtime import Network
from genloom.stage import Inputs
from genloom.stages.load import Load
from genloom.testing import FakeRun
from genloom.types import Batch, Item

GUIDES = {"albedo": "{stem}.albedo.png", "normal": "{stem}.normal.png"}


def write(path, value, size=(20, 16), mode="RGB"):
    path = Path(path)
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.new(mode, size, (value,) * 3 if mode == "RGB" else value).save(path)


@pytest.fixture
def scenes(tmp_path):
    folder = tmp_path / "scenes"
    write(folder / "a.png", 10)
    write(folder / "a.albedo.png", 20)
    write(folder / "a.normal.png", 30)
    write(folder / "sub/b.png", 40)
    write(folder / "sub/b.albedo.png", 50)
    write(folder / "lonely.albedo.png", 60)
    return folder


def found(folder, guides=GUIDES):
    return list(Load(guides=guides).sources(Inputs((str(folder),), None)))


def loaded(item, guides=GUIDES):
    return Load(guides=guides)(Batch.nothing([item]), FakeRun())


def test_guides_are_no_pictures_of_their_own_unless_their_picture_is_missing(scenes):
    items = {item.name: sorted(item.beside) for item in found(scenes)}
    assert items == {"a": ["albedo", "normal"], "lonely.albedo": [], "sub/b": ["albedo"]}
    assert len(found(scenes, {})) == 6


def test_guides_may_lie_in_another_folder(tmp_path):
    write(tmp_path / "x.png", 1)
    write(tmp_path / "guides/albedo_x.png", 2)
    (item,) = found(tmp_path, {"albedo": "guides/albedo_{stem}.png"})
    assert item.name == "x" and item.beside["albedo"].name == "albedo_x.png"


def test_pixels_of_guides_travel_with_their_picture_and_missing_ones_are_noted(scenes):
    a, _, b = found(scenes)
    (item,) = loaded(a).items
    assert item.guides["albedo"].shape == (16, 20, 3)
    assert item.guides["albedo"][0, 0, 0] == 20 and item.guides["normal"][0, 0, 0] == 30
    (item,) = loaded(b).items
    assert list(item.guides) == ["albedo"]
    assert item.notes == ("without its guide 'normal': there is no {stem}.normal.png",)


def test_a_guide_of_another_size_is_told(scenes):
    write(scenes / "a.normal.png", 30, size=(4, 4))
    with pytest.raises(ImageError, match=r"another size") as caught:
        loaded(found(scenes)[0])
    assert "20×16" in str(caught.value) and "4×4" in str(caught.value)


@pytest.mark.parametrize("pattern", ["albedo.png", "{stem}.{kind}.png", "{}"])
def test_a_pattern_without_the_stem_is_refused(pattern):
    with pytest.raises(ValueError, match=r"\{stem\}"):
        Load(guides={"albedo": pattern})


def test_a_pipeline_with_a_wrong_pattern_is_refused_before_it_runs(tmp_path):
    (tmp_path / "p.yaml").write_text(
        "genloom: 1\nname: p\nstages:\n  - load: {guides: {albedo: albedo.png}}\n  - save\n"
    )
    with pytest.raises(GenloomError, match=r"stem"):
        load_pipeline(tmp_path / "p.yaml")


def test_guides_follow_crops_and_changes_of_size():
    guide = np.arange(6 * 8 * 3, dtype=np.uint8).reshape(6, 8, 3)
    assert np.array_equal(_followed(guide, (1, 2, 3, 4), (3, 4)), guide[1:4, 2:6])
    assert _followed(guide, None, (12, 16)).shape == (12, 16, 3)


def pipeline(tmp_path):
    path = tmp_path / "p.yaml"
    path.write_text(
        "genloom: 1\nname: p\nstages:\n"
        '  - load: {guides: {albedo: "{stem}.albedo.png"}}\n  - resize: {scale: 0.5}\n  - save\n'
    )
    return load_pipeline(path)


def test_a_changed_guide_does_its_picture_again_and_no_other(scenes, tmp_path):
    out = tmp_path / "out"
    assert pipeline(tmp_path).run(scenes, out).done == 4
    assert pipeline(tmp_path).run(scenes, out).skipped == 4
    write(scenes / "a.albedo.png", 99)
    report = pipeline(tmp_path).run(scenes, out)
    assert (report.done, report.skipped) == (1, 3)
    os.utime(scenes / "a.albedo.png", (1, 1))
    assert pipeline(tmp_path).run(scenes, out).skipped == 4
    (scenes / "sub/b.albedo.png").unlink()
    report = pipeline(tmp_path).run(scenes, out)
    assert (report.done, report.skipped) == (1, 3)


def test_guides_that_swap_their_names_do_their_picture_again(scenes, tmp_path):
    write(scenes / "a.albedo.png", 21)
    path = tmp_path / "p.yaml"
    path.write_text(
        "genloom: 1\nname: p\nstages:\n  - load: {guides: {albedo: "
        '"{stem}.albedo.png", normal: "{stem}.normal.png"}}\n  - save\n'
    )
    assert load_pipeline(path).run(scenes, tmp_path / "out").done == 3
    one, two = scenes / "a.albedo.png", scenes / "a.normal.png"
    one.rename(scenes / "aside")
    two.rename(one)
    (scenes / "aside").rename(two)
    report = load_pipeline(path).run(scenes, tmp_path / "out")
    assert (report.done, report.skipped) == (1, 2)


@pytest.mark.parametrize(
    ("pattern", "place"),
    [
        ("../albedo/{stem}.png", "albedo/x.png"),
        ("./{stem}.albedo.png", "noisy/x.albedo.png"),
        ("guides/{stem}/{stem}.png", "noisy/guides/x/x.png"),
    ],
)
def test_guides_are_no_pictures_wherever_they_lie(tmp_path, pattern, place):
    write(tmp_path / "noisy/x.png", 1)
    write(tmp_path / place, 2)
    (item,) = found(tmp_path, {"albedo": pattern})
    assert item.source == tmp_path / "noisy/x.png" and set(item.beside) == {"albedo"}


def test_a_picture_is_not_its_own_guide(tmp_path):
    write(tmp_path / "x.png", 1)
    (item,) = found(tmp_path, {"albedo": "{stem}.png"})
    assert item.beside == {}


def test_looking_for_guides_lists_no_folder_for_each_picture(tmp_path, monkeypatch):
    for number in range(30):
        write(tmp_path / f"{number}.png", 1, size=(2, 2))
        write(tmp_path / f"{number}.albedo.png", 1, size=(2, 2))
    listed = []
    scandir = os.scandir
    monkeypatch.setattr(os, "scandir", lambda *a: listed.append(a) or scandir(*a))
    assert len(found(tmp_path)) == 30
    assert len(listed) <= 4


@pytest.fixture
def guided(catalog):
    """A model whose graph adds its guide to the picture."""
    model = genloom.open_model("tiny-image", catalog=catalog, tile=24).model
    picture = Port(axes=("batch", 3, "height", "width"))
    guide = Port(axes=("batch", 3, "height", "width"), default=0.25)
    part = Part(
        file="network.onnx",
        sha256="0" * 64,
        opset=18,
        inputs={"image": picture, "albedo": guide},
        outputs={"result": picture},
    )
    card = model.card.model_copy(update={"parts": {"network": part}})
    object.__setattr__(model.bundle, "card", card)
    sizes = []

    class Sum(Network):
        def run(self, inputs):
            assert inputs["image"].shape == inputs["albedo"].shape
            sizes.append(inputs["image"].shape)
            return {"result": inputs["image"] + inputs["albedo"]}

    model.networks.folds = lambda part: False
    model.networks._networks["network", Form.FLOATS] = Sum()
    return model, sizes


@pytest.mark.parametrize("size", [(16, 12), (70, 50), (13, 11)])
def test_guides_are_padded_and_cut_as_the_picture_is(guided, size):
    model, sizes = guided
    card = model.card.model_copy(update={"size": SizeRule(multiple=8)})
    object.__setattr__(model.bundle, "card", card)
    random = np.random.default_rng(0)
    image, guide = random.random((2, 2, *size, 3)).astype(np.float32)
    items = [Item(key=str(n), name=str(n)) for n in range(2)]
    result = model.image("network", Batch.images(items, image), albedo=guide)
    np.testing.assert_allclose(result.pixels, image + guide, atol=1e-6)
    assert (len(sizes) > 1) == (size == (70, 50))


def test_a_guide_as_an_array_must_be_as_large_as_the_picture(guided):
    model, _ = guided
    image = np.zeros((32, 32, 3), np.float32)
    with pytest.raises(ModelError, match=r"not as large"):
        genloom.OpenModel(model)(image, albedo=image[:16])


def test_a_number_stands_for_an_even_guide_and_the_cards_default_for_none(guided):
    model, _ = guided
    opened = genloom.OpenModel(model)
    image = np.full((16, 12, 3), 0.5, np.float32)
    np.testing.assert_allclose(opened(image, albedo=0.125), 0.625, atol=1e-6)
    np.testing.assert_allclose(opened(image), 0.75, atol=1e-6)
    np.testing.assert_allclose(opened(image, albedo=image), 1.0, atol=1e-6)
