"""How well genloom enlarges photographs it never saw, beside bicubic and Lanczos.

    python benchmarks/upscale.py [MODEL ...] [--photos FOLDER] [--crop N] [--sheets FOLDER]

Every photograph (unless another folder is named, the six of the demo), or its middle with --crop,
is reduced with Pillow's antialiased bicubic filter and enlarged again. Of two models with one scale
the second is compared with the first: what PSNR a GAN costs, how much nearer to the true pictures
its gradients are, and whether it draws a checkerboard (1 is none; docs/evaluation.md).
"""

import argparse
import itertools
from pathlib import Path

import numpy as np

import genloom
from genloom.catalog import Catalog
from genloom_train.evaluation.restoration import RestorationRequest, measure

MODELS = ("upscale-x2", "upscale-x4", "upscale-x4-gan")
WORDS = {
    "psnr": "PSNR, dB",
    "lpips": "LPIPS",
    "gradient_distance": "distance of gradients",
    "checkerboard": "checkerboard",
}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("models", nargs="*", default=MODELS)
    parser.add_argument("--photos", type=Path)
    parser.add_argument("--crop", type=int)
    parser.add_argument("--sheets", type=Path)
    parser.add_argument("--threads", type=int, default=0)
    options = parser.parse_args()
    catalog = Catalog.load()
    own = {}
    for model in options.models:
        request = RestorationRequest(
            model=model,
            data=options.photos,
            crop=options.crop,
            sheets=options.sheets and options.sheets / Path(model).name,
            threads=options.threads,
        )
        found = measure(request, catalog)
        (condition,) = found.conditions
        name = found.about["model"]
        row = found.row(condition.name, name)
        own[name] = genloom.open_model(model, catalog=catalog).card.scale, row
        print(f"{name}: {found.table()}")
        for peer in ("bicubic", "Lanczos"):
            better = np.subtract(row.values("psnr"), found.row(condition.name, peer).values("psnr"))
            print(f"{better.mean():+.2f} dB ({better.min():+.2f} to {better.max():+.2f}) to {peer}")
        print()
    for (one, (scale, first)), (other, (same, second)) in itertools.combinations(own.items(), 2):
        if scale == same:
            print(f"{other} beside {one}:")
            compare(first, second)


def compare(first, second) -> None:
    before, after = first.means(), second.means()
    for name, words in WORDS.items():
        if name in before:
            change = after[name] - before[name]
            print(f"  {words:<22} {before[name]:8.3f} → {after[name]:8.3f}  ({change:+.3f})")


if __name__ == "__main__":
    main()
