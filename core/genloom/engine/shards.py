"""Parts of a run that several machines do side by side, and what must stay together in one part.

Which shard an item falls to is decided by a hash of where its results go, ending and case aside:
files added later move nothing, every machine comes to the same answer without asking another, and
pictures that may want one name for their results (`a.jpg` and `a.png`) share a shard, whose
journal tells them apart. Where a stage gathers, whole groups are hashed.
"""

from __future__ import annotations

import hashlib
import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from genloom.engine.packet import FAULTS
from genloom.engine.pages import page_item
from genloom.errors import GenloomError, shown
from genloom.pipeline import Step
from genloom.stage import Inputs
from genloom.types import Item


@dataclass(frozen=True)
class Shard:
    """The `number`-th of `count` shards, counted from 1; 1 of 1 is the whole run."""

    number: int = 1
    count: int = 1

    @classmethod
    def of(cls, text: str) -> Shard:
        """A shard as it is written, `K/N`; the whole run where nothing is.

        Raises:
            GenloomError: when it is not written so, or K is not from 1 to N.
        """
        found = re.fullmatch(r"([0-9]{1,6})/([0-9]{1,6})", text) if isinstance(text, str) else None
        shard = cls(*map(int, found.groups())) if found else cls() if text == "" else None
        if shard is None or not 1 <= shard.number <= shard.count:
            raise GenloomError(
                "the shard is not right", expected="K/N with K from 1 to N", got=shown(text)
            )
        return shard

    def __str__(self) -> str:
        return f"{self.number}/{self.count}" if self.count > 1 else ""

    def takes(self, name: str) -> bool:
        """Whether what goes by a name falls to this shard."""
        digest = hashlib.sha256(name.casefold().encode("utf-8", "backslashreplace")).digest()
        return int.from_bytes(digest[:8], "big") % self.count == self.number - 1

    def share(self, steps: Sequence[Step], inputs: Inputs) -> Iterator[Item]:
        """The items of this shard among those that a chain begins with, in order."""
        items = steps[0].stage.sources(inputs)
        if self.count == 1:
            return items
        if any(step.stage.cardinality.gathers for step in steps):
            return (item for item in items if self.takes(scope_of(steps, item)))
        return self.among(items)

    def among(self, items: Iterator[Item]) -> Iterator[Item]:
        """The items of this shard among some, where no stage gathers."""
        return items if self.count == 1 else (item for item in items if self.takes(item.name))

    def check(self, steps: Sequence[Step], inputs: Inputs) -> None:
        """Whether a chain can be cut into shards.

        Raises:
            GenloomError: when a stage gathers all items into one group.
        """
        gathers = [step for step in steps if step.stage.cardinality.gathers]
        if self.count == 1 or not gathers:
            return
        scopes = (scope_of(steps, item) for item in steps[0].stage.sources(inputs))
        first = next(scopes, "")
        if all(scope == first for scope in scopes):
            raise GenloomError(
                f"this run cannot be cut into shards: '{gathers[-1].id}' gathers all of it into "
                "one group, and a group is made by one machine",
                expected="several groups",
                got="one",
                hint="Run it without --shard, or let the stage gather by folder (`group: folder`)",
            )


WHOLE = Shard()
"""The whole run, in one part."""


def scope_of(steps: Sequence[Step], item: Item) -> str:
    """The group of the last stage that gathers, which holds the groups of all others.

    Without such a stage all is one scope.
    """
    gathers = [step for step in steps if step.stage.cardinality.gathers]
    for step in gathers:
        item = page_item(step, group_of(step, item), 0)
    return item.group if gathers else ""


def group_of(step: Step, item: Item) -> str:
    """The group that a stage puts an item in; none when it fails on it."""
    try:
        return step.stage.group_of(item)
    except FAULTS:
        return ""  # the item will fail on it when it gets there
