"""The stream of a run: one generator for each segment of the chain, pulled from the end.

Decoding and writing have threads of their own, networks have theirs; one thread orchestrates. All
streams are ordered, so stages that gather see their group in order and whole.

A unit is settled where its last packet passes: a picture before the first stage that gathers, a
page before the next one, or at the end. Only then is it committed.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterator, Sequence, Set
from concurrent.futures import Executor
from dataclasses import dataclass, replace
from typing import Any

import numpy as np

from genloom.engine import flow, pages
from genloom.engine.calls import Caller
from genloom.engine.packet import FAULTS, Packet, Unit
from genloom.engine.pages import Page
from genloom.engine.plan import BATCH, BATCH_PIXELS, Plan
from genloom.engine.resume import Resumption, sign
from genloom.engine.standing import Survey
from genloom.pipeline import Step
from genloom.stage import Cardinality
from genloom.types import Batch, Kind, as_dtype


@dataclass(frozen=True)
class Stream:
    """Makes the stream of a plan.

    Attributes:
        files: threads that decode and write.
        compute: threads that compute.
        settle: told of every unit that is through.
        skip: told of every unit that is not needed, because it is done.
    """

    plan: Plan
    caller: Caller
    resumption: Resumption
    files: Executor
    compute: Executor
    settle: Callable[[Unit], None]
    skip: Callable[[Unit], None]

    def run(self, only: Set[str] | None = None, *, failed: bool = False) -> None:
        """Pull everything through the chain, or only what belongs to some scopes.

        `failed` leaves out what did not fail at its last try, unless its group needs it.
        """
        steps = list(self.plan.steps)
        numbers: Counter[str] = Counter()
        stream = self._sources(numbers, only, failed)
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
        self, numbers: Counter[str], only: Set[str] | None, failed: bool
    ) -> Iterator[Packet]:
        gathers = len(self.plan.digests) > 1
        for name, standing, units in Survey(self.plan, self.resumption).scopes():
            if only is not None and name not in only:
                continue
            numbers.setdefault(name, standing.pages)
            for unit, state in units:
                if failed and not gathers and state != "failed":
                    continue
                if state == "done" and (unit.lone or not gathers):
                    self.skip(unit)
                    continue
                unit.known = self.resumption.writes and state == "done"
                unit.failed_before = state == "failed"
                yield Packet(unit, unit.item, Batch.nothing([unit.item]))

    def _one_by_one(self, step: Step, stream: Iterator[Packet]) -> Iterator[Packet]:
        """Decoding and writing: each item by itself, in the threads for files."""
        opens = step is self.plan.steps[0]

        def call(packet: Packet) -> list[Packet]:
            if opens:
                packet.unit.inputs = (sign(packet.item),)
            return self.caller.apply([step], [packet])[0]

        results = flow.ordered(
            self.files,
            call,
            stream,
            cost=lambda packet: _cost(step, packet) if opens else packet.nbytes,
            result_cost=_bytes,
            budget=self.plan.settings.queue_bytes,
            most=64 + 4 * self.plan.workers,
            workers=max(2, self.plan.workers),
        )
        return (packet for packets in results for packet in packets)

    def _in_batches(
        self, segment: Sequence[Step], following: Sequence[Step], stream: Iterator[Packet]
    ) -> Iterator[Packet]:
        """Computing: items of one shape together, in the threads for networks."""
        size = self.plan.settings.batch or BATCH
        ends_in_file = len(following) == 1 and following[0].stage.writes

        def call(packets: list[Packet]) -> list[list[Packet]]:
            results = self.caller.apply(segment, packets)
            if ends_in_file:
                results = [[_as_stored(packet) for packet in group] for group in results]
            return results

        def full(count: int, nbytes: int) -> bool:
            pixels = nbytes / 3
            return count >= size or (not self.plan.settings.batch and pixels >= BATCH_PIXELS)

        results = flow.grouped(
            self.compute,
            call,
            stream,
            key=_shape,
            cost=lambda packet: packet.nbytes,
            full=full,
            result_cost=_bytes,
            budget=self.plan.settings.queue_bytes,
            most=4 * size * self.plan.workers,
            workers=self.plan.workers,
        )
        return (packet for packets in results for packet in packets)

    def _gathered(
        self, step: Step, stream: Iterator[Packet], level: int, numbers: Counter[str]
    ) -> Iterator[Packet]:
        """Groups: members wait until their page is whole, then become one call."""
        prepared = self._in_batches([step], [], stream)
        members = self._settled(self.caller.place(step, packet) for packet in prepared)
        cut = pages.cut(step, members, level, numbers, self.resumption.page_key)
        results = flow.ordered(
            self.compute,
            lambda page: self.caller.gather(step, page),
            self._wanted(cut),
            cost=lambda page: page.nbytes,
            result_cost=_bytes,
            budget=self.plan.settings.queue_bytes,
            most=2 * self.plan.workers,
            workers=self.plan.workers,
        )
        return (packet for packets in results for packet in packets)

    def _wanted(self, stream: Iterator[Page]) -> Iterator[Page]:
        """The pages that are not done, or that the next stage that gathers needs."""
        for page in stream:
            page.unit.known = not self.plan.settings.force and self.resumption.is_done(page.unit)
            if page.unit.known and page.unit.level == len(self.plan.digests) - 1:
                self.settle(page.unit)
            else:
                yield page

    def _settled(self, stream: Iterator[Packet]) -> Iterator[Packet]:
        """Packets of units that are settled here; those of lone units go no further."""
        unit: Unit | None = None
        for packet in stream:
            if unit is not None and packet.unit is not unit:
                self.settle(unit)
            unit = packet.unit
            unit.take(packet)
            if not unit.lone:
                yield packet
        if unit is not None:
            self.settle(unit)


def _alone(step: Step) -> bool:
    return step.stage.writes or step.stage.cardinality == Cardinality.NONE_TO_MANY


def _joins(step: Step) -> bool:
    return step.stage.cardinality == Cardinality.ONE_TO_ONE and not step.stage.writes


def _cost(step: Step, packet: Packet) -> int:
    try:
        return step.stage.cost(packet.item)
    except FAULTS:
        return 0  # what it costs is not known; the call itself may go well


def _bytes(packets: Sequence[Packet]) -> int:
    return sum(packet.nbytes for packet in packets)


def _as_stored(packet: Packet) -> Packet:
    """Pictures that only wait to be written, as the 8 bits they will be written in."""
    batch = packet.batch
    if batch is None or batch.kind != Kind.IMAGE or packet.item.info.bits != 8:
        return packet
    try:
        return replace(packet, batch=batch.with_pixels(as_dtype(batch.pixels, np.uint8)))
    except ValueError:  # the stage that writes it will fail on it, and say why
        return packet


def _shape(packet: Packet) -> Any:
    batch = packet.batch
    if batch is None:
        return None
    extras = (batch.log_variance is not None, batch.label is not None)
    return (batch.kind, batch.values.shape[1:], batch.values.dtype, batch.model, *extras)
