"""Progress of a run: a live line on a terminal, plain lines elsewhere, JSON for programs."""

from __future__ import annotations

import contextlib
import sys
import time
from collections.abc import Callable, Iterator
from typing import Any

import click

from genloom.cli.columns import json_text, plain
from genloom.cli.times import times_lines

Observer = Callable[[dict[str, Any]], None]
MAX_NOTES = 10
PLAIN_SECONDS = 10.0


@contextlib.contextmanager
def show(*, as_json: bool = False, quiet: bool = False, times: bool = False) -> Iterator[Observer]:
    """An observer of a run that shows it, as suits where the output goes.

    `times` tells at the end where the time went; JSON always does.
    """
    if as_json:
        # Whatever a plugin prints goes elsewhere: each line here is JSON.
        out = sys.stdout
        with contextlib.redirect_stdout(sys.stderr):
            yield lambda event: click.echo(_as_json(event), file=out)
    elif sys.stderr.isatty() and not quiet:
        with _live(times) as observe:
            yield observe
    else:
        yield _Lines(quiet, times)


class _Lines:
    """Plain lines: the start, progress every ten seconds, failures as they happen, the end."""

    def __init__(self, quiet: bool, times: bool = False) -> None:
        self.times = times
        self.quiet, self.total, self.seen, self.failed = quiet, 0, 0, 0
        self.started = self.last = time.monotonic()

    def __call__(self, event: dict[str, Any]) -> None:
        if event["event"] == "start":
            self.total = event["total"]
            if not self.quiet:
                click.echo(start_text(event))
        elif event["event"] in ("item", "skipped"):
            self.seen += event["items"]
            for failure in event.get("failures", ()):
                self.failed += 1
                click.echo(failure_text(failure), err=True)
            now = time.monotonic()
            if not self.quiet and now - self.last > PLAIN_SECONDS:
                self.last = now
                rate = self.seen / (now - self.started)
                click.echo(
                    f"{self.seen} of {self.total}, {rate:.1f} a second, {self.failed} failed"
                )
        elif event["event"] == "end":
            click.echo(end_text(event["report"], times=self.times))


@contextlib.contextmanager
def _live(times: bool = False) -> Iterator[Observer]:
    from rich.console import Console
    from rich.progress import (
        BarColumn,
        MofNCompleteColumn,
        Progress,
        TextColumn,
        TimeRemainingColumn,
    )

    console = Console(stderr=True, highlight=False)
    progress = Progress(
        TextColumn("{task.description}"),
        BarColumn(),
        MofNCompleteColumn(),
        TextColumn("{task.fields[rate]}"),
        TimeRemainingColumn(),
        TextColumn("{task.fields[failed]}"),
        console=console,
        transient=True,
    )
    state = {"seen": 0, "failed": 0, "done": 0, "started": time.monotonic()}
    report: list[Any] = []

    def observe(event: dict[str, Any]) -> None:
        if event["event"] == "start":
            console.print(start_text(event), markup=False)
            progress.add_task(event["plan"]["pipeline"], total=event["total"], rate="", failed="")
        elif event["event"] in ("item", "skipped"):
            state["seen"] += event["items"]
            state["done"] += event["items"] if event["event"] == "item" else 0
            for failure in event.get("failures", ()):
                state["failed"] += 1
                console.print(failure_text(failure), style="red", markup=False)
            rate = state["done"] / max(1e-6, time.monotonic() - state["started"])
            failed = f"{state['failed']} failed" if state["failed"] else ""
            progress.update(
                progress.task_ids[0], completed=state["seen"], rate=f"{rate:.1f}/s", failed=failed
            )
        elif event["event"] == "end":
            report.append(event["report"])

    with progress:
        yield observe
    for one in report:
        click.echo(end_text(one, times=times))


def start_text(event: dict[str, Any]) -> str:
    """The first lines of a run: how much, through what, on what."""
    plan = event["plan"]
    models = ", ".join(f"{name} on {model['provider']}" for name, model in plan["models"].items())
    what = f"{event['total']} item{'s' if event['total'] != 1 else ''}"
    line = f"{plan['pipeline']}: {what}{f' through {models}' if models else ''} → {plan['out']}"
    return "\n".join([*_hidden(plan), *_tuned(plan), line])


def _tuned(plan: dict[str, Any]) -> list[str]:
    """One line about the models that run as `genloom tune` found best."""
    models = plan["models"].items()
    found = [f"{name} on {one['tuned']}" for name, one in models if one.get("tuned")]
    return [f"tuned: {'; '.join(found)}"] if found else []


