"""`genloom quantize`."""

from __future__ import annotations

import dataclasses
import json
from pathlib import Path
from typing import Any

import click


@click.command(short_help="Give a model a form that computes in 8-bit integers.")
@click.argument("model")
@click.argument("photographs", nargs=-1, required=True, metavar="PHOTOGRAPHS…")
@click.option(
    "-o",
    "--out",
    type=click.Path(path_type=Path),
    required=True,
    metavar="FOLDER",
    help="The new model: a folder that is made. Its name is the model's.",
)
@click.option("--json", "as_json", is_flag=True, help="As JSON.")
def quantize(model: str, photographs: tuple[str, ...], out: Path, as_json: bool) -> None:
    """Write a copy of MODEL that has an int8 form too, for `--precision int8`.

    The ranges of its integers are measured on three of four PHOTOGRAPHS, which should be like those
    that it will see; on the rest it is compared with fp32, for every provider here that computes
    in integers. Nothing is quantised unless asked for here, so results depend on no picture of a
    run and on no machine. Needs the package `onnx`, but only for this.
    """
    from genloom import models
    from genloom.cli.broken import load_catalog
    from genloom.engine.quantize import quantize as quantized

    catalog = load_catalog()
    bundle = models.find(model, catalog)
    worth = quantized(bundle, catalog, photographs, out, lambda text: click.echo(text, err=True))
    if as_json:
        click.echo(json.dumps([dataclasses.asdict(one) for one in worth], indent=2))
        return
    for one in worth:
        click.echo(_text(one))
    if not worth:
        click.echo("No provider here computes in integers, so nothing was compared.")
    click.echo(f"{out}: verified; `--precision int8` computes in its int8 form")


def _text(one: Any) -> str:
    """What a part is worth on a provider, and what a run will make of it."""
    from genloom.engine.watching import FLOOR

    speed = f"{one.speed:.2f} times as fast as fp32"
    apart = f"{one.mean:.1f} dB from it, {one.least:.1f} at the least"
    text = f"'{one.part}' on {one.provider}: {speed}, {apart}"
    if one.least >= FLOOR:
        return text
    floor = int(one.least)
    return f"{text}\n  less than {FLOOR:g}: runs compute in fp32 unless `--precision-floor {floor}`"
