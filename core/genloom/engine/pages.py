"""Groups and their pages: which items a stage that gathers is given together."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace

from genloom.engine.packet import Packet, Unit
from genloom.pipeline import Step
from genloom.types import Item


@dataclass(frozen=True)
class Page:
    """Members of one group, at most as many as the stage takes, and the unit they become."""

    unit: Unit
    members: list[Packet]

    @property
    def nbytes(self) -> int:
        """Bytes of the members' values."""
        return sum(packet.nbytes for packet in self.members)


def cut(
    step: Step,
    stream: Iterator[Packet],
    level: int,
    numbers: Counter[str],
    key_of: Callable[[Item], str],
) -> Iterator[Page]:
    """Cut a stream into pages.

    `numbers` says at which number the pages of each group begin; `key_of` what the journal knows
    a page by.
    """
    most = step.stage.most()
    members: list[Packet] = []

    def page(following: Packet | None) -> Page:
        group = members[0].group
        last = following is None or following.group != group
        item = page_item(step, group, numbers[group])
        numbers[group] += 1
        failed = {packet.unit for packet in members if packet.failure is not None}
        units = dict.fromkeys(packet.unit for packet in members)
        inputs = tuple(unit.signature(failed=unit in failed) for unit in units)
        return Page(Unit(key_of(item), item, level, inputs, last), members)

    for packet in stream:
        if members and (packet.group != members[0].group or len(members) >= most):
            yield page(packet)
            members = []
        # What its members wrote is theirs, and the page starts with files of its own.
        members.append(replace(packet, outputs=()))
    if members:
        yield page(None)


def page_item(step: Step, group: str, number: int) -> Item:
    """The item of a page: the result is put under it."""
    name = f"{group}/{step.id}" if group else step.id
    name = f"{name}-{number + 1:03d}" if number else name
    return Item(key=f"{step.id}:{group}#{number}", name=name, group=group, gathered=True)
