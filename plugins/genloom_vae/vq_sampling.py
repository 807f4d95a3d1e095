"""Codes drawn one after the other from an autoregressive prior, in numpy."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

import numpy as np
from numpy.typing import NDArray

from genloom.types import Array

Codes = NDArray[np.int64]
Doubles = NDArray[np.float64]

Logits = Callable[[Codes], Array]
"""Codes N×length → logits N×length×entries; those of a place depend on codes before it only."""


def draw(logits: Logits, uniform: Doubles, temperature: float, mass: float) -> Codes:
    """Codes N×length, each chosen by one number of `uniform`, N×length in [0, 1).

    Args:
        logits: the prior.
        uniform: the chance, drawn beforehand.
        temperature: divides the logits; 0 takes the likeliest code.
        mass: of the likeliest codes that are drawn from, see `choose`.
    """
    codes = np.zeros(uniform.shape, np.int64)
    for place in range(uniform.shape[1]):
        here = np.asarray(logits(codes)[:, place], np.float64)
        codes[:, place] = choose(here, uniform[:, place], temperature, mass)
    return codes


def choose(logits: Doubles, uniform: Doubles, temperature: float, mass: float) -> Codes:
    """One code for each row of logits, by inversion of the cumulated chances; N×entries → (N,).

    With `mass` below 1, only the likeliest codes that together have that much are left: the
    nucleus of Holtzman et al. (2020). At least one is.
    """
    if temperature == 0:
        return np.asarray(logits.argmax(axis=1), np.int64)
    scaled = (logits - logits.max(axis=1, keepdims=True)) / temperature
    chances: Any = np.exp(scaled)
    chances /= chances.sum(axis=1, keepdims=True)
    if mass < 1:
        order = np.argsort(-chances, axis=1, kind="stable")
        ordered = np.take_along_axis(chances, order, axis=1)
        before = np.cumsum(ordered, axis=1) - ordered
        np.put_along_axis(chances, order, np.where(before < mass, ordered, 0), axis=1)
    cumulated = np.cumsum(chances, axis=1)
    reached = cumulated > uniform[:, None] * cumulated[:, -1:]
    return np.asarray(reached.argmax(axis=1), np.int64)


def central_mass(truncation: float | None) -> float:
    """How much of a standard normal lies within ±truncation: 1 for None.

    This is what `truncation` means to a prior over codes: it keeps the likeliest codes of the mass
    that the same number keeps of a Gaussian prior, so that one number tames models of both kinds.
    """
    return 1.0 if truncation is None else math.erf(truncation / math.sqrt(2))
