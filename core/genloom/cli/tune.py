"""`genloom tune`."""

from __future__ import annotations

import dataclasses
from typing import TYPE_CHECKING, Any

import click

from genloom.cli.columns import json_text

if TYPE_CHECKING:
    from genloom.catalog import Catalog

ENOUGH = 0.5
"""Which share of the cores measuring has at least where nothing else wants them."""


@click.command(short_help="Find the fastest settings for a pipeline on this machine.")
@click.argument("pipeline", required=False)
@click.argument("inputs", nargs=-1, metavar="INPUT…")
@click.option(
    "--set",
    "overrides",
    multiple=True,
    metavar="STAGE.OPTION=VALUE",
    help="Override an option; the stage by id or name. May be repeated.",
)
@click.option(
    "--seconds",
    type=click.FloatRange(1),
    default=60.0,
    show_default=True,
    help="How long to measure, about; the first run and compiling come on top.",
)
@click.option(
    "--precision-floor",
    type=float,
    default=50.0,
    show_default=True,
    help="Least dB between a lower precision and fp32 for it to be taken.",
)
@click.option("--show", is_flag=True, help="Only say what is kept, for PIPELINE or all.")
@click.option("--forget", is_flag=True, help="Only drop what is kept, for PIPELINE or all.")
@click.option("--json", "as_json", is_flag=True, help="As JSON.")
def tune(
    pipeline: str | None,
    inputs: tuple[str, ...],
    overrides: tuple[str, ...],
    seconds: float,
    precision_floor: float,
    show: bool,
    forget: bool,
    as_json: bool,
) -> None:
    """Measure which settings are fastest for the models of PIPELINE, and keep them.

    Providers, precisions, calls at a time, tiles and batches are tried on the middle of the first
    pictures of INPUT, or on photographs that come with genloom. Later runs use what was found
    wherever nothing is asked for. A precision that changes pictures is never taken.
    """
    from genloom.catalog import Catalog
    from genloom.cli.broken import tell_broken

    catalog = Catalog.load()
    told = tell_broken(catalog)
    try:
        if show or forget:
            _kept(pipeline, overrides, catalog, as_json=as_json, drop=forget)
            return
        if pipeline is None:
            raise click.UsageError("Missing argument 'PIPELINE'.")
        _tune(pipeline, inputs, overrides, catalog, seconds, precision_floor, as_json)
    finally:
        tell_broken(catalog, told)


def _tune(
    pipeline: str,
    inputs: tuple[str, ...],
    overrides: tuple[str, ...],
    catalog: Catalog,
    seconds: float,
    floor: float,
    as_json: bool,
) -> None:
    from genloom.api import load_pipeline
    from genloom.demo import PHOTOGRAPHS
    from genloom.engine import tuned

    loaded = load_pipeline(pipeline, overrides, catalog=catalog)
    paths = inputs or (str(PHOTOGRAPHS),)
    found = loaded.tune(
        paths,
        seconds=seconds,
        tell=lambda text: click.echo(text, err=True),
        precision_floor=floor,
    )
    if as_json:
        plain = [dataclasses.asdict(one) for one in found]
        click.echo(json_text(plain, indent=2))
        return
    for one in found:
        click.echo(tuning_text(one))
    if all(one.measured for one in found):
        click.echo(f"kept in {tuned.file()}; `genloom run --no-tuned` does without")
    else:
        click.echo("there was no time to measure; give more with `--seconds`")


def _kept(
    pipeline: str | None,
    overrides: tuple[str, ...],
    catalog: Catalog,
    *,
    as_json: bool,
    drop: bool,
) -> None:
    """Show or drop what is kept."""
    from genloom.api import load_pipeline
    from genloom.cli.columns import columns
    from genloom.engine import tuned

    digests = None
    if pipeline is not None:
        loaded = load_pipeline(pipeline, overrides, catalog=catalog)
        digests = {bundle.digest for bundle in loaded.pipeline.bundles.values()}
    if drop:
        count = tuned.forget(digests)
        click.echo(f"{count} forgotten")
        return
    entries = [one for one in tuned.entries() if digests is None or one.digest in digests]
    if as_json:
        plain = [dataclasses.asdict(one) for one in entries]
        click.echo(json_text(plain, indent=2))
        return
    here = tuned.place(catalog)
    rows = [
        (one.model, one.measured, "" if one.place == here else "not here", str(one.answer))
        for one in entries
    ]
    click.echo("\n".join(columns(rows)) if rows else "nothing is kept")


def tuning_text(found: Any) -> str:
    """What was tried for a model, and what came of it."""
    from genloom.cli.columns import table

    rows, before = [("setting", "tried", "speed")], ""
    notes = [""]
    for trial in found.trials:
        speed = "–" if trial.speed is None else f"{trial.speed:.2f}"
        rows.append((trial.what if trial.what != before else "", trial.name, speed))
        notes.append("  ".join(["taken"] * trial.taken + [trial.note] * bool(trial.note)))
        before = trial.what
    lines = [
        f"{line}  {note}".rstrip()[:100] for line, note in zip(table(rows, 2), notes, strict=True)
    ]
    return "\n".join([f"{found.model}: {found.answer}", "", *lines, "", *_disturbed(found)])


def _disturbed(found: Any) -> list[str]:
    """A word where other programs took the processor, so that speeds may be chance."""
    if found.at_work >= ENOUGH:
        return []
    return [
        f"note: other programs were using the processor: measuring had {100 * found.at_work:.0f} % "
        "of it;\ntune again when they are done",
        "",
    ]
