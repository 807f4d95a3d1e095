"""Figures of quality, each beside what real pictures get: as a table, as JSON, on the card."""

from __future__ import annotations

import json
import os
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from genloom.card import Card
from genloom.errors import OutputError

HIGHER = ("psnr", "ssim", "precision", "recall", "confident", "class_coverage", "label_accuracy")
LOWER = ("negative", "reconstruction", "fid", "kid", "kl_to", "sliced", "path", "largest")
FLOOR = "_floor"
"""Ending of the name under which a card keeps what real pictures get."""


@dataclass(frozen=True)
class Figure:
    """One number of quality.

    Attributes:
        name: what it is; docs/evaluation.md defines them all.
        value: what the model gets.
        floor: what real pictures get against real ones, where that means something.
    """

    name: str
    value: float
    floor: float | None = None

    @property
    def better(self) -> str:
        """`higher`, `lower`, or nothing where neither is."""
        if self.name.startswith(HIGHER):
            return "higher"
        return "lower" if self.name.startswith(LOWER) else ""

    def plain(self) -> dict[str, Any]:
        """As plain values, to six digits."""
        floor = None if self.floor is None else rounded(self.floor)
        return {"value": rounded(self.value), "floor": floor, "better": self.better}


@dataclass(frozen=True, kw_only=True)
class Figures:
    """Everything that was measured of one model on one data set.

    Attributes:
        about: what was measured on what: model, data set, judge, counts, seed; plain values.
        figures: in the order they are shown.
        classes: shares of the classes by name, of `samples` and of `real` pictures.
        notes: what was left out, and why.
    """

    about: Mapping[str, Any]
    figures: tuple[Figure, ...] = ()
    classes: Mapping[str, Mapping[str, float]] = field(default_factory=dict)
    notes: tuple[str, ...] = ()

    def get(self, name: str) -> Figure | None:
        """A figure by name."""
        return next((figure for figure in self.figures if figure.name == name), None)

    def plain(self) -> dict[str, Any]:
        """As plain values."""
        return {
            **self.about,
            "figures": {figure.name: figure.plain() for figure in self.figures},
            "classes": {
                name: {label: rounded(share) for label, share in shares.items()}
                for name, shares in self.classes.items()
            },
            "notes": list(self.notes),
        }

    def table(self) -> str:
        """As a table for people."""
        rows = [("", "value", "real against real", "")]
        rows += [
            (f.name, shown(f.value), shown(f.floor), f"{f.better} is better" if f.better else "")
            for f in self.figures
        ]
        widths = [max(len(row[column]) for row in rows) for column in range(3)]
        lines = [
            f"{name:<{widths[0]}}  {value:>{widths[1]}}  {floor:>{widths[2]}}  {better}".rstrip()
            for name, value, floor, better in rows
        ]
        return "\n".join([*lines, *(f"note: {note}" for note in self.notes)])

    def for_card(self, dataset: str) -> dict[str, float]:
        """As a card's `metrics`: named after the data set, what real pictures get beside each."""
        found = {}
        for figure in self.figures:
            found[f"{dataset}/{figure.name}"] = rounded(figure.value)
            if figure.floor is not None:
                found[f"{dataset}/{figure.name}{FLOOR}"] = rounded(figure.floor)
        return found


def rounded(value: float) -> float:
    """To six digits, as far as a float32 model can be trusted."""
    return float(f"{value:.6g}")


def shown(value: float | None) -> str:
    """A number for a table: four digits."""
    if value is None:
        return "–"
    if 1000 <= abs(value) < 1e6:
        return f"{value:.0f}"
    return f"{value:#.4g}".rstrip(".")


def write_json(path: Path, values: Any) -> None:
    """Write plain values as a JSON file; it is whole or absent.

    Raises:
        OutputError: when it cannot be written.
    """
    write_whole(path, (json.dumps(values, indent=1, ensure_ascii=False) + "\n").encode())


def write_on_card(folder: Path, metrics: Mapping[str, float]) -> None:
    """Add metrics to the card of a bundle; those of other names stay, and nothing else changes.

    Raises:
        OutputError: when the card cannot be written.
    """
    card = Card.read(folder)
    merged = card.model_copy(update={"metrics": {**card.metrics, **metrics}})
    write_whole(folder / "model.yaml", merged.to_yaml().encode())


def write_whole(path: Path, data: bytes) -> None:
    """Write a file beside its place and rename it.

    Raises:
        OutputError: when it cannot be written.
    """
    temporary = path.with_name(f".{path.name}.tmp")
    try:
        temporary.write_bytes(data)
        os.replace(temporary, path)
    except OSError as error:
        temporary.unlink(missing_ok=True)
        raise OutputError(
            f"the file cannot be written ({error.strerror})", where=str(path)
        ) from None


def in_words(names: Sequence[str]) -> str:
    """Names in a sentence."""
    return ", ".join(names) or "none"
