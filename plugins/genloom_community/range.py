"""Which pixel values a foreign graph works on: guessed from what it makes of a picture."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING

import numpy as np

from genloom.errors import GenloomError
from genloom.types import Floats
from genloom_community.request import RANGES, Values
from genloom_community.wrap import Convention

if TYPE_CHECKING:
    from genloom_community.probe import Probe

UNLIKE = 0.05
"""Mean difference between a picture and its result from which another range is looked for."""
CLEARLY = 0.5
"""Another range is taken when the result is this many times closer to the picture."""

_PAIRS = (("0-1", "0-1"), ("0-255", "0-255"), ("-1-1", "-1-1"), ("0-1", "0-255"), ("0-255", "0-1"))


def guess(probe: Probe, convention: Convention) -> tuple[Convention, tuple[str, ...]]:
    """The convention with the likeliest ranges, and a note where that is not [0, 1].

    A network that restores or enlarges gives back what looks like the picture it was given; the
    ranges are those under which it does so best. In doubt it is [0, 1], which most use.
    """
    best, best_error, first = convention, np.inf, np.inf
    name = _PAIRS[0]
    for pair in _PAIRS:
        values, result_values = RANGES[pair[0]], RANGES[pair[1]]
        if _given(convention, values, result_values):
            continue
        tried = replace(convention, values=values, result_values=result_values)
        error = _unlike(probe, tried)
        first = error if first == np.inf else first
        if best_error == np.inf or (best_error > UNLIKE and error < CLEARLY * best_error):
            best, best_error, name = tried, error, pair
    if name == _PAIRS[0] or convention.dtype == "uint8":
        return best, ()
    words = name[0] if name[0] == name[1] else f"{name[0]} in, {name[1]} out"
    note = f"pixel values are taken to be {words}: then its result looks like the picture"
    return best, (f"{note} (mean difference {best_error:.2g}, else {first:.2g}); or say --range",)


def _given(convention: Convention, values: Values, result_values: Values) -> bool:
    """Whether bytes rule this pair out: they are 0 to 255."""
    return (convention.dtype == "uint8" and values != (0, 255)) or (
        convention.result_dtype == "uint8" and result_values != (0, 255)
    )


def _unlike(probe: Probe, convention: Convention) -> float:
    """Mean absolute difference between a picture and the result, shrunk to its size."""
    from genloom_community.probe import ABOUT, example

    size = probe.size.fixed or probe.size.padded(ABOUT, ABOUT)
    picture = example(size, convention.channels)
    try:
        result = convention.run(probe.network, picture, 0.1)
    except GenloomError:
        return np.inf
    return float(np.abs(_shrunk(result, probe.scale) - picture).mean())


def _shrunk(result: Floats, scale: int) -> Floats:
    count, channels, height, width = result.shape
    blocks = result.reshape(count, channels, height // scale, scale, width // scale, scale)
    return np.asarray(blocks.mean(axis=(3, 5)), np.float32)
