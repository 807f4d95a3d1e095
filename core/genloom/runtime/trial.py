"""Whether a provider really runs: a graph of three numbers through it."""

from __future__ import annotations

import numpy as np

from genloom.errors import GenloomError
from genloom.runtime import Runtime, Settings

GRAPH = bytes.fromhex(
    "0808120767656e6c6f6f6d3a390a0e0a01780a017812017922034164641205747269616c5a0f0a01"
    "78120a0a08080112040a020803620f0a0179120a0a08080112040a02080342040a001012"
)
"""An ONNX model with one operator: `y = x + x`, float32, shape (3,), opset 18."""


def tried(runtime: Runtime, provider: str) -> str:
    """Why a provider does not work; empty when it does."""
    values = np.array([1.0, -2.0, 0.5], np.float32)
    try:
        network = runtime.compile(GRAPH, Settings(provider=provider, threads=1))
        result = network.run({"x": values})["y"]
    except GenloomError as error:
        return str(error)
    except Exception as error:  # a broken installation raises anything
        return f"{type(error).__name__}: {error}"
    return "" if np.array_equal(result, values + values) else f"it computes wrongly: {result}"
