"""How many pictures a second genloom trains on, by precision and memory layout.

    python benchmarks/training.py [--device cpu] [--threads 2] [--windows 7] [--compile]

The dense and the convolutional variational autoencoder of the recipes that ship, on synthetic 28×28
pictures, through the hall's own loop: batches prepared in a second thread, seeds, learning rate,
average of weights, fused Adam. Every setting gets a window of so many seconds in turn, many times,
so that whatever else the machine does falls on all of them; the median window counts, and its
ratio to 32 bits. The first window of each is thrown away.
"""

import argparse
import statistics
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path

import torch

from genloom_train.batches import batches_of
from genloom_train.data import Opening
from genloom_train.data.synthetic import Synthetic
from genloom_train.devices import fabric
from genloom_train.loop import Trainer
from genloom_train.options import TrainOptions
from genloom_train.origin import device_in_words
from genloom_vae import VaeConfig
from genloom_vae.training import VaeTraining

MODELS = {
    "dense": (VaeConfig(network="dense", latent=16, widths=(400, 128)), 128),
    "convolutional": (VaeConfig(network="convolutional", latent=16, widths=(32, 64, 64)), 100),
}
SETTINGS = {
    "fp32": {},
    "channels-last": {"channels_last": True},
    "bf16-mixed": {"precision": "bf16-mixed"},
    "both": {"precision": "bf16-mixed", "channels_last": True},
}
COMPILED = {
    "compiled": {"compile": True},
    "both, compiled": {"precision": "bf16-mixed", "channels_last": True, "compile": True},
}
DONE = 1_000_000
"""Steps the schedule is for; the windows end long before."""


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--device", default="auto", choices=("auto", "cpu", "cuda"))
    parser.add_argument("--threads", type=int, default=0)
    parser.add_argument("--windows", type=int, default=7)
    parser.add_argument("--seconds", type=float, default=2.0)
    parser.add_argument("--compile", action="store_true", help="also with torch.compile")
    parser.add_argument("--models", nargs="+", default=list(MODELS), choices=list(MODELS))
    options = parser.parse_args()
    settings = {**SETTINGS, **(COMPILED if options.compile else {})}
    if options.threads:
        torch.set_num_threads(options.threads)
    source = Synthetic(count=2000).open(Opening())
    where = fabric(options.device, "32-true").device
    print(f"torch {torch.__version__}, {device_in_words(where)}")
    for name in options.models:
        config, batch = MODELS[name]
        with tempfile.TemporaryDirectory() as folder:
            runs = {}
            for setting, changes in settings.items():
                train = TrainOptions(steps=DONE, batch=batch, warmup=200, clip=500, ema=0.999,
                                     **changes)  # fmt: skip
                runs[setting] = steps_of(
                    Trainer(
                        VaeTraining(config, source.shape, source.labels),
                        source,
                        train,
                        fabric(options.device, train.precision),
                        Path(folder),
                    ),
                )
            rates = measure(runs, options.windows, options.seconds)
        show(f"{name} VAE, batch {batch}", {key: [r * batch for r in rates[key]] for key in rates})


def steps_of(trainer: Trainer) -> Iterator[None]:
    """One training step for each time it is asked."""
    for batch in batches_of(trainer):
        trainer.advance(batch)
        yield


def measure(runs: dict, windows: int, seconds: float) -> dict[str, list[float]]:
    """Steps a second of each run in each window but the first."""
    rates: dict[str, list[float]] = {name: [] for name in runs}
    for _ in range(windows + 1):
        for name, run in runs.items():
            rates[name].append(window(run, seconds))
    return {name: found[1:] for name, found in rates.items()}


def window(run: Iterator[None], seconds: float) -> float:
    started, steps = time.perf_counter(), 0
    while time.perf_counter() - started < seconds:
        next(run)
        steps += 1
    if torch.cuda.is_available():
        torch.cuda.synchronize()
    return steps / (time.perf_counter() - started)


def show(title: str, rates: dict[str, list[float]]) -> None:
    print(f"\n{title:<32}{'samples/s':>12}{'to fp32':>10}{'spread':>18}")
    plain = statistics.median(rates["fp32"])
    for name, found in rates.items():
        middle = statistics.median(found)
        spread = f"{min(found):.0f} to {max(found):.0f}"
        print(f"  {name:<30}{middle:>12.0f}{middle / plain:>10.2f}{spread:>18}")


if __name__ == "__main__":
    main()
