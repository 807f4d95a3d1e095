"""What a denoiser loses when it learns without clean pictures.

    python benchmarks/learning.py --data PHOTOGRAPHS [--steps 4000] [--out FOLDER]

Every photograph is reduced to 640 pixels and gets Gaussian noise twice, σ 25, clipped to 8 bits, in
files. Then the same network is trained three times for the same steps, with the recipes that ship:
on noisy pictures with clean targets, on pairs of noisy pictures (`denoise-pairs`), and on one noisy
picture of each (`denoise-noisy`). The table has the PSNR in dB on the demo's photographs, which are
in no training, at a quarter of the steps, at half of them and at the end, each a training of its
own: when the first row has converged, the others may be compared.
"""

import argparse
import tempfile
from pathlib import Path

import cv2
import numpy as np

from genloom.catalog import Catalog
from genloom_train.evaluation.restoration import RestorationRequest, measure
from genloom_train.hall import Request, run
from genloom_train.recipe import find_recipe, read_recipe

SIGMA, LONGEST = 25, 640
WAYS = {
    "clean targets": (
        "denoise-pairs",
        ["data.swap=false", "data.second=.clean.png", "model.error=rms", "train.batch=16"],
    ),
    "pairs of noisy pictures": ("denoise-pairs", []),
    "noisy pictures alone": ("denoise-noisy", []),
}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--data", type=Path, required=True)
    parser.add_argument("--steps", type=int, default=4000)
    parser.add_argument(
        "--out", type=Path, help="keep data and trainings here, and go on with them"
    )
    parser.add_argument("--threads", type=int, default=0)
    options = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        out = options.out or Path(folder)
        write(options.data, out / "pairs", out / "noisy")
        lengths = [options.steps // 4, options.steps // 2, options.steps]
        print(f"σ = {SIGMA}; PSNR in dB after {lengths} steps", flush=True)
        for words, (recipe, changes) in WAYS.items():
            cells = []
            for steps in lengths:
                bundle = train(recipe, changes, steps, words, out, options.threads)
                cells.append(f"{score(bundle, options.threads):6.2f}")
            print(f"{words:26}" + "  ".join(cells), flush=True)


def write(photographs: Path, pairs: Path, noisy: Path) -> None:
    """The photographs in files: clean, and noisy twice; and one noisy version by itself."""
    if pairs.is_dir():
        return
    pairs.mkdir(parents=True)
    noisy.mkdir()
    for index, path in enumerate(sorted(photographs.rglob("*"))):
        pixels = cv2.imread(str(path)) if path.is_file() else None
        if pixels is None:
            continue
        factor = min(1.0, LONGEST / max(pixels.shape[:2]))
        small = cv2.resize(pixels, None, fx=factor, fy=factor, interpolation=cv2.INTER_AREA)
        one, two = (add_noise(small, 10_000 * turn + index) for turn in (1, 2))
        for kind, picture in (("clean", small), ("first", one), ("second", two)):
            cv2.imwrite(str(pairs / f"{index:04d}.{kind}.png"), picture)
        cv2.imwrite(str(noisy / f"{index:04d}.png"), one)


def train(recipe: str, changes, steps: int, words: str, out: Path, threads: int) -> Path:
    """Train, or go on with what was begun; gives the bundle."""
    name = f"{words.replace(' ', '-')}-{steps}"
    overrides = [*changes, f"train.steps={steps}", f"export.name={name}"]
    catalog = Catalog.load()
    if not (out / name).is_dir():
        data = out / ("noisy" if recipe == "denoise-noisy" else "pairs")
        request = Request(out=out, resume=True, threads=threads, data=data)
        run(read_recipe(find_recipe(recipe), catalog, overrides), catalog, request)
    return out / name


def add_noise(pixels, seed: int):
    """Gaussian noise of σ = SIGMA, clipped to 8 bits as a file would be."""
    noise = np.random.default_rng(seed).normal(0, SIGMA, pixels.shape)
    return np.clip(np.round(pixels + noise), 0, 255).astype(np.uint8)


def score(bundle: Path, threads: int) -> float:
    """Mean PSNR in dB on the middles of the demo's photographs."""
    request = RestorationRequest(model=str(bundle), sigma=(SIGMA,), crop=256, threads=threads)
    found = measure(request, Catalog.load())
    return found.row(found.conditions[0].name, found.about["model"]).means()["psnr"]


if __name__ == "__main__":
    main()
