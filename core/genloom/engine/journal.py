"""What a run has done, in SQLite inside the output folder.

The unit of work is one picture, or one page of a group where a stage gathers; each has the files
that were written since the stage before it that gathers. A unit is done when all of its files
stand under their final names. Files are claimed in the journal before they are renamed, with the
size and time of the finished temporary file, so that whatever instant a run is killed at, the
next one knows which files are genloom's own.

One process writes: the journal is opened exclusively, which also keeps SQLite's shared-memory
file away and so works on network folders.
"""

from __future__ import annotations

import contextlib
import dataclasses
import json
import os
import shutil
import socket
import sqlite3
import time
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

from genloom.engine.records import FileRecord, Signature, UnitRecord
from genloom.errors import OutputError

STATE_FOLDER = ".genloom"
VERSION = 2

_SCHEMA = """
CREATE TABLE IF NOT EXISTS meta (key TEXT PRIMARY KEY, value TEXT) WITHOUT ROWID;
CREATE TABLE IF NOT EXISTS runs (
    id INTEGER PRIMARY KEY, started REAL, ended REAL, outcome TEXT, resolved TEXT);
CREATE TABLE IF NOT EXISTS units (
    unit TEXT PRIMARY KEY, state TEXT NOT NULL, plan TEXT NOT NULL, inputs TEXT NOT NULL,
    stage TEXT, reason TEXT, last INTEGER, notes TEXT, updated REAL) WITHOUT ROWID;
CREATE TABLE IF NOT EXISTS files (
    folded TEXT PRIMARY KEY, path TEXT NOT NULL, unit TEXT NOT NULL, size INTEGER, mtime INTEGER,
    old_size INTEGER, old_mtime INTEGER, retired INTEGER DEFAULT 0) WITHOUT ROWID;
CREATE INDEX IF NOT EXISTS files_of ON files (unit);
"""


_FILE = "path, unit, size, mtime, old_size, old_mtime"


