"""Items that a chain begins with, many at a time, before any is made.

Of a million pictures that are done already no item is needed: what the journal knows them by is
told from names, sizes and times alone, at a few microseconds each.
"""

from __future__ import annotations

import itertools
import os
from collections.abc import Iterable, Iterator, Sequence
from typing import Protocol

from genloom.types import Item

Sketch = tuple[str, str, int, int, str]
"""What an item is known by from run to run: its place, its key, and of its file the size, the time
of the last change in nanoseconds, and where it really lies. Without a file 0, 0 and nothing."""


class Listing(Protocol):
    """Items of one folder, say: each is made only when it is wanted."""

    def __len__(self) -> int:
        """How many there are."""
        ...

    def sketches(self) -> Iterator[Sketch | None]:
        """Of each item what it is known by; None where only the item itself can tell."""
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

    def sketches(self) -> Iterator[Sketch | None]:
        """Their names."""
        for number in self._numbers:
            key = f"{self._name}-{number:06d}"
            yield key, key, 0, 0, ""

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

    def sketches(self) -> Iterator[Sketch | None]:
        """What they are known by; those with guides beside them must be looked at one by one."""
        folders: dict[str, str] = {}
        for item in self._items:
            if item.source is None:
                yield item.place or item.key, item.key, 0, 0, ""
                continue
            folder, name = os.path.split(item.source)
            if folder not in folders:
                folders = {folder: os.path.realpath(folder)}
            try:
                stat = os.stat(item.source)
            except OSError:
                yield None
                continue
            source = os.path.join(folders[folder], name)
            known = item.place or item.key, item.key, stat.st_size, stat.st_mtime_ns, source
            yield None if item.beside else known

    def items(self, wanted: Iterable[int]) -> Iterator[Item]:
        """The items at some positions."""
        return (self._items[position] for position in wanted)


def portions(items: Iterator[Item], size: int = 256) -> Iterator[Listing]:
    """Items in listings of one size."""
    while batch := tuple(itertools.islice(items, size)):
        yield Made(batch)
