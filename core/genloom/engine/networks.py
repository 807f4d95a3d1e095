"""The compiled graphs of a bundle: in the form a call asks for, in a precision that is watched."""

from __future__ import annotations

import enum
import threading
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field

import numpy as np

from genloom.card import PICTURES
from genloom.engine.room import Room
from genloom.errors import MissingRequirement, ModelError, OutOfMemory
from genloom.models import Bundle
from genloom.runtime import EXACT, Network
from genloom.runtime.pixels import IMAGE, MEAN, OLDEST, RESULT, in_pixels
from genloom.types import Array

FLOOR = 50.0
"""Least peak signal-to-noise ratio, in dB, between the results of a lower precision and of fp32."""

Compile = Callable[[bytes, str], Network]
"""Makes a network of the bytes of a graph, in a precision."""


class Form(enum.Enum):
    """How pictures go into the part of an image→image graph, and come out of it."""

    FLOATS = "floats in, floats out"
    BYTES = "8 bits in, floats out"
    ROUNDED = "8 bits in, 8 bits out"


@dataclass
class Verdict:
    """Which precision the calls of one part are computed in, once that is decided.

    Attributes:
        fast: the lower precision.
        precision: what was decided for; empty until the first call.
        found: dB between the two, if they were compared in this run.
    """

    fast: str
    floor: float
    precision: str = ""
    found: float | None = None
    lock: threading.Lock = field(default_factory=threading.Lock, repr=False)

    def __str__(self) -> str:
        return self.precision or f"{self.fast} or {EXACT}"

    @property
    def words(self) -> str:
        """What was found."""
        if self.found is None or self.found == -np.inf:
            return f"{self.fast} gives no numbers"
        return f"{self.fast} differs from {EXACT} by {self.found:.1f} dB, less than {self.floor:g}"

    def settle(self, found: float) -> None:
        """Decide by what was measured."""
        self.found = found
        self.precision = self.fast if found >= self.floor else EXACT


class Networks:
    """Compiles each part of a bundle once for each form. Safe to use from several threads.

    Args:
        bundle: the model on disk.
        compile: compiles a graph in a precision.
        precision: as in `genloom.RunSettings`.
        floor: see `FLOOR`.
    """

    def __init__(
        self, bundle: Bundle, compile: Compile, precision: str = EXACT, floor: float = FLOOR
    ) -> None:
        self._bundle, self._compile = bundle, compile
        self._precision, self._floor = precision, floor
        self._networks: dict[tuple[str, Form], Network] = {}
        self._verdicts: dict[str, Verdict] = {}
        self._rooms: dict[str, Room] = {}
        self._lock = threading.Lock()

    def get(self, part: str, form: Form = Form.FLOATS) -> Network:
        """The network of a part."""
        with self._lock:
            if (part, form) not in self._networks:
                self._networks[part, form] = self._made(part, form)
            return self._networks[part, form]

    def room(self, part: str) -> Room:
        """How much a part takes in one call."""
        with self._lock:
            if part not in self._rooms:
                entry = self._bundle.card.parts.get(part)
                image = entry.inputs.get("image") if entry else None
                self._rooms[part] = Room(alone=image is not None and image.axes[0] == 1)
            return self._rooms[part]

    def provider(self, part: str) -> str:
        """Short name of the provider that took a part; empty while none has."""
        taken = (network for (name, _), network in list(self._networks.items()) if name == part)
        return next((network.provider for network in taken), "")

    def folds(self, part: str) -> bool:
        """Whether a part can take pictures as 8-bit pixels."""
        entry = self._bundle.card.parts[part]
        image, result = entry.inputs.get("image"), entry.outputs.get("result")
        ports = (image, result)
        return entry.opset >= OLDEST and all(port and port.dtype == "float32" for port in ports)

    @property
    def precisions(self) -> dict[str, str]:
        """What each compiled part computes in, or may after its first call."""
        # Copies, since other threads may be compiling.
        parts = dict.fromkeys((part for part, _ in list(self._networks)), EXACT)
        return parts | {part: str(verdict) for part, verdict in list(self._verdicts.items())}

    def notes(self) -> list[str]:
        """What the user should know: precisions that would not do, and where memory ran out."""
        precisions = [
            f"{one.words}; computed in {EXACT}"
            for one in list(self._verdicts.values())
            if one.found is not None and one.found < one.floor
        ]
        ran_out = [
            f"{self.provider(part)} ran out of memory at {', '.join(room.failures)}; less at a time"
            for part, room in list(self._rooms.items())
            if room.failures
        ]
        return precisions + ran_out

    def reductions(self) -> list[str]:
        """Each time that memory ran out and less was put into a call from then on."""
        return [
            f"'{part}' ran out of memory on {self.provider(part)} at {failure}; less at a time"
            for part, room in list(self._rooms.items())
            for failure in list(room.failures)
        ]

    def keep(self, decided: Mapping[str, str]) -> None:
        """Take what an earlier run decided for each part instead of deciding again."""
        for part, precision in decided.items():
            verdict = self._verdicts.get(part)
            if verdict and not verdict.precision and precision in (verdict.fast, EXACT):
                verdict.precision = precision

    def _made(self, part: str, form: Form) -> Network:
        graph = self._bundle.graph(part)
        try:
            if form != Form.FLOATS:
                graph = in_pixels(graph, "image", "result" if form == Form.ROUNDED else None)
            network = self._compile(graph, self._precision)
        except ModelError as error:
            raise error.at(f"'{part}' of the model '{self._bundle.card.name}'") from None
        if self._precision not in ("auto", network.precision):
            raise MissingRequirement(
                f"the provider '{network.provider}' does not compute in {self._precision}",
                got=network.precision,
                hint="`--precision auto` takes the fastest that gives the same pictures",
            )
        if network.precision == EXACT:
            return network
        verdict = self._verdicts.setdefault(part, Verdict(network.precision, self._floor))
        return _Watched(network, lambda: self._compile(graph, EXACT), verdict)


