"""The runtime of OpenVINO: the same pictures, and what is wrong is told."""

import functools
import os
import queue
import subprocess
import sys
import time
from concurrent.futures import ThreadPoolExecutor

import numpy as np
import pytest
from making import FREE

import genloom
from genloom import doctor
from genloom.card import Port
from genloom.catalog import Catalog
from genloom.engine.compiling import runtime_named
from genloom.errors import (
    GenloomError,
    MissingRequirement,
    ModelError,
    OutOfMemory,
    PluginError,
)
from genloom.runtime import Settings, trial
from genloom.runtime.best import Best
from genloom.runtime.ort import OnnxRuntime
from genloom_openvino import runtime as openvino
from genloom_openvino.runtime import OpenVino, opened


def test_without_the_library_it_has_no_providers_and_names_the_extra(monkeypatch, doubling):
    monkeypatch.setattr("importlib.util.find_spec", lambda name: None)
    assert OpenVino().providers() == ()
    with pytest.raises(MissingRequirement, match=r"genloom\[openvino\]"):
        OpenVino().compile(doubling, Settings(provider="openvino"))


def test_the_processor_is_a_provider_that_works(openvino_runtime):
    assert "openvino" in openvino_runtime.providers()
    assert trial.tried(openvino_runtime, "openvino") == ""


def test_a_graph_runs_at_every_size_and_says_its_ports(openvino_runtime, doubling):
    network = openvino_runtime.compile(doubling, Settings(threads=1))
    assert network.provider == "openvino"
    assert list(network.inputs) == ["x"] and network.inputs["x"][1] == 3
    assert network.types == {"x": "float32", "y": "float32"}
    for shape in [(1, 3, 5, 7), (2, 3, 8, 8), (1, 3, 5, 7)]:
        x = np.random.default_rng(0).random(shape, np.float32)
        assert np.array_equal(network.run({"x": x})["y"], 2 * x)


def test_results_are_the_caller_s_to_keep(openvino_runtime, doubling):
    network = openvino_runtime.compile(doubling, Settings(threads=1))
    first = network.run({"x": np.ones((1, 3, 2, 2))})["y"]
    network.run({"x": np.zeros((1, 3, 2, 2))})
    assert np.array_equal(first, np.full((1, 3, 2, 2), 2))


def test_calls_of_several_threads_do_not_meet(openvino_runtime, doubling):
    network = openvino_runtime.compile(doubling, Settings(threads=1, calls=2))
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
def test_inputs_that_do_not_fit_are_told(openvino_runtime, doubling, inputs, words):
    with pytest.raises(ModelError, match=words):
        openvino_runtime.compile(doubling, Settings()).run(inputs)


def test_what_cannot_be_compiled_is_told(openvino_runtime, doubling, tmp_path):
    with pytest.raises(ModelError, match="does not load"):
        openvino_runtime.compile(b"no graph at all", Settings())
    with pytest.raises(ModelError, match="cannot be read"):
        openvino_runtime.compile(tmp_path / "gone.onnx", Settings())
    with pytest.raises(MissingRequirement, match="'cuda' is not at hand"):
        openvino_runtime.compile(doubling, Settings(provider="cuda"))
    with pytest.raises(GenloomError, match="Did you mean 'NUM_STREAMS'"):
        openvino_runtime.compile(
            doubling, Settings(provider="openvino", options={"NUM_STREAM": "1"})
        )


def test_options_of_the_device_reach_it(openvino_runtime, doubling):
    settings = Settings(provider="openvino", options={"PERF_COUNT": "YES"}, threads=1, calls=2)
    network = openvino_runtime.compile(doubling, settings)
    found = {n: str(network._graph.compiled.get_property(n)) for n in ("PERF_COUNT", "NUM_STREAMS")}
    assert found == {"PERF_COUNT": "YES", "NUM_STREAMS": "2"}


