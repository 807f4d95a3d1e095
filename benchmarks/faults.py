"""What becomes of a folder when a run is killed, or the disk, an input or a model fails it.

    python benchmarks/faults.py [--kills 200] [--random 40] [--only kills disk …] [--seed 0]

Runs `genloom run denoise` over a folder of small pictures and kills it with SIGKILL: as a call of
a chosen place begins, as it ends, or a moment after it began; and at instants drawn at random. The
killed process leaves behind in which places its threads were. The same command is run again after
every kill; once it comes to its end, a new output folder is begun. After each kill:

- whatever stands in OUT is whole: its bytes are those of a run that was never disturbed;
- what the journal calls done stands there;
- what was done before this run was begun has not been touched since.

Then the other faults, each followed by the same command once the fault is mended: a full disk and
a read-only one (they need the right to mount), a file that vanishes, a model file that changes
during a run, and two runs into one folder. Exits with 1 if anything was lost.
"""

import argparse
import contextlib
import os
import random
import shutil
import signal
import sqlite3
import subprocess
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
from faulty import PLACES, standing
from PIL import Image

from genloom import models
from genloom.catalog import Catalog

HERE = Path(__file__).parent
PHOTOGRAPHS = HERE.parent / "core/genloom/demo/photographs"
PICTURES = 24
SIZE = 96, 64
SECONDS = 300
"""No run takes longer than this."""


@dataclass
class Room:
    """Where it all happens: the inputs, the results of a run in peace, and what went wrong."""

    work: Path
    wrong: list[str] = field(default_factory=list)

    @property
    def inputs(self) -> Path:
        """The folder of pictures."""
        return self.work / "in"

    @property
    def model(self) -> Path:
        """A bundle that may be spoilt."""
        return self.work / "model"

    def command(self, out: Path) -> list[str]:
        """What `genloom` is told."""
        chosen = ["--set", f"denoise.model={self.model}", "--set", "denoise.sigma=25"]
        settings = ["--provider", "cpu", "--threads", "1", "--workers", "2", "--batch", "4"]
        return ["run", "denoise", str(self.inputs), "-o", str(out), "-q", *chosen, *settings]

    def start(self, out: Path, place: str = "-", nth: int = 0, deed: str = "none"):
        """Begin a run that will be struck at a place."""
        program = [sys.executable, str(HERE / "faulty.py"), str(self.board), place, str(nth), deed]
        command = [*program, *self.command(out)]
        return subprocess.Popen(
            command, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True
        )

    def run(self, out: Path, place: str = "-", nth: int = 0, deed: str = "none"):
        """A run, struck at a place; gives its exit code and what it said."""
        with self.start(out, place, nth, deed) as process:
            said, _ = process.communicate(timeout=SECONDS)
        return process.returncode, said

    @property
    def board(self) -> Path:
        """Where a run leaves in which places it was."""
        return self.work / "board"

    def expect(self, holds: bool, what: str) -> None:
        """Note what does not hold."""
        if not holds:
            self.wrong.append(what)
            print(f"  WRONG: {what}", flush=True)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--kills", type=int, default=200)
    parser.add_argument("--random", type=int, default=40, help="kills at random instants, besides")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--only", nargs="+", choices=["kills", *FAULTS])
    options = parser.parse_args()
    wanted = options.only or ["kills", *FAULTS]
    with tempfile.TemporaryDirectory() as name:
        room = Room(Path(name))
        prepare(room)
        if "kills" in wanted:
            kills(room, options)
        for fault in (fault for fault in FAULTS if fault in wanted):
            print(f"{fault}:", flush=True)
            FAULTS[fault](room)
    print("nothing lost, nothing half-written" if not room.wrong else f"{len(room.wrong)} WRONG")
    sys.exit(bool(room.wrong))


