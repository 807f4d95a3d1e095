"""The stream of a run: one generator for each segment of the chain, pulled from the end.

Decoding and writing have threads of their own, networks have theirs; one thread orchestrates. All
streams are ordered, so stages that gather see their group in order and whole. They are streams of
handfuls: packets that are there at the same time (`genloom.engine.flow`).

A unit is settled where its last packet passes: a picture before the first stage that gathers, a
page before the next one, or at the end. Only then is it committed.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Sequence, Set
from concurrent.futures import Executor
from dataclasses import dataclass
from typing import Any

from genloom.engine import flow, pages
from genloom.engine.calls import Caller
from genloom.engine.opening import signed, with_bytes, without_bytes
from genloom.engine.packet import FAULTS, Packet, Unit
from genloom.engine.pages import Page
from genloom.engine.plan import Plan
from genloom.engine.resume import Resumption
from genloom.engine.standing import NOTHING, Scopes, Survey, Units
from genloom.engine.timing import COMPUTE, DECODE, FILES, NETWORKS, WRITE, Lane
from genloom.limits import READ_ONCE, SMALL_FILE
from genloom.pipeline import Step
from genloom.stage import Cardinality
from genloom.types import Batch, Kind

Handfuls = Iterator[Iterable[Packet]]


@dataclass(frozen=True)
class Stream:
    """Makes the stream of a plan.

    Attributes:
        files: threads that decode and write.
        compute: threads that compute.
        settle: told of every unit that is through.
        skip: told of how many units are not needed, because they are done.
    """

    plan: Plan
    caller: Caller
    resumption: Resumption
    files: Executor
    compute: Executor
    settle: Callable[[Unit], None]
    skip: Callable[[int], None]

    def run(
        self,
        only: Set[str] | None = None,
        *,
        failed: bool = False,
        begun: Units | None = None,
    ) -> None:
        """Pull everything through the chain, or only what belongs to some scopes.

        `failed` leaves out what did not fail at its last try, unless its group needs it. `begun`
        are the units where they were looked at before: see `Survey.look_ahead`.
        """
        steps = list(self.plan.steps)
        numbers: Counter[str] = Counter()
        passed = (lambda count: None) if failed else self.skip
        scopes = Survey(self.plan, self.resumption).scopes(passed)
        if begun is not None:
            scopes = iter([("", NOTHING, begun)])
        stream = self._sources(scopes, numbers, only, failed)
        level = 0
        while steps:
            first = steps[0]
            if first.stage.cardinality.gathers:
                level += 1
                stream = self._gathered(steps.pop(0), stream, level, numbers)
                numbers = Counter()
            elif _alone(first):
                stream = self._one_by_one(steps.pop(0), stream)
            elif first.stage.cardinality == Cardinality.ONE_TO_MANY:
                stream = self._in_batches([steps.pop(0)], steps, stream)
            else:
                segment = []
                while steps and _joins(steps[0]):
                    segment.append(steps.pop(0))
                stream = self._in_batches(segment, steps, stream)
        for _ in self._settled(stream):
            pass

    def _sources(
        self, scopes: Scopes, numbers: Counter[str], only: Set[str] | None, failed: bool
    ) -> Handfuls:
        gathers = len(self.plan.digests) > 1
        for name, standing, units in scopes:
            if only is not None and name not in only:
                continue
            numbers.setdefault(name, standing.pages)
            for some in units:
                packets = []
                for unit, state in some:
                    if failed and not gathers and state != "failed":
                        continue
                    if state == "done" and (unit.lone or not gathers):
                        self.skip(1)
                        continue
                    unit.known = self.resumption.writes and state == "done"
                    unit.failed_before = state == "failed"
                    packets.append(Packet(unit, unit.item, Batch.nothing([unit.item])))
                for start in range(0, len(packets), flow.HANDFUL):
                    yield packets[start : start + flow.HANDFUL]

    def _one_by_one(self, step: Step, stream: Handfuls) -> Handfuls:
        """Decoding and writing: each item by itself, in the threads for files."""
        opens = step is self.plan.steps[0]

        def call(packets: list[Packet]) -> list[list[Packet]]:
            with self.caller.meter.busy(FILES):
                if not opens:
                    return self.caller.each(step, packets)
                packets = [with_bytes(packet, READ_ONCE) for packet in packets]
                for packet in packets:
                    packet.unit.inputs = (signed(packet),)
                done = self.caller.each(step, packets)
                return [[without_bytes(packet) for packet in made] for made in done]

        if opens:
            stream = ((with_bytes(packet, SMALL_FILE) for packet in some) for some in stream)
        most = 64 + 4 * self.plan.codecs
        results = flow.ordered(
            self.files,
            call,
            stream,
            cost=lambda packet: _cost(step, packet) if opens else packet.nbytes,
            result_cost=_bytes,
            budget=self.plan.queue_bytes,
            most=most,
            workers=self.plan.codecs,
            lane=self._lane([step], FILES, most),
        )
        return _flat(results)

    def _in_batches(
        self, segment: Sequence[Step], following: Sequence[Step], stream: Handfuls
    ) -> Handfuls:
        """Computing: items of one shape together, in the threads for networks."""
        size = self.plan.batch
        most = 4 * size * self.plan.workers
        ends_in_file = len(following) == 1 and following[0].stage.writes

        def call(packets: list[Packet]) -> list[list[Packet]]:
            with self.caller.meter.busy(NETWORKS):
                return self.caller.apply(segment, packets, stored=ends_in_file)

        def full(count: int, nbytes: int) -> bool:
            pixels = nbytes / 3
            return count >= size or (
                not self.plan.settings.batch and pixels >= self.plan.batch_pixels
            )

        results = flow.grouped(
            self.compute,
            call,
            stream,
            key=lambda packet, _: _shape(packet),
            cost=lambda packet: packet.nbytes,
            full=full,
            result_cost=_bytes,
            budget=self.plan.queue_bytes,
            most=most,
            workers=self.plan.workers,
            lane=self._lane(segment, NETWORKS, most),
        )
        return _flat(results)

    def _gathered(
        self, step: Step, stream: Handfuls, level: int, numbers: Counter[str]
    ) -> Handfuls:
        """Groups: members wait until their page is whole, then become one call."""
        prepared = self._in_batches([step], [], stream)
        placed = ([self.caller.place(step, packet) for packet in some] for some in prepared)
        members = (packet for some in self._settled(placed) for packet in some)
        cut = pages.cut(step, members, level, numbers, self.resumption.page_key)

        def call(some: list[Page]) -> list[list[Packet]]:
            with self.caller.meter.busy(NETWORKS):
                return [self.caller.gather(step, page) for page in some]

        most = 2 * self.plan.workers
        results = flow.ordered(
            self.compute,
            call,
            ([page] for page in self._wanted(cut)),
            cost=lambda page: page.nbytes,
            result_cost=_bytes,
            budget=self.plan.queue_bytes,
            most=most,
            workers=self.plan.workers,
            lane=self._lane([step], NETWORKS, most, pages=True),
        )
        return _flat(results)

    def _lane(self, steps: Sequence[Step], pool: str, most: int, *, pages: bool = False) -> Lane:
        """What measures the queue before some stages."""
        budget, first = self.plan.queue_bytes, steps[0]
        side = COMPUTE
        if pool == FILES and first.stage.gives == Kind.IMAGE:
            side = DECODE if first is self.plan.steps[0] else WRITE
        return self.caller.meter.lane(steps, side, pool, budget=budget, most=most, pages=pages)

    def _wanted(self, stream: Iterator[Page]) -> Iterator[Page]:
        """The pages that are not done, or that the next stage that gathers needs."""
        for page in stream:
            page.unit.known = not self.plan.settings.force and self.resumption.is_done(page.unit)
            if page.unit.known and page.unit.level == len(self.plan.digests) - 1:
                self.settle(page.unit)
            else:
                yield page

    def _settled(self, stream: Handfuls) -> Handfuls:
        """Packets of units that are settled here; those of lone units go no further."""
        unit: Unit | None = None
        for some in stream:
            going_on = []
            for packet in some:
                if unit is not None and packet.unit is not unit:
                    self.settle(unit)
                unit = packet.unit
                unit.take(packet)
                if not unit.lone:
                    going_on.append(packet)
            yield going_on
        if unit is not None:
            self.settle(unit)


def _alone(step: Step) -> bool:
    return step.stage.writes or step.stage.cardinality == Cardinality.NONE_TO_MANY


def _joins(step: Step) -> bool:
    return step.stage.cardinality == Cardinality.ONE_TO_ONE and not step.stage.writes


def _cost(step: Step, packet: Packet) -> int:
    item = packet.item
    held = len(item.encoded or b"")
    # What was not read early is larger than that, and must not be read by the handful.
    unread = SMALL_FILE if item.source is not None and item.encoded is None else 0
    try:
        return held + unread + step.stage.cost(item)
    except FAULTS:
        return held  # what it costs is not known; the call itself may go well


def _flat(results: Iterator[list[list[Packet]]]) -> Handfuls:
    return ([packet for packets in some for packet in packets] for some in results)


def _bytes(packets: Sequence[Packet]) -> int:
    return sum(packet.nbytes for packet in packets)


def _shape(packet: Packet) -> Any:
    batch = packet.batch
    if batch is None:
        return None
    extras = (batch.log_variance is not None, batch.label is not None)
    return (batch.kind, batch.values.shape[1:], batch.values.dtype, batch.model, *extras)