@pytest.mark.parametrize("size", [(33, 47), (64, 128)])
def test_a_denoiser_that_ships_gives_the_same_picture_on_both_runtimes(openvino_runtime, size):
    noisy = np.random.default_rng(1).random((*size, 3), np.float32)
    results = [
        genloom.open_model("denoise-photo", provider=provider)(noisy, noise_level=0.1)
        for provider in ("cpu", "openvino")
    ]
    assert np.abs(results[0] - results[1]).max() < 1e-4


@pytest.mark.parametrize("operator", ["Identity", "Dropout", "Cast", "Reshape", "Flatten"])
def test_ports_keep_their_names_where_the_last_operators_are_folded_away(
    openvino_runtime, onnx_bytes, operator
):
    said = {"Cast": {"to": 1}, "Flatten": {"axis": 1}}.get(operator, {})
    more = {"shape": np.array([1, 3], np.int64)} if operator == "Reshape" else {}
    port = Port(axes=(1, 3))
    nodes = [
        ("Add", ["image", "image"], ["inner"], {}),
        (operator, ["inner", *more], ["result"], said),
    ]
    data = onnx_bytes(nodes, {"image": port}, {"result": port}, more)
    network = openvino_runtime.compile(data, Settings(threads=1))
    assert (list(network.inputs), list(network.outputs)) == (["image"], ["result"])
    x = np.float32([[1, 2, 3]])
    assert np.array_equal(network.run({"image": x})["result"], 2 * x)


def test_ports_keep_their_names_and_places_where_the_first_operators_are_folded_away(
    openvino_runtime, onnx_bytes
):
    nodes = [
        ("Identity", ["left"], ["a"], {}),
        ("Identity", ["right"], ["b"], {}),
        ("Sub", ["a", "b"], ["c"], {}),
        ("Identity", ["c"], ["result"], {}),
        ("Identity", ["right"], ["same"], {}),
    ]
    ports = {"left": FREE, "right": FREE}, {"result": FREE, "same": FREE}
    network = openvino_runtime.compile(onnx_bytes(nodes, *ports), Settings(threads=1))
    assert (set(network.inputs), set(network.outputs)) == (set(ports[0]), set(ports[1]))
    left, right = np.random.default_rng(0).random((2, 1, 3, 4, 5), np.float32)
    results = network.run({"right": right, "left": left})
    assert np.array_equal(results["result"], left - right)
    assert np.array_equal(results["same"], right)


@pytest.fixture
def determinant(onnx_bytes):
    """A graph with an operator that OpenVINO does not know."""
    nodes = [("Det", ["x"], ["y"], {})]
    return onnx_bytes(nodes, {"x": Port(axes=("n", 2, 2))}, {"y": Port(axes=("n",))})


def test_an_operator_that_it_does_not_know_is_named(openvino_runtime, determinant):
    with pytest.raises(ModelError, match=r"does not load in OpenVINO \(.*Det"):
        openvino_runtime.compile(determinant, Settings())


def test_auto_is_openvino_where_it_is_installed(openvino_runtime, doubling, as_shipped):
    network = runtime_named(Catalog.load(), "auto").compile(doubling, Settings())
    assert network.provider == "openvino"


def test_auto_goes_on_to_onnx_runtime_for_an_operator_that_it_does_not_know(
    openvino_runtime, determinant, as_shipped
):
    network = Best([openvino_runtime, OnnxRuntime()]).compile(determinant, Settings())
    assert network.provider == "cpu"
    result = network.run({"x": np.float32([[[2, 0], [0, 3]]])})
    assert result["y"] == pytest.approx([6])


