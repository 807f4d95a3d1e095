"""The commands about plugins, models and the environment: what they print and how they exit."""

from __future__ import annotations

import json
import shutil
from dataclasses import dataclass

import pytest
from click.testing import CliRunner
from making import plugin_with
from PIL import Image

from genloom.catalog import Catalog
from genloom.cli import main
from genloom.stage import Stage
from genloom.testing import FakeRuntime
from genloom.types import Kind


@pytest.fixture
def genloom(catalog, empty_place, monkeypatch):
    """Runs a command in this process, with the tiny models at hand."""
    monkeypatch.setattr(Catalog, "load", classmethod(lambda cls: catalog))

    def run(*arguments, code=0):
        result = CliRunner().invoke(main, [str(argument) for argument in arguments])
        assert result.exit_code == code, result.output
        return result

    return run


@pytest.fixture
def damaged(empty_place, tiny_bundles):
    """A bundle of the project whose decoder is not the one on its card."""
    folder = empty_place / "models" / "tiny-vae"
    shutil.copytree(tiny_bundles / "tiny-vae", folder)
    (folder / "decoder.onnx").write_bytes(b"damaged")
    return folder


@pytest.fixture
def broken(catalog):
    """A plugin whose hook raises."""

    def stages():
        raise RuntimeError("fell over")

    return catalog.register(plugin_with(stages=stages), "bad")


def plugin_with_stage(name):
    fields = {"name": name, "takes": Kind.IMAGE, "gives": Kind.IMAGE, "__module__": __name__}
    return plugin_with(
        stages=[dataclass(frozen=True, kw_only=True)(type("Made", (Stage,), fields))]
    )


def row(text, name):
    return next(line for line in text.splitlines() if line.startswith(name))


def test_plugins_list_has_name_package_state_and_what_it_brings(genloom):
    result = genloom("plugins", "list")
    assert row(result.stdout, "spine").split()[1] == "genloom"
    assert "works" in row(result.stdout, "spine") and "load" in row(result.stdout, "spine")
    assert "families: tiny-image, tiny-vae" in row(result.stdout, "tiny")
    assert result.stderr == ""


def test_plugins_list_points_at_the_doctor_when_something_is_broken(genloom, broken):
    result = genloom("plugins", "list")
    assert "broken" in row(result.stdout, "bad")
    assert "genloom plugins doctor" in result.stderr


@pytest.mark.parametrize(
    ("command", "code"),
    [
        (["run", "bad.yaml", "PHOTOS", "-o", "OUT"], 2),
        (["plan", "bad.yaml", "PHOTOS", "-o", "OUT"], 2),
        (["validate", "bad.yaml"], 2),
        (["schema"], 0),
        (["pipelines", "list"], 0),
        (["models", "list"], 0),
        (["train", "no-such-recipe", "-o", "OUT"], 2),
    ],
)
def test_a_broken_plugin_is_named_before_it_is_missed(genloom, broken, empty_place, command, code):
    (empty_place / "bad.yaml").write_text("genloom: 1\nstages: [load, of-the-broken-one, save]\n")
    first = genloom(*command, code=code).stderr.splitlines()[0]
    assert first.startswith("broken plugin: bad ((registered) ): RuntimeError: fell over")
    assert "`genloom plugins doctor`" in first


@pytest.mark.parametrize("command", ["run", "plan"])
def test_what_breaks_only_when_it_is_used_is_told_although_the_command_fails(
    genloom, catalog, empty_place, command
):
    class Wild(FakeRuntime):
        name, extras = "wild", {"wild": ""}

        def providers(self):
            raise OSError("libwild.so")

    catalog.register(plugin_with(runtimes=[Wild]), "late")
    (empty_place / "plain.yaml").write_text("genloom: 1\nstages: [load, save]\n")
    Image.new("RGB", (4, 4)).save(empty_place / "a.png")
    told = genloom(command, "plain.yaml", "a.png", "-o", "out", "--provider", "wild", code=3).stderr
    assert "broken plugin: late" in told and "libwild.so" in told


def test_a_clash_is_told_once_by_every_run(genloom, catalog, empty_place):
    for name in ("one", "two"):
        catalog.register(plugin_with_stage("twin"), name)
    (empty_place / "plain.yaml").write_text("genloom: 1\nstages: [load, save]\n")
    Image.new("RGB", (4, 4)).save(empty_place / "a.png")
    error = genloom("run", "plain.yaml", "a.png", "-o", "OUT").stderr
    assert error.count("the stage 'twin' is claimed by both one (") == 1


def test_plugins_list_as_json_is_the_description_of_each(genloom):
    names = [entry["name"] for entry in json.loads(genloom("plugins", "list", "--json").stdout)]
    assert {"spine", "tiny"} <= set(names)


