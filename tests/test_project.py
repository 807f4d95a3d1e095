"""The project's own files agree with each other and with what is installed."""

from __future__ import annotations

import ast
import importlib
import importlib.util
import json
import subprocess
import sys
import tomllib
from importlib import metadata
from pathlib import Path

import pytest

import genloom

ROOT = Path(__file__).parents[1]
PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))
ENTRY_POINTS = PROJECT["project"]["entry-points"]
PLUGINS = {path.parent.name for path in (ROOT / "plugins").glob("*/__init__.py")}
REINSTALL = "python -m pip install --editable '.[cpu,train,dev]'"


@pytest.mark.parametrize("group", sorted(ENTRY_POINTS))
def test_the_installed_entry_points_are_those_of_pyproject(group):
    points = metadata.distribution("genloom").entry_points
    installed = {point.name: point.value for point in points if point.group == group}
    assert installed == ENTRY_POINTS[group], (
        f"the entry points of the group '{group}' were changed after genloom was installed; "
        f"run: {REINSTALL}"
    )


def test_the_installed_extras_and_version_are_those_of_pyproject():
    installed = metadata.metadata("genloom")
    extras = set(PROJECT["project"]["optional-dependencies"])
    assert set(installed.get_all("Provides-Extra")) == extras, f"run: {REINSTALL}"
    assert installed["Version"] == PROJECT["project"]["version"], f"run: {REINSTALL}"


def test_the_version_is_the_same_in_both_places():
    assert genloom.__version__ == PROJECT["project"]["version"]


def test_the_wheel_holds_every_package_of_core_and_plugins():
    folders = {
        path.parent.relative_to(ROOT).as_posix()
        for room in ("core", "plugins")
        for path in (ROOT / room).glob("*/__init__.py")
    }
    assert set(PROJECT["tool"]["hatch"]["build"]["targets"]["wheel"]["packages"]) == folders


def test_every_package_states_that_it_has_types():
    for folder in PROJECT["tool"]["hatch"]["build"]["targets"]["wheel"]["packages"]:
        assert (ROOT / folder / "py.typed").is_file(), folder


def test_every_plugin_folder_has_an_entry_point():
    named = {value.partition(".")[0] for value in ENTRY_POINTS["genloom"].values()}
    assert {path.parent.name for path in (ROOT / "plugins").glob("*/__init__.py")} <= named


def test_all_names_exactly_what_type_checkers_see():
    source = (ROOT / "core" / "genloom" / "__init__.py").read_text(encoding="utf-8")
    (block,) = [
        node
        for node in ast.parse(source).body
        if isinstance(node, ast.If) and ast.unparse(node.test) == "TYPE_CHECKING"
    ]
    homes = {
        alias.asname or alias.name: node.module
        for node in block.body
        if isinstance(node, ast.ImportFrom)
        for alias in node.names
    }
    assert list(genloom.__all__) == sorted(homes)
    for name, home in homes.items():
        assert f"genloom.{genloom._HOMES[name]}" == home, name


@pytest.mark.parametrize("name", genloom.__all__)
def test_every_public_name_is_there_and_documented(name):
    assert getattr(genloom, name).__doc__


def test_an_unknown_public_name_is_an_attribute_error():
    with pytest.raises(AttributeError, match="no attribute 'nothing'"):
        _ = genloom.nothing


def imported_by(arguments):
    """The modules in a fresh process once the command has run."""
    code = (
        "import json, sys, contextlib, io\n"
        "from genloom.cli import main\n"
        "with contextlib.redirect_stdout(io.StringIO()), contextlib.suppress(SystemExit):\n"
        f"    main({arguments!r})\n"
        "print(json.dumps(sorted(sys.modules)))"
    )
    # -I keeps site hooks of coverage and the like from importing on their own account.
    done = subprocess.run([sys.executable, "-I", "-c", code], capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    return set(json.loads(done.stdout))


HEAVY = {"numpy", "onnxruntime", "cv2", "PIL", "torch", "pydantic", "yaml", "pluggy", "rich"}


@pytest.mark.parametrize("arguments", [["--help"], ["--version"], ["plugins", "--help"]])
def test_help_imports_no_library_and_no_plugin(arguments):
    modules = imported_by(arguments)
    assert "genloom.cli" in modules
    plugins = {
        value.partition(":")[0] for group in ENTRY_POINTS.values() for value in group.values()
    }
    assert modules & (HEAVY | plugins) == set()


def test_importing_genloom_imports_nothing_of_it():
    code = "import sys, genloom; print(*[m for m in sys.modules if m.startswith('genloom')])"
    done = subprocess.run([sys.executable, "-I", "-c", code], capture_output=True, text=True)
    assert done.stdout.split() == ["genloom"]


def test_the_engine_never_imports_torch_or_onnx():
    code = (
        "import sys, pkgutil, importlib, genloom\n"
        "for found in pkgutil.walk_packages(genloom.__path__, 'genloom.'):\n"
        "    if not found.name.endswith('__main__'):\n"
        "        importlib.import_module(found.name)\n"
        "print(*sorted({'torch', 'onnx', 'pytest', 'genloom_train'} & set(sys.modules)))"
    )
    done = subprocess.run([sys.executable, "-I", "-c", code], capture_output=True, text=True)
    assert (done.stderr, done.stdout.strip()) == ("", "")


@pytest.mark.parametrize("path", sorted((ROOT / "benchmarks").glob("*.py")), ids=lambda p: p.stem)
def test_a_benchmark_imports_only_what_there_is(path):
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        if not isinstance(node, ast.ImportFrom) or not node.module:
            continue
        if node.module.partition(".")[0] in {"genloom", "genloom_train", *PLUGINS}:
            module = importlib.import_module(node.module)
            names = [name.name for name in node.names]
            there = [
                name
                for name in names
                if hasattr(module, name) or importlib.util.find_spec(f"{node.module}.{name}")
            ]
            assert there == names, node.module
        elif (sibling := path.with_name(f"{node.module}.py")).is_file():
            tree = ast.parse(sibling.read_text(encoding="utf-8"))
            assigned = [
                target for n in tree.body if isinstance(n, ast.Assign) for target in n.targets
            ]
            there = {n.name for n in tree.body if isinstance(n, ast.FunctionDef | ast.ClassDef)}
            there |= {target.id for target in assigned if isinstance(target, ast.Name)}
            assert {name.name for name in node.names} <= there, node.module
