"""`genloom inspect` and `genloom reproduce`."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING

import click

from genloom.cli.columns import json_text, plain
from genloom.errors import ImageError, StageError

if TYPE_CHECKING:
    from genloom.record import Record

FILE = click.Path(exists=True, dir_okay=False, path_type=Path)


@click.command(short_help="Say how a picture was made.")
@click.argument("file", type=FILE)
@click.option("--json", "as_json", is_flag=True, help="As JSON.")
def inspect(file: Path, as_json: bool) -> None:
    """Say how FILE, a picture that genloom wrote or the sidecar of one, was made.

    Exit code 2 when nothing says so.
    """
    from genloom.record import Record

    with _unable():
        record = Record.read(file)
    if as_json:
        values = record.model_dump(mode="json", exclude_defaults=True)
        click.echo(json_text(values, indent=2))
        return
    click.echo("\n".join(_lines(record)))


@click.command(short_help="Make a picture again from its record, and compare.")
@click.argument("file", type=FILE)
@click.option("-o", "--out", type=click.Path(path_type=Path), required=True, help="Output folder.")
@click.option(
    "--input",
    "inputs",
    multiple=True,
    type=click.Path(exists=True, path_type=Path),
    help="What it was made of, or a folder that holds it; found by its hash. May be repeated.",
)
def reproduce(file: Path, out: Path, inputs: tuple[Path, ...]) -> None:
    """Make FILE, a picture that genloom wrote, again from its record, and compare the two.

    Exit codes: 0 when no pixel differs by more than one 8-bit step, 1 when one does, 2 when the
    picture cannot be made again: no record, its input or its model not at hand, one of many inputs.
    """
    from genloom.cli.broken import load_catalog
    from genloom.engine.reproduce import reproduce

    with _unable():
        made = reproduce(file, out, inputs, catalog=load_catalog())
    for note in made.notes:
        click.echo(f"note: {note}")
    if made.difference is None:
        click.echo(f"{made.path}: another size, or other channels, than {file}")
    elif not made.difference:
        click.echo(f"{made.path}: every pixel equal")
    else:
        said = "equal" if made.equal else "not equal"
        click.echo(f"{made.path}: {said}; the largest difference is {made.difference:.3g} of 255")
    raise SystemExit(0 if made.equal else 1)


@contextmanager
def _unable() -> Iterator[None]:
    """What cannot be read or made ends with exit code 2: here 1 says that pixels differ."""
    try:
        yield
    except (ImageError, StageError) as error:
        error.exit_code = 2
        raise


def _lines(record: Record) -> Iterator[str]:
    yield f"genloom   {record.genloom}"
    yield f"pipeline  {plain(record.pipeline)} (seed {record.seed})"
    yield "stages"
    for stage in record.stages:
        options = ", ".join(f"{name}={_shown(value)}" for name, value in stage.options.items())
        yield f"  {plain(stage.id):<14}{plain(stage.stage):<14}{plain(options)}"
    for model in record.models:
        on = f" on {plain(model.provider)}" if model.provider else ""
        on += f" in {plain(model.precision)}"
        on += f", tiles of {model.tile}" if model.tile is not None else ""
        yield f"model     {plain(model.name)}{on}, digest {plain(model.digest)}"
    for plugin in record.plugins:
        yield plain(f"plugin    {plugin.name} {plugin.version}, SHA-256 {plugin.sha256}")
    if record.input is not None:
        many = record.input.count > 1
        yield f"input     {record.input.count} pictures" if many else "input     one file"
    if record.input is not None and record.input.sha256:
        yield f"          {record.input.size} bytes, SHA-256 {plain(record.input.sha256)}"
    if record.key or record.child:
        yield f"item      {plain(record.key + record.child)}"


def _shown(value: object) -> str:
    return value if isinstance(value, str) else json_text(value)
