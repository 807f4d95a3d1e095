"""Calls that may take no more memory than is free, and that wait for each other when they must."""

import subprocess
import sys
import threading

import numpy as np
import pytest
from hungry import write_hungry

from genloom import machine, models
from genloom.engine.compiling import compiled
from genloom.engine.settings import RunSettings
from genloom.engine.watching import Verdict, Watched
from genloom.errors import OutOfMemory
from genloom.runtime import Network, Runtime, Settings, memory
from genloom.runtime.ort import OnnxRuntime
from genloom.types import Batch, Item


@pytest.fixture
def hungry(tmp_path, onnx_bytes):
    """A bundle that sees pictures whole and holds 256 values for each of their pixels."""
    return write_hungry(tmp_path / "hungry", onnx_bytes, whole=True)


LITTLE = """
import resource
import sys
from pathlib import Path

import numpy as np
from genloom import machine
from genloom.errors import OutOfMemory
from genloom.runtime import Settings
if sys.argv[2] == "openvino":
    from genloom_openvino.runtime import OpenVino as Wanted
else:
    from genloom.runtime.ort import OnnxRuntime as Wanted

before = resource.getrlimit(resource.RLIMIT_DATA)
graph = Path(sys.argv[1]).read_bytes()
network = Wanted().compile(graph, Settings(provider=sys.argv[2], threads=1))
small, large = (np.ones((1, 3, side, side), np.float32) for side in (640, 800))
known, told = network.run({"image": small})["result"], machine.free_memory
machine.free_memory = lambda: 600 * 2**20  # the large one needs 625 for each of two arrays
try:
    print("gave", network.run({"image": large})["result"].shape)
except OutOfMemory as error:
    print("said", error.what)
machine.free_memory = told
print("small", np.allclose(network.run({"image": small})["result"], known))
print("then", network.run({"image": large})["result"].shape)
print("limit", resource.getrlimit(resource.RLIMIT_DATA) == before)
"""


@pytest.mark.skipif(not sys.platform.startswith("linux"), reason="only Linux has the limit")
@pytest.mark.parametrize("provider", ["cpu", "openvino"])
def test_a_call_that_wants_more_than_is_free_is_refused_and_not_killed(hungry, provider):
    if provider == "openvino":
        pytest.importorskip("openvino")
    command = [sys.executable, "-c", LITTLE, str(hungry / "network.onnx"), provider]
    done = subprocess.run(command, capture_output=True, text=True, timeout=300)
    assert done.returncode == 0, done.stderr
    said, small, then, limit = done.stdout.splitlines()
    assert said.startswith("said the graph ran out of memory")
    assert (small, then, limit) == ("small True", "then (1, 3, 800, 800)", "limit True")


class Narrow(Runtime):
    """ONNX Runtime, with memory for one call at a time: two at once both run out of it."""

    name = "narrow"

    def __init__(self, hopeless=0):
        self.hopeless, self.calls = hopeless, []
        self.running, self.lock, self.both = 0, threading.Lock(), threading.Barrier(2)

    def providers(self):
        return ("cpu",)

    def compile(self, graph, settings):
        return _Narrow(OnnxRuntime().compile(graph, Settings(provider="cpu", threads=1)), self)


class _Narrow(Network):
    def __init__(self, network, runtime):
        self.network, self.provider, self.runtime = network, "cpu", runtime
        self.inputs, self.outputs, self.types = network.inputs, network.outputs, network.types

    def run(self, inputs):
        runtime = self.runtime
        with memory.bounded(inputs):
            with runtime.lock:
                runtime.running += 1
                first = len(runtime.calls) < 2
                runtime.calls.append(next(iter(inputs.values())).shape)
            if first:
                runtime.both.wait(60)
            with runtime.lock:
                crowded = runtime.running > 1
            if first:
                runtime.both.wait(60)
            with runtime.lock:
                runtime.running -= 1
            if crowded or max(runtime.calls[-1]) == runtime.hopeless:
                raise OutOfMemory("Failed to allocate memory")
        return self.network.run(inputs)


