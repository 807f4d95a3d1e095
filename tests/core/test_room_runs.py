"""Out of memory in whole runs, in ONNX Runtime itself, and in the words of libraries."""

import os
import subprocess
import sys

import numpy as np
import pytest
from hungry import write_hungry
from making import chain, plugin_with
from PIL import Image
from scarcity import Scarce, pictures

from genloom.engine.settings import RunSettings
from genloom.errors import GenloomError
from genloom.runtime import memory


@pytest.fixture
def run(catalog, tmp_path):
    folder = tmp_path / "in"
    folder.mkdir()
    for name, side in (("a", 40), ("b", 200), ("c", 40)):
        Image.fromarray(pictures(1, side, side, seed=side).pixels[0]).save(folder / f"{name}.png")

    class Bounded(Scarce):
        pass

    assert catalog.register(plugin_with(runtimes=[Bounded]), "scarce").error == ""
    stages = ("load", "apply: {model: tiny-image}", "save: {format: png}")
    pipeline = chain(tmp_path, *stages, catalog=catalog)

    def go(out, limit, **given):
        Bounded.limits = {"gpu": limit, "cpu": 10**9}
        events = []
        report = pipeline.run(
            folder, tmp_path / out, observe=events.append, runtime="scarce", **given
        )
        notes = [event for event in events if event["event"] == "note"]
        read = {p.name: np.asarray(Image.open(p)) for p in (tmp_path / out).glob("*.png")}
        return report, notes, read

    return go


def test_a_run_says_what_did_not_fit_and_makes_the_same_pictures(run):
    report, notes, found = run("out", 70 * 70 * 3)
    assert report.exit_code == 0 and report.done == 3
    assert any("gpu ran out of memory at 1 × 200×200" in note for note in report.notes)
    assert all(event["models"] == ["tiny-image"] for event in notes)
    told = [event["note"] for event in notes]
    assert len(told) == len(set(told)) > 1
    report, notes, wanted = run("ample", 10**9)
    assert not notes and not report.notes
    assert found.keys() == wanted.keys() == {"a.png", "b.png", "c.png"}
    assert all(np.array_equal(found[name], wanted[name]) for name in wanted)


def test_a_picture_that_does_not_fit_fails_alone_where_the_provider_was_named(run):
    report, _, found = run("out", 50 * 50 * 3, provider="gpu", batch=1)
    assert report.exit_code == 1 and found.keys() == {"a.png", "c.png"}
    (failure,) = report.failures
    assert "has no memory for one picture of 200×200" in failure.reason


REAL = """
import resource
import sys
from pathlib import Path

import numpy as np
from genloom.backend import Backend
from genloom.engine.model import CompiledModel
from genloom.errors import OutOfMemory
from genloom.models import Bundle
from genloom.runtime import Settings
from genloom.runtime.ort import OnnxRuntime
from genloom.types import Batch, Item

def opened():
    def compile(graph, precision):
        return OnnxRuntime().compile(graph, Settings(provider="cpu", threads=1))

    return CompiledModel(Bundle.open(Path(sys.argv[1])), Backend(), compile)

model, ample = opened(), opened()
pixels = np.random.default_rng(0).random((2, 256, 256, 3), np.float32)
batch = Batch.images([Item(key=k, name=k) for k in "ab"], pixels)
wanted = ample.image("network", batch).pixels
model.image("network", batch.with_pixels(pixels[:, :16, :16]))
pages = int(Path("/proc/self/statm").read_text().split()[0])
room = pages * resource.getpagesize() + int(sys.argv[2]) * 2**20
resource.setrlimit(resource.RLIMIT_AS, (room, resource.RLIM_INFINITY))
try:
    found = model.image("network", batch).pixels
    print(bool(np.abs(found - wanted).max() < 1e-5), *model.networks.room("network").failures)
except OutOfMemory as error:
    print(error)
"""


@pytest.fixture
def hungry(tmp_path, onnx_bytes):
    """A bundle that holds 256 values for each pixel on the way, and sees one pixel to each side."""
    return write_hungry(tmp_path / "hungry", onnx_bytes, whole=False)


def really(bundle, megabytes):
    """What the process printed that ran it with so much memory."""
    if not sys.platform.startswith("linux"):
        pytest.skip("only Linux tells how much memory a process has mapped")
    command = [sys.executable, "-c", REAL, str(bundle), str(megabytes)]
    # Otherwise glibc maps 64 MiB for a thread that first asks for memory after the limit was set.
    env = {**os.environ, "MALLOC_ARENA_MAX": "1"}
    done = subprocess.run(command, capture_output=True, text=True, timeout=300, env=env)
    assert done.returncode == 0, done.stderr
    return done.stdout


def test_onnx_runtime_that_really_runs_out_gets_less_and_gives_the_same(hungry):
    assert really(hungry, 80).startswith("True 2 × 256×256 1 × 256×256")


def test_onnx_runtime_that_cannot_do_the_least_is_told_with_its_own_words(hungry):
    told = really(hungry, 6)
    assert "'hungry' has no memory for one picture of 256×256, in tiles of 64×64 (the graph" in told
    assert "Failed to allocate memory for requested buffer" in told or "bad_alloc" in told


@pytest.mark.parametrize(
    ("text", "said"),
    [
        (
            "[ONNXRuntimeError] : 1 : FAIL : … Failed to allocate memory for buffer of size 9",
            "Failed to",
        ),
        ("CUBLAS failure 3: CUBLAS_STATUS_ALLOC_FAILED ; GPU=0", "CUBLAS_STATUS"),
        ("CUDNN failure 4: CUDNN_STATUS_ALLOC_FAILED", "CUDNN_STATUS"),
        ("CUDA failure 2: out of memory ; GPU=0 ; hostname=x", "failure 2"),
        ("Available memory of 1024 is smaller than requested bytes of 4096", "Available"),
        (
            "…\\BucketizedBufferAllocator.cpp(122) Exception(1) 8007000E Not enough memory",
            "8007000E",
        ),
        ("Status Message: std::bad_alloc", "bad_alloc"),
        ("bad allocation", "bad allocation"),
        (
            "Check 'ptr' failed at cpu_memory.cpp:257: Failed to allocate 9 bytes of memory",
            "Failed",
        ),
        ("[CPU] Convolution node with name 'wide' can't alloc", "can't alloc"),
        ("[GPU] CL_OUT_OF_RESOURCES exception", "CL_OUT"),
        ("[GPU] clEnqueueNDRangeKernel, error code: -5", "clEnqueue"),
        ("[GPU] Exceeded max size of memory object allocation: requested 9 bytes", "Exceeded"),
    ],
)
def test_out_of_memory_is_known_by_the_words_of_libraries(text, said):
    assert memory.ran_out(RuntimeError(f"first line\n{text}\nlast")).startswith(said)


@pytest.mark.parametrize(
    "text",
    [
        "CUDA failure 999: unknown error ; GPU=0",
        "CUBLAS failure 13: CUBLAS_STATUS_EXECUTION_FAILED",
        "Got invalid dimensions for input: image index: 3 Got: 5 Expected: 3",
        "CUDA driver version is insufficient for CUDA runtime version",
        "[GPU] clEnqueueNDRangeKernel, error code: -54",
        "memory pattern is disabled",
        "",
    ],
)
def test_other_errors_are_not_taken_for_it(text):
    assert memory.ran_out(RuntimeError(text)) == ""
    assert memory.ran_out(MemoryError(text))


def test_the_setting_is_a_truth_value():
    with pytest.raises(GenloomError, match="cpu_fallback"):
        RunSettings(cpu_fallback="yes")
