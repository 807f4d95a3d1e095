"""A small network with an int8 form, photographs for it, and ways to compute it."""

from __future__ import annotations

import itertools

import numpy as np
from PIL import Image

from genloom import Catalog, load_pipeline, models
from genloom.card import Port
from genloom.runtime import Settings
from genloom.runtime.ort import OnnxRuntime

PICTURE = Port(axes=("batch", 3, "height", "width"))


LEVEL = Port(axes=("batch",), range=(0.0, 0.2))


FLOOR = 30.0
"""What the small network reaches easily; and far above what a wrong one would."""


def layers(level=False, inner=2):
    """Nodes and constants of image + tail(… relu(head(image)) …); the head sees a noise level."""
    random = np.random.default_rng(5)
    widths = [3, *[8] * (inner + 1), 3]
    nodes, constants, value = [], {}, "image"
    for number, (before, after) in enumerate(itertools.pairwise(widths)):
        weights = random.normal(0, (9 * before) ** -0.5, (after, before, 3, 3))
        constants[f"w{number}"] = weights.astype(np.float32)
        constants[f"b{number}"] = random.normal(0, 0.1, after).astype(np.float32)
        inputs = [value, f"w{number}", f"b{number}"]
        nodes.append(("Conv", inputs, [f"c{number}"], {"pads": [1, 1, 1, 1]}))
        value = f"c{number}"
        if number == 0 and level:
            constants["axes"] = np.array([1, 2, 3])
            nodes.append(("Unsqueeze", ["noise_level", "axes"], ["level"], {}))
            nodes.append(("Add", [value, "level"], ["told"], {}))
            value = "told"
        if number <= inner:
            nodes.append(("Relu", [value], [f"r{number}"], {}))
            value = f"r{number}"
    constants["less"] = np.float32(0.2)
    nodes += [("Mul", [value, "less"], ["some"], {}), ("Add", ["image", "some"], ["result"], {})]
    return nodes, constants


def save_photographs(folder, count=6, side=64):
    """Smooth pictures with an edge, no two alike."""
    folder.mkdir(parents=True)
    random = np.random.default_rng(1)
    rows, columns = np.mgrid[:side, :side] / side
    for number in range(count):
        a, b, c = random.uniform(1, 6, 3)
        planes = [0.5 + 0.4 * np.sin(a * rows + b * columns + c * k) for k in range(3)]
        picture = np.stack(planes, -1) - 0.3 * (rows > b / 7)[..., None]
        Image.fromarray((255 * picture.clip(0, 1)).astype(np.uint8)).save(folder / f"{number}.png")
    return folder


def chain(int8_place, model):
    (int8_place / f"{model}.yaml").write_text(
        f"genloom: 1\nstages: [load, {{apply: {{model: {model}}}}}, {{save: {{format: png}}}}]\n"
    )
    return load_pipeline(f"{model}.yaml")


def bundle_of(int8_place, name="small"):
    return models.find(str(int8_place / "models" / name), Catalog.load())


def ort(graph, precision):
    return OnnxRuntime().compile(graph, Settings(provider="cpu", threads=1, precision=precision))


def photograph(int8_place, number=0):
    return np.asarray(Image.open(int8_place / f"photographs/{number}.png"))
