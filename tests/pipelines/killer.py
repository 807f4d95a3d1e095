"""Run genloom and kill it at a chosen instant, as a power cut would.

python killer.py PLACE COUNT ARGUMENTS…: SIGKILL at the COUNT-th time that PLACE is reached.
Results are committed in small groups, so that a fast machine does not finish before it is killed.
"""

import itertools
import os
import signal
import sys
from pathlib import Path

from genloom import imaging
from genloom.engine import commit, execute, model
from genloom.engine.journal import Journal

PLACES = {
    "decoding": (imaging, "read"),
    "computing": (model.CompiledModel, "image"),
    "writing": (imaging, "write"),
    "syncing": (commit, "_sync"),
    "claiming": (Journal, "claim"),
    "renaming": (os, "replace"),
    "recording": (Journal, "record"),
}


def arm(place: str, count: int) -> None:
    """Make the COUNT-th call at a place its last: half of them die before it, half after."""
    owner, name = PLACES[place]
    original = getattr(owner, name)
    calls = itertools.count(1)

    def deadly(*args: object, **kwargs: object) -> object:
        number = next(calls)  # each thread has its own, or calls that overlap would miss the one
        if number == count and count % 2:
            _die(place, args)
        result = original(*args, **kwargs)
        if number == count:
            _die(place, args)
        return result

    setattr(owner, name, deadly)


def _die(place: str, args: tuple[object, ...]) -> None:
    if place == "writing":  # half a file is on the disk
        path = Path(str(args[0]))
        if path.exists():
            os.truncate(path, path.stat().st_size // 2)
        else:
            path.write_bytes(b"half a pic")
    os.kill(os.getpid(), signal.SIGKILL)


if __name__ == "__main__":
    execute.GROUP_FILES = 3
    arm(sys.argv[1], int(sys.argv[2]))
    sys.argv = ["genloom", *sys.argv[3:]]
    from genloom.cli import main

    main()