LITTLE = """
import resource
import sys
from pathlib import Path

import numpy as np
from genloom.errors import OutOfMemory
from genloom.runtime import Settings
from genloom_openvino.runtime import OpenVino

graph = Path(sys.argv[1]).read_bytes()
network = OpenVino().compile(graph, Settings(provider="openvino", threads=1))
small, large = (np.ones((1, 3, side, side), np.float32) for side in (16, 512))
network.run({"image": small})
pages = int(Path("/proc/self/statm").read_text().split()[0])
room = pages * resource.getpagesize() + 64 * 2**20
resource.setrlimit(resource.RLIMIT_AS, (room, resource.RLIM_INFINITY))
try:
    print("gave", network.run({"image": large})["result"].shape)
except OutOfMemory as error:
    print("said", error)
resource.setrlimit(resource.RLIMIT_AS, (resource.RLIM_INFINITY, resource.RLIM_INFINITY))
print("then", network.run({"image": large})["result"].shape)
"""


def test_the_processor_says_that_memory_ran_out_and_never_gives_the_results_of_another_call(
    openvino_runtime, onnx_bytes, tmp_path
):
    if not sys.platform.startswith("linux"):
        pytest.skip("only Linux tells how much memory a process has mapped")
    random = np.random.default_rng(2)
    graph = onnx_bytes(
        [
            ("Conv", ["image", "first"], ["wide"], {"pads": [1, 1, 1, 1]}),
            ("Sin", ["wide"], ["waves"], {}),
            ("Conv", ["waves", "last"], ["result"], {}),
        ],
        {"image": FREE},
        {"result": FREE},
        {
            "first": random.normal(0, 0.1, (128, 3, 3, 3)).astype(np.float32),
            "last": random.normal(0, 0.1, (3, 128, 1, 1)).astype(np.float32),
        },
    )
    path = tmp_path / "wide.onnx"
    path.write_bytes(graph)
    command = [sys.executable, "-c", LITTLE, str(path)]
    done = subprocess.run(command, capture_output=True, text=True, timeout=300)
    assert done.returncode == 0, done.stderr
    first, second = done.stdout.splitlines()
    assert first.startswith("said the graph ran out of memory")
    assert second == "then (1, 3, 512, 512)"


def test_memory_that_runs_out_is_told_apart_from_other_faults(openvino_runtime, doubling):
    class Poor:
        def start_async(self, given, share_inputs):
            pass

        def wait(self):
            raise RuntimeError("Exception from infer_request.cpp:223:\n[GPU] CL_OUT_OF_RESOURCES")

    network = openvino_runtime.compile(doubling, Settings(threads=1))
    given = np.ones((1, 3, 2, 2), np.float32)
    network._graph._requests.put(Poor())
    assert (network.run({"x": given})["y"] == 2).all()  # tried again on a graph that holds less
    network._graph._requests = queue.SimpleQueue()
    network._graph._requests.put(Poor())
    with pytest.raises(OutOfMemory, match="CL_OUT_OF_RESOURCES"):
        network.run({"x": given})
    assert (network.run({"x": given})["y"] == 2).all()


def test_a_wrong_value_of_an_option_is_no_missing_requirement(openvino_runtime, doubling):
    options = {"PERFORMANCE_HINT": "QUICK"}
    with pytest.raises(GenloomError, match="got PERFORMANCE_HINT=QUICK") as caught:
        openvino_runtime.compile(doubling, Settings(provider="openvino", options=options))
    assert caught.value.exit_code == 2


def test_what_can_only_be_read_is_no_option(openvino_runtime, doubling):
    options = {"FULL_DEVICE_NAME": "mine"}
    with pytest.raises(GenloomError, match="has no option 'FULL_DEVICE_NAME'"):
        openvino_runtime.compile(doubling, Settings(provider="openvino", options=options))


