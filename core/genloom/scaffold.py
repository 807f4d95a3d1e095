"""Write a new plugin package: `genloom plugins new`."""

from __future__ import annotations

import re
import shlex
from collections.abc import Iterator
from dataclasses import dataclass
from importlib.metadata import PackageNotFoundError, distribution
from importlib.util import find_spec
from pathlib import Path
from string import Template

from genloom import __version__
from genloom.catalog import Catalog
from genloom.errors import GenloomError, OutputError
from genloom.hookspecs import API_VERSION

_NAME = re.compile(r"^[a-z][a-z0-9]*([-_][a-z0-9]+)*$")


@dataclass(frozen=True)
class Package:
    """A plugin package on disk; `name` is the plugin's and its stage's."""

    name: str
    folder: Path

    def next_commands(self) -> Iterator[tuple[str, str]]:
        """What to type next, each with its purpose."""
        yield f"cd {shlex.quote(str(self.folder))}", ""
        yield "python -m pip install --editable '.[test]'", "genloom finds it from now on"
        yield "python -m pytest", "its test passes"
        yield f"genloom plugins show {self.name}", "what it brings"
        yield "genloom run example.yaml PHOTOS -o OUT", "a pipeline that uses it"


def create(name: str, parent: Path, catalog: Catalog) -> Package:
    """Write the package `genloom-NAME` into the folder `parent`.

    Raises:
        GenloomError: when the name is not one, or is taken.
        OutputError: when the folder is there already or cannot be written.
    """
    _check_name(name)
    name = name.replace("_", "-")
    _check_free(name, catalog)
    folder = parent / f"genloom-{name}"
    if folder.exists() or folder.is_symlink():
        raise OutputError("the folder is there already", where=str(folder), hint="Move it away")
    try:
        for path, text in _files(name).items():
            (folder / path).parent.mkdir(parents=True, exist_ok=True)
            (folder / path).write_text(text, encoding="utf-8")
    except OSError as error:
        raise OutputError(f"cannot be written ({error.strerror})", where=str(folder)) from None
    return Package(name, folder)


def _check_name(name: str) -> None:
    if not _NAME.match(name) or len(name) > 50:
        raise GenloomError(
            "this is not a name for a plugin",
            expected="lower-case letters and digits, joined by single hyphens or underscores, "
            "beginning with a letter",
            got=f"'{name}'",
        )


def _check_free(name: str, catalog: Catalog) -> None:
    module = _module(name)
    taken = ""
    if name in catalog.plugins:
        taken = f"the plugin {catalog.plugins[name]}"
    elif name in catalog.stages():
        taken = f"a stage of the plugin {catalog.stage_owner(name)}"
    elif find_spec(module) is not None:
        taken = f"the module {module}, which is installed"
    else:
        try:
            taken = f"the package {distribution(f'genloom-{name}').metadata['Name']}"
        except PackageNotFoundError:
            return
    raise GenloomError(f"the name '{name}' is taken by {taken}", hint="Choose another")


def _module(name: str) -> str:
    return f"genloom_{name.replace('-', '_')}"


def _files(name: str) -> dict[str, str]:
    """The files of the package: path and text."""
    module = _module(name)
    words = {
        "name": name,
        "module": module,
        "stage": "".join(part.capitalize() for part in name.split("-")),
        "test": module.removeprefix("genloom_"),
        "version": ".".join(__version__.split(".")[:2]),
        "api": API_VERSION,
    }
    templates = {
        "pyproject.toml": _PYPROJECT,
        "README.md": _README,
        "example.yaml": _EXAMPLE,
        f"src/{module}/__init__.py": _MODULE,
        f"src/{module}/py.typed": "",
        f"tests/test_{words['test']}.py": _TEST,
    }
    return {path: Template(text).substitute(words) for path, text in templates.items()}


_PYPROJECT = """\
[build-system]
requires = ["hatchling"]
build-backend = "hatchling.build"

[project]
name = "genloom-$name"
version = "0.1.0"
description = "A genloom plugin with the stage `$name`."
readme = "README.md"
requires-python = ">=3.11"
dependencies = ["annotated-types>=0.7", "genloom>=$version"]

[project.optional-dependencies]
test = ["pytest>=8"]

[project.entry-points.genloom]
$name = "$module"

[tool.hatch.build.targets.wheel]
packages = ["src/$module"]

[tool.pytest.ini_options]
pythonpath = ["src"]
testpaths = ["tests"]
"""

_MODULE = '''\
"""A genloom plugin: the stage `$name`."""

from dataclasses import dataclass
from typing import Annotated

from annotated_types import Interval

from genloom import Batch, Kind, Run, Stage, hookimpl

genloom_api = $api


@dataclass(frozen=True, kw_only=True)
class $stage(Stage):
    """Raise or lower the contrast of pictures around middle grey.

    Args:
        amount: 1 leaves a picture alone, less flattens it, more steepens it.
    """

    name, takes, gives = "$name", Kind.IMAGE, Kind.IMAGE
    amount: Annotated[float, Interval(ge=0, le=4)] = 1.5

    def __call__(self, batch: Batch, run: Run) -> Batch:
        """Work on `data`: float32, N×C×H×W, in [0, 1]; what leaves it is clamped when saved."""
        return batch.with_data(0.5 + self.amount * (batch.data - 0.5))


@hookimpl
def genloom_stages() -> list[type[Stage]]:
    """Bring the stage."""
    return [$stage]
'''

_TEST = '''\
"""The stage keeps genloom's contract and does what it says."""

import numpy as np
from $module import $stage

from genloom.testing import FakeRun, check_stage, image_batch


def test_it_keeps_the_contract_of_a_stage():
    check_stage($stage)
    check_stage($stage, amount=0.5)


def test_amount_1_leaves_pictures_alone():
    batch = image_batch(2)
    np.testing.assert_allclose($stage(amount=1)(batch, FakeRun()).data, batch.data, atol=1e-6)


def test_amount_0_leaves_only_grey():
    assert np.all($stage(amount=0)(image_batch(), FakeRun()).data == 0.5)
'''

_EXAMPLE = """\
# What it does: $name, on every picture.
# Run it: genloom run example.yaml PHOTOS -o OUT
genloom: 1
stages:
  - load
  - $name: {amount: 1.5}
  - save
"""

_README = """\
# genloom-$name

A genloom plugin with the stage `$name`.

    python -m pip install --editable '.[test]'
    python -m pytest
    genloom plugins show $name
    genloom run example.yaml PHOTOS -o OUT

The stage is in `src/$module/__init__.py`: a frozen dataclass whose fields are its options, and a
call that takes a batch of pictures and gives the next. `genloom.testing` has the fakes and the
contract check that its test uses.
"""
