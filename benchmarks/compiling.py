"""What it takes until a bundle's graph can be called: compiled, and read from what was kept.

    python benchmarks/compiling.py [--rounds 5] [MODEL …]

CPU time of this process, one thread, median of the rounds, for each graph of the bundles:

- ONNX Runtime from the bundle's graph, and from the graph as it had optimised it before, with the
  optimisations turned off: what keeping it could save;
- OpenVINO, where it is installed, compiled, and read from genloom's cache.

Then, for ONNX Runtime on the CPU: a tile alone and eight together, for each tile; and results
handed over as they are and through an IO binding.
"""

import argparse
import os
import statistics
import tempfile
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import onnxruntime

from genloom import models
from genloom.catalog import Catalog
from genloom.models import Bundle
from genloom.runtime import Settings

MODELS = ("denoise-photo", "upscale-x4", "style-woodcut", "fashion-vae")
SIDE = 64


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("models", nargs="*", default=MODELS)
    parser.add_argument("--rounds", type=int, default=5)
    options = parser.parse_args()
    catalog = Catalog.load()
    bundles = [models.find(name, catalog) for name in options.models]
    with tempfile.TemporaryDirectory() as folder:
        os.environ["GENLOOM_CACHE"] = folder
        for bundle in bundles:
            for part in bundle.card.parts:
                times = dict(_compiling(bundle.graph(part), options.rounds, Path(folder)))
                told = ", ".join(f"{what} {1000 * spent:.1f} ms" for what, spent in times.items())
                print(f"{bundle.card.name} {part}: {told}", flush=True)
    for bundle in bundles:
        if "network" in bundle.card.parts:
            _calling(bundle, options.rounds)


def _compiling(graph: bytes, rounds: int, folder: Path) -> Iterator[tuple[str, float]]:
    yield "ONNX Runtime", _spent(rounds, lambda: _session(graph))
    kept = folder / "optimised.onnx"
    _session(graph, optimized_model_filepath=str(kept))
    data, off = kept.read_bytes(), onnxruntime.GraphOptimizationLevel.ORT_DISABLE_ALL
    yield "optimised before", _spent(rounds, lambda: _session(data, graph_optimization_level=off))
    try:
        from genloom_openvino.runtime import OpenVino
    except ImportError:
        return
    runtime = OpenVino()
    if not runtime.providers():
        return
    settings = Settings(provider="openvino", threads=1)
    cache = os.environ["GENLOOM_CACHE"]
    os.environ["GENLOOM_CACHE"] = "off"
    yield "OpenVINO", _spent(rounds, lambda: runtime.compile(graph, settings))
    os.environ["GENLOOM_CACHE"] = cache
    runtime.compile(graph, settings)
    yield "from the cache", _spent(rounds, lambda: runtime.compile(graph, settings))


def _calling(bundle: Bundle, rounds: int) -> None:
    session = _session(bundle.graph("network"))
    others = [port.name for port in session.get_inputs() if port.name != "image"]

    def feed(count: int) -> dict[str, Any]:
        channels = bundle.card.channels
        pictures = np.full((count, channels, SIDE, SIDE), 0.5, np.float32)
        return {"image": pictures, **{name: np.full(count, 0.1, np.float32) for name in others}}

    def bound() -> Any:
        binding = session.io_binding()
        for name, array in feed(1).items():
            binding.bind_cpu_input(name, array)
        binding.bind_output("result", "cpu")
        session.run_with_iobinding(binding)
        return binding.copy_outputs_to_cpu()

    one = _spent(rounds, lambda: session.run(["result"], feed(1)))
    eight = _spent(rounds, lambda: session.run(["result"], feed(8))) / 8
    through = _spent(rounds, bound)
    print(
        f"{bundle.card.name}, tiles of {SIDE}: alone {1000 * one:.1f} ms, "
        f"of eight {1000 * eight:.1f} ms, bound {1000 * through:.1f} ms",
        flush=True,
    )


def _session(graph: bytes, **said: Any) -> Any:
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = 1
    options.log_severity_level = 4
    for name, value in said.items():
        setattr(options, name, value)
    return onnxruntime.InferenceSession(graph, options, providers=["CPUExecutionProvider"])


def _spent(rounds: int, call: Callable[[], Any]) -> float:
    call()
    times = []
    for _ in range(rounds):
        started = time.process_time()
        call()
        times.append(time.process_time() - started)
    return statistics.median(times)


if __name__ == "__main__":
    main()
