"""The entries of `stages:` as they were written, with ids and overrides."""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from typing import Any

from genloom import yamlfile
from genloom.errors import InvalidFile, did_you_mean, shown
from genloom.options import listed
from genloom.pipeline.context import Context
from genloom.yamlfile import Where

ID = re.compile(r"^[A-Za-z][A-Za-z0-9_-]*$")


@dataclass(frozen=True)
class Entry:
    """One entry of `stages:` as it was written.

    Attributes:
        name: name of the stage; empty when the entry does not even say that.
        id: its own id, else its name, numbered when repeated; `labelled` when it was written.
        values: its options; None when they could not be read.
        told: the options that `--set` gave it, which go before those.
    """

    name: str
    where: Where
    id: str = ""
    values: dict[str, Any] | None = None
    labelled: bool = False
    told: dict[str, Any] = field(default_factory=dict)


def read_entries(context: Context) -> list[Entry]:
    """The entries of `stages:`, each with an id of its own."""
    listed = context.document.data.get("stages")
    if not isinstance(listed, list) or not listed:
        got = shown(listed) if listed not in (None, []) else ""
        context.add(("stages",), "there are no stages", expected="a list of stages", got=got)
        return []
    return _with_ids(context, [_entry(context, index, item) for index, item in enumerate(listed)])


def _entry(context: Context, index: int, item: Any) -> Entry:
    where: Where = ("stages", index)
    if isinstance(item, str):
        return Entry(item, where, values={})
    if not isinstance(item, dict) or len(item) != 1:
        several = isinstance(item, dict) and len(item) > 1
        context.add(
            where,
            "not a stage",
            expected="`- name` or `- name: {option: value}`",
            got=shown(item),
            hint="Options stand further to the right than the name of their stage"
            if several
            else "",
        )
        return Entry("", where)
    name, values = next(iter(item.items()))
    where = (*where, name)
    if values is not None and not isinstance(values, dict):
        context.add(
            where,
            f"the options of '{name}' are not right",
            expected=f"`- {name}: {{option: value}}`",
            got=shown(values),
        )
        return Entry(name, where)
    values = dict(values or {})
    if "id" not in values:
        return Entry(name, where, values=values)
    return Entry(name, where, values.pop("id"), values, labelled=True)


def _with_ids(context: Context, entries: list[Entry]) -> list[Entry]:
    """Give each entry an id of its own: the one written, or its name, numbered when repeated."""
    taken: set[str] = set()
    for entry in entries:
        if not entry.labelled:
            continue
        where = (*entry.where, "id")
        if not isinstance(entry.id, str) or not ID.match(entry.id):
            expected = "letters, digits, - and _, a letter first"
            context.add(where, "not usable as an id", expected=expected, got=shown(entry.id))
        elif entry.id in taken:
            context.add(where, f"the id '{entry.id}' is used twice")
        taken.add(str(entry.id))
    result = []
    for entry in entries:
        chosen, number = str(entry.id) if entry.labelled else entry.name, 2
        while not entry.labelled and chosen in taken:
            chosen, number = f"{entry.name}-{number}", number + 1
        taken.add(chosen)
        result.append(replace(entry, id=chosen))
    return result


def override(context: Context, entries: list[Entry], overrides: Sequence[str]) -> None:
    """Put `--set` values into the entries."""
    for text in overrides:
        place = f"--set {text}"
        target, equals, value = text.partition("=")
        name, _, option = (part.strip() for part in target.partition("."))
        if not equals or not name or not option:
            hint = "The seed is set with --seed" if name == "seed" else ""
            context.add_set(place, "not an override", expected="stage.option=value", hint=hint)
            continue
        entry = _addressed(context, entries, name, place)
        if entry is None or entry.values is None:
            continue
        if option == "id":
            context.add_set(place, "an id cannot be overridden", hint="Set it in the file")
            continue
        try:
            entry.told[option] = yamlfile.scalar(value.strip())
        except InvalidFile as error:
            context.add_set(place, error.problems[0].what)
            continue
        context.told[(entry.id, option)] = place


def _addressed(context: Context, entries: list[Entry], name: str, place: str) -> Entry | None:
    """The entry with this id, or the only one with this name."""
    named = [entry for entry in entries if entry.name == name]
    unlabelled = [entry for entry in named if not entry.labelled]
    chosen = next((entry for entry in entries if entry.id == name), None)
    numbered = chosen is not None and chosen.id != chosen.name
    if chosen is not None and (chosen.labelled or numbered or len(unlabelled) == 1):
        return chosen
    if len(named) == 1:
        return named[0]
    if named:
        context.add_set(
            place,
            f"several stages are called '{name}'",
            expected="" if unlabelled else listed([f"'{entry.id}'" for entry in named], "or"),
            hint=f"Give each an id in the file: `{name}: {{id: …}}`" if unlabelled else "",
        )
    else:
        known = [entry.id for entry in entries if entry.id]
        context.add_set(
            place, f"the pipeline has no stage '{name}'", hint=did_you_mean(name, known)
        )
    return None
