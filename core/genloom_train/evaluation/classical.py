"""Methods that people use without a trained network, for the same table.

Pictures are H×W×C bytes, C is 1 or 3, and so are results. Nothing is tuned to a picture: each
method is told the noise level, and the rest follows from a rule.
"""

from __future__ import annotations

from collections.abc import Callable
from importlib.util import find_spec
from typing import Any

import numpy as np

from genloom import imaging
from genloom.types import Array

Denoiser = Callable[[Array, float], Array]
"""Takes a noisy picture and σ in 8-bit units."""
Enlarger = Callable[[Array, int], Array]
"""Takes a small picture and how many times height and width are enlarged."""

STRENGTH = 0.65
"""h / σ of non-local means: of 0.4, 0.5 … 1.1 the best for σ from 15 to 50 lie at 0.6 and 0.7."""
PATCH, WINDOW = 7, 21
"""Sides of a patch and of the window in which non-local means looks for others, as recommended."""


def denoisers(channels: int = 3) -> tuple[dict[str, Denoiser], list[str]]:
    """The methods at hand for pictures of so many channels by name, and in words which are not."""
    found: dict[str, Denoiser] = {"noisy": noisy, "non-local means": non_local_means}
    notes = []
    for name, method, packages in (
        ("wavelet", wavelet, ("scikit-image", "PyWavelets")),
        ("BM3D" if channels == 1 else "CBM3D", cbm3d, ("bm3d",)),
    ):
        lacking = [package for package in packages if find_spec(MODULES[package]) is None]
        if lacking:
            notes.append(f"{name} is left out: {' and '.join(lacking)} not installed")
        else:
            found[name] = method
    return found, notes


MODULES = {"scikit-image": "skimage", "PyWavelets": "pywt", "bm3d": "bm3d"}
"""Name of the module that a package brings."""


def enlargers() -> dict[str, Enlarger]:
    """Pillow's filters by name."""
    return {"bicubic": bicubic, "Lanczos": lanczos}


def noisy(picture: Array, sigma: float) -> Array:
    """The picture as it is: what a method has to be better than."""
    return picture


def non_local_means(picture: Array, sigma: float) -> Array:
    """OpenCV's non-local means (Buades et al. 2005, 2011), h = `STRENGTH` · σ for every channel."""
    import cv2

    h = STRENGTH * sigma
    if picture.shape[2] == 1:
        return _whole(cv2.fastNlMeansDenoising(picture, None, h, PATCH, WINDOW))
    # It works in Lab after taking the first channel for blue.
    bgr = np.ascontiguousarray(picture[..., ::-1])
    result: Any = cv2.fastNlMeansDenoisingColored(bgr, None, h, h, PATCH, WINDOW)
    return np.ascontiguousarray(result[..., ::-1])


def wavelet(picture: Array, sigma: float) -> Array:
    """Soft thresholds on wavelet coefficients: BayesShrink (Chang et al. 2000) in scikit-image."""
    from skimage.restoration import denoise_wavelet

    if sigma == 0:
        return picture
    said: dict[str, Any] = {"sigma": sigma / 255, "method": "BayesShrink", "mode": "soft"}
    if picture.shape[2] == 3:
        said |= {"convert2ycbcr": True, "channel_axis": -1}
    return _whole(_bytes(denoise_wavelet(_unit(picture).squeeze(), rescale_sigma=True, **said)))


def cbm3d(picture: Array, sigma: float) -> Array:
    """(C)BM3D (Dabov et al. 2007) in the package `bm3d` of its authors; its licence is not free.

    It divides by σ; at 0 there is nothing to do.
    """
    if sigma == 0:
        return picture
    import bm3d

    if picture.shape[2] == 1:
        return _whole(_bytes(bm3d.bm3d(_unit(picture)[..., 0], sigma / 255)))
    return _bytes(bm3d.bm3d_rgb(_unit(picture), sigma / 255))


def bicubic(picture: Array, scale: int) -> Array:
    """Pillow's bicubic filter (a = −0.5)."""
    return _enlarged(picture, scale, "bicubic")


def lanczos(picture: Array, scale: int) -> Array:
    """Pillow's Lanczos filter of three lobes."""
    return _enlarged(picture, scale, "lanczos")


def _enlarged(picture: Array, scale: int, filter: str) -> Array:
    height, width = picture.shape[0] * scale, picture.shape[1] * scale
    return imaging.resize(picture, height, width, filter)


def _unit(picture: Array) -> Array:
    return picture.astype(np.float64) / 255


def _bytes(values: Any) -> Array:
    return np.asarray(np.clip(np.rint(np.asarray(values) * 255), 0, 255), np.uint8)


def _whole(picture: Any) -> Array:
    """With a last axis for the channels."""
    array = np.asarray(picture)
    return array[..., None] if array.ndim == 2 else array
