"""How near a restored picture is to the true one.

Pictures are H×W×C bytes: what a file would hold is what is judged.
"""

from __future__ import annotations

from collections.abc import Callable

import numpy as np

from genloom.errors import GenloomError
from genloom.likelihood import Doubles
from genloom.types import Array, as_float
from genloom_train.evaluation.similarity import MOST, similarity

LUMA = (0.299, 0.587, 0.114)
"""Weights of red, green and blue in the brightness (ITU-R BT.601)."""

CELLS = 8
"""The spectrum is taken of blocks of so many periods of a grid; between its lines lie so many."""
RING = 3
"""So many lines from one of the grid's are those that it is compared with."""

LEAST = 8
"""Height and width in pixels of what is judged, at least."""

Perceptual = Callable[[Array, Array], float]


def fidelity(
    result: Array, truth: Array, *, border: int = 0, scale: int = 1, lpips: Perceptual | None = None
) -> dict[str, float]:
    """Figures of one picture; docs/evaluation.md defines them.

    Args:
        result: what a method gives.
        truth: the true picture, of the same shape.
        border: pixels that are cut off on each side before anything is compared.
        scale: how many times it was enlarged; from 2 on, a checkerboard is looked for.
        lpips: the network that LPIPS needs, see `genloom_train.evaluation.perceptual`.
    """
    result, truth = (without_border(one, border) for one in (result, truth))
    alike = similarity(as_float(result)[None], as_float(truth)[None])
    found = {"psnr": alike["psnr"]}
    if truth.shape[2] == 3:
        found["psnr_y"] = psnr_y(result, truth)
    found["ssim"] = alike["ssim"]
    if lpips is not None:
        found["lpips"] = lpips(result, truth)
    found["gradient_distance"] = gradient_distance(result, truth)
    if scale > 1 and min(truth.shape[:2]) >= CELLS * scale:
        found["checkerboard"] = grid_energy(result, scale) / grid_energy(truth, scale)
    return found


def least_side(border: int) -> int:
    """Height and width that a picture has at least, if so much is cut off on each side."""
    return LEAST + 2 * border


def without_border(picture: Array, border: int) -> Array:
    """The picture without its outermost pixels.

    Raises:
        GenloomError: when too little would be left.
    """
    height, width = picture.shape[:2]
    if min(height, width) < least_side(border):
        raise GenloomError(
            "the picture is too small to be judged",
            expected=f"at least {least_side(border)} pixels in height and width",
            got=f"{width}×{height}",
            hint="Cut less off: --border 0" if border else "",
        )
    return picture[border : height - border, border : width - border]


def psnr_y(result: Array, truth: Array) -> float:
    """PSNR of Y in dB as papers on super-resolution give it: Y of 16 to 235, a peak of 255."""
    error = (_luma(result) - _luma(truth)) * (219 / 255)
    mean = float(np.mean(error**2))
    return MOST if mean == 0 else min(MOST, float(20 * np.log10(255 / np.sqrt(mean))))


def gradient_distance(result: Array, truth: Array) -> float:
    """How far the distribution of gradients is from that of the true picture; 0 is as sharp.

    The Wasserstein distance of the two distributions of the gradient's size, in 8-bit units: the
    mean difference between values of one rank.
    """
    one, other = (np.sort(_gradients(_luma(picture)), axis=None) for picture in (result, truth))
    return float(np.abs(one - other).mean())


def grid_energy(picture: Array, scale: int) -> float:
    """Energy at the frequencies of a grid of `scale` pixels, relative to that beside them.

    The mean power spectrum of overlapping blocks under Hann's window (Welch 1967). A pattern that
    repeats every `scale` pixels stands out at multiples of 1/`scale`; nothing else need do so.
    """
    size = CELLS * scale
    window = np.hanning(size + 1)[:-1]
    luma = _luma(picture)
    blocks = np.lib.stride_tricks.sliding_window_view(luma, (size, size))
    blocks = blocks[:: size // 2, :: size // 2].reshape(-1, size, size)
    blocks = (blocks - blocks.mean((1, 2), keepdims=True)) * window * window[:, None]
    power = (np.abs(np.fft.fft2(blocks)) ** 2).mean(0) + 1e-9
    lines = [(i * CELLS, j * CELLS) for i in range(scale) for j in range(scale) if i or j]
    return float(np.mean([power[i, j] / _beside(power, i, j) for i, j in lines]))


def _beside(power: Doubles, i: int, j: int) -> float:
    """Mean power on the square ring about a line of the spectrum."""
    reach = range(-RING, RING + 1)
    ring = [(a, b) for a in reach for b in reach if max(abs(a), abs(b)) == RING]
    rows, columns = np.array(ring).T
    return float(power[(i + rows) % len(power), (j + columns) % len(power)].mean())


def _luma(picture: Array) -> Doubles:
    """Brightness in 8-bit units, H×W."""
    if picture.shape[2] == 1:
        return np.asarray(picture[..., 0], np.float64)
    return np.asarray(picture.astype(np.float64) @ np.array(LUMA))


def _gradients(luma: Doubles) -> Doubles:
    return np.hypot(np.diff(luma, axis=0)[:, :-1], np.diff(luma, axis=1)[:-1])
