"""Facts about an ONNX file read straight from its protobuf bytes, without the onnx package.

Only what a check needs: the opset, the operators, and whether weights lie in other files. Field
numbers are those of onnx.proto, which never change their meaning.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field

from genloom.errors import ModelError
from genloom.limits import MAX_GRAPH_FIELDS

RANDOM = frozenset(
    {
        "Bernoulli",
        "Multinomial",
        "RandomNormal",
        "RandomNormalLike",
        "RandomUniform",
        "RandomUniformLike",
    }
)
"""Operators that draw random numbers, which no graph may: chance comes from the engine."""

_VARINT, _FIXED64, _BYTES, _FIXED32 = 0, 1, 2, 5
_MODEL_GRAPH, _MODEL_OPSET, _MODEL_TRAINING, _MODEL_FUNCTION = 7, 8, 20, 25
_OPSET_DOMAIN, _OPSET_VERSION = 1, 2
_TRAINING_GRAPHS = (1, 2)
_GRAPH_NODE, _GRAPH_TENSOR, _GRAPH_SPARSE = 1, 5, 15
_FUNCTION_NODE, _FUNCTION_ATTRIBUTE = 7, 11
_NODE_OPERATOR, _NODE_ATTRIBUTE = 4, 5
_ATTRIBUTE_TENSORS, _ATTRIBUTE_GRAPHS, _ATTRIBUTE_SPARSE = (5, 10), (6, 11), (22, 23)
_SPARSE_TENSORS = (1, 2)
_TENSOR_LOCATION = 14


@dataclass(frozen=True)
class GraphFacts:
    """What an ONNX file says about itself.

    Attributes:
        opset: version of ONNX's own operators; 0 when none is stated.
        operators: names of all operators, those of sub-graphs included.
        external: whether weights lie in other files.
    """

    opset: int
    operators: frozenset[str]
    external: bool


def facts(model: bytes) -> GraphFacts:
    """Read the facts.

    Raises:
        ModelError: when these are not the bytes of an ONNX file, or are too many small ones.
    """
    walk, opset = _Walk(), 0
    try:
        for number, value in walk.fields(memoryview(model)):
            if number == _MODEL_OPSET:
                entry = dict(walk.fields(data(value)))
                if bytes(data(entry.get(_OPSET_DOMAIN, memoryview(b"")))) in (b"", b"ai.onnx"):
                    opset = int(whole(entry.get(_OPSET_VERSION, 0)))
            elif number == _MODEL_GRAPH:
                walk.graph(data(value))
            elif number == _MODEL_TRAINING:
                for part, inner in walk.fields(data(value)):
                    if part in _TRAINING_GRAPHS:
                        walk.graph(data(inner))
            elif number == _MODEL_FUNCTION:
                walk.function(data(value))
    except (IndexError, ValueError, UnicodeDecodeError, RecursionError):
        raise ModelError("not an ONNX file", expected="the protobuf of an ONNX model") from None
    return GraphFacts(opset, frozenset(walk.operators), walk.external)


def check_whole(model: bytes) -> None:
    """Whether a graph holds its weights itself: a library would read any file that it names.

    Raises:
        ModelError: when it does not, or these are not the bytes of an ONNX file.
    """
    try:
        external = facts(model).external
    except ModelError as error:
        raise ModelError(f"the graph does not load ({error})") from None
    if external:
        raise ModelError("its weights lie in another file; a graph must hold them itself")


@dataclass
class _Walk:
    """A walk through all messages of a file that may hold operators or weights.

    Attributes:
        operators: names met so far.
        external: whether a tensor was met that lies in another file.
        left: fields that may still be looked at.
    """

    operators: set[str] = field(default_factory=set)
    external: bool = False
    left: int = field(default_factory=lambda: MAX_GRAPH_FIELDS)

    def graph(self, message: memoryview) -> None:
        for number, value in self.fields(message):
            if number == _GRAPH_NODE:
                self._node(data(value))
            elif number == _GRAPH_TENSOR:
                self._tensor(data(value))
            elif number == _GRAPH_SPARSE:
                self._sparse(data(value))

    def function(self, message: memoryview) -> None:
        for number, value in self.fields(message):
            if number == _FUNCTION_NODE:
                self._node(data(value))
            elif number == _FUNCTION_ATTRIBUTE:
                self._attribute(data(value))

    def _node(self, message: memoryview) -> None:
        for number, value in self.fields(message):
            if number == _NODE_OPERATOR:
                self.operators.add(text(value))
            elif number == _NODE_ATTRIBUTE:
                self._attribute(data(value))

    def _attribute(self, message: memoryview) -> None:
        for number, value in self.fields(message):
            if number in _ATTRIBUTE_GRAPHS:
                self.graph(data(value))
            elif number in _ATTRIBUTE_TENSORS:
                self._tensor(data(value))
            elif number in _ATTRIBUTE_SPARSE:
                self._sparse(data(value))

    def _sparse(self, message: memoryview) -> None:
        for number, value in self.fields(message):
            if number in _SPARSE_TENSORS:
                self._tensor(data(value))

    def _tensor(self, message: memoryview) -> None:
        for number, value in self.fields(message):
            # Enumerations are 32 bits wide, whatever a file writes.
            if number == _TENSOR_LOCATION and whole(value) & 0xFFFFFFFF == 1:
                self.external = True

    def fields(self, message: memoryview) -> Iterator[tuple[int, int | memoryview]]:
        """The fields of a protobuf message: number, and an integer or the bytes of a value."""
        for found in fields(message):
            self.left -= 1
            if self.left < 0:
                raise ModelError(
                    "the graph has too many parts", expected=f"at most {MAX_GRAPH_FIELDS} fields"
                )
            yield found


def data(value: int | memoryview) -> memoryview:
    """The value of a field that is a message, a text or bytes."""
    if isinstance(value, int):
        raise ValueError("a number where a message was expected")
    return value


def text(value: int | memoryview) -> str:
    """The value of a field that is a text."""
    return bytes(data(value)).decode()


def whole(value: int | memoryview) -> int:
    """The value of a field that is an integer."""
    if not isinstance(value, int):
        raise ValueError("a message where a number was expected")
    return value


def numbers(value: int | memoryview) -> list[int]:
    """The value of one of the fields that a list of integers is written as: one, or all of them."""
    if isinstance(value, int):
        return [value]
    found, position = [], 0
    while position < len(value):
        one, position = _varint(value, position)
        found.append(one)
    return found


def fields(message: memoryview) -> Iterator[tuple[int, int | memoryview]]:
    """The fields of a protobuf message: number, and an integer or the bytes of a value."""
    position, end = 0, len(message)
    while position < end:
        tag, position = _varint(message, position)
        number, wire = (tag & 0xFFFFFFFF) >> 3, tag & 7
        if wire == _VARINT:
            value, position = _varint(message, position)
            yield number, value
            continue
        if wire == _BYTES:
            length, position = _varint(message, position)
        elif wire in (_FIXED32, _FIXED64):
            length = 4 if wire == _FIXED32 else 8
        else:
            raise ValueError(f"wire type {wire}")
        if position + length > end:
            raise ValueError("cut short")
        yield number, message[position : position + length]
        position += length


def _varint(message: memoryview, position: int) -> tuple[int, int]:
    result = shift = 0
    while True:
        byte = message[position]
        position += 1
        result |= (byte & 0x7F) << shift
        if byte < 0x80:
            return result, position
        shift += 7
        if shift > 63:
            raise ValueError("a number too long")
