"""The runtime `openvino`. The only module that imports openvino."""

from __future__ import annotations

import contextlib
import functools
import importlib.util
import json
import sys
import threading
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, ClassVar

from genloom.errors import GenloomError, MissingRequirement, ModelError, OutOfMemory, did_you_mean
from genloom.runtime import (
    EXACT,
    INT8,
    Network,
    Runtime,
    Settings,
    cache,
    memory,
    not_at_hand,
    proto,
)
from genloom_openvino.network import CompiledNetwork, reason_of

DEVICES = {"openvino": "CPU", "openvino-gpu": "GPU", "openvino-npu": "NPU"}
"""Short names of providers, and what OpenVINO calls the devices."""

TELEMETRY = "openvino_telemetry"

SHAPES = "64"
"""Shapes that the processor keeps compiled; by default thousands, and memory grows with each."""


HINTS = {"fp32": "f32", "bf16": "bf16", "fp16": "f16", INT8: "f32"}
"""Names of precisions, and OpenVINO's own; of a quantised graph, for the layers that are not."""


class OpenVino(Runtime):
    """OpenVINO on the processor, or on a GPU or NPU of Intel's where its driver is installed."""

    name = "openvino"
    extras: ClassVar[Mapping[str, str]] = dict.fromkeys(DEVICES, "openvino")

    def providers(self) -> tuple[str, ...]:
        """The devices that OpenVINO sees."""
        if importlib.util.find_spec("openvino") is None:
            return ()
        seen = {name.partition(".")[0] for name in opened().available_devices}
        return tuple(short for short, device in DEVICES.items() if device in seen)

    def compile(self, graph: Path | bytes, settings: Settings) -> Network:
        """Compile for a device; `auto` takes the processor."""
        provider = "openvino" if settings.provider == "auto" else settings.provider
        at_hand = self.providers()
        if not at_hand:
            raise self.missing("computing with it")
        if provider not in at_hand:
            raise not_at_hand(provider, at_hand, DEVICES)
        core, device = opened(), DEVICES[provider]
        data = graph if isinstance(graph, bytes) else _bytes_of(graph)
        proto.check_whole(data)
        precision = _precision(
            settings.precision, core.get_property(device, "OPTIMIZATION_CAPABILITIES")
        )
        config = {"INFERENCE_PRECISION_HINT": HINTS[precision], "NUM_STREAMS": str(settings.calls)}
        if device == "CPU":
            config["INFERENCE_NUM_THREADS"] = str(settings.threads * settings.calls)
            config["CPU_RUNTIME_CACHE_CAPACITY"] = SHAPES
        properties = dict(core.get_property(device, "SUPPORTED_PROPERTIES"))
        known = {name for name, access in properties.items() if access != "RO"}
        for name in settings.options:
            if name not in known:
                raise GenloomError(
                    f"the provider '{provider}' has no option '{name}'",
                    hint=did_you_mean(name, sorted(known)),
                )
        compile = functools.partial(_compiled, core, provider, data, config, settings.options)
        return CompiledNetwork(compile, provider, precision)


def opened() -> Any:
    """The one core of this process, which is never let go, whichever threads ask at once.

    On processors with AMX the first use of a core gives its thread another stack for signals, and
    the end of the core frees it. Where another thread lets the last core go, the first one keeps a
    stack that is not there any more, and Ctrl-C then writes over whatever took its place
    (OpenVINO 2026.4).
    """
    with _opening:
        return _core()


_opening = threading.Lock()


@functools.cache
def _core() -> Any:
    try:
        with _silent():
            from openvino import Core

        return Core()
    except Exception as error:  # a broken installation raises anything
        raise MissingRequirement(
            f"openvino is installed but does not load ({reason_of(error)})",
            hint="Install it again: python -m pip install --force-reinstall openvino",
        ) from error


@contextlib.contextmanager
def _silent() -> Iterator[None]:
    """Let OpenVINO be imported without `openvino_telemetry`, which it does without where it is not.

    Importing it would report that to its makers, and leave an identifier in the home folder.
    """
    known = TELEMETRY in sys.modules
    if not known:
        sys.modules[TELEMETRY] = None  # type: ignore[assignment]
    try:
        yield
    finally:
        if not known:
            del sys.modules[TELEMETRY]


