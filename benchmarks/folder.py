"""Pictures a second, folder to folder: genloom beside the loop people write by hand.

    python benchmarks/folder.py [--pictures 120] [--rounds 5] [--model denoise-photo]

Both read the same noisy PNG files of 480×320 (made from the demo's photographs), run the same
graph at the same noise level on the CPU and write PNG. Whole processes are timed, start-up
included, in turns; the ratio is taken pair by pair. The results are compared: they must be equal
to within one 8-bit step.
"""

import argparse
import json
import shutil
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import numpy as np
from PIL import Image

from genloom import models
from genloom.catalog import Catalog

HERE = Path(__file__).parent
PHOTOGRAPHS = HERE.parent / "core/genloom/demo/photographs"
SIGMA = 25


def main() -> None:
    options = _arguments()
    bundle = models.find(options.model, Catalog.load())
    graph = bundle.folder / bundle.card.parts["network"].file
    with tempfile.TemporaryDirectory() as name:
        work = Path(name)
        make_pictures(work / "in", options.pictures)
        commands = {
            "loop": [
                sys.executable,
                HERE / "peers/loop.py",
                graph,
                work / "in",
                work / "loop",
                SIGMA,
            ],
            "genloom": [
                *[sys.executable, "-c", "from genloom.cli import main; main()"],
                *["run", "denoise", work / "in", "-o", work / "genloom", "--quiet"],
                *["--provider", "cpu", "--set", f"denoise.model={bundle.folder}"],
                *["--set", f"denoise.sigma={SIGMA}"],
            ],
        }
        times: dict[str, list[float]] = {"loop": [], "genloom": []}
        for turn in range(options.rounds + 1):
            for peer, command in commands.items():
                seconds = timed(command, work / peer)
                if turn:  # the first round warms the disk and is not counted
                    times[peer].append(seconds)
        difference = largest_difference(work / "loop", work / "genloom")
    report(options, times, difference)


def _arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--pictures", type=int, default=120)
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--model", default="denoise-photo")
    return parser.parse_args()


def make_pictures(folder: Path, count: int) -> None:
    """Noisy photographs of 480×320 as PNG; the noise comes from a fixed seed."""
    folder.mkdir()
    random = np.random.RandomState(0)
    sources = sorted(PHOTOGRAPHS.glob("*.jpg"))
    for index in range(count):
        with Image.open(sources[index % len(sources)]) as image:
            pixels = np.asarray(image.convert("RGB").resize((480, 320)), np.float32)
        noisy = np.clip(pixels + random.normal(0, SIGMA, pixels.shape), 0, 255) + 0.5
        Image.fromarray(noisy.astype(np.uint8)).save(folder / f"{index:04d}.png")


def timed(command: list[object], out: Path) -> float:
    shutil.rmtree(out, ignore_errors=True)
    started = time.perf_counter()
    subprocess.run([str(part) for part in command], check=True, stdout=subprocess.DEVNULL)
    return time.perf_counter() - started


def largest_difference(one: Path, other: Path) -> int:
    worst = 0
    for path in sorted(one.glob("*.png")):
        with Image.open(path) as a, Image.open(other / path.name) as b:
            worst = max(worst, int(np.abs(np.asarray(a, int) - np.asarray(b, int)).max()))
    return worst


def report(options: argparse.Namespace, times: dict[str, list[float]], difference: int) -> None:
    ratios = [a / b for a, b in zip(times["loop"], times["genloom"], strict=True)]
    rates = {name: options.pictures / statistics.median(t) for name, t in times.items()}
    print(f"{options.pictures} pictures of 480×320, {options.model}, {options.rounds} rounds")
    print(f"  loop (Pillow, ONNX Runtime, Pillow): {rates['loop']:6.2f} pictures/s")
    print(f"  genloom:                             {rates['genloom']:6.2f} pictures/s")
    print(f"  genloom / loop: median {statistics.median(ratios):.2f}, ", end="")
    print(f"from {min(ratios):.2f} to {max(ratios):.2f}")
    print(f"  largest difference between the results: {difference} of 255")
    print(json.dumps({"rates": rates, "ratios": ratios, "difference": difference}))


if __name__ == "__main__":
    main()
