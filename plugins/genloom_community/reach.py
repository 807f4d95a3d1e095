"""How far a network looks and in which steps it moves: measured on its ONNX graph.

A block of the picture is changed, and what changes in the result tells the reach. That is done
with the weights as they are, and again with positive ones and an infinite block: infinity passes
convolutions and most activations, so that neither one switched off nor rounding hides what a pixel
can depend on. Behind what bounds values (a clip, a cast to bytes, tanh, a sigmoid) infinity is no
more, and what the farthest pixels add may be lost in rounding: the field is then what was seen to
change, not a proof.

Strips are long along one axis and short along the other, which costs little and measures the same.
"""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any, Literal

import numpy as np
import onnx
from onnx import numpy_helper

from genloom.runtime import Network, Settings
from genloom.runtime.ort import OnnxRuntime
from genloom.types import Array, Floats
from genloom_community.request import Draft, Tell, unheard

LENGTHS = (128, 384, 1024)
"""Lengths of the strips; a reach that fills the last is global."""
NARROW = 32
STRIDES = (1, 2, 4, 8, 16, 32, 64, 3, 5, 6, 7, 12, 14, 24, 48)
"""Strides that are tried, in this order."""
SAME = 1e-4
"""Largest difference between a network's results on moved pictures, for rounding."""

_WEIGHED = {"Conv", "ConvTranspose", "Gemm", "MatMul"}

Field = int | Literal["global"]


@dataclass(frozen=True)
class Reach:
    """What was measured: the receptive field, and the stride that tiles keep to."""

    field: Field
    stride: int = 1


