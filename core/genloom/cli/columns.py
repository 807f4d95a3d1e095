"""Rows of text in columns that never run together."""

from __future__ import annotations

import json
import unicodedata
from collections.abc import Sequence
from typing import Any

_ORDER = "\u202a\u202b\u202c\u202d\u202e\u2066\u2067\u2068\u2069"
"""Characters that turn the order of those after them."""


def columns(rows: Sequence[Sequence[str]]) -> list[str]:
    """One line for each row; every column but the last is as wide as its widest entry."""
    widths = [max(map(len, column)) for column in zip(*rows, strict=True)][:-1]
    return [
        "  ".join(
            [*(f"{cell:<{width}}" for cell, width in zip(row, widths, strict=False)), row[-1]]
        )
        for row in rows
    ]


def table(rows: Sequence[Sequence[str]], left: int = 1) -> list[str]:
    """One line for each row, the first being the names of columns; numbers stand to the right.

    Args:
        rows: of one length.
        left: how many columns at the left hold words.
    """
    widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
    lines = []
    for row in rows:
        cells = [
            f"{cell:<{width}}" if index < left else f"{cell:>{width}}"
            for index, (cell, width) in enumerate(zip(row, widths, strict=True))
        ]
        lines.append("  ".join(cells).rstrip())
    return lines


def plain(text: str) -> str:
    """A text without what steers a terminal, begins a line or turns the order of letters round.

    File names and foreign files may hold such characters.
    """
    if text.isprintable():
        return text
    return "".join("\N{REPLACEMENT CHARACTER}" if _steers(char) else char for char in text)


def json_text(value: Any, *, indent: int | None = None) -> str:
    r"""A value as JSON, its letters as they are; all in ASCII where a file's name is no text.

    Bytes that are none are then `\udc80` to `\udcff`, as Python has them.
    """
    text = json.dumps(value, indent=indent, ensure_ascii=False)
    try:
        text.encode()
    except UnicodeEncodeError:
        return json.dumps(value, indent=indent)
    return text


def _steers(char: str) -> bool:
    return unicodedata.category(char) in ("Cc", "Cs", "Zl", "Zp") or char in _ORDER
