"""Facts about an ONNX file read straight from its protobuf bytes, without the onnx package.

Only what a check needs: the opset, the operators, and whether weights lie in other files. Field
numbers are those of onnx.proto, which never change their meaning.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

from genloom.errors import ModelError

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
_MODEL_GRAPH, _MODEL_OPSET, _MODEL_FUNCTION = 7, 8, 25
_OPSET_DOMAIN, _OPSET_VERSION = 1, 2
_GRAPH_NODE, _GRAPH_TENSOR, _FUNCTION_NODE = 1, 5, 7
_NODE_OPERATOR, _NODE_ATTRIBUTE = 4, 5
_ATTRIBUTE_TENSOR, _ATTRIBUTE_GRAPH, _ATTRIBUTE_GRAPHS = 5, 6, 11
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
        ModelError: when these are not the bytes of an ONNX file.
    """
    opset, operators, external = 0, set[str](), False
    try:
        for number, value in _fields(memoryview(model)):
            if number == _MODEL_OPSET:
                entry = dict(_fields(_bytes(value)))
                if bytes(_bytes(entry.get(_OPSET_DOMAIN, memoryview(b"")))) in (b"", b"ai.onnx"):
                    opset = int(_number(entry.get(_OPSET_VERSION, 0)))
            elif number in (_MODEL_GRAPH, _MODEL_FUNCTION):
                node = _GRAPH_NODE if number == _MODEL_GRAPH else _FUNCTION_NODE
                external |= _walk(_bytes(value), node, operators)
    except (IndexError, ValueError, UnicodeDecodeError, RecursionError):
        raise ModelError("not an ONNX file", expected="the protobuf of an ONNX model") from None
    return GraphFacts(opset, frozenset(operators), external)


def _walk(graph: memoryview, node_field: int, operators: set[str]) -> bool:
    """Collect the operators of a graph; returns whether a tensor lies in another file."""
    external = False
    for number, value in _fields(graph):
        if number == node_field:
            external |= _walk_node(_bytes(value), operators)
        elif number == _GRAPH_TENSOR and node_field == _GRAPH_NODE:
            external |= _lies_elsewhere(_bytes(value))
    return external


def _walk_node(node: memoryview, operators: set[str]) -> bool:
    external = False
    for number, value in _fields(node):
        if number == _NODE_OPERATOR:
            operators.add(bytes(_bytes(value)).decode())
        elif number == _NODE_ATTRIBUTE:
            for part, inner in _fields(_bytes(value)):
                if part in (_ATTRIBUTE_GRAPH, _ATTRIBUTE_GRAPHS):
                    external |= _walk(_bytes(inner), _GRAPH_NODE, operators)
                elif part == _ATTRIBUTE_TENSOR:
                    external |= _lies_elsewhere(_bytes(inner))
    return external


def _lies_elsewhere(tensor: memoryview) -> bool:
    return any(number == _TENSOR_LOCATION and value == 1 for number, value in _fields(tensor))


def _bytes(value: int | memoryview) -> memoryview:
    if isinstance(value, int):
        raise ValueError("a number where a message was expected")
    return value


def _number(value: int | memoryview) -> int:
    if not isinstance(value, int):
        raise ValueError("a message where a number was expected")
    return value


def _fields(message: memoryview) -> Iterator[tuple[int, int | memoryview]]:
    """The fields of a protobuf message: number, and an integer or the bytes of a value."""
    position, end = 0, len(message)
    while position < end:
        tag, position = _varint(message, position)
        number, wire = tag >> 3, tag & 7
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
