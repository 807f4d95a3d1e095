"""Give finished files their final names, in groups, so that the journal never says too much.

The order is what makes a kill at any instant harmless: files are complete and synced; the journal
claims their names; they are renamed; the folders are synced; the journal calls the units done.
"""

from __future__ import annotations

import itertools
import os
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from genloom.engine.journal import Journal
from genloom.engine.naming import candidates, renamed
from genloom.engine.packet import Failure, Output, Unit
from genloom.engine.plan import Plan
from genloom.engine.records import FileRecord, UnitRecord
from genloom.engine.syncing import Syncing
from genloom.errors import OutputError

ASKED = 500
"""Names that the journal is asked of in one question."""


@dataclass(frozen=True)
class _Move:
    """A file that is about to get its name, and who had that name before."""

    unit: Unit
    output: Output
    record: FileRecord
    before: FileRecord | None


class Committer:
    """Collects finished units and commits them in groups.

    Attributes:
        waiting: files that wait for their final names; a unit without files counts as one.
    """

    def __init__(self, plan: Plan, journal: Journal) -> None:
        self._plan, self._out, self._force = plan, plan.out, plan.settings.force
        self._sharded = plan.shard.count > 1
        self._journal = journal
        self._waiting: list[Unit] = []
        self.waiting = 0
        self._made: set[str] = set()
        self._owners: dict[str, FileRecord | None] = {}
        self._syncing = Syncing()

    def close(self) -> None:
        """Let go of the threads."""
        self._syncing.close()

    def __len__(self) -> int:
        return len(self._waiting)

    def add(self, unit: Unit) -> None:
        """Take a unit; it is committed with the next `flush`."""
        self._waiting.append(unit)
        self.waiting += max(1, len(unit.outputs))
        for output in unit.outputs:
            self._syncing.add(output.temporary, output.size)

    def flush(self) -> list[Unit]:
        """Commit everything that waits; the units come back with their files or failures."""
        units, self._waiting, self.waiting = self._waiting, [], 0
        self._made.clear()
        moves = self._prepare(units)
        self._journal.claim([move.record for move in moves])
        self._move(moves)
        self._retire_all([unit for unit in units if not unit.known and not unit.failures])
        self._journal.record(
            [(unit.key, self._record(unit), [note for _, note in unit.notes]) for unit in units]
        )
        return units

    def _prepare(self, units: Sequence[Unit]) -> list[_Move]:
        """Sync what is finished and find a name for each file."""
        outputs = [(unit, output) for unit in units for output in unit.outputs]
        problems = self._syncing.problems([output.temporary for _, output in outputs])
        self._ask(
            [first for _, output in outputs for first in itertools.islice(candidates(output), 1)]
        )
        moves: list[_Move] = []
        taken: dict[str, FileRecord] = {}
        for unit, output in outputs:
            try:
                if problem := problems[output.temporary]:
                    raise OutputError(f"the result cannot be written to the disk ({problem})")
                if output.beside:
                    output = _beside(output, moves)
                move = self._name(unit, output, taken)
            except (OutputError, OSError) as error:
                _fail(unit, output, error)
                continue
            taken[move.record.path.casefold()] = move.record
            moves.append(move)
        return moves

    def _ask(self, names: Sequence[str]) -> None:
        """Ask the journal who owns names, of many at once."""
        self._owners = {name.casefold(): None for name in names}
        for at in range(0, len(names), ASKED):
            self._owners |= self._journal.owners(names[at : at + ASKED])

    def _owner(self, path: str) -> FileRecord | None:
        folded = path.casefold()
        return self._owners[folded] if folded in self._owners else self._journal.file(path)

    def _retire_all(self, units: Sequence[Unit]) -> None:
        for at in range(0, len(units), ASKED):
            some = units[at : at + ASKED]
            claimed = self._journal.paths_of([unit.key for unit in some])
            for unit in some:
                if len(claimed.get(unit.key, ())) != len(unit.files):
                    self._retire(unit)

    def _retire(self, unit: Unit) -> None:
        """Let go of what the unit once wrote and does not any more, in another format say."""
        files = self._journal.files(unit.key)
        old = [file for file in files if self._final(file.path) not in unit.files]
        self._journal.retire(old)
        for file in old:
            if (self._out / file.path).exists():
                note = f"{file.path} is left from an earlier run"
                unit.notes.append((str(unit.item.source or unit.item.name), note))

    def _record(self, unit: Unit) -> UnitRecord:
        digest = self._plan.digests[unit.level]
        if not unit.failures:
            return UnitRecord("done", digest, unit.inputs, last=unit.last)
        first = unit.failures[0]
        return UnitRecord("failed", digest, unit.inputs, first.stage, first.reason, unit.last)

    def _name(self, unit: Unit, output: Output, taken: Mapping[str, FileRecord]) -> _Move:
        """The first name that is free or the unit's own."""
        rival: FileRecord | None = None
        for path in candidates(output):
            owner = taken.get(path.casefold()) or self._owner(path)
            if owner is not None and (owner.unit != unit.key or path.casefold() in taken):
                rival = rival or owner
                continue
            old_size, old_mtime = self._check_ours(self._final(path), owner)
            for note in renamed(output, path, unit, rival):
                unit.notes.append((str(output.item.source or output.item.name), note))
            facts = output.size, output.mtime, old_size, old_mtime
            return _Move(unit, output, FileRecord(path, unit.key, *facts), owner)
        raise OutputError(f"no free name was found for {output.name}{output.ending}")

    def _check_ours(self, final: str, owner: FileRecord | None) -> tuple[int, int]:
        """Size and time of the file that will be replaced, which must be genloom's own."""
        try:
            stat = os.lstat(final)
        except FileNotFoundError:
            return -1, -1
        except UnicodeEncodeError:
            hint = "Set LC_ALL=C.UTF-8"
            raise OutputError(
                "the locale lacks letters of its name", where=final, hint=hint
            ) from None
        except OSError as error:
            raise OutputError(f"cannot be written ({error.strerror})", where=final) from None
        if owner is None:
            raise self._taken(final)
        if not owner.is_at(final) and not self._force:
            raise OutputError(
                "the result was changed since genloom wrote it",
                where=final,
                hint="Move it away, or use --force to replace it",
            )
        return stat.st_size, stat.st_mtime_ns

    def _taken(self, final: str) -> OutputError:
        if self._sharded:
            return OutputError(
                "a file that this shard did not write stands where the result would go",
                where=final,
                hint="If it is another shard's result, let `to` of the stage that writes keep "
                "folders apart (`{folder}/{stem}`); else move it away",
            )
        return OutputError(
            "a file that genloom did not write stands where the result would go",
            where=final,
            hint="Move it away or write to another folder",
        )

    def _final(self, path: str) -> str:
        return os.path.join(self._out, path.replace("/", os.sep))

    def _move(self, moves: Sequence[_Move]) -> None:
        """Rename files; one that cannot be is a failure of its unit, and its name is given back."""
        folders, placed = set[str](), True
        for move in moves:
            final = self._final(move.record.path)
            if move.output.beside and not placed:  # it goes only where its picture went
                self._journal.disown(move.record, move.before)
                move.output.drop()
                continue
            placed = False
            try:
                folder = os.path.dirname(final)
                self._make_folder(folder)
                self._place(move, final)
            except FileExistsError:
                self._journal.disown(move.record, move.before)
                _fail(move.unit, move.output, self._taken(final))
                continue
            except (OutputError, OSError) as error:
                self._journal.disown(move.record, move.before)
                said = getattr(error, "strerror", "")
                reason = OutputError(f"cannot be written ({said})", where=final)
                _fail(move.unit, move.output, reason if said else error)
                continue
            placed = True
            folders.add(folder)
            move.unit.files.append(final)
        self._syncing.folders(folders)

    def _place(self, move: _Move, final: str) -> None:
        """Give a file its final name.

        Another shard may give the same name at the same moment, and only the file system can say
        who was first: a second name for the file is never put over another file.

        Raises:
            OSError: when it cannot be.
        """
        if self._sharded and move.record.old_size == -1:
            try:
                os.link(move.output.temporary, final)
            except FileExistsError:
                raise
            except OSError:  # this file system has no second names
                if os.path.lexists(final):
                    raise FileExistsError from None
            else:
                move.output.drop()
                return
        os.replace(move.output.temporary, final)

    def _make_folder(self, name: str) -> None:
        """Make a folder, which lies below OUT wherever links in its name lead.

        Raises:
            OutputError: when it would lie elsewhere.
            OSError: when it cannot be made.
        """
        if name in self._made:  # in this group: a moment ago
            return
        folder = Path(name)
        missing = [folder, *folder.parents]
        missing = missing[: missing.index(self._out)]
        there = next((one for one in missing if os.path.lexists(one)), self._out)
        if not there.resolve().is_relative_to(self._out.resolve()):
            raise OutputError(
                "a link in the output folder leads out of it",
                got=str(there.resolve()),
                where=str(folder),
                hint="Remove the link, or write to another folder",
            )
        for one in reversed(missing):  # not with parents=True, which recurses
            one.mkdir(exist_ok=True)
        self._made.add(name)


def _beside(output: Output, moves: Sequence[_Move]) -> Output:
    """An output that goes with the last one, under the name that one is given."""
    if not moves or output.temporary != f"{moves[-1].output.temporary}{output.ending}":
        raise OutputError("the file that this one goes with was not written")
    return replace(output, name=moves[-1].record.path, asked=moves[-1].record.path)


def _fail(unit: Unit, output: Output, error: Exception) -> None:
    unit.failures.append(Failure(output.item, "save", str(error), unit=unit.key))
    output.drop()
