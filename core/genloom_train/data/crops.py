"""Random crops of pictures in memory, turned and mirrored, or only mirrored."""

from __future__ import annotations

import itertools
from collections.abc import Iterator, Sequence

import numpy as np

from genloom.types import Array, Floats
from genloom_train.data import Samples, Source, generator

HELD_OUT_SIZE = 192
"""Height and width of the largest validation crop, for families that take any size."""
HELD_OUT_MOST = 32
"""Validation pictures at most, for families that take any size."""
HELD_OUT_CROPS = 2000
"""Validation crops at most, for families of one size."""


class PhotographCrops(Source):
    """Square crops of pictures of any size.

    A batch draws its pictures with a chance in proportion to their area (bounded, so that a few
    huge ones do not rule), and with chance `synthetic_share` from `synthetic` instead. Of `choices`
    crops the one with the most detail is taken: skies and walls are learned soon.
    """

    endless = True

    def __init__(
        self,
        pictures: Sequence[Array],
        held_out: Sequence[Array],
        *,
        crop: int,
        label: Array | None = None,
        held_out_label: Array | None = None,
        labels: Sequence[str] = (),
        synthetic: Sequence[Array] = (),
        synthetic_share: float = 0.0,
        turn: bool = True,
        choices: int = 1,
        description: str = "",
        notes: tuple[str, ...] = (),
    ) -> None:
        self._pictures, self._held_out = list(pictures), list(held_out)
        self._synthetic, self._share = list(synthetic), synthetic_share
        self._weights, self._turn, self._choices = _weights(self._pictures), turn, choices
        self._label, self._held_out_label = label, held_out_label
        self.labels = tuple(labels)
        self.shape = (pictures[0].shape[2], crop, crop)
        self.count = len(self._pictures)
        self.description, self.notes = description, notes

    def batch(self, step: int, size: int, seed: int) -> Samples:
        """Batch number `step`: `size` random crops."""
        random = generator("crops", seed, step)
        crops, which = zip(*(self._crop(random) for _ in range(size)), strict=True)
        label = None if self._label is None else self._label[list(which)].astype(np.int64)
        return Samples(as_images(crops), label)

    def _crop(self, random: np.random.Generator) -> tuple[Array, int]:
        """A crop, and the number of the picture it is of."""
        crop, which = max((self._candidate(random) for _ in range(self._choices)), key=_detail)
        if self._turn:
            crop = np.rot90(crop, int(random.integers(4)))
        return (crop[:, ::-1] if random.integers(2) else crop), which

    def _candidate(self, random: np.random.Generator) -> tuple[Array, int]:
        which = 0
        if self._synthetic and random.random() < self._share:
            picture = self._synthetic[random.integers(len(self._synthetic))]
        else:
            which = int(np.searchsorted(self._weights, random.random()))
            picture = self._pictures[which]
        size = self.shape[1]
        top = random.integers(picture.shape[0] - size + 1)
        left = random.integers(picture.shape[1] - size + 1)
        return picture[top : top + size, left : left + size], which

    def held_out(self, larger: bool = False) -> Samples:
        """Crops of the training's size, all over the held-out pictures.

        `larger`: the middle of each of a few, all of one size, which may be larger.
        """
        if not larger:
            return self._held_out_crops()
        pictures = self._held_out[:HELD_OUT_MOST]
        shortest = min(min(picture.shape[:2]) for picture in pictures)
        size = min(HELD_OUT_SIZE, shortest - shortest % 8 or shortest)
        which = range(len(pictures))
        return self._samples([_middle(picture, size) for picture in pictures], which)

    def _held_out_crops(self) -> Samples:
        size = self.shape[1]
        places = [
            (number, top, left)
            for number, picture in enumerate(self._held_out)
            for top, left in _everywhere(picture, size)
        ]
        most = min(len(places), HELD_OUT_CROPS)
        chosen = [places[index * len(places) // most] for index in range(most)]
        crops = [self._held_out[n][top : top + size, left : left + size] for n, top, left in chosen]
        return self._samples(crops, [number for number, _, _ in chosen])

    def _samples(self, crops: Sequence[Array], which: Sequence[int]) -> Samples:
        label = self._held_out_label
        return Samples(
            as_images(crops), None if label is None else label[list(which)].astype(np.int64)
        )


def _detail(candidate: tuple[Array, int]) -> float:
    """Mean absolute Laplacian of a crop."""
    grey = candidate[0].astype(np.int16).sum(2)
    middle = 4 * grey[1:-1, 1:-1]
    around = grey[2:, 1:-1] + grey[:-2, 1:-1] + grey[1:-1, 2:] + grey[1:-1, :-2]
    return float(np.abs(middle - around).mean())


def _weights(pictures: Sequence[Array]) -> Floats:
    """Cumulated chances of the pictures; the last is 1."""
    areas = np.array([picture.shape[0] * picture.shape[1] for picture in pictures], np.float64)
    bounded = np.minimum(areas, 4 * np.median(areas))
    cumulated = np.cumsum(bounded / bounded.sum())
    cumulated[-1] = 1.0
    return cumulated.astype(np.float32)


def _middle(picture: Array, size: int) -> Array:
    top, left = (picture.shape[0] - size) // 2, (picture.shape[1] - size) // 2
    return picture[top : top + size, left : left + size]


def _everywhere(picture: Array, size: int) -> Iterator[tuple[int, int]]:
    """Top and left of crops a quarter of their size apart; of the middle one, if there is one."""
    step = max(1, size // 4)
    tops, lefts = (
        range((side - size) % step // 2, side - size + 1, step) for side in picture.shape[:2]
    )
    return itertools.product(tops, lefts)


def as_images(crops: Sequence[Array]) -> Floats:
    """H×W×C bytes as one N×C×H×W float32 in [0, 1]."""
    stacked = np.stack(crops).transpose(0, 3, 1, 2)
    images: Floats = np.multiply(
        np.ascontiguousarray(stacked), np.float32(1 / 255), dtype=np.float32
    )
    return images