def test_plugins_show_has_every_option_of_every_stage(genloom, catalog):
    shown = genloom("plugins", "show", "spine").stdout
    for name in catalog.plugins["spine"].brings["stages"]:
        assert f"\nstage {name}  (" in shown
    assert "quality: a whole number from 1 to 100; default 95" in shown
    assert "of lossy formats, 1 to 100." in shown
    assert "model: the name or path of a model; required" in shown


def test_plugins_show_has_families_models_and_commands(genloom):
    vae = genloom("plugins", "show", "vae").stdout
    assert "family vae" in vae and "beta: a number from 0 to 1000" in vae
    assert "models: tiny-cvae, tiny-image, tiny-vae" in genloom("plugins", "show", "tiny").stdout
    assert "commands: eval, latents, train" in genloom("plugins", "show", "training").stdout
    assert "commands" not in vae


def test_plugins_show_of_a_broken_one_says_why(genloom, broken):
    assert "state: broken (RuntimeError: fell over)" in genloom("plugins", "show", "bad").stdout


def test_plugins_show_of_an_unknown_one_gives_the_nearest(genloom):
    assert "Did you mean 'spine'" in genloom("plugins", "show", "spin", code=2).stderr


def test_plugins_doctor_is_content_when_nothing_is_broken(genloom):
    assert "none with something broken" in genloom("plugins", "doctor").stdout


def test_plugins_doctor_exits_3_and_traces_only_when_asked(genloom, broken):
    short = genloom("plugins", "doctor", code=3).stdout
    assert "broken: bad" in short and "fell over" in short and "Traceback" not in short
    assert "--verbose" in short
    assert "Traceback" in genloom("plugins", "doctor", "--verbose", code=3).stdout


def test_plugins_new_writes_a_package_and_prints_what_to_type_next(genloom, tmp_path):
    printed = genloom("plugins", "new", "glow", "--folder", tmp_path).stdout
    assert (tmp_path / "genloom-glow" / "pyproject.toml").is_file()
    for words in ("cd ", "python -m pip install", "python -m pytest", "genloom plugins show glow"):
        assert words in printed


def test_plugins_new_refuses_a_bad_name_without_a_traceback(genloom, tmp_path):
    result = genloom("plugins", "new", "Glow", "--folder", tmp_path, code=2)
    assert result.stderr.startswith("genloom: this is not a name for a plugin")


def test_models_list_has_what_one_chooses_a_model_by(genloom):
    line = row(genloom("models", "list").stdout, "tiny-image")
    for words in ("tiny-image", "colour", "multiples of 2", "network", "MB", "the plugin tiny"):
        assert words in line


def test_models_list_announces_hidden_and_broken_ones(genloom, damaged, empty_place):
    other = empty_place / "models" / "wrong"
    other.mkdir()
    (other / "model.yaml").write_text("genloom: 1\nname: wrong\n")
    lines = genloom("models", "list").stdout.splitlines()
    assert any("hidden by the project's models/" in line for line in lines)
    assert "broken: " in row("\n".join(lines), "wrong")
    rows = json.loads(genloom("models", "list", "--json").stdout)
    assert [r["hidden_by"] for r in rows if r["name"] == "tiny-vae"] == [
        "",
        "the project's models/",
    ]


def test_every_problem_of_a_broken_card_is_indented_and_its_place_is_said(genloom, empty_place):
    folder = empty_place / "models" / "wrong"
    folder.mkdir(parents=True)
    (folder / "model.yaml").write_text("genloom: 1\nname: wrong\nsize: 3\n")
    lines = genloom("models", "list").stdout.splitlines()
    at = next(number for number, line in enumerate(lines) if line.startswith("wrong  broken: "))
    assert lines[at].endswith("(the project's models/)")
    assert len(lines) > at + 2 and all(line.startswith("    models") for line in lines[at + 1 :])
    doctor = genloom("doctor", code=3).stdout.splitlines()
    assert sum(line.startswith(" " * 10 + "models") for line in doctor) == len(lines) - at - 1


def test_run_and_plan_announce_a_model_that_hides_another(genloom, empty_place, tiny_bundles):
    (empty_place / "p.yaml").write_text(
        "genloom: 1\nstages: [load, encode: {model: tiny-vae}, decode, save]\n"
    )
    Image.new("L", (8, 8)).save(empty_place / "a.png")
    note = "note: the model 'tiny-vae' is that of the project's models/, not of the plugin tiny"
    for command in ("plan", "run"):
        assert note not in genloom(command, "p.yaml", "a.png", "-o", "OUT").stdout
    shutil.copytree(tiny_bundles / "tiny-vae", empty_place / "models/tiny-vae")
    for command in ("plan", "run"):
        assert genloom(command, "p.yaml", "a.png", "-o", "OUT").stdout.count(note) == 1


def test_models_list_says_where_models_would_lie_when_there_are_none(genloom, monkeypatch):
    monkeypatch.setattr("genloom.models.overview", lambda catalog: [])
    assert "There are no models" in genloom("models", "list").stdout


