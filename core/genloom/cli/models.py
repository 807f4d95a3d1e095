"""`genloom models`: list, show, verify."""

from __future__ import annotations

import json
from typing import Any

import click


@click.group(short_help="List, show and verify models.")
def models() -> None:
    """Model bundles: in the project's models/, in your own folder, and in plugins."""


@models.command("list", short_help="List the models at hand, and where each lies.")
@click.option("--json", "as_json", is_flag=True, help="As JSON.")
def list_models(as_json: bool) -> None:
    """List the models at hand, where each lies, and which are hidden or broken."""
    from genloom import models
    from genloom.cli.broken import load_catalog
    from genloom.cli.columns import columns, json_text

    rows = models.overview(load_catalog())
    if as_json:
        click.echo(json_text(rows, indent=2))
        return
    if not rows:
        click.echo(f"There are no models; put bundles into models/ or {models.user_folder()}")
    sound = [row for row in rows if not row["error"]]
    for line in columns([_cells(row) for row in sound]):
        click.echo(line)
    for row in rows:
        if row["error"]:
            first, *more = row["error"].splitlines()
            click.echo(f"{row['name']}  broken: {first}  ({row['from']})")
            for line in more:
                click.echo(f"    {line}")


def _cells(row: dict[str, Any]) -> tuple[str, ...]:
    """A sound model in the list: name, family, what it takes, its size, where it lies."""
    takes = f"{row['channels']}, {row['size']}; {', '.join(row['parts'])}"
    hidden = f", hidden by {row['hidden_by']}" if row["hidden_by"] else ""
    size = f"{row['bytes'] / 1e6:6.2f} MB"
    return (row["name"], row["family"], takes, size, f"{row['from']}{hidden}")


@models.command("show", short_help="Show the card of a model.")
@click.argument("name")
@click.option("--json", "as_json", is_flag=True, help="As JSON.")
def show_model(name: str, as_json: bool) -> None:
    """Show the card of a model (a name or a path) and where it lies."""
    from genloom import models
    from genloom.cli.broken import load_catalog

    catalog = load_catalog()
    bundle = models.find(name, catalog)
    hidden = [str(other.folder) for other in models.shadowed(bundle, catalog)]
    if as_json:
        about = {"folder": str(bundle.folder.resolve()), "from": bundle.origin}
        about |= {"digest": bundle.digest}
        card = bundle.card.model_dump(mode="json")
        click.echo(json.dumps(about | {"hides": hidden, "card": card}, indent=2))
        return
    click.echo(f"# {bundle.folder.resolve()} ({bundle.origin})\n# digest {bundle.digest}")
    for folder in hidden:
        click.echo(f"# hides {folder}")
    click.echo(bundle.card.to_yaml(), nl=False)


@models.command("verify", short_help="Check hashes, ports, and a trial run of each part.")
@click.argument("names", nargs=-1, metavar="[NAME]…")
def verify_models(names: tuple[str, ...]) -> None:
    """Check models, all of them unless named: hashes, opset, ports, and a trial run of each part.

    Exit code 2 when anything is wrong, with every problem.
    """
    from genloom.cli.broken import load_catalog
    from genloom.engine.verify import verify_all

    bad = 0
    for verdict in verify_all(names, load_catalog()):
        bad += bool(verdict.problems)
        state = "wrong" if verdict.problems else "ok"
        click.echo(f"{verdict.name:<18}{state:<7}{verdict.summary}")
        for problem in verdict.problems:
            click.echo(f"    {problem}", err=True)
    raise SystemExit(2 if bad else 0)