def through(bundle, catalog, monkeypatch, sides, runtime):
    """What each thread of two got for its pictures: an array, or an error."""
    monkeypatch.setattr(memory, "LARGE_CALL", 1)
    settings = RunSettings(precision="fp32")
    model = compiled(models.Bundle.open(bundle), catalog, runtime, settings, 1)
    found = {}

    def work(number):
        for side in sides[number]:
            pixels = np.random.default_rng(side).random((1, side, side, 3), np.float32)
            try:
                batch = Batch.images([Item(key="k", name="k")], pixels)
                found[number, side] = model.image("network", batch).pixels
            except OutOfMemory as error:
                found[number, side] = error

    threads = [threading.Thread(target=work, args=(number,)) for number in range(2)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(120)
    return found, model


def test_pictures_that_fit_only_one_at_a_time_take_turns(hungry, catalog, monkeypatch):
    runtime = Narrow()
    found, model = through(hungry, catalog, monkeypatch, [(40, 41, 42), (50, 51, 52)], runtime)
    assert len(found) == 6
    assert all(isinstance(one, np.ndarray) for one in found.values()), found
    assert len(runtime.calls) == 8  # two ran out, each once; from then on they take turns
    assert "ran out of memory on cpu at 1 ×" in model.fallback.reductions()[0]


def test_one_that_has_no_room_even_alone_fails_and_harms_no_other(hungry, catalog, monkeypatch):
    runtime = Narrow(hopeless=60)
    found, _ = through(hungry, catalog, monkeypatch, [(40, 60, 42), (50, 51)], runtime)
    failed = {place for place, one in found.items() if isinstance(one, OutOfMemory)}
    assert failed == {(0, 60)} and len(found) == 5
    told = str(found[0, 60])
    assert "no memory for one picture of 60×60, whole" in told and "`--overlap`" in told


def test_while_one_call_is_alone_only_small_ones_of_other_threads_begin():
    small, large = threading.Event(), threading.Event()
    with memory.alone():
        threads = [
            threading.Thread(target=enter, args=(1, small)),
            threading.Thread(target=enter, args=(memory.LARGE_CALL, large)),
        ]
        for thread in threads:
            thread.start()
        assert small.wait(60)
        enter(memory.LARGE_CALL, threading.Event())  # its own
        assert not large.wait(0.2)
    assert large.wait(60)
    for thread in threads:
        thread.join(60)


def enter(nbytes, entered):
    with memory.bounded({"x": np.zeros(nbytes, np.uint8)}):
        entered.set()


def test_where_nobody_tells_what_is_free_calls_are_let_through(monkeypatch):
    monkeypatch.setattr(machine, "free_memory", lambda: None)
    enter(memory.LARGE_CALL, entered := threading.Event())
    assert entered.is_set() and not memory.was_crowded()


@pytest.mark.parametrize("error", [MemoryError, KeyboardInterrupt])
def test_a_call_that_fails_as_it_begins_is_waited_for_by_none(monkeypatch, error):
    def fails():
        raise error

    with monkeypatch.context() as patch:
        patch.setattr(machine, "free_memory", fails)
        with pytest.raises(error):
            enter(memory.LARGE_CALL, threading.Event())
    through = threading.Event()

    def wait():
        with memory.alone():
            through.set()

    threading.Thread(target=wait, daemon=True).start()
    assert through.wait(60)


def test_who_is_interrupted_while_waiting_to_be_alone_keeps_none_from_beginning(monkeypatch):
    calls = memory._Calls()
    calls._running[0] = False  # another call, which does not end

    def interrupted(condition, timeout=None):
        raise KeyboardInterrupt

    with monkeypatch.context() as patch:
        patch.setattr(threading.Condition, "wait", interrupted)
        with pytest.raises(KeyboardInterrupt), calls.alone():
            pass
    begun = threading.Event()

    def begin():
        with calls.running():
            begun.set()

    threading.Thread(target=begin, daemon=True).start()
    assert begun.wait(60)


def test_who_compares_precisions_on_a_large_call_keeps_none_waiting_that_is_alone(monkeypatch):
    monkeypatch.setattr(memory, "LARGE_CALL", 1)
    verdict, waiting, done = Verdict("bf16", 50.0), threading.Event(), threading.Event()
    inputs = {"image": np.random.default_rng(0).random((1, 3, 8, 8), np.float32)}

    class Large(Network):
        provider, precision, inputs, outputs, types = "cpu", "bf16", {}, {}, {}

        def run(self, inputs):
            if threading.current_thread() is other:
                waiting.set()
            with memory.bounded(inputs):
                return {"result": inputs["image"]}

    watched = Watched(Large(), Large, verdict)
    other = threading.Thread(target=watched.run, args=(inputs,), daemon=True)

    def alone():
        with memory.alone():
            other.start()
            assert waiting.wait(60)
            watched.run(inputs)
        done.set()

    threading.Thread(target=alone, daemon=True).start()
    assert done.wait(60) and verdict.precision == "bf16"
    other.join(60)
    assert not other.is_alive()


@pytest.mark.skipif(not sys.platform.startswith("linux"), reason="Linux keeps to the limit")
@pytest.mark.parametrize(("unused", "most"), [(10, 1000 + 960), (500, 1000 + 1000)])
def test_a_call_may_not_take_more_than_is_free_whatever_was_promised(monkeypatch, unused, most):
    import resource

    mib, asked = 2**20, []
    monkeypatch.setattr(machine, "free_memory", lambda: 1000 * mib)
    monkeypatch.setattr(machine, "data_bytes", lambda: ((1000 + unused) * mib, 1000 * mib))
    monkeypatch.setattr(resource, "getrlimit", lambda _: (resource.RLIM_INFINITY,) * 2)
    monkeypatch.setattr(resource, "setrlimit", lambda _, limits: asked.append(limits[0]))
    with memory._Calls().running():
        pass
    assert asked == [most * mib, resource.RLIM_INFINITY]


def test_calls_of_a_graph_as_it_is_take_turns_too(hungry, catalog, monkeypatch):
    monkeypatch.setattr(memory, "LARGE_CALL", 1)
    runtime, found = Narrow(), []
    settings = RunSettings(precision="fp32")
    model = compiled(models.Bundle.open(hungry), catalog, runtime, settings, 1)
    image = np.random.default_rng(0).random((1, 3, 40, 40), np.float32)

    def work():
        for _ in range(2):
            found.append(model.run("network", {"image": image})["result"].shape)

    threads = [threading.Thread(target=work, daemon=True) for _ in range(2)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(60)
    assert len(found) == 4 and len(runtime.calls) == 6
