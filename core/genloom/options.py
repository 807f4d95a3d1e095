"""Options are fields of frozen dataclasses: their types and ranges, checks, messages and schema.

One source for all four: the annotation. `Annotated[float, Ge(0), Le(1)]` (from `annotated_types`)
gives the check, the words of the message and the JSON Schema; the `Args:` section of the class's
docstring gives the description.
"""

from __future__ import annotations

import dataclasses
import functools
import inspect
import json
import re
import types
import typing
from collections.abc import Container, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any, Literal, Union

import annotated_types

from genloom.errors import shown


@dataclass(frozen=True)
class ModelName:
    """Marks an option whose value names a model: `Annotated[str, ModelName("encoder")]`.

    `parts` are the graphs the stage will ask of the model, `"decoder|generator"` for either of two;
    a model without them is refused early.
    """

    parts: tuple[str, ...] = ()

    def __init__(self, *parts: str) -> None:
        object.__setattr__(self, "parts", parts)

    def match(self, having: Container[str]) -> dict[str, str | None]:
        """For each of `parts`, the first of its alternatives that a model has, or None."""
        return {
            asked: next((part for part in asked.split("|") if part in having), None)
            for asked in self.parts
        }


@dataclass(frozen=True)
class Option:
    """One option of a stage or of a family's configuration."""

    name: str
    annotation: Any
    default: Any
    required: bool
    description: str

    @property
    def model(self) -> ModelName | None:
        """The mark of an option that names a model."""
        return next(
            (part for part in _within(self.annotation) if isinstance(part, ModelName)), None
        )

    @property
    def is_path(self) -> bool:
        """Whether the option names a file or folder, or several."""
        return Path in _within(self.annotation)

    @property
    def expected(self) -> str:
        """The allowed values in words, for messages."""
        return expectation(self.annotation)


@dataclass(frozen=True)
class OptionProblem:
    """What is wrong with one option. `unknown` means that there is no such option."""

    name: str
    expected: str
    got: Any
    unknown: bool = False
    missing: bool = False


def options_of(owner: type) -> dict[str, Option]:
    """The options of a dataclass by name, in the order of its fields."""
    hints = typing.get_type_hints(owner, include_extras=True)
    described = _descriptions(owner)
    found = {}
    for field in dataclasses.fields(owner):
        default = field.default
        if field.default_factory is not dataclasses.MISSING:
            default = field.default_factory()
        found[field.name] = Option(
            name=field.name,
            annotation=hints[field.name],
            default=default,
            required=default is dataclasses.MISSING,
            description=described.get(field.name, ""),
        )
    return found


def check(owner: type, values: Mapping[str, Any]) -> tuple[dict[str, Any], list[OptionProblem]]:
    """Check plain values (from YAML or JSON) against the options of `owner`.

    Returns:
        the values as the fields want them (tuples, paths), and everything that is wrong.
    """
    known = options_of(owner)
    good: dict[str, Any] = {}
    problems = [
        OptionProblem(name, "", value, unknown=True)
        for name, value in values.items()
        if name not in known
    ]
    for name, option in known.items():
        if name not in values:
            if option.required:
                problems.append(OptionProblem(name, option.expected, None, missing=True))
            continue
        try:
            good[name] = _parse(option.annotation, values[name])
        except ValueError:
            problems.append(OptionProblem(name, option.expected, values[name]))
    return good, problems


def _parse(annotation: Any, value: Any) -> Any:
    """The value as the annotation wants it; pydantic's strict JSON rules, so '1' is no number."""
    parsed = _adapter(annotation).validate_json(json.dumps(value, allow_nan=False), strict=True)
    # A whole number of 400 digits has become an infinite one.
    json.dumps(plain(parsed), allow_nan=False, default=str)
    if isinstance(value, bool) and not isinstance(parsed, bool):
        raise ValueError("true is no number, although Python's Literal takes it for 1")
    return parsed


@functools.cache
def _adapter(annotation: Any) -> Any:
    from pydantic import TypeAdapter

    return TypeAdapter(annotation)


def schema_of(owner: type) -> dict[str, Any]:
    """The JSON Schema of the options of a dataclass."""
    properties, required = {}, []
    for name, option in options_of(owner).items():
        entry = dict(_adapter(option.annotation).json_schema())
        if option.description:
            entry["description"] = option.description
        if option.required:
            required.append(name)
        else:
            entry["default"] = plain(option.default)
        properties[name] = entry
    schema: dict[str, Any] = {
        "type": "object",
        "properties": properties,
        "additionalProperties": False,
    }
    if required:
        schema["required"] = required
    return schema


