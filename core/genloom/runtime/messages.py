"""Messages of onnx.proto, written: the counterpart of `proto`, which reads them."""

from __future__ import annotations

import struct
from collections.abc import Mapping, Sequence

FLOAT, BYTE, HALF = 1, 2, 10  # TensorProto.DataType
_INT, _INTS = 2, 7  # AttributeProto.AttributeType


def field(number: int, value: int | bytes | memoryview) -> bytes:
    """One field of a message: an integer, or bytes with their length."""
    if isinstance(value, int):
        return _varint(number << 3) + _varint(value)
    return b"".join((_varint(number << 3 | 2), _varint(len(value)), value))


def node(
    operator: str, inputs: Sequence[str], output: str, **attributes: int | tuple[int, ...]
) -> bytes:
    """A NodeProto."""
    parts = [field(1, name.encode()) for name in inputs]
    parts += [field(2, output.encode()), field(4, operator.encode())]
    return b"".join(parts) + attributes_of(attributes)


def attributes_of(attributes: Mapping[str, int | tuple[int, ...]]) -> bytes:
    """The field of a NodeProto for each attribute."""
    parts = []
    for name, value in attributes.items():
        said = field(1, name.encode())
        if isinstance(value, int):
            said += field(3, value) + field(20, _INT)
        else:
            said += b"".join(field(8, one) for one in value) + field(20, _INTS)
        parts.append(field(5, said))
    return b"".join(parts)


def tensor(name: str, kind: int, shape: Sequence[int], data: bytes) -> bytes:
    """A TensorProto of values that are given as their bytes, little endian."""
    parts = [field(1, side) for side in shape]
    return b"".join([*parts, field(2, kind), field(8, name.encode()), field(9, data)])


def scalar(name: str, value: float) -> bytes:
    """A TensorProto of one float."""
    return tensor(name, FLOAT, (), struct.pack("<f", value))


def _varint(value: int) -> bytes:
    encoded = bytearray()
    while value > 0x7F:
        encoded.append(value & 0x7F | 0x80)
        value >>= 7
    encoded.append(value)
    return bytes(encoded)
