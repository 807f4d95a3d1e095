"""Where the runs into an output folder stand, from their journals, without disturbing them."""

from __future__ import annotations

import dataclasses
import itertools
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from genloom.catalog import Catalog
from genloom.engine.plan import Plan
from genloom.engine.records import UnitRecord
from genloom.engine.resume import Resumption
from genloom.engine.snapshot import LastRun, Snapshot
from genloom.engine.standing import BATCH, Survey
from genloom.errors import GenloomError


@dataclass(frozen=True)
class FailedUnit:
    """What failed at its last try, an input or a page of a group, at which stage and why.

    `source` is the file of an input; empty for a page.
    """

    key: str
    source: str
    stage: str
    reason: str


@dataclass
class Status:
    """Where the runs into an output folder stand.

    Attributes:
        out: the folder.
        runs: the last run of each shard, or of the whole; the one that started last at the end.
        done: inputs whose results stand; `failed` those whose last try failed; `pending` those
            that are neither: never reached, changed since, or without their results. None where
            the inputs cannot be counted, for the reason in `unknown`; done and failed then count
            what the journals hold.
        unmade: groups (sheets, animations, walks) that do not stand.
        failures: one for each input and each page that failed.
    """

    out: Path
    runs: list[LastRun]
    done: int = 0
    failed: int = 0
    pending: int | None = 0
    unmade: int = 0
    unknown: str = ""
    failures: list[FailedUnit] = field(default_factory=list)

    def plain(self) -> dict[str, Any]:
        """As plain values, for JSON; times are in UTC, as ISO 8601 writes them."""
        return {
            "out": str(self.out),
            "done": self.done,
            "failed": self.failed,
            "pending": self.pending,
            "unmade": self.unmade,
            "unknown": self.unknown,
            "runs": [_plain_run(run) for run in self.runs],
            "failures": [vars(failure) for failure in self.failures],
        }


def examine(out: Path, catalog: Catalog) -> Status:
    """Where the runs into a folder stand, as a `run` of the last command would find it.

    The working folder of the process is, meanwhile, the one that the run was started from.

    Raises:
        OutputError: when there is no journal, or it cannot be read.
    """
    with Snapshot(out) as journal:
        status = Status(out, journal.runs)
        try:
            if not journal.runs or (asked := journal.runs[-1].asked) is None:
                raise GenloomError("the journal does not hold the command of the run")
            with asked.there(out) as there:
                _count(status, asked.unbound(catalog, there), journal)
        except GenloomError as error:
            status.unknown, status.pending = str(error), None
            status.failures = [_failure(*entry) for entry in journal.units("failed")]
            status.done, status.failed = journal.count("done"), len(status.failures)
        return status


def _count(status: Status, plan: Plan, journal: Snapshot) -> None:
    """Compare the inputs, as they are now, with the journal."""
    resumption = Resumption(plan, journal)
    gathers, failed = len(plan.digests) > 1, []
    status.pending = 0

    def passed(count: int) -> None:
        status.done += count

    for _, standing, units in Survey(plan, resumption).scopes(passed):
        count = 0
        for unit, state in itertools.chain.from_iterable(units):
            count += 1
            # What writes nothing before it is gathered is done when its group is.
            if state == "done" and (not gathers or resumption.writes or unit.lone):
                status.done += 1
            elif state == "failed":
                failed.append(unit.key)
            else:
                status.pending += 1
        status.unmade += gathers and standing.items < count
    status.failed = len(failed)
    for start in range(0, len(failed), BATCH):
        known = journal.units_of(failed[start : start + BATCH])
        status.failures += [_failure(key, record) for key, record in known.items()]
    for key, record in journal.units("failed"):
        if record.plan in plan.digests[1:]:
            status.failures.append(FailedUnit(key, "", record.stage, record.reason))


def _failure(key: str, record: UnitRecord) -> FailedUnit:
    return FailedUnit(key, record.inputs[0].source, record.stage, record.reason)


def _plain_run(run: LastRun) -> dict[str, Any]:
    return {
        "shard": str(run.shard),
        "outcome": run.outcome,
        "started": _time(run.started),
        "ended": None if run.ended is None else _time(run.ended),
        "holder": run.holder,
        "counts": run.counts,
        "asked": None if run.asked is None else dataclasses.asdict(run.asked),
    }


def _time(seconds: float) -> str:
    return datetime.fromtimestamp(seconds, UTC).isoformat(timespec="seconds")