def plain(value: Any) -> Any:
    """A value as JSON and YAML know it: tuples as lists, paths as POSIX text."""
    if isinstance(value, Path):
        return value.as_posix()
    if isinstance(value, tuple | list):
        return [plain(part) for part in value]
    if isinstance(value, Mapping):
        return {key: plain(part) for key, part in value.items()}
    return value


def values_of(owner: Any) -> dict[str, Any]:
    """The options of a dataclass instance as plain values."""
    return {field.name: plain(getattr(owner, field.name)) for field in dataclasses.fields(owner)}


_WORDS = {
    bool: "true or false",
    int: "a whole number",
    float: "a number",
    str: "a text",
    Path: "a path",
    type(None): "null",
}


def expectation(annotation: Any) -> str:
    """The values an annotation allows, in words: `a number from 0 to 1`, `'gif' or 'webp'`."""
    origin = typing.get_origin(annotation)
    if origin is Annotated:
        base, *marks = typing.get_args(annotation)
        if any(isinstance(mark, ModelName) for mark in marks):
            text = "the name or path of a model"
            return f"{text} or null" if type(None) in typing.get_args(base) else text
        return expectation(base) + _bounds(marks)
    if origin in (Union, types.UnionType, Literal):
        return listed(_choices(annotation), "or")
    if origin is tuple and Ellipsis not in typing.get_args(annotation):
        parts = [expectation(part) for part in typing.get_args(annotation)]
        each = f", each {parts[0]}" if len(set(parts)) == 1 else f": {listed(parts, 'and')}"
        return f"a list of {len(parts)}{each}"
    if origin in (tuple, list):
        return f"a list, each {expectation(typing.get_args(annotation)[0])}"
    if origin in (dict, Mapping):
        return "a mapping"
    return _WORDS.get(annotation, getattr(annotation, "__name__", str(annotation)))


def _choices(annotation: Any) -> list[str]:
    """Each of the things that a union or literal allows, in words."""
    if typing.get_origin(annotation) is Literal:
        return [shown(value) for value in typing.get_args(annotation)]
    if typing.get_origin(annotation) in (Union, types.UnionType):
        return [word for part in typing.get_args(annotation) for word in _choices(part)]
    return [expectation(annotation)]


def listed(words: Sequence[str], last: str) -> str:
    """Words as a list in a sentence: `a, b or c`."""
    if len(words) < 2:
        return "".join(words)
    comma = "," if any(f" {other} " in word for word in words for other in ("and", "or")) else ""
    return f"{', '.join(words[:-1])}{comma} {last} {words[-1]}"


def _bounds(marks: list[Any]) -> str:
    flat: list[Any] = []
    for mark in marks:
        if isinstance(mark, annotated_types.GroupedMetadata):
            flat.extend(mark)
        else:
            flat.append(mark)
    words: dict[str, Any] = dict.fromkeys(("ge", "le", "gt", "lt", "multiple_of"))
    for mark in flat:
        for name in words:
            if hasattr(mark, name):
                words[name] = getattr(mark, name)
    if words["ge"] is not None and words["le"] is not None:
        text = f" from {words['ge']} to {words['le']}"
    else:
        said = {"gt": "above", "ge": "of at least", "lt": "below", "le": "at most"}
        ends = [f"{word} {words[name]}" for name, word in said.items() if words[name] is not None]
        text = f" {' and '.join(ends)}" if ends else ""
        text = text.replace(" at most", " of at most") if len(ends) == 1 else text
    text += f", a multiple of {words['multiple_of']}" if words["multiple_of"] is not None else ""
    return text


def _within(annotation: Any) -> list[Any]:
    """An annotation, everything it is made of, and the marks on it."""
    inside = [part for arg in typing.get_args(annotation) for part in _within(arg)]
    return [annotation, *inside]


def _descriptions(owner: type) -> dict[str, str]:
    """Descriptions of options from the `Args:` sections of the docstrings of a class."""
    found: dict[str, str] = {}
    for base in reversed(owner.__mro__):
        section = re.search(r"^Args:\n((?:[ ]{4}.*\n?|\s*\n)+)", _doc(base), re.MULTILINE)
        if section is None:
            continue
        entries = re.findall(r"^ {4}(\w+): (.*(?:\n {6,}.*)*)", section.group(1), re.MULTILINE)
        found |= {name: " ".join(text.split()) for name, text in entries}
    return found


def _doc(owner: type) -> str:
    return inspect.cleandoc(owner.__dict__.get("__doc__") or "") + "\n"
