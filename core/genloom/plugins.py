"""What the installed plugins bring and what is wrong with them, for `genloom plugins`."""

from __future__ import annotations

import traceback
from collections.abc import Iterable
from dataclasses import dataclass
from importlib import metadata
from typing import Any

from genloom.catalog import Catalog
from genloom.commands import added, brought_by
from genloom.commands import load as load_command
from genloom.errors import UnknownName
from genloom.options import Option, options_of, plain
from genloom.registry import Plugin
from genloom.stage import Stage


@dataclass(frozen=True)
class Finding:
    """One thing wrong with one plugin.

    Attributes:
        plugin: the plugin, with the package that brought it.
        what: what is wrong; `hint` says what to do about it.
        broken: whether something cannot be used because of it.
    """

    plugin: str
    what: str
    hint: str
    trace: str = ""
    broken: bool = True


@dataclass(frozen=True)
class Command:
    """A command that a plugin adds to `genloom`."""

    name: str
    distribution: str
    version: str
    module: str
    error: str = ""
    trace: str = ""

    def __str__(self) -> str:
        return f"the command '{self.name}' ({self.distribution} {self.version})"


def state_of(plugin: Plugin) -> str:
    """`works`, `works in part` or `broken`."""
    if plugin.error:
        return "broken"
    return "works in part" if plugin.clashes else "works"


def named(name: str, catalog: Catalog) -> Plugin:
    """A plugin by the name of its entry point, or by that of its package.

    Raises:
        UnknownName: with the nearest right name.
    """
    if name in catalog.plugins:
        return catalog.plugins[name]
    of_package = [plugin for plugin in catalog.plugins.values() if plugin.distribution == name]
    if len(of_package) == 1:
        return of_package[0]
    raise UnknownName.of("plugin", name, catalog.plugins)


def described(plugin: Plugin, catalog: Catalog) -> dict[str, Any]:
    """Everything about a plugin as plain values."""
    stages, families = catalog.stages(), catalog.families()
    return {
        "name": plugin.name,
        "distribution": plugin.distribution,
        "version": plugin.version,
        "module": plugin.module,
        "state": state_of(plugin),
        "error": plugin.error,
        "warnings": [*plugin.clashes, *plugin.warnings],
        "brings": plugin.brings,
        "stages": [
            _stage(stages[name])
            for name in plugin.brings.get("stages", ())
            if name in stages and catalog.stage_owner(name) is plugin
        ],
        "families": [
            {"name": name, "summary": _summary(family), "options": _options(family.config)}
            for name in plugin.brings.get("families", ())
            if (family := families.get(name)) is not None
        ],
        "commands": [command.name for command in commands() if _adds(plugin, command)],
    }


def _adds(plugin: Plugin, command: Command) -> bool:
    """Whether a command comes with a plugin: from its package and, in genloom, its module."""
    same = plugin.module.partition(".")[0] == command.module.partition(".")[0]
    return command.distribution == plugin.distribution and (same or not plugin.builtin)


def _stage(stage: type[Stage]) -> dict[str, Any]:
    return {
        "name": stage.name,
        "summary": _summary(stage),
        "takes": [str(kind) for kind in stage.kinds_taken()],
        "gives": str(stage.gives),
        "cardinality": stage.cardinality.value,
        "options": _options(stage),
    }


def _summary(owner: type) -> str:
    return (owner.__doc__ or "").strip().split("\n\n")[0].replace("\n    ", " ")


def _options(owner: type | None) -> list[dict[str, Any]]:
    return [] if owner is None else [_option(option) for option in options_of(owner).values()]


def _option(option: Option) -> dict[str, Any]:
    return {
        "name": option.name,
        "allowed": option.expected,
        "required": option.required,
        "default": None if option.required else plain(option.default),
        "description": option.description,
    }


def commands(*, load: bool = False) -> list[Command]:
    """The commands that installed packages add; `load` tries whether each one loads."""
    found = []
    for point in added():
        version = point.dist.version if point.dist is not None else ""
        error, trace = _tried(point) if load else ("", "")
        found.append(Command(point.name, brought_by(point), version, point.value, error, trace))
    return found


def _tried(point: metadata.EntryPoint) -> tuple[str, str]:
    try:
        load_command(point)
    except (Exception, SystemExit) as error:
        return f"{type(error).__name__}: {error}", traceback.format_exc()
    return "", ""


def troubles(catalog: Catalog) -> list[str]:
    """One line for each plugin that is not used, and for each name that belongs to no one."""
    lines = []
    for plugin in catalog.broken():
        if plugin.error:
            lines.append(f"broken plugin: {plugin}: {' '.join(plugin.error.split())}")
        lines += [f"clash of plugins: {clash}" for clash in plugin.clashes]
    return list(dict.fromkeys(lines))


def findings(catalog: Catalog, own_commands: Iterable[str] = ()) -> list[Finding]:
    """Everything wrong with any plugin, what is broken first.

    Args:
        catalog: the plugins.
        own_commands: genloom's own commands, whose names a plugin cannot take.
    """
    found = [problem for plugin in catalog.plugins.values() for problem in _of_plugin(plugin)]
    found += _of_commands(commands(load=True), own_commands)
    return sorted(found, key=lambda finding: not finding.broken)


def _of_plugin(plugin: Plugin) -> list[Finding]:
    name = str(plugin)
    if plugin.error:
        return [Finding(name, plugin.error, mend(plugin), plugin.trace)]
    clash = "Uninstall one of the two, or ask its authors for another name"
    authors = "The rest of it works; its authors should mend this"
    return [
        *(Finding(name, text, clash) for text in plugin.clashes),
        *(Finding(name, text, authors, broken=False) for text in plugin.warnings),
    ]


def mend(plugin: Plugin) -> str:
    """What to do about a plugin that is broken."""
    if plugin.builtin:
        return "It is part of genloom: python -m pip install --force-reinstall genloom"
    if not plugin.version:
        return "Mend it where it was registered"
    return _update_or_remove(plugin.distribution)


def _update_or_remove(package: str) -> str:
    pip = "python -m pip"
    return f"Update it: {pip} install --upgrade {package}; or remove it: {pip} uninstall {package}"


def _of_commands(added: list[Command], own: Iterable[str]) -> list[Finding]:
    found, owners = [], dict.fromkeys(own, "genloom itself")
    for command in added:
        if command.name in owners:
            what = f"its name is taken by {owners[command.name]}"
            found.append(Finding(str(command), what, f"Uninstall {command.distribution}"))
        elif command.error:
            what = f"it does not load: {command.error}"
            hint = _update_or_remove(command.distribution)
            found.append(Finding(str(command), what, hint, command.trace))
        owners.setdefault(command.name, str(command))
    return found
