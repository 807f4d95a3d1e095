"""A graph that OpenVINO compiled, as a network; what runs out of memory is compiled again."""

from __future__ import annotations

import queue
import threading
from collections.abc import Callable, Iterable, Mapping, Sequence
from contextlib import nullcontext
from typing import Any

import numpy as np

from genloom.errors import ModelError, OutOfMemory
from genloom.runtime import Network, memory
from genloom.types import Array


class _Graph:
    """A compiled graph. Each call takes one of a store of requests, so that calls overlap.

    Attributes:
        ports: by their names, inputs first.
        lean: whether it makes one call at a time, and holds what one takes.
        spoiled: whether a call ran out of memory. It keeps what its calls took, and all later ones
            may fail: "Cannot get dims for non static shape" (OpenVINO 2026.4).
    """

    def __init__(self, compiled: Any, names: Sequence[str], *, lean: bool) -> None:
        self.compiled, self.lean, self.spoiled = compiled, lean, False
        self.ports = dict(zip(names, (*compiled.inputs, *compiled.outputs), strict=True))
        self._requests: queue.SimpleQueue[Any] = queue.SimpleQueue()

    def run(self, feed: Mapping[str, Array], outputs: Iterable[str]) -> dict[str, Array]:
        """One call. A request whose call failed is not used again.

        Started and waited for, since `infer` raises nothing when memory runs out on the processor,
        and gives the results of the call before (OpenVINO 2026.4).
        """
        try:
            request = self._requests.get_nowait()
        except queue.Empty:
            request = self.compiled.create_infer_request()
        given = {self.ports[name]: array for name, array in feed.items()}
        request.start_async(given, share_inputs=True)
        request.wait()
        results = {name: request.get_tensor(self.ports[name]).data.copy() for name in outputs}
        self._requests.put(request)
        return results


class CompiledNetwork(Network):
    """A graph on a device.

    Args:
        compile: gives the compiled graph and the names of its ports, inputs first; told `lean`,
            one that makes one call at a time.
        provider: short name of the device.
        precision: what it computes in.
    """

    def __init__(
        self, compile: Callable[..., tuple[Any, Sequence[str]]], provider: str, precision: str
    ) -> None:
        self._compile, self._lock = compile, threading.Lock()
        self.provider, self.precision = provider, precision
        self.together = self.few_shapes = provider == "openvino-gpu"
        self._graph: _Graph | None = _Graph(*compile(), lean=False)
        count, ports = len(self._graph.compiled.inputs), self._graph.ports
        shapes = {name: shape_of(port) for name, port in ports.items()}
        self.inputs, self.outputs = dict([*shapes.items()][:count]), dict([*shapes.items()][count:])
        self._dtypes = {n: port.get_element_type().to_dtype() for n, port in ports.items()}
        self.types = {name: dtype.name for name, dtype in self._dtypes.items()}

    def run(self, inputs: Mapping[str, Array]) -> dict[str, Array]:
        """Run the graph."""
        self.check_ports(inputs)
        feed = {
            name: np.ascontiguousarray(array, self._dtypes[name]) for name, array in inputs.items()
        }
        self._check_shapes(feed)
        lean = self._graph is None or self._graph.lean
        try:
            return self._results(self._whole(), feed)
        except OutOfMemory:
            if lean:
                raise
        return self._results(self._whole(), feed)

    def _results(self, graph: _Graph, feed: Mapping[str, Array]) -> dict[str, Array]:
        try:
            with memory.bounded(feed) if self.provider == "openvino" else nullcontext():
                return graph.run(feed, self.outputs)
        except Exception as error:
            shapes = ", ".join(f"{name} {array.shape}" for name, array in feed.items())
            if said := memory.ran_out(error) or (reason_of(error) if graph.spoiled else ""):
                graph.spoiled = True
                raise OutOfMemory(f"the graph ran out of memory ({said})", got=shapes) from None
            raise ModelError(f"the graph failed ({reason_of(error)})", got=shapes) from None

    def _whole(self) -> _Graph:
        """The graph; compiled again, to hold less, where it is spoiled."""
        with self._lock:
            if self._graph is None or self._graph.spoiled:
                self._graph = None
                memory.let_go()
                self._graph = _Graph(*self._compile(lean=True), lean=True)
            return self._graph

    def _check_shapes(self, feed: Mapping[str, Array]) -> None:
        """OpenVINO says of a wrong shape that a tensor has no room."""
        for name, array in feed.items():
            wanted = self.inputs[name]
            right = len(wanted) == array.ndim and all(
                not isinstance(side, int) or side == length
                for side, length in zip(wanted, array.shape, strict=True)
            )
            if not right:
                raise ModelError(
                    f"'{name}' has the wrong shape",
                    expected="×".join(map(str, wanted)),
                    got="×".join(map(str, array.shape)),
                )


def shape_of(port: Any) -> tuple[int | str, ...]:
    """Sides, and a name for each free axis."""
    sides = port.get_partial_shape()
    return tuple(
        side.get_length() if side.is_static else f"axis{n}" for n, side in enumerate(sides)
    )


def reason_of(error: Exception) -> str:
    """The line that names operators, else the last one: the first ones name OpenVINO's own code."""
    lines = [line.strip() for line in str(error).splitlines() if line.strip()]
    named = [line.removeprefix("-- ") for line in lines if line.startswith("-- ")]
    return (named[:1] or lines or [type(error).__name__])[-1][:300]
