"""Data sets for training: where pictures come from, and which of them make batch number n.

A data set is a frozen dataclass whose fields are the options of a recipe's `data:` section. Opened,
it is a `Source`: every batch is a function of (seed, step) alone, so a resumed training sees what
an uninterrupted one would have seen, and there is no position to store. Nothing here needs torch.
"""

from __future__ import annotations

import functools
import hashlib
from abc import ABC, abstractmethod
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np

from genloom.errors import GenloomError
from genloom.types import Array, Floats

__all__ = ["Dataset", "Opening", "Samples", "Source", "epoch_indices", "generator"]


@dataclass(frozen=True)
class Samples:
    """Pictures and, where there are such, their labels and other pictures of the same things.

    Attributes:
        image: float32, N×C×H×W in [0, 1].
        label: int64, (N,).
        others: by name, float32, N×C'×H×W in [0, 1]: a noisy version, say, or a guide.
    """

    image: Floats
    label: Array | None = None
    others: Mapping[str, Floats] = field(default_factory=dict)

    def __len__(self) -> int:
        return len(self.image)

    def chunks(self, size: int) -> Iterator[Samples]:
        """The same samples, at most `size` at a time."""
        for start in range(0, len(self), size):
            yield self.chosen(slice(start, start + size))

    def chosen(self, which: slice | Array) -> Samples:
        """Some of them."""
        label = None if self.label is None else self.label[which]
        others = {name: values[which] for name, values in self.others.items()}
        return Samples(self.image[which], label, others)

    def spread(self, most: int) -> Samples:
        """At most so many of them, evenly spread: of every class, if they are sorted by class."""
        if len(self) <= most:
            return self
        return self.chosen(np.arange(most) * len(self) // most)


@dataclass(frozen=True, kw_only=True)
class Opening:
    """What a data set is told when it is opened.

    Attributes:
        root: folder given on the command line (`--data`), which goes before the recipe's `path`.
        base: folder that relative paths in the recipe start from.
        seed: of synthetic pictures.
    """

    root: Path | None = None
    base: Path = field(default_factory=Path)
    seed: int = 0

    def folder(self, path: Path | None) -> Path:
        """The folder of pictures: the one given, else the recipe's `path`.

        Raises:
            GenloomError: when there is none.
        """
        root = self.root or (self.base / path if path else None)
        if root is None or not root.is_dir():
            raise GenloomError(
                "the folder of training pictures is not there",
                got="no folder" if root is None else str(root),
                hint="Name one with --data FOLDER, or as `path:` in the recipe's data section",
            )
        return root


class Source(ABC):
    """An opened data set.

    Attributes:
        shape: channels, height and width of one training sample.
        count: pictures in one epoch.
        endless: whether every batch is drawn anew, as crops are: an epoch is no pass over the data.
        labels: names of the classes.
        description: the data in words, for the card.
        notes: what was skipped, and why.
    """

    shape: tuple[int, int, int]
    count: int
    endless: bool = False
    labels: tuple[str, ...] = ()
    description: str = ""
    notes: tuple[str, ...] = ()

    @abstractmethod
    def batch(self, step: int, size: int, seed: int) -> Samples:
        """Batch number `step` (from 0): always the same for the same three numbers.

        Several threads may ask for batches at once.
        """

    @abstractmethod
    def held_out(self, larger: bool = False) -> Samples:
        """Pictures that no batch contains, for validation; the same at every call.

        `larger` says that they may be larger than `shape`: the family takes any size.
        """


class Dataset(ABC):
    """Options of a data set. Subclass it as a frozen keyword-only dataclass."""

    @abstractmethod
    def open(self, opening: Opening) -> Source:
        """Find and check the data.

        Raises:
            GenloomError: when there is none, with what to do about it.
        """


def generator(*key: object) -> np.random.Generator:
    """Random numbers that depend on nothing but `key`."""
    digest = hashlib.sha256("\0".join(map(str, key)).encode()).digest()
    return np.random.Generator(np.random.Philox(key=int.from_bytes(digest[:16], "little")))


def epoch_indices(count: int, step: int, size: int, seed: int) -> Array:
    """Which of `count` pictures make a batch: every epoch visits each once, in its own order.

    Batches run across the ends of epochs, so all have one size.
    """
    wanted = np.arange(step * size, (step + 1) * size)
    chosen = np.empty(size, np.int64)
    for epoch in np.unique(wanted // count):
        here = wanted // count == epoch
        chosen[here] = _order(count, int(epoch), seed)[wanted[here] % count]
    return chosen


@functools.lru_cache(maxsize=4)
def _order(count: int, epoch: int, seed: int) -> Array:
    return generator("order", seed, epoch).permutation(count)
