"""What OpenVINO compiled is kept, and read the next time."""

import numpy as np
import pytest
from making import FREE

from genloom import models
from genloom.catalog import Catalog
from genloom.runtime import Settings, cache
from genloom_openvino import runtime as openvino
from genloom_openvino.runtime import opened


def test_few_shapes_are_kept_compiled(openvino_runtime, doubling, monkeypatch):
    core, given = opened(), []

    class Spy:
        def __getattr__(self, name):
            return getattr(core, name)

        def compile_model(self, model, device, config):
            given.append(config)
            return core.compile_model(model, device, config)

    monkeypatch.setattr(openvino, "opened", Spy)
    openvino_runtime.compile(doubling, Settings())
    assert given[0]["CPU_RUNTIME_CACHE_CAPACITY"] == "64"


@pytest.fixture
def kept(openvino_runtime, tmp_path, monkeypatch):
    """A cache of its own; gives its entries, and what was compiled and not read from it."""
    monkeypatch.setenv("GENLOOM_CACHE", str(tmp_path / "cache"))
    core, compiled = opened(), []

    class Spy:
        def __getattr__(self, name):
            return getattr(core, name)

        def compile_model(self, model, device, config):
            compiled.append(config)
            return core.compile_model(model, device, config)

    monkeypatch.setattr(openvino, "opened", Spy)
    return lambda: sorted((tmp_path / "cache/graphs").glob("*.graph")), compiled


def test_what_was_compiled_once_is_read_the_next_time_and_computes_the_same(openvino_runtime, kept):
    entries, compiled = kept
    bundle = models.find("denoise-photo", Catalog.load())
    graph, inputs = (
        bundle.graph("network"),
        {
            "image": np.random.default_rng(0).random((1, 3, 40, 56), np.float32),
            "noise_level": np.full(1, 0.1, np.float32),
        },
    )
    first = openvino_runtime.compile(graph, Settings(threads=1))
    second = openvino_runtime.compile(graph, Settings(threads=1))
    assert len(compiled) == len(entries()) == 1
    assert (second.inputs, second.outputs) == (first.inputs, first.outputs)
    assert (second.types, second.precision) == (first.types, first.precision)
    assert np.array_equal(first.run(inputs)["result"], second.run(inputs)["result"])


def test_other_graphs_settings_and_options_are_compiled_by_themselves(
    openvino_runtime, kept, onnx_bytes
):
    entries, compiled = kept
    graphs = [
        onnx_bytes([(operator, ["x", "x"], ["y"], {})], {"x": FREE}, {"y": FREE})
        for operator in ("Add", "Mul")
    ]
    options = {"ENABLE_CPU_PINNING": "NO"}
    for _ in range(2):
        networks = [openvino_runtime.compile(graph, Settings(threads=1)) for graph in graphs]
        openvino_runtime.compile(graphs[0], Settings(threads=2))
        openvino_runtime.compile(
            graphs[0], Settings(threads=1, provider="openvino", options=options)
        )
    assert len(compiled) == len(entries()) == 4
    x = np.full((1, 3, 2, 2), 3, np.float32)
    assert [network.run({"x": x})["y"].max() for network in networks] == [6, 9]


@pytest.mark.parametrize("damage", [b"", b"what is this", None])
def test_a_damaged_entry_is_compiled_again_and_replaced(openvino_runtime, kept, doubling, damage):
    entries, compiled = kept
    openvino_runtime.compile(doubling, Settings(threads=1))
    (entry,) = entries()
    whole = entry.read_bytes()
    entry.write_bytes(whole[: len(whole) // 2] if damage is None else damage)
    network = openvino_runtime.compile(doubling, Settings(threads=1))
    x = np.ones((1, 3, 2, 2), np.float32)
    assert np.array_equal(network.run({"x": x})["y"], 2 * x)
    openvino_runtime.compile(doubling, Settings(threads=1))
    assert len(compiled) == 2 and len(entries()) == 1


def test_an_entry_that_openvino_does_not_take_is_compiled_again(openvino_runtime, kept, doubling):
    entries, compiled = kept
    openvino_runtime.compile(doubling, Settings(threads=1))
    (entry,) = entries()
    cache.put(entry.stem, b'["x", "y"]\nof another version')
    openvino_runtime.compile(doubling, Settings(threads=1))
    openvino_runtime.compile(doubling, Settings(threads=1))
    assert len(compiled) == 2


def test_nothing_is_kept_where_that_was_not_wanted(openvino_runtime, kept, doubling, monkeypatch):
    entries, compiled = kept
    monkeypatch.setenv("GENLOOM_CACHE", "off")
    for _ in range(2):
        openvino_runtime.compile(doubling, Settings(threads=1))
    assert len(compiled) == 2 and not entries()
