"""`genloom plugins new` writes a package that works, or says why it does not."""

from __future__ import annotations

import subprocess
import sys
import tomllib
from importlib.util import module_from_spec, spec_from_file_location

import pytest

from genloom.catalog import Catalog
from genloom.errors import GenloomError, OutputError
from genloom.scaffold import create


@pytest.fixture(scope="module")
def plugins():
    return Catalog.load()


@pytest.mark.parametrize("name", ["glow", "soft_focus2"])
def test_the_package_passes_its_own_test(tmp_path, plugins, name):
    package = create(name, tmp_path, plugins)
    run = [sys.executable, "-m", "pytest", "-q", "-W", "error", "-p", "no:cacheprovider"]
    done = subprocess.run(run, cwd=package.folder, capture_output=True, text=True)
    assert done.returncode == 0, done.stdout + done.stderr
    assert "3 passed" in done.stdout


def test_its_entry_point_names_a_module_that_brings_its_stage(tmp_path, plugins):
    package = create("soft_focus", tmp_path, plugins)
    assert package.folder == tmp_path / "genloom-soft-focus"
    project = tomllib.loads((package.folder / "pyproject.toml").read_text())
    assert project["project"]["entry-points"]["genloom"] == {"soft-focus": "genloom_soft_focus"}
    path = package.folder / "src" / "genloom_soft_focus" / "__init__.py"
    spec = spec_from_file_location("genloom_soft_focus_under_test", path)
    module = module_from_spec(spec)
    sys.modules[spec.name] = module
    try:
        spec.loader.exec_module(module)
        catalog = Catalog()
        plugin = catalog.register(module, "soft-focus")
    finally:
        del sys.modules[spec.name]
    assert (plugin.error, plugin.warnings) == ("", [])
    assert list(catalog.stages()) == ["soft-focus"]


def test_the_stage_is_short_enough_to_read_at_a_glance(tmp_path, plugins):
    package = create("glow", tmp_path, plugins)
    text = (package.folder / "src" / "genloom_glow" / "__init__.py").read_text()
    assert len([line for line in text.splitlines() if line.strip()]) <= 30


def test_nothing_in_it_is_left_to_fill_in(tmp_path, plugins):
    package = create("glow", tmp_path, plugins)
    for path in package.folder.rglob("*"):
        if path.is_file():
            assert "$" not in path.read_text()


@pytest.mark.parametrize(
    "name", ["", "Glow", "2x", "-glow", "glow-", "a--b", "a b", "../up", "grün", "g" * 51, "a/b"]
)
def test_a_name_that_is_none_is_refused(tmp_path, plugins, name):
    with pytest.raises(GenloomError, match="not a name for a plugin"):
        create(name, tmp_path, plugins)
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize(
    ("name", "owner"),
    [
        ("vae", "the plugin vae"),
        ("load", "a stage of the plugin spine"),
        ("train", "the module genloom_train"),
    ],
)
def test_a_taken_name_is_refused_saying_by_whom(tmp_path, plugins, name, owner):
    with pytest.raises(GenloomError, match=f"is taken by {owner}"):
        create(name, tmp_path, plugins)


def test_a_package_that_is_installed_without_a_module_takes_its_name(
    tmp_path, plugins, monkeypatch
):
    info = tmp_path / "site" / "genloom_ghost-1.0.dist-info"
    info.mkdir(parents=True)
    (info / "METADATA").write_text("Metadata-Version: 2.1\nName: genloom-ghost\nVersion: 1.0\n")
    monkeypatch.syspath_prepend(tmp_path / "site")
    with pytest.raises(GenloomError, match="the package genloom-ghost"):
        create("ghost", tmp_path, plugins)


def test_a_folder_that_is_there_is_left_alone(tmp_path, plugins):
    mine = tmp_path / "genloom-glow" / "mine.txt"
    mine.parent.mkdir()
    mine.write_text("mine")
    with pytest.raises(OutputError, match="there already"):
        create("glow", tmp_path, plugins)
    assert [path.name for path in mine.parent.iterdir()] == ["mine.txt"]


def test_a_folder_that_cannot_be_written_is_one_clear_error(tmp_path, plugins):
    (tmp_path / "file").write_text("in the way")
    with pytest.raises(OutputError, match="cannot be written"):
        create("glow", tmp_path / "file", plugins)
