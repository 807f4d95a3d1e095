"""YAML read as data, with the line and column of everything in it.

Only plain values: no tags, no anchors or aliases, no repeated keys, bounded size and depth.
Words and numbers are those of YAML 1.2's core rules: `yes` is a text, `1e-3` is a number.
Whatever is read, the only exception that leaves this module is `InvalidFile`.
"""

from __future__ import annotations

import itertools
import re
import stat
import typing
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, TypeVar

import yaml
from pydantic import BaseModel, ValidationError

from genloom.errors import InvalidFile, Problem, did_you_mean, shown
from genloom.limits import MAX_PROBLEMS, MAX_YAML_BYTES, MAX_YAML_DEPTH, MAX_YAML_NODES

Where = tuple[str | int, ...]
M = TypeVar("M", bound=BaseModel)


class _Loader(yaml.SafeLoader):
    """PyYAML's safe loader with the scalars of YAML 1.2's core schema."""

    yaml_implicit_resolvers: dict[str, list[tuple[str, re.Pattern[str]]]] = {}


class _Dumper(yaml.SafeDumper):
    """PyYAML's safe dumper, which quotes what YAML 1.1 or `_Loader` would not take for a text."""


for _tag, _pattern, _first in (
    ("bool", r"true|True|TRUE|false|False|FALSE", "tTfF"),
    ("int", r"[-+]?[0-9]+|0o[0-7]+|0x[0-9a-fA-F]+", "-+0123456789"),
    ("float", r"[-+]?(\.[0-9]+|[0-9]+(\.[0-9]*)?)([eE][-+]?[0-9]+)?", "-+.0123456789"),
    ("float", r"[-+]?\.(inf|Inf|INF)|\.(nan|NaN|NAN)", "-+."),
    ("null", r"null|Null|NULL|~|", ["n", "N", "~", ""]),
):
    for _class in (_Loader, _Dumper):
        _class.add_implicit_resolver(
            f"tag:yaml.org,2002:{_tag}", re.compile(rf"^(?:{_pattern})$"), list(_first)
        )


def _represent_text(dumper: _Dumper, text: str) -> yaml.ScalarNode:
    # Only between double quotes does PyYAML escape these, which YAML takes for ends of lines.
    style = '"' if any(end in text for end in "\x85\u2028\u2029") else None
    return dumper.represent_scalar("tag:yaml.org,2002:str", text, style=style)


_Dumper.add_representer(str, _represent_text)


@dataclass(frozen=True)
class Document:
    """A YAML file as plain values, and where each of them stands.

    `keys` and `values` map a path into the data (`("stages", 1, "denoise")`) to line and column.
    """

    file: str
    data: Any
    keys: dict[Where, tuple[int, int]] = field(default_factory=dict)
    values: dict[Where, tuple[int, int]] = field(default_factory=dict)

    def problem(self, where: Where, what: str, *, at_key: bool = False, **said: Any) -> Problem:
        """A problem at a place in the file, or at the nearest enclosing place that it has."""
        for length in range(len(where), -1, -1):
            path = where[:length]
            places = [self.values, self.keys]
            if at_key and path == where:
                places.reverse()
            mark = places[0].get(path) or places[1].get(path)
            if mark is not None:
                return Problem(what, self.file, *mark, **said)
        return Problem(what, self.file, **said)


@dataclass(frozen=True)
class Format:
    """A kind of file people write, known by a top-level key that no other kind has.

    Attributes:
        key: that key (`recipe`).
        check: finds everything wrong in a document; its second argument is the `Catalog`.
        schema: the JSON Schema of such files; its argument is the `Catalog`.
        named: such files that are known by a name.
    """

    key: str
    check: Callable[[Document, Any], list[Problem]]
    schema: Callable[[Any], dict[str, Any]]
    named: Callable[[], Mapping[str, Path]] = dict


def read(path: Path) -> Document:
    """Read a YAML file.

    Raises:
        InvalidFile: when it cannot be read, is too large, or is not plain YAML.
    """
    try:
        found = path.stat()
        if not stat.S_ISREG(found.st_mode) and not path.is_dir():
            raise InvalidFile([Problem("not a file", str(path), got="a special file")])
        if found.st_size > MAX_YAML_BYTES:
            most = f"at most {MAX_YAML_BYTES} bytes"
            raise InvalidFile([Problem("the file is too large", str(path), expected=most)])
        text = path.read_text(encoding="utf-8-sig")
    except UnicodeDecodeError:
        raise InvalidFile([Problem("not a text file", str(path), expected="UTF-8")]) from None
    except OSError as error:
        raise InvalidFile([Problem(f"cannot be read ({error.strerror})", str(path))]) from None
    return parse(text, str(path))


