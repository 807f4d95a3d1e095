"""Run a plan: stream its items through the stages, commit what is finished, keep the journal."""

from __future__ import annotations

import dataclasses
import time
from collections.abc import Callable, Mapping, Set
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

from genloom import scratch
from genloom.engine.asked import Asked
from genloom.engine.calls import Caller
from genloom.engine.commit import Committer
from genloom.engine.interrupt import Interrupts, heed
from genloom.engine.journal import Journal
from genloom.engine.packet import Unit
from genloom.engine.plan import Plan
from genloom.engine.provenance import Beginnings
from genloom.engine.report import Report
from genloom.engine.resume import Resumption
from genloom.engine.stagerun import Shared
from genloom.engine.standing import Survey, Units
from genloom.engine.stream import Stream
from genloom.engine.timing import FILES, NETWORKS, Meter
from genloom.runtime import EXACT

GROUP_FILES = 256
GROUP_SECONDS = 0.5
SKIPPED = 256
"""Items that were done before and are told of in one event."""

Observer = Callable[[dict[str, Any]], None]


def _told(options: Mapping[str, str]) -> str:
    told = ", ".join(f"{name}={value}" for name, value in options.items())
    return f"the provider's options {told}" if told else "no options of the provider"


class _StopError(Exception):
    """--fail-fast met its first failure."""


def execute(
    plan: Plan,
    observe: Observer | None = None,
    *,
    failed_only: bool = False,
    meter: Callable[[Mapping[str, int]], Meter] = Meter,
) -> Report:
    """Run a plan.

    Args:
        plan: what to run.
        observe: told of every event: `start`, `item`, `skipped` (of several items), `note` (a call
            that ran out of memory), `end`.
        failed_only: run only what failed at its last try, and what is needed for its groups.
        meter: makes what measures it, of the number of threads of each pool.

    Raises:
        OutputError: when the output folder is in use or cannot be written.
    """
    with Journal(plan.out, plan.shard) as journal, Interrupts() as interrupts:
        execution = _Execution(plan, journal, observe or (lambda event: None), interrupts, meter)
        execution.failed_only = failed_only
        return execution.run()


