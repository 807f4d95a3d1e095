"""Recipes: what to train, on what, how long, and how to call the result."""

from __future__ import annotations

import dataclasses
import hashlib
from collections.abc import Sequence
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from typing import Any

from genloom import options, yamlfile
from genloom.catalog import Catalog
from genloom.errors import GenloomError, InvalidFile, Problem, UnknownName
from genloom.yamlfile import Document, Where
from genloom_train.data import Dataset
from genloom_train.options import ExportOptions, TrainOptions
from genloom_train.recipe_check import SECTIONS, Checker


@dataclass(frozen=True, kw_only=True)
class Recipe:
    """A checked recipe.

    Attributes:
        family: the backend's name; `model` is an instance of its `config`.
        path: the file; `text` is what stands in it.
        overrides: what the command line changed, as `section.option=value`.
    """

    family: str
    dataset: str
    data: Dataset
    model: Any
    train: TrainOptions
    export: ExportOptions
    path: Path
    text: str = field(repr=False)
    overrides: tuple[str, ...] = ()

    @property
    def sha256(self) -> str:
        """Digest of the file's text."""
        return hashlib.sha256(self.text.encode()).hexdigest()

    def located_model(self) -> Any:
        """`model` with its paths as they lead from the working folder.

        They start from the recipe's folder, and those of `--set` from the working folder.
        """
        if self.model is None:
            return None
        told = {words.partition("=")[0].strip() for words in self.overrides}
        paths = {
            field.name: self.path.parent / value
            for field in dataclasses.fields(self.model)
            if isinstance(value := getattr(self.model, field.name), Path)
            and f"model.{field.name}" not in told
        }
        return dataclasses.replace(self.model, **paths)

    @cached_property
    def files(self) -> dict[str, str]:
        """SHA-256 of what the paths of `model` lead to, by option, when it was first asked for."""
        located = {} if self.model is None else vars(self.located_model())
        paths = {name: path for name, path in located.items() if isinstance(path, Path)}
        return {f"model.{name}": _digest(path) for name, path in paths.items()}

    def resolved(self) -> dict[str, Any]:
        """Every option with its value, as plain data."""
        return {
            "recipe": self.family,
            "data": {"dataset": self.dataset, **options.values_of(self.data)},
            "model": {} if self.model is None else options.values_of(self.model),
            "train": options.values_of(self.train),
            "export": options.values_of(self.export),
        }


def _digest(path: Path) -> str:
    """SHA-256 of a file; of a folder, that of the names and digests of the files below it."""
    if path.is_dir():
        files = sorted(file for file in path.rglob("*") if file.is_file())
        lines = [f"{file.relative_to(path).as_posix()} {_digest(file)}\n" for file in files]
        return hashlib.sha256("".join(lines).encode()).hexdigest()
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def read_recipe(path: Path, catalog: Catalog, overrides: Sequence[str] = ()) -> Recipe:
    """Read and check a recipe.

    Args:
        path: the YAML file.
        catalog: the plugins, for families and data sets.
        overrides: `section.option=value`, applied before the checks.

    Raises:
        InvalidFile: with everything that is wrong, each at its line and column.
    """
    document = yamlfile.read(path)
    changed = _override(document, overrides)
    checker = Checker(document, catalog, changed)
    recipe = checker.run()
    if checker.problems or recipe is None:
        raise InvalidFile(checker.problems)
    return Recipe(
        **recipe, path=path, text=path.read_text(encoding="utf-8"), overrides=tuple(overrides)
    )


def problems_of(document: Document, catalog: Catalog) -> list[Problem]:
    """Everything wrong in a recipe; the `check` of its file format."""
    checker = Checker(document, catalog, {})
    checker.run()
    return checker.problems


def _override(document: Document, overrides: Sequence[str]) -> dict[Where, str]:
    """Write overrides into the document; gives which option was changed by which words."""
    changed: dict[Where, str] = {}
    for words in overrides:
        address, equals, value = words.partition("=")
        section, dot, option = address.strip().partition(".")
        if not (equals and dot and option) or section not in SECTIONS[2:]:
            raise GenloomError(
                "an override is not understood",
                expected="section.option=value with one of the sections " + ", ".join(SECTIONS[2:]),
                got=words,
                where="--set",
            )
        if isinstance(document.data, dict):
            target = document.data.setdefault(section, {})
            if isinstance(target, dict):
                target[option] = yamlfile.scalar(value)
        changed[section, option] = words
    return changed


def shipped_recipes() -> dict[str, Path]:
    """Recipes that come with genloom, by name: from the wheel, or from the clone."""
    import genloom

    package = Path(genloom.__path__[0])
    places = (package / "pipelines" / "train", package.parents[1] / "pipelines" / "train")
    return {path.stem: path for place in reversed(places) for path in sorted(place.glob("*.yaml"))}


def find_recipe(name: str) -> Path:
    """The file that a path or the name of a shipped recipe means.

    Raises:
        UnknownName: with the nearest right name.
    """
    if Path(name).is_file():
        return Path(name)
    shipped = shipped_recipes()
    if name in shipped:
        return shipped[name]
    raise UnknownName.of("recipe", name, shipped)
