"""Resampling."""

from __future__ import annotations

import numpy as np

from genloom import scratch
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
        size = (height, width, *values.shape[2:])
        if not scratch.is_large(size, values.dtype):
            return np.asarray(image.resize((width, height), method))
        result, step = scratch.zeros(size, values.dtype), values.shape[0] / height
        wide = image.resize((width, image.height), method)
        del image
        for rows in scratch.row_slices(height, result.nbytes):
            # What lies beyond a box is seen all the same, so that strips join without a seam.
            box = (0, rows.start * step, width, rows.stop * step)
            result[rows] = np.asarray(wide.resize((width, rows.stop - rows.start), method, box))
            scratch.release(result)
        return result

    if pixels.dtype == np.uint8 and (pixels.ndim == 2 or pixels.shape[2] == 3):
        return plane(pixels)
    if pixels.ndim == 3:
        return np.stack([resize(p, height, width, filter) for p in np.moveaxis(pixels, 2, 0)], 2)
    values = plane(pixels.astype(np.float32, copy=False))
    if pixels.dtype == np.uint16:
        return np.clip(np.rint(values), 0, 65535).astype(np.uint16)
    return values
