"""ONNX Runtime. The only module that imports onnxruntime."""

from __future__ import annotations

import os
import re
import sys
import threading
from collections.abc import Callable, Mapping
from contextlib import nullcontext
from functools import partial
from importlib import metadata
from pathlib import Path
from typing import Any, ClassVar

import numpy as np

from genloom import machine
from genloom.errors import GenloomError, MissingRequirement, ModelError, OutOfMemory
from genloom.hookspecs import hookimpl
from genloom.runtime import (
    EXACT,
    INT8,
    Network,
    Runtime,
    Settings,
    cuda,
    memory,
    not_at_hand,
    proto,
    strict,
    tensorrt,
)
from genloom.runtime.half import in_half
from genloom.runtime.providers import (
    AUTOMATIC,
    BEST_FIRST,
    HALF,
    IN_HALF,
    IN_MEMORY,
    INTEGERS,
    OF_ITSELF,
    PRESET,
    SEARCHING,
)
from genloom.types import Array

genloom_api = 1

TELEMETRY = "ORT_DISABLE_TELEMETRY"
"""The environment variable that keeps builds since 1.32 from sending what they were used for over
the network, and from keeping an identifier of the machine; read when the library loads."""

DISTRIBUTIONS = ("onnxruntime", "onnxruntime-gpu")

_FAILURE = re.compile(r"\b(?:CUDA|CUDNN|CUBLAS|CUFFT) failure \d+: [^;\n]{1,200}")

_TYPES = {
    "tensor(float)": np.float32,
    "tensor(float16)": np.float16,
    "tensor(uint8)": np.uint8,
    "tensor(int64)": np.int64,
}


def onnxruntime() -> Any:
    """The library, quiet: on its output, and towards its makers, unless `TELEMETRY` says `0`.

    Raises:
        MissingRequirement: with the command that installs it.
    """
    silent = os.environ.setdefault(TELEMETRY, "1") != "0"
    try:
        import onnxruntime as ort
    except ImportError as error:
        if isinstance(error.__cause__ or error.__context__, KeyboardInterrupt):
            raise KeyboardInterrupt from None  # Ctrl-C in the midst of its loading
        if error.name == "onnxruntime":
            raise MissingRequirement.extra("onnxruntime", "cpu", "running a model") from None
        raise MissingRequirement(
            f"onnxruntime is installed but does not load ({error})",
            hint="Run `genloom doctor`",
        ) from None
    if silent and hasattr(ort, "disable_telemetry_events"):  # where it was imported before
        ort.disable_telemetry_events()
    if hasattr(ort, "set_default_logger_severity"):
        ort.set_default_logger_severity(4)  # what fails is raised
    return ort


def installed() -> list[str]:
    """Names and versions of the installed builds; more than one overwrite each other's files."""
    found = []
    for name in DISTRIBUTIONS:
        try:
            found.append(f"{name} {metadata.version(name)}")
        except metadata.PackageNotFoundError:
            continue
    return found


class OnnxRuntime(Runtime):
    """Microsoft's ONNX Runtime with any of its execution providers."""

    name = "onnxruntime"
    extras: ClassVar[Mapping[str, str]] = {"cpu": "cpu", "cuda": "cuda", "tensorrt": "cuda"} | {
        name: "" for name in BEST_FIRST if name not in ("cpu", "cuda", "tensorrt")
    }

    def versions(self) -> tuple[str, ...]:
        """Names and versions of the installed builds."""
        return tuple(installed())

    def providers(self) -> tuple[str, ...]:
        """Providers of the installed build, best first."""
        try:
            available = set(onnxruntime().get_available_providers())
        except MissingRequirement:
            return ()
        return tuple(short for short, full in BEST_FIRST.items() if full in available)

    def compile(self, graph: Path | bytes, settings: Settings) -> Network:
        """Compile for the provider asked for; `auto` takes the best one that really works."""
        ort = onnxruntime()
        available = self.providers()
        if settings.provider != "auto":
            if settings.provider not in available:
                raise not_at_hand(settings.provider, available, BEST_FIRST)
            return _opened(ort, graph, settings.provider, settings)
        if settings.options:
            raise GenloomError(
                "options of a provider need the name of one",
                got=", ".join(settings.options),
                hint=f"Say which: {' or '.join(f'`--provider {name}`' for name in available)}",
            )
        candidates = [name for name in AUTOMATIC if name in available]
        for name in candidates[:-1]:
            try:
                return _opened(ort, graph, name, settings)
            except MissingRequirement:
                continue
        return _opened(ort, graph, candidates[-1], settings)


