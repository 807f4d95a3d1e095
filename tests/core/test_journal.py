"""The journal knows what is done, and belongs to one process."""

import contextlib
import os
import sqlite3
import subprocess
import sys

import pytest

from genloom.engine.journal import Journal
from genloom.engine.records import FileRecord, Signature, UnitRecord
from genloom.errors import OutputError
from genloom.types import Item


def record(state="done", plan="p", reason=""):
    return UnitRecord(state, plan, (Signature("0/a.png", 10, 20, "ab"),), "", reason)


def test_what_is_recorded_is_read_back_by_the_next_run(tmp_path):
    with Journal(tmp_path) as journal:
        journal.begin_run({"provider": "cpu"})
        journal.record([("0/a.png", record(), ["note"]), ("0/b.png", record("failed"), [])])
        journal.claim([FileRecord("a.png", "0/a.png", 5, 6)])
        journal.end_run("failed")
    with Journal(tmp_path) as journal:
        assert journal.unit("0/a.png") == record()
        assert journal.unit("0/c.png") is None
        assert [name for name, _ in journal.units("failed")] == ["0/b.png"]
        assert journal.files("0/a.png") == [FileRecord("a.png", "0/a.png", 5, 6)]
        assert journal.last_resolved() == {"provider": "cpu"}


def test_paths_are_found_whatever_their_case(tmp_path):
    with Journal(tmp_path) as journal:
        journal.claim([FileRecord("Sub/A.PNG", "u", 1, 2)])
        assert journal.file("sub/a.png").unit == "u"
        assert journal.file("sub/b.png") is None


def test_a_file_is_ours_while_its_size_and_time_are_those_we_gave_it(tmp_path):
    path = tmp_path / "a"
    path.write_bytes(b"12345")
    stat = path.stat()
    assert FileRecord("a", "u", 5, stat.st_mtime_ns).is_at(path)
    assert FileRecord("a", "u", 9, 9, 5, stat.st_mtime_ns).is_at(path), "the version before"
    assert not FileRecord("a", "u", 5, stat.st_mtime_ns + 1).is_at(path)
    assert not FileRecord("b", "u", 5, 1).is_at(tmp_path / "b")


def test_a_second_process_is_refused_and_told_who_holds_the_folder(tmp_path):
    hold = (
        "import sys; from pathlib import Path; from genloom.engine.journal import Journal\n"
        "with Journal(Path(sys.argv[1])):\n    print('held', flush=True); sys.stdin.read()"
    )
    with subprocess.Popen(
        [sys.executable, "-c", hold, str(tmp_path)],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
    ) as holder:
        assert holder.stdout.readline() == "held\n"
        with pytest.raises(OutputError, match=f"another genloom run.*process {holder.pid}"):
            Journal(tmp_path)
        holder.communicate("")
    Journal(tmp_path).close()


def test_a_damaged_journal_is_reported_and_left_alone(tmp_path):
    (tmp_path / ".genloom").mkdir()
    path = tmp_path / ".genloom" / "journal.db"
    path.write_bytes(b"this is not a database at all" * 100)
    with pytest.raises(OutputError, match="damaged"):
        Journal(tmp_path)
    assert path.read_bytes().startswith(b"this is not")


def test_a_journal_of_another_version_is_refused_and_left_as_it_is(tmp_path):
    with Journal(tmp_path) as journal:
        journal._database.execute("UPDATE meta SET value = '99' WHERE key = 'version'")
        journal._database.execute("DROP INDEX standing_files")
    with pytest.raises(OutputError, match="another version"):
        Journal(tmp_path)
    with contextlib.closing(sqlite3.connect(tmp_path / ".genloom/journal.db")) as database:
        names = [name for (name,) in database.execute("SELECT name FROM sqlite_master")]
    assert "units" in names and "standing_files" not in names


def test_an_output_folder_that_cannot_be_made_is_reported(tmp_path):
    (tmp_path / "file").write_text("x")
    with pytest.raises(OutputError, match="cannot be written"):
        Journal(tmp_path / "file" / "out")


def test_a_signature_of_a_vanished_file_differs_from_every_real_one(tmp_path):
    assert Signature.of(Item(key="k", name="k", source=tmp_path / "gone")).size == -1
    assert Signature.of(Item(key="k", name="k")) == Signature("k")


def test_a_journal_with_other_tables_is_reported_as_damaged(tmp_path):
    with Journal(tmp_path) as journal:
        journal._database.execute("DROP TABLE units")
        journal._database.execute("CREATE TABLE units (a)")
    with Journal(tmp_path) as journal, pytest.raises(OutputError, match="is damaged"):
        journal.unit("0/a.png")


def test_a_full_disk_is_reported_and_what_was_recorded_stays(tmp_path):
    with Journal(tmp_path) as journal:
        journal.record([("0/a.png", record(), [])])
        pages = journal._database.execute("PRAGMA page_count").fetchone()[0]
        journal._database.execute(f"PRAGMA max_page_count = {pages}")
        with pytest.raises(OutputError, match=r"cannot be used.*full"):
            journal.record([(f"0/{n}.png", record(reason="x" * 999), []) for n in range(99)])
        assert journal.unit("0/a.png") == record()
        assert journal.unit("0/0.png") is None
        journal._database.execute("PRAGMA max_page_count = 9999")
        journal.record([("0/b.png", record(), [])])


def test_whatever_lies_among_the_temporary_files_is_cleared(tmp_path):
    with Journal(tmp_path) as journal:
        (journal.temporary / "folder/deep").mkdir(parents=True)
        (journal.temporary / "file").touch()
        journal.clear_temporary()
        assert list(journal.temporary.iterdir()) == []


def test_many_owners_are_found_as_each_by_itself(tmp_path):
    odd = os.fsdecode(b"Caf\xe9.png")  # no text in any encoding
    paths = ["A.png", odd, "stra\N{LATIN SMALL LETTER SHARP S}e.png"]
    with Journal(tmp_path) as journal:
        journal.claim([FileRecord(path, f"unit of {path}", 1, 2) for path in paths])
        asked = ["a.PNG", odd, "STRASSE.png", "nobody's.png"]
        found = journal.owners(asked)
        assert found == {
            path.casefold(): journal.file(path) for path in asked if journal.file(path)
        }
        assert len(found) == len(paths)