def parse(text: str, file: str = "<text>") -> Document:
    """Read YAML from a text; `file` is only for messages."""
    try:
        _refuse_all_but_plain(text, file)
        node = yaml.compose(text, _Loader)
    except yaml.YAMLError as error:
        raise InvalidFile([_yaml_problem(error, text, file)]) from None
    except (ValueError, OverflowError):  # PyYAML on "\UFFFFFFFF"
        raise InvalidFile([Problem("not valid YAML: no such character", file)]) from None
    document = Document(file, None)
    problems: list[Problem] = []
    data = None if node is None else _convert(node, (), document, problems)
    if problems:
        raise InvalidFile(problems[:MAX_PROBLEMS])
    return Document(file, data, document.keys, document.values)


def _refuse_all_but_plain(text: str, file: str) -> None:
    """Look at a text as it is scanned, before anything is built of it."""
    depth = nodes = 0
    for event in yaml.parse(text, _Loader):
        nodes += isinstance(event, yaml.NodeEvent)
        if nodes > MAX_YAML_NODES:
            what = f"too many values; expected at most {MAX_YAML_NODES}"
            raise InvalidFile([_at(event.start_mark, file, what)])
        if isinstance(event, yaml.AliasEvent) or getattr(event, "anchor", None):
            raise InvalidFile([_at(event.start_mark, file, "anchors and aliases are not used")])
        if tag := getattr(event, "tag", None):
            tag = tag.replace("tag:yaml.org,2002:", "!!")
            raise InvalidFile([_at(event.start_mark, file, f"tags such as '{tag}' are not used")])
        depth += isinstance(event, yaml.CollectionStartEvent)
        depth -= isinstance(event, yaml.CollectionEndEvent)
        if depth > MAX_YAML_DEPTH:
            raise InvalidFile([_at(event.start_mark, file, "nested too deeply")])


def _yaml_problem(error: yaml.YAMLError, text: str, file: str) -> Problem:
    if isinstance(error, yaml.MarkedYAMLError):
        said = [part for part in (error.context, error.problem) if part]
        mark = error.problem_mark or error.context_mark
        return _at(mark, file, f"not valid YAML: {', '.join(said)}")
    if isinstance(error, yaml.reader.ReaderError):
        before = text[: error.position]
        line, column = before.count("\n") + 1, len(before) - before.rfind("\n")
        what = f"not valid YAML: the character U+{error.character:04X} is not allowed"
        return Problem(what, file, line, column)
    return Problem("not valid YAML", file)


def dump(data: Any) -> str:
    """Plain values as YAML that `parse` reads back as they were."""
    text: str = yaml.dump(data, Dumper=_Dumper, sort_keys=False, allow_unicode=True, width=100)
    return text


def scalar(text: str) -> Any:
    """One value as it would be read in a file: `0.5`, `true`, `[1, 2]`, `auto`."""
    return parse(text, "value").data


def validated(document: Document, model: type[M]) -> M:
    """The document as a pydantic model.

    Raises:
        InvalidFile: with every problem, each at its line and column.
    """
    try:
        return model.model_validate(document.data)
    except ValidationError as error:
        problems = itertools.islice(_translate(document, model, error), MAX_PROBLEMS)
        raise InvalidFile(list(problems)) from None


def _translate(
    document: Document, model: type[BaseModel], error: ValidationError
) -> Iterator[Problem]:
    told: set[Where] = set()
    for entry in error.errors(include_url=False):
        missing = entry["type"] == "missing"
        where = _in_document(document, tuple(entry["loc"]), missing)
        name = ".".join(map(str, where)) or "the file"
        if entry["type"] == "extra_forbidden":
            hint = did_you_mean(str(where[-1]), _fields_at(model, where[:-1]))
            yield document.problem(where, f"unknown key '{where[-1]}'", at_key=True, hint=hint)
        elif missing:
            yield document.problem(where, f"'{name}' is missing")
        elif where not in told:  # one value may break each alternative of a union
            what = f"'{name}' is not right" if where else f"{name} is not right"
            got = "nothing" if entry["input"] is None else shown(entry["input"])
            yield document.problem(where, what, expected=_wanted(entry), got=got)
        told.add(where)


