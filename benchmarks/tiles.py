"""What a tile of each size costs: memory of the process, and processor time for what is kept of it.

    python benchmarks/tiles.py [--models upscale-x2 …] [--providers cpu openvino] [--threads 1]
                               [--sides 512 768 1024 1536] [--rounds 1] [--precision auto]

Each measurement is a process of its own: the model is compiled as a run compiles it, computes a
small picture and then `--rounds` tiles of noise. Printed are the largest resident set, what of it
came with the tile, and seconds of processor time for a megapixel of a large picture, margins
computed over again included; the last as a ratio to the largest side's.

Needs: pip install 'genloom[cpu]', or genloom[openvino]
"""

from __future__ import annotations

import argparse
import json
import resource
import subprocess
import sys
import time

import numpy as np

MODELS = ["upscale-x2", "upscale-x4", "denoise-photo"]
SMALL = 256


def main() -> None:
    """Print a table for each model and provider, or, as its own child, one measurement."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument(
        "--models", nargs="+", default=["upscale-x2", "upscale-x4", "denoise-photo"]
    )
    parser.add_argument("--providers", nargs="+", default=["cpu", "openvino"])
    parser.add_argument("--sides", type=int, nargs="+", default=[512, 768, 1024, 1536])
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--rounds", type=int, default=1)
    parser.add_argument("--precision", default="auto")
    parser.add_argument("--child", action="store_true", help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.child:
        print(json.dumps(measured(options)))
        return
    for model in options.models:
        for provider in options.providers:
            table(options, model, provider)


def table(options: argparse.Namespace, model: str, provider: str) -> None:
    """All sides for one model, on one provider."""
    print(f"\n{model}, {provider}, threads: {options.threads}")
    print("  side   MiB in all   MiB of the tile   bytes a pixel   CPU s a megapixel   ratio")
    rows = [(side, one(options, model, provider, side)) for side in sorted(options.sides)]
    base = rows[-1][1]["seconds"]
    for side, row in rows:
        own = row["peak"] - row["before"]
        print(
            f"{side:>6} {row['peak'] / 2**20:>12.0f} {own / 2**20:>17.0f}"
            f" {own / side**2:>15.0f} {row['seconds']:>19.2f} {row['seconds'] / base:>7.3f}",
            flush=True,
        )


def one(options: argparse.Namespace, model: str, provider: str, side: int) -> dict[str, float]:
    """One measurement, in a process of its own."""
    command = [
        *[sys.executable, __file__, "--child", "--models", model, "--providers", provider],
        *["--sides", side, "--threads", options.threads, "--rounds", options.rounds],
        *["--precision", options.precision],
    ]
    done = subprocess.run([*map(str, command)], check=True, stdout=subprocess.PIPE, text=True)
    return json.loads(done.stdout.splitlines()[-1])


def measured(options: argparse.Namespace) -> dict[str, float]:
    """Bytes resident before and at the peak, and CPU seconds for a kept megapixel."""
    import genloom
    from genloom.types import Batch, Item

    (side,) = options.sides
    model = genloom.open_model(
        options.models[0],
        provider=options.providers[0],
        threads=options.threads,
        precision=options.precision,
        tile=1_000_000,
    )
    levels = {"noise_level": np.full(1, 0.05, np.float32)}
    ports = {name: levels[name] for name in model.card.parts["network"].inputs if name in levels}
    noise = np.random.default_rng(0).integers(0, 256, (1, side, side, 3), np.uint8)

    def run(pixels: np.ndarray) -> None:
        batch = Batch.images([Item(key="0", name="0")], pixels)
        model.model.image("network", batch, rounded=True, **ports)

    run(noise[:, :SMALL, :SMALL].copy())
    before = resident()
    started = time.process_time()
    for _ in range(options.rounds):
        run(noise)
    seconds = (time.process_time() - started) / options.rounds
    kept = side - 2 * (int(model.card.receptive_field) // 2)
    return {"before": before, "peak": resident(), "seconds": seconds * 1e6 / kept**2}


def resident() -> int:
    """Largest resident set of this process so far, in bytes."""
    unit = 1 if sys.platform == "darwin" else 1024
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * unit


if __name__ == "__main__":
    main()
