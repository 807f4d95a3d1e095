"""The runtime `openvino` keeps the contract of runtimes and computes what ONNX Runtime does."""

from concurrent.futures import ThreadPoolExecutor

import numpy as np
import pytest

import genloom
from genloom.card import Port
from genloom.errors import GenloomError, MissingRequirement, ModelError
from genloom.runtime import Settings, trial
from genloom_openvino.runtime import OpenVino

FREE = Port(axes=("n", 3, "h", "w"))


@pytest.fixture
def runtime():
    made = OpenVino()
    if not made.providers():
        pytest.skip("openvino is not installed")
    return made


@pytest.fixture
def doubling(onnx_bytes):
    return onnx_bytes([("Add", ["x", "x"], ["y"], {})], {"x": FREE}, {"y": FREE})


def test_without_the_library_it_has_no_providers_and_names_the_extra(monkeypatch, doubling):
    monkeypatch.setattr("importlib.util.find_spec", lambda name: None)
    assert OpenVino().providers() == ()
    with pytest.raises(MissingRequirement, match=r"genloom\[openvino\]"):
        OpenVino().compile(doubling, Settings(provider="openvino"))


def test_the_processor_is_a_provider_that_works(runtime):
    assert "openvino" in runtime.providers()
    assert trial.tried(runtime, "openvino") == ""


def test_a_graph_runs_at_every_size_and_says_its_ports(runtime, doubling):
    network = runtime.compile(doubling, Settings(threads=1))
    assert network.provider == "openvino"
    assert list(network.inputs) == ["x"] and network.inputs["x"][1] == 3
    assert network.types == {"x": "float32", "y": "float32"}
    for shape in [(1, 3, 5, 7), (2, 3, 8, 8), (1, 3, 5, 7)]:
        x = np.random.default_rng(0).random(shape, np.float32)
        assert np.array_equal(network.run({"x": x})["y"], 2 * x)


def test_results_are_the_caller_s_to_keep(runtime, doubling):
    network = runtime.compile(doubling, Settings(threads=1))
    first = network.run({"x": np.ones((1, 3, 2, 2))})["y"]
    network.run({"x": np.zeros((1, 3, 2, 2))})
    assert np.array_equal(first, np.full((1, 3, 2, 2), 2))


def test_calls_of_several_threads_do_not_meet(runtime, doubling):
    network = runtime.compile(doubling, Settings(threads=1, calls=2))
    inputs = [np.full((1, 3, 16, 16), n, np.float32) for n in range(64)]
    with ThreadPoolExecutor(4) as pool:
        results = list(pool.map(lambda x: network.run({"x": x})["y"], inputs))
    assert all(np.array_equal(y, 2 * x) for x, y in zip(inputs, results, strict=True))


@pytest.mark.parametrize(
    ("inputs", "words"),
    [
        ({}, "ports of the graph were not met"),
        ({"z": np.ones((1, 3, 4, 4))}, "expected x, got z"),
        ({"x": np.ones((1, 4, 4, 4))}, "'x' has the wrong shape"),
        ({"x": np.ones((3, 4, 4))}, "'x' has the wrong shape"),
    ],
)
def test_inputs_that_do_not_fit_are_told(runtime, doubling, inputs, words):
    with pytest.raises(ModelError, match=words):
        runtime.compile(doubling, Settings()).run(inputs)


def test_what_cannot_be_compiled_is_told(runtime, doubling, tmp_path):
    with pytest.raises(ModelError, match="does not load"):
        runtime.compile(b"no graph at all", Settings())
    with pytest.raises(ModelError, match="cannot be read"):
        runtime.compile(tmp_path / "gone.onnx", Settings())
    with pytest.raises(MissingRequirement, match="'cuda' is not at hand"):
        runtime.compile(doubling, Settings(provider="cuda"))
    with pytest.raises(GenloomError, match="Did you mean 'NUM_STREAMS'"):
        runtime.compile(doubling, Settings(provider="openvino", options={"NUM_STREAM": "1"}))


def test_options_of_the_device_reach_it(runtime, doubling):
    settings = Settings(provider="openvino", options={"PERF_COUNT": "YES"}, threads=1, calls=2)
    network = runtime.compile(doubling, settings)
    found = {n: str(network._compiled.get_property(n)) for n in ("PERF_COUNT", "NUM_STREAMS")}
    assert found == {"PERF_COUNT": "YES", "NUM_STREAMS": "2"}


@pytest.mark.parametrize("size", [(33, 47), (64, 128)])
def test_a_denoiser_that_ships_gives_the_same_picture_on_both_runtimes(runtime, size):
    noisy = np.random.default_rng(1).random((*size, 3), np.float32)
    results = [
        genloom.open_model("denoise-photo", provider=provider)(noisy, noise_level=0.1)
        for provider in ("cpu", "openvino")
    ]
    assert np.abs(results[0] - results[1]).max() < 1e-4
