"""Fixtures for every room: tiny models that are built on the spot, and a catalog that has them."""

from __future__ import annotations

import hashlib
import os

import numpy as np
import pytest
from hypothesis import settings
from making import plugin_with
from measuring import pytest_runtest_protocol as pytest_runtest_protocol
from safetensors.numpy import save

from genloom.backend import Backend
from genloom.card import Card, Part, Port, SizeRule, Tensors
from genloom.catalog import Catalog
from genloom.runtime import best

OPSET = 18

# `auto` means ONNX Runtime, as for those who have no other, unless a test wants it `as_shipped`.
SHIPPED = best.AUTOMATIC
best.AUTOMATIC = tuple(name for name in SHIPPED if name != "openvino")

# What somebody tuned on this machine is no concern of the tests.
os.environ.setdefault("GENLOOM_TUNED", "off")

# What must land is decided by the same examples each time, however slow the machine; to look for
# others: HYPOTHESIS_PROFILE=default.
settings.register_profile("same", derandomize=True, deadline=None)
settings.load_profile(os.environ.get("HYPOTHESIS_PROFILE", "same"))

os.environ["GENLOOM_CACHE"] = "off"  # what tests compile is not the user's


class TinyImage(Backend):
    family = "tiny-image"


class TinyVae(Backend):
    family = "tiny-vae"


@pytest.fixture(scope="session")
def tiny_bundles(tmp_path_factory):
    """A folder with three bundles.

    `tiny-image`: colour; `result` = image + noise_level · (3×3 box blur − image).
    `tiny-vae`: grey, 8×8; a latent is the mean of each quadrant, decoded as flat quadrants.
    `tiny-cvae`: the same for three classes: class k adds k/4 to the picture, the encoder takes
    every picture for the last class, and the tensor `class_means` holds 0, 1 and 2.
    """
    folder = tmp_path_factory.mktemp("models")
    write_tiny_image(folder / "tiny-image")
    write_tiny_vae(folder / "tiny-vae")
    write_tiny_cvae(folder / "tiny-cvae")
    return folder


@pytest.fixture
def tiny_plugin(tiny_bundles):
    """A plugin that brings the tiny bundles and their families."""

    return plugin_with(backends=[TinyImage, TinyVae], models=[tiny_bundles])


@pytest.fixture
def catalog(tiny_plugin):
    """The installed plugins, and one that brings the tiny bundles."""
    catalog = Catalog.load()
    assert catalog.register(tiny_plugin, "tiny").error == ""
    return catalog


@pytest.fixture
def empty_place(tmp_path, monkeypatch):
    """A working folder without models, and a user without any either."""
    place = tmp_path / "place"
    place.mkdir()
    monkeypatch.chdir(place)
    monkeypatch.setenv("HOME", str(tmp_path))
    monkeypatch.setenv("XDG_DATA_HOME", str(tmp_path / "data"))
    return place


@pytest.fixture
def as_shipped(monkeypatch):
    """The provider `auto` is the best of all runtimes that are installed, OpenVINO's too."""
    monkeypatch.setattr(best, "AUTOMATIC", SHIPPED)


@pytest.fixture(scope="session")
def onnx_bytes():
    """Builds an ONNX model; see `build_onnx`."""
    return build_onnx


def build_onnx(nodes, inputs, outputs, constants=(), opset=OPSET):
    """The bytes of an ONNX model.

    `nodes` are (operator, inputs, outputs, attributes); ports and constants go by their names.
    """
    from onnx import TensorProto, checker, helper, numpy_helper

    types = {"float32": TensorProto.FLOAT, "int64": TensorProto.INT64, "uint8": TensorProto.UINT8}

    def values(ports):
        return [
            helper.make_tensor_value_info(name, types[port.dtype], list(port.axes))
            for name, port in ports.items()
        ]

    graph = helper.make_graph(
        [
            helper.make_node(operator, taken, given, **said)
            for operator, taken, given, said in nodes
        ],
        "tiny",
        values(inputs),
        values(outputs),
        [numpy_helper.from_array(array, name) for name, array in dict(constants).items()],
    )
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", opset)], ir_version=9)
    checker.check_model(model, full_check=True)
    return model.SerializeToString()


def write_part(folder, name, nodes, inputs, outputs, constants=()):
    """Write a graph into a bundle's folder; returns what its card says about it."""
    data = build_onnx(nodes, inputs, outputs, constants)
    folder.mkdir(parents=True, exist_ok=True)
    (folder / f"{name}.onnx").write_bytes(data)
    digest = hashlib.sha256(data).hexdigest()
    return Part(file=f"{name}.onnx", sha256=digest, opset=OPSET, inputs=inputs, outputs=outputs)


