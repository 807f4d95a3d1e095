"""`genloom run` as it is, told where it stands, and struck at a chosen instant. See `faults.py`.

    python benchmarks/faulty.py BOARD PLACE COUNT DEED GENLOOM-ARGUMENTS…

BOARD is a file of one number for each place of `PLACES`: how many threads are in it, at every
instant, after a kill too. At the COUNT-th time that PLACE is entered the DEED is done:

    none             nothing
    before, after    SIGKILL as the call begins, or as it has ended but nobody knows
    half             the same, and half is lost of the file that the call was given first
    within:SECONDS   SIGKILL that long after it has begun, wherever the process is by then
    wait:SECONDS     the call takes that much longer
    remove:PATH      a file vanishes
    copy:FROM:PATH   a file gets other bytes, under the same name

Results are committed in groups of four, so that there is more than one group to be struck in.
"""

import itertools
import mmap
import os
import shutil
import signal
import struct
import sys
import threading
import time
from pathlib import Path

from genloom import imaging
from genloom.engine import commit, execute, model, syncing
from genloom.engine.journal import Journal

PLACES = {
    "decoding": (imaging, "read"),
    "computing": (model.CompiledModel, "image"),
    "writing": (imaging, "write"),
    "syncing": (syncing, "_sync"),
    "claiming": (Journal, "claim"),
    "renaming": (commit.Committer, "_place"),
    "recording": (Journal, "record"),
}
NUMBER = struct.Struct("<i")


def watch(board: mmap.mmap, aimed: str, nth: int, deed: str) -> None:
    """Put a watch on every place, and the deed on one."""
    lock = threading.Lock()

    def step(index: int, change: int) -> None:
        with lock:
            (inside,) = NUMBER.unpack_from(board, index * NUMBER.size)
            NUMBER.pack_into(board, index * NUMBER.size, inside + change)

    def watched(place: str, index: int, original):
        calls = itertools.count(1)

        def call(*args, **kwargs):
            step(index, 1)
            try:
                struck = next(calls) == nth and place == aimed
                late = deed in ("after", "half")
                if struck and not late:
                    do(deed)
                result = original(*args, **kwargs)
                if struck and late:
                    if deed == "half":
                        os.truncate(args[0], os.stat(args[0]).st_size // 2)
                    kill()
                return result
            finally:
                step(index, -1)

        return call

    for index, (place, (owner, name)) in enumerate(PLACES.items()):
        setattr(owner, name, watched(place, index, getattr(owner, name)))


def do(deed: str) -> None:
    verb, *objects = deed.split(":")
    if verb == "before":
        kill()
    elif verb == "within":
        threading.Thread(target=lambda: (time.sleep(float(objects[0])), kill())).start()
    elif verb == "wait":
        time.sleep(float(objects[0]))
    elif verb == "remove":
        Path(objects[0]).unlink(missing_ok=True)
    elif verb == "copy":
        shutil.copyfile(*objects)


def kill() -> None:
    os.kill(os.getpid(), signal.SIGKILL)


def standing(path: Path) -> dict[str, int]:
    """How many threads were in each place when the process ended."""
    numbers = NUMBER.iter_unpack(path.read_bytes())
    return dict(zip(PLACES, (number for (number,) in numbers), strict=True))


def main() -> None:
    path, place, nth, deed, *arguments = sys.argv[1:]
    size = NUMBER.size * len(PLACES)
    # Never truncated, as another run that was begun at the same moment may have it mapped.
    with open(os.open(path, os.O_RDWR | os.O_CREAT), "r+b") as file:
        file.write(bytes(size))
        file.flush()
        watch(mmap.mmap(file.fileno(), size), place, int(nth), deed)
    execute.GROUP_FILES = 4
    sys.argv = ["genloom", *arguments]
    from genloom.cli import main as genloom

    genloom()


if __name__ == "__main__":
    main()
