"""`genloom doctor`."""

from __future__ import annotations

import click

from genloom.cli.columns import json_text


@click.command(short_help="Say what this machine can run, and what is broken.")
@click.option("--json", "as_json", is_flag=True, help="As JSON.")
def doctor(as_json: bool) -> None:
    """Say what is installed, what works, what is broken and how to mend it.

    Exit code 3 when something is broken.
    """
    from genloom.cli import OWN
    from genloom.doctor import examine

    checks = examine(own_commands=OWN)
    if as_json:
        click.echo(json_text([check.plain() for check in checks], indent=2))
    else:
        section = ""
        for check in checks:
            if check.section != section:
                section = check.section
                click.echo(section)
            what = check.what.replace("\n", f"\n{' ' * 10}")
            click.echo(f"  {check.state:<7} {what}")
            if check.hint:
                click.echo(f"          {check.hint}")
    broken = sum(check.state == "broken" for check in checks)
    if not as_json:
        click.echo(f"{broken or 'nothing'} broken")
    raise SystemExit(3 if broken else 0)
