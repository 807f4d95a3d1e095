"""What can be wrong with a recipe, each at its line and column; and the JSON Schema of recipes."""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any

from genloom import options
from genloom.backend import Backend
from genloom.catalog import Catalog
from genloom.errors import Problem, did_you_mean
from genloom.yamlfile import Document, Where
from genloom_train.options import ExportOptions, TrainOptions

SECTIONS = ("genloom", "recipe", "data", "model", "train", "export")
NAME_PATTERN = r"^[A-Za-z0-9][A-Za-z0-9._-]*(?<!\.training)$"


class Checker:
    """Checks a document section by section and gathers every problem."""

    def __init__(self, document: Document, catalog: Catalog, changed: Mapping[Where, str]) -> None:
        self.document, self.catalog, self.changed = document, catalog, changed
        self.problems: list[Problem] = []

    def run(self) -> dict[str, Any] | None:
        """The parts of a `Recipe`; None when the file is no mapping."""
        data = self.document.data
        if not isinstance(data, dict):
            self.note((), "a recipe is a mapping", expected=f"keys {', '.join(SECTIONS)}")
            return None
        for key in data:
            if key not in SECTIONS:
                hint = did_you_mean(str(key), SECTIONS)
                self.note((key,), f"unknown key '{key}'", at_key=True, hint=hint)
        version = data.get("genloom")
        if version != 1 or isinstance(version, bool):
            self.note(("genloom",), "the version of the format", expected="1", got=repr(version))
        parts: dict[str, Any] = {"family": data.get("recipe")}
        parts["model"] = self.model(data)
        parts["dataset"], parts["data"] = self.dataset(data)
        parts["train"] = self.section("train", TrainOptions, data.get("train"))
        parts["export"] = self.section("export", ExportOptions, data.get("export"))
        self.more(parts)
        return parts

    def more(self, parts: Mapping[str, Any]) -> None:
        """What no single option can say."""
        train, export = parts["train"], parts["export"]
        if train is not None and (train.steps is None) == (train.epochs is None):
            self.note(("train",), "how long to train", expected="either 'steps' or 'epochs'")
        if train is not None:
            self.watch(train)
        if export is not None and not re.match(NAME_PATTERN, export.name):
            self.note(
                ("export", "name"),
                "'export.name' is no name for a folder",
                expected="letters, digits, '.', '_', '-', not ending in .training",
                got=repr(export.name),
            )

    def watch(self, train: TrainOptions) -> None:
        """`keep: best` and `patience` go by a figure, and a figure is watched for one of them."""
        expected = "'watch' with the name of a figure of the validation"
        if train.watch is None:
            for name in ("keep", "better", "patience"):
                if getattr(train, name) not in (None, "last"):
                    what = f"'train.{name}' goes by a figure, and none is named"
                    self.note(("train", name), what, expected=expected)
        elif train.keep == "last" and train.patience is None:
            what = "'train.watch' names a figure that nothing goes by"
            self.note(("train", "watch"), what, expected="'keep: best' or 'patience' beside it")

    def model(self, data: Mapping[str, Any]) -> Any:
        """The family's own configuration."""
        families = self.catalog.families()
        family = data.get("recipe")
        if not isinstance(family, str):
            self.note(("recipe",), "'recipe' is missing", expected="the name of a family of models")
            return None
        backend: type[Backend] | None = families.get(family)
        if backend is None:
            what = f"unknown family '{family}'"
            self.note(("recipe",), what, hint=did_you_mean(family, families))
            return None
        if backend.config is None:
            self.note(("recipe",), f"the family '{family}' cannot be trained")
            return None
        return self.section("model", backend.config, data.get("model"))

    def dataset(self, data: Mapping[str, Any]) -> tuple[str, Any]:
        """The data set's name and its options."""
        section = data.get("data")
        datasets = self.catalog.datasets()
        if not isinstance(section, dict) or not isinstance(section.get("dataset"), str):
            expected = "one of " + ", ".join(sorted(datasets))
            self.note(("data",), "'data.dataset' is missing", expected=expected)
            return "", None
        name = section["dataset"]
        if name not in datasets:
            hint = did_you_mean(name, datasets)
            self.note(("data", "dataset"), f"unknown dataset '{name}'", hint=hint)
            return name, None
        rest = {key: value for key, value in section.items() if key != "dataset"}
        return name, self.section("data", datasets[name], rest)

    def section(self, name: str, owner: type, values: Any) -> Any:
        """A section as an instance of `owner`; None when something is wrong."""
        if values is None:
            values = {}
        if not isinstance(values, dict):
            self.note((name,), f"'{name}' is a mapping of options", got=repr(values))
            return None
        good, problems = options.check(owner, values)
        for problem in problems:
            self._option(name, owner, problem)
        return None if problems else owner(**good)

    def _option(self, section: str, owner: type, problem: options.OptionProblem) -> None:
        where, name = (section, problem.name), f"{section}.{problem.name}"
        if problem.unknown:
            hint = did_you_mean(problem.name, options.options_of(owner))
            self.note(where, f"unknown option '{name}'", at_key=True, hint=hint)
        elif problem.missing:
            self.note(where, f"'{name}' is missing", expected=problem.expected)
        else:
            got = repr(problem.got)
            self.note(where, f"'{name}' is not right", expected=problem.expected, got=got)

    def note(
        self,
        where: Where,
        what: str,
        *,
        at_key: bool = False,
        expected: str = "",
        got: str = "",
        hint: str = "",
    ) -> None:
        """Remember a problem, at its place in the file or at the override that made it."""
        words = self.changed.get(where)
        if words is not None:
            said = Problem(what, f"--set {words}", expected=expected, got=got, hint=hint)
        else:
            said = self.document.problem(
                where, what, at_key=at_key, expected=expected, got=got, hint=hint
            )
        self.problems.append(said)


def schema(catalog: Catalog) -> dict[str, Any]:
    """The JSON Schema of recipes, with the options of every family and data set at hand."""
    datasets = [_dataset_schema(name, owner) for name, owner in catalog.datasets().items()]
    families = {n: f.config for n, f in catalog.families().items() if f.config is not None}
    return {
        "type": "object",
        "properties": {
            "genloom": {"const": 1},
            "recipe": {"enum": sorted(families)},
            "data": {"oneOf": datasets},
            "model": {"type": "object"},
            "train": options.schema_of(TrainOptions),
            "export": options.schema_of(ExportOptions),
        },
        "required": ["genloom", "recipe", "data", "train", "export"],
        "additionalProperties": False,
        "allOf": [_family_schema(name, config) for name, config in sorted(families.items())],
    }


def _dataset_schema(name: str, owner: type) -> dict[str, Any]:
    entry = options.schema_of(owner)
    entry["properties"] = {"dataset": {"const": name}, **entry["properties"]}
    entry["required"] = ["dataset", *entry.get("required", [])]
    return entry


def _family_schema(name: str, config: type) -> dict[str, Any]:
    return {
        "if": {"properties": {"recipe": {"const": name}}},
        "then": {"properties": {"model": options.schema_of(config)}},
    }
