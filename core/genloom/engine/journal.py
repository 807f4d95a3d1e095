"""What a run has done, in SQLite inside the output folder.

The unit of work is one picture, or one page of a group where a stage gathers; each has the files
that were written since the stage before it that gathers. A unit is done when all of its files
stand under their final names. Files are claimed in the journal before they are renamed, with the
size and time of the finished temporary file, so that whatever instant a run is killed at, the
next one knows which files are genloom's own.

One process writes: the journal is opened exclusively, which also keeps SQLite's shared-memory
file away and so works on network folders. Each shard of a run has a journal in a folder of its
own, and none ever waits for another; `genloom.engine.snapshot` reads them, also while runs go on.
"""

from __future__ import annotations

import contextlib
import json
import os
import re
import shutil
import socket
import sqlite3
import time
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Self

from genloom.engine.shards import WHOLE, Shard
from genloom.engine.tables import Tables, broken, make_tables, upgrade
from genloom.errors import OutputError
from genloom.record import STATE_FOLDER

VERSION = 3

HELD: set[Path] = set()
"""Journals that this process has open. Opening and closing the file of one by other means than
SQLite's would free the process's lock on it: POSIX locks belong to processes."""


MOST_RESOLVED = 10_000_000
"""Most characters that are read of what another shard resolved."""


class Journal(Tables):
    """The journal of one output folder, or of one shard. Only one process can hold it.

    Use it as a context.

    Raises:
        OutputError: when another process holds it, when it cannot be written or is damaged, or
            when the folder was begun in other shards.
    """

    def __init__(self, out: Path, shard: Shard = WHOLE) -> None:
        self.out, self.folder = out, folder_of(out, shard)
        self.temporary = self.folder / "tmp"
        self._run = 0
        self._path = self.folder / "journal.db"
        begun = self._path.exists()
        for place in (out / STATE_FOLDER, self.folder, self.temporary, self._path):
            if place.is_symlink():
                raise OutputError(
                    "a part of the journal is a link",
                    where=str(place),
                    hint="Remove it, or write to another folder",
                )
        try:
            self.temporary.mkdir(parents=True, exist_ok=True)
        except OSError as error:
            raise OutputError(
                f"the output folder cannot be written ({error.strerror})", where=str(out)
            ) from None
        self._database = self._open(self._path, out)
        HELD.add(self._path.resolve())
        try:
            self._check_shards(out, shard)
        except OutputError:
            self.close()
            if not begun:
                self._unmake()
            raise
        # Only for what a second process is told.
        self._lay("holder", f"process {os.getpid()} on {socket.gethostname()}\n")

    def _open(self, path: Path, out: Path) -> sqlite3.Connection:
        database = None
        try:
            database = sqlite3.connect(path, isolation_level=None, timeout=0.5)
            found = _prepared(database)
        except BaseException as error:
            if database is not None:
                database.close()
            if not isinstance(error, sqlite3.Error):
                raise
            if "locked" in str(error):
                raise OutputError(
                    "another genloom run is using this output folder",
                    where=str(out),
                    got=self._holder(),
                    hint="Wait for it to end, or write to another folder",
                ) from None
            raise broken(path, error) from None
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

    @staticmethod
    def _check_shards(out: Path, shard: Shard) -> None:
        """Whether all journals are of one way to cut the run: else parts would be done twice."""
        # Each makes its own journal before it looks: of two that start at once, one sees the other.
        others = {other.count for other in shards_in(out)} - {shard.count}
        if others:
            count = min(others)
            raise OutputError(
                "this output folder was begun in another number of shards",
                where=str(out),
                expected=f"--shard K/{count}" if count > 1 else "no --shard",
                got=f"--shard {shard}" if shard.count > 1 else "no --shard",
                hint="Go on as it was begun, or write to another folder",
            )

    def _unmake(self) -> None:
        """Take back what opening made; in the folder of the whole run lie those of shards."""
        shutil.rmtree(self.temporary, ignore_errors=True)
        with contextlib.suppress(OSError):
            for file in (self._path, self.folder / "holder"):
                file.unlink(missing_ok=True)
            self.folder.rmdir()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def close(self) -> None:
        """Give the output folder free."""
        self._database.close()
        HELD.discard(self._path.resolve())

    def clear_temporary(self) -> None:
        """Delete what a killed run left half-written."""
        shutil.rmtree(self.temporary, ignore_errors=True)
        self.temporary.mkdir(exist_ok=True)

    def begin_run(
        self, resolved: Mapping[str, Any], asked: Mapping[str, Any] | None = None
    ) -> None:
        """Record that a run starts, everything it resolved, and the command it was asked with."""
        self._note("asked", asked)
        self._note("counts", None)
        said = json.dumps(resolved, sort_keys=True, default=str)
        cursor = self._execute(
            "INSERT INTO runs (started, resolved) VALUES (?, ?)", (time.time(), said)
        )
        self._run = cursor.lastrowid or 0
        self._publish(said)

    def resolve(self, resolved: Mapping[str, Any]) -> None:
        """Record what the run has resolved in the meantime."""
        said = json.dumps(resolved, sort_keys=True, default=str)
        self._execute("UPDATE runs SET resolved = ? WHERE id = ?", (said, self._run))
        self._publish(said)

    def _publish(self, resolved: str) -> None:
        """Lay what was resolved where other shards can compare it with theirs."""
        self._lay("resolved.json", resolved)

    def _lay(self, name: str, text: str) -> None:
        """Lay a file beside the journal, whole, in place of whatever has its name."""
        with contextlib.suppress(OSError):
            part = self.temporary / name
            part.write_text(text, encoding="utf-8")
            os.replace(part, self.folder / name)

    def end_run(self, outcome: str, counts: Mapping[str, Any] | None = None) -> None:
        """Record how the run ended, and how many items came to what; nothing of one not begun."""
        if not self._run:
            return
        self._note("counts", counts)
        self._execute(
            "UPDATE runs SET ended = ?, outcome = ? WHERE id = ?", (time.time(), outcome, self._run)
        )

    def last_resolved(self) -> dict[str, Any]:
        """What the last run in this folder had resolved; empty before the first."""
        row = self._execute("SELECT resolved FROM runs ORDER BY id DESC LIMIT 1").fetchone()
        return dict(json.loads(row[0])) if row else {}

    def resolved_before(self) -> dict[str, dict[str, Any]]:
        """What runs before this one had resolved, by what they are called: this and other shards'.

        A shard that is running cannot be asked; what it resolved lies beside its journal.
        """
        found = {"the run before in this folder": self.last_resolved()}
        for shard in shards_in(self.out):
            file = folder_of(self.out, shard) / "resolved.json"
            if file.parent != self.folder:
                with contextlib.suppress(OSError, ValueError):
                    found[f"shard {shard}"] = _resolved(file)
        return found

    def noted(self, name: str) -> dict[str, Any] | None:
        """What the last run noted of itself: `asked`, or `counts` once it has ended."""
        row = self._execute("SELECT value FROM meta WHERE key = ?", (name,)).fetchone()
        return None if row is None else dict(json.loads(row[0]))

    def _note(self, name: str, value: Mapping[str, Any] | None) -> None:
        if value is None:
            self._execute("DELETE FROM meta WHERE key = ?", (name,))
        else:
            self._execute("INSERT OR REPLACE INTO meta VALUES (?, ?)", (name, json.dumps(value)))


