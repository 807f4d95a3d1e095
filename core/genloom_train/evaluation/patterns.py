"""Patterns that repeat with the small pixels a picture was enlarged from: grids, dotted lines.

Pictures are H×W×C bytes.
"""

from __future__ import annotations

import numpy as np

from genloom.likelihood import Doubles
from genloom.types import Array

LUMA = (0.299, 0.587, 0.114)
"""Weights of red, green and blue in the brightness (ITU-R BT.601)."""

CELLS = 8
"""Spectra are taken of so many periods of a pattern; between its frequencies lie so many."""
RING = 3
"""So many lines of the spectrum from one of the grid's are those that it is compared with."""

DIRECTIONS = ((0, 1), (1, 0), (1, 1), (1, -1))
"""Rows and columns that one step leads down and to the right: along, down, and both diagonals."""
BESIDE = (2, 3)
"""So many frequencies from one of a line's are those that it is compared with."""
STRIP = 4
"""So many neighbouring lines are taken together."""
WORST = 0.02
"""The share of strips by which dotted lines are judged."""
LEVEL = 1.0
"""Added to the power of a strip: that of noise of one level in 255, which no eye sees."""


def luma(picture: Array) -> Doubles:
    """Brightness in 8-bit units, H×W."""
    if picture.shape[2] == 1:
        return np.asarray(picture[..., 0], np.float64)
    return np.asarray(picture.astype(np.float64) @ np.array(LUMA))


def grid_energy(picture: Array, scale: int) -> float:
    """Energy at the frequencies of a grid of `scale` pixels, relative to that beside them.

    The mean power spectrum of overlapping blocks under Hann's window (Welch 1967). A pattern that
    repeats every `scale` pixels stands out at multiples of 1/`scale`; nothing else need do so.
    """
    size = CELLS * scale
    window = np.hanning(size + 1)[:-1]
    blocks = np.lib.stride_tricks.sliding_window_view(luma(picture), (size, size))
    blocks = blocks[:: size // 2, :: size // 2].reshape(-1, size, size)
    blocks = (blocks - blocks.mean((1, 2), keepdims=True)) * window * window[:, None]
    power = (np.abs(np.fft.fft2(blocks)) ** 2).mean(0) + 1e-9
    lines = [(i * CELLS, j * CELLS) for i in range(scale) for j in range(scale) if i or j]
    return float(np.mean([power[i, j] / _around(power, i, j) for i, j in lines]))


def _around(power: Doubles, i: int, j: int) -> float:
    """Mean power on the square ring about a line of the spectrum."""
    reach = range(-RING, RING + 1)
    ring = [(a, b) for a in reach for b in reach if max(abs(a), abs(b)) == RING]
    rows, columns = np.array(ring).T
    return float(power[(i + rows) % len(power), (j + columns) % len(power)].mean())


def dotted_lines(result: Array, truth: Array, scale: int) -> float:
    """How much stands out what repeats every `scale` pixels along lines, where it is worst.

    Rows, columns and diagonals are cut to pieces of `CELLS` periods, which overlap by half, and
    `STRIP` neighbours make a strip. Of each strip: the power at multiples of 1/`scale` over that
    beside them, or over the power at those multiples that the true picture has there or in the next
    strip if that is more, as in texture; then the mean over the worst strips. The true picture
    itself gets 1 or less. The spectrum of a whole picture does not show dots beside a few edges,
    since there is texture elsewhere.
    """
    found = []
    for down, right in DIRECTIONS:
        repeats, others = _powers(luma(result), scale, down, right)
        true, _ = _powers(luma(truth), scale, down, right)
        usual = np.maximum(others, _near(true)).sum(-1) + LEVEL
        found.append(((repeats.sum(-1) + LEVEL) / usual).ravel())
    strips = np.concatenate(found)
    worst = max(1, round(WORST * len(strips)))
    return float(np.partition(strips, -worst)[-worst:].mean())


def _powers(grey: Doubles, scale: int, down: int, right: int) -> tuple[Doubles, Doubles]:
    """Of each strip: powers at multiples of 1/`scale`, Hann's window, and the means beside them."""
    size = CELLS * scale
    window = np.hanning(size + 1)[:-1]
    pieces = _pieces(grey, size, down, right)
    pieces = (pieces - pieces.mean(-1, keepdims=True)) * window
    power = np.abs(np.fft.fft(pieces)) ** 2 / np.square(window).sum()
    power = power.reshape(len(power) // STRIP, STRIP, *power.shape[1:]).mean(1)
    at = CELLS * np.arange(1, scale // 2 + 1)
    beside = np.stack([at + sign * step for step in BESIDE for sign in (-1, 1)])
    return power[..., at], power[..., beside].mean(-2)


def _near(power: Doubles) -> Doubles:
    """The most of each strip and its two neighbours."""
    padded = np.concatenate([power[:1], power, power[-1:]])
    return np.asarray(np.maximum(power, np.maximum(padded[:-2], padded[2:])))


def _pieces(grey: Doubles, size: int, down: int, right: int) -> Doubles:
    """Pieces of all lines in one direction: lines × pieces × size, lines a multiple of `STRIP`."""
    if right < 0:
        grey, right = np.ascontiguousarray(grey[:, ::-1]), -right
    height, width = (
        side - (size - 1) * step for side, step in zip(grey.shape, (down, right), strict=True)
    )
    low, beside = grey.strides
    strides = (low, beside, down * low + right * beside)
    pieces = np.lib.stride_tricks.as_strided(grey, (height, width, size), strides, writeable=False)
    lines = pieces[:: size // 2].transpose(1, 0, 2) if down else pieces[:, :: size // 2]
    return lines[: len(lines) // STRIP * STRIP]
