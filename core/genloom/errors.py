"""Every error genloom raises on purpose, and the exit code each one ends a command with.

    GenloomError                 2   a mistake in what was asked
    ├── InvalidFile              2   a pipeline, recipe or card, all of its problems at once
    ├── UnknownName              2   a stage, model, pipeline, provider … nobody brings
    ├── ModelError               2   a bundle that is damaged or does not fit the pipeline
    │   └── OutOfMemory          2   a call of a network that needs more memory than there is
    ├── OptionError              2   an option that does not go with the others of its stage
    ├── OutputError              2   an output folder that is in use, or not ours to write
    ├── ImageError               1   one picture that cannot be read or written; skipped
    ├── StageError               1   a stage that failed on a picture; skipped
    ├── PluginError              3   a plugin that is broken
    └── MissingRequirement       3   the environment lacks a package, a provider, a device

Each says what happened, what was expected, what was got, where, and what to do next.
"""

from __future__ import annotations

import difflib
import json
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Any


class GenloomError(Exception):
    """A mistake genloom can explain.

    Args:
        what: what happened, one clause without a full stop.
        expected: what would have been right.
        got: what was found instead.
        where: file:line:column, a stage, a path.
        hint: what to do next, usually a command.
    """

    exit_code = 2

    def __init__(
        self, what: str, *, expected: str = "", got: str = "", where: str = "", hint: str = ""
    ) -> None:
        self.what, self.expected, self.got, self.where, self.hint = what, expected, got, where, hint
        super().__init__(self.__str__())

    def __str__(self) -> str:
        text = f"{self.where}: {self.what}" if self.where else self.what
        if self.expected:
            text += f"; expected {self.expected}"
        if self.got:
            text += f", got {self.got}" if self.expected else f"; got {self.got}"
        return f"{text}. {self.hint}" if self.hint else text


@dataclass(frozen=True)
class Problem:
    """One thing wrong in a file. `line` and `column` count from 1; 0 means the whole file."""

    what: str
    file: str = ""
    line: int = 0
    column: int = 0
    expected: str = ""
    got: str = ""
    hint: str = ""

    def __str__(self) -> str:
        where = f"{self.file}:{self.line}:{self.column}" if self.line else self.file
        return str(
            GenloomError(
                self.what, expected=self.expected, got=self.got, where=where, hint=self.hint
            )
        )


class InvalidFile(GenloomError):
    """A file with one or more problems, all reported together."""

    def __init__(self, problems: Sequence[Problem]) -> None:
        self.problems = tuple(sorted(problems, key=lambda p: (p.file, p.line, p.column)))
        super().__init__("\n".join(str(problem) for problem in self.problems))


class UnknownName(GenloomError):
    """A name that nobody brings; the message carries the nearest right one."""

    @classmethod
    def of(cls, noun: str, name: str, known: Iterable[str], *, where: str = "") -> UnknownName:
        """Build the error for `name`, naming the nearest of `known`."""
        return cls(f"unknown {noun} '{name}'", where=where, hint=did_you_mean(name, known))


class ModelError(GenloomError):
    """A model bundle that is damaged, or that does not fit where it is used."""

    def at(self, where: str) -> ModelError:
        """The same error at a place, unless it knows a nearer one."""
        said = {"expected": self.expected, "got": self.got, "hint": self.hint}
        return type(self)(self.what, where=self.where or where, **said)


class OutOfMemory(ModelError):
    """A call of a network, or its compilation, that needs more memory than there is.

    Runtimes raise it, so that the engine tries again with less: fewer pictures at a time, smaller
    tiles, the CPU.
    """


class OptionError(GenloomError):
    """An option that does not go with the others of its stage.

    Args:
        option: its name.
        what: as in `GenloomError`; so are the others.
        other: the option that it does not go with, if that is one alone: it is to blame where
            `--set` gave that one and not this one.
    """

    def __init__(self, option: str, what: str, *, other: str = "", **said: str) -> None:
        self.option, self.other = option, other
        super().__init__(what, **said)

    @classmethod
    def of(cls, option: str, error: GenloomError, *, other: str = "") -> OptionError:
        """The same error, said of an option."""
        said = {"expected": error.expected, "got": error.got, "hint": error.hint}
        return cls(option, error.what, other=other, where=error.where, **said)


class OutputError(GenloomError):
    """An output folder or file that genloom may not write."""


class ImageError(GenloomError):
    """One picture that cannot be decoded or encoded."""

    exit_code = 1


class StageError(GenloomError):
    """A stage that raised while working on a picture."""

    exit_code = 1


class PluginError(GenloomError):
    """A plugin that cannot be used."""

    exit_code = 3


class MissingRequirement(GenloomError):
    """Something the environment lacks: an extra, a provider, a device."""

    exit_code = 3

    @classmethod
    def extra(cls, package: str, extra: str, purpose: str) -> MissingRequirement:
        """Build the error for an optional package, with the command that installs it."""
        return cls(
            f"{purpose} needs the package '{package}', which is not installed",
            hint=f"Install it with: python -m pip install 'genloom[{extra}]'",
        )


def shown(value: Any, *, most: int = 80) -> str:
    """A value for a message, as people would write it in YAML: `true`, `null`, `'a text'`."""
    if isinstance(value, str):
        text = f"'{value}'"
    else:
        text = json.dumps(value, ensure_ascii=False, default=str)
    text = " ".join(text.split())
    return text if len(text) <= most else f"{text[: most - 1]}…"


def counted(count: int, noun: str) -> str:
    """A number of things in words: `no models`, `1 model`, `2 models`."""
    return f"{count or 'no'} {noun}{'' if count == 1 else 's'}"


def nearest(name: str, known: Iterable[str]) -> str:
    """The one of `known` that is most like a name; empty when none is much like it."""
    plain = {other.casefold(): other for other in sorted(known)}
    near = difflib.get_close_matches(name.casefold(), plain, n=1, cutoff=0.6)
    return plain[near[0]] if near else ""


def did_you_mean(name: str, known: Iterable[str], *, most: int = 40) -> str:
    """A hint: the nearest of `known`, or all of them when nothing is near and they are few."""
    names = sorted(set(known))
    if near := nearest(name, names):
        return f"Did you mean '{near}'?"
    if not names:
        return "There are none."
    shown = ", ".join(names[:most]) + (", …" if len(names) > most else "")
    return f"There are: {shown}"
