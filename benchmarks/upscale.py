"""How well genloom enlarges photographs it never saw, beside bicubic and Lanczos.

    python benchmarks/upscale.py [MODEL ...] [--photos FOLDER] [--crop N] [--sheets FOLDER]
        [--places FILE]

Every photograph (unless another folder is named, the six of the demo), or its middle with --crop,
is reduced with Pillow's antialiased bicubic filter and enlarged again. Of two models with one scale
the second is compared with the first: what PSNR a GAN costs, how much nearer to the true pictures
its gradients are, and whether it draws a checkerboard or dotted lines (1 is none;
docs/evaluation.md).

--places writes one sheet for all models of the first one's scale: of each photograph the place
where they draw most detail that the true picture has not, enlarged three times, a column for each
model and the last for the true picture. So several trainings are judged at a glance.
"""

import argparse
import itertools
from pathlib import Path

import numpy as np
import torch
from PIL import Image

import genloom
from genloom import imaging
from genloom.catalog import Catalog
from genloom.demo import PHOTOGRAPHS
from genloom_train.data.files import decoded, picture_files
from genloom_train.evaluation.restoration import RestorationRequest, measure
from genloom_upscale.patterns import stray

MODELS = ("upscale-x2", "upscale-x4", "upscale-x4-gan")
WORDS = {
    "psnr": "PSNR, dB",
    "lpips": "LPIPS",
    "gradient_distance": "distance of gradients",
    "checkerboard": "checkerboard",
    "dotted": "dotted lines",
}
SIDE, STEP, ZOOM = 96, 32, 3
"""Of a place: height and width in pixels, how far apart places are tried, and how large it is."""


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("models", nargs="*", default=MODELS)
    parser.add_argument("--photos", type=Path)
    parser.add_argument("--crop", type=int)
    parser.add_argument("--sheets", type=Path)
    parser.add_argument("--places", type=Path)
    parser.add_argument("--threads", type=int, default=0)
    options = parser.parse_args()
    catalog = Catalog.load()
    own, opened = {}, {}
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
        opened[model] = genloom.open_model(model, threads=options.threads, catalog=catalog)
        own[model] = opened[model].card.scale, row
        print(f"{model}: {found.table()}")
        for peer in ("bicubic", "Lanczos"):
            better = np.subtract(row.values("psnr"), found.row(condition.name, peer).values("psnr"))
            print(f"{better.mean():+.2f} dB ({better.min():+.2f} to {better.max():+.2f}) to {peer}")
        print()
    for (one, (scale, first)), (other, (same, second)) in itertools.combinations(own.items(), 2):
        if scale == same:
            print(f"{other} beside {one}:")
            compare(first, second)
    if options.places is not None:
        write_places(options.places, opened, options.photos or PHOTOGRAPHS)


def compare(first, second) -> None:
    before, after = first.means(), second.means()
    for name, words in WORDS.items():
        if name in before:
            change = after[name] - before[name]
            print(f"  {words:<22} {before[name]:8.3f} → {after[name]:8.3f}  ({change:+.3f})")


def write_places(path, models, folder) -> None:
    """A row for each photograph; columns are the models, in order, and the true picture."""
    scale = next(iter(models.values())).card.scale
    models = {name: model for name, model in models.items() if model.card.scale == scale}
    rows, sums = [], np.zeros(len(models))
    files = list(picture_files(folder))
    for file in files:
        truth = decoded(file, "rgb")
        height, width = (side // scale for side in truth.shape[:2])
        truth = truth[: height * scale, : width * scale]
        small = imaging.resize(truth, height, width, "bicubic")
        made = [model(small) for model in models.values()]
        sums += [unlike(one, truth) for one in made]
        row, column = worst_place(made, truth)
        place = slice(row, row + SIDE), slice(column, column + SIDE)
        rows.append(np.concatenate([zoomed(one[place]) for one in (*made, truth)], 1))
    Image.fromarray(np.concatenate(rows)).save(path)
    print("detail that the true pictures have not, in thousandths of a level:")
    for model, total in zip(models, sums, strict=True):
        print(f"  {model:<22} {255e3 * total / len(files):8.1f}")


def worst_place(made, truth) -> tuple[int, int]:
    places = itertools.product(
        *(range(0, max(1, side - SIDE + 1), STEP) for side in truth.shape[:2])
    )

    def total(place) -> float:
        part = tuple(slice(start, start + SIDE) for start in place)
        return sum(unlike(one[part], truth[part]) for one in made)

    return max(places, key=total)


def unlike(made, truth) -> float:
    return float(stray(tensor(made), tensor(truth)))


def tensor(picture) -> torch.Tensor:
    values = np.ascontiguousarray(picture.transpose(2, 0, 1)[None])
    return torch.from_numpy(values).float() / 255


def zoomed(picture):
    """Enlarged by repeating pixels; a picture smaller than a place is filled up."""
    full = np.full((SIDE, SIDE, 3), 255, np.uint8)
    full[: picture.shape[0], : picture.shape[1]] = picture
    return full.repeat(ZOOM, 0).repeat(ZOOM, 1)


if __name__ == "__main__":
    main()
