"""Names of files: in parts, in one form of Unicode, and in natural order."""

from __future__ import annotations

import re
import unicodedata


def ending(name: str) -> str:
    """A file's ending, as `Path.suffix` says it."""
    dot = name.rfind(".")
    return name[dot:] if 0 < dot < len(name) - 1 else ""


def stem(name: str) -> str:
    """A file's name without its ending, as `Path.stem` says it."""
    return name.removesuffix(ending(name))


def composed(text: str) -> str:
    """Unicode in its composed form, so that a name has one key on every file system."""
    if text.isascii():
        return text
    return unicodedata.normalize(
        "NFC", text.encode("utf-8", "surrogateescape").decode("utf-8", "replace")
    )


def natural(text: str) -> tuple[tuple[tuple[int, int, str], ...], str]:
    """A sort key that puts `img2` before `img10`, ignoring case."""
    parts = re.split(r"([0-9]+)", text)
    key = [(0, int(part), part) if part.isdecimal() else (1, 0, part.casefold()) for part in parts]
    return tuple(key), text
