"""`grid`: several pictures on one sheet."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Annotated, Literal

import numpy as np
from annotated_types import Ge, Le

from genloom import imaging
from genloom.stage import Cardinality, Run, Stage
from genloom.types import Array, Batch, Floats, ImageInfo, Item, Kind, as_float

Level = Annotated[float, Ge(0), Le(1)]


@dataclass(frozen=True, kw_only=True)
class Grid(Stage):
    """Put pictures on sheets, row by row, in the order they came in.

    Args:
        columns: pictures in a row; unless said, as many as make the sheet about square.
        max_items: pictures on one sheet; more begin another sheet.
        cell: longest side of a picture on the sheet in pixels; larger ones are shrunk.
        gap: pixels between pictures and around them.
        background: grey level between and behind pictures, 0 black to 1 white.
        group: one series of sheets for all items, or one for each folder.
        allow_missing: whether to go on without items that failed.
    """

    name, takes, gives = "grid", Kind.IMAGE, Kind.IMAGE
    cardinality = Cardinality.MANY_TO_ONE
    columns: Annotated[int, Ge(1), Le(100)] | None = None
    max_items: Annotated[int, Ge(1), Le(1000)] = 100
    cell: Annotated[int, Ge(1), Le(4096)] = 256
    gap: Annotated[int, Ge(0), Le(100)] = 4
    background: Level = 1.0
    group: Literal["all", "folder"] = "all"
    allow_missing: bool = False

    def most(self) -> int:
        """Pictures on one sheet."""
        return self.max_items

    def __call__(self, batch: Batch, run: Run) -> Batch:
        """Shrink pictures to their cell as they come, so that a sheet never holds large ones."""
        if any(item.alpha is not None for item in batch.items):
            flat = np.stack([flattened(one, self.background) for one in batch])
            opaque = [item.bare() for item in batch.items]
            batch = batch.with_items(opaque).with_pixels(flat)
        height, width = batch.size
        factor = self.cell / max(height, width)
        if factor >= 1:
            return batch
        size = max(1, round(height * factor)), max(1, round(width * factor))
        return batch.with_pixels(
            np.stack([imaging.resize(one, *size, "lanczos") for one in batch.pixels])
        )

    def gather(self, members: Sequence[Batch], item: Item, run: Run) -> Batch:
        """One sheet."""
        pictures = [flattened(member, self.background) for member in members]
        height = max(picture.shape[0] for picture in pictures)
        width = max(picture.shape[1] for picture in pictures)
        square = math.ceil(math.sqrt(len(pictures) * height / width))
        columns = min(self.columns or square, len(pictures))
        rows = math.ceil(len(pictures) / columns)
        channels = max(picture.shape[2] for picture in pictures)
        sheet = np.full(
            (
                rows * (height + self.gap) + self.gap,
                columns * (width + self.gap) + self.gap,
                channels,
            ),
            self.background,
            np.float32,
        )
        for index, picture in enumerate(pictures):
            row, column = divmod(index, columns)
            h, w = picture.shape[:2]
            top = self.gap + row * (height + self.gap) + (height - h) // 2
            left = self.gap + column * (width + self.gap) + (width - w) // 2
            sheet[top : top + h, left : left + w] = np.clip(picture, 0, 1)
        return Batch.images([_described(item, members)], sheet[None])


def _described(item: Item, members: Sequence[Batch]) -> Item:
    """The item of a sheet, with what all its pictures have in common."""
    infos = [member.items[0].info for member in members]
    profiles = {info.icc for info in infos}
    if len(profiles) > 1:
        item = item.noting("its pictures have several colour profiles; the sheet has none")
    icc = profiles.pop() if len(profiles) == 1 else None
    return replace(item, info=ImageInfo(bits=max(min(info.bits, 16) for info in infos), icc=icc))


def flattened(one: Batch, background: float) -> Floats:
    """The one picture of a batch as floats H×W×C, its transparent parts over a grey level."""
    (item,) = one.items
    floats = as_float(one.pixels[0])
    if item.alpha is None:
        return floats
    alpha = item.alpha
    if alpha.shape != floats.shape[:2]:
        alpha = imaging.resize(alpha, floats.shape[0], floats.shape[1], "bilinear")
    weight = as_float(alpha)[..., None]
    return floats * weight + np.float32(background) * (1 - weight)


def grey_as_colour(picture: Array, channels: int) -> Array:
    """Grey as colour, where there are colours beside it."""
    return np.repeat(picture, channels, axis=2) if picture.shape[2] < channels else picture
