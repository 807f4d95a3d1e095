"""Commands that installed packages add to `genloom`, each loaded only when it is called.

Imports nothing heavy: `genloom --help` comes through here.
"""

from __future__ import annotations

import contextlib
import sys
from importlib import metadata

import click

GROUP = "genloom.commands"
OWN = "genloom"


def added() -> list[metadata.EntryPoint]:
    """The entry points of all commands, genloom's own first: of one name, the first counts."""
    points = metadata.entry_points(group=GROUP)
    return sorted(points, key=lambda point: (brought_by(point) != OWN, point.name, point.value))


def brought_by(point: metadata.EntryPoint) -> str:
    """Name of the package that declares it."""
    return str(point.dist.metadata["Name"]) if point.dist is not None else ""


def load(point: metadata.EntryPoint) -> click.Command:
    """The command itself; what its module prints meanwhile goes to standard error.

    Raises:
        TypeError: when it is no click command; and whatever its module raises.
    """
    with contextlib.redirect_stdout(sys.stderr):
        command = point.load()
    if not isinstance(command, click.Command):
        raise TypeError(f"{point.value} is not a click command")
    return command
