"""`compare`: before and after on one sheet, and the same part of both enlarged."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Annotated, Literal

import numpy as np
from annotated_types import Ge, Le

from genloom import imaging
from genloom.errors import StageError
from genloom.stage import Run, Stage
from genloom.stages.sheet import flattened, grey_as_colour
from genloom.types import Batch, Floats, ImageInfo, Item, Kind

LINE = 2
"""Pixels of the line between the halves of a split picture."""


@dataclass(frozen=True, kw_only=True)
class Compare(Stage):
    """Put each picture beside the file it was made from: before on the left, after on the right.

    Args:
        gap: pixels between the two.
        layout: `side` by side; `stacked`, before above after; or `split`: one picture, its left
            half before and its right half after, a line between.
        zoom: shows a part of both enlarged so many times below, every pixel a square, and a frame
            about the part; 0 shows none.
        crop: height of that part in pixels; it is as wide as fits below the picture.
        at: x and y of its middle, in pixels of the result; unless said, where the result
            has the most detail.
    """

    name, takes, gives = "compare", Kind.IMAGE, Kind.IMAGE
    gap: Annotated[int, Ge(0), Le(100)] = 4
    layout: Literal["side", "stacked", "split"] = "side"
    zoom: Annotated[int, Ge(0), Le(32)] = 0
    crop: Annotated[int, Ge(4), Le(4096)] = 64
    at: tuple[Annotated[int, Ge(0)], Annotated[int, Ge(0)]] | None = None

    def __call__(self, batch: Batch, run: Run) -> Batch:
        """Compare each picture of a batch with its source."""
        sheets = [self._sheet(*_before_and_after(one)) for one in batch]
        items = [replace(item.bare(), info=_sheet_info(item.info)) for item in batch.items]
        return batch.with_items(items).with_pixels(np.stack(sheets))

    def _sheet(self, before: Floats, after: Floats) -> Floats:
        if not self.zoom:
            return self._joined(before, after)
        place = self._place(after)
        sides = [imaging.outlined(side, place) for side in (before, after)]
        closer = [np.asarray(imaging.enlarged(side, place, self.zoom)) for side in (before, after)]
        if self.layout == "split":
            below = _one_after_another(closer, LINE, axis=1)
        else:
            below = _one_after_another(closer, self.gap, axis=self._axis)
        return _one_after_another([self._joined(*sides), below], self.gap, axis=0)

    @property
    def _axis(self) -> int:
        return 0 if self.layout == "stacked" else 1

    def _place(self, after: Floats) -> imaging.Place:
        """The part that is enlarged."""
        width = after.shape[1]
        if self.layout == "split":
            width = (width - LINE) // 2
        size = self.crop, max(1, width // self.zoom)
        if self.at is not None:
            return imaging.around(after, *self.at, *size)
        (place,) = imaging.most_detailed(after, *size)
        return place

    def _joined(self, before: Floats, after: Floats) -> Floats:
        """The two pictures on one."""
        if self.layout != "split":
            return _one_after_another([before, after], self.gap, axis=self._axis)
        width = after.shape[1]
        middle = width // 2
        line = min(LINE, width - middle)
        return _one_after_another([before[:, :middle], after[:, middle + line :]], line, axis=1)


def _before_and_after(one: Batch) -> tuple[Floats, Floats]:
    """Both pictures of a batch of one, in the size of the second and with as many channels."""
    (item,) = one.items
    if item.source is None:
        raise StageError(
            "there is no before to compare with",
            expected="pictures that were loaded from files",
            got=item.key,
        )
    picture = imaging.read(item.source)
    before_item = replace(item, alpha=picture.alpha)
    before = _cropped(flattened(Batch.images([before_item], picture.pixels[None]), 1.0), item)
    after = flattened(one, 1.0)
    height, width, channels = after.shape
    if before.shape[:2] != (height, width):
        before = imaging.resize(before, height, width, "bicubic")
    channels = max(channels, before.shape[2])
    return grey_as_colour(before, channels), grey_as_colour(after, channels)


def _one_after_another(pictures: Sequence[Floats], gap: int, *, axis: int) -> Floats:
    """Pictures along an axis with white between, and beside those that are smaller."""
    longest = max(picture.shape[1 - axis] for picture in pictures)
    parts: list[Floats] = []
    for picture in pictures:
        room = [(0, 0)] * 3
        room[1 - axis] = (0, longest - picture.shape[1 - axis])
        room[axis] = (gap if parts else 0, 0)
        parts.append(np.pad(picture, room, constant_values=1))
    return np.concatenate(parts, axis=axis)


def _cropped(picture: Floats, item: Item) -> Floats:
    """The part of a source that an item still shows."""
    rows, columns = picture.shape[:2]
    top, left, height, width = item.part
    y, x = min(round(top * rows), rows - 1), min(round(left * columns), columns - 1)
    return picture[
        y : max(y + 1, round((top + height) * rows)),
        x : max(x + 1, round((left + width) * columns)),
    ]


def _sheet_info(info: ImageInfo) -> ImageInfo:
    """What still holds for a sheet: not the EXIF of one picture, nor its palette."""
    return ImageInfo(format=info.format, bits=min(info.bits, 16), icc=info.icc)