def test_a_library_that_is_there_and_does_not_load_says_why_and_how_to_mend_it(monkeypatch):
    monkeypatch.setattr("importlib.util.find_spec", lambda name: object())
    monkeypatch.setitem(sys.modules, "openvino", None)
    monkeypatch.setattr(openvino, "_core", openvino._core.__wrapped__)  # not the core there may be
    with pytest.raises(MissingRequirement, match=r"does not load.*--force-reinstall openvino"):
        OpenVino().providers()
    monkeypatch.undo()
    monkeypatch.setattr(OpenVino, "providers", _raises)
    (check,) = (c for c in doctor.examine(Catalog.load()) if "'openvino' of the" in c.what)
    assert check.state == "broken" and check.hint == "Install it again"
    with pytest.raises(PluginError, match=r"its runtime 'openvino' failed.*libfoo.*again$"):
        runtime_named(Catalog.load(), "openvino")


def _raises(self):
    raise MissingRequirement(
        "openvino is installed but does not load (libfoo.so)", hint="Install it again"
    )


@pytest.mark.parametrize("provider", ["openvino", "openvino-gpu"])
def test_the_extra_is_named_where_the_library_is_missing(monkeypatch, provider, doubling):
    monkeypatch.setattr(OpenVino, "providers", lambda self: ())
    for name, chosen in (("auto", provider), ("openvino", "auto")):
        with pytest.raises(MissingRequirement, match=r"'openvino'.*genloom\[openvino\]"):
            runtime_named(Catalog.load(), name).compile(doubling, Settings(provider=chosen))


def test_threads_that_ask_at_once_get_the_same_core(openvino_runtime, monkeypatch):
    made = []

    def core():
        made.append(object())
        time.sleep(0.05)  # the others ask meanwhile
        return made[-1]

    monkeypatch.setattr("openvino.Core", core)
    monkeypatch.setattr(openvino, "_core", functools.cache(openvino._core.__wrapped__))
    with ThreadPoolExecutor(4) as pool:
        cores = list(pool.map(lambda _: opened(), range(4)))
    assert len(made) == 1 and cores == made * 4


LET_GO = """
import ctypes
import sys
import threading
from pathlib import Path

import numpy as np
from genloom.runtime import Settings
from genloom_openvino.runtime import OpenVino


class Stack(ctypes.Structure):
    _fields_ = [("start", ctypes.c_void_p), ("flags", ctypes.c_int), ("size", ctypes.c_size_t)]


held = [OpenVino()]
held.append(held[0].compile(Path(sys.argv[1]).read_bytes(), Settings(threads=1)))
held[1].run({"x": np.ones((1, 3, 16, 16), np.float32)})
letting_go = threading.Thread(target=held.clear)
letting_go.start()
letting_go.join()
stack, start = Stack(), 0
ctypes.CDLL(None).sigaltstack(None, ctypes.byref(stack))
for line in Path("/proc/self/maps").read_text().splitlines():
    first, _, last = line.split()[0].partition("-")
    if stack.start and int(first, 16) <= stack.start < int(last, 16):
        start = stack.start
print("there" if start == (stack.start or 0) else "gone")
"""


def test_signals_find_their_stack_when_another_thread_lets_the_last_network_go(
    openvino_runtime, doubling, tmp_path
):
    if not sys.platform.startswith("linux"):
        pytest.skip("only Linux lists what a process has mapped")
    path = tmp_path / "graph.onnx"
    path.write_bytes(doubling)
    command = [sys.executable, "-c", LET_GO, str(path)]
    result = subprocess.run(command, capture_output=True, text=True, timeout=120, check=False)
    assert (result.stdout.strip(), result.returncode) == ("there", 0), result.stderr


LOADED = """
import sys
from genloom_openvino.runtime import opened
opened()
print([name for name in sys.modules if "telemetry" in name and "openvino_" in name])
"""


def test_it_is_loaded_without_what_reports_its_use(tmp_path):
    known = {**os.environ, "HOME": str(tmp_path)}
    result = subprocess.run(
        [sys.executable, "-c", LOADED], capture_output=True, text=True, env=known, check=True
    )
    assert (result.stdout, list(tmp_path.iterdir())) == ("[]\n", [])
