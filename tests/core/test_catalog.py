"""The catalog survives every way in which a plugin can be broken, and remembers who is."""

from __future__ import annotations

import functools
from dataclasses import dataclass
from importlib import metadata
from importlib.metadata import EntryPoint
from types import ModuleType
from typing import Annotated

import numpy as np
import pytest
from making import plugin_with

from genloom import pipeline, plugins
from genloom.backend import Backend
from genloom.catalog import Catalog
from genloom.errors import PluginError, UnknownName
from genloom.hookspecs import hookimpl
from genloom.registry import Plugin
from genloom.stage import Stage
from genloom.types import Batch, Item, Kind


def stage_named(name, **fields):
    """A stage class; `fields` override its class attributes."""
    body = {
        "name": name,
        "takes": Kind.IMAGE,
        "gives": Kind.IMAGE,
        "__module__": __name__,
        **fields,
    }
    return dataclass(frozen=True, kw_only=True)(type("Made", (Stage,), body))


@pytest.fixture
def empty():
    return Catalog()


def test_what_a_plugin_brings_is_found_by_name_and_owner(empty):
    negative = stage_named("negative")
    plugin = empty.register(plugin_with(stages=[negative], kinds=[Kind("sound")]), "mine")
    assert (plugin.error, plugin.warnings, plugin.clashes) == ("", [], [])
    assert plugin.brings == {"stages": ["negative"], "kinds": ["sound"]}
    assert empty.stage("negative") is negative
    assert empty.stage_owner("negative") is plugin
    assert empty.kinds()["sound"] == Kind("sound")


def test_an_unknown_name_gets_the_nearest_one(empty):
    empty.register(plugin_with(stages=[stage_named("negative")]), "mine")
    with pytest.raises(UnknownName, match="Did you mean 'negative'"):
        empty.stage("negativ")


def raising(error):
    def hook():
        raise error

    return hook


NOT_FROZEN = type("Loose", (Stage,), {"name": "loose", "takes": Kind.IMAGE, "gives": Kind.IMAGE})


@dataclass(frozen=True, kw_only=True)
class Opaque(Stage):
    name, takes, gives = "opaque", Kind.IMAGE, Kind.IMAGE
    table: np.ndarray | None = None


@dataclass(frozen=True, kw_only=True)
class Dangling(Stage):
    name, takes, gives = "dangling", Kind.IMAGE, Kind.IMAGE
    table: Annotated[NoSuchType, 1] = 0  # noqa: F821


@dataclass(frozen=True, kw_only=True)
class Unending(Stage):
    name, takes, gives = "unending", Kind.IMAGE, Kind.IMAGE
    limit: float = float("inf")


@dataclass(frozen=True)
class Imaginary:
    root: complex = 1j


def family_with(**fields):
    return type("Made", (Backend,), {"family": "made", **fields})


@pytest.mark.parametrize(
    ("plugin", "reason"),
    [
        (plugin_with(stages=raising(RuntimeError("fell over"))), "RuntimeError: fell over"),
        (plugin_with(stages=raising(SystemExit(4))), "SystemExit: 4"),
        (plugin_with(stagse=[]), "Did you mean 'genloom_stages'"),
        (plugin_with(api=2), "made for version 2 of the plugin API"),
        (plugin_with(stages=[str]), "must give stage classes"),
        (plugin_with(stages=5), "TypeError"),
        (plugin_with(stages=[NOT_FROZEN]), "not a frozen dataclass"),
        (plugin_with(stages=[dataclass(frozen=True)(type("N", (Stage,), {}))]), "not set 'name'"),
        (plugin_with(stages=[stage_named("Not A Name")]), "name that pipeline files cannot hold"),
        (plugin_with(stages=[stage_named("twin"), stage_named("twin")]), "two stages"),
        (plugin_with(stages=[Opaque]), "options of Opaque have types that cannot be checked"),
        (plugin_with(stages=[Dangling]), "options of Dangling have types that cannot be checked"),
        (plugin_with(backends=[Backend]), "AttributeError"),
        (plugin_with(backends=[3]), "must give backend classes; got 3"),
        (plugin_with(backends=[family_with(config=int)]), "options of int have types that cannot"),
        (plugin_with(backends=[family_with(config=Imaginary)]), "Imaginary have types that cannot"),
        (plugin_with(runtimes=[Backend]), "must give runtime classes"),
        (plugin_with(stages=[Unending]), "options of Unending have types that cannot"),
        (plugin_with(datasets={"weird": 3}), "the dataset 'weird' is not a class; got 3"),
        (plugin_with(datasets={"clothes": dict}), "options of dict have types that cannot"),
        (plugin_with(datasets=["clothes"]), "must give a mapping of names"),
        (plugin_with(datasets={3: Imaginary}), "have types that cannot"),
        (plugin_with(kinds=[Kind(3)]), "a kind whose name is no text; got 3"),
        (plugin_with(models="/models"), "genloom_models must give a list of folders"),
    ],
)
def test_a_broken_plugin_is_remembered_and_leaves_nothing_behind(empty, plugin, reason):
    found = empty.register(plugin, "bad")
    assert reason in found.error
    assert empty.broken() == [found]
    assert empty.stages() == {}
    good = empty.register(plugin_with(stages=[stage_named("negative")]), "good")
    assert good.error == "" and list(empty.stages()) == ["negative"]
    empty.notify("genloom_before_run", plan=None)
    assert good.error == ""


