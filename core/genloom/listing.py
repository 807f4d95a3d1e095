"""Items that a chain begins with, many at a time, before any is made.

Of a million pictures that are done already no item is needed: what the journal knows them by is
told from names, sizes and times alone, at a few microseconds each.
"""

from __future__ import annotations

import itertools
import os
from collections.abc import Callable, Iterable, Iterator, Sequence
from functools import lru_cache
from typing import Protocol

from genloom.types import Item

TOGETHER = 1000
"""Items that are looked up together."""

PART = "\0"
"""Parts texts that may hold all other characters: names of files never hold this one."""


def sketch(place: str, key: str, size: int = 0, mtime: int = 0, source: str = "") -> str:
    """What an item is known by from run to run, as one text.

    Its place, its key, and of its file the size, the time of the last change in nanoseconds, and
    where it really lies. Without a file 0, 0 and nothing.
    """
    return f"{place}\0{key}\0{size}\0{mtime}\0{source}"


class Listing(Protocol):
    """Items of one folder, say: each is made only when it is wanted."""

    def __len__(self) -> int:
        """How many there are."""
        ...

    def sketches(self, some: range) -> Sequence[str | None]:
        """What items at some positions are known by; None where only the item itself can tell.

        See `sketch`. Of more than `TOGETHER` items neighbours should be near each other by place.
        """
        ...

    def items(self, wanted: Iterable[int]) -> Iterator[Item]:
        """The items at some positions, in the order in which they are to be worked on."""
        ...


class Numbered:
    """Items without files, that differ in nothing but their number."""

    def __init__(self, name: str, numbers: range) -> None:
        self._name, self._numbers = name, numbers

    def __len__(self) -> int:
        return len(self._numbers)

    def sketches(self, some: range) -> Sequence[str | None]:
        """Their names."""
        keys = [f"{self._name}-{number:06d}" for number in self._numbers[some.start : some.stop]]
        return [sketch(key, key) for key in keys]

    def items(self, wanted: Iterable[int]) -> Iterator[Item]:
        """The items at some positions."""
        for position in wanted:
            key = f"{self._name}-{self._numbers[position]:06d}"
            yield Item(key=key, name=key)


class Made:
    """Items that are made already."""

    def __init__(self, items: Sequence[Item]) -> None:
        self._items = items

    def __len__(self) -> int:
        return len(self._items)

    def sketches(self, some: range) -> Sequence[str | None]:
        """What they are known by; those with guides beside them must be looked at one by one."""
        resolved = lru_cache(1)(os.path.realpath)
        return [_sketch(item, resolved) for item in self._items[some.start : some.stop]]

    def items(self, wanted: Iterable[int]) -> Iterator[Item]:
        """The items at some positions."""
        return (self._items[position] for position in wanted)


def _sketch(item: Item, resolved: Callable[[str], str]) -> str | None:
    place = item.place or item.key
    if item.source is None:
        return sketch(place, item.key)
    if item.beside:
        return None
    folder, name = os.path.split(item.source)
    try:
        stat = os.stat(item.source)
    except OSError:
        return None
    source = os.path.join(resolved(folder), name)
    return sketch(place, item.key, stat.st_size, stat.st_mtime_ns, source)


def portions(items: Iterator[Item], size: int = 256) -> Iterator[Listing]:
    """Items in listings of one size."""
    while batch := tuple(itertools.islice(items, size)):
        yield Made(batch)