def folder_of(out: Path, shard: Shard) -> Path:
    """Where the journal of a shard lies, and its temporary files."""
    name = f"shard-{shard.number}-of-{shard.count}" if shard.count > 1 else ""
    return out / STATE_FOLDER / name


def shards_in(out: Path) -> list[Shard]:
    """The shards that an output folder has journals of, in order; the whole run is 1 of 1."""
    found = [WHOLE] if (out / STATE_FOLDER / "journal.db").exists() else []
    for path in (out / STATE_FOLDER).glob("shard-*-of-*/journal.db"):
        match = re.fullmatch(r"shard-([0-9]+)-of-([0-9]+)", path.parent.name)
        if match:
            found.append(Shard(*map(int, match.groups())))
    return sorted(found, key=lambda shard: (shard.count, shard.number))


def _resolved(file: Path) -> dict[str, Any]:
    """What another shard says it resolved.

    Raises:
        OSError: when it cannot be read.
        ValueError: when it says something else.
    """
    with file.open(encoding="utf-8") as opened:
        found = json.loads(opened.read(MOST_RESOLVED))
    models = found.get("models", {}) if isinstance(found, dict) else None
    if not isinstance(models, dict) or not all(
        isinstance(one, dict) and isinstance(one.get("precision", {}), dict)
        for one in models.values()
    ):
        raise ValueError("not what a run resolves")
    return dict(found)


def _prepared(database: sqlite3.Connection) -> str:
    """Lock the database and make what tables it lacks; gives the version that wrote it."""
    database.execute("PRAGMA locking_mode = EXCLUSIVE")
    database.execute("PRAGMA journal_mode = WAL")
    database.execute("PRAGMA synchronous = FULL")
    database.execute("BEGIN EXCLUSIVE")
    if database.execute("SELECT 1 FROM sqlite_master WHERE name = 'meta'").fetchone():
        row = database.execute("SELECT value FROM meta WHERE key = 'version'").fetchone()
        if row is not None and row[0] == "2":
            upgrade(database)
        elif row is not None and row[0] != str(VERSION):  # what is another's is left as it is
            database.execute("ROLLBACK")
            return str(row[0])
    make_tables(database)
    database.execute("INSERT OR IGNORE INTO meta VALUES ('version', ?)", (str(VERSION),))
    database.execute("COMMIT")
    return str(VERSION)
