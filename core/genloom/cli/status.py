"""`genloom status` and `genloom retry`."""

from __future__ import annotations

from pathlib import Path

import click

from genloom.cli.columns import json_text


@click.command(short_help="Say what is done, failed and pending in an output folder.")
@click.argument("out", type=click.Path(path_type=Path))
@click.option("--json", "as_json", is_flag=True, help="As JSON, with a row for each failure.")
def status(out: Path, as_json: bool) -> None:
    """Say where the runs into OUT stand: what is done, failed and pending, and why it failed.

    Reads the journals of all shards and holds none of them: it may be asked while runs go on. The
    inputs of the last command are counted as they are now; pending is what `genloom run` would do
    beside trying the failed ones again. Exit code 0 whatever the runs came to, 2 when OUT has no
    journal.
    """
    from genloom.api import status as examine
    from genloom.cli.broken import load_catalog
    from genloom.cli.progress import status_text

    found = examine(out, catalog=load_catalog())
    if as_json:
        click.echo(json_text(found.plain(), indent=2))
    else:
        click.echo(status_text(found))


@click.command(short_help="Try again what failed in an output folder.")
@click.argument("out", type=click.Path(path_type=Path))
@click.option("--json", "as_json", is_flag=True, help="One JSON object a line, for programs.")
@click.option("-q", "--quiet", is_flag=True, help="Only failures and the closing line.")
def retry(out: Path, as_json: bool, quiet: bool) -> None:
    """Try again what failed in OUT, and only that, with the command of its last run.

    What was never reached is left to `genloom run`, which tries the failed ones again too. Where a
    stage gathers, the groups with something that failed are gone through whole. Shards are tried
    one after the other. When the pipeline, a model or a plugin has changed since, nothing is run.
    Exit codes are those of `genloom run`.
    """
    from genloom.api import retry as again
    from genloom.catalog import Catalog
    from genloom.cli.broken import tell_broken
    from genloom.cli.progress import show

    catalog = Catalog.load()
    told = tell_broken(catalog)
    with show(as_json=as_json, quiet=quiet) as observe:
        reports = again(out, observe=observe, catalog=catalog)
    tell_broken(catalog, told)
    raise SystemExit(max(report.exit_code for report in reports))
