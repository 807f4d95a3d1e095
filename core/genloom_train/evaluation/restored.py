"""What was measured of a restoration network and of other methods: a table, JSON, the card."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from genloom_train.evaluation.figures import rounded
from genloom_train.evaluation.spoiling import Condition

MILLISECONDS = "ms"
DIGITS = {"ssim": 4, "lpips": 4, MILLISECONDS: 1}
"""Digits after the point in a table; two unless said."""
ARROWS = {"psnr": " ↑", "psnr_y": " ↑", "ssim": " ↑", "checkerboard": "", "dotted": ""}
"""Whether a figure is better when it is higher; lower, unless said."""


@dataclass(frozen=True)
class Row:
    """One method under one condition.

    Attributes:
        condition: how the pictures were made worse.
        method: its name.
        own: ending of the names of its figures on the model's card; None for other methods.
        each: the figures of each picture, in the pictures' order.
    """

    condition: Condition
    method: str
    own: str | None
    each: list[Mapping[str, float]] = field(default_factory=list)

    def values(self, name: str) -> list[float]:
        """One figure of each picture; of those that are large enough to have it."""
        return [figures[name] for figures in self.each if name in figures]

    def means(self) -> dict[str, float]:
        """Means over the pictures; of the time, which has outliers, the median."""
        names = dict.fromkeys(name for figures in self.each for name in figures)
        return {
            name: float((np.median if name == MILLISECONDS else np.mean)(self.values(name)))
            for name in names
        }


@dataclass(frozen=True, kw_only=True)
class Restored:
    """Everything that was measured.

    Attributes:
        about: what was measured on what; plain values.
        rows: conditions in order, and within each the methods.
        dataset: how figures on these pictures are called.
        notes: what was left out, and why.
    """

    about: Mapping[str, Any]
    rows: Sequence[Row]
    dataset: str
    notes: Sequence[str] = ()

    def row(self, condition: str, method: str) -> Row:
        """A row by the names of both; KeyError where there is none."""
        return {(row.condition.name, row.method): row for row in self.rows}[condition, method]

    @property
    def conditions(self) -> list[Condition]:
        """The conditions, each once."""
        return list({row.condition.name: row.condition for row in self.rows}.values())

    def plain(self) -> dict[str, Any]:
        """As plain values."""
        return {
            **self.about,
            "conditions": {
                condition.name: {
                    "what": condition.words,
                    "methods": {
                        row.method: {name: rounded(mean) for name, mean in row.means().items()}
                        for row in self._rows_of(condition)
                    },
                }
                for condition in self.conditions
            },
            "notes": list(self.notes),
        }

    def table(self) -> str:
        """As a table for people: one for each condition."""
        about = self.about
        lines = [f"{about['pictures']} {about['data']}, border {about['border']} cut off"]
        if about.get("ensemble", 1) > 1:
            lines[0] += f", ensemble of {about['ensemble']}"
        for condition in self.conditions:
            lines += ["", condition.words, *_table(self._rows_of(condition))]
        return "\n".join([*lines, *([""] if self.notes else []),
                          *(f"note: {note}" for note in self.notes)])  # fmt: skip

    def for_card(self) -> dict[str, float]:
        """As a card's `metrics`: the model's own figures, but for the time."""
        ensemble = self.about.get("ensemble", 1)
        how = f"_ensemble{ensemble}" if ensemble > 1 else ""
        return {
            f"{self.dataset}/{name}{row.own}{how}{row.condition.suffix}": rounded(mean)
            for row in self.rows
            if row.own is not None
            for name, mean in row.means().items()
            if name != MILLISECONDS
        }

    def _rows_of(self, condition: Condition) -> list[Row]:
        return [row for row in self.rows if row.condition.name == condition.name]


def _table(rows: Sequence[Row]) -> list[str]:
    means = [row.means() for row in rows]
    names = list(dict.fromkeys(name for found in means for name in found))
    first = max(len(row.method) for row in rows)
    heads = [f"{name}{ARROWS.get(name, ' ↓')}" for name in names]
    lines = [" " * first + "".join(f"  {head:>8}" for head in heads)]
    for row, found in zip(rows, means, strict=True):
        cells = [
            f"  {_shown(name, found.get(name)):>{max(8, len(head))}}"
            for name, head in zip(names, heads, strict=True)
        ]
        lines.append(f"{row.method:<{first}}" + "".join(cells))
    return lines


def _shown(name: str, value: float | None) -> str:
    return "–" if value is None else f"{value:.{DIGITS.get(name, 2)}f}"
