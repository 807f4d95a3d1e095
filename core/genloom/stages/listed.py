"""The pictures of one folder: a listing."""

from __future__ import annotations

import os
from collections import Counter
from collections.abc import Iterable, Iterator, Sequence
from functools import cached_property
from pathlib import Path

from genloom.listing import TOGETHER
from genloom.stages.filenames import composed, ending, natural, stem
from genloom.types import Item


class Folder:
    """Pictures of one folder: a listing.

    Args:
        folder: where they lie.
        real: the same, with links resolved.
        names: of the files.
        place: what comes before their names in the names of results, with a slash at its end.
        key: what comes before their names in their keys.
        ordered: whether the names are in order; else the natural one is theirs.
    """

    def __init__(
        self, folder: str, real: str, names: list[str], place: str, key: str, *, ordered: bool
    ) -> None:
        self._folder, self._real, self._found = folder, real, names
        self._place, self._key, self._ordered = place, key, ordered

    def __len__(self) -> int:
        return len(self._found)

    @cached_property
    def _names(self) -> list[str]:
        """The names, so that what is looked up together lies together in the journal."""
        many = len(self._found) > TOGETHER and not self._ordered
        return sorted(self._found) if many else self._found

    def sketches(self, some: range) -> Sequence[str | None]:
        """What files are known by; None for one that is gone."""
        names = self._names[some.start : some.stop]
        if self._renamed:
            return [None] * len(names)
        try:
            return self._sketched(names)
        except OSError:
            return [self._sketch(name) for name in names]

    def _sketch(self, name: str) -> str | None:
        try:
            return self._sketched([name])[0]
        except OSError:
            return None

    def _sketched(self, names: Sequence[str]) -> list[str]:
        """What files are known by: a million in a few seconds, so without a call for each.

        Raises:
            OSError: when one is gone.
        """
        place, key, real = self._place, f"\0{self._key}", f"\0{os.path.join(self._real, '')}"
        return [  # as `sketch` writes it
            f"{place}{name}{key}{name}\0{stat.st_size}\0{stat.st_mtime_ns}{real}{name}"
            for name, stat in zip(names, _stats(self._folder, names), strict=True)
        ]

    def items(self, wanted: Iterable[int]) -> Iterator[Item]:
        """The items at some positions, in order."""
        positions = self._in_order(wanted)
        folder = Path(self._folder)
        # Which pictures differ only in their ending is known only here, where a folder is whole.
        stems = Counter(stem(name).casefold() for name in self._names) if positions else Counter()
        for position in positions:
            name = self._names[position]
            own, note = self._renamed.get(position) or (composed(name), "")
            yield Item(
                key=f"{self._key}{own}",
                name=f"{self._place}{stem(own)}",
                place=f"{self._place}{own}",
                group=self._place[:-1],
                source=folder / name,
                notes=(note,) if note else (),
                twin=stems[stem(name).casefold()] > 1,
            )

    def _in_order(self, positions: Iterable[int]) -> list[int]:
        if self._ordered:
            return list(positions)
        return sorted(positions, key=lambda position: natural(self._names[position]))

    @cached_property
    def _renamed(self) -> dict[int, tuple[str, str]]:
        """Names that are others when normalised, with a note where another has that one."""
        names = self._names
        if "".join(names).isascii() or all(composed(name) == name for name in names):
            return {}
        found, taken = {}, set[str]()
        for position in self._in_order(range(len(names))):
            own = unique = composed(names[position])
            count = 1
            while unique in taken:
                count += 1
                unique = f"{stem(own)}~{count}{ending(own)}"
            taken.add(unique)
            note = f"named {stem(unique)}, because another name differs only in its Unicode form"
            found[position] = unique, note if count > 1 else ""
        return found


def _stats(folder: str, names: Sequence[str]) -> list[os.stat_result]:
    """Sizes and times of files in a folder, whose path is followed once where the system can."""
    if os.stat not in os.supports_dir_fd:
        return [os.stat(os.path.join(folder, name)) for name in names]
    handle = os.open(folder or os.curdir, os.O_RDONLY)
    try:
        return [os.stat(name, dir_fd=handle) for name in names]
    finally:
        os.close(handle)
