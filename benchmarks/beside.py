"""Whole processes in turns, genloom beside a loop: for `folder.py`, `small.py` and `enlarge.py`."""

import json
import os
import statistics
import subprocess
import tempfile
import time
from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy as np
from PIL import Image

Command = Sequence[object]


def timed(command: Command, out: Path) -> float:
    """Seconds of a process that fills a folder from nothing, start-up included.

    Python keeps its bytecode beside the folder, as an installed program does, whatever this shell
    or the rights on its folders say. ONNX Runtime tells its makers nothing, as under genloom.
    What another filled before is moved aside: where thousands of files were just deleted, making
    new ones takes ext4 several times as long.
    """
    if out.exists():
        out.rename(tempfile.mkdtemp(prefix=f"{out.name}-", dir=out.parent))
    environment = os.environ | {"PYTHONPYCACHEPREFIX": str(out.parent / "bytecode")}
    environment.pop("PYTHONDONTWRITEBYTECODE", None)
    environment["ORT_DISABLE_TELEMETRY"] = "1"
    started = time.perf_counter()
    subprocess.run(
        [str(part) for part in command], check=True, stdout=subprocess.DEVNULL, env=environment
    )
    return time.perf_counter() - started


def in_turns(commands: Mapping[str, Command], work: Path, rounds: int) -> dict[str, list[float]]:
    """Seconds of each process in each round; each fills the folder of its name in `work`.

    One more round before them warms the disk and does not count, unless one is all there is.
    """
    times: dict[str, list[float]] = {peer: [] for peer in commands}
    for turn in range(rounds + (rounds > 1)):
        for peer, command in commands.items():
            seconds = timed(command, work / peer)
            if turn or rounds == 1:
                times[peer].append(seconds)
    return times


def largest_difference(one: Path, other: Path) -> int:
    """Between the PNG files of two folders, in 8-bit steps."""
    worst = 0
    for path in sorted(one.glob("*.png")):
        with Image.open(path) as a, Image.open(other / path.name) as b:
            worst = max(worst, int(np.abs(np.asarray(a, int) - np.asarray(b, int)).max()))
    return worst


def report(what: str, pictures: int, times: Mapping[str, list[float]], difference: int) -> None:
    """Print the rates of `loop` and `genloom`, and their ratio pair by pair."""
    ratios = [a / b for a, b in zip(times["loop"], times["genloom"], strict=True)]
    rates = {name: pictures / statistics.median(found) for name, found in times.items()}
    print(f"{pictures} pictures of {what}, {len(ratios)} rounds")
    for name, rate in rates.items():
        print(f"  {name:<8}{rate:9.2f} pictures/s")
    print(f"  genloom / loop: median {statistics.median(ratios):.2f}, ", end="")
    print(f"from {min(ratios):.2f} to {max(ratios):.2f}")
    print(f"  largest difference between the results: {difference} of 255")
    print(json.dumps({"rates": rates, "ratios": ratios, "difference": difference}))
