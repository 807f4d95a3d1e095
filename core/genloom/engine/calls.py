"""Calling stages, guarded: what a stage gives is checked, and what it raises is a failure."""

from __future__ import annotations

import traceback
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import numpy as np

from genloom import imaging, scratch
from genloom.engine.packet import FAULTS, Packet
from genloom.engine.pages import Page
from genloom.engine.stagerun import Shared, StageRun
from genloom.engine.timing import Meter
from genloom.errors import GenloomError, StageError
from genloom.pipeline import Step
from genloom.stage import Box, Cardinality, Model
from genloom.types import Array, Batch, Item, Kind, as_dtype, changed, join


@dataclass(frozen=True)
class Caller:
    """Calls stages with what a run offers them. Safe to use from several threads.

    Attributes:
        seed: the pipeline's seed.
        models: the models that options name.
        temporary: folder for files that are being written.
        plugins: who brought each stage that is not genloom's own, by the step's id.
        last: id of the step whose results are written and not touched again, if there is one.
        records: what the record of every output of a step begins with.
        shared: what calls have in common.
        meter: measures the calls.
    """

    seed: int
    models: Mapping[str, Model]
    temporary: Path
    plugins: Mapping[str, str]
    last: str = ""
    records: Callable[[Step], str] | None = None
    shared: Shared = field(default_factory=Shared)
    meter: Meter = field(default_factory=Meter)

    def apply(
        self, segment: Sequence[Step], packets: list[Packet], *, stored: bool = False
    ) -> list[list[Packet]]:
        """Put packets of one shape through stages; each becomes a list of packets.

        `stored` asks for pictures as the 8 bits they will be written in, where they will be.
        """
        if len(segment) == len(packets) == 1 and packets[0].batch is not None:
            return self._call(segment[0], packets, stored)
        results = [[packet] for packet in packets]
        for step in segment:
            flat = [packet for group in results for packet in group if packet.batch is not None]
            if not flat:
                break
            done = iter(self._call(step, flat, stored and step is segment[-1]))
            results = [
                [out for p in group for out in (next(done) if p.batch is not None else [p])]
                for group in results
            ]
        return results

    def _call(self, step: Step, packets: list[Packet], stored: bool = False) -> list[list[Packet]]:
        """One call of one stage; when it fails on several, each is tried by itself."""
        with self.meter.call(step, packets):
            try:
                return self._called(step, packets, stored)
            except FAULTS as error:
                if len(packets) == 1:
                    return [[self._failed(step, packets[0], error)]]
        return self.each(step, packets, stored)

    def each(
        self, step: Step, packets: Sequence[Packet], stored: bool = False
    ) -> list[list[Packet]]:
        """Put packets through one stage, each in a call of its own."""
        good = [packet for packet in packets if packet.batch is not None]
        with self.meter.call(step, good, calls=len(good)):
            return [self._alone(step, packet, stored) for packet in packets]

    def _alone(self, step: Step, packet: Packet, stored: bool) -> list[Packet]:
        if packet.batch is None:
            return [packet]
        try:
            return self._called(step, [packet], stored)[0]
        except FAULTS as error:
            return [self._failed(step, packet, error)]

    def _called(self, step: Step, packets: list[Packet], stored: bool) -> list[list[Packet]]:
        run = self._run(step, packets)
        run.ends = step.id == self.last and all(p.item.info.bits == 8 for p in packets)
        try:
            before = join([packet.batch for packet in packets if packet.batch is not None])
            after = step.stage(before, run)
            if stored and isinstance(after, Batch):
                after = _as_stored(after)
            return _split(step, packets, before, after, run)
        except FAULTS:
            _drop(run)
            raise

    def gather(self, step: Step, page: Page) -> list[Packet]:
        """Make of a page what a gathering stage makes of it."""
        packet = Packet(page.unit, page.unit.item)
        batches = [member.batch for member in page.members if member.batch is not None]
        whole, failed = len(page.members), len(page.members) - len(batches)
        if not batches:
            return [packet.failed(step.id, "none of its pictures is left")]
        if failed and not getattr(step.stage, "allow_missing", False):
            reason = f"{failed} of {whole} pictures failed; `allow_missing` goes without"
            return [packet.failed(step.id, reason)]
        run = self._run(step, [packet])
        try:
            with self.meter.call(step, page.members):
                after = step.stage.gather(batches, page.unit.item, run)
            _check_given(step, after)
            packets = [Packet(page.unit, one.items[0], one) for one in after]
        except FAULTS as error:
            _drop(run)
            return [self._failed(step, packet, error)]
        packets[0] = replace(packets[0], outputs=tuple(run.outputs))
        return packets

    def place(self, step: Step, packet: Packet) -> Packet:
        """The packet with the group that a stage puts it in."""
        try:
            return replace(packet, group=step.stage.group_of(packet.item))
        except FAULTS as error:
            return packet if packet.batch is None else self._failed(step, packet, error)

    def _failed(self, step: Step, packet: Packet, error: BaseException) -> Packet:
        """The packet, failed on what a stage raised; a plugin's stage is blamed by its name."""
        text = str(error) if isinstance(error, GenloomError) else f"{type(error).__name__}: {error}"
        plugin = self.plugins.get(step.id)
        reason = f"{text} (in the plugin {plugin})" if plugin else text
        return packet.failed(step.id, reason, traceback.format_exc())

    def _run(self, step: Step, packets: Sequence[Packet]) -> StageRun:
        beginning = self.records(step) if self.records and step.stage.writes else ""
        run = StageRun(
            step.id,
            self.seed,
            self.models,
            self.temporary,
            packets=packets,
            beginning=beginning,
            shared=self.shared,
        )
        run.keep = not (step.stage.writes and packets[0].unit.known)
        return run


