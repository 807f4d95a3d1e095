"""The colours of pixels that nobody sees, where a network would see them."""

from __future__ import annotations

import numpy as np

from genloom import scratch
from genloom.types import Array

REACH = 16
"""Pixels by which colours are continued: beyond that, what networks see changes little."""

_BESIDE = ((-1, 0), (1, 0), (0, -1), (0, 1))
"""Rows and columns to the pixels beside one."""


def continued(pixels: Array, alpha: Array | None) -> Array:
    """Pixels H×W×C with the colours beside a cut-out part continued into what is transparent.

    Files often hold black there, which a network takes for an edge of the picture, and draws a dark
    rim on the visible side of it. Only pixels of opacity 0 change, each to the mean of those of its
    four neighbours that have a colour, up to `REACH` pixels away.

    Args:
        pixels: of any type.
        alpha: opacity, H×W; None for a picture without.
    """
    if alpha is None or alpha.all() or not alpha.any():
        return pixels
    result = scratch.zeros(pixels.shape, pixels.dtype)
    for rows in scratch.row_slices(len(pixels), pixels.nbytes):
        top = max(0, rows.start - REACH)  # what is further away plays no part
        near = slice(top, rows.stop + REACH)
        result[rows] = _reached(pixels[near], alpha[near])[rows.start - top :][: len(result[rows])]
        scratch.release(result, pixels, alpha)
    return result


def _reached(pixels: Array, alpha: Array) -> Array:
    """The same for rows of which some lie before and behind."""
    result = pixels.copy()
    coloured = np.pad(alpha > 0, 1)
    for _ in range(REACH):
        places = _edge(coloured)
        result[places] = _means(result, coloured, *places)
        coloured[1:-1, 1:-1][places] = True
    return result


def _edge(coloured: Array) -> tuple[Array, Array]:
    """Rows and columns of the pixels without a colour beside one that has one."""
    inner = coloured[1:-1, 1:-1]
    near = coloured[:-2, 1:-1] | coloured[2:, 1:-1] | coloured[1:-1, :-2] | coloured[1:-1, 2:]
    rows, columns = (near & ~inner).nonzero()
    return rows, columns


def _means(pixels: Array, coloured: Array, rows: Array, columns: Array) -> Array:
    """Mean colours of the coloured neighbours of some pixels, P×C."""
    height, width = pixels.shape[:2]
    total = np.zeros((len(rows), pixels.shape[2]), np.float32)
    count = np.zeros((len(rows), 1), np.float32)
    for down, across in _BESIDE:
        row, column = rows + down, columns + across
        counts = coloured[row + 1, column + 1][:, None]
        there = pixels[row.clip(0, height - 1), column.clip(0, width - 1)]
        total += np.where(counts, there, 0)
        count += counts
    means = total / count
    return np.rint(means) if np.issubdtype(pixels.dtype, np.integer) else means