def _opened(ort: Any, graph: Path | bytes, provider: str, settings: Settings) -> Network:
    """Compiled in fp16 where that is asked for and the provider is fast in it.

    Else in fp32; where only the graph did not go into fp16, with a note.
    """
    said, needed = settings.options, IN_HALF.get(provider)
    if settings.precision not in ("auto", HALF) or needed is None:
        return _Session(ort, graph, provider, settings)
    if any(said.get(name, value) != value for name, value in needed.items()):
        return _Session(ort, graph, provider, settings)  # its own options say otherwise
    try:
        data = graph if isinstance(graph, bytes) else graph.read_bytes()
        proto.check_whole(data)
        converted = data if provider in OF_ITSELF else in_half(data)
        return _Session(ort, converted, provider, settings, needed)
    except OutOfMemory:
        raise
    except (ModelError, MissingRequirement, OSError) as error:
        network = _Session(ort, graph, provider, settings)
        why = error.what if isinstance(error, GenloomError) else str(error)
    network.note = f"computed in {EXACT}, not {HALF}: {why}"
    return network


def _missing(ort: Any, provider: str) -> str:
    """The library that a provider of NVIDIA's lacks here."""
    if provider not in cuda.PROVIDERS or not sys.platform.startswith("linux"):
        return ""
    folder = Path(getattr(ort, "__file__", "")).parent / "capi"
    return cuda.missing(folder / f"libonnxruntime_providers_{provider}.so")


class _Session(Network):
    def __init__(
        self,
        ort: Any,
        graph: Path | bytes,
        provider: str,
        settings: Settings,
        half: Mapping[str, str] | None = None,
    ) -> None:
        """`half` are the options for fp16, where the graph is computed in that."""
        heavy = () if half is None else strict.HEAVY
        self._session = _compiled(ort, graph, provider, settings, half or {})
        self._lean: Callable[[], Any] | None = None  # compiles a session that holds less
        if provider == "cpu":
            self._lean = partial(_compiled, ort, graph, provider, settings, {}, arena=False)
        self._lock = threading.Lock()
        strict.refuse_fallback(
            self._session, provider, BEST_FIRST[provider], heavy, partial(_missing, ort, provider)
        )
        strict.refuse_unknown(self._session, provider, BEST_FIRST[provider], settings.options)
        inputs, outputs = self._session.get_inputs(), self._session.get_outputs()
        self.provider, self.together = provider, provider not in IN_MEMORY
        self.precision = EXACT if half is None else HALF
        if settings.precision == INT8 and provider in INTEGERS:
            self.precision = INT8
        self.few_shapes = provider in SEARCHING
        try:
            self.inputs = {port.name: tuple(port.shape) for port in inputs}
            self.outputs = {port.name: tuple(port.shape) for port in outputs}
        except UnicodeDecodeError:
            raise ModelError("the graph has ports or axes whose names are no text") from None
        self.types = {port.name: _type_name(port.type) for port in (*inputs, *outputs)}
        self._dtypes = {port.name: _TYPES.get(port.type) for port in inputs}

    def run(self, inputs: Mapping[str, Array]) -> dict[str, Array]:
        self.check_ports(inputs)
        feed = {
            name: np.ascontiguousarray(array, self._dtypes[name]) for name, array in inputs.items()
        }
        is_lean = self._lean is None
        try:
            return self._results(self._session, feed)
        except OutOfMemory:
            if is_lean:
                raise
        return self._results(self._made_lean(), feed)

    def _results(self, session: Any, feed: Mapping[str, Array]) -> dict[str, Array]:
        try:
            # Of a GPU too: what is bound to a device is copied with the interpreter held.
            with memory.bounded(feed) if self.provider == "cpu" else nullcontext():
                results = session.run(list(self.outputs), feed)
        except Exception as error:
            shapes = ", ".join(f"{name} {array.shape}" for name, array in feed.items())
            if said := memory.ran_out(error):
                raise OutOfMemory(f"the graph ran out of memory ({said})", got=shapes) from None
            raise ModelError(f"the graph failed ({_first_line(error)})", got=shapes) from None
        return dict(zip(self.outputs, results, strict=True))

    def _made_lean(self) -> Any:
        """The session that takes the place of one that ran out of memory.

        It goes without the arena, which holds more than is used and keeps all it ever had, and is
        faster: a network may fit in two thirds of the memory then.
        """
        with self._lock:
            if self._lean is not None:
                self._session, self._lean = self._lean(), None
                memory.let_go()
            return self._session


