"""Which groups stand: they were made in an earlier run and none of their members has changed.

Groups are looked through before anything runs, in one walk over the inputs that holds one page at
a time. Where a single stage gathers, the pages that stand at the beginning of a group are left
out of the run, so that a killed run goes on where it was; else a group stands as a whole or is
made again.
"""

from __future__ import annotations

import itertools
from collections.abc import Callable, Iterator, Mapping, Set
from dataclasses import dataclass

from genloom.engine.packet import Unit, page_signature
from genloom.engine.pages import page_item
from genloom.engine.plan import Plan
from genloom.engine.records import Signature, UnitRecord
from genloom.engine.resume import Resumption
from genloom.engine.shards import group_of, scope_of
from genloom.engine.sources import listings
from genloom.pipeline import Step
from genloom.stage import Cardinality
from genloom.types import Item


@dataclass(frozen=True)
class Standing:
    """How much of a group stands: its first `items`, on its first `pages`."""

    items: int = 0
    pages: int = 0


Units = Iterator[list[tuple[Unit, str]]]
"""Units with what they came to before, as many at a time as are looked up together."""

Scopes = Iterator[tuple[str, Standing, Units]]
"""Scopes with what stands of each, and its units."""

Passed = Callable[[int], None]

NOTHING = Standing()
BATCH = 256
"""Items whose records are asked for in one question."""

AHEAD = 1000
"""Undone items that a run holds, at the most about, to tell how many items there are in all."""


class _StaleError(Exception):
    """A group does not stand."""


@dataclass(frozen=True)
class _Member:
    item: Item
    signature: Signature | None


class Survey:
    """Looks through groups. `scope` names what of the inputs must be computed together."""

    def __init__(self, plan: Plan, resumption: Resumption) -> None:
        self._plan, self._resumption = plan, resumption
        self._gathers = [step for step in plan.steps if step.stage.cardinality.gathers]
        many = Cardinality.ONE_TO_MANY
        self._by_pages = len(self._gathers) == 1 and all(
            step.stage.cardinality != many
            for step in plan.steps[1 : plan.steps.index(self._gathers[0])]
        )

    @property
    def passes(self) -> bool:
        """Whether what is done can be passed over without a look at the items one by one."""
        return not self._gathers and not self._plan.settings.force

    def scope(self, item: Item) -> str:
        """What must be computed together with an item; see `scope_of`."""
        return scope_of(self._gathers, item)

    def groups(self) -> Mapping[str, Standing]:
        """What stands of each group; nothing is looked for where no stage gathers."""
        if not self._gathers:
            return {}
        found: dict[str, Standing] = {}
        for scope, items in itertools.groupby(self._plan.sources(), self.scope):
            # The parts of a group that is met twice are told apart by nothing: make it again.
            found[scope] = NOTHING if scope in found else self._look(scope, items)
        return found

    def scopes(self, passed: Passed) -> Scopes:
        """Each scope with what stands of it, and its units with what they came to before.

        Units are `lone` where their groups stand. Without a stage that gathers, the whole run is
        one scope, and many that are done are not among its units: `passed` is told how many.
        A run that is forced finds nothing.
        """
        force = self._plan.settings.force
        if self.passes:
            yield "", NOTHING, self.undone(passed)
            return
        found = {} if force else self.groups()
        scope = self.scope if self._gathers else lambda item: ""
        for name, items in itertools.groupby(self._plan.sources(), scope):
            standing = found.get(name, NOTHING)
            yield name, standing, self._units(name, standing, items)

    def undone(self, passed: Passed) -> Units:
        """Units without those that are told to be done before an item is made of them."""
        plan, shard = self._plan, self._plan.shard
        for listing in listings(plan.steps[0].stage, plan.inputs):
            wanted = self._resumption.undone(listing)
            if len(wanted) < len(listing):
                passed(len(listing) - len(wanted))
            yield from self._units("", NOTHING, shard.among(listing.items(wanted)))

    def look_ahead(self, passed: Passed) -> tuple[Units, int | None]:
        """What `undone` gives, begun with; and how many items that is, if not more than `AHEAD`.

        `passed` is told at once of those that are done among the first.
        """
        units, ahead, count = self.undone(passed), [], 0
        for some in units:
            ahead.append(some)
            count += len(some)
            if count > AHEAD:
                return itertools.chain(ahead, units), None
        return iter(ahead), count

    def _units(self, scope: str, standing: Standing, items: Iterator[Item]) -> Units:
        start = 0
        while batch := list(itertools.islice(items, BATCH)):
            looked = self._resumption.look(batch)
            for index, (unit, _) in enumerate(looked, start):
                unit.scope, unit.lone = scope, index < standing.items
            start += len(looked)
            force = self._plan.settings.force
            yield [(unit, "") for unit, _ in looked] if force else looked

    def failed(self) -> tuple[Set[str], int]:
        """The scopes with something whose last try failed, and how many items to try again.

        Where a stage gathers these are all items of the scopes, else the failed ones themselves.
        """
        members = self._resumption.failed_members()
        scopes: set[str] = set()
        total = 0
        for name, _, units in self.scopes(lambda count: None):
            states = [
                state == "failed" or unit.item.key in members
                for unit, state in itertools.chain.from_iterable(units)
            ]
            if any(states):
                scopes.add(name)
                total += len(states) if self._gathers else sum(states)
        return scopes, total

    def _look(self, scope: str, items: Iterator[Item]) -> Standing:
        if self._by_pages:
            return self._leading(scope, items)
        count = 0

        def counted() -> Iterator[_Member]:
            nonlocal count
            for count, item in enumerate(items, 1):  # noqa: B007
                yield self._member(item)

        members = counted()
        for level, step in enumerate(self._gathers, 1):
            members = self._paged(step, level, members)
        try:
            for _ in members:
                pass
        except _StaleError:
            return NOTHING
        return Standing(count)

    def _member(self, item: Item) -> _Member:
        return _Member(item, self._resumption.member(item))

    def _page(self, item: Item, level: int) -> UnitRecord | None:
        return self._resumption.page(self._resumption.page_key(item), level)

    def _leading(self, group: str, items: Iterator[Item]) -> Standing:
        """The pages that stand before the first that does not."""
        (step,) = self._gathers
        standing = NOTHING
        while record := self._page(page_item(step, group, standing.pages), 1):
            count = len(record.inputs)
            members = [self._member(item) for item in itertools.islice(items, count)]
            if not _same([member.signature for member in members], record.inputs):
                break
            if record.last and count < step.stage.most() and next(items, None) is not None:
                break  # there is room on it for a new picture
            standing = Standing(standing.items + count, standing.pages + 1)
        return standing

    def _paged(self, step: Step, level: int, members: Iterator[_Member]) -> Iterator[_Member]:
        """Members of the next level, as long as all of this one stand."""
        for group, run in itertools.groupby(members, lambda member: group_of(step, member.item)):
            previous = None
            for number in itertools.count():
                item = page_item(step, group, number)
                record = self._page(item, level)
                if record is None:
                    raise _StaleError
                # What is made of one member may begin on one page and end on the next.
                own = record.inputs[record.inputs[0].identity == previous :]
                found = [member.signature for member in itertools.islice(run, len(own))]
                if not _same(found, own):
                    raise _StaleError
                previous = record.inputs[-1].identity
                key = self._resumption.page_key(item)
                yield _Member(item, page_signature(key, record.inputs))
                if record.last:
                    break
            if next(run, None) is not None:
                raise _StaleError


def _same(found: list[Signature | None], recorded: tuple[Signature, ...]) -> bool:
    return [one and one.identity for one in found] == [one.identity for one in recorded]
