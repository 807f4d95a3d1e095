"""`genloom plugins`: list, show, doctor, new."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import click

from genloom.cli.columns import json_text


@click.group(short_help="List, show, check and start plugins.")
def plugins() -> None:
    """Plugins: what is installed, what it brings, what is broken, and how to begin one."""


@plugins.command("list", short_help="List plugins, and whether each works.")
@click.option("--json", "as_json", is_flag=True, help="As JSON.")
def list_plugins(as_json: bool) -> None:
    """List the installed plugins, what each brings, and whether it works."""
    from genloom.catalog import Catalog
    from genloom.cli.columns import columns
    from genloom.plugins import described, state_of

    catalog = Catalog.load()
    found = list(catalog.plugins.values())
    if as_json:
        click.echo(_json([described(plugin, catalog) for plugin in found]))
        return
    rows = [
        (p.name, f"{p.distribution} {p.version}", state_of(p), _brings(p.brings)) for p in found
    ]
    for line in columns(rows):
        click.echo(line)
    if any(plugin.error or plugin.clashes for plugin in found):
        click.echo("`genloom plugins doctor` says what is wrong", err=True)


@plugins.command("show", short_help="Show all that a plugin brings.")
@click.argument("name")
@click.option("--json", "as_json", is_flag=True, help="As JSON.")
def show_plugin(name: str, as_json: bool) -> None:
    """Show all that a plugin brings, with the options of its stages and families."""
    from genloom.catalog import Catalog
    from genloom.plugins import described, named

    catalog = Catalog.load()
    about = described(named(name, catalog), catalog)
    click.echo(_json(about) if as_json else "\n".join(_shown(about)))


@plugins.command("doctor", short_help="Say what is wrong with each, and what to do.")
@click.option("-v", "--verbose", is_flag=True, help="With tracebacks.")
def check_plugins(verbose: bool) -> None:
    """Say what is wrong with each plugin and what to do. Exit code 3 when something is broken."""
    from genloom.catalog import Catalog
    from genloom.cli import OWN
    from genloom.errors import counted
    from genloom.plugins import findings

    catalog = Catalog.load()
    found = findings(catalog, OWN)
    for finding in found:
        click.echo(f"{'broken' if finding.broken else 'note'}: {finding.plugin}: {finding.what}")
        if verbose and finding.trace:
            click.echo(finding.trace.rstrip())
        click.echo(f"    {finding.hint}")
    broken = {finding.plugin for finding in found if finding.broken}
    if broken and not verbose and any(finding.trace for finding in found):
        click.echo("`genloom plugins doctor --verbose` shows where each error was raised")
    click.echo(
        f"{counted(len(catalog.plugins), 'plugin')}, {len(broken) or 'none'} with something broken"
    )
    raise SystemExit(3 if broken else 0)


@plugins.command("new", short_help="Write a working plugin package to begin with.")
@click.argument("name")
@click.option(
    "--folder",
    type=click.Path(path_type=Path, file_okay=False),
    default=Path(),
    help="Where to put the package's folder; the working folder unless said.",
)
def new_plugin(name: str, folder: Path) -> None:
    """Write a working plugin package, NAME in lower case: a stage, a test, a pipeline."""
    from genloom.catalog import Catalog
    from genloom.scaffold import create

    package = create(name, folder, Catalog.load())
    click.echo(f"Wrote {package.folder}. Next:\n")
    for command, purpose in package.next_commands():
        click.echo(f"    {command:<44}# {purpose}" if purpose else f"    {command}")


def _json(value: Any) -> str:
    return json_text(value, indent=2)


def _brings(brings: dict[str, list[str]]) -> str:
    return "; ".join(f"{noun}: {', '.join(names)}" for noun, names in brings.items())


def _shown(about: dict[str, Any]) -> Iterator[str]:
    yield f"{about['name']}  {about['distribution']} {about['version']}, module {about['module']}"
    yield f"state: {about['state']}" + (f" ({about['error']})" if about["error"] else "")
    yield from (f"warning: {text}" for text in about["warnings"])
    for stage in about["stages"]:
        kinds = f"{' or '.join(stage['takes'])} → {stage['gives']}, {stage['cardinality']}"
        yield from ("", f"stage {stage['name']}  ({kinds})", f"  {stage['summary']}")
        yield from _options(stage["options"])
    for family in about["families"]:
        yield from ("", f"family {family['name']}", f"  {family['summary']}")
        yield from _options(family["options"])
    others = {n: v for n, v in about["brings"].items() if n not in ("stages", "families")}
    if about["commands"]:
        others["commands"] = about["commands"]
    yield from (f"\n{noun}: {', '.join(names)}" for noun, names in others.items())


def _options(options: list[dict[str, Any]]) -> Iterator[str]:
    for option in options:
        default = "required" if option["required"] else f"default {json.dumps(option['default'])}"
        yield f"    {option['name']}: {option['allowed']}; {default}"
        if option["description"]:
            yield f"        {option['description']}"