def prepare(room: Room) -> None:
    """Pictures, a model of their own, and the results of a run that nothing disturbs."""
    chance = np.random.RandomState(0)
    for index, photograph in zip(range(PICTURES), _endless(PHOTOGRAPHS), strict=False):
        path = room.inputs / f"{'ab'[index % 2]}/{index:02d}.{('png', 'jpg')[index % 3 == 0]}"
        path.parent.mkdir(parents=True, exist_ok=True)
        with Image.open(photograph) as image:
            pixels = np.asarray(image.convert("RGB").resize(SIZE), np.float32)
        noisy = pixels + chance.normal(0, 25, pixels.shape)
        Image.fromarray(noisy.clip(0, 255).astype(np.uint8)).save(path)
    shutil.copytree(models.find("denoise-photo", Catalog.load()).folder, room.model)
    code, said = room.run(room.work / "straight")
    if code:
        raise SystemExit(f"the run in peace failed: {said}")


def _endless(folder: Path) -> Iterator[Path]:
    while True:
        yield from sorted(folder.glob("*.jpg"))


def results(out: Path) -> dict[str, Path]:
    """What a user sees in an output folder."""
    return {
        path.relative_to(out).as_posix(): path
        for path in out.rglob("*")
        if path.is_file() and ".genloom" not in path.parts
    }


def check_whole(room: Room, out: Path, when: str, lacking: int | None = None) -> None:
    """Whether every result equals that of the run in peace, and no more than some are lacking."""
    straight, found = results(room.work / "straight"), results(out)
    for name, path in found.items():
        known = straight.get(name)
        same = known is not None and known.read_bytes() == path.read_bytes()
        room.expect(same, f"{when}: {name} is not what it should be")
    if lacking is not None:
        gone = len(straight) - len(found)
        room.expect(gone == lacking, f"{when}: {gone} results are lacking and not {lacking}")


def committed(room: Room, out: Path) -> dict[str, tuple[int, int]]:
    """The files of what the journal calls done, by inode and time, read from a copy of it."""
    copy = room.work / "copy"
    shutil.rmtree(copy, ignore_errors=True)
    copy.mkdir()
    for path in (out / ".genloom").glob("journal.db*"):
        shutil.copyfile(path, copy / path.name)
    with contextlib.closing(sqlite3.connect(copy / "journal.db")) as database:
        if not database.execute("SELECT 1 FROM sqlite_master WHERE name = 'files'").fetchone():
            return {}  # killed while it was being made
        rows = database.execute(
            "SELECT path FROM files JOIN units USING (unit) WHERE state = 'done'"
        ).fetchall()
    found = {}
    for (name,) in rows:
        path = out / name
        room.expect(path.exists(), f"{name} is called done and is not there")
        if path.exists():
            found[name] = (path.stat().st_ino, path.stat().st_mtime_ns)
    return found


@dataclass
class Kills:
    """Kills one after the other, into one output folder until it is finished, then the next."""

    room: Room
    folders: int = 0
    done: dict[str, tuple[int, int]] = field(default_factory=dict)

    @property
    def out(self) -> Path:
        """The output folder of this turn."""
        return self.room.work / f"out-{self.folders}"

    def after(self, code: int, said: str, when: str) -> bool:
        """Look at what a run left; whether it was killed."""
        killed = code == -signal.SIGKILL
        self.room.expect(killed or code == 0, f"{when}: exit code {code}, {said.strip()[-300:]}")
        check_whole(self.room, self.out, when, lacking=None if killed else 0)
        now = committed(self.room, self.out)
        again = [name for name, file in self.done.items() if now.get(name) != file]
        self.room.expect(not again, f"{when}: done twice: {', '.join(again)}")
        self.done = now
        if not killed:
            left = list((self.out / ".genloom/tmp").iterdir())
            self.room.expect(not left, f"{when}: {len(left)} temporary files are left")
            shutil.rmtree(self.out)
            self.folders, self.done = self.folders + 1, {}
        return killed


