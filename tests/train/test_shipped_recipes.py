"""Every shipped recipe trains: two steps on small data, through the real command."""

import gzip
import struct

import cv2
import numpy as np
import pytest
from click.testing import CliRunner
from lite import lite_package

from genloom.card import Card
from genloom_train.cli import train
from genloom_train.data.fashion_mnist import FILES
from genloom_train.recipe import shipped_recipes

SMALL = ("train.steps=2", "train.epochs=null", "train.batch=4")
SMALLER = {
    "denoise-render": ("data.count=2", "data.paths=1"),
    "style-any": ("model.patterns=2", "data.crop=96"),
    "noise-level": ("data.crop=96",),
}
"""What makes the data small of recipes that make it themselves, and crops that are too large."""

BEFORE = {
    "denoise-photo-middle": ("denoise-photo-base",),
    "denoise-photo-deep": ("denoise-photo-base", "denoise-photo-middle"),
    "denoise-photo": ("denoise-photo-base", "denoise-photo-middle", "denoise-photo-deep"),
}
"""Recipes that go on from what others make, which do not ship."""


@pytest.fixture
def data(tmp_path, monkeypatch):
    monkeypatch.setattr("genloom_train.data.folder.SYNTHETIC_COUNT", 2)
    random = np.random.default_rng(0)
    folder = tmp_path / "data"
    folder.mkdir()
    for number in range(3):
        picture = cv2.resize(random.integers(0, 256, (9, 9, 3), np.uint8), (150, 130))
        for ending in ("png", "first.png", "second.png"):
            cv2.imwrite(str(folder / f"{number}.{ending}"), picture)
    for (_, what), name in FILES.items():
        shape = (16, 28, 28) if what == "image" else (16,)
        axes = struct.pack(f">{len(shape)}I", *shape)
        values = random.integers(0, 10, shape).astype(np.uint8).tobytes()
        idx = bytes([0, 0, 8, len(shape)]) + axes + values
        (folder / f"{name}.gz").write_bytes(gzip.compress(idx))
    return folder


@pytest.fixture(autouse=True)
def weights(tmp_path, monkeypatch):
    """What stands for the package with EfficientNet's weights."""
    lite_package(tmp_path / "site")
    monkeypatch.syspath_prepend(tmp_path / "site")


@pytest.fixture(scope="module")
def run(tmp_path_factory):
    """Where all bundles go, so that what others go on from is made once."""
    return tmp_path_factory.mktemp("run")


def trained(name, data, out):
    if (out / name).exists():
        return
    words = [name, "-o", str(out), "--data", str(data), "--device", "cpu"]
    for override in (*SMALL, *SMALLER.get(name, ())):
        words += ["--set", override]
    result = CliRunner().invoke(train, words, catch_exceptions=False)
    assert result.exit_code == 0, result.output


@pytest.mark.parametrize("name", sorted(shipped_recipes()))
def test_a_shipped_recipe_trains_and_exports(name, data, run):
    for one in (*BEFORE.get(name, ()), name):
        trained(one, data, run)
    card = Card.read(run / name)
    assert card.origin.steps == 2
    files = [run / name / part.file for part in card.parts.values()]
    assert sum(file.stat().st_size for file in files) < 4_000_000
