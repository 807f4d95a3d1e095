"""A network in a lower precision, watched: its results are compared with those of fp32."""

from __future__ import annotations

import threading
from collections.abc import Callable, Mapping, Sequence
from contextlib import nullcontext
from dataclasses import dataclass, field

import numpy as np

from genloom.card import PICTURES, SizeRule
from genloom.errors import ModelError, OutOfMemory
from genloom.runtime import EXACT, Network, memory
from genloom.runtime.pixels import IMAGE, MEAN, RESULT
from genloom.types import Array

FLOOR = 50.0
"""Least peak signal-to-noise ratio, in dB, between the results of a lower precision and of fp32."""

SAMPLE = 256
"""Side in pixels of the part of a picture that two precisions are compared on."""


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


class Watched(Network):
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
        """Compute in the lower precision where that was settled on, else in fp32."""
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
        with nullcontext() if memory.is_large(some) else self._verdict.lock:
            if not self._verdict.precision:
                found = self._compared(fast, some)
                if not self._verdict.precision:  # nor by another thread meanwhile
                    self._verdict.settle(found)
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