class Journal:
    """The journal of one output folder. Use it as a context; only one process can hold it."""

    def __init__(self, out: Path) -> None:
        self.folder = out / STATE_FOLDER
        self.temporary = self.folder / "tmp"
        self._run = 0
        try:
            self.temporary.mkdir(parents=True, exist_ok=True)
        except OSError as error:
            raise OutputError(
                f"the output folder cannot be written ({error.strerror})", where=str(out)
            ) from None
        self._database = self._open(self.folder / "journal.db", out)
        with contextlib.suppress(OSError):  # only for what a second process is told
            holder = f"process {os.getpid()} on {socket.gethostname()}\n"
            (self.folder / "holder").write_text(holder)

    def _open(self, path: Path, out: Path) -> sqlite3.Connection:
        database = None
        try:
            database = sqlite3.connect(path, isolation_level=None, timeout=0.5)
            found = _prepared(database)
        except sqlite3.Error as error:
            if database is not None:
                database.close()
            if "locked" in str(error):
                raise OutputError(
                    "another genloom run is using this output folder",
                    where=str(out),
                    got=self._holder(),
                    hint="Wait for it to end, or write to another folder",
                ) from None
            raise _broken(path, error) from None
        if found != str(VERSION):
            database.close()
            raise OutputError(
                "the journal was written by another version of genloom",
                where=str(path),
                expected=f"version {VERSION}",
                got=found,
                hint="Write to another folder",
            )
        return database

    def _holder(self) -> str:
        try:
            return (self.folder / "holder").read_text().strip()
        except OSError:
            return ""

    def __enter__(self) -> Journal:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def close(self) -> None:
        """Give the output folder free."""
        self._database.close()

    def clear_temporary(self) -> None:
        """Delete what a killed run left half-written."""
        shutil.rmtree(self.temporary, ignore_errors=True)
        self.temporary.mkdir(exist_ok=True)

    def begin_run(self, resolved: Mapping[str, Any]) -> None:
        """Record that a run starts, and everything it resolved."""
        cursor = self._execute(
            "INSERT INTO runs (started, resolved) VALUES (?, ?)",
            (time.time(), json.dumps(resolved, sort_keys=True, default=str)),
        )
        self._run = cursor.lastrowid or 0

    def end_run(self, outcome: str) -> None:
        """Record how the run ended."""
        self._execute(
            "UPDATE runs SET ended = ?, outcome = ? WHERE id = ?", (time.time(), outcome, self._run)
        )

    def last_resolved(self) -> dict[str, Any]:
        """What the last run in this folder had resolved; empty before the first."""
        row = self._execute("SELECT resolved FROM runs ORDER BY id DESC LIMIT 1").fetchone()
        return dict(json.loads(row[0])) if row else {}

    def unit(self, unit: str) -> UnitRecord | None:
        """What is known of a unit."""
        row = self._execute(
            "SELECT state, plan, inputs, stage, reason, last FROM units WHERE unit = ?", (unit,)
        ).fetchone()
        if row is None:
            return None
        inputs = tuple(Signature(*entry) for entry in json.loads(row[2]))
        return UnitRecord(row[0], row[1], inputs, row[3], row[4], bool(row[5]))

    def units(self, state: str) -> list[tuple[str, UnitRecord]]:
        """Every unit in a state, by name."""
        names = self._execute(
            "SELECT unit FROM units WHERE state = ? ORDER BY unit", (state,)
        ).fetchall()
        return [(name, record) for (name,) in names if (record := self.unit(name)) is not None]

    def files(self, unit: str) -> list[FileRecord]:
        """The files of a unit, without those that are retired."""
        rows = self._execute(
            f"SELECT {_FILE} FROM files WHERE unit = ? AND NOT retired ORDER BY path",
            (unit,),
        )
        return [FileRecord(*row) for row in rows]

    def file(self, path: str) -> FileRecord | None:
        """Who owns a path, ignoring case; None when genloom never wrote it."""
        row = self._execute(
            f"SELECT {_FILE} FROM files WHERE folded = ?", (path.casefold(),)
        ).fetchone()
        return None if row is None else FileRecord(*row)

    def claim(self, files: Iterable[FileRecord]) -> None:
        """Record files as genloom's own, before they get their final names."""
        self._write(
            [
                (
                    f"INSERT OR REPLACE INTO files (folded, {_FILE}) VALUES (?, ?, ?, ?, ?, ?, ?)",
                    (file.path.casefold(), *dataclasses.astuple(file)),
                )
                for file in files
            ]
        )

    def disown(self, file: FileRecord, before: FileRecord | None) -> None:
        """Take a claim back: the name is again whose it was before."""
        if before is not None:
            self.claim([before])
        else:
            self._write([("DELETE FROM files WHERE folded = ?", (file.path.casefold(),))])

    def retire(self, files: Iterable[FileRecord]) -> None:
        """Record that files stay genloom's own, but that their units are done without them."""
        self._write(
            [
                ("UPDATE files SET retired = 1 WHERE folded = ?", (file.path.casefold(),))
                for file in files
            ]
        )

    def record(self, units: Iterable[tuple[str, UnitRecord, Sequence[str]]]) -> None:
        """Record the state of units, each with its notes."""
        self._write(
            [
                (
                    "INSERT OR REPLACE INTO units VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?)",
                    (
                        unit,
                        record.state,
                        record.plan,
                        json.dumps([dataclasses.astuple(one) for one in record.inputs]),
                        record.stage,
                        record.reason,
                        record.last,
                        json.dumps(list(notes), ensure_ascii=False),
                        time.time(),
                    ),
                )
                for unit, record, notes in units
            ]
        )

    def _write(self, statements: Sequence[tuple[str, tuple[Any, ...]]]) -> None:
        """Execute all statements or none."""
        if not statements:
            return
        self._execute("BEGIN")
        try:
            for text, values in statements:
                self._execute(text, values)
            self._execute("COMMIT")
        except BaseException:
            if self._database.in_transaction:
                self._database.execute("ROLLBACK")
            raise

    def _execute(self, text: str, values: Sequence[Any] = ()) -> sqlite3.Cursor:
        try:
            return self._database.execute(text, tuple(map(_storable, values)))
        except sqlite3.Error as error:
            raise _broken(self.folder / "journal.db", error) from None


def _prepared(database: sqlite3.Connection) -> str:
    """Lock the database and make what tables it lacks; gives the version that wrote it."""
    database.execute("PRAGMA locking_mode = EXCLUSIVE")
    database.execute("PRAGMA journal_mode = WAL")
    database.execute("PRAGMA synchronous = FULL")
    database.execute("BEGIN EXCLUSIVE")
    for statement in _SCHEMA.split(";"):
        database.execute(statement)
    database.execute("INSERT OR IGNORE INTO meta VALUES ('version', ?)", (str(VERSION),))
    found = database.execute("SELECT value FROM meta WHERE key = 'version'").fetchone()[0]
    database.execute("COMMIT")
    return str(found)


def _broken(path: Path, error: sqlite3.Error) -> OutputError:
    """What is wrong with the journal: it lies on a bad or full disk, or it is damaged."""
    if isinstance(error, sqlite3.OperationalError) and "no such" not in str(error):
        return OutputError(
            f"the journal cannot be used ({error})",
            where=str(path),
            hint="What is done is kept; mend this and run the same command again",
        )
    return OutputError(
        f"the journal is damaged ({error})",
        where=str(path),
        hint="Move it away to start anew; finished pictures will not be overwritten",
    )


def _storable(value: Any) -> Any:
    """Text that SQLite takes: what of a file's name is no text is written as escapes."""
    return value.encode("utf-8", "backslashreplace").decode() if isinstance(value, str) else value