def test_models_show_prints_the_card_and_where_it_lies(genloom, tiny_bundles):
    shown = genloom("models", "show", "tiny-vae").stdout
    assert str(tiny_bundles / "tiny-vae") in shown
    card = (tiny_bundles / "tiny-vae" / "model.yaml").read_text()
    assert shown.endswith(card)


def test_models_show_announces_what_it_hides(genloom, damaged, tiny_bundles):
    shown = genloom("models", "show", "tiny-vae").stdout
    assert f"# hides {tiny_bundles / 'tiny-vae'}" in shown
    about = json.loads(genloom("models", "show", "tiny-vae", "--json").stdout)
    assert about["folder"] == str(damaged) and about["hides"]
    assert about["card"]["latent"] == [4] and len(about["digest"]) == 64


def test_models_verify_of_sound_models_exits_0(genloom):
    assert "ok" in row(genloom("models", "verify", "tiny-image").stdout, "tiny-image")


def test_models_verify_of_damaged_models_exits_2_with_every_problem(genloom, damaged):
    result = genloom("models", "verify", "tiny-vae", "tiny-image", "no-such", code=2)
    assert "wrong" in row(result.stdout, "tiny-vae") and "ok" in row(result.stdout, "tiny-image")
    assert "decoder: " in result.stderr and "unknown model 'no-such'" in result.stderr


def test_models_verify_without_names_looks_at_all(genloom, damaged):
    printed = genloom("models", "verify", code=2).stdout
    assert row(printed, "tiny-image") and printed.count("tiny-vae ") == 2


def test_models_verify_without_a_runtime_exits_3_with_the_command(genloom, catalog, monkeypatch):
    for runtime in catalog.runtimes().values():
        monkeypatch.setattr(runtime, "providers", lambda self: ())
    result = genloom("models", "verify", code=3)
    assert "python -m pip install 'genloom[cpu]'" in result.stderr


def test_doctor_prints_sections_and_a_last_line(genloom):
    printed = genloom("doctor").stdout
    for section in ("packages", "runtime", "extras", "files", "models", "plugins", "machine"):
        assert f"\n{section}\n" in f"\n{printed}"
    assert printed.endswith("nothing broken\n")


def test_doctor_exits_3_when_something_is_broken(genloom, broken):
    printed = genloom("doctor", code=3).stdout
    assert "broken  bad" in printed and printed.endswith("1 broken\n")
    checks = json.loads(genloom("doctor", "--json", code=3).stdout)
    assert {"section", "state", "what", "hint"} == set(checks[0])


def test_an_unknown_command_gets_the_nearest_one(genloom):
    assert "Did you mean 'plugins'" in genloom("plugin", code=2).stderr


@pytest.mark.parametrize("group", ["plugins", "models", "pipelines"])
def test_every_group_helps_without_doing_anything(genloom, group):
    assert "Commands:" in genloom(group, "--help").stdout


@pytest.mark.parametrize("group", ["plugins", "models", "pipelines"])
def test_no_line_of_a_group_s_help_is_cut(genloom, group):
    listed = genloom(group, "--help").stdout.partition("Commands:")[2].splitlines()
    assert len(listed) > 2 and not any(line.endswith("...") for line in listed)


@pytest.fixture
def added(tmp_path, monkeypatch):
    """Installs a package with the commands `hello`, `lost` and `number` for this process."""
    info = tmp_path / "site" / "genloom_hello-1.0.dist-info"
    info.mkdir(parents=True)
    (info / "METADATA").write_text("Metadata-Version: 2.1\nName: genloom-hello\nVersion: 1.0\n")
    (info / "entry_points.txt").write_text(
        "[genloom.commands]\nhello = hello_module:hello\nlost = hello_module:lost\n"
        "number = math:pi\n"
    )
    (tmp_path / "site" / "hello_module.py").write_text(
        "import click\n\n\n@click.command()\ndef hello():\n    click.echo('hello')\n"
    )
    monkeypatch.syspath_prepend(tmp_path / "site")


def test_a_command_that_a_plugin_adds_is_listed_without_being_loaded(genloom, added):
    import sys

    assert "Added by genloom-hello." in row(genloom("--help").stdout.replace("  ", ""), "hello")
    assert "hello_module" not in sys.modules


def test_a_command_that_a_plugin_adds_runs(genloom, added):
    assert genloom("hello").stdout == "hello\n"


@pytest.mark.parametrize(
    ("name", "reason"), [("lost", "has no attribute 'lost'"), ("number", "is not a click command")]
)
def test_a_command_that_does_not_load_exits_3_with_its_reason(genloom, added, name, reason):
    error = genloom(name, "any", "--thing", code=3).stderr
    assert f"the command '{name}' does not load" in error and reason in error


def test_the_doctor_of_plugins_finds_commands_that_do_not_load(genloom, added):
    printed = genloom("plugins", "doctor", code=3).stdout
    assert "the command 'lost' (genloom-hello 1.0)" in printed
    assert "the command 'hello'" not in printed
