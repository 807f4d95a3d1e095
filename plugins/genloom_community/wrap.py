"""How a foreign graph wants its pictures, and the nodes that give it genloom's ports."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import onnx
from onnx import TensorProto, helper, numpy_helper

from genloom.card import UNIT, SizeRule
from genloom.errors import ModelError
from genloom.runtime import Network
from genloom.types import Array, Floats
from genloom_community.onnx_file import graphs
from genloom_community.request import Layout, Values

_TYPES = {
    "float32": TensorProto.FLOAT,
    "float16": TensorProto.FLOAT16,
    "uint8": TensorProto.UINT8,
}
DTYPES = tuple(_TYPES)
PREFIX = "net/"
"""What stands before the names of a foreign graph's values."""


@dataclass(frozen=True, kw_only=True)
class Convention:
    """How a graph takes a picture and gives one.

    Attributes:
        image: name of its input; `result` is that of its output.
        channels: of the picture, 1 or 3.
        level: whether one more channel holds the noise level, σ / 255.
        layout: order of the axes, and `result_layout` that of the result.
        dtype: element type, and `result_dtype` that of the result.
        values: what 0 and 1 are to it, and `result_values` what they are in the result.
        bgr: whether blue comes first.
    """

    image: str
    result: str
    channels: int
    level: bool = False
    layout: Layout = "nchw"
    result_layout: Layout = "nchw"
    dtype: str = "float32"
    result_dtype: str = "float32"
    values: Values = UNIT
    result_values: Values = UNIT
    bgr: bool = False

    def run(self, network: Network, picture: Floats, level: float | None = None) -> Floats:
        """Run the foreign graph on N×C×H×W in [0, 1], in numpy what `wrapped` does in nodes."""
        array: Array = picture[:, ::-1] if self.bgr else picture
        if self.level:
            plane = np.full_like(array[:, :1], 0.0 if level is None else level)
            array = np.concatenate([array, plane], axis=1)
        low, high = self.values
        array = array * np.float32(high - low) + np.float32(low)
        if self.dtype == "uint8":
            array = np.clip(array, 0, 255) + np.float32(0.5)
        array = array.astype(self.dtype)
        if self.layout == "nhwc":
            array = array.transpose(0, 2, 3, 1)
        result = network.run({self.image: array})[self.result]
        if result.ndim != 4:
            raise ModelError(
                "the result is no picture", expected="four axes", got=f"shape {result.shape}"
            )
        if self.result_layout == "nhwc":
            result = result.transpose(0, 3, 1, 2)
        low, high = self.result_values
        result = (result.astype(np.float32) - np.float32(low)) / np.float32(high - low)
        return result[:, ::-1] if self.bgr else result


def wrapped(
    model: onnx.ModelProto, convention: Convention, size: SizeRule, *, scale: int, batch: bool
) -> onnx.ModelProto:
    """The model with the ports `image`, `result` and, where it takes one, `noise_level`.

    Raises:
        ModelError: when the graph breaks ONNX's rules.
    """
    renamed = onnx.ModelProto()
    renamed.CopyFrom(model)
    graph = renamed.graph
    _prefix_values(graph)
    before, after = _Chain("image", "in"), _Chain(PREFIX + convention.result, "out")
    _before(before, convention)
    _after(after, convention)
    before.end(PREFIX + convention.image)
    after.end("result")
    nodes = [*before.nodes, *graph.node, *after.nodes]
    del graph.node[:]
    graph.node.extend(nodes)
    graph.initializer.extend([*before.constants, *after.constants])
    _set_ports(graph, convention, size, scale, batch)
    try:
        onnx.checker.check_model(renamed)
    except onnx.checker.ValidationError as error:
        reason = str(error).strip().splitlines()[0]
        raise ModelError(f"the graph breaks ONNX's rules ({reason[:200]})") from None
    return renamed


