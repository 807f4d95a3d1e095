"""The tables of a journal: units with what they came to, and the files that are genloom's own."""

from __future__ import annotations

import itertools
import json
import os
import sqlite3
import time
from collections.abc import Iterable, Iterator, Sequence, Sized
from pathlib import Path
from typing import Any

from genloom.engine.records import FileRecord, Signature, UnitRecord, row, written
from genloom.errors import OutputError
from genloom.listing import PART, sketch

_SCHEMA = """
CREATE TABLE IF NOT EXISTS meta (key TEXT PRIMARY KEY, value TEXT) WITHOUT ROWID;
CREATE TABLE IF NOT EXISTS runs (
    id INTEGER PRIMARY KEY, started REAL, ended REAL, outcome TEXT, resolved TEXT);
CREATE TABLE IF NOT EXISTS units (
    unit TEXT PRIMARY KEY, state TEXT NOT NULL, plan TEXT NOT NULL, inputs TEXT NOT NULL,
    stage TEXT, reason TEXT, last INTEGER, notes TEXT, updated REAL,
    sketch TEXT, results TEXT) WITHOUT ROWID;
CREATE TABLE IF NOT EXISTS files (
    folded TEXT PRIMARY KEY, path TEXT NOT NULL, unit TEXT NOT NULL, size INTEGER, mtime INTEGER,
    old_size INTEGER, old_mtime INTEGER, retired INTEGER DEFAULT 0) WITHOUT ROWID;
DROP INDEX IF EXISTS files_of;
CREATE INDEX IF NOT EXISTS standing_files ON files (unit, path) WHERE NOT retired;
"""


BETWEEN = 4
"""Rows that are read for each unit that is asked for, before units are asked for one by one."""

_FILE = "path, unit, size, mtime, old_size, old_mtime"
_UNIT = "unit, state, plan, inputs, stage, reason, last"
UPGRADED = 10_000
"""Units of an older journal that are brought up at a time."""
_COLUMNS = range(10)  # of `units`, without the last
_RESULTS = "(SELECT group_concat(path, char(0)) FROM files WHERE unit = ? AND NOT retired)"


