"""Pictures a second, folder to folder: genloom beside the loop people write by hand.

    python benchmarks/folder.py [--pictures 120] [--rounds 5] [--model denoise-photo]

Both read the same noisy PNG files of 480×320 (made from the demo's photographs), run the same
graph at the same noise level on the CPU and write PNG. Whole processes are timed, start-up
included, in turns; the ratio is taken pair by pair. The results are compared: they must be equal
to within one 8-bit step.
"""

import argparse
import sys
import tempfile
from pathlib import Path

import numpy as np
from beside import in_turns, largest_difference, report
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
        times = in_turns(commands, work, options.rounds)
        difference = largest_difference(work / "loop", work / "genloom")
    report(f"480×320, {options.model}", options.pictures, times, difference)


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


if __name__ == "__main__":
    main()
