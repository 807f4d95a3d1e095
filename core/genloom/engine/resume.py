"""What is done already, and what identifies it."""

from __future__ import annotations

import hashlib
import itertools
import os
from dataclasses import replace
from pathlib import Path

from genloom.engine.journal import Journal
from genloom.engine.packet import Unit
from genloom.engine.plan import Plan
from genloom.engine.records import Signature, UnitRecord, located
from genloom.types import Item


class Resumption:
    """Compares units with the journal.

    Attributes:
        writes: whether pictures have results of their own, before a stage gathers.
    """

    def __init__(self, plan: Plan, journal: Journal) -> None:
        self._plan, self._journal = plan, journal
        gathers = next((s for s in plan.steps if s.stage.cardinality.gathers), None)
        before = itertools.takewhile(lambda step: step is not gathers, plan.steps)
        self.writes = any(step.stage.writes for step in before)
        self._suffix = f" for {gathers.id}" if gathers and not self.writes else ""
        self._roots = sorted({_folder(Path(text)) for text in plan.inputs.paths})

    def unit(self, item: Item) -> Unit:
        """The unit of an item that a chain begins with."""
        return Unit(self._key(item), item, inputs=(Signature.of(item),))

    def _key(self, item: Item) -> str:
        """What the journal knows an item by: not the place alone where another picture has it."""
        # Where nothing is written before a stage gathers, a picture is only a member of its pages.
        place = f"{item.place or item.key}{self._suffix}"
        record = self._journal.unit(place)
        if record is None or item.source is None:
            return place
        recorded = record.inputs[0]
        source = located(item.source)
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

    def state(self, unit: Unit) -> str:
        """`done` or `failed` when the run before came to that with the same plan and input."""
        record = self._recorded(unit.key, 0)
        if record is None or not _unchanged(unit.item, record.inputs[0]):
            return ""
        if record.state == "done" and not self._stands(unit.key):
            return ""
        return record.state

    def member(self, item: Item) -> Signature | None:
        """What identifies an item as a member of a page, if it is unchanged since the last run."""
        record = self._recorded(self.unit(item).key, 0)
        if record is None or not _unchanged(item, record.inputs[0]):
            return None
        unit = Unit("", item, inputs=record.inputs)
        return unit.signature(failed=record.state != "done")

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


def sign(item: Item) -> Signature:
    """What identifies an input file, told just before it is decoded.

    Size and time are taken before the bytes are read: a file that changes meanwhile differs from
    its signature at the next run.
    """
    signature = Signature.of(item)
    return signature if item.source is None else replace(signature, sha256=_bytes_of(item))


def _unchanged(item: Item, recorded: Signature) -> bool:
    """Same size and time, or at least the same bytes."""
    now = Signature.of(item)
    if (now.key, now.size) != (recorded.key, recorded.size):
        return False
    if item.source is None or (now.mtime, now.source) == (recorded.mtime, recorded.source):
        return True
    return _has_bytes(item, recorded.sha256)


def _has_bytes(item: Item, sha256: str) -> bool:
    return sha256 != "" and _bytes_of(item) == sha256


def _bytes_of(item: Item) -> str:
    """The hash of an item's file, or of the hashes of all where others lie beside it."""
    own = "" if item.source is None else _sha256(item.source)
    if not item.beside:
        return own
    named = [f"{name} {_sha256(path)}" for name, path in sorted(item.beside.items())]
    return hashlib.sha256("\n".join([own, *named]).encode()).hexdigest()


def _sha256(path: Path) -> str:
    """The hash of a file; empty when it cannot be read, which decoding says better."""
    try:
        if not path.is_file():  # a pipe or a device would keep a reader waiting
            return ""
        with path.open("rb") as file:
            return hashlib.file_digest(file, "sha256").hexdigest()
    except OSError:
        return ""


def _folder(path: Path) -> Path:
    """The folder that an input is, lies in, or matches below."""
    while not path.is_dir():
        path = path.parent
    return path.resolve()
