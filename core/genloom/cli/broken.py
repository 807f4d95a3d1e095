"""Naming the plugins that do not work, in every command that may come out otherwise for them."""

from __future__ import annotations

from collections.abc import Collection
from typing import TYPE_CHECKING

import click

if TYPE_CHECKING:
    from genloom.catalog import Catalog


def load_catalog() -> Catalog:
    """The installed plugins; what is wrong with any is told before it can be missed."""
    from genloom.catalog import Catalog

    catalog = Catalog.load()
    tell_broken(catalog)
    return catalog


def tell_broken(catalog: Catalog, told: Collection[str] = ()) -> list[str]:
    """Print what is wrong with plugins, `told` aside; returns everything that has been told."""
    from genloom.plugins import troubles

    lines = troubles(catalog)
    for line in lines:
        if line not in told:
            click.echo(f"{line} (`genloom plugins doctor`)", err=True)
    return lines
