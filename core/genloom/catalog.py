"""Find plugins, load each one guarded, and remember who brought what.

A catalog is an ordinary object: make as many as you like. One broken plugin is remembered with
its error and breaks nothing else; a name that two plugins claim belongs to neither, except that
genloom's own names are never taken from it.
"""

from __future__ import annotations

import contextlib
import functools
import sys
import traceback
from collections.abc import Iterable
from importlib import metadata
from pathlib import Path
from types import ModuleType
from typing import Any

import pluggy

from genloom import hookspecs
from genloom.backend import Backend
from genloom.contributions import checked_folders, gathered, names_in
from genloom.errors import GenloomError, PluginError, did_you_mean
from genloom.registry import OWN, Plugin, Registry, plural
from genloom.runtime import Runtime
from genloom.stage import Stage
from genloom.types import Kind
from genloom.yamlfile import Format

GROUP = "genloom"
NOUNS = ("stage", "kind", "family", "runtime", "dataset", "format")


class Catalog:
    """The plugins of one process and everything they bring."""

    def __init__(self) -> None:
        self.plugins: dict[str, Plugin] = {}
        self._manager = pluggy.PluginManager("genloom")
        self._manager.add_hookspecs(hookspecs)
        self._registries = {noun: Registry(noun) for noun in NOUNS}
        self._folders: dict[str, list[tuple[Path, Plugin]]] = {"models": [], "pipelines": []}
        self._files: dict[str, dict[str, Plugin]] = {"models": {}, "pipelines": {}}
        for kind in (Kind.NOTHING, Kind.IMAGE, Kind.LATENT):
            self._registries["kind"].add(kind.name, kind, Plugin("engine", OWN, "", ""))

    @classmethod
    def load(cls, entry_points: Iterable[metadata.EntryPoint] | None = None) -> Catalog:
        """The catalog of every installed plugin: genloom's own first, then by name.

        What plugins print meanwhile goes to standard error: standard output is for results.
        """
        catalog = cls()
        found = metadata.entry_points(group=GROUP) if entry_points is None else entry_points
        described = {_describe(point): point for point in found}
        with contextlib.redirect_stdout(sys.stderr):
            for (_, name, distribution, version, module), point in sorted(
                described.items(), key=lambda pair: pair[0]
            ):
                catalog._load_one(Plugin(name, distribution, version, module), point)
        return catalog

    def register(self, module: ModuleType | Any, name: str = "") -> Plugin:
        """Add a plugin that is not installed: a module, or an object with hook methods."""
        name = name or getattr(module, "__name__", type(module).__name__)
        plugin = Plugin(name, "(registered)", "", name)
        self._add(plugin, module)
        return plugin

    def _load_one(self, plugin: Plugin, point: metadata.EntryPoint) -> None:
        try:
            module = point.load()
        except (Exception, SystemExit) as error:
            return self._refuse(plugin, error, f"importing '{plugin.module}' failed")
        self._add(plugin, module)

    def _add(self, plugin: Plugin, module: Any) -> None:
        if plugin.name in self.plugins:
            other = self.plugins[plugin.name]
            plugin.error = f"its name is taken by {other}"
            plugin.name = f"{plugin.name}@{plugin.distribution}"
            self.plugins[plugin.name] = plugin
            return
        self.plugins[plugin.name] = plugin
        made_for = getattr(module, "genloom_api", None)
        if made_for is None:
            plugin.warnings.append(
                f"it does not state its API version; add `genloom_api = {hookspecs.API_VERSION}`"
            )
        elif made_for != hookspecs.API_VERSION:
            plugin.error = (
                f"it was made for version {made_for} of the plugin API, "
                f"this genloom has version {hookspecs.API_VERSION}"
            )
            return
        try:
            self._manager.register(module, plugin.name)
            self._refuse_misspelt(plugin, module)
            plugin.warnings += _unmarked(module)
            self._collect(plugin)
        except (Exception, SystemExit) as error:
            self._refuse(plugin, error, "")
            if self._manager.has_plugin(plugin.name):
                self._manager.unregister(name=plugin.name)

    def _refuse(self, plugin: Plugin, error: BaseException, doing: str) -> None:
        text = str(error) if isinstance(error, GenloomError) else f"{type(error).__name__}: {error}"
        plugin.error = f"{doing}: {text}" if doing else text
        plugin.trace = "".join(traceback.format_exception(error))
        self.plugins[plugin.name] = plugin

    def _refuse_misspelt(self, plugin: Plugin, module: Any) -> None:
        known = [name for name in dir(hookspecs) if name.startswith("genloom_")]
        for caller in self._manager.get_hookcallers(module) or []:
            if not caller.has_spec():
                raise PluginError(
                    f"there is no hook '{caller.name}'", hint=did_you_mean(caller.name, known)
                )

    def _collect(self, plugin: Plugin) -> None:
        """Ask one plugin for everything first, then enter it: a failure leaves nothing behind."""
        ask = functools.partial(self._ask, plugin)
        found = gathered(ask, own=plugin.builtin)
        folders = {noun: checked_folders(noun, ask(f"genloom_{noun}")) for noun in self._folders}
        for noun, things in found.items():
            for name, thing in things.items():
                self._registries[noun].add(name, thing, plugin)
            if things:
                plugin.brings[plural(noun)] = sorted(things)
        for noun, paths in folders.items():
            self._add_folders(noun, paths, plugin)

    def _add_folders(self, noun: str, folders: list[Path], plugin: Plugin) -> None:
        """Folders are looked through in order, so of two files of one name the first is used."""
        self._folders[noun] += [(folder, plugin) for folder in folders]
        for folder in folders:
            if not folder.is_dir():
                plugin.warnings.append(f"its folder of {noun}, '{folder}', does not exist")
        names = [name for folder in folders for name in names_in(noun, folder)]
        if names:
            plugin.brings[noun] = sorted(set(names))
        for name in names:
            owner = self._files[noun].setdefault(name, plugin)
            if owner is not plugin:
                what = f"the {noun[:-1]} '{name}' is brought by both {owner} and {plugin}"
                plugin.clashes.append(f"{what}; that of {owner.name} is used")

    def _ask(self, plugin: Plugin, hook: str) -> Any:
        others = [other for name, other in self._manager.list_name_plugin() if name != plugin.name]
        answers = self._manager.subset_hook_caller(hook, others)()
        empty: Any = {} if hook == "genloom_datasets" else []
        return answers[0] if answers else empty

    def owner(self, noun: str, name: str) -> Plugin:
        """The plugin that brought a `stage`, `family`, `runtime`, `format` and so on."""
        return self._registries[noun].entries[name].plugins[0]

    def refuse(self, noun: str, name: str, error: BaseException) -> PluginError:
        """Remember that what a plugin brought failed in use; gives the error that says so."""
        plugin = self.owner(noun, name)
        self._refuse(plugin, error, f"its {noun} '{name}' failed")
        hint = "" if isinstance(error, GenloomError) and error.hint else "Update or remove it"
        return PluginError(f"{plugin}: {plugin.error}", hint=hint)

    def _made(self, noun: str, name: str) -> Any:
        made = self._registries[noun].get(name)
        try:
            return made()
        except (Exception, SystemExit) as error:
            raise self.refuse(noun, name, error) from error

    def stage(self, name: str) -> type[Stage]:
        """A stage by name.

        Raises:
            UnknownName: with the nearest right name.
            PluginError: when two plugins claim it.
        """
        return self._registries["stage"].get(name)  # type: ignore[no-any-return]

    def stages(self) -> dict[str, type[Stage]]:
        """Every usable stage by name."""
        return self._registries["stage"].usable()

    def stage_owner(self, name: str) -> Plugin:
        """The plugin that brought a stage."""
        return self.owner("stage", name)

    def kinds(self) -> dict[str, Kind]:
        """Every kind by name."""
        return self._registries["kind"].usable()

    def backend(self, family: str) -> Backend:
        """The backend of a family of models, ready to use."""
        return self._made("family", family)  # type: ignore[no-any-return]

    def families(self) -> dict[str, type[Backend]]:
        """Every family of models by name."""
        return self._registries["family"].usable()

    def runtime(self, name: str) -> Runtime:
        """A runtime by name, ready to use."""
        return self._made("runtime", name)  # type: ignore[no-any-return]

    def runtimes(self) -> dict[str, type[Runtime]]:
        """Every runtime by name."""
        return self._registries["runtime"].usable()

    def datasets(self) -> dict[str, Any]:
        """Every data set for training by name."""
        return self._registries["dataset"].usable()

    def formats(self) -> dict[str, Format]:
        """Kinds of files besides pipelines, by the top-level key that marks them."""
        return self._registries["format"].usable()

    def folders(self, noun: str) -> list[tuple[Path, Plugin]]:
        """Folders of `models` or `pipelines`, each with the plugin that brought it."""
        return self._folders[noun]

    def listens(self, hook: str) -> bool:
        """Whether any plugin is told of a moment of a run."""
        return bool(getattr(self._manager.hook, hook).get_hookimpls())

    def notify(self, hook: str, **arguments: Any) -> None:
        """Tell every plugin about a moment of a run; one that raises is not told again."""
        for implementation in list(getattr(self._manager.hook, hook).get_hookimpls()):
            name = implementation.plugin_name
            others = [other for n, other in self._manager.list_name_plugin() if n != name]
            try:
                self._manager.subset_hook_caller(hook, others)(**arguments)
            except (Exception, SystemExit) as error:
                self._manager.unregister(implementation.plugin)
                self._refuse(self.plugins[name], error, f"its hook {hook} failed")

    def broken(self) -> list[Plugin]:
        """Plugins that are not used, or only in part."""
        return [plugin for plugin in self.plugins.values() if plugin.error or plugin.clashes]


def _unmarked(module: Any) -> list[str]:
    """Functions with the name of a hook that genloom does not see."""
    names = [name for name in dir(hookspecs) if name.startswith("genloom_")]
    return [
        f"its function '{name}' is not marked with @genloom.hookimpl and is not called"
        for name in names
        if callable(found := getattr(module, name, None)) and not hasattr(found, "genloom_impl")
    ]


def _describe(point: metadata.EntryPoint) -> tuple[bool, str, str, str, str]:
    distribution, version = "", ""
    if point.dist is not None:
        distribution, version = point.dist.metadata["Name"] or "", point.dist.version
    return (distribution != OWN, point.name, distribution, version, point.value)