def measured(draft: Draft, tell: Tell = unheard) -> Reach:
    """Receptive field and stride of a network with genloom's ports; `tell` hears what it is at."""
    measurement, multiple = _Measurement(draft, tell), draft.size.multiple
    about = measurement.field(multiple)
    if about == "global":
        return Reach("global")
    for stride in dict.fromkeys((1, draft.windows, *STRIDES)):
        step = math.lcm(multiple, stride)
        if step == multiple:
            if measurement.moves(step, about // 2):
                return Reach(about)
            continue
        if not measurement.moves(step, about // 2 + step):
            continue
        field = measurement.field(step)
        if field != "global" and measurement.moves(step, field // 2):
            return Reach(field, stride)
    return Reach("global")


def compiled(model: onnx.ModelProto, threads: int = 0) -> Network:
    """The graph for the CPU."""
    return OnnxRuntime().compile(
        model.SerializeToString(), Settings(provider="cpu", threads=threads)
    )


class _Measurement:
    def __init__(self, draft: Draft, tell: Tell) -> None:
        self.draft = draft
        self.tell = tell
        self.shortest = 0
        self.network = compiled(draft.model)
        self.positive = compiled(positive(draft.model))
        self.random = np.random.default_rng(0)

    def field(self, step: int) -> Field:
        """The receptive field as far as blocks of `step` pixels and rounding show it."""
        farthest = 0
        for axis in (0, 1):
            for size in self._sizes(axis):
                self.tell(f"measuring how far it looks, on strips of {max(size)} pixels")
                reach = self._reach(size, axis, step)
                if reach is not None:
                    self.shortest = max(self.shortest, size[axis])
                    break
            else:
                return "global"
            farthest = max(farthest, reach)
        return 2 * farthest + 1

    def _sizes(self, axis: int) -> Iterator[tuple[int, int]]:
        rule = self.draft.size
        if rule.fixed is not None:
            yield rule.fixed
            return
        for length in LENGTHS[: -1 if rule.square else None]:  # a square strip is no strip
            size = [NARROW, NARROW]
            size[axis] = length
            padded = rule.padded(*size)
            if padded[axis] >= self.shortest:  # one that was too short already is so again
                yield padded

    def _reach(self, size: tuple[int, int], axis: int, step: int) -> int | None:
        """Pixels from a changed block to the farthest change; None where that met the border."""
        length = size[axis]
        start = length // 2 // step * step
        picture = self._picture(size)
        farthest = 0
        block = [slice(None)] * 4
        block[2 + axis] = slice(start, start + step)
        across = size[1 - axis] // 2 // step * step
        block[3 - axis] = slice(across, across + step)
        before: dict[Network, Floats] = {}
        for network, value in self._changes(picture[tuple(block)]):
            other = picture.copy()
            other[tuple(block)] = value
            with np.errstate(all="ignore"):
                if network not in before:
                    before[network] = self._run(network, picture)
                after = self._run(network, other)
            (places,) = self._changed(before[network], after, axis).nonzero()
            if len(places) == 0:
                continue
            low, high = int(places[0]), int(places[-1])
            if low == 0 or high == length - 1:
                return None
            farthest = max(farthest, start + step - 1 - low, high - start)
        return farthest

    def _changes(self, block: Floats) -> Iterator[tuple[Network, Any]]:
        """What is put in the place of a block, and through which network; the farthest first."""
        yield self.positive, np.float32(np.inf)
        yield self.network, 1 - block
        yield self.network, np.float32(4)

    def _changed(self, before: Floats, after: Floats, axis: int) -> Array:
        """Where along an axis, in pixels of the input, two results differ."""
        differs = ~((before == after) | (np.isnan(before) & np.isnan(after)))
        along = differs.any(axis=(0, 1, 3 - axis))
        return np.asarray(along.reshape(-1, self.draft.scale).any(axis=1))

    def moves(self, step: int, margin: int) -> bool:
        """Whether the network sees the same in a picture that is moved by `step` pixels.

        True too for a network of one size that is too small to tell: it cannot be tiled anyway.
        """
        return all(self._moves(axis, step, margin) for axis in (0, 1))

    def _moves(self, axis: int, step: int, margin: int) -> bool:
        rule, scale = self.draft.size, self.draft.scale
        needed = 2 * margin + 3 * step + 16
        if rule.fixed is not None and rule.fixed[axis] < needed:
            return True
        wanted = [NARROW, NARROW]
        wanted[axis] = needed
        size = rule.fixed or rule.padded(*wanted)
        longer = list(size)
        longer[axis] += step
        strip = self._picture((longer[0], longer[1]))
        first = self._run(self.network, _cut(strip, axis, 0, size[axis]))
        second = self._run(self.network, _cut(strip, axis, step, longer[axis]))
        first = _cut(first, axis, (margin + step) * scale, (size[axis] - margin) * scale)
        second = _cut(second, axis, margin * scale, (size[axis] - margin - step) * scale)
        return bool(np.abs(first - second).max() <= SAME * max(1.0, float(np.abs(first).max())))

    def _picture(self, size: tuple[int, int]) -> Floats:
        return self.random.uniform(0.1, 0.9, (1, self.draft.channels, *size)).astype(np.float32)

    def _run(self, network: Network, picture: Floats) -> Floats:
        inputs: dict[str, Array] = {"image": picture}
        if self.draft.level is not None:
            inputs["noise_level"] = np.full(1, max(self.draft.level, 0.1), np.float32)
        return np.asarray(network.run(inputs)["result"], np.float32)


def _cut(array: Floats, axis: int, start: int, stop: int) -> Floats:
    part = [slice(None)] * 4
    part[2 + axis] = slice(start, stop)
    return np.ascontiguousarray(array[tuple(part)])


def positive(model: onnx.ModelProto) -> onnx.ModelProto:
    """The same graph with positive weights so small that sums stay near 1, and no bias."""
    copy = onnx.ModelProto()
    copy.CopyFrom(model)
    weights, biases = _weight_names(copy)
    for name, tensor in _tensors(copy):
        array = numpy_helper.to_array(tensor)
        if name not in weights | biases or not np.issubdtype(array.dtype, np.floating):
            continue
        value = 0.0 if name in biases else 1 / max(1, array.size // max(1, array.shape[0]))
        full = np.full(array.shape, value, array.dtype)
        tensor.CopyFrom(numpy_helper.from_array(full, tensor.name))
    return copy


def _weight_names(model: onnx.ModelProto) -> tuple[set[str], set[str]]:
    weights, biases = set[str](), set[str]()
    for node in model.graph.node:
        if node.op_type in _WEIGHED:
            weights |= set(node.input[:2])
            biases |= set(node.input[2:])
        elif node.op_type == "PRelu":
            weights.add(node.input[1])
    return weights, biases


def _tensors(model: onnx.ModelProto) -> Iterator[tuple[str, onnx.TensorProto]]:
    """The constants of a graph by the name that nodes call them."""
    for tensor in model.graph.initializer:
        yield tensor.name, tensor
    for node in model.graph.node:
        if node.op_type == "Constant":
            for attribute in node.attribute:
                if attribute.name == "value":
                    yield node.output[0], attribute.t