class _Watched(Network):
    """A network in a lower precision, beside itself in fp32.

    The results of the first call are compared; where they are too far apart, everything is
    computed in fp32. So are, later, calls whose results are no numbers, or black for pictures that
    are not.
    """

    def __init__(
        self, fast: Network, compile_exact: Callable[[], Network], verdict: Verdict
    ) -> None:
        self._fast, self._compile_exact, self._verdict = fast, compile_exact, verdict
        self._exact: Network | None = None
        self._lock = threading.Lock()
        self.provider, self.inputs, self.outputs = fast.provider, fast.inputs, fast.outputs
        self.types, self.precision, self.together = fast.types, fast.precision, fast.together

    def run(self, inputs: Mapping[str, Array]) -> dict[str, Array]:
        if self._verdict.precision == EXACT:
            return self._in_fp32(inputs)
        try:
            result = self._fast.run(inputs)
        except OutOfMemory:
            raise  # that says nothing of the precision
        except ModelError:
            if self._verdict.precision:
                raise
            self._verdict.settle(-np.inf)
            return self._in_fp32(inputs)
        if not self._verdict.precision:
            with self._verdict.lock:
                if not self._verdict.precision:
                    exact = self._in_fp32(inputs)
                    self._verdict.settle(apart(result, exact))
            if self._verdict.precision == EXACT:
                return self._in_fp32(inputs)
        return self._in_fp32(inputs) if _is_broken(inputs, result) else result

    def _in_fp32(self, inputs: Mapping[str, Array]) -> dict[str, Array]:
        with self._lock:
            if self._exact is None:
                self._exact = self._compile_exact()
        return self._exact.run(inputs)


def apart(results: Mapping[str, Array], exact: Mapping[str, Array]) -> float:
    """Peak signal-to-noise ratio of results in dB, the worst of all ports.

    The peak is 255 for bytes, 1 for pictures, and the range of the exact values for all else.
    """
    return min(
        _decibels(results[name], value, _peak(name, value))
        for name, value in exact.items()
        if name != MEAN and value.size
    )


def _peak(name: str, exact: Array) -> float:
    if exact.dtype == np.uint8:
        return 255.0
    return 1.0 if name in PICTURES else max(float(np.ptp(exact)), 1e-6)


def _decibels(value: Array, exact: Array, peak: float) -> float:
    difference = value.astype(np.float32) - exact.astype(np.float32)
    error = float(np.square(difference).mean(dtype=np.float64))
    if not np.isfinite(error):
        return -np.inf
    return np.inf if error == 0 else float(10 * np.log10(peak * peak / error))


def _is_broken(inputs: Mapping[str, Array], results: Mapping[str, Array]) -> bool:
    """Whether results are no numbers, or black where the pictures are not."""
    for name, value in results.items():
        if name == RESULT:
            if not value.any() and inputs[IMAGE].any():
                return True
        elif value.dtype.kind == "f" and not np.isfinite(value).all():
            return True
    return False
