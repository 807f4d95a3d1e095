"""How near a restored picture is to the true one.

Pictures are H×W×C bytes: what a file would hold is what is judged.
"""

from __future__ import annotations

from collections.abc import Callable

import numpy as np

from genloom.errors import GenloomError
from genloom.likelihood import Doubles
from genloom.types import Array, as_float
from genloom_train.evaluation.patterns import CELLS, dotted_lines, grid_energy, luma
from genloom_train.evaluation.similarity import MOST, similarity

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
        scale: how many times it was enlarged; from 2 on, patterns of that period are looked for.
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
        found["dotted"] = dotted_lines(result, truth, scale)
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
    error = (luma(result) - luma(truth)) * (219 / 255)
    mean = float(np.mean(error**2))
    return MOST if mean == 0 else min(MOST, float(20 * np.log10(255 / np.sqrt(mean))))


def gradient_distance(result: Array, truth: Array) -> float:
    """How far the distribution of gradients is from that of the true picture; 0 is as sharp.

    The Wasserstein distance of the two distributions of the gradient's size, in 8-bit units: the
    mean difference between values of one rank.
    """
    one, other = (np.sort(_gradients(luma(picture)), axis=None) for picture in (result, truth))
    return float(np.abs(one - other).mean())


def _gradients(grey: Doubles) -> Doubles:
    return np.hypot(np.diff(grey, axis=0)[:, :-1], np.diff(grey, axis=1)[:-1])
