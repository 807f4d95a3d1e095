"""The compiled graphs of a bundle: in the form a call asks for, in a precision that is watched."""

from __future__ import annotations

import enum
import threading
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field

import numpy as np

from genloom.card import PICTURES, SizeRule
from genloom.engine.room import Room
from genloom.errors import MissingRequirement, ModelError, OutOfMemory
from genloom.models import Bundle
from genloom.runtime import EXACT, INT8, Network
from genloom.runtime.pixels import IMAGE, MEAN, OLDEST, RESULT, in_pixels
from genloom.types import Array

FLOOR = 50.0
"""Least peak signal-to-noise ratio, in dB, between the results of a lower precision and of fp32."""

SAMPLE = 256
"""Side in pixels of the part of a picture that two precisions are compared on."""

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
        precision: as in `genloom.RunSettings`; what the card says goes before it.
        floor: see `FLOOR`.
    """

    def __init__(
        self, bundle: Bundle, compile: Compile, precision: str = EXACT, floor: float = FLOOR
    ) -> None:
        self._bundle, self._compile = bundle, compile
        self._precision, self._floor = precision, floor
        if bundle.card.precision != "auto":
            self._precision = bundle.card.precision
        self._own: dict[str, str] = {}  # of parts that are not computed in `precision`
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
        compiled = [network.note for network in list(self._networks.values()) if network.note]
        return list(dict.fromkeys(compiled)) + precisions + ran_out

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
            self._take_form(part, precision)
            verdict = self._verdicts.get(part)
            if verdict and not verdict.precision and precision in (verdict.fast, EXACT):
                verdict.precision = precision

    def int8_of(self, graph: bytes) -> bytes | None:
        """The int8 form of a graph that was compiled, where it has one."""
        for part, form in list(self._networks):
            if self._bundle.card.parts[part].int8 and self._graph(part, form) == graph:
                return self._graph(part, form, INT8)
        return None

    def _graph(self, part: str, form: Form, precision: str = EXACT) -> bytes:
        """The bytes that are compiled for a form of a part."""
        graph = self._bundle.int8(part) if precision == INT8 else self._bundle.graph(part)
        if form == Form.FLOATS:
            return graph
        return in_pixels(graph, "image", "result" if form == Form.ROUNDED else None)

    def _precision_of(self, part: str) -> str:
        """What a part is to be computed in: where others have an int8 form and it has none, fp32.

        Raises:
            ModelError: when none has.
        """
        parts, asked = self._bundle.card.parts, self._own.get(part, self._precision)
        has = part in parts and parts[part].int8 is not None
        others_have = any(other.int8 for other in parts.values())
        return EXACT if asked == INT8 and others_have and not has else asked

    def _take_form(self, part: str, decided: str) -> None:
        """Go over to the int8 form of a part, or away from it, where that was decided on."""
        entry, verdict = self._bundle.card.parts.get(part), self._verdicts.get(part)
        if entry is None or entry.int8 is None or (verdict and verdict.precision):
            return
        now = self._precision_of(part)
        if (decided == INT8) == (now == INT8) or " " in decided:  # that was not decided yet
            return
        self._own[part] = INT8 if decided == INT8 else "auto"
        self._verdicts.pop(part, None)
        for form in [form for name, form in self._networks if name == part]:
            self._networks[part, form] = self._made(part, form)

    def _made(self, part: str, form: Form) -> Network:
        precision = self._precision_of(part)
        try:
            graph = self._graph(part, form)
            network = self._compile(
                graph if precision != INT8 else self._graph(part, form, INT8), precision
            )
        except ModelError as error:
            raise error.at(f"'{part}' of the model '{self._bundle.card.name}'") from None
        if precision not in ("auto", network.precision):
            raise MissingRequirement(
                f"the provider '{network.provider}' does not compute in {precision}",
                got=network.note or network.precision,
                hint="`--provider cpu` and `--provider openvino` do"
                if precision == INT8
                else "`--precision auto` takes the fastest that gives the same pictures",
            )
        if network.precision == EXACT:
            return network
        verdict = self._verdicts.setdefault(part, Verdict(network.precision, self._floor))
        size = self._bundle.card.size
        return _Watched(network, lambda: self._compile(graph, EXACT), verdict, size)


class _Watched(Network):
    """A network in a lower precision, beside itself in fp32.

    The results for a sample of the first call that is not blank are compared; before that, and
    where they are too far apart, everything is computed in fp32. So are, later, calls whose results
    are no numbers, or black for pictures that are not. Of the two only what is needed stays in
    memory: the one that was decided against is let go, and compiled again should it be wanted after
    all.
    """

    def __init__(
        self,
        fast: Network,
        compile_exact: Callable[[], Network],
        verdict: Verdict,
        size: SizeRule | None = None,
    ) -> None:
        self._compile_exact, self._verdict = compile_exact, verdict
        self._fast: Network | None = fast
        self._size = size or SizeRule()
        self._exact: Network | None = None
        self._lock = threading.Lock()
        self.provider, self.inputs, self.outputs = fast.provider, fast.inputs, fast.outputs
        self.types, self.precision, self.together = fast.types, fast.precision, fast.together
        self.few_shapes, self.note = fast.few_shapes, fast.note

    def run(self, inputs: Mapping[str, Array]) -> dict[str, Array]:
        fast = self._fast
        if fast is not None and not self._verdict.precision and not self._settles(fast, inputs):
            return self._in_fp32(inputs)
        if self._verdict.precision == EXACT or fast is None:
            self._fast = None
            return self._in_fp32(inputs)
        result = fast.run(inputs)
        return self._in_fp32(inputs) if _is_broken(inputs, result) else result

    def _settles(self, fast: Network, inputs: Mapping[str, Array]) -> bool:
        """Decide by these inputs; False where they are blank, which any precision computes."""
        some = sample(inputs, self.inputs, self._size)
        if _is_flat(some):
            return False
        with self._verdict.lock:
            if not self._verdict.precision:
                self._verdict.settle(self._compared(fast, some))
                self._exact = None if self._verdict.precision != EXACT else self._exact
        return True

    def _compared(self, fast: Network, inputs: Mapping[str, Array]) -> float:
        try:
            result = fast.run(inputs)
        except OutOfMemory:
            raise  # that says nothing of the precision
        except ModelError:
            return -np.inf
        return apart(result, self._in_fp32(inputs))

    def _in_fp32(self, inputs: Mapping[str, Array]) -> dict[str, Array]:
        with self._lock:
            exact = self._exact = self._exact or self._compile_exact()
        return exact.run(inputs)


def sample(
    inputs: Mapping[str, Array], ports: Mapping[str, Sequence[int | str]], size: SizeRule
) -> dict[str, Array]:
    """What of the inputs of a call is enough to compare two precisions on.

    The first of the batch, and of pictures the middle, `SAMPLE` pixels wide and high, or the size
    that the graph takes next; all of what it takes in one shape only.
    """
    pictures = {name: _sides(name) for name, value in inputs.items() if value.ndim == 4}
    extents = {tuple(inputs[name].shape[axis] for axis in axes) for name, axes in pictures.items()}
    kept = dict(inputs)

    def takes_one(name: str, axis: int) -> bool:
        return name in ports and isinstance(ports[name][axis], int)

    if not any(takes_one(name, 0) for name, value in inputs.items() if value.ndim):
        kept = {name: value[:1] if value.ndim else value for name, value in kept.items()}
    fixed = any(takes_one(name, axis) for name, axes in pictures.items() for axis in axes)
    if fixed or len(extents) != 1:
        return kept
    for axis, (extent, side) in enumerate(
        zip(extents.pop(), size.padded(SAMPLE, SAMPLE), strict=True)
    ):
        if extent > side:
            first = (extent - side) // 2 // size.step * size.step
            for name, axes in pictures.items():
                kept[name] = kept[name].take(range(first, first + side), axes[axis])
    return kept


def _sides(name: str) -> tuple[int, int]:
    """Which axes of a port are height and width."""
    return (1, 2) if name == IMAGE else (2, 3)


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
    """Whether results are no numbers, or one of them is black where its picture is not."""
    given = inputs.get(IMAGE, inputs.get("image"))
    for name, value in results.items():
        if value.dtype.kind == "f" and not np.isfinite(value).all():
            return True
        if given is not None and (name == RESULT or name in PICTURES):
            pairs = zip(value, given, strict=False)
            if any(not made.any() and picture.any() for made, picture in pairs):
                return True
    return False


def _is_flat(inputs: Mapping[str, Array]) -> bool:
    """Whether there are pictures, and each of their channels has one value."""
    pictures = [(_sides(name), inputs[name]) for name in (IMAGE, "image") if name in inputs]
    return bool(pictures) and all(
        (value == value.take([0], down).take([0], across)).all()
        for (down, across), value in pictures
    )