def write_tiny_image(folder, name="tiny-image"):
    picture = Port(axes=("batch", 3, "height", "width"))
    level = Port(axes=("batch",), range=(0.0, 1.0), default=1.0)
    nodes = [
        ("Conv", ["image", "kernel"], ["blurred"], {"group": 3, "pads": [1, 1, 1, 1]}),
        ("Sub", ["blurred", "image"], ["change"], {}),
        ("Reshape", ["noise_level", "shape"], ["level"], {}),
        ("Mul", ["change", "level"], ["scaled"], {}),
        ("Add", ["image", "scaled"], ["result"], {}),
    ]
    constants = {
        "kernel": np.full((3, 1, 3, 3), 1 / 9, np.float32),
        "shape": np.array([-1, 1, 1, 1], np.int64),
    }
    inputs = {"image": picture, "noise_level": level}
    part = write_part(folder, "network", nodes, inputs, {"result": picture}, constants)
    Card(
        name=name,
        family=TinyImage.family,
        summary="Box blur.",
        channels=3,
        size=SizeRule(multiple=2),
        receptive_field=3,
        parts={"network": part},
    ).write(folder)


def write_tiny_vae(folder, name="tiny-vae"):
    picture, latent = Port(axes=("batch", 1, 8, 8)), Port(axes=("batch", 4))
    quadrant = np.kron(np.arange(4).reshape(2, 2), np.ones((4, 4), int)).ravel()
    spread = np.eye(4, dtype=np.float32)[quadrant]
    encoder = write_part(
        folder,
        "encoder",
        [
            ("Flatten", ["image"], ["flat"], {"axis": 1}),
            ("MatMul", ["flat", "weight"], ["mean"], {}),
            ("Mul", ["mean", "zero"], ["nought"], {}),
            ("Add", ["nought", "level"], ["log_variance"], {}),
        ],
        {"image": picture},
        {"mean": latent, "log_variance": latent},
        {
            "weight": spread / 16,
            "zero": np.float32(0).reshape(1),
            "level": np.float32(-2).reshape(1),
        },
    )
    decoder = write_part(
        folder,
        "decoder",
        [
            ("MatMul", ["latent", "weight"], ["flat"], {}),
            ("Reshape", ["flat", "shape"], ["image"], {}),
        ],
        {"latent": latent},
        {"image": picture},
        {"weight": spread.T.copy(), "shape": np.array([-1, 1, 8, 8], np.int64)},
    )
    Card(
        name=name,
        family=TinyVae.family,
        summary="Means of quadrants.",
        channels=1,
        size=SizeRule(fixed=(8, 8)),
        latent=(4,),
        parts={"encoder": encoder, "decoder": decoder},
    ).write(folder)


def write_tiny_cvae(folder, name="tiny-cvae"):
    picture, latent = Port(axes=("batch", 1, 8, 8)), Port(axes=("batch", 4))
    label = Port(axes=("batch", 3))
    quadrant = np.kron(np.arange(4).reshape(2, 2), np.ones((4, 4), int)).ravel()
    spread = np.eye(4, dtype=np.float32)[quadrant]
    encoder = write_part(
        folder,
        "encoder",
        [
            ("Flatten", ["image"], ["flat"], {"axis": 1}),
            ("MatMul", ["flat", "weight"], ["mean"], {}),
            ("Mul", ["mean", "zero"], ["nought"], {}),
            ("Add", ["nought", "level"], ["log_variance"], {}),
            ("MatMul", ["nought", "first"], ["blank"], {}),
            ("Add", ["blank", "last"], ["label"], {}),
        ],
        {"image": picture},
        {"mean": latent, "log_variance": latent, "label": label},
        {
            "weight": spread / 16,
            "zero": np.float32(0).reshape(1),
            "level": np.float32(-2).reshape(1),
            "first": np.zeros((4, 3), np.float32),
            "last": np.array([0, 0, 1], np.float32),
        },
    )
    decoder = write_part(
        folder,
        "decoder",
        [
            ("MatMul", ["latent", "weight"], ["quadrants"], {}),
            ("MatMul", ["label", "shade"], ["shaded"], {}),
            ("Add", ["quadrants", "shaded"], ["flat"], {}),
            ("Reshape", ["flat", "shape"], ["image"], {}),
        ],
        {"latent": latent, "label": label},
        {"image": picture},
        {
            "weight": spread.T.copy(),
            "shade": np.repeat(np.arange(3, dtype=np.float32)[:, None] / 4, 64, axis=1),
            "shape": np.array([-1, 1, 8, 8], np.int64),
        },
    )
    means = np.repeat(np.arange(3, dtype=np.float32)[:, None], 4, axis=1)
    data = save({"class_means": means})
    (folder / "tensors.safetensors").write_bytes(data)
    digest = hashlib.sha256(data).hexdigest()
    Card(
        name=name,
        family=TinyVae.family,
        summary="Means of quadrants, for three classes.",
        channels=1,
        size=SizeRule(fixed=(8, 8)),
        latent=(4,),
        labels=("boot", "shirt", "bag"),
        parts={"encoder": encoder, "decoder": decoder},
        tensors=Tensors(file="tensors.safetensors", sha256=digest, shapes={"class_means": (3, 4)}),
    ).write(folder)
