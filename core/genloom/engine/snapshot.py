"""Reading the journals of an output folder without holding them, also while runs write them.

A run has its journal to itself, so what is read is a copy. SQLite never changes what a write-ahead
log holds before it begins the log anew with another header: a copy of the database, and then of
its log, belong together when the header was the same before and after. All that was committed by
then is in the copy, as it would be after a power cut.
"""

from __future__ import annotations

import contextlib
import json
import os
import shutil
import sqlite3
import tempfile
import time
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from genloom.engine.asked import Asked
from genloom.engine.journal import HELD, VERSION, Journal, folder_of, shards_in
from genloom.engine.shards import Shard
from genloom.engine.tables import broken, make_tables, upgrade
from genloom.errors import OutputError

_TRIES = 50
_SHARED = (0x40000002, 510)
"""Where SQLite locks a database file, and how many bytes: part of its file format."""


@dataclass(frozen=True)
class LastRun:
    """The last run of a journal.

    Attributes:
        shard: which shard's it is.
        started: seconds since 1970; `ended` too, and None for a run that has not ended.
        outcome: as in `Report`; for a run that has not ended `running`, `killed`, or `running or
            killed` where the system cannot tell.
        counts: how many items came to what, once it has ended.
        asked: the command; None in journals that did not keep it.
        fingerprint: of all that decides results, inputs aside.
        holder: which process it is, or was.
    """

    shard: Shard
    started: float
    ended: float | None
    outcome: str
    counts: dict[str, Any] = field(default_factory=dict)
    asked: Asked | None = None
    fingerprint: str = ""
    holder: str = ""


class Snapshot(Journal):
    """A copy of the journals of an output folder, merged. What is written to it goes nowhere.

    Attributes:
        runs: the last run of each journal, the one that started last at the end.

    Raises:
        OutputError: when there is no journal, or it cannot be read.
    """

    def __init__(self, out: Path) -> None:
        self.out = out
        shards = shards_in(out)
        if not shards:
            raise OutputError(
                "there is no journal of a run",
                where=str(out),
                expected="the output folder of a `genloom run`",
                got="a folder without one"
                if out.is_dir()
                else "a file"
                if out.exists()
                else "nothing of that name",
            )
        self._copies = tempfile.TemporaryDirectory(prefix="genloom-")
        self._database = sqlite3.connect(":memory:")
        try:
            found = [self._add(shard, number == 0) for number, shard in enumerate(shards)]
        except BaseException:
            self.close()
            raise
        self.runs = sorted((run for run in found if run), key=lambda run: run.started)

    def close(self) -> None:
        """Delete the copy."""
        self._database.close()
        self._copies.cleanup()

    def _add(self, shard: Shard, first: bool) -> LastRun | None:
        """Copy the journal of a shard, the first as it is; gives its last run."""
        self._path = folder_of(self.out, shard) / "journal.db"
        copy = Path(self._copies.name) / f"{shard.number}.db"
        _copy(self._path, copy)
        self._upgrade(copy)
        if first:
            self._database.close()
            self._database = sqlite3.connect(copy, isolation_level=None)
            self._execute("PRAGMA synchronous = OFF")
            self._make_tables()
            return self._last_run(shard, "main")
        self._execute("ATTACH ? AS other", (str(copy),))
        run = self._last_run(shard, "other")
        for table in ("units", "files") if run else ():
            self._execute(f"INSERT OR REPLACE INTO main.{table} SELECT * FROM other.{table}")
        self._execute("DETACH other")
        return run

    def _upgrade(self, copy: Path) -> None:
        """Bring the copy of an older journal up to this version."""
        try:
            with contextlib.closing(sqlite3.connect(copy)) as database, database:
                if database.execute("SELECT 1 FROM sqlite_master WHERE name = 'meta'").fetchone():
                    version = "SELECT 1 FROM meta WHERE key = 'version' AND value = '2'"
                    if database.execute(version).fetchone():
                        upgrade(database)
        except sqlite3.Error as error:
            raise broken(self._path, error) from None

    def _make_tables(self) -> None:
        try:
            make_tables(self._database)
        except sqlite3.Error as error:
            raise broken(self._path, error) from None

    def _last_run(self, shard: Shard, schema: str) -> LastRun | None:
        if not self._execute(f"SELECT 1 FROM {schema}.sqlite_master").fetchone():
            return None  # it is only being made
        notes = dict(self._execute(f"SELECT key, value FROM {schema}.meta"))
        if notes and notes.get("version") != str(VERSION):
            raise OutputError(
                "the journal was written by another version of genloom",
                where=str(self._path),
                expected=f"version {VERSION}",
                got=str(notes.get("version")),
            )
        row = self._execute(
            f"SELECT started, ended, outcome, resolved FROM {schema}.runs ORDER BY id DESC LIMIT 1"
        ).fetchone()
        if row is None:
            return None
        return _described(self.out, shard, row, notes)


def _described(out: Path, shard: Shard, row: tuple[Any, ...], notes: dict[str, str]) -> LastRun:
    started, ended, outcome, resolved = row
    folder = folder_of(out, shard)
    asked = json.loads(notes.get("asked", "null"))
    return LastRun(
        shard=shard,
        started=started,
        ended=ended,
        outcome=outcome or _unended(folder / "journal.db"),
        counts=json.loads(notes.get("counts", "{}")),
        asked=None if asked is None else Asked.read(asked),
        fingerprint=json.loads(resolved).get("fingerprint", ""),
        holder=_text(folder / "holder"),
    )


def _copy(path: Path, to: Path) -> None:
    """Copy a database and its log, as they were at one moment."""
    if path.resolve() in HELD:
        raise OutputError(
            "this process itself is running into this folder",
            where=str(path),
            hint="What its run observes and reports says how it goes",
        )
    log, log_to = path.with_name("journal.db-wal"), to.with_name(f"{to.name}-wal")
    try:
        for attempt in range(_TRIES):
            before = _mark(path, log)
            shutil.copyfile(path, to)
            log_to.unlink(missing_ok=True)
            with contextlib.suppress(FileNotFoundError):
                shutil.copyfile(log, log_to)
            if _mark(path, log) == before:
                return
            time.sleep(0.02 * (attempt + 1))
    except OSError as error:
        raise OutputError(
            f"the journal cannot be read ({error.strerror})", where=str(path)
        ) from None
    raise OutputError(
        "the journal changes too fast to be read", where=str(path), hint="Try again in a moment"
    )


def _mark(path: Path, log: Path) -> tuple[Any, ...]:
    """What stays the same while a copy of both is whole: the log's header, or the database."""
    try:
        with log.open("rb") as file:
            header = file.read(32)
    except FileNotFoundError:
        header = b""
    if header:
        return (header,)
    stat = path.stat()
    return (stat.st_size, stat.st_mtime_ns)


def _unended(path: Path) -> str:
    """What became of a run that recorded no end: whether a process holds its journal."""
    try:
        import fcntl
    except ImportError:
        return "running or killed"
    start, length = _SHARED
    handle = os.open(path, os.O_RDONLY)
    try:
        fcntl.lockf(handle, fcntl.LOCK_SH | fcntl.LOCK_NB, length, start)
    except (BlockingIOError, PermissionError):
        return "running"
    except OSError:  # this file system knows no locks
        return "running or killed"
    finally:
        os.close(handle)
    return "killed"


def _text(path: Path) -> str:
    try:
        return path.read_text(encoding="utf-8").strip()
    except OSError:
        return ""
