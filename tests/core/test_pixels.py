"""8-bit pixels in and out of graphs."""

from pathlib import Path

import numpy as np
import onnx
import pytest

import genloom_denoise
import genloom_upscale
from genloom.errors import ModelError
from genloom.runtime import Settings
from genloom.runtime.ort import OnnxRuntime
from genloom.runtime.pixels import IMAGE, MEAN, RESULT, in_pixels
from genloom.types import as_dtype, as_float

GRAPHS = {
    "denoiser": Path(genloom_denoise.__file__).parent / "models/denoise-photo/network.onnx",
    "enlarger": Path(genloom_upscale.__file__).parent / "models/upscale-x2/network.onnx",
}
OTHERS = {"denoiser": {"noise_level": np.array([0.1, 0.02], np.float32)}, "enlarger": {}}


def compiled(graph: bytes):
    return OnnxRuntime().compile(graph, Settings(provider="cpu", threads=1))


@pytest.fixture(params=GRAPHS)
def name(request):
    return request.param


@pytest.fixture
def graph(name):
    return GRAPHS[name].read_bytes()


@pytest.fixture
def pixels():
    return np.random.default_rng(0).integers(0, 256, (2, 24, 16, 3), np.uint8)


def test_the_graph_gives_what_numpy_would_make_of_the_floats(graph, name, pixels):
    floats = np.ascontiguousarray(as_float(pixels).transpose(0, 3, 1, 2))
    wanted = compiled(graph).run({"image": floats, **OTHERS[name]})["result"]
    found = compiled(in_pixels(graph, "image", "result")).run({IMAGE: pixels, **OTHERS[name]})
    assert found[RESULT].dtype == np.uint8
    assert np.array_equal(found[RESULT], as_dtype(wanted.transpose(0, 2, 3, 1), np.uint8))
    assert found[MEAN] == pytest.approx(wanted.mean(), abs=1e-5)
    half = compiled(in_pixels(graph, "image", None)).run({IMAGE: pixels, **OTHERS[name]})
    assert np.array_equal(half["result"], wanted)


def test_it_is_a_valid_onnx_file(graph):
    for result in ("result", None):
        model = onnx.load_model_from_string(in_pixels(graph, "image", result))
        onnx.checker.check_model(model, full_check=True)


def test_what_is_no_number_shows_in_the_mean():
    image = onnx.helper.make_tensor_value_info("image", 1, ["n", 3, "h", "w"])
    result = onnx.helper.make_tensor_value_info("result", 1, ["n", 3, "h", "w"])
    node = onnx.helper.make_node("Log", ["image"], ["result"])
    made = onnx.helper.make_graph([node], "log", [image], [result])
    opset = onnx.helper.make_opsetid("", 18)
    model = onnx.helper.make_model(made, opset_imports=[opset], ir_version=8)
    network = compiled(in_pixels(model.SerializeToString(), "image", "result"))
    good = np.full((1, 4, 4, 3), 200, np.uint8)
    assert np.isfinite(network.run({IMAGE: good})[MEAN])
    good[0, 1, 2, 0] = 0
    assert not np.isfinite(network.run({IMAGE: good})[MEAN])


@pytest.mark.parametrize("data", [b"", b"no graph", b"\x3a\x02\x5a\x00"])
def test_what_is_no_graph_is_refused(data):
    with pytest.raises(ModelError):
        in_pixels(data, "image", None)


def test_a_graph_that_states_no_shapes_will_do(graph, name, pixels):
    model = onnx.load_model_from_string(graph)
    for port in (*model.graph.input, *model.graph.output):
        port.type.tensor_type.ClearField("shape")
    blank = model.SerializeToString()
    found = compiled(in_pixels(blank, "image", "result")).run({IMAGE: pixels, **OTHERS[name]})
    wanted = compiled(in_pixels(graph, "image", "result")).run({IMAGE: pixels, **OTHERS[name]})
    assert np.array_equal(found[RESULT], wanted[RESULT])
