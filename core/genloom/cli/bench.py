"""`genloom bench`."""

from __future__ import annotations

import textwrap
from typing import Any

import click

from genloom.cli.columns import json_text
from genloom.cli.run import load, shared

ENOUGH = 0.7
"""Which share of the cores busy threads have at least where nothing else wants them."""


@click.command(short_help="Measure how fast a pipeline is, and what limits it.")
@shared
@click.option(
    "--rounds", type=click.IntRange(1), default=3, show_default=True, help="Runs to measure."
)
@click.option("--json", "as_json", is_flag=True, help="As JSON.")
def bench(
    pipeline: str,
    inputs: tuple[str, ...],
    overrides: tuple[str, ...],
    seed: int | None,
    rounds: int,
    as_json: bool,
    **settings: Any,
) -> None:
    """Run PIPELINE over INPUT a few times and say how fast it is, and what limits it.

    Results go into a temporary folder and are deleted. Beside the pictures a second of the whole
    run stand those of the bare models, on the same tensors, and of decoding and encoding alone.
    The bound is what all cores would do if nothing else took time.
    """
    from genloom.cli.broken import tell_broken

    loaded, options, told = load(pipeline, overrides, seed, settings)
    try:
        found = loaded.bench(inputs, rounds=rounds, **options)
    finally:
        tell_broken(loaded.catalog, told)
    if as_json:
        click.echo(json_text(found.plain(), indent=2))
    else:
        click.echo(bench_text(found, pipeline))


def bench_text(found: Any, asked: str) -> str:
    """What was measured, for people."""
    from genloom.cli.columns import table
    from genloom.cli.times import percent

    models = ", ".join(
        f"{name} on {one['provider']} ({', '.join(dict.fromkeys(one['precision'].values()))})"
        for name, one in found.models.items()
    )
    cores = f"{found.cores} core{'s' if found.cores != 1 else ''}"
    rounds = f"{len(found.rates)} round{'s' if len(found.rates) != 1 else ''}"
    lines = [
        f"{found.pipeline}: {found.pictures} done in each of {rounds}, {cores}",
        *([f"models: {models}"] if models else []),
        *([f"{found.failed} failed and do not count"] if found.failed else []),
        f"started in {found.starting:.1f} s, which does not count",
        "",
    ]
    total = found.cpu or 1.0
    rows = [("", "a second", "CPU ms each", "share")]
    rows.append(("end to end", f"{found.rate:.2f}", f"{1000 * found.cpu:.1f}", ""))
    for one in found.alone:
        name = f"{one.name} alone"
        rows.append((name, f"{one.rate:.2f}", f"{1000 * one.cpu:.1f}", percent(one.cpu / total)))
    if found.other:
        share = percent(found.other / total)
        rows.append(("everything else", "", f"{1000 * found.other:.1f}", share))
    rows.append(("bound", f"{found.bound:.2f}" if found.bound else "none", "", ""))
    lines += [*table(rows), ""]
    if len(found.rates) > 1:
        lines.append(f"rounds: {min(found.rates):.2f} to {max(found.rates):.2f} a second")
    if found.bound:
        lines.append(f"{percent(found.reached)} of the bound is reached")
    limit = textwrap.wrap(f"bottleneck: {advice(found, asked)}", 80)
    return "\n".join([*lines, *_disturbed(found), *limit])


def _disturbed(found: Any) -> list[str]:
    """A word where other programs took the processor: rates and bound do not go together then."""
    if found.at_work >= ENOUGH or not all(one.on_processor for one in found.alone):
        return []
    needed = sum(one.cpu for one in found.alone)
    had, reached = f"{100 * found.at_work:.0f} %", f"{100 * needed / found.cpu:.0f} %"
    text = (
        f"note: other programs, or the disk, held it up: its threads had {had} of the cores; "
        f"by processor time it reaches {reached} of the bound"
    )
    return textwrap.wrap(text, 80)


def advice(found: Any, asked: str) -> str:
    """What takes most, and what would help, in one sentence."""
    from genloom.cli.times import percent

    name = found.bottleneck
    if name == "other":
        stages = [one for one in found.times.stages if one.side == "compute"]
        own = max(stages, key=lambda one: one.cpu).id if stages else ""
        which = f", most of it in the stage '{own}'" if own else ""
        return f"what is neither a network nor a codec{which}; more cores would help"
    (part,) = [one for one in found.alone if one.name == name]
    if part.kind == "model":
        where = f"{percent(part.cpu / found.cpu)} of the processor time"
        where = where if part.on_processor else "the device is slower than all else"
        return f"computing with {name} ({where}); `genloom tune {asked}` may help"
    share = percent(part.cpu / found.cpu)
    if part.kind == "decode":
        return f"decoding ({share} of the processor time); more cores would help"
    endings = sorted(found.endings, key=lambda ending: -found.endings[ending])
    what = endings[0].removeprefix(".").upper() if endings else "results"
    other = ", or another format: `--set save.format=jpg`" if what == "PNG" else ""
    return f"writing {what} ({share} of the processor time); more cores would help{other}"
