"""Real packages, installed with pip beside genloom: what is broken in one harms nothing else."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import sysconfig
import venv
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

PACKAGES = Path(__file__).parent / "packages"
GENLOOM = Path(sysconfig.get_path("scripts")) / "genloom"
BUILD = """
import os, sys
from hatchling.build import build_wheel
for folder in sys.argv[2:]:
    os.chdir(folder)
    build_wheel(sys.argv[1])
"""


@pytest.fixture(scope="session")
def genloom(tmp_path_factory):
    """Runs the real `genloom` in an environment of its own, with every package installed.

    The environment sees this one's packages too, so that nothing is fetched. The wheels are built
    by the packages' own build backend, all in one process, for speed.
    """
    place = tmp_path_factory.mktemp("third-party")
    wheels, folder = place / "wheels", place / "venv"
    started = subprocess.run([sys.executable, GENLOOM, "plugins", "new", "brand-new"], cwd=place)
    assert started.returncode == 0
    sources = [*sorted(path.parent for path in PACKAGES.glob("*/pyproject.toml"))]
    sources.append(place / "genloom-brand-new")
    build = [sys.executable, "-c", BUILD, wheels, *sources]
    subprocess.run(build, check=True, capture_output=True)
    venv.EnvBuilder(with_pip=True).create(folder)
    python = folder / ("Scripts" if os.name == "nt" else "bin") / "python"
    install = [python, "-m", "pip", "install", "--no-index", "--no-deps", *wheels.glob("*.whl")]
    subprocess.run(install, check=True, capture_output=True)
    here = sysconfig.get_path("purelib")
    inside = Path(sysconfig.get_path("purelib", vars={"base": str(folder)}))
    (inside / "beside.pth").write_text(f"import site; site.addsitedir({here!r})\n")

    def run(*arguments, code=0):
        command = [python, "-W", "error", GENLOOM, *arguments]
        done = subprocess.run(command, capture_output=True, text=True, cwd=place, timeout=120)
        assert done.returncode == code, done.stdout + done.stderr
        return done

    return run


@pytest.fixture(scope="session")
def photo(tmp_path_factory):
    pixels = np.arange(12 * 10 * 3, dtype=np.uint8).reshape(12, 10, 3)
    path = tmp_path_factory.mktemp("photos") / "photo.png"
    Image.fromarray(pixels).save(path)
    return path


def pipeline_with(stage, folder):
    path = folder / f"{stage}.yaml"
    path.write_text(f"genloom: 1\nstages: [load, {stage}, save]\n")
    return path


@pytest.fixture(scope="session")
def listed(genloom):
    return {
        entry["name"]: entry for entry in json.loads(genloom("plugins", "list", "--json").stdout)
    }


@pytest.fixture(scope="session")
def diagnosis(genloom):
    return genloom("plugins", "doctor", code=3).stdout


def finding(diagnosis, plugin):
    """The lines about one plugin."""
    blocks = ("\n" + diagnosis).split("\nbroken: ")
    return "\n".join(block for block in blocks if block.startswith(plugin))


def test_every_package_is_listed_with_its_distribution_version_and_state(listed):
    states = {name: entry["state"] for name, entry in listed.items()}
    assert (
        states.items()
        >= {
            "good": "works",
            "brand-new": "works",
            "explodes": "works",
            "broken-import": "broken",
            "broken-hook": "broken",
            "misspelt": "broken",
            "other-version": "broken",
            "clash-one": "works in part",
            "clash-two": "works in part",
            "claims-load": "works in part",
            "spine": "works",
        }.items()
    )
    assert (listed["good"]["distribution"], listed["good"]["version"]) == ("genloom-good", "1.2.3")
    assert listed["good"]["brings"] == {"stages": ["negative"]}


@pytest.mark.parametrize(
    ("plugin", "reason"),
    [
        ("broken-import (genloom-broken-import 1.2.3)", "No module named 'surely_not_installed'"),
        ("broken-hook (genloom-broken-hook 1.2.3)", "RuntimeError: the hook fell over"),
        ("misspelt (genloom-misspelt 1.2.3)", "Did you mean 'genloom_stages'?"),
        ("other-version (genloom-other-version 1.2.3)", "made for version 99 of the plugin API"),
        ("clash-one (genloom-clash-one 1.2.3)", "'posterise' is claimed by both clash-one"),
        ("clash-two (genloom-clash-two 1.2.3)", "'posterise' is claimed by both clash-one"),
        ("claims-load (genloom-claims-load 1.2.3)", "genloom's own stage is used"),
        ("the command 'nowhere' (genloom-lost-command 1.2.3)", "it does not load"),
    ],
)
def test_each_broken_plugin_is_reported_by_name_with_its_reason(diagnosis, plugin, reason):
    assert reason in finding(diagnosis, plugin)


@pytest.mark.parametrize("plugin", ["good", "brand-new", "spine", "onnxruntime"])
def test_a_plugin_that_works_is_not_reported(diagnosis, plugin):
    assert f": {plugin} (" not in diagnosis


def test_every_finding_says_what_to_do_next(diagnosis):
    assert "python -m pip uninstall genloom-broken-import" in finding(diagnosis, "broken-import")
    assert "Uninstall one of the two" in finding(diagnosis, "clash-one")


def test_verbose_shows_where_an_error_was_raised(genloom):
    shown = genloom("plugins", "doctor", "--verbose", code=3).stdout
    assert "Traceback" in shown and "genloom_broken_hook.py" in shown


def test_the_doctor_of_everything_finds_them_too(genloom):
    checks = json.loads(genloom("doctor", "--json", code=3).stdout)
    broken = [check["what"] for check in checks if check["state"] == "broken"]
    assert any(what.startswith("misspelt (genloom-misspelt 1.2.3)") for what in broken)
    assert all(check["section"] == "plugins" for check in checks if check["state"] == "broken")


@pytest.mark.parametrize("stage", ["negative", "brand-new"])
def test_a_pipeline_runs_with_the_stage_of_a_good_plugin(genloom, photo, tmp_path, stage):
    genloom("run", pipeline_with(stage, tmp_path), photo, "-o", tmp_path / "out")
    before, after = (np.array(Image.open(p)) for p in (photo, tmp_path / "out" / "photo.png"))
    assert not np.array_equal(before, after)
    if stage == "negative":
        np.testing.assert_array_equal(after, 255 - before)


def test_a_pipeline_with_only_genloom_s_own_stages_runs_beside_all_of_them(
    genloom, photo, tmp_path
):
    path = tmp_path / "plain.yaml"
    path.write_text("genloom: 1\nstages: [load, save]\n")
    genloom("run", path, photo, "-o", tmp_path / "out")
    before, after = (np.array(Image.open(p)) for p in (photo, tmp_path / "out" / "photo.png"))
    np.testing.assert_array_equal(before, after)


@pytest.mark.parametrize(
    ("stage", "said"),
    [
        ("future", "broken plugin: other-version (genloom-other-version 1.2.3): it was made for"),
        ("posterise", "the stage 'posterise' is claimed by both clash-one"),
    ],
)
@pytest.mark.parametrize("command", ["run", "plan", "validate"])
def test_why_a_stage_is_missing_is_said_before_it_is_missed(
    genloom, photo, tmp_path, command, stage, said
):
    more = [] if command == "validate" else [photo, "-o", tmp_path / "out"]
    error = genloom(command, pipeline_with(stage, tmp_path), *more, code=2).stderr
    assert error.index(said) < error.index(".yaml:2:16: ")


def test_a_stage_that_two_plugins_claim_is_refused_naming_both(genloom, photo, tmp_path):
    path = pipeline_with("posterise", tmp_path)
    error = genloom("run", path, photo, "-o", tmp_path / "out", code=2).stderr
    assert "genloom-clash-one" in error and "genloom-clash-two" in error


def test_a_stage_that_raises_fails_its_pictures_and_is_named(genloom, photo, tmp_path):
    path = pipeline_with("explode", tmp_path)
    done = genloom("run", path, photo, "-o", tmp_path / "out", code=1)
    assert "explode" in done.stderr and "the stage fell over" in done.stderr


def test_a_command_that_a_plugin_adds_is_listed_and_runs(genloom):
    assert "hello" in genloom("--help").stdout
    assert genloom("hello").stdout == "hello from a plugin\n"


def test_a_command_that_does_not_load_says_why_and_harms_no_other(genloom):
    error = genloom("nowhere", "--flag", code=3).stderr
    assert "the command 'nowhere' does not load" in error and "genloom_lost_command" in error


def test_show_has_the_options_of_a_stage_with_type_range_default_and_words(genloom):
    shown = genloom("plugins", "show", "brand-new").stdout
    assert "amount: a number from 0 to 4; default 1.5" in shown
    assert "1 leaves a picture alone" in shown
