"""A plugin that adds the command `genloom hello`."""

import click


@click.command()
def hello() -> None:
    """Say hello."""
    click.echo("hello from a plugin")
