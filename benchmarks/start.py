"""How soon the first picture is there, from the start of the command.

    python benchmarks/start.py [--rounds 7] [--imports 15]

Runs `genloom run denoise` on one small photograph, in turns with a process that imports nothing
but ONNX Runtime, Pillow and numpy, which any such tool needs. Prints the median time until the
result stands under its final name, until the process ends, and its CPU time; then which modules
take longest to import.
"""

import argparse
import os
import re
import shutil
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path

from PIL import Image

PHOTOGRAPH = Path(__file__).parent.parent / "core/genloom/demo/photographs/cat.jpg"
BARE = [sys.executable, "-c", "import onnxruntime, PIL.Image, numpy"]
GENLOOM = [sys.executable, "-m", "genloom"]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--rounds", type=int, default=7)
    parser.add_argument("--imports", type=int, default=15)
    options = parser.parse_args()
    with tempfile.TemporaryDirectory() as name:
        picture, out = Path(name) / "cat.png", Path(name) / "out"
        with Image.open(PHOTOGRAPH) as image:
            image.convert("RGB").resize((240, 160)).save(picture)
        command = [*GENLOOM, "run", "denoise", str(picture), "-o", str(out), "--provider", "cpu"]
        figures: dict[str, list[float]] = {}
        for turn in range(options.rounds + 1):
            shutil.rmtree(out, ignore_errors=True)
            began = time.time()
            wall, cpu = timed(command)
            there = (out / picture.name).stat().st_ctime - began  # of its renaming
            bare, bare_cpu = timed(BARE)
            row = {"there": there, "end": wall, "CPU": cpu, "bare": bare, "bare CPU": bare_cpu}
            row |= {"end / bare": wall / bare, "CPU / bare CPU": cpu / bare_cpu}
            for label, figure in row.items() if turn else ():  # the first round warms the disk
                figures.setdefault(label, []).append(figure)
        shutil.rmtree(out)
        imports(command, options.imports)
    print(f"one picture of 240×160 through denoise-photo, median of {options.rounds}:")
    for label, measured in figures.items():
        print(f"  {label:<16}{statistics.median(measured):7.2f}  (least {min(measured):.2f})")


def environment() -> dict[str, str]:
    """As users have it: modules are compiled once and kept."""
    return {name: text for name, text in os.environ.items() if name != "PYTHONDONTWRITEBYTECODE"}


def timed(command: list[str]) -> tuple[float, float]:
    """Seconds of a process, and of CPU."""
    began = time.perf_counter()
    process = subprocess.Popen(command, stdout=subprocess.DEVNULL, env=environment())
    _, code, usage = os.wait4(process.pid, 0)
    process.returncode = code
    if code:
        raise SystemExit(f"{command[:3]} ended with {code}")
    return time.perf_counter() - began, usage.ru_utime + usage.ru_stime


def imports(command: list[str], most: int) -> None:
    """Print what takes longest to import, each module without what it imports itself."""
    traced = [command[0], "-X", "importtime", *command[1:]]
    said = subprocess.run(traced, capture_output=True, text=True, check=True, env=environment())
    found = re.findall(r"import time: +([0-9]+) \| +([0-9]+) \|( +)(\S+)", said.stderr)
    own = sorted(((int(each), name) for each, _, _, name in found), reverse=True)
    packages: dict[str, int] = {}
    for microseconds, name in own:
        package = name.partition(".")[0]
        packages[package] = packages.get(package, 0) + microseconds
    print(f"{len(own)} modules, {sum(packages.values()) / 1000:.0f} ms of imports while traced:")
    for package, microseconds in sorted(packages.items(), key=lambda pair: -pair[1])[:most]:
        print(f"  {package:<24}{microseconds / 1000:8.1f} ms")


if __name__ == "__main__":
    main()