class _Execution:
    def __init__(
        self,
        plan: Plan,
        journal: Journal,
        observe: Observer,
        interrupts: Interrupts,
        meter: Callable[[Mapping[str, int]], Meter],
    ) -> None:
        self.plan, self.journal, self.observe, self.interrupts = plan, journal, observe, interrupts
        self.report = Report(providers=dict(plan.providers))
        threads = {FILES: plan.codecs, NETWORKS: plan.workers}
        large = (journal.temporary,)
        self.files = ThreadPoolExecutor(threads[FILES], "files", scratch.use, large)
        self.compute = ThreadPoolExecutor(threads[NETWORKS], "compute", self._compute_thread)
        self.meter = meter(threads)
        self.committer = Committer(plan, journal)
        self.resumption = Resumption(plan, journal)
        self.failed_only = False
        self.only: Set[str] | None = None
        self.ahead: Units | None = None
        self.skipped, self.began = 0, False
        self.flushed = time.monotonic()
        self.revived: set[str] = set()
        self.again = False
        self.told: set[tuple[str, str]] = set()

    def _compute_thread(self) -> None:
        scratch.use(self.journal.temporary)
        heed(self.interrupts.ending)

    def run(self) -> Report:
        started = time.monotonic()
        try:
            self._begin()
            self._stream()
            self._note_gone()
            self.report.outcome = "failed" if self.report.failures else "done"
        except KeyboardInterrupt:
            self.report.outcome = "interrupted"
        except _StopError:
            self.report.outcome = "stopped"
        finally:
            self.interrupts.closing()
            try:
                self._close()
            finally:
                self.report.seconds = time.monotonic() - started
                self.report.times = self.meter.times()
                self.journal.end_run(self.report.outcome, self.report.counts())
        self.plan.catalog.notify("genloom_after_run", report=self.report)
        self.observe({"event": "end", "report": self.report})
        return self.report

    def _begin(self) -> None:
        self.journal.clear_temporary()
        self._go_on_as_before()
        self._look_ahead()
        described = self.plan.describe()
        self.journal.begin_run(described, dataclasses.asdict(Asked.of(self.plan)))
        self.precisions = self._precisions()
        self.plan.catalog.notify("genloom_before_run", plan=self.plan)
        self.observe({"event": "start", "total": self.report.total, "plan": described})
        self.began = True

    def _look_ahead(self) -> None:
        """Tell how many items there are before the first is worked on.

        Where little is left to do, its first look at everything tells a run that; else they are
        counted.
        """
        survey = Survey(self.plan, self.resumption)
        if self.failed_only:
            self.only, self.report.total = survey.failed()
            return
        if survey.passes and not self.resumption.is_first:
            self.ahead, undone = survey.look_ahead(self._skip)
            if undone is not None:
                self.plan.counted(self.report.skipped + undone)
        self.report.total = self.plan.total

    def _go_on_as_before(self) -> None:
        """Compute in the precision that runs before this one, or other shards, settled on.

        And say so when they computed on something else.
        """
        settings = self.plan.settings
        options, auto = dict(settings.provider_options), settings.precision == "auto"
        for run, before in self.journal.resolved_before().items():
            others = before.get("provider_options", options)
            if others != options and self.plan.providers:
                note = f"computed with {_told(options)}; {run} had {_told(others)}"
                self.report.notes[note] = list(self.plan.providers)
            for name, provider in self.plan.providers.items():
                then = before.get("models", {}).get(name, {})
                other = then.get("provider", provider)
                if other != provider:
                    note = f"computed on {provider}; {run} used {other}"
                    self.report.notes.setdefault(note, []).append(name)
                    continue
                model = self.plan.models.get(name) if auto and not settings.force else None
                if before.get("precision_floor") != settings.precision_floor:
                    continue
                if model is not None and then.get("digest") == model.digest:
                    model.networks.keep(then.get("precision", {}))
        for name, answer in self.plan.tuned.items():
            if answer.precision == EXACT:  # a lower one is compared here too
                model = self.plan.models[name]
                model.networks.keep(dict.fromkeys(model.card.parts, EXACT))

    def _precisions(self) -> dict[str, dict[str, str]]:
        return {name: model.precisions for name, model in self.plan.models.items()}

    def _note_precisions(self) -> None:
        """Write down what was settled on, so that the next run goes on with it."""
        if (now := self._precisions()) != self.precisions:
            self.precisions = now
            self.journal.resolve(self.plan.describe())

    def _tell_reductions(self) -> None:
        for name, model in self.plan.models.items():
            for note in model.fallback.reductions():
                if (name, note) not in self.told:
                    self.told.add((name, note))
                    self.observe({"event": "note", "note": note, "models": [name]})

    def _note_gone(self) -> None:
        """Say so when inputs were counted that were not met again."""
        report = self.report
        gone = report.total - report.done - report.skipped - report.failed
        if gone > 0:
            said = f"{gone} of the {report.total} inputs there were at first had gone meanwhile"
            report.notes[said] = list(self.plan.inputs.paths[:1])

    def _stream(self) -> None:
        owners = {step.id: self.plan.catalog.stage_owner(step.name) for step in self.plan.steps}
        plugins = {name: str(owner) for name, owner in owners.items() if not owner.builtin}
        last = self.plan.pipeline.last
        stream = Stream(
            plan=self.plan,
            caller=Caller(
                self.plan.pipeline.seed,
                self.plan.models,
                self.journal.temporary,
                plugins,
                last.id if last else "",
                Beginnings(self.plan).of,
                Shared(self.plan.files),
                self.meter,
            ),
            resumption=self.resumption,
            files=self.files,
            compute=self.compute,
            settle=self._settle,
            skip=self._skip,
        )
        stream.run(self.only, failed=self.failed_only, begun=self.ahead)
        self._flush()
        if self.revived:  # groups that were made without a picture which is done now
            self.again = True
            stream.run(only=self.revived)
            self._flush()

    def _close(self) -> None:
        """Let running calls end, large pictures at their next tile, and keep what is finished."""
        self.compute.shutdown(wait=True, cancel_futures=True)
        self._tell_skipped()
        try:
            if len(self.committer):
                self._flush()
        finally:
            self.files.shutdown(wait=True, cancel_futures=True)
            self.committer.close()
            self.journal.clear_temporary()
        self.report.precisions = self._precisions()
        for name, model in self.plan.models.items():
            notes = model.fallback.notes()
            if name in self.plan.untuned:
                notes.append(f"{self.plan.untuned[name]}; `genloom tune` would find anew")
            if (asked := self.plan.settings.tile) and (why := model.cutting.unheeded):
                notes.append(f"tiles of {asked} were asked for, but {why}")
            if model.bundle.changed:
                notes.append("changed during the run, which went on with the model as it was")
            for note in notes:
                self.report.notes.setdefault(note, []).append(name)

    # What becomes of units: they are committed in groups, counted and told.

    def _skip(self, count: int) -> None:
        if not self.again:
            self.report.skipped += count
            self.skipped += count
            if self.skipped >= SKIPPED:
                self._tell_skipped()

    def _tell_skipped(self) -> None:
        if self.skipped and self.began:  # who watches is told of the start first
            self.observe({"event": "skipped", "items": self.skipped})
            self.skipped = 0

    def _settle(self, unit: Unit) -> None:
        with self.interrupts.held():
            self.committer.add(unit)
        if unit.lone and unit.failed_before and not unit.failures:
            self.revived.add(unit.scope)
        stop = bool(unit.failures) and self.plan.settings.fail_fast
        waited = time.monotonic() - self.flushed > GROUP_SECONDS
        if self.committer.waiting >= GROUP_FILES or waited or stop:
            self._flush()
        if stop:
            raise _StopError

    def _flush(self) -> None:
        self.flushed = time.monotonic()
        self._tell_skipped()
        self._tell_reductions()
        with self.interrupts.held():
            self._note_precisions()
            with self.meter.committing():
                units = self.committer.flush()
            for unit in units:  # what is committed is counted, whatever comes
                if unit.level or not self.again:
                    self._count(unit)

    def _count(self, unit: Unit) -> None:
        if unit.known and not unit.failures:
            if unit.level == 0:
                self._skip(1)
            return
        self.report.files += len(unit.files)
        self.report.failures += unit.failures
        for picture, note in dict.fromkeys(unit.notes):
            self.report.notes.setdefault(note, []).append(picture)
        self.report.done += unit.level == 0 and not unit.failures
        self._tell(unit)

    def _tell(self, unit: Unit) -> None:
        for failure in unit.failures:
            self.plan.catalog.notify(
                "genloom_item_failed", item=failure.item, reason=failure.reason
            )
        if not unit.failures and self.plan.catalog.listens("genloom_after_item"):
            item = unit.outputs[-1].item if unit.outputs else unit.item
            files = [Path(file) for file in unit.files]
            self.plan.catalog.notify("genloom_after_item", item=item, files=files)
        self.observe(
            {
                "event": "item",
                "key": unit.item.key,
                "items": int(unit.level == 0),
                "state": "failed" if unit.failures else "done",
                "files": list(unit.files),
                "failures": unit.failures,
                "notes": list(dict.fromkeys(note for _, note in unit.notes)),
            }
        )