def _compiled(
    ort: Any,
    graph: Path | bytes,
    provider: str,
    settings: Settings,
    more: Mapping[str, str],
    *,
    arena: bool = True,
) -> Any:
    options = ort.SessionOptions()
    options.enable_cpu_mem_arena = arena
    options.log_severity_level = 4  # as above
    options.intra_op_num_threads = settings.threads
    options.inter_op_num_threads = 1
    if provider == "cpu":
        # Planned for a shape, all of a call lies in one block: beside the blocks of its first call.
        options.enable_mem_pattern = False
    options.add_session_config_entry("session.intra_op.allow_spinning", "0")
    if settings.precision == INT8 and "vnni" not in machine.processor():
        # Others add products up in 16 bits, which overflow, unless told not to; which is slow.
        options.add_session_config_entry("session.x64quantprecision", "1")
    if provider != "cpu":
        options.add_session_config_entry("session.record_ep_graph_assignment_info", "1")
    if isinstance(graph, bytes):
        proto.check_whole(graph)
    source = graph if isinstance(graph, bytes) else str(graph)
    chosen = {**PRESET.get(provider, {}), **more, **settings.options}
    if provider == "tensorrt":
        chosen = {**tensorrt.kept(graph, installed(), chosen), **chosen}
    if provider in cuda.PROVIDERS:
        cuda.preload(getattr(ort, "cuda_version", "") or "")
        if sys.platform == "win32" and hasattr(ort, "preload_dlls"):
            ort.preload_dlls()
    providers = [(BEST_FIRST[provider], chosen)]
    try:
        return ort.InferenceSession(
            source, sess_options=options, providers=providers, enable_fallback=0
        )
    except Exception as error:  # onnxruntime raises many types, some of them private
        raise _compile_error(error, graph, provider) from None


def _type_name(text: str) -> str:
    dtype = _TYPES.get(text)
    return text if dtype is None else np.dtype(dtype).name


def _compile_error(error: Exception, graph: Path | bytes, provider: str) -> Exception:
    where = "" if isinstance(graph, bytes) else str(graph)
    name = type(error).__name__
    if said := memory.ran_out(error):
        return OutOfMemory(f"there is no memory to load the graph ({said})", where=where)
    if provider == "cpu" or name in ("InvalidProtobuf", "NoSuchFile", "InvalidGraph"):
        return ModelError(f"the graph does not load ({_first_line(error)})", where=where)
    return MissingRequirement(
        f"the provider '{provider}' did not take the graph ({_first_line(error)})",
        where=where,
        hint="`genloom doctor` says what is missing",
    )


def _first_line(error: Exception) -> str:
    """What an error says, without the place in ONNX Runtime's source that says it."""
    text = str(error).strip()
    if failure := _FAILURE.search(text):
        return failure[0].strip()
    return text.splitlines()[0][:300] if text else type(error).__name__


@hookimpl
def genloom_runtimes() -> list[type[Runtime]]:
    """Bring ONNX Runtime."""
    return [OnnxRuntime]
