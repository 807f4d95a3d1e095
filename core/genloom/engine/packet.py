"""What flows through a run: packets, the units they belong to, and what comes of them."""

from __future__ import annotations

import contextlib
import hashlib
import json
import os
from dataclasses import dataclass, field, replace

from genloom.engine.records import Signature
from genloom.types import Batch, Item

FAULTS = (Exception, SystemExit)
"""What a stage may raise without harm to anything but the item it was called for."""


@dataclass(frozen=True)
class Failure:
    """Why an item went no further: the stage, and the reason in one line.

    Attributes:
        unit: key of the unit it happened to; the item's own key unless said.
    """

    item: Item
    stage: str
    reason: str
    trace: str = ""
    unit: str = ""

    @property
    def is_input(self) -> bool:
        """Whether an input failed, or a child of one; not a sheet or animation made of many."""
        return not self.item.gathered


@dataclass(frozen=True)
class Output:
    """A finished temporary file, and the name it should get below OUT.

    Attributes:
        temporary: where the file lies now: a text, since there are so many.
        asked: the name before it was made one that every file system takes.
        size: bytes of the file; `mtime` is when it was finished, in nanoseconds.
        beside: whether it goes with the output before it: that one's name, and `ending`.
    """

    item: Item
    temporary: str
    name: str
    ending: str
    asked: str
    size: int
    mtime: int
    beside: bool = False

    def drop(self) -> None:
        """Delete the file, if it is still there."""
        with contextlib.suppress(FileNotFoundError):
            os.unlink(self.temporary)


@dataclass(eq=False)
class Unit:
    """What is made, recorded and resumed by itself: a picture, or one page of a group.

    Attributes:
        key: what the journal knows it by.
        item: the item it starts from: that of the source, or of the page.
        level: how many stages gathered before it.
        inputs: what identifies what it is made of: its file, or the members of its page.
        last: whether it is the last page of its group.
        known: its results stand already; it is made again only because its group needs it.
        lone: its groups stand already; it goes no further than its own results.
        failed_before: whether the run before failed on it, with the same input.
        scope: the group that must be computed together and that it belongs to.
        notes: pairs: the picture by file or name, and what the user should know about it.
        files: results under their final names.
    """

    key: str
    item: Item
    level: int = 0
    inputs: tuple[Signature, ...] = ()
    last: bool = False
    known: bool = False
    lone: bool = False
    failed_before: bool = False
    scope: str = ""
    outputs: list[Output] = field(default_factory=list)
    failures: list[Failure] = field(default_factory=list)
    notes: list[tuple[str, str]] = field(default_factory=list)
    files: list[str] = field(default_factory=list)

    def take(self, packet: Packet) -> None:
        """Note what became of one packet of the unit."""
        self.outputs += packet.outputs
        for note in packet.item.notes:
            self.notes.append((str(packet.item.source or packet.item.name), note))
        if packet.failure is not None:
            self.failures.append(packet.failure)

    def signature(self, *, failed: bool) -> Signature:
        """What identifies the unit as a member of a page."""
        if self.level == 0:
            return replace(self.inputs[0], failed=failed)
        return page_signature(self.key, self.inputs, failed=failed)


def page_signature(key: str, inputs: tuple[Signature, ...], *, failed: bool = False) -> Signature:
    """What identifies a page as a member of another: the digest of its own members."""
    text = json.dumps([signature.identity for signature in inputs])
    digest = hashlib.sha256(text.encode()).hexdigest()
    return Signature(key, sha256=digest, source=inputs[0].source, failed=failed)


@dataclass(frozen=True)
class Packet:
    """What flows between stages: one item with its values, or the failure that took its place.

    Attributes:
        unit: what it belongs to; packets of one unit follow each other.
        outputs: finished files that came with it.
        group: the group that the next stage that gathers puts it in.
        drew: whether random numbers were drawn for it, or for what it was made of.
    """

    unit: Unit
    item: Item
    batch: Batch | None = None
    failure: Failure | None = None
    outputs: tuple[Output, ...] = ()
    group: str = ""
    drew: bool = False

    @property
    def nbytes(self) -> int:
        """Bytes of the values."""
        return 0 if self.batch is None else self.batch.nbytes

    def is_origin_of(self, item: Item) -> bool:
        """Whether an item is this packet's own, or a child of it."""
        return item.key == self.item.key or item.key.startswith(f"{self.item.key}#")

    def failed(self, stage: str, reason: str, trace: str = "") -> Packet:
        """The same item, failed at a stage."""
        light = self.item.bare()  # failures are kept to the end of the run
        failure = Failure(light, stage, reason, trace, self.unit.key)
        return replace(self, batch=None, failure=failure)
