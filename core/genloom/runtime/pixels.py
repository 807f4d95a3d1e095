"""8-bit pixels in and out of a network: a few ONNX nodes written around its graph.

A picture then travels as it was decoded and as it will be stored: a quarter of the bytes of
floats, and no pass over them in Python. Written straight into the protobuf, as `proto` reads it.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence

from genloom.errors import ModelError
from genloom.runtime import messages, proto
from genloom.runtime.messages import BYTE, FLOAT

IMAGE, RESULT, MEAN = "image_pixels", "result_pixels", "result_mean"
"""Ports of a graph that `in_pixels` made; `result_mean` is a number that is finite if all are."""

OLDEST = 13
"""The first opset in which the nodes are written as they are here."""

_GRAPH = 7
_NODE, _INITIALIZER, _INPUT, _OUTPUT = 1, 5, 11, 12

_PREFIX = "pixels/"
"""What names of values between the nodes begin with."""


def is_ours(names: Iterable[str]) -> bool:
    """Whether a node whose inputs and outputs have these names is one that `in_pixels` wrote."""
    return any(name.startswith(_PREFIX) or name in (IMAGE, RESULT, MEAN) for name in names)


def in_pixels(model: bytes, image: str, result: str | None) -> bytes:
    """The model with an input of uint8 N×H×W×C pixels in place of floats N×C×H×W in [0, 1].

    Args:
        model: an ONNX file of opset `OLDEST` or later.
        image: the input; its place is taken by `IMAGE`.
        result: an output of N×C×H×W floats, in whose place come `RESULT`, uint8 N×H×W×C, clamped
            and rounded as `genloom.types.as_dtype` does, and `MEAN`. None leaves outputs alone.

    Raises:
        ModelError: when these are not the bytes of such a model.
    """
    try:
        fields = list(proto.fields(memoryview(model)))
        graphs = [value for number, value in fields if number == _GRAPH]
        graph = _around(list(_inner(graphs[0])), image, result)
    except (IndexError, ValueError):
        raise ModelError("not an ONNX file", expected="the protobuf of an ONNX model") from None
    return b"".join(messages.field(n, graph if n == _GRAPH else value) for n, value in fields)


def _around(
    fields: Sequence[tuple[int, int | memoryview]], image: str, result: str | None
) -> bytes:
    before = [
        messages.node("Cast", [IMAGE], "pixels/floats", to=FLOAT),
        messages.node("Mul", ["pixels/floats", "pixels/unit"], "pixels/scaled"),
        messages.node("Transpose", ["pixels/scaled"], image, perm=(0, 3, 1, 2)),
    ]
    numbers = {"unit": 1 / 255}
    after = []
    if result is not None:
        numbers |= {"zero": 0.0, "one": 1.0, "top": 255.0, "half": 0.5}
        after = [
            messages.node("ReduceMean", [result], MEAN, keepdims=0),
            messages.node("Clip", [result, "pixels/zero", "pixels/one"], "pixels/clipped"),
            messages.node("Mul", ["pixels/clipped", "pixels/top"], "pixels/large"),
            messages.node("Add", ["pixels/large", "pixels/half"], "pixels/raised"),
            messages.node("Floor", ["pixels/raised"], "pixels/whole"),
            messages.node("Cast", ["pixels/whole"], "pixels/bytes", to=BYTE),
            messages.node("Transpose", ["pixels/bytes"], RESULT, perm=(0, 2, 3, 1)),
        ]
    parts = [messages.field(_NODE, node) for node in before]
    parts += [messages.field(number, value) for number, value in fields if number == _NODE]
    parts += [messages.field(_NODE, node) for node in after]
    parts += [
        messages.field(_INITIALIZER, messages.scalar(f"pixels/{n}", value))
        for n, value in numbers.items()
    ]
    missing = {image, result} - {None}
    for number, value in fields:
        if number == _NODE:
            continue
        name = _name(value) if number in (_INPUT, _OUTPUT) else ""
        if number == _INPUT and name == image:
            value = memoryview(_value(IMAGE, BYTE, _sides(value)))
            missing.discard(image)
        elif number == _OUTPUT and name == result:
            parts.append(messages.field(_OUTPUT, _value(MEAN, FLOAT, ())))
            value = memoryview(_value(RESULT, BYTE, _sides(value)))
            missing.discard(result)
        parts.append(messages.field(number, value))
    if missing:
        raise ModelError("the graph lacks a port", expected=" and ".join(map(str, missing)))
    return b"".join(parts)


# The messages of onnx.proto that are read and written here, by the numbers of their fields.


def _name(info: int | memoryview) -> str:
    """Name of a ValueInfoProto."""
    return next(
        (bytes(v).decode() for n, v in _inner(info) if n == 1 and not isinstance(v, int)), ""
    )


def _sides(info: int | memoryview) -> list[bytes] | None:
    """Of a ValueInfoProto N×C×H×W the TensorShapeProto.Dimension messages, as N×H×W×C.

    None where it states no shape.
    """
    message = info
    for number in (2, 1, 2):  # type, tensor_type, shape
        inner = [value for found, value in _inner(message) if found == number]
        if not inner:
            return None
        message = inner[0]
    sides = [bytes(v) for n, v in _inner(message) if n == 1 and not isinstance(v, int)]
    if len(sides) != 4:
        raise ModelError("not a picture", expected="N×C×H×W", got=f"{len(sides)} axes")
    return [sides[0], sides[2], sides[3], sides[1]]


def _inner(message: int | memoryview) -> Iterator[tuple[int, int | memoryview]]:
    if isinstance(message, int):
        raise ValueError("a number where a message was expected")
    return proto.fields(message)


def _value(name: str, kind: int, sides: Iterable[bytes] | None) -> bytes:
    """A ValueInfoProto."""
    tensor = messages.field(1, kind)
    if sides is not None:
        tensor += messages.field(2, b"".join(messages.field(1, side) for side in sides))
    return messages.field(1, name.encode()) + messages.field(2, messages.field(1, tensor))
