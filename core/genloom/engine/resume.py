"""What is done already, and what identifies it."""

from __future__ import annotations

import functools
import itertools
import os
from collections.abc import Mapping, Sequence
from pathlib import Path

from genloom.engine.journal import Journal
from genloom.engine.opening import hash_of
from genloom.engine.packet import Unit
from genloom.engine.plan import Plan
from genloom.engine.records import Signature, UnitRecord
from genloom.engine.sources import undone
from genloom.listing import Listing
from genloom.types import Item


class Resumption:
    """Compares units with the journal.

    Attributes:
        writes: whether pictures have results of their own, before a stage gathers.
        is_first: whether no run before came to anything: then nothing is looked up.
    """

    def __init__(self, plan: Plan, journal: Journal) -> None:
        self._plan, self._journal = plan, journal
        gathers = next((s for s in plan.steps if s.stage.cardinality.gathers), None)
        before = itertools.takewhile(lambda step: step is not gathers, plan.steps)
        self.writes = any(step.stage.writes for step in before)
        self._suffix = f" for {gathers.id}" if gathers and not self.writes else ""
        # The way to a folder is followed once, not for each file in it.
        self._resolved = functools.lru_cache(1024)(os.path.realpath)
        self.is_first = journal.is_blank()
        self._roots = sorted({_folder(Path(text)) for text in plan.inputs.paths})

    def look(self, items: Sequence[Item]) -> list[tuple[Unit, str]]:
        """The units of items that a chain begins with, and what runs before came to.

        That is `done` where the same plan and input came to it and the results stand; `failed`
        where the last try of this plan failed, whether or not the input changed since; or nothing.
        """
        # Where nothing is written before a stage gathers, a picture is only a member of its pages.
        places = [f"{item.place or item.key}{self._suffix}" for item in items]
        known = {} if self.is_first else self._journal.units_of(places)
        units, records = [], []
        for item, place in zip(items, places, strict=True):
            record = known.get(place)
            # What nothing is known of is looked at when it is opened.
            signature = (Signature.of if record else Signature.named)(item, self._resolved)
            key = self._key(item, place, record, signature.source)
            units.append(Unit(key, item, inputs=(signature,)))
            record = record if key == place else self._journal.unit(key)
            records.append(record if record and record.plan == self._plan.digests[0] else None)
        done = [unit.key for unit, r in zip(units, records, strict=True) if r and r.state == "done"]
        files = self._journal.paths_of(done) if done else {}
        return [
            (unit, self._state(unit, record, files) if record else "")
            for unit, record in zip(units, records, strict=True)
        ]

    def undone(self, listing: Listing) -> list[int]:
        """Positions of the items that `look` may find something else of than `done`."""
        if self.is_first:
            return list(range(len(listing)))
        return undone(listing, self._journal, self._plan.digests[0])

    def _state(self, unit: Unit, record: UnitRecord, files: Mapping[str, Sequence[str]]) -> str:
        if record.state != "done":
            return record.state
        stands = all(os.path.exists(f"{self._plan.out}/{path}") for path in files.get(unit.key, ()))
        return "done" if stands and _unchanged(unit, record.inputs[0]) else ""

    @staticmethod
    def _key(item: Item, place: str, record: UnitRecord | None, source: str) -> str:
        """What the journal knows an item by: not the place alone where another picture has it."""
        if record is None or item.source is None:
            return place
        recorded = record.inputs[0]
        if source == recorded.source or _has_bytes(item, recorded.sha256):
            return place
        # A path may hold what is no text.
        return f"{place} from {os.fsencode(source).decode('utf-8', 'backslashreplace')}"

    def page_key(self, item: Item) -> str:
        """What the journal knows a page by: not its name alone where it is of other inputs."""
        record = self._journal.unit(item.key)
        sources = [one.source for one in record.inputs if one.source] if record else []
        if not sources or any(self._is_input(source) for source in sources):
            return item.key
        if not any(os.path.lexists(source) for source in sources):
            return item.key  # the inputs were moved
        return f"{item.key} from {min(self._roots)}"

    def _is_input(self, source: str) -> bool:
        return any(Path(source).is_relative_to(root) for root in self._roots)

    def member(self, item: Item) -> Signature | None:
        """What identifies an item as a member of a page, if it is unchanged since the last run."""
        ((unit, _),) = self.look([item])
        record = self._recorded(unit.key, 0)
        if record is None or not _unchanged(unit, record.inputs[0]):
            return None
        unit.inputs = record.inputs
        return unit.signature(failed=record.state != "done")

    def failed_members(self) -> set[str]:
        """Keys of the items that belong to pages whose last try failed."""
        found: set[str] = set()
        failed = [r for _, r in self._journal.units("failed") if r.plan in self._plan.digests[1:]]
        while failed:
            record = failed.pop()
            for member in record.inputs:
                page = self._journal.unit(member.key)
                if page is not None and page.plan in self._plan.digests[1:]:
                    failed.append(page)
                else:
                    found.add(member.key)
        return found

    def page(self, key: str, level: int) -> UnitRecord | None:
        """The record of a page whose results stand."""
        record = self._recorded(key, level)
        if record is None or record.state != "done" or not self._stands(key):
            return None
        return record

    def is_done(self, page: Unit) -> bool:
        """Whether a page was made of the same members, and its results stand."""
        record = self.page(page.key, page.level)
        return record is not None and [one.identity for one in record.inputs] == [
            one.identity for one in page.inputs
        ]

    def _recorded(self, key: str, level: int) -> UnitRecord | None:
        record = self._journal.unit(key)
        return record if record and record.plan == self._plan.digests[level] else None

    def _stands(self, key: str) -> bool:
        return all((self._plan.out / file.path).exists() for file in self._journal.files(key))


def _unchanged(unit: Unit, recorded: Signature) -> bool:
    """Same size and time, or at least the same bytes."""
    (now,), item = unit.inputs, unit.item
    if (now.key, now.size) != (recorded.key, recorded.size):
        return False
    if item.source is None or (now.mtime, now.source) == (recorded.mtime, recorded.source):
        return True
    return _has_bytes(item, recorded.sha256)


def _has_bytes(item: Item, sha256: str) -> bool:
    return sha256 != "" and hash_of(item) == sha256


def _folder(path: Path) -> Path:
    """The folder that an input is, lies in, or matches below."""
    while not path.is_dir():
        path = path.parent
    return path.resolve()
