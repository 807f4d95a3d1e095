"""Resampling."""

from __future__ import annotations

import numpy as np

from genloom.errors import ImageError
from genloom.types import Array

FILTERS = {
    "nearest": "NEAREST",
    "bilinear": "BILINEAR",
    "bicubic": "BICUBIC",
    "lanczos": "LANCZOS",
    "area": "BOX",
}


def resize(pixels: Array, height: int, width: int, filter: str = "lanczos") -> Array:
    """Pixels H×W or H×W×C at another size, antialiased when shrinking (except by `nearest`).

    uint8 and uint16 keep their type, rounded and clamped; floats may overshoot their range.
    Alpha is not looked at: premultiply first where it matters.
    """
    from PIL import Image

    if filter not in FILTERS:
        raise ImageError(f"unknown filter '{filter}'", expected=", ".join(FILTERS))
    if pixels.shape[:2] == (height, width):
        return pixels
    method = Image.Resampling[FILTERS[filter]]

    def plane(values: Array) -> Array:
        image = Image.fromarray(np.ascontiguousarray(values))
        return np.asarray(image.resize((width, height), method))

    if pixels.dtype == np.uint8 and (pixels.ndim == 2 or pixels.shape[2] == 3):
        return plane(pixels)
    if pixels.ndim == 3:
        return np.stack([resize(p, height, width, filter) for p in np.moveaxis(pixels, 2, 0)], 2)
    values = plane(pixels.astype(np.float32, copy=False))
    if pixels.dtype == np.uint16:
        return np.clip(np.rint(values), 0, 65535).astype(np.uint16)
    return values
