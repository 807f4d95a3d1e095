"""The true pictures that restoration is measured on: files of a folder, or held-out pictures."""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from genloom.catalog import Catalog
from genloom.demo import PHOTOGRAPHS
from genloom.errors import GenloomError
from genloom.types import Array, as_dtype
from genloom_train.data.files import decoded, picture_files
from genloom_train.evaluation.patterns import LUMA
from genloom_train.evaluation.real import open_source


@dataclass(frozen=True)
class Photograph:
    """A true picture.

    Attributes:
        name: path below the folder; it seeds what is done to the picture.
        pixels: H×W×C bytes.
    """

    name: str
    pixels: Array


@dataclass(frozen=True, kw_only=True)
class Wanted:
    """Which pictures, and how much of them.

    Attributes:
        dataset: data set whose held-out pictures are taken; without one, every picture in `data`.
        options: of the data set, as `option=value`.
        data: a folder; the demo's photographs, unless it or a data set is named.
        count: pictures at most, evenly spread; all of them unless said.
        seed: of the data set.
        crop: only the middle of each, so many pixels in height and width.
        channels: 1 takes them as grey pictures.
        multiple: height and width are cut to multiples of this.
        least: pictures that are then smaller than this are left out.
    """

    dataset: str | None = None
    options: tuple[str, ...] = ()
    data: Path | None = None
    count: int | None = None
    seed: int = 0
    crop: int | None = None
    channels: int = 3
    multiple: int = 1
    least: int = 1


class Photographs:
    """True pictures one by one: only one is in memory at a time.

    Attributes:
        name: how figures on them are called.
        description: where they come from.
        notes: what was left out; complete after a pass.
    """

    def __init__(self, wanted: Wanted, catalog: Catalog) -> None:
        self._wanted = wanted
        self._held_out: Sequence[Array] | None = None
        self.notes: list[str] = []
        if wanted.dataset is not None:
            self._of_a_data_set(wanted.dataset, catalog)
        else:
            self._of_a_folder(wanted.data or PHOTOGRAPHS)

    def __iter__(self) -> Iterator[Photograph]:
        for name in self._names:
            picture = self._read(name)
            if picture is None:
                self.notes.append(f"{name} is left out: not a readable picture")
                continue
            picture = _middle(picture, self._wanted.crop, self._wanted.multiple)
            if min(picture.shape[:2]) < self._wanted.least:
                self.notes.append(self._too_small(name, picture))
                continue
            yield Photograph(name, np.ascontiguousarray(picture))

    def _too_small(self, name: str, picture: Array) -> str:
        height, width = picture.shape[:2]
        least = self._wanted.least
        return f"{name} is left out: it is too small, {width}×{height}; at least {least}×{least}"

    def _of_a_data_set(self, name: str, catalog: Catalog) -> None:
        wanted = self._wanted
        source = open_source(name, wanted.options, wanted.data, wanted.seed, catalog)
        pictures = source.held_out(larger=True).image.transpose(0, 2, 3, 1)
        self._held_out = [as_dtype(picture, np.uint8) for picture in pictures]
        self.name, self.description = name, f"{source.description}; what was held out"
        self._names = self._some([f"{number:06d}" for number in range(len(pictures))])

    def _of_a_folder(self, folder: Path) -> None:
        if self._wanted.options:
            raise GenloomError(
                "options are for data sets, and none is named",
                got=", ".join(self._wanted.options),
                where="--set",
                hint="Name one: --dataset NAME",
            )
        if not folder.is_dir():
            raise GenloomError("the folder of pictures is not there", where=str(folder))
        self._folder = folder
        names = [path.relative_to(folder).as_posix() for path in picture_files(folder)]
        if not names:
            raise GenloomError("the folder holds no pictures", where=str(folder))
        self.name = folder.resolve().name
        self.description = f"pictures of the folder '{self.name}'"
        self._names = self._some(names)

    def _some(self, names: list[str]) -> list[str]:
        count = self._wanted.count
        if count is None or count >= len(names):
            return names
        return [names[index * len(names) // count] for index in range(count)]

    def _read(self, name: str) -> Array | None:
        channels = self._wanted.channels
        if self._held_out is None:
            return decoded(self._folder / name, "grey" if channels == 1 else "rgb")
        picture = self._held_out[int(name)]
        if picture.shape[2] == channels:
            return picture
        if channels == 3:
            return picture.repeat(3, axis=2)
        return np.asarray(np.rint(picture @ np.array(LUMA))[..., None], np.uint8)


def _middle(picture: Array, crop: int | None, multiple: int) -> Array:
    """The middle of a picture, at most `crop` in height and width, in multiples of `multiple`."""
    most = math.inf if crop is None else crop
    height, width = (int(min(side, most)) // multiple * multiple for side in picture.shape[:2])
    top, left = (picture.shape[0] - height) // 2, (picture.shape[1] - width) // 2
    return picture[top : top + height, left : left + width]