_WANTED = {
    "bool": "true or false",
    "dict": "a mapping of keys to values",
    "float": "a number",
    "greater_than_equal": "a number of at least {ge}",
    "int": "a whole number",
    "list": "a list",
    "literal": "{expected}",
    "model": "a mapping of keys to values",
    "string": "a text",
    "string_pattern": "a text that matches {pattern}",
    "string_too_long": "at most {max_length} characters",
    "too_short": "{min_length} or more entries",
    "tuple": "a list",
}


def _wanted(entry: Any) -> str:
    """What pydantic would have taken, in the words of other messages."""
    kind = str(entry["type"])
    fitting = [start for start in _WANTED if kind.startswith(start)]
    if not fitting:
        return str(entry["msg"]).removeprefix("Input should be ")
    return _WANTED[max(fitting, key=len)].format(**entry.get("ctx", {}))


def _in_document(document: Document, loc: Where, missing: bool) -> Where:
    """A place as pydantic gives it, without the names of alternatives and of mapping keys."""
    length = len(loc)
    while length and loc[:length] not in document.values and not (missing and length == len(loc)):
        length -= 1
    return loc[:length]


def _fields_at(model: type[BaseModel], where: Where) -> list[str]:
    """The keys a pydantic model knows at a path of nested models and mappings of models."""
    current: Any = model
    for step in where:
        fields = getattr(current, "model_fields", None)
        if fields is not None:
            current = fields[str(step)].annotation if str(step) in fields else None
        else:
            current = next(iter(typing.get_args(current)[-1:]), None)
    return list(getattr(current, "model_fields", {}))


def _at(mark: Any, file: str, what: str) -> Problem:
    if mark is None:
        return Problem(what, file)
    return Problem(what, file, mark.line + 1, mark.column + 1)


def _convert(node: Any, where: Where, document: Document, problems: list[Problem]) -> Any:
    document.values[where] = (node.start_mark.line + 1, node.start_mark.column + 1)
    if isinstance(node, yaml.SequenceNode):
        return [
            _convert(part, (*where, index), document, problems)
            for index, part in enumerate(node.value)
        ]
    if isinstance(node, yaml.MappingNode):
        return _convert_mapping(node, where, document, problems)
    return _scalar(node, document.file, problems)


def _convert_mapping(
    node: Any, where: Where, document: Document, problems: list[Problem]
) -> dict[str, Any]:
    result: dict[str, Any] = {}
    for key_node, value_node in node.value:
        if not isinstance(key_node, yaml.ScalarNode):
            problems.append(_at(key_node.start_mark, document.file, "a key must be a plain word"))
            continue
        key = _text(key_node, document.file, problems)
        if key in result:
            problems.append(_at(key_node.start_mark, document.file, f"'{key}' is given twice"))
        mark = key_node.start_mark
        document.keys[(*where, key)] = (mark.line + 1, mark.column + 1)
        result[key] = _convert(value_node, (*where, key), document, problems)
    return result


def _scalar(node: Any, file: str, problems: list[Problem]) -> Any:
    kind = node.tag.removeprefix("tag:yaml.org,2002:")
    if kind == "null":
        return None
    if kind == "bool":
        return node.value.lower() == "true"
    if kind == "int":
        if base := {"0o": 8, "0x": 16}.get(node.value[:2]):
            return int(node.value[2:], base)
        return int(node.value) if len(node.value) < 1000 else float(node.value)
    if kind == "float":
        return float(node.value.lower().replace(".inf", "inf").replace(".nan", "nan"))
    return _text(node, file, problems)


def _text(node: Any, file: str, problems: list[Problem]) -> str:
    """A text; JSON writes characters beyond 16 bits as two escapes, which are joined here."""
    text = str(node.value)
    try:
        return text.encode("utf-16", "surrogatepass").decode("utf-16")
    except UnicodeDecodeError:
        problems.append(_at(node.start_mark, file, "half a character is not a text"))
        return ""
