"""`resize` and `crop`."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Annotated, Literal

import numpy as np
from annotated_types import Ge, Gt, Le

from genloom import imaging
from genloom.errors import StageError
from genloom.stage import Box, Run, Stage
from genloom.types import Array, Batch, Kind, as_dtype, as_float

Side = Annotated[int, Ge(1), Le(100_000)]
Filter = Literal["nearest", "bilinear", "bicubic", "lanczos", "area"]


@dataclass(frozen=True, kw_only=True)
class Resize(Stage):
    """Change the size. Give one of: `width` and/or `height`, `long_side`, `short_side`, `scale`.

    Args:
        width: in pixels; alone, the height follows.
        height: in pixels; alone, the width follows.
        long_side: length of the longer side in pixels.
        short_side: length of the shorter side in pixels.
        scale: factor for both sides.
        enlarge: whether pictures that are smaller already are enlarged.
        filter: how pixels are weighed; all but `nearest` are antialiased when shrinking.
    """

    name, takes, gives = "resize", Kind.IMAGE, Kind.IMAGE
    width: Side | None = None
    height: Side | None = None
    long_side: Side | None = None
    short_side: Side | None = None
    scale: Annotated[float, Gt(0), Le(64)] | None = None
    enlarge: bool = True
    filter: Filter = "lanczos"

    def __post_init__(self) -> None:
        given = [
            self.width is not None or self.height is not None,
            self.long_side is not None,
            self.short_side is not None,
            self.scale is not None,
        ]
        if sum(given) != 1:
            raise ValueError(
                "resize needs exactly one of: width and/or height, long_side, short_side, scale"
            )

    def __call__(self, batch: Batch, run: Run) -> Batch:
        """Resize the pictures of a batch."""
        height, width = self.target(*batch.size)
        if (height, width) == batch.size:
            return batch
        if height * width > imaging.MAX_PIXELS:
            raise StageError(
                "the picture would become too large",
                expected=f"at most {imaging.MAX_PIXELS} pixels",
                got=f"{width}×{height}",
            )
        return batch.with_pixels(np.stack([self._resized(one, height, width) for one in batch]))

    def _resized(self, one: Batch, height: int, width: int) -> Array:
        """One picture at another size; where it is transparent, its colour counts for less."""
        (item,) = one.items
        pixels = one.pixels[0]
        resized = imaging.resize(pixels, height, width, self.filter)
        if item.alpha is None or self.filter == "nearest":
            return resized
        weight = as_float(item.alpha)[..., None]
        weighted = imaging.resize(as_float(pixels) * weight, height, width, self.filter)
        opacity = imaging.resize(weight, height, width, self.filter)
        seen = opacity > 1 / 512
        colours = np.where(seen, weighted / np.where(seen, opacity, 1), as_float(resized))
        return as_dtype(colours.astype(np.float32), pixels.dtype)

    def target(self, height: int, width: int) -> tuple[int, int]:
        """Height and width that a picture of this size gets."""
        if self.width is not None and self.height is not None:
            new = (float(self.height), float(self.width))
        else:
            factor = self._factor(height, width)
            new = (height * factor, width * factor)
        if not self.enlarge and new[0] * new[1] > height * width:
            return height, width
        return max(1, round(new[0])), max(1, round(new[1]))

    def _factor(self, height: int, width: int) -> float:
        if self.scale is not None:
            return self.scale
        if self.width is not None:
            return self.width / width
        if self.height is not None:
            return self.height / height
        if self.long_side is not None:
            return self.long_side / max(height, width)
        return (self.short_side or 1) / min(height, width)


@dataclass(frozen=True, kw_only=True)
class Crop(Stage):
    """Keep a part of each picture: at most `width` × `height`, or the largest part of an `aspect`.

    Args:
        width: in pixels; pictures that are narrower keep their width.
        height: in pixels; pictures that are lower keep their height.
        aspect: width over height, such as 1.0 for a square.
        anchor: which part is kept.
    """

    name, takes, gives = "crop", Kind.IMAGE, Kind.IMAGE
    width: Side | None = None
    height: Side | None = None
    aspect: Annotated[float, Gt(0.01), Le(100)] | None = None
    anchor: Literal[
        "centre", "top", "bottom", "left", "right",
        "top-left", "top-right", "bottom-left", "bottom-right",
    ] = "centre"  # fmt: skip

    def __post_init__(self) -> None:
        sides = self.width is not None or self.height is not None
        if sides == (self.aspect is not None):
            raise ValueError("crop needs width and/or height, or aspect")

    def __call__(self, batch: Batch, run: Run) -> Batch:
        """Crop the pictures of a batch."""
        top, left, height, width = self.crop_box(*batch.size)
        rows, columns = batch.size
        box = top / rows, left / columns, height / rows, width / columns
        batch = batch.with_items([item.cropped(*box) for item in batch.items])
        return batch.with_pixels(batch.pixels[:, top : top + height, left : left + width])

    def crop_box(self, height: int, width: int) -> Box:
        """The part that is kept: top, left, height, width."""
        if self.aspect is not None:
            new_width = min(width, max(1, round(height * self.aspect)))
            new_height = min(height, max(1, round(width / self.aspect)))
        else:
            new_width = min(width, self.width or width)
            new_height = min(height, self.height or height)
        spare_y, spare_x = height - new_height, width - new_width
        top = 0 if "top" in self.anchor else spare_y if "bottom" in self.anchor else spare_y // 2
        left = 0 if "left" in self.anchor else spare_x if "right" in self.anchor else spare_x // 2
        return top, left, new_height, new_width