def test_pipelines_and_models_of_a_name_that_is_taken_are_clashes(empty, tmp_path):
    for place in ("one", "two"):
        (tmp_path / place / "bundle").mkdir(parents=True)
        (tmp_path / place / "bundle" / "model.yaml").touch()
        (tmp_path / place / "sheet.yaml").touch()
        folders = [tmp_path / place]
        plugin = empty.register(plugin_with(pipelines=folders, models=folders), place)
    assert pipeline.available(empty)["sheet"] == (tmp_path / "one/sheet.yaml", "the plugin one")
    assert plugin.error == "" and empty.broken() == [plugin]
    assert sorted(clash.partition(";")[0] for clash in plugin.clashes) == [
        f"the {noun} '{name}' is brought by both {empty.plugins['one']} and {plugin}"
        for noun, name in [("model", "bundle"), ("pipeline", "sheet")]
    ]
    assert all("that of one is used" in clash for clash in plugin.clashes)


def test_a_folder_that_is_not_there_is_a_warning(empty, tmp_path):
    plugin = empty.register(plugin_with(models=[tmp_path / "gone"]), "mine")
    assert plugin.warnings == [f"its folder of models, '{tmp_path / 'gone'}', does not exist"]
    assert plugin.brings == {}


def test_what_plugins_print_while_they_load_is_no_result(capsys, tmp_path, monkeypatch):
    (tmp_path / "talkative.py").write_text("genloom_api = 1\nprint('hello')\n")
    monkeypatch.syspath_prepend(tmp_path)
    catalog = Catalog.load([EntryPoint("talkative", "talkative", "genloom")])
    assert catalog.plugins["talkative"].error == ""
    captured = capsys.readouterr()
    assert (captured.out, captured.err) == ("", "hello\n")


def test_a_family_that_does_not_start_is_blamed_on_its_plugin(empty):
    plugin = empty.register(plugin_with(backends=[family_with(__init__=stumbling)]), "bad")
    with pytest.raises(PluginError, match=r"bad .*: its family 'made' failed: OSError: no"):
        empty.backend("made")
    assert empty.broken() == [plugin]


def stumbling(self):
    raise OSError("no")


def test_the_trace_of_a_broken_plugin_is_kept(empty):
    found = empty.register(plugin_with(stages=raising(RuntimeError("fell over"))), "bad")
    assert "Traceback" in found.trace and "test_catalog.py" in found.trace


def test_a_plugin_without_an_api_version_works_with_a_warning(empty):
    found = empty.register(plugin_with(api=None, stages=[stage_named("negative")]), "old")
    assert found.error == "" and "genloom_api = 1" in found.warnings[0]
    assert "negative" in empty.stages()


def test_a_hook_without_its_mark_is_a_warning(empty):
    module = plugin_with()
    module.genloom_stages = list
    found = empty.register(module, "unmarked")
    assert "'genloom_stages' is not marked with @genloom.hookimpl" in found.warnings[0]
    (finding,) = [f for f in plugins.findings(empty) if f.plugin == str(found)]
    assert finding.hint.startswith("The rest of it works")


@pytest.mark.parametrize("reverse", [False, True])
def test_a_stage_that_two_claim_belongs_to_neither(empty, reverse):
    for name in ["one", "two"][:: -1 if reverse else 1]:
        empty.register(plugin_with(stages=[stage_named("clash"), stage_named(name)]), name)
    assert set(empty.stages()) == {"one", "two"}
    with pytest.raises(PluginError, match=r"claimed by (one|two) .* and (one|two) ") as caught:
        empty.stage("clash")
    assert "Uninstall one of them" in str(caught.value)
    for plugin in empty.plugins.values():
        assert len(plugin.clashes) == 1 and plugins.state_of(plugin) == "works in part"


def test_genloom_s_own_stage_is_never_taken_from_it():
    catalog = Catalog.load()
    own = catalog.stage("load")
    thief = catalog.register(plugin_with(stages=[stage_named("load")]), "thief")
    assert catalog.stage("load") is own
    assert "genloom's own stage is used" in thief.clashes[0]
    assert all(not p.clashes for p in catalog.plugins.values() if p is not thief)


def test_kinds_of_the_engine_cannot_be_taken(empty):
    thief = empty.register(plugin_with(kinds=[Kind("image")]), "thief")
    assert empty.kinds()["image"] is Kind.IMAGE and len(thief.clashes) == 1


def test_two_plugins_of_one_name_are_told_apart(empty):
    first = empty.register(plugin_with(stages=[stage_named("first")]), "same")
    second = empty.register(plugin_with(stages=[stage_named("second")]), "same")
    assert first.error == "" and "taken by same" in second.error
    assert len(empty.plugins) == 2 and list(empty.stages()) == ["first"]