def _hidden(plan: dict[str, Any]) -> list[str]:
    """One line for each model that is used in place of another of its name."""
    return [
        f"note: the model '{name}' is that of {model['from']}, not of {' or '.join(model['hides'])}"
        for name, model in plan["models"].items()
        if model["hides"]
    ]


def failure_text(failure: Any) -> str:
    """One line about one failure."""
    return _failed(str(failure.item.source or failure.item.name), failure.stage, failure.reason)


def _failed(source: str, stage: str, reason: str) -> str:
    told, colon, rest = reason.partition(": ")
    # The reason may name the file as it was called then: from another working folder, say.
    reason = rest if colon and source.endswith(told) else reason
    return plain(f"failed: {source}: {stage}: {reason}")


def end_text(report: Any, *, times: bool = False) -> str:
    """The last lines of a run: notes worth knowing, and how it went."""
    lines = _notes(report)
    parts = [f"{report.done} done"]
    parts += [f"{report.skipped} done before"] if report.skipped else []
    parts += [f"{report.failed} failed"] if report.failures else []
    parts += [f"{report.unmade} not made"] if report.unmade else []
    parts += [f"{report.files} file{'s' if report.files != 1 else ''} written"]
    line = ", ".join(parts) + f" in {report.seconds:.1f} s"
    if report.outcome == "interrupted":
        line += "; interrupted: run the same command again to go on"
    if report.outcome == "stopped":
        line += "; stopped at the first failure"
    return "\n".join([*lines, *(times_lines(report.times) if times else ()), line])


def _notes(report: Any) -> list[str]:
    """Notes, one line each with the first picture it holds for."""
    lines = []
    for note, pictures in list(report.notes.items())[:MAX_NOTES]:
        more = f" and {len(pictures) - 1} more" if len(pictures) > 1 else ""
        lines.append(plain(f"note: {pictures[0]}{more}: {note}"))
    if len(report.notes) > MAX_NOTES:
        lines.append(f"note: {len(report.notes) - MAX_NOTES} more; --json shows all of them")
    return lines


def status_text(status: Any) -> str:
    """Where the runs into a folder stand, for people."""
    lines = [_failed(one.source or one.key, one.stage, one.reason) for one in status.failures]
    lines += [_run_text(run) for run in status.runs]
    pending = "an unknown number" if status.pending is None else status.pending
    parts = [f"{status.done} done, {status.failed} failed, {pending} pending"]
    parts += [f"{status.unmade} group{'s' * (status.unmade != 1)} not made"] * bool(status.unmade)
    lines.append(", ".join(parts))
    lines += [f"note: pending is not known: {status.unknown}"] * bool(status.unknown)
    return "\n".join(lines)


def _run_text(run: Any) -> str:
    """One line about the last run of a shard: how it ended, when, and how much it did."""
    moment = time.strftime("%Y-%m-%d %H:%M:%S", time.localtime(run.ended or run.started))
    when = f"ended {moment}" if run.ended else f"began {moment}, {run.holder}"
    line = f"last run{f' of shard {run.shard}' if str(run.shard) else ''}: {run.outcome}, {when}"
    if run.counts:
        counts = run.counts
        line += f" after {counts['seconds']:.1f} s: {counts['done']} done, "
        line += f"{counts['skipped']} done before, {counts['failed']} failed"
    return line


def plan_text(described: dict[str, Any]) -> str:
    """A plan for people."""
    lines = [
        f"pipeline  {described['pipeline']} (seed {described['seed']})",
        f"items     {described['items']}",
        f"out       {described['out']}",
        "stages",
    ]
    for stage in described["stages"]:
        options = ", ".join(f"{name}={value}" for name, value in stage["options"].items())
        lines.append(
            f"  {stage['id']:<14}{stage['cardinality']:<10} → {stage['gives']:<8} {options}"
        )
    for name, model in described["models"].items():
        origin = f"{model['family']}, {model['from']}"
        lines.append(f"model     {name} ({origin}) on {model['provider']}; {model['cutting']}")
    lines.append(
        f"parallel  {described['workers']} workers × {described['threads']} threads, "
        f"batch {described['batch']}, queues of {described['queue_bytes'] // 2**20} MiB"
    )
    return "\n".join([*lines, *_hidden(described), *_tuned(described)])


def _as_json(event: dict[str, Any]) -> str:
    from genloom.engine.report import plain_failure

    plain = dict(event)
    if "failures" in event:
        plain["failures"] = [plain_failure(failure) for failure in event["failures"]]
    if "report" in event:
        plain["report"] = event["report"].plain()
    return json_text(plain)
