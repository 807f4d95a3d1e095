"""What the steps of reading a pipeline share: where things stand, and what is wrong."""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from genloom.catalog import Catalog
from genloom.errors import Problem
from genloom.yamlfile import Document, Where


@dataclass
class Context:
    """One reading of a pipeline file.

    Attributes:
        base: the folder that paths in the file are relative to.
        told: which option, by stage id and name, was set by which `--set`.
        problems: everything wrong so far.
    """

    document: Document
    catalog: Catalog
    base: Path
    told: dict[tuple[str, str], str] = field(default_factory=dict)
    problems: list[Problem] = field(default_factory=list)

    def add(self, where: Where, what: str, **said: Any) -> None:
        """Note a problem at a place in the file."""
        self.problems.append(self.document.problem(where, what, **said))

    def add_set(self, override: str, what: str, **said: Any) -> None:
        """Note a problem of an override."""
        self.problems.append(Problem(what, override, **said))

    def add_option(
        self,
        id: str,
        where: Where,
        name: str,
        what: str,
        *,
        at_key: bool = False,
        **said: Any,
    ) -> None:
        """Note a problem of an option, in the file or in the override that set it."""
        override = self.told.get((id, name))
        if override is not None:
            self.add_set(override, what, **said)
        else:
            self.add((*where, name), what, at_key=at_key, **said)

    def was_told(self, id: str, name: str) -> bool:
        """Whether an option was set by `--set`."""
        return (id, name) in self.told

    def base_of(self, id: str, name: str) -> Path:
        """What a path in an option is relative to: the file, or for `--set` the working folder."""
        return Path() if self.was_told(id, name) else self.base