def kills(room: Room, options: argparse.Namespace) -> None:
    chance, run = random.Random(options.seed), Kills(room)
    aimed, landed, instants = Counter(), Counter(), Counter()
    for turn in range(4 * options.kills):
        if sum(aimed.values()) >= options.kills:
            break
        place = list(PLACES)[turn % len(PLACES)]
        # Some places are met once for each group of four, the others once for each picture.
        nth = chance.randint(1, 3 if place in ("claiming", "recording") else 8)
        within = f"within:{chance.uniform(0, 0.004):.5f}"
        deed = chance.choice(["before", "after", within, within])
        code, said = room.run(run.out, place, nth, deed)
        if run.after(code, said, f"kill {sum(aimed.values()) + 1}, {place} {deed}"):
            aimed[place] += 1
            landed.update(_places(standing(room.board)))
    for turn in range(4 * options.random):
        if sum(instants.values()) >= options.random:
            break
        code, said = struck(room, run.out, chance.uniform(0.3, 2.0))
        if run.after(code, said, f"kill at random {turn + 1}"):
            instants["kills"] += 1
            landed.update(_places(standing(room.board)))
    code, said = room.run(run.out)
    run.after(code, said, "the last run")
    total = sum(aimed.values())
    print(f"{total} kills aimed at a place, {instants['kills']} at random instants")
    print(f"{run.folders} output folders of {PICTURES} pictures were finished")
    print(f"  {'':<12}{'aimed at':>10}{'in it when killed':>20}")
    for place in PLACES:
        print(f"  {place:<12}{aimed[place]:>10}{landed[place]:>20}")
    print(f"  {'elsewhere':<12}{'':>10}{landed['elsewhere']:>20}", flush=True)
    room.expect(total == options.kills, f"only {total} kills of {options.kills} landed")


def _places(inside: dict[str, int]) -> list[str]:
    """The places that threads were in; one kill may find several of them, or none."""
    return [place for place, count in inside.items() if count] or ["elsewhere"]


def struck(room: Room, out: Path, seconds: float) -> tuple[int, str]:
    """A run that is killed from without after so long."""
    room.board.write_bytes(bytes(4 * len(PLACES)))
    with room.start(out) as process:
        try:
            said, _ = process.communicate(timeout=seconds)
        except subprocess.TimeoutExpired:
            process.kill()
            said, _ = process.communicate()
    return process.returncode, said


@contextlib.contextmanager
def mounted(path: Path, options: str) -> Iterator[bool]:
    """A small disk; False where this process may not mount one."""
    path.mkdir()
    command = ["mount", "-t", "tmpfs", "-o", options, "tmpfs", str(path)]
    try:
        there = subprocess.run(command, capture_output=True).returncode == 0
    except OSError:
        there = False
    try:
        yield there
    finally:
        if there:
            subprocess.run(["umount", "-l", str(path)], check=True)


def remount(path: Path, options: str) -> None:
    subprocess.run(["mount", "-o", f"remount,{options}", str(path)], check=True)


def disk(room: Room) -> None:
    """A disk that fills while pictures are written, or while the journal is."""
    for kilobytes in (40, 64, 128, 200, 300, 400):
        with mounted(room.work / f"disk-{kilobytes}", f"size={kilobytes}k") as there:
            if not there:
                print("  not tried: no right to mount a disk")
                return
            out = room.work / f"disk-{kilobytes}/out"
            code, said = room.run(out)
            told(f"disk of {kilobytes} KB", code, said)
            said_so = "No space" in said or "full" in said
            room.expect(code in (1, 2) and said_so, "nothing was said of the disk")
            check_whole(room, out, f"disk of {kilobytes} KB")
            before = len(results(out))
            remount(out.parent, "size=16m")
            again(room, out, f"with room again, {before} done before")


def read_only(room: Room) -> None:
    """An output folder on a disk that takes nothing, from the start or before it is resumed."""
    with mounted(room.work / "sealed", "size=16m") as there:
        if not there:
            print("  not tried: no right to mount a disk")
            return
        out = room.work / "sealed/out"
        remount(out.parent, "ro")
        code, said = room.run(out)
        told("nothing there yet", code, said)
        room.expect(code == 2 and "Read-only" in said, "a read-only disk was not named")
        remount(out.parent, "rw")
        code, said = room.run(out, "recording", 2, "after")
        remount(out.parent, "ro")
        code, said = room.run(out)
        told("half of it there", code, said)
        room.expect(code == 2 and "read" in said.lower(), "a read-only disk was not named")
        check_whole(room, out, "read-only")
        remount(out.parent, "rw")
        again(room, out, "writable again")