def _as_stored(batch: Batch) -> Batch:
    """Pictures that only wait to be written, as the 8 bits they will be written in."""
    if batch.kind != Kind.IMAGE or any(item.info.bits != 8 for item in batch.items):
        return batch
    try:
        return changed(batch, values=as_dtype(batch.values, np.uint8))
    except ValueError:  # the stage that writes it will fail on it, and say why
        return batch


def _drop(run: StageRun) -> None:
    """Delete what a call wrote before it failed."""
    for output in run.outputs:
        output.drop()


def _split(
    step: Step, packets: list[Packet], before: Batch, after: Batch, run: StageRun
) -> list[list[Packet]]:
    """Hand the results of a call back to the packets they belong to."""
    if not step.stage.cardinality.gathers:
        _check_given(step, after)
    after = _follow(step, before, after)
    if after.values is not before.values:
        after = _compact(after)
    if len(after) == len(packets):
        results = [
            [changed(p, batch=one, item=one.items[0], drew=_drew(p, one, run))]
            for p, one in zip(packets, after, strict=True)
        ]
        if run.outputs:
            results[0][0] = changed(results[0][0], outputs=(*packets[0].outputs, *run.outputs))
        return results
    if step.stage.cardinality == Cardinality.ONE_TO_ONE or len(after) % len(packets):
        raise StageError(
            f"the stage '{step.name}' gave a wrong number of items",
            expected=f"{len(packets)}",
            got=f"{len(after)}",
        )
    share = len(after) // len(packets)
    children = list(after)
    results = []
    for index, packet in enumerate(packets):
        own = children[index * share : (index + 1) * share]
        made = [Packet(packet.unit, one.items[0], one, drew=_drew(packet, one, run)) for one in own]
        made[0] = replace(made[0], outputs=packet.outputs)
        results.append(made)
    results[0][0] = replace(results[0][0], outputs=(*packets[0].outputs, *run.outputs))
    return results


def _drew(packet: Packet, after: Batch, run: StageRun) -> bool:
    """Whether random numbers were drawn for a result, or for what it was made of."""
    if not run.drawn:
        return packet.drew
    return packet.drew or bool(run.drawn & {packet.item.key, after.items[0].key})


def _check_given(step: Step, after: Any) -> None:
    if isinstance(after, Batch) and not len(after):
        raise StageError(f"the stage '{step.name}' gave no items")
    if not isinstance(after, Batch) or after.kind != step.stage.gives:
        raise StageError(
            f"the stage '{step.name}' gave something else than it says",
            expected=f"a batch of kind {step.stage.gives}",
            got=str(after.kind) if isinstance(after, Batch) else type(after).__name__,
        )


def _compact(batch: Batch) -> Batch:
    """The same batch, of which no array keeps a much larger one alive: a crop its picture, say."""
    variance, values = batch.log_variance, _own(batch.values)
    if values is batch.values and variance is None and not any(map(_has_more, batch.items)):
        return batch
    items = [
        item
        if not _has_more(item)
        else replace(
            item,
            alpha=None if item.alpha is None else _own(item.alpha),
            guides={name: _own(guide) for name, guide in item.guides.items()},
        )
        for item in batch.items
    ]
    return changed(
        batch,
        items=tuple(items),
        values=values,
        log_variance=variance if variance is None else _own(variance),
    )


def _has_more(item: Item) -> bool:
    return item.alpha is not None or bool(item.guides)


def _own(array: Array) -> Array:
    base = getattr(array.base, "nbytes", 0)
    return scratch.copied(array) if base > 2 * array.nbytes else array


def _follow(step: Step, before: Batch, after: Batch) -> Batch:
    """Bring alpha and guides to the size of the pictures a stage gave."""
    if after.kind != Kind.IMAGE or not any(map(_has_more, after.items)):
        return after
    box = step.stage.crop_box(*before.size) if before.kind == Kind.IMAGE else None
    items = []
    for item in after.items:
        alpha = None if item.alpha is None else _followed(item.alpha, box, after.size)
        guides = {name: _followed(guide, box, after.size) for name, guide in item.guides.items()}
        items.append(replace(item, alpha=alpha, guides=guides))
    return after.with_items(items)


def _followed(array: Array, box: Box | None, size: tuple[int, int]) -> Array:
    """What belongs to a picture, H×W or H×W×C, cropped and resized as the picture was.

    By the bicubic filter: beside the edge of a cut-out part Lanczos leaves a faint line.
    """
    if box is not None:
        top, left, height, width = box
        array = array[top : top + height, left : left + width]
    if array.shape[:2] != size:
        array = imaging.resize(array, *size, "bicubic")
    return array
