"""Resident memory while many pictures go through a network: it must not grow with their number.

    python benchmarks/memory.py [--pictures 10000] [--after 500] [--data FASHION-MNIST]

Runs the pipeline `reconstruct` over small pictures (see `small.py`) in a process of its own, and
prints what that process holds after the first 500 are done and at the end of all, and at the most.
Exits with 1 if the end is more than 5 % above the first.
"""

import argparse
import multiprocessing
import os
import sys
import tempfile
from multiprocessing.connection import Connection
from pathlib import Path

from small import make_pictures

from genloom import load_pipeline

MOST = 1.05
PAGE = os.sysconf("SC_PAGE_SIZE")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--pictures", type=int, default=10_000)
    parser.add_argument("--after", type=int, default=500)
    parser.add_argument("--data", type=Path)
    options = parser.parse_args()
    with tempfile.TemporaryDirectory() as name:
        work = Path(name)
        make_pictures(work / "in", options.pictures, options.data)
        context = multiprocessing.get_context("spawn")
        ours, theirs = context.Pipe()
        arguments = (work / "in", work / "out", options.after, theirs)
        process = context.Process(target=measure, args=arguments)
        process.start()
        theirs.close()
        early, end, peak, done = ours.recv()
        process.join()
    print(f"{done} pictures of 28×28 through fashion-vae")
    print(f"  after {options.after}: {early / 2**20:.1f} MiB resident")
    print(f"  at the end: {end / 2**20:.1f} MiB, {end / early:.3f} times as much")
    print(f"  at the most from then on: {peak / 2**20:.1f} MiB, {peak / early:.3f} times as much")
    sys.exit(done != options.pictures or end > MOST * early)


def measure(inputs: Path, out: Path, after: int, pipe: Connection) -> None:
    """Run, and send what was resident after some pictures, at the end and at the most between."""
    seen, early, peak = 0, 0, 0

    def observe(event: dict) -> None:
        nonlocal seen, early, peak
        if event["event"] != "item":
            return
        seen += 1
        if seen >= after:
            now = resident()
            early, peak = early or now, max(peak, now)

    report = load_pipeline("reconstruct").run(inputs, out, observe=observe, provider="cpu")
    pipe.send((early, resident(), peak, report.done))


def resident() -> int:
    """Bytes of this process that are in memory."""
    return int(Path("/proc/self/statm").read_text().split()[1]) * PAGE


if __name__ == "__main__":
    main()
