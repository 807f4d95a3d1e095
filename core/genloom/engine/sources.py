"""What a chain begins with, and which of it is done: told quickly, before items are made of it."""

from __future__ import annotations

import itertools
import math
import os
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path

from genloom.engine.journal import Journal
from genloom.engine.shards import Shard
from genloom.listing import PART, TOGETHER, Listing, portions
from genloom.pipeline import Step
from genloom.stage import Inputs, Stage

FOLDERS = 4
"""Folders of results whose names are held at a time."""

NAMES = 100_000
"""Names in one folder that are held at a time; files beyond are looked for one by one."""


def listings(stage: Stage, inputs: Inputs) -> Iterator[Listing]:
    """What a stage begins with.

    A stage whose parent lists its own, other, sources is asked for its sources instead.
    """
    if issubclass(_origin(stage, "listings"), _origin(stage, "sources")):
        return stage.listings(inputs)
    return portions(stage.sources(inputs))


def _origin(stage: Stage, method: str) -> type:
    return next(kind for kind in type(stage).__mro__ if method in vars(kind))


def count(steps: Sequence[Step], inputs: Inputs, shard: Shard, enough: float = math.inf) -> int:
    """How many items fall to a shard; where they are more than `enough`, that many at least."""
    if shard.count == 1:
        sizes: Iterable[int] = map(len, listings(steps[0].stage, inputs))
    else:
        sizes = (1 for _ in shard.share(steps, inputs))
    found = 0
    for size in sizes:
        found += size
        if found >= enough:
            break
    return found


class _There:
    """Which files stand in the output folder. The last few folders asked for are remembered."""

    def __init__(self, out: Path) -> None:
        self._out = f"{out}/"
        self._folders: dict[str, set[str]] = {}

    def lacking(self, results: Iterable[str]) -> set[str]:
        """Of texts of paths those that name one that is not there."""
        some = set(results)
        if some:
            some -= self._beside(min(some).partition(PART)[0])
        return {text for text in some if not all(map(self._stands, text.split(PART)))}

    def _stands(self, path: str) -> bool:
        return path in self._beside(path) or os.access(self._out + path, os.F_OK)

    def _beside(self, path: str) -> set[str]:
        """Paths of the files in the folder that a path leads into."""
        folder = path[: path.rfind("/") + 1]
        found = self._folders.pop(folder, None)
        if found is None:
            found = self._read(folder)
            if len(self._folders) == FOLDERS:
                del self._folders[next(iter(self._folders))]
        self._folders[folder] = found  # as the last that was asked for
        return found

    def _read(self, folder: str) -> set[str]:
        """Paths of files; not those of links, which may lead nowhere, and not too many."""
        try:
            with os.scandir(self._out + folder) as entries:
                some = itertools.islice(entries, NAMES)
                return {folder + one.name for one in some if one.is_file(follow_symlinks=False)}
        except OSError:
            return set()


def undone(listing: Listing, journal: Journal, plan: str) -> list[int]:
    """Positions of the items that are not known to be done: to be looked at one by one.

    An item is done when the same plan came to its end with a file of the same place, size and time,
    and all its results stand.

    Args:
        listing: the items.
        journal: what was done before.
        plan: the digest of all that decides results, inputs aside.
    """
    found, there = [], _There(journal.out)
    for start in range(0, len(listing), TOGETHER):
        sketches = listing.sketches(range(start, min(start + TOGETHER, len(listing))))
        known = journal.finished(plan, [one for one in sketches if one is not None])
        if lacking := there.lacking(known.values()):
            known = {one: results for one, results in known.items() if results not in lacking}
        found += [position for position, one in enumerate(sketches, start) if one not in known]
    return found
