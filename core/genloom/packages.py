"""The packages genloom declares that it needs, and which of them are installed."""

from __future__ import annotations

import re
from dataclasses import dataclass
from importlib import metadata

DISTRIBUTION = "genloom"


@dataclass(frozen=True)
class Requirement:
    """One package that genloom asks for.

    Attributes:
        name: its name; `least` is the oldest version that will do.
        extra: the extra that asks for it; empty for the base install.
        installed: the version that is there; empty when it is not.
    """

    name: str
    least: str
    extra: str
    installed: str

    @property
    def met(self) -> bool:
        """Whether it is there and not too old."""
        return bool(self.installed) and _numbers(self.installed) >= _numbers(self.least)

    def __str__(self) -> str:
        return f"{self.name}>={self.least}" if self.least else self.name


def requirements() -> list[Requirement]:
    """Every package that the installed genloom asks for, those of extras included."""
    return [_parsed(text) for text in metadata.requires(DISTRIBUTION) or ()]


def _parsed(text: str) -> Requirement:
    package, _, marker = text.partition(";")
    extra = re.search(r"extra == ['\"]([\w-]+)", marker)
    found = re.match(r"\s*([\w.-]+)[^>]*(?:>=\s*([\w.]+))?", package)
    name, least = (found[1], found[2] or "") if found else (package.strip(), "")
    return Requirement(name, least, extra[1] if extra else "", installed(name))


def installed(name: str) -> str:
    """The installed version of a package; empty when it is not there."""
    try:
        return metadata.version(name)
    except metadata.PackageNotFoundError:
        return ""


def _numbers(version: str) -> list[int]:
    """`[11, 1]` of `11.1.post1`."""
    leading = re.match(r"\d+(\.\d+)*", version)
    return [int(part) for part in leading[0].split(".")] if leading else []
