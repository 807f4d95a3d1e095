"""What `genloom tune` found, kept for later runs: by model, machine and versions."""

from __future__ import annotations

import contextlib
import dataclasses
import json
import math
import os
import sqlite3
import tempfile
import time
from collections.abc import Collection, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from genloom import __version__, machine
from genloom.catalog import Catalog
from genloom.errors import OutputError
from genloom.models import Bundle
from genloom.runtime import cache
from genloom.types import digest_of

ENVIRONMENT = "GENLOOM_TUNED"
"""The variable of the environment that turns tuned settings off, with the value `off`."""

LEAST_TILE = 16
"""Side of the smallest tile in pixels."""

PATIENCE = 10.0
"""Seconds that one process waits for another to write what it found."""

_VERSION = 1
_BOUNDS = {"workers": (1, 1024), "tile": (0, 2**16), "batch": (1, 2**16), "pixels": (1, 2**40)}


@dataclass(frozen=True, kw_only=True)
class Answer:
    """What is fastest for one model on one machine.

    Attributes:
        provider: on which it is computed; `precision` is in what.
        workers: calls at a time; the cores are divided among them.
        tile: side of the tiles in pixels; 0 where none was measured.
        batch: pictures of one call at the most; `pixels` of all of them together.
        pace: seconds that the model took for a picture of those it was tuned on.
    """

    provider: str
    precision: str
    workers: int
    tile: int
    batch: int
    pixels: int
    pace: float

    @classmethod
    def read(cls, plain: Any) -> Answer | None:
        """What `dataclasses.asdict` made plain values of; None where it is no such thing."""
        try:
            answer = cls(**plain)
            whole = all(
                type(getattr(answer, name)) is int and least <= getattr(answer, name) <= most
                for name, (least, most) in _BOUNDS.items()
            )
            texts = all(isinstance(text, str) for text in (answer.provider, answer.precision))
            paced = answer.pace >= 0 and math.isfinite(answer.pace)
            right = whole and texts and paced and not 0 < answer.tile < LEAST_TILE
        except (TypeError, ValueError):
            return None
        return answer if right else None

    def __str__(self) -> str:
        tile = f", tiles of {self.tile}" if self.tile else ""
        return f"{self.provider} in {self.precision}, {self.workers} at a time{tile}"


@dataclass(frozen=True)
class Entry:
    """An answer as it is kept.

    Attributes:
        model: its name, for people; `digest` is what it is known by.
        place: the machine and the versions that it was measured with.
        measured: the day.
    """

    model: str
    digest: str
    place: dict[str, Any]
    answer: Answer
    measured: str

    @classmethod
    def read(cls, plain: Any) -> Entry | None:
        """What `dataclasses.asdict` made plain values of; None where it is no such thing."""
        try:
            model, digest, measured = plain["model"], plain["digest"], plain["measured"]
            answer, place = Answer.read(plain["answer"]), dict(plain["place"])
        except (KeyError, TypeError, ValueError):
            return None
        if answer is None or not all(isinstance(text, str) for text in (model, digest, measured)):
            return None
        return cls(model, digest, place, answer, measured)

    @property
    def key(self) -> str:
        """What it is looked up by."""
        return digest_of({"model": self.digest, **self.place})


def file() -> Path:
    """Where answers are kept."""
    return cache.place() / "tuned.json"


def is_off() -> bool:
    """Whether the environment says that tuned settings are not to be used."""
    return os.environ.get(ENVIRONMENT, "").lower() in ("off", "0", "no", "false")


def place(catalog: Catalog) -> dict[str, Any]:
    """This machine and these versions: where an answer holds."""
    return {
        "genloom": __version__,
        "processor": machine.processor(),
        "gpu": machine.nvidia_gpu(),
        "runtimes": [
            text for name in sorted(catalog.runtimes()) for text in _versions(catalog, name)
        ],
    }


def _versions(catalog: Catalog, name: str) -> tuple[str, ...]:
    try:
        return tuple(catalog.runtime(name).versions())
    except Exception:  # a plugin raises anything; nothing runs on such a runtime either
        return ()


def entries() -> list[Entry]:
    """All that is kept and right; nothing where the file is not there or not right."""
    try:
        found = json.loads(file().read_text(encoding="utf-8"))
        kept = list(found["answers"]) if found["version"] == _VERSION else []
    except (OSError, ValueError, KeyError, TypeError, RecursionError):
        return []
    return [entry for entry in map(Entry.read, kept) if entry is not None]


def answers(bundles: Collection[Bundle], catalog: Catalog) -> dict[str, Answer]:
    """What was found here for each model, by digest."""
    digests = {bundle.digest for bundle in bundles}
    kept = [entry for entry in entries() if entry.digest in digests]
    if not kept:  # as nearly always: nothing more is asked of the machine
        return {}
    here = place(catalog)
    return {entry.digest: entry.answer for entry in kept if entry.place == here}


def remember(name: str, bundle: Bundle, here: dict[str, Any], answer: Answer) -> None:
    """Keep an answer, in place of one for the same model and place.

    Raises:
        OutputError: when the file cannot be written.
    """
    entry = Entry(name, bundle.digest, here, answer, time.strftime("%Y-%m-%d"))
    with _alone():
        _write([*(one for one in entries() if one.key != entry.key), entry])


def forget(digests: Collection[str] | None = None) -> int:
    """Drop the answers for some models, or all; gives how many there were.

    Raises:
        OutputError: when the file cannot be written.
    """
    if not entries():
        return 0
    with _alone():
        kept = entries()
        left = [] if digests is None else [one for one in kept if one.digest not in digests]
        if len(left) < len(kept):
            _write(left)
    return len(kept) - len(left)


@contextlib.contextmanager
def _alone() -> Iterator[None]:
    """Keep other processes from changing the file between reading and writing it.

    The lock is one of SQLite's, which every system has and which ends with its process.
    """
    lock = file().with_name("tuned.lock")
    try:
        lock.parent.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise _not_kept(error.strerror) from None
    with contextlib.ExitStack() as stack:
        try:
            held = sqlite3.connect(lock, isolation_level=None, timeout=PATIENCE)
            stack.callback(held.close)
            held.execute("BEGIN EXCLUSIVE")
        except sqlite3.Error as error:
            if "locked" in str(error):
                raise _not_kept("another process has been holding tuned.lock") from None
            # This file system has no locks, or the folder cannot be written, which is told next.
        yield


def _not_kept(reason: str | None) -> OutputError:
    return OutputError(f"what was found cannot be kept ({reason})", where=str(file()))


def _write(kept: list[Entry]) -> None:
    plain = {"version": _VERSION, "answers": [dataclasses.asdict(entry) for entry in kept]}
    path = file()
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        handle, beside = tempfile.mkstemp(dir=path.parent, prefix=".tuned-")
        try:
            with open(handle, "w", encoding="utf-8") as stream:
                json.dump(plain, stream, indent=1, ensure_ascii=False)
            os.replace(beside, path)
        except OSError:
            os.unlink(beside)
            raise
    except OSError as error:
        raise _not_kept(error.strerror) from None