def test_an_entry_point_that_does_not_import_is_remembered_with_what_it_named():
    point = EntryPoint("lost", "surely_not_installed", "genloom")
    (plugin,) = Catalog.load([point]).plugins.values()
    assert plugin.name == "lost"
    assert "importing 'surely_not_installed' failed: ModuleNotFoundError" in plugin.error


@pytest.mark.parametrize("error", [RuntimeError("fell over"), SystemExit("fell over")])
def test_a_plugin_that_raises_while_it_is_told_of_a_run_is_not_told_again(empty, error):
    told = []

    def module_that(answer):
        module = ModuleType("listener")
        module.genloom_api = 1

        @hookimpl
        def genloom_after_item(item, files):
            answer(item)

        module.genloom_after_item = genloom_after_item
        return module

    calls = []

    def stumble(item):
        calls.append(item)
        raise error

    bad = empty.register(module_that(stumble), "bad")
    empty.register(module_that(told.append), "good")
    item = Item(key="0/a.png", name="a")
    for _ in range(2):
        empty.notify("genloom_after_item", item=item, files=[])
    assert len(calls) == 1 and len(told) == 2
    reason = f"{type(error).__name__}: fell over"
    assert f"its hook genloom_after_item failed: {reason}" in bad.error


def test_genloom_s_own_plugins_come_first_and_are_whole():
    catalog = Catalog.load()
    own = [plugin.builtin for plugin in catalog.plugins.values()]
    assert own == sorted(own, reverse=True)
    assert [str(plugin) for plugin in catalog.broken() if plugin.builtin] == []
    assert {"spine", "onnxruntime", "vae", "denoise"} <= set(catalog.plugins)
    assert {"load", "save"} <= set(catalog.stages())


def test_catalogs_share_nothing(empty):
    empty.register(plugin_with(stages=[stage_named("negative")]), "mine")
    assert Catalog().stages() == {}


def test_findings_name_the_plugin_the_reason_and_what_to_do(empty):
    empty.register(plugin_with(api=None), "old")
    empty.register(plugin_with(stages=raising(RuntimeError("fell over"))), "bad")
    bad, old = (f for f in plugins.findings(empty) if "(registered)" in f.plugin)
    assert bad.plugin.startswith("bad") and bad.broken and "fell over" in bad.what and bad.trace
    assert old.plugin.startswith("old") and not old.broken and old.hint


def test_troubles_are_whole_and_one_line_each(empty):
    plugin = empty.register(plugin_with(stages=raising(RuntimeError("fell\n  over"))), "bad")
    assert plugins.troubles(empty) == [f"broken plugin: {plugin}: RuntimeError: fell over"]


@pytest.mark.parametrize(
    ("distribution", "version", "hint"),
    [
        ("genloom", "0.1.0", "It is part of genloom"),
        ("(registered)", "", "where it was registered"),
        ("genloom-x", "1.0", "python -m pip install --upgrade genloom-x"),
    ],
)
def test_what_to_do_depends_on_where_a_plugin_came_from(empty, distribution, version, hint):
    empty.plugins["x"] = Plugin("x", distribution, version, "x", error="it fell over")
    assert hint in next(f.hint for f in plugins.findings(empty) if f.plugin.startswith("x"))


def test_a_description_is_plain_and_has_every_option(empty):
    @dataclass(frozen=True, kw_only=True)
    class Shift(Stage):
        """Move pictures.

        Args:
            by: how far.
        """

        name, takes, gives = "shift", Kind.IMAGE, Kind.IMAGE
        by: int
        wrap: bool = True

        def __call__(self, batch: Batch, run: object) -> Batch:
            return batch

    plugin = empty.register(plugin_with(stages=[Shift]), "mine")
    (stage,) = plugins.described(plugin, empty)["stages"]
    assert (stage["summary"], stage["takes"], stage["gives"]) == (
        "Move pictures.",
        ["image"],
        "image",
    )
    by, wrap = stage["options"]
    assert (by["required"], by["allowed"], by["description"]) == (
        True,
        "a whole number",
        "how far.",
    )
    assert (wrap["required"], wrap["default"]) == (False, True)


def test_a_plugin_is_found_by_its_package_too(empty):
    plugin = empty.register(plugin_with(), "mine")
    assert plugins.named("mine", empty) is plugin
    assert plugins.named("(registered)", empty) is plugin
    with pytest.raises(UnknownName, match="Did you mean 'mine'"):
        plugins.named("mime", empty)


def test_commands_that_share_a_name_or_do_not_load_are_findings(monkeypatch, empty):
    points = [
        EntryPoint("run", "click:command", "genloom.commands"),
        EntryPoint("gone", "surely_not_installed:x", "genloom.commands"),
        EntryPoint("number", "math:pi", "genloom.commands"),
    ]
    monkeypatch.setattr(metadata, "entry_points", functools.partial(_points, points))
    found = {f.plugin.split("'")[1]: f.what for f in plugins.findings(empty, ["run"])}
    assert found["run"] == "its name is taken by genloom itself"
    assert "No module named 'surely_not_installed'" in found["gone"]
    assert "math:pi is not a click command" in found["number"]


def _points(points, group):
    return [point for point in points if point.group == group]
