"""Run a plan: stream its items through the stages, commit what is finished, keep the journal."""

from __future__ import annotations

import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from typing import Any

from genloom.engine.calls import Caller
from genloom.engine.commit import Committer
from genloom.engine.interrupt import Interrupts
from genloom.engine.journal import Journal
from genloom.engine.packet import Unit
from genloom.engine.plan import Plan
from genloom.engine.report import Report
from genloom.engine.resume import Resumption
from genloom.engine.stream import Stream

GROUP_FILES = 32
GROUP_SECONDS = 0.5

Observer = Callable[[dict[str, Any]], None]


class _StopError(Exception):
    """--fail-fast met its first failure."""


def execute(plan: Plan, observe: Observer | None = None) -> Report:
    """Run a plan.

    Args:
        plan: what to run.
        observe: told of every event: `start`, `item`, `skipped`, `end`.

    Raises:
        OutputError: when the output folder is in use or cannot be written.
    """
    with Journal(plan.out) as journal, Interrupts() as interrupts:
        return _Execution(plan, journal, observe or (lambda event: None), interrupts).run()


class _Execution:
    def __init__(
        self, plan: Plan, journal: Journal, observe: Observer, interrupts: Interrupts
    ) -> None:
        self.plan, self.journal, self.observe, self.interrupts = plan, journal, observe, interrupts
        self.report = Report(total=plan.total, providers=dict(plan.providers))
        self.files = ThreadPoolExecutor(max(2, plan.workers), "files")
        self.compute = ThreadPoolExecutor(plan.workers, "compute")
        self.committer = Committer(plan, journal, self.files)
        self.flushed = time.monotonic()
        self.revived: set[str] = set()
        self.again = False

    def run(self) -> Report:
        started = time.monotonic()
        try:
            self._begin()
            self._stream()
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
                self.journal.end_run(self.report.outcome)
        self.plan.catalog.notify("genloom_after_run", report=self.report)
        self.observe({"event": "end", "report": self.report})
        return self.report

    def _begin(self) -> None:
        self.journal.clear_temporary()
        self._note_other_providers()
        described = self.plan.describe()
        self.journal.begin_run(described)
        self.plan.catalog.notify("genloom_before_run", plan=self.plan)
        self.observe({"event": "start", "total": self.plan.total, "plan": described})

    def _note_other_providers(self) -> None:
        """Say so when a resumed run computes on something else than the run before it."""
        before = self.journal.last_resolved().get("models", {})
        for name, provider in self.plan.providers.items():
            other = before.get(name, {}).get("provider", provider)
            if other != provider:
                note = f"computed on {provider}; the run before in this folder used {other}"
                self.report.notes.setdefault(note, []).append(name)

    def _stream(self) -> None:
        owners = {step.id: self.plan.catalog.stage_owner(step.name) for step in self.plan.steps}
        plugins = {name: str(owner) for name, owner in owners.items() if not owner.builtin}
        stream = Stream(
            plan=self.plan,
            caller=Caller(
                self.plan.pipeline.seed, self.plan.models, self.journal.temporary, plugins
            ),
            resumption=Resumption(self.plan, self.journal),
            files=self.files,
            compute=self.compute,
            settle=self._settle,
            skip=self._skip,
        )
        stream.run()
        self._flush()
        if self.revived:  # groups that were made without a picture which is done now
            self.again = True
            stream.run(only=self.revived)
            self._flush()

    def _close(self) -> None:
        """Let running calls end, drop waiting ones, and keep what is finished."""
        self.compute.shutdown(wait=True, cancel_futures=True)
        try:
            if len(self.committer):
                self._flush()
        finally:
            self.files.shutdown(wait=True, cancel_futures=True)
            self.journal.clear_temporary()

    # What becomes of units: they are committed in groups, counted and told.

    def _skip(self, unit: Unit) -> None:
        if not self.again:
            self.report.skipped += 1
            self.observe({"event": "skipped", "items": 1})

    def _settle(self, unit: Unit) -> None:
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
        with self.interrupts.held():
            units = self.committer.flush()
        for unit in units:
            if unit.level or not self.again:
                self._count(unit)

    def _count(self, unit: Unit) -> None:
        if unit.known and not unit.failures:
            if unit.level == 0:
                self._skip(unit)
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
        if not unit.failures:
            item = unit.outputs[-1].item if unit.outputs else unit.item
            self.plan.catalog.notify("genloom_after_item", item=item, files=list(unit.files))
        self.observe(
            {
                "event": "item",
                "key": unit.item.key,
                "items": int(unit.level == 0),
                "state": "failed" if unit.failures else "done",
                "files": [str(path) for path in unit.files],
                "failures": unit.failures,
                "notes": list(dict.fromkeys(note for _, note in unit.notes)),
            }
        )
