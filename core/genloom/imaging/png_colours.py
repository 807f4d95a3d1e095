"""What a PNG without a profile says of its colours (gAMA, cHRM), as an ICC profile.

Every format that keeps profiles can then say the same, and programs show results as they show the
file. The profile is one of a matrix and a curve, version 2.1 (ICC.1:1998-09).
"""

from __future__ import annotations

import struct
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from genloom.types import Array

SRGB_GAMMA = 1 / 2.2
SRGB = (0.3127, 0.329, 0.64, 0.33, 0.3, 0.6, 0.15, 0.06)
"""x and y of white, red, green and blue."""

NEAR = 0.01
"""Gammas and places within so much of sRGB's mean sRGB."""

FLATTEST, STEEPEST = 0.1, 5.0
"""Gammas beyond are damage: as exponents of a curve, 10 and 0.2."""

_D50 = (0.9642, 1.0, 0.8249)
_BRADFORD = np.array(
    [[0.8951, 0.2664, -0.1614], [-0.7502, 1.7135, 0.0367], [0.0389, -0.0685, 1.0296]]
)


def profile_of(info: Mapping[Any, Any], *, grey: bool) -> bytes | None:
    """A profile of what Pillow read of a PNG.

    Returns:
        None where it says nothing, sRGB, or what cannot be.
    """
    if "srgb" in info or ("gamma" not in info and "chromaticity" not in info):
        return None
    gamma = float(info.get("gamma", SRGB_GAMMA))
    places = SRGB if grey else tuple(map(float, info.get("chromaticity", SRGB)))
    if len(places) != 8 or not FLATTEST <= gamma <= STEEPEST:
        return None
    if np.allclose((gamma, *places), (SRGB_GAMMA, *SRGB), rtol=0, atol=NEAR):
        return None
    curve = _tag(b"curv", struct.pack(">IH", 1, round(256 / gamma)))
    tags = {b"desc": _description(b"as the PNG states"), b"cprt": _tag(b"text", b"none\0")}
    if grey:
        return _profile(b"GRAY", {**tags, b"wtpt": _xyz(_D50), b"kTRC": curve})
    matrix = _to_d50(places)
    if matrix is None:
        return None
    tags |= {b"wtpt": _xyz(_D50)}
    for letter, column in zip((b"r", b"g", b"b"), matrix.T, strict=True):
        tags |= {letter + b"XYZ": _xyz(column), letter + b"TRC": curve}
    return _profile(b"RGB ", tags)


def _to_d50(places: Sequence[float]) -> Array | None:
    """The matrix from linear RGB to XYZ, adapted to D50; None where the places allow none."""
    pairs = np.array(places).reshape(4, 2)
    if not (pairs[:, 1] > 0).all():
        return None
    white, *primaries = [np.array([x / y, 1, (1 - x - y) / y]) for x, y in pairs]
    columns = np.stack(primaries, axis=1)
    if abs(np.linalg.det(columns)) < 1e-3:  # on one line, or nearly
        return None
    matrix = columns * np.linalg.solve(columns, white)
    cones = np.array(_BRADFORD @ _D50) / (_BRADFORD @ white)
    adapted: Array = np.linalg.inv(_BRADFORD) @ np.diag(cones) @ _BRADFORD @ matrix
    return adapted if (np.abs(adapted) < 10).all() else None


def _tag(kind: bytes, body: bytes) -> bytes:
    return kind + bytes(4) + body


def _xyz(values: Sequence[float] | Array) -> bytes:
    return _tag(b"XYZ ", struct.pack(">3i", *(round(float(value) * 65536) for value in values)))


def _description(text: bytes) -> bytes:
    return _tag(b"desc", struct.pack(">I", len(text) + 1) + text + bytes(1 + 4 + 4 + 2 + 1 + 67))


def _profile(space: bytes, tags: Mapping[bytes, bytes]) -> bytes:
    """Header, table and bodies, each of which begins at a multiple of four."""
    table, bodies = struct.pack(">I", len(tags)), b""
    first = 128 + 4 + 12 * len(tags)
    for name, body in tags.items():
        table += name + struct.pack(">II", first + len(bodies), len(body))
        bodies += body + bytes(-len(body) % 4)
    header = struct.pack(
        ">I4xI4s4s4s6H4s28x3i48x",
        first + len(bodies),
        0x02100000,
        b"mntr",
        space,
        b"XYZ ",
        *(2000, 1, 1, 0, 0, 0),
        b"acsp",
        *(round(value * 65536) for value in _D50),
    )
    return header + table + bodies
