"""How well genloom denoises photographs it never saw, beside what people use without a network.

    python benchmarks/denoise.py [--photos FOLDER] [--crop 256] [--sheets FOLDER]

The middle of every photograph (unless another folder is named, the six of the demo) gets Gaussian
noise from a fixed seed, clipped to 8 bits as a file would be. Every method is told σ; `(auto)` is
genloom without being told. It is `genloom eval`, with CBM3D where the package `bm3d` is installed,
and the wavelet where scikit-image and PyWavelets are. Speed ratios are taken of each picture, both
methods one after the other, and their median counts.
"""

import argparse
from pathlib import Path

import numpy as np

from genloom.catalog import Catalog
from genloom_train.evaluation.restoration import RestorationRequest, measure

PEERS = ("non-local means", "wavelet", "CBM3D")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--photos", type=Path)
    parser.add_argument("--crop", type=int, default=256)
    parser.add_argument("--model", default="denoise-photo")
    parser.add_argument("--sigma", type=float, action="append")
    parser.add_argument("--sheets", type=Path)
    parser.add_argument("--ensemble", type=int, default=1, choices=(1, 2, 4, 8))
    parser.add_argument("--threads", type=int, default=0)
    options = parser.parse_args()
    request = RestorationRequest(
        model=options.model,
        data=options.photos,
        crop=options.crop,
        sigma=tuple(options.sigma or ()),
        sheets=options.sheets,
        ensemble=options.ensemble,
        threads=options.threads,
    )
    found = measure(request, Catalog.load())
    print(found.table(), "\n")
    name = found.about["model"]
    for condition in found.conditions:
        own = found.row(condition.name, name)
        for row in found.rows:
            if row.condition == condition and row.method in PEERS:
                print(f"{condition.name}: {compared(own, row)}")


def compared(own, peer) -> str:
    better = np.subtract(own.values("psnr"), peer.values("psnr"))
    faster = np.divide(peer.values("ms"), own.values("ms"))
    return (
        f"genloom beats {peer.method} by {better.mean():+.2f} dB ({better.min():+.2f} to "
        f"{better.max():+.2f}), at {np.median(faster):.3g} times its speed"
    )


if __name__ == "__main__":
    main()
