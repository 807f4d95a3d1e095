"""How fast a finished run is found finished, and in how much memory. Measures genloom only.

    python benchmarks/journal.py [--counts 20000 200000] [--kinds files samples]

Makes the folders and the journal of a run that is done, without the run: empty files in folders
of a thousand, or pictures drawn from a model's prior. Then times `genloom run`, which has
nothing to do but find that out, and `genloom status`, as whole processes, start-up included. Items
a second are those of CPU time, which other work on the machine changes less than the clock's.
Of files, `bare` is what no tool can do without: a process that reads the names in all folders and
looks at size and time of each file, once.
"""

import argparse
import itertools
import json
import multiprocessing
import os
import subprocess
import sys
import tempfile
import time
from pathlib import Path

BARE = """
import os, sys
for folder in os.scandir(sys.argv[1]):
    for entry in os.scandir(folder):
        os.stat(entry.path)
"""

GENLOOM = [sys.executable, "-c", "from genloom.cli import main; main()"]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--counts", type=int, nargs="+", default=[20_000, 200_000])
    parser.add_argument("--kinds", nargs="+", default=["files", "samples"])
    options = parser.parse_args()
    rows = []
    for kind, count in itertools.product(options.kinds, options.counts):
        with tempfile.TemporaryDirectory() as name:
            rows += measure(kind, count, Path(name))
    print(json.dumps(rows))


def measure(kind: str, count: int, work: Path) -> list[dict]:
    pipeline, inputs, out = work / "pipeline.yaml", [], work / "out"
    if kind == "files":
        stages, inputs = "[load, save]", [str(work / "in")]
        for index in range(count):
            path = work / f"in/{index // 1000:04d}/{index:07d}.png"
            if index % 1000 == 0:
                path.parent.mkdir(parents=True)
            path.touch()
    else:
        stages = f"[sample: {{model: fashion-vae, count: {count}}}, decode, save]"
    pipeline.write_text(f"genloom: 1\nstages: {stages}\n")
    # In a process of its own: the peak of a process begins with what its parent holds.
    making = multiprocessing.get_context("spawn").Process(
        target=finish, args=(pipeline, inputs, out)
    )
    making.start()
    making.join()
    commands = {"run": [str(pipeline), *inputs, "-o", str(out), "-q"], "status": [str(out)]}
    started = {name: [*GENLOOM, name, *arguments] for name, arguments in commands.items()}
    if inputs:
        started = {"bare": [sys.executable, "-c", BARE, *inputs], **started}
    rows = []
    for command, arguments in started.items():
        row = {"kind": kind, "count": count, "command": command}
        row |= timed(arguments)
        if row["ok"]:
            rate = count / row["cpu"]
            print(
                f"{kind:<8}{count:>9}  {command:<7}{row['seconds']:7.1f} s "
                f"{row['cpu']:7.1f} s of CPU {rate:8.0f} items/s {row['peak_mb']:6.0f} MB",
                flush=True,
            )
            rows.append(row)
    return rows


def finish(pipeline: Path, inputs: list[str], out: Path) -> None:
    """Make the journal and the (empty) results of a run that is done."""
    from genloom import load_pipeline
    from genloom.engine.journal import Journal
    from genloom.engine.records import FileRecord, Signature, UnitRecord

    plan = load_pipeline(pipeline).plan(inputs, out)
    plan.out.mkdir()
    items = plan.sources()
    with Journal(plan.out) as journal:
        while batch := list(itertools.islice(items, 10_000)):
            units, files = [], []
            for item in batch:
                path = plan.out / f"{item.name}.png"
                path.parent.mkdir(exist_ok=True)
                path.touch()
                unit = item.place or item.key
                units.append((unit, UnitRecord("done", plan.digests[0], (Signature.of(item),)), []))
                files.append(FileRecord(f"{item.name}.png", unit, 0, path.stat().st_mtime_ns))
            journal.claim(files)
            journal.record(units)


def timed(command: list[str]) -> dict:
    started = time.perf_counter()
    process = subprocess.Popen(command, stdout=subprocess.DEVNULL)
    _, code, usage = os.wait4(process.pid, 0)
    process.returncode = code
    seconds = time.perf_counter() - started
    cpu = usage.ru_utime + usage.ru_stime
    return {"ok": code == 0, "seconds": seconds, "cpu": cpu, "peak_mb": usage.ru_maxrss / 1024}


if __name__ == "__main__":
    main()
