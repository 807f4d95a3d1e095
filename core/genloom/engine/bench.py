"""How fast a pipeline is end to end, beside what its models and its codecs take alone."""

from __future__ import annotations

import dataclasses
import statistics
import tempfile
import time
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from genloom import machine
from genloom.catalog import Catalog
from genloom.engine.binding import bind
from genloom.engine.calls import Caller
from genloom.engine.execute import execute
from genloom.engine.packet import Packet
from genloom.engine.plan import Plan
from genloom.engine.provenance import Beginnings
from genloom.engine.recording import NO_COST, ON_PROCESSOR, Recording, measured
from genloom.engine.report import Report
from genloom.engine.settings import RunSettings
from genloom.engine.stagerun import Shared
from genloom.engine.timing import Times
from genloom.errors import GenloomError
from genloom.pipeline import Pipeline, Step
from genloom.stage import Inputs
from genloom.types import Kind

ROUNDS = 3


@dataclass(frozen=True)
class Alone:
    """What a part of the work takes by itself.

    Attributes:
        name: of the model, or `decoding` or `encoding`.
        kind: `model`, `decode` or `encode`.
        cpu: seconds of one core that a picture takes.
        rate: pictures a second, with all threads at it and nothing else.
        on_processor: whether it is computed on the processor's cores.
        calls: how many of the run's calls were measured again; `of` so many.
    """

    name: str
    kind: str
    cpu: float
    rate: float
    on_processor: bool
    calls: int
    of: int


@dataclass(frozen=True)
class Bench:
    """How fast a pipeline is.

    Attributes:
        pictures: done in each round; `failed` were not.
        rates: pictures a second of each round, end to end.
        starting: seconds that the plan and compiling took, which no rate counts.
        cpu: seconds of one core that a picture took in the last round, all in all.
        alone: what the models and the codecs take by themselves.
        times: of the last round.
        endings: how many results had which ending.
    """

    pipeline: str
    pictures: int
    failed: int
    rates: tuple[float, ...]
    starting: float
    cores: int
    cpu: float
    alone: tuple[Alone, ...]
    times: Times
    endings: dict[str, int]
    models: dict[str, dict[str, Any]]

    @property
    def rate(self) -> float:
        """Pictures a second, end to end: the median."""
        return statistics.median(self.rates)

    @property
    def bound(self) -> float:
        """Pictures a second if nothing but models and codecs took time, on all cores at once."""
        needed = sum(one.cpu for one in self.alone)
        elsewhere = [one.rate for one in self.alone if not one.on_processor]
        most = [self.cores / needed] if needed > 0 else []
        return min([*most, *elsewhere], default=0.0)

    @property
    def reached(self) -> float:
        """Which share of the bound is reached; 0 where there is none."""
        return self.rate / self.bound if self.bound else 0.0

    @property
    def at_work(self) -> float:
        """Which share of the cores its busy threads really had; less where others want them too."""
        times = self.times
        busy = min(sum(one.seconds for one in times.threads), times.seconds * times.cores)
        return min(1.0, times.cpu / busy) if busy else 1.0

    @property
    def other(self) -> float:
        """Seconds of one core that a picture takes beside models and codecs."""
        return max(0.0, self.cpu - sum(one.cpu for one in self.alone))

    @property
    def bottleneck(self) -> str:
        """What takes most: the name of a part that was measured alone, or `other`."""
        for one in self.alone:
            if not one.on_processor and one.rate <= self.bound:
                return one.name
        costs = {one.name: one.cpu for one in self.alone} | {"other": self.other}
        return max(costs, key=lambda name: costs[name])

    def plain(self) -> dict[str, Any]:
        """As plain values, for JSON."""
        found = {field.name: getattr(self, field.name) for field in dataclasses.fields(self)}
        return {
            **found,
            "alone": [dataclasses.asdict(one) for one in self.alone],
            "rates": list(self.rates),
            "times": self.times.plain(),
            "rate": self.rate,
            "bound": self.bound,
            "reached": self.reached,
            "at_work": self.at_work,
            "other": self.other,
            "bottleneck": self.bottleneck,
        }