class Tables:
    """Units and files in SQLite. What goes wrong with the database is an `OutputError`.

    Attributes:
        out: the output folder; files are paths from it.
    """

    out: Path
    _path: Path
    _database: sqlite3.Connection

    def is_blank(self) -> bool:
        """Whether nothing is known of any unit."""
        return self._execute("SELECT 1 FROM units LIMIT 1").fetchone() is None

    def unit(self, unit: str) -> UnitRecord | None:
        """What is known of a unit."""
        return self.units_of([unit]).get(unit)

    def units_of(self, units: Sequence[str]) -> dict[str, UnitRecord]:
        """What is known of units, in one question; those that nothing is known of are left out."""
        names = {_storable(unit): unit for unit in units}
        rows = self._execute(
            f"SELECT {_UNIT} FROM units WHERE unit IN ({_places(names)})", list(names)
        )
        return {names[row[0]]: _unit_record(row) for row in rows}

    def finished(self, plan: str, sketches: Sequence[str]) -> dict[str, str]:
        """Of units that a plan came to the end with: their files, by what each is known by.

        Files are paths from OUT, parted by `PART`. Units that are neighbours in the journal are
        read in one go, and there may be others among them. Those without files are left out.
        """
        if not sketches:
            return {}
        told = (
            "SELECT CASE WHEN state = 'done' AND plan = ? THEN sketch END, results "
            "FROM units WHERE unit"
        )
        most = BETWEEN * len(sketches)
        ends = [one.partition(PART)[0] for one in (min(sketches), max(sketches))]
        rows = self._execute(f"{told} BETWEEN ? AND ?", [plan, *ends]).fetchmany(most)
        if len(rows) == most:  # they are not neighbours
            units = [one.partition(PART)[0] for one in sketches]
            rows = self._execute(f"{told} IN ({_places(units)})", [plan, *units]).fetchall()
        found = dict(rows)
        found.pop(None, None)
        if None in found.values():
            found = {one: results for one, results in found.items() if results is not None}
        return found

    def units(self, state: str) -> Iterator[tuple[str, UnitRecord]]:
        """Every unit in a state, by name."""
        rows = self._execute(f"SELECT {_UNIT} FROM units WHERE state = ? ORDER BY unit", (state,))
        return ((row[0], _unit_record(row)) for row in rows)

    def count(self, state: str) -> int:
        """How many units are in a state."""
        row = self._execute("SELECT count(*) FROM units WHERE state = ?", (state,)).fetchone()
        return int(row[0])

    def paths_of(self, units: Sequence[str]) -> dict[str, list[str]]:
        """The files of units as paths from OUT, in one question; without those that are retired."""
        names = {_storable(unit): unit for unit in units}
        found: dict[str, list[str]] = {}
        for unit, path in self._execute(
            f"SELECT unit, path FROM files WHERE unit IN ({_places(names)}) AND NOT retired",
            list(names),
        ):
            found.setdefault(names[unit], []).append(path)
        return found

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

    def owners(self, paths: Sequence[str]) -> dict[str, FileRecord]:
        """Who owns paths, by their folded names, in one question; see `file`."""
        names = {_storable(path.casefold()): path.casefold() for path in paths}
        rows = self._execute(
            f"SELECT folded, {_FILE} FROM files WHERE folded IN ({_places(names)})", list(names)
        )
        return {names[row[0]]: FileRecord(*row[1:]) for row in rows}

    def claim(self, files: Iterable[FileRecord]) -> None:
        """Record files as genloom's own, before they get their final names."""
        self._write(
            [
                (
                    f"INSERT OR REPLACE INTO files (folded, {_FILE}) VALUES (?, ?, ?, ?, ?, ?, ?)",
                    (file.path.casefold(), *row(file)),
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
                    f"INSERT OR REPLACE INTO units VALUES ({_places(_COLUMNS)}, {_RESULTS})",
                    (
                        unit,
                        record.state,
                        record.plan,
                        written(record.inputs),
                        record.stage,
                        record.reason,
                        record.last,
                        json.dumps(list(notes), ensure_ascii=False) if notes else "[]",
                        time.time(),
                        _sketch(unit, record),
                        unit,
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
            for text, run in itertools.groupby(statements, key=lambda statement: statement[0]):
                self._execute_many(text, [values for _, values in run])
            self._execute("COMMIT")
        except BaseException:
            if self._database.in_transaction:
                self._database.execute("ROLLBACK")
            raise

    def _execute_many(self, text: str, rows: Sequence[tuple[Any, ...]]) -> None:
        try:
            try:
                self._database.executemany(text, rows)
            except UnicodeEncodeError:  # those before it are replaced by themselves
                self._database.executemany(text, [tuple(map(_storable, one)) for one in rows])
        except sqlite3.Error as error:
            raise broken(self._path, error) from None

    def _execute(self, text: str, values: Sequence[Any] = ()) -> sqlite3.Cursor:
        try:
            try:
                return self._database.execute(text, values)
            except UnicodeEncodeError:
                return self._database.execute(text, tuple(map(_storable, values)))
        except sqlite3.Error as error:
            raise broken(self._path, error) from None


def _places(values: Sized) -> str:
    return ", ".join("?" * len(values))


def _unit_record(row: Sequence[Any]) -> UnitRecord:
    inputs = tuple(Signature(*entry) for entry in json.loads(row[3]))
    return UnitRecord(row[1], row[2], inputs, row[4], row[5], bool(row[6]))


def _sketch(unit: str, record: UnitRecord) -> str | None:
    """What is compared to tell that a unit of one file is done; see `sketch`."""
    if record.state != "done" or len(record.inputs) != 1:
        return None
    one = record.inputs[0]
    return sketch(unit, one.key, one.size, one.mtime, one.source)


def make_tables(database: sqlite3.Connection) -> None:
    """Make what tables a journal lacks: those of one that is only being made, say."""
    for statement in _SCHEMA.split(";"):
        database.execute(statement)


def upgrade(database: sqlite3.Connection) -> None:
    """Bring the tables of version 2 up to this one's: what tells that a unit is done was not there.

    It takes some seconds for a million units, once.
    """
    database.execute("ALTER TABLE units ADD COLUMN sketch TEXT")
    database.execute("ALTER TABLE units ADD COLUMN results TEXT")
    database.execute(f"UPDATE units SET results = {_RESULTS.replace('?', 'units.unit')}")
    told = "SELECT unit, state, plan, inputs FROM units WHERE unit > ? ORDER BY unit LIMIT ?"
    last = ""
    while rows := database.execute(told, (last, UPGRADED)).fetchall():
        sketches = [(_sketched(*row), row[0]) for row in rows]
        database.executemany("UPDATE units SET sketch = ? WHERE unit = ?", sketches)
        last = rows[-1][0]
    database.execute("UPDATE meta SET value = '3' WHERE key = 'version'")


def _sketched(*values: str) -> str | None:
    """The text for a row of version 2; None, which says nothing, where the row is damaged."""
    try:
        said = _sketch(values[0], _unit_record([*values, "", "", 0]))
    except (TypeError, ValueError):
        return None
    return _storable(said)  # type: ignore[no-any-return]


def broken(path: Path, error: sqlite3.Error) -> OutputError:
    """What is wrong with the journal: it lies on a bad or full disk, or it is damaged."""
    if isinstance(error, sqlite3.OperationalError) and "no such" not in str(error):
        if not os.access(path.parent, os.W_OK):  # SQLite calls it an input or output error
            return OutputError(
                "the output folder cannot be written (read-only)", where=str(path.parent)
            )
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
    if not isinstance(value, str) or value.isascii():
        return value
    return value.encode("utf-8", "backslashreplace").decode()
