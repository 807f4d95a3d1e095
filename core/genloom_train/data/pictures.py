"""Whole pictures of one size in memory, with or without labels."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from genloom.types import Array, Floats
from genloom_train.data import Samples, Source, epoch_indices, generator


@dataclass(frozen=True)
class Pictures:
    """Pictures of one size.

    Attributes:
        image: N×H×W×C, uint8, or float32 in [0, 1].
        label: (N,), whole numbers from 0; None without labels.
    """

    image: Array
    label: Array | None = None

    def __len__(self) -> int:
        return len(self.image)

    def chosen(self, which: Array) -> Pictures:
        """Some of them."""
        return Pictures(self.image[which], None if self.label is None else self.label[which])

    def samples(self) -> Samples:
        """All of them, N×C×H×W in [0, 1]."""
        label = None if self.label is None else self.label.astype(np.int64)
        return Samples(as_floats(self.image), label)


class WholePictures(Source):
    """Batches of whole pictures; every epoch visits each once.

    Args:
        train: the pictures that batches are made of.
        held_out: the others.
        labels: names of the classes.
        name: the data in a few words, to which the counts are added.
        notes: what was skipped.
        mirror: whether each picture of a batch is mirrored with a chance of one half.
    """

    def __init__(
        self,
        train: Pictures,
        held_out: Pictures,
        *,
        name: str,
        labels: Sequence[str] = (),
        notes: Sequence[str] = (),
        mirror: bool = False,
    ) -> None:
        self._train, self._held_out, self._mirror = train, held_out, mirror
        self.count = len(train)
        height, width, channels = train.image.shape[1:]
        self.shape = (channels, height, width)
        self.labels = tuple(labels)
        self.notes = (*notes, *without_pictures(train.label, self.labels))
        self.description = f"{name}: {len(train)} training pictures, {len(held_out)} held out"

    def batch(self, step: int, size: int, seed: int) -> Samples:
        """Batch number `step`."""
        samples = self._train.chosen(epoch_indices(self.count, step, size, seed)).samples()
        if not self._mirror:
            return samples
        turned = generator("mirror", seed, step).random(size) < 0.5
        samples.image[turned] = samples.image[turned, :, :, ::-1]
        return samples

    def held_out(self, larger: bool = False) -> Samples:
        """All held-out pictures."""
        return self._held_out.samples()


def as_floats(image: Array) -> Floats:
    """N×H×W×C bytes or floats → N×C×H×W float32 in [0, 1], of its own memory."""
    moved = np.ascontiguousarray(image.transpose(0, 3, 1, 2))
    if moved.dtype == np.uint8:
        moved = np.multiply(moved, np.float32(1 / 255), dtype=np.float32)
    return moved.astype(np.float32)


def held_out_of(count: int, share: float, labels: Array | None = None) -> Array:
    """Which of `count` pictures are held out, evenly spread and of each label its share; bool.

    At least one is, and at least one of each label is not.
    """
    every = max(2, round(1 / share))
    groups = np.zeros(count, np.int64) if labels is None else labels
    chosen = np.zeros(count, bool)
    for group in np.unique(groups):
        here = np.flatnonzero(groups == group)
        chosen[here[every - 1 :: every]] = True
    if not chosen.any():
        sizes = np.bincount(groups)
        chosen[np.flatnonzero(groups == sizes.argmax())[-1]] = True
    return chosen


def without_pictures(label: Array | None, labels: Sequence[str]) -> list[str]:
    """A note for each label that no training picture has."""
    if label is None:
        return []
    counts = np.bincount(label.astype(np.int64), minlength=len(labels))
    return [
        f"label '{name}': no training pictures"
        for name, count in zip(labels, counts, strict=False)
        if count == 0
    ]