def bench(
    pipeline: Pipeline,
    catalog: Catalog,
    paths: Sequence[str],
    settings: RunSettings | None = None,
    rounds: int = ROUNDS,
) -> Bench:
    """Run a pipeline a few times into temporary folders, then its parts alone.

    Raises:
        GenloomError: when nothing can be run, or no picture comes through.
    """
    recording = Recording()
    with tempfile.TemporaryDirectory(prefix="genloom-bench-") as folder:
        began = time.perf_counter()
        out = Path(folder) / "out"
        inputs = Inputs(tuple(paths), out)
        plan = bind(pipeline, catalog, inputs, settings, watch=recording.watch)
        starting = time.perf_counter() - began
        reports = []
        for number in range(rounds):
            recording.on = number == rounds - 1
            own = replace(plan, inputs=replace(plan.inputs, out=Path(folder) / str(number)))
            reports.append(_run(own, recording))
        recording.on = False
        last = reports[-1]
        endings = Counter(path.suffix for path in own.out.rglob("*.*") if _is_result(path))
        alone = [*_models(plan, recording, last.done)]
        alone += _codecs(plan, recording, Path(folder), last.done)
        described = plan.describe()["models"]
    return Bench(
        pipeline=pipeline.name,
        pictures=last.done,
        failed=last.failed,
        rates=tuple(report.done / report.seconds for report in reports),
        starting=starting,
        cores=machine.cores(),
        cpu=last.times.cpu / last.done,
        alone=tuple(alone),
        times=last.times,
        endings=dict(endings),
        models=described,
    )


def _run(plan: Plan, recording: Recording) -> Report:
    report = execute(plan, meter=recording.meter)
    if report.outcome == "interrupted":
        raise KeyboardInterrupt
    if not report.done:
        reason = report.failures[0].reason if report.failures else "nothing was done"
        raise GenloomError("no picture came through, so there is nothing to measure", got=reason)
    return report


def _is_result(path: Path) -> bool:
    return path.is_file() and ".genloom" not in path.parts


def _models(plan: Plan, recording: Recording, pictures: int) -> list[Alone]:
    """Each model by itself: the compiled networks on tensors that the run gave them."""
    found = []
    for name in plan.models:
        networks = [one for one in recording.networks if one.model == name and one.calls.count]
        cost = NO_COST
        for one in networks:
            taken = measured(one.network.run, one.calls.kept, plan.workers)
            cost += taken.times(one.calls.scale / pictures)
        if networks:
            found.append(
                Alone(
                    name=name,
                    kind="model",
                    cpu=cost.cpu,
                    rate=1 / cost.wall,
                    on_processor=all(one.network.provider in ON_PROCESSOR for one in networks),
                    calls=sum(len(one.calls.kept) for one in networks),
                    of=sum(one.calls.count for one in networks),
                )
            )
    return found


def _codecs(plan: Plan, recording: Recording, folder: Path, pictures: int) -> list[Alone]:
    """Decoding and encoding by themselves: the stages of the plan, on what the run gave them."""
    first = plan.steps[0]
    opening = [first] if first.stage.gives == Kind.IMAGE else []
    writing = [step for step in plan.steps if step.stage.writes]
    caller, found = _caller(plan, folder), []
    for kind, name, steps in (("decode", "decoding", opening), ("encode", "encoding", writing)):
        samples = [
            (step, recording.packets[step.id]) for step in steps if step.id in recording.packets
        ]
        cost = NO_COST
        for step, sample in samples:

            def again(packet: Packet, step: Step = step) -> None:
                caller.apply([step], [packet])

            taken = measured(again, sample.kept, plan.codecs)
            cost += taken.times(sample.scale / pictures)
        if samples:
            found.append(
                Alone(
                    name=name,
                    kind=kind,
                    cpu=cost.cpu,
                    rate=1 / cost.wall,
                    on_processor=True,
                    calls=sum(len(sample.kept) for _, sample in samples),
                    of=sum(sample.count for _, sample in samples),
                )
            )
    return found


def _caller(plan: Plan, folder: Path) -> Caller:
    """Calls stages as the run did, and writes into a folder that is deleted."""
    last = plan.pipeline.last
    return Caller(
        plan.pipeline.seed,
        plan.models,
        folder,
        {},
        last.id if last else "",
        Beginnings(plan).of,
        Shared(plan.files),
    )
