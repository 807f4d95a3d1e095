"""The runs into an output folder, to be run again as they were asked for."""

from __future__ import annotations

from collections.abc import Generator
from pathlib import Path

from genloom.catalog import Catalog
from genloom.engine.asked import Asked
from genloom.engine.binding import bind
from genloom.engine.plan import Plan
from genloom.engine.settings import RunSettings
from genloom.engine.snapshot import LastRun, Snapshot
from genloom.errors import GenloomError, OutputError
from genloom.stage import Inputs


def plans_again(out: Path, catalog: Catalog) -> Generator[Plan, None, None]:
    """The plan of the last run of each shard. While each is used, its working folder is there.

    Raises:
        OutputError: when there is no journal, or it cannot be read.
        GenloomError: when the command is not known, or what it runs has changed since.
    """
    with Snapshot(out) as journal:
        runs = sorted(journal.runs, key=lambda run: run.shard.number)
    if not runs:
        raise OutputError("no run has begun in this folder yet", where=str(out))
    for run in runs:
        asked = _asked(out, run)
        with asked.there(out) as there:
            yield _bound(run, asked, catalog, there)


def _asked(out: Path, run: LastRun) -> Asked:
    if run.asked is None:
        raise GenloomError(
            "the journal does not hold the command of the run",
            where=str(out),
            hint="Give it again, with `genloom run`: it tries again what failed",
        )
    return run.asked


def _bound(run: LastRun, asked: Asked, catalog: Catalog, out: Path) -> Plan:
    # What was forced once is not forced again: only what failed is to be done.
    settings = RunSettings(**{**asked.settings, "force": False})
    plan = bind(asked.load(catalog), catalog, Inputs(asked.inputs, out), settings)
    if plan.digests[-1] != run.fingerprint:
        raise GenloomError(
            f"the pipeline '{asked.pipeline}', or a model, plugin or file that it uses, has "
            "changed since the run, and its results would not go with those that are done",
            where=str(out),
            hint=f"`genloom run {asked.pipeline} … -o {out.name}` does all of it as it is now",
        )
    return plan
