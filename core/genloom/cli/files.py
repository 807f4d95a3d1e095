"""`genloom validate`, `schema` and `pipelines`."""

from __future__ import annotations

from pathlib import Path

import click

from genloom.cli.columns import json_text


@click.command(short_help="Check pipeline and recipe files.")
@click.argument("files", nargs=-1, required=True, metavar="FILE…")
def validate(files: tuple[str, ...]) -> None:
    """Check pipelines and recipes, given as files or names: every problem with its line."""
    from genloom.catalog import Catalog
    from genloom.cli.broken import tell_broken
    from genloom.errors import GenloomError
    from genloom.validate import validate_file

    catalog, bad = Catalog.load(), False
    told = tell_broken(catalog)
    for file in files:
        try:
            kind = validate_file(file, catalog)
        except GenloomError as error:
            click.echo(str(error), err=True)
            bad = True
        else:
            click.echo(f"{file}: a correct {kind}")
    tell_broken(catalog, told)
    raise SystemExit(2 if bad else 0)


@click.command(short_help="Print the JSON Schema of the files people write.")
@click.argument("kind", default="pipeline")
def schema(kind: str) -> None:
    """Print the JSON Schema of pipelines (or `recipe`), with the options of every plugin.

    Point your editor at it to complete and check files as you type.
    """
    from genloom.cli.broken import load_catalog
    from genloom.validate import schema_of_kind

    click.echo(json_text(schema_of_kind(kind, load_catalog()), indent=2))


@click.group(short_help="List and show pipelines.")
def pipelines() -> None:
    """Pipelines that run by name."""


@pipelines.command("list", short_help="List every pipeline that runs by name.")
@click.option("--json", "as_json", is_flag=True, help="As JSON.")
def list_pipelines(as_json: bool) -> None:
    """List every pipeline that runs by name."""
    from genloom import pipeline
    from genloom.cli.broken import load_catalog
    from genloom.cli.columns import columns

    found = [
        {"name": name, "summary": _first_comment(path), "from": origin, "file": str(path)}
        for name, (path, origin) in sorted(pipeline.available(load_catalog()).items())
    ]
    if as_json:
        click.echo(json_text(found, indent=2))
        return
    for line in columns([(row["name"], row["summary"], row["from"]) for row in found]):
        click.echo(line)


@pipelines.command("show", short_help="Print a pipeline's file.")
@click.argument("name")
def show_pipeline(name: str) -> None:
    """Print a pipeline's file."""
    from genloom import pipeline
    from genloom.cli.broken import load_catalog

    click.echo(_text(pipeline.find(name, load_catalog())), nl=False)


def _first_comment(path: Path) -> str:
    first, _, _ = _text(path).partition("\n")
    return first.removeprefix("#").strip()


def _text(path: Path) -> str:
    """A file's text, as far as it is one: showing a file is not the moment to refuse it."""
    try:
        return path.read_text(encoding="utf-8", errors="replace")
    except OSError as error:
        return f"cannot be read ({error.strerror})\n"
