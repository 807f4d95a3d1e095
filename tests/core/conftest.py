"""Fixtures that several files of this room share."""

import hashlib
import itertools
import shutil

import numpy as np
import pytest
from asking import Fragile, Plugin, picture
from asking import pipeline as write_pipeline
from integers import LEVEL, PICTURE, layers, save_photographs
from making import chain, fake_catalog
from PIL import Image
from running import Telling
from tuning import Many

from genloom import Catalog, load_pipeline, models
from genloom.card import Card, Part
from genloom.engine import tuned
from genloom.engine.quantize import quantize


@pytest.fixture
def plugin():
    """A plugin that brings the stages of `running` and keeps what it is told."""
    return Telling()


@pytest.fixture
def pipeline(tmp_path, plugin):
    """Makes a pipeline of the stages given as YAML lines, with those of `running`."""
    catalog = Catalog.load()
    catalog.register(plugin, "test")

    def make(*stages, options=(), seed=0):
        file = tmp_path / "pipeline.yaml"
        lines = "".join(f"  - {stage}\n" for stage in stages)
        file.write_text(f"genloom: 1\nstages:\n{lines}")
        return load_pipeline(file, options, seed=seed, catalog=catalog)

    return make


@pytest.fixture
def photos(tmp_path):
    """Eight pictures of two sizes in two folders."""
    folder = tmp_path / "photos"
    random = np.random.default_rng(0)
    for index in range(8):
        size = (20, 30, 3) if index % 2 else (25, 25, 3)
        path = folder / ("one" if index < 5 else "two") / f"p{index}.png"
        path.parent.mkdir(parents=True, exist_ok=True)
        Image.fromarray(random.integers(0, 256, size, np.uint8)).save(path)
    return folder


@pytest.fixture
def fragile():
    """A catalog with the stage `fragile`, which has been told of no picture yet."""
    catalog = Catalog.load()
    catalog.register(Plugin(), "test")
    Fragile.broken.clear()
    Fragile.keys.clear()
    return catalog


@pytest.fixture
def nine_pictures(tmp_path, monkeypatch):
    """A working folder with pipelines and nine pictures in three folders."""
    monkeypatch.chdir(tmp_path)
    write_pipeline("copy", "load", "save")
    write_pipeline("half", "load", "resize: {scale: 0.5}", "save")
    for n in range(9):
        picture(f"in/{'abc'[n // 3]}/p{n}.png", n * 20)
    return tmp_path


@pytest.fixture
def untuned(empty_place, monkeypatch):
    """A working folder with three pictures, where nothing has been tuned yet."""
    monkeypatch.delenv(tuned.ENVIRONMENT, raising=False)
    monkeypatch.setenv("XDG_CACHE_HOME", str(empty_place / "cache"))
    monkeypatch.setattr(tuned.cache.platformdirs, "user_cache_dir", lambda *_, **__: "cache")
    (empty_place / "in").mkdir()
    random = np.random.RandomState(0)
    for index in range(3):
        pixels = random.randint(0, 256, (40, 48 + index, 3)).astype(np.uint8)
        Image.fromarray(pixels).save(f"in/p{index}.png")
    return empty_place


@pytest.fixture
def blur(untuned, catalog):
    """A pipeline with `tiny-image`, and three pictures in `in`."""
    return chain(untuned, "load", "apply: {model: tiny-image}", "save", catalog=catalog)


@pytest.fixture
def steady(monkeypatch):
    """A clock by which every way takes equally long, so that there is always time."""
    ticks = itertools.count()
    monkeypatch.setattr("genloom.engine.contest.perf_counter", lambda: 1e-6 * next(ticks))


@pytest.fixture
def many(untuned, tmp_path):
    """A pipeline with a model on the runtime `many`, the only one."""
    catalog = fake_catalog(tmp_path / "bundles", Many)
    return chain(untuned, "load", "apply: {model: fake}", "save", catalog=catalog)


@pytest.fixture(scope="session")
def write_small_network(onnx_bytes):
    """Writes the bundle of a small network."""

    def write(folder, *, level=False, inner=2):
        nodes, constants = layers(level, inner)
        inputs = {"image": PICTURE, **({"noise_level": LEVEL} if level else {})}
        data = onnx_bytes(nodes, inputs, {"result": PICTURE}, constants, 18)
        folder.mkdir(parents=True)
        (folder / "network.onnx").write_bytes(data)
        digest = hashlib.sha256(data).hexdigest()
        part = Part(
            file="network.onnx",
            sha256=digest,
            opset=18,
            inputs=inputs,
            outputs={"result": PICTURE},
        )
        Card(
            name=folder.name,
            family="image-to-image",
            channels=3,
            receptive_field=2 * inner + 5,
            parts={"network": part},
        ).write(folder)
        return folder

    return write


@pytest.fixture(scope="session")
def int8_models(write_small_network, tmp_path_factory):
    """A folder with photographs, the model `plain`, and `small`, the same with int8."""
    folder = tmp_path_factory.mktemp("int8")
    save_photographs(folder / "photographs")
    write_small_network(folder / "models/plain")
    bundle = models.find(str(folder / "models/plain"), Catalog.load())
    paths = [str(folder / "photographs")]
    worth = quantize(bundle, Catalog.load(), paths, folder / "models/small")
    assert "cpu" in {one.provider for one in worth}
    return folder


@pytest.fixture
def int8_place(int8_models, empty_place, monkeypatch):
    """A working folder with both, where nothing has been tuned yet."""
    monkeypatch.delenv(tuned.ENVIRONMENT, raising=False)
    monkeypatch.setattr(tuned.cache.platformdirs, "user_cache_dir", lambda *_, **__: "cache")
    shutil.copytree(int8_models, empty_place, dirs_exist_ok=True)
    return empty_place