def _prefix_values(graph: onnx.GraphProto) -> None:
    """Put `PREFIX` before the name of every value, so that genloom's ports meet none of them.

    In the graphs that nodes hold too, as they name values of the graph around them.
    """
    for one in graphs(graph):
        for node in one.node:
            node.input[:] = [PREFIX + name if name else "" for name in node.input]
            node.output[:] = [PREFIX + name if name else "" for name in node.output]
        sparse = [tensor.values for tensor in one.sparse_initializer]
        for value in (*one.input, *one.output, *one.value_info, *one.initializer, *sparse):
            value.name = PREFIX + value.name
        del one.quantization_annotation[:]


@dataclass
class _Chain:
    """Nodes one after the other, each on the result of the one before."""

    value: str
    prefix: str
    nodes: list[Any] = field(default_factory=list)
    constants: list[Any] = field(default_factory=list)

    def add(self, operator: str, *others: str | Array, **attributes: Any) -> None:
        inputs = [self.value]
        for other in others:
            inputs.append(other if isinstance(other, str) else self._constant(other))
        self.value = f"{self.prefix}/{len(self.nodes)}"
        self.nodes.append(helper.make_node(operator, inputs, [self.value], **attributes))

    def _constant(self, array: Array) -> str:
        name = f"{self.prefix}/constant{len(self.constants)}"
        self.constants.append(numpy_helper.from_array(np.asarray(array), name))
        return name

    def end(self, name: str) -> None:
        self.add("Identity")
        self.nodes[-1].output[0] = name


def _before(chain: _Chain, convention: Convention) -> None:
    if convention.bgr:
        chain.add("Gather", np.array([2, 1, 0]), axis=1)
    if convention.level:
        _add_level(chain)
    low, high = convention.values
    if (low, high) != UNIT:
        chain.add("Mul", np.array(high - low, np.float32))
        chain.add("Add", np.array(low, np.float32))
    if convention.dtype == "uint8":
        chain.add("Clip", np.array(0, np.float32), np.array(255, np.float32))
        chain.add("Add", np.array(0.5, np.float32))
    if convention.dtype != "float32":
        chain.add("Cast", to=_TYPES[convention.dtype])
    if convention.layout == "nhwc":
        chain.add("Transpose", perm=[0, 2, 3, 1])


def _add_level(chain: _Chain) -> None:
    """Append a channel that holds the noise level everywhere."""
    picture = chain.value
    one, axis = np.array([1]), np.array([1])
    chain.add("Slice", np.array([0]), one, axis)
    chain.add("Mul", np.array(0, np.float32))
    plane = chain.value
    chain.value = "noise_level"
    chain.add("Reshape", np.array([-1, 1, 1, 1]))
    chain.add("Add", plane)
    level, chain.value = chain.value, picture
    chain.add("Concat", level, axis=1)


def _after(chain: _Chain, convention: Convention) -> None:
    if convention.result_layout == "nhwc":
        chain.add("Transpose", perm=[0, 3, 1, 2])
    if convention.result_dtype != "float32":
        chain.add("Cast", to=TensorProto.FLOAT)
    low, high = convention.result_values
    if low:
        chain.add("Sub", np.array(low, np.float32))
    if high - low != 1:
        chain.add("Mul", np.array(1 / (high - low), np.float32))
    if convention.bgr:
        chain.add("Gather", np.array([2, 1, 0]), axis=1)


def _set_ports(
    graph: onnx.GraphProto, convention: Convention, size: SizeRule, scale: int, batch: bool
) -> None:
    first: int | str = "batch" if batch else 1
    inputs = [("image", [first, convention.channels, *_sides(size, 1)])]
    if convention.level:
        inputs.append(("noise_level", [first]))
    outputs = [("result", [first, convention.channels, *_sides(size, scale)])]
    for ports, values in ((graph.input, inputs), (graph.output, outputs)):
        del ports[:]
        ports.extend(helper.make_tensor_value_info(n, TensorProto.FLOAT, s) for n, s in values)


def _sides(size: SizeRule, scale: int) -> Iterator[int | str]:
    if size.fixed is not None:
        yield from (side * scale for side in size.fixed)
        return
    prefix = "" if scale == 1 else "result_"
    yield from (f"{prefix}height", f"{prefix}width")
