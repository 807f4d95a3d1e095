"""A graph in half precision: float16 within, while its ports keep their types.

What depends on the inputs is computed in float16, with a Cast where it meets float32. In float32
stay the nodes that `pixels` wrote, whose levels up to 255 float16 would round; sums over many
values; and what is computed of constants and shapes alone: that is small, and a size must be exact.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from genloom.errors import ModelError
from genloom.runtime import messages, pixels, proto
from genloom.runtime.messages import FLOAT, HALF
from genloom.types import Array

LARGEST = float(np.finfo(np.float16).max)

SUMS = frozenset(
    {
        *("ReduceMean", "ReduceSum", "ReduceSumSquare", "ReduceL1", "ReduceL2"),
        *("ReduceLogSum", "ReduceLogSumExp", "GlobalAveragePool", "GlobalLpPool", "CumSum"),
        *("InstanceNormalization", "LayerNormalization", "GroupNormalization", "LpNormalization"),
    }
)
"""Operators that add up so many values that float16 would lose some."""

NO_FLOATS = frozenset(
    {
        *("Shape", "Size", "NonZero", "ArgMax", "ArgMin", "IsNaN", "IsInf", "And", "Or", "Xor"),
        *("Not", "Equal", "Greater", "GreaterOrEqual", "Less", "LessOrEqual"),
    }
)
"""Operators whose results are integers or truths, whatever goes in."""

SHAPES = frozenset({"Shape", "Size"})
"""Operators whose results depend on the shapes of their inputs alone."""

QUANTISED = "quantizelinear"
"""What names of operators between floats and integers in their place end with, in small letters."""

_GRAPH, _FUNCTION = 7, 25
_NODE, _TENSOR, _INPUT, _OUTPUT, _TYPES, _SPARSE = 1, 5, 11, 12, 13, 15
_NAME_OF_TENSOR, _KIND, _FLOATS, _RAW = 8, 2, 4, 9
_ATTRIBUTE = 5
_PREFIX = "half/"

Fields = list[tuple[int, int | memoryview]]


def in_half(model: bytes) -> bytes:
    """The model in float16, where that is possible.

    Args:
        model: an ONNX file that holds its weights itself.

    Raises:
        ModelError: when it has weights that float16 does not hold, or parts that cannot be
            converted; or when these are not the bytes of a model.
    """
    try:
        fields = list(proto.fields(memoryview(model)))
        if any(number == _FUNCTION for number, _ in fields):
            raise _unfit("it has functions of its own")
        (graph,) = (proto.data(value) for number, value in fields if number == _GRAPH)
        converted = _Conversion(list(proto.fields(graph))).graph()
    except (IndexError, ValueError, KeyError, UnicodeDecodeError):
        raise ModelError("not an ONNX file", expected="the protobuf of an ONNX model") from None
    return b"".join(messages.field(n, converted if n == _GRAPH else value) for n, value in fields)


@dataclass(frozen=True)
class _Node:
    operator: str
    inputs: Sequence[str]
    outputs: Sequence[str]
    attributes: Mapping[str, Mapping[int, int | memoryview]]
    fields: Fields

    @classmethod
    def read(cls, message: memoryview) -> _Node:
        fields = list(proto.fields(message))
        texts = [(n, proto.text(value)) for n, value in fields if n in (1, 2, 4, 7)]
        operator = dict(texts)[4]
        if any(n == 7 and text not in ("", "ai.onnx") for n, text in texts):
            raise _unfit(f"it has the operator {operator}, which is not ONNX's own")
        if operator.lower().endswith(QUANTISED):
            raise _unfit("it is quantised")
        inputs, outputs = ([text for n, text in texts if n == wanted] for wanted in (1, 2))
        found = [dict(proto.fields(proto.data(v))) for n, v in fields if n == _ATTRIBUTE]
        if any(6 in attribute or 11 in attribute for attribute in found):
            raise _unfit(f"it has the operator {operator}, which holds a graph")
        attributes = {proto.text(attribute[1]): attribute for attribute in found}
        return cls(operator, inputs, outputs, attributes, fields)

    def number(self, attribute: str) -> int:
        """An attribute that is an integer; 0 where it is not given."""
        value = self.attributes.get(attribute, {}).get(3, 0)
        return value if isinstance(value, int) else 0

    def renamed(self, inputs: Iterable[str], outputs: Iterable[str], **attributes: int) -> bytes:
        """A NodeProto that is the same but for its inputs, its outputs and some attributes."""
        parts = [messages.field(1, name.encode()) for name in inputs]
        parts += [messages.field(2, name.encode()) for name in outputs]
        for number, value in self.fields:
            name = (
                proto.text(dict(proto.fields(proto.data(value)))[1]) if number == _ATTRIBUTE else ""
            )
            if number not in (1, 2) and name not in attributes:
                parts.append(messages.field(number, value))
        return b"".join(parts) + messages.attributes_of(attributes)


class _Conversion:
    """Goes through the nodes of a graph in their order and writes each anew.

    A value of float32 has its own name, the same in float16 a prefix before it: each is made when
    it is first asked for.
    """

    def __init__(self, fields: Fields) -> None:
        if any(number == _SPARSE for number, _ in fields):
            raise _unfit("it has sparse weights")
        self._fields = fields
        self._constants = {
            proto.text(dict(proto.fields(message))[_NAME_OF_TENSOR]): message
            for message in self._messages(_TENSOR)
        }
        inputs = dict(map(_port, self._messages(_INPUT)))
        self._floats = {name for name, kind in inputs.items() if kind == FLOAT}
        self._floats |= {name for name, one in self._constants.items() if _kind(one) == FLOAT}
        self._depends = inputs.keys() - self._constants.keys()
        self._defaults = inputs.keys() & self._constants.keys()
        self._full, self._half = set(self._depends), set[str]()  # values that are there so far
        self._written: list[tuple[int, bytes]] = []

    def _messages(self, number: int) -> list[memoryview]:
        return [proto.data(value) for found, value in self._fields if found == number]

    def graph(self) -> bytes:
        """The GraphProto."""
        for message in self._messages(_NODE):
            self._convert(_Node.read(message))
        for name in (*self._defaults, *(_port(one)[0] for one in self._messages(_OUTPUT))):
            self._in_full(name)
        parts = [messages.field(number, message) for number, message in self._written]
        for number, value in self._fields:
            if number not in (_NODE, _TENSOR, _TYPES):
                parts.append(messages.field(number, value))
        return b"".join(parts)

    def _convert(self, node: _Node) -> None:
        floats, depends = self._float_outputs(node), self._depends.intersection(node.inputs)
        self._floats |= floats
        if node.operator == "Constant" and "value" in node.attributes:
            self._constants[node.outputs[0]] = proto.data(node.attributes["value"][5])
            return
        if depends and node.operator not in SHAPES:
            self._depends |= set(node.outputs) - {""}
        stays = (
            not depends
            or pixels.is_ours((*node.inputs, *node.outputs))
            or (node.operator in SUMS and node.inputs[0] in self._floats)
        )
        exact = range(1, 3) if node.operator in ("Resize", "Upsample") else ()  # factors and region
        inputs = [
            self._in_full(name) if stays or place in exact else self._in_half(name)
            for place, name in enumerate(node.inputs)
        ]
        halves = set() if stays else floats
        outputs = [_PREFIX + name if name in halves else name for name in node.outputs]
        changes = {"to": HALF} if node.operator == "Cast" and halves else {}
        self._written.append((_NODE, node.renamed(inputs, outputs, **changes)))
        self._half |= halves
        self._full |= set(node.outputs) - halves

    def _float_outputs(self, node: _Node) -> set[str]:
        """Outputs of a node that are float32 in the graph as it was given.

        Where this errs, types do not meet in what is written, and no runtime takes it.
        """
        if node.operator in NO_FLOATS:
            return set()
        if node.operator == "Cast":
            return set(node.outputs) if node.number("to") == FLOAT else set()
        if node.operator in ("Constant", "ConstantOfShape"):
            return set(node.outputs) if _gives_floats(node) else set()
        if "dtype" in node.attributes:
            return set(node.outputs) if node.number("dtype") == FLOAT else set()
        place = {"Where": 1, "CastLike": 1, "OneHot": 2}.get(node.operator, 0)
        if len(node.inputs) <= place or node.inputs[place] not in self._floats:
            return set()
        one = node.operator in ("TopK", "MaxPool", "Dropout", "Unique")
        return set(node.outputs[:1] if one else node.outputs) - {""}

    def _in_half(self, name: str) -> str:
        """Name of a value as what is in float16 wants it."""
        if name not in self._floats:
            return self._in_full(name)
        if name not in self._half:
            self._half.add(name)
            if name in self._constants:
                self._written.append((_TENSOR, _halved(self._constants[name], _PREFIX + name)))
            else:
                cast = messages.node("Cast", [name], _PREFIX + name, to=HALF)
                self._written.append((_NODE, cast))
        return _PREFIX + name

    def _in_full(self, name: str) -> str:
        """Name of a value as it was in the graph that was given."""
        if name and name not in self._full:
            self._full.add(name)
            if name in self._constants:
                self._written.append((_TENSOR, _named(self._constants[name], name)))
            else:
                cast = messages.node("Cast", [_PREFIX + name], name, to=FLOAT)
                self._written.append((_NODE, cast))
        return name


def _unfit(why: str) -> ModelError:
    return ModelError(f"the graph cannot be computed in fp16: {why}")


def _port(message: memoryview) -> tuple[str, int]:
    """Name and element type of a ValueInfoProto; 0 for what is no tensor."""
    info = dict(proto.fields(message))
    kind = dict(proto.fields(proto.data(info[2])))
    tensor = dict(proto.fields(proto.data(kind[1]))) if 1 in kind else {}
    return proto.text(info[1]), proto.whole(tensor.get(1, 0))


def _kind(tensor: memoryview) -> int:
    return proto.whole(dict(proto.fields(tensor)).get(_KIND, 0))


def _gives_floats(node: _Node) -> bool:
    """Whether a Constant or a ConstantOfShape is of float32."""
    if "value" in node.attributes:
        return _kind(proto.data(node.attributes["value"][5])) == FLOAT
    return node.operator == "ConstantOfShape" or any(
        n.startswith("value_float") for n in node.attributes
    )


def _named(tensor: memoryview, name: str) -> bytes:
    """A TensorProto under another name."""
    fields = [pair for pair in proto.fields(tensor) if pair[0] != _NAME_OF_TENSOR]
    fields.append((_NAME_OF_TENSOR, memoryview(name.encode())))
    return b"".join(messages.field(number, value) for number, value in fields)


def _halved(tensor: memoryview, name: str) -> bytes:
    """A TensorProto of float32 as one of float16, under another name."""
    fields = list(proto.fields(tensor))
    shape = [side for n, value in fields if n == 1 for side in proto.numbers(value)]
    data = b"".join(proto.data(value) for n, value in fields if n in (_FLOATS, _RAW))
    values: Array = np.frombuffer(data, "<f4") if data else np.empty(0, "<f4")
    finite = np.abs(values[np.isfinite(values)])
    if finite.size and finite.max() > LARGEST:
        raise _unfit(f"it has weights of {finite.max():g}, and fp16 ends at {LARGEST:g}")
    with np.errstate(over="ignore", under="ignore"):
        halves = values.astype("<f2")
    if values.size == 1 and values.any() and not halves.any():  # what keeps from dividing by zero
        raise _unfit(f"it has the constant {float(values[0]):g}, which would be zero")
    return messages.tensor(name, HALF, shape, halves.tobytes())
