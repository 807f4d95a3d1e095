"""What the journal holds: records of units, of what they are made of, and of their files."""

from __future__ import annotations

import hashlib
import json
import os
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from genloom.types import Item, changed


@dataclass(frozen=True)
class Signature:
    """What identifies an input file: size, time of last change, and the hash of its bytes.

    A page that is a member of another has the digest of its own members in place of that hash,
    and stands for the `source` of the first. `failed` members are those that a page was made, or
    refused, without.
    """

    key: str
    size: int = 0
    mtime: int = 0
    sha256: str = ""
    source: str = ""
    failed: bool = False

    @property
    def identity(self) -> tuple[str, str, bool]:
        """What decides the page that it is a member of."""
        return self.key, self.sha256, self.failed

    @classmethod
    def named(cls, item: Item, resolved: Callable[[str], str] = os.path.realpath) -> Signature:
        """The signature of an item's file without a look at the file.

        `resolved` follows the way to a folder.
        """
        if item.source is None:
            return cls(item.key)
        # Where it lies, whatever way led there; a link to a file is a file of its own.
        folder, name = os.path.split(item.source)
        return cls(item.key, source=os.path.join(resolved(folder), name))

    @classmethod
    def of(cls, item: Item, resolved: Callable[[str], str] = os.path.realpath) -> Signature:
        """The signature of an item's file as it is now, its hash aside; of one gone, size -1.

        With files beside it, the size is the sum of all, and the time is no time but a number that
        changes with the size and time of any.
        """
        named = cls.named(item, resolved)
        if item.source is None:
            return named
        try:
            stats = [os.stat(path) for path in (item.source, *item.beside.values())]
        except OSError:
            return changed(named, size=-1)
        size, mtime = sum(s.st_size for s in stats), stats[0].st_mtime_ns
        if item.beside:
            facts = [(s.st_size, s.st_mtime_ns) for s in stats]
            said = json.dumps([facts, [(name, str(item.beside[name])) for name in item.beside]])
            mtime = int.from_bytes(hashlib.sha256(said.encode()).digest()[:7], "little")
        return changed(named, size=size, mtime=mtime)


def written(inputs: tuple[Signature, ...]) -> str:
    """Signatures as the journal keeps them: a JSON text."""
    return json.dumps([row(one) for one in inputs])


def row(record: Signature | FileRecord) -> list[Any]:
    """The values of a record in their order: what `dataclasses.astuple` takes twenty times for."""
    return list(vars(record).values())


@dataclass(frozen=True)
class UnitRecord:
    """What the journal says of a unit. `last` marks the last page of a group."""

    state: str
    plan: str
    inputs: tuple[Signature, ...]
    stage: str = ""
    reason: str = ""
    last: bool = False


@dataclass(frozen=True)
class FileRecord:
    """A file that is genloom's own.

    `size` and `mtime` are those of the file as it was finished. Between claiming and renaming, an
    earlier version may still stand under the name: that one is described by `old_size` and
    `old_mtime`.
    """

    path: str
    unit: str
    size: int
    mtime: int
    old_size: int = -1
    old_mtime: int = -1

    def is_at(self, path: Path | str) -> bool:
        """Whether the file at `path` is still as genloom wrote it."""
        try:
            stat = os.stat(path)
        except OSError:
            return False
        found = (stat.st_size, stat.st_mtime_ns)
        return found in ((self.size, self.mtime), (self.old_size, self.old_mtime))