def vanishing(room: Room) -> None:
    """A picture that is there when the run begins and gone when its turn comes.

    The first is of the folder that is at work: it is known by name. The second is of the next one,
    which may not have been entered yet: then only their number tells that it was there.
    """
    pictures = sorted(results(room.inputs).values())
    for picture in (pictures[PICTURES // 2 - 1], pictures[-1]):
        out, kept = room.work / f"without-{picture.stem}", room.work / f"kept-{picture.name}"
        shutil.copy2(picture, kept)
        code, said = room.run(out, "decoding", 1, f"remove:{picture}")
        told("vanished", code, said)
        named = code == 1 and picture.name in said
        counted = code == 0 and "1 of the 24 inputs" in said and picture == pictures[-1]
        room.expect(named or counted, "nothing was said of the picture")
        check_whole(room, out, "vanished", lacking=1)
        shutil.copy2(kept, picture)
        again(room, out, "there again")


def changing_model(room: Room) -> None:
    """A graph that becomes another, or half a one, while it is at work."""
    out, graph = room.work / "model-changes", room.model / "network.onnx"
    kept, broken = room.work / "kept.onnx", room.work / "broken.onnx"
    shutil.copy2(graph, kept)
    broken.write_bytes(graph.read_bytes()[: graph.stat().st_size // 2])
    code, said = room.run(out, "computing", 2, f"copy:{broken}:{graph}")
    told("changed", code, said)
    room.expect(code == 0 and "changed" in said, "nothing was said of the model")
    check_whole(room, out, "model changed", lacking=0)
    code, said = room.run(out)
    told("run again", code, said)
    room.expect(code == 2 and "is not the one" in said, "the damaged model was not refused")
    check_whole(room, out, "damaged model", lacking=0)
    shutil.copy2(kept, graph)
    again(room, out, "mended")


def two_runs(room: Room) -> None:
    """Two runs into one folder at once: one does it, the other is told so."""
    out = room.work / "two"
    # The one that has the folder is still at work when the other comes.
    slow = "computing", 1, "wait:5"
    with room.start(out, *slow) as one, room.start(out, *slow) as other:
        codes = {}
        for process in (one, other):
            said, _ = process.communicate(timeout=SECONDS)
            codes[process.returncode] = said
    told("the one that was refused", 2, codes.get(2, ""))
    unforeseen = "".join(said for code, said in codes.items() if code not in (0, 2))
    room.expect(set(codes) == {0, 2}, f"exit codes {list(codes)} {unforeseen}".rstrip())
    room.expect("another genloom run" in codes.get(2, ""), "the other run was not named")
    check_whole(room, out, "two runs", lacking=0)
    again(room, out, "once more")


def again(room: Room, out: Path, when: str) -> None:
    """The same command once more comes to the end, and touches nothing that was done."""
    before, started = committed(room, out), time.perf_counter()
    code, said = room.run(out)
    told(when, code, said)
    room.expect(code == 0, f"{when}: exit code {code} after {time.perf_counter() - started:.0f} s")
    check_whole(room, out, when, lacking=0)
    now = committed(room, out)
    room.expect(all(now.get(n) == file for n, file in before.items()), f"{when}: done twice")


def told(when: str, code: int, said: str) -> None:
    lines = [line for line in said.strip().splitlines() if line.strip()]
    first = " ".join(line.strip() for line in lines[:3])
    print(f"  {when}: exit code {code}; {first[:300]}", flush=True)


FAULTS: dict[str, Callable[[Room], None]] = {
    "disk": disk,
    "read-only": read_only,
    "vanishing": vanishing,
    "model": changing_model,
    "two": two_runs,
}

if __name__ == "__main__":
    os.environ.setdefault("OMP_NUM_THREADS", "1")
    main()
