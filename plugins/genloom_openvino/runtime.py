"""The runtime `openvino`. The only module that imports openvino."""

from __future__ import annotations

import importlib.util
import queue
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np

from genloom.errors import GenloomError, MissingRequirement, ModelError, did_you_mean
from genloom.runtime import Network, Runtime, Settings
from genloom.types import Array

DEVICES = {"openvino": "CPU", "openvino-gpu": "GPU", "openvino-npu": "NPU"}
"""Short names of providers, and what OpenVINO calls the devices."""


class OpenVino(Runtime):
    """OpenVINO on the processor, or on a GPU or NPU of Intel's where its driver is installed."""

    name = "openvino"

    def __init__(self) -> None:
        self._core: Any = None

    def providers(self) -> tuple[str, ...]:
        """The devices that OpenVINO sees."""
        if importlib.util.find_spec("openvino") is None:
            return ()
        seen = {name.partition(".")[0] for name in self._opened().available_devices}
        return tuple(short for short, device in DEVICES.items() if device in seen)

    def compile(self, graph: Path | bytes, settings: Settings) -> Network:
        """Compile for a device; `auto` takes the processor."""
        provider = "openvino" if settings.provider == "auto" else settings.provider
        at_hand = self.providers()
        if not at_hand:
            raise MissingRequirement.extra("openvino", "openvino", "computing with it")
        if provider not in at_hand:
            raise MissingRequirement(
                f"the provider '{provider}' is not at hand",
                expected=" or ".join(("auto", *at_hand)),
                hint="`genloom doctor` says what is missing",
            )
        core, device = self._opened(), DEVICES[provider]
        data = graph if isinstance(graph, bytes) else _bytes_of(graph)
        try:
            model = core.read_model(data, b"")
        except Exception as error:
            raise ModelError(f"the graph does not load ({_reason(error)})") from None
        config = {"INFERENCE_PRECISION_HINT": "f32", "NUM_STREAMS": str(settings.calls)}
        if device == "CPU":
            config["INFERENCE_NUM_THREADS"] = str(settings.threads * settings.calls)
        known = set(core.get_property(device, "SUPPORTED_PROPERTIES"))
        for name in settings.options:
            if name not in known:
                raise GenloomError(
                    f"the provider '{provider}' has no option '{name}'",
                    hint=did_you_mean(name, sorted(known)),
                )
        try:
            compiled = core.compile_model(model, device, {**config, **settings.options})
        except Exception as error:
            raise MissingRequirement(
                f"the provider '{provider}' did not take the graph ({_reason(error)})",
                hint="`genloom doctor` says what is missing",
            ) from None
        return _Compiled(compiled, provider)

    def _opened(self) -> Any:
        if self._core is None:
            from openvino import Core

            self._core = Core()
        return self._core


class _Compiled(Network):
    """Each call takes one of a store of requests, so that calls of several threads overlap."""

    def __init__(self, compiled: Any, provider: str) -> None:
        self._compiled = compiled
        self._requests: queue.SimpleQueue[Any] = queue.SimpleQueue()
        self.provider = provider
        ports = (*compiled.inputs, *compiled.outputs)
        self.inputs = {port.any_name: _shape(port) for port in compiled.inputs}
        self.outputs = {port.any_name: _shape(port) for port in compiled.outputs}
        self._dtypes = {port.any_name: port.get_element_type().to_dtype() for port in ports}
        self.types = {name: dtype.name for name, dtype in self._dtypes.items()}

    def run(self, inputs: Mapping[str, Array]) -> dict[str, Array]:
        if set(inputs) != set(self.inputs):
            raise ModelError(
                "the ports of the graph were not met",
                expected=", ".join(self.inputs),
                got=", ".join(inputs),
            )
        feed = {
            name: np.ascontiguousarray(array, self._dtypes[name]) for name, array in inputs.items()
        }
        self._check_shapes(feed)
        try:
            request = self._requests.get_nowait()
        except queue.Empty:
            request = self._compiled.create_infer_request()
        try:
            results = request.infer(feed, share_inputs=True)
            return {port.any_name: results[port].copy() for port in self._compiled.outputs}
        except Exception as error:
            shapes = ", ".join(f"{name} {array.shape}" for name, array in feed.items())
            raise ModelError(f"the graph failed ({_reason(error)})", got=shapes) from None
        finally:
            self._requests.put(request)

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


def _shape(port: Any) -> tuple[int | str, ...]:
    """Sides, and a name for each free axis."""
    sides = port.get_partial_shape()
    return tuple(
        side.get_length() if side.is_static else f"axis{n}" for n, side in enumerate(sides)
    )


def _bytes_of(path: Path) -> bytes:
    try:
        return path.read_bytes()
    except OSError as error:
        raise ModelError(f"the graph cannot be read ({error.strerror})", where=str(path)) from None


def _reason(error: Exception) -> str:
    """The last line that says something: the first ones name places in OpenVINO's own code."""
    lines = [line.strip() for line in str(error).splitlines() if line.strip()]
    return (lines or [type(error).__name__])[-1][:300]