def _compiled(
    core: Any,
    provider: str,
    data: bytes,
    config: Mapping[str, str],
    more: Mapping[str, str],
    *,
    lean: bool = False,
) -> tuple[Any, Sequence[str]]:
    """A graph compiled, or kept compiled from before, and the names of its ports."""
    device, chosen = DEVICES[provider], {**config, **more, **({"NUM_STREAMS": "1"} if lean else {})}
    key = _key(core, device, data, chosen)
    kept: tuple[Any, Sequence[str]] | None = _kept(core, device, key, chosen)
    if kept is not None:
        return kept
    try:
        model = core.read_model(data, b"")
    except Exception as error:
        if said := memory.ran_out(error):
            raise OutOfMemory(f"there is no memory to load the graph ({said})") from None
        raise ModelError(f"the graph does not load in OpenVINO ({reason_of(error)})") from None
    # Compiling folds operators away, and the ports then go by the names of their neighbours.
    names = [port.any_name for port in (*model.inputs, *model.outputs)]
    try:
        compiled = core.compile_model(model, device, chosen)
    except Exception as error:
        if said := memory.ran_out(error):
            raise OutOfMemory(f"there is no memory to compile the graph ({said})") from None
        if more and _compiles(core, model, device, config):
            raise GenloomError(
                f"the provider '{provider}' did not take its options ({reason_of(error)})",
                got=", ".join(f"{name}={value}" for name, value in more.items()),
            ) from None
        raise MissingRequirement(
            f"the provider '{provider}' did not take the graph ({reason_of(error)})",
            hint="`genloom doctor` says what is missing",
        ) from None
    _keep(key, compiled, names)
    return compiled, names


def _precision(asked: str, capabilities: Sequence[str]) -> str:
    """The precision to compute in: what was asked for where the device has it, else fp32."""
    lower = [name for name in ("bf16", "fp16") if name.upper() in capabilities]
    if asked == "auto":
        return lower[0] if lower else EXACT
    if asked == INT8:
        return INT8 if "INT8" in capabilities else EXACT
    return asked if asked in lower else EXACT


def _key(core: Any, device: str, graph: bytes, config: Mapping[str, str]) -> str:
    """Name under which a compiled graph is kept; empty where the device cannot give it away."""
    capabilities = core.get_property(device, "OPTIMIZATION_CAPABILITIES")
    if "EXPORT_IMPORT" not in capabilities or cache.folder() is None:
        return ""
    facts = {
        "runtime": f"openvino {core.get_versions(device)[device].build_number}",
        "device": f"{device} {core.get_property(device, 'FULL_DEVICE_NAME')}",
        "capabilities": " ".join(sorted(capabilities)),
        "config": json.dumps(dict(config), sort_keys=True),
    }
    return cache.key(graph, facts)


def _kept(core: Any, device: str, key: str, config: Mapping[str, str]) -> Any:
    """A compiled graph that was kept, and the names of its ports; None where there is none."""
    data = cache.get(key) if key else None
    if data is None:
        return None
    try:
        names, _, blob = data.partition(b"\n")
        return core.import_model(blob, device, dict(config)), json.loads(names)
    except Exception:  # of another driver, say: it is compiled and kept again
        return None


def _keep(key: str, compiled: Any, names: Sequence[str]) -> None:
    if not key:
        return
    try:
        blob = compiled.export_model().getvalue()
    except Exception:  # a device that says it can, and cannot with this graph
        return
    cache.put(key, json.dumps(list(names)).encode() + b"\n" + blob)


def _compiles(core: Any, model: Any, device: str, config: Mapping[str, str]) -> bool:
    try:
        core.compile_model(model, device, config)
    except Exception:
        return False
    return True


def _bytes_of(path: Path) -> bytes:
    try:
        return path.read_bytes()
    except OSError as error:
        raise ModelError(f"the graph cannot be read ({error.strerror})", where=str(path)) from None
