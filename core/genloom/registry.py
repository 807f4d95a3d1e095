"""Things that plugins bring, by name, and the plugins that brought them."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

from genloom.errors import PluginError, UnknownName

OWN = "genloom"
"""Name of the distribution whose plugins are genloom's own."""


def plural(noun: str) -> str:
    """The noun for several: `stages`, `families`."""
    return "families" if noun == "family" else f"{noun}s"


@dataclass
class Plugin:
    """One plugin: where it came from, what it brought, and what is wrong with it.

    Attributes:
        name: name of its entry point.
        distribution: the installed package that declares it; `version` is that package's.
        module: the module the entry point names.
        error: why it is not used; empty when it works.
        clashes: names it brings that another plugin claims too.
        warnings: what is wrong without making anything unusable.
        brings: names by noun (`stages`, `backends` …).
    """

    name: str
    distribution: str
    version: str
    module: str
    error: str = ""
    trace: str = ""
    clashes: list[str] = field(default_factory=list)
    warnings: list[str] = field(default_factory=list)
    brings: dict[str, list[str]] = field(default_factory=dict)

    @property
    def builtin(self) -> bool:
        """Whether it is part of genloom itself."""
        return self.distribution == OWN

    def __str__(self) -> str:
        return f"{self.name} ({self.distribution} {self.version})"


@dataclass(frozen=True)
class _Entry:
    value: Any
    plugins: tuple[Plugin, ...]


class Registry:
    """Things of one noun by name, each with the plugin that brought it."""

    def __init__(self, noun: str) -> None:
        self.noun = noun
        self.entries: dict[str, _Entry] = {}

    def add(self, name: str, value: Any, plugin: Plugin) -> None:
        """Enter one thing; a second claim on a name is noted with both plugins."""
        current = self.entries.get(name)
        if current is None:
            self.entries[name] = _Entry(value, (plugin,))
            return
        owner = current.plugins[0]
        message = f"the {self.noun} '{name}' is claimed by both {owner} and {plugin}"
        if owner.builtin:
            plugin.clashes.append(f"{message}; genloom's own {self.noun} is used")
            return
        for claimant in (*current.plugins, plugin):
            claimant.clashes.append(message)
        self.entries[name] = _Entry(value, (*current.plugins, plugin))

    def get(self, name: str) -> Any:
        """The thing of that name.

        Raises:
            UnknownName: with the nearest right name.
            PluginError: when two plugins claim it.
        """
        entry = self.entries.get(name)
        if entry is None:
            raise UnknownName.of(self.noun, name, self.entries)
        if len(entry.plugins) > 1:
            raise PluginError(
                f"the {self.noun} '{name}' is claimed by "
                + " and ".join(str(plugin) for plugin in entry.plugins),
                hint="Uninstall one of them",
            )
        return entry.value

    def usable(self) -> dict[str, Any]:
        """Everything that exactly one plugin brings."""
        return {name: e.value for name, e in self.entries.items() if len(e.plugins) == 1}
