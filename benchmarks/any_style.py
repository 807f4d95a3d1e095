"""Whether `style-any` takes the style of pictures that it never saw, and whose style it takes.

    python benchmarks/any_style.py [--model NAME] [--threads N] [--sheet FILE] [--work FOLDER]

The demo's six photographs, which no recipe trained on, 480 pixels along their longer side, each in
the style of every picture of `pipelines/train/styles`, of generated patterns of unseen seeds, and
of pictures of scikit-image, where that is installed. `style` is the difference of Gram matrices of
random filters, which no training used, from those of the style's picture, as a share of their
size: of the photographs, and, behind the slash, of the paintings. `own` is how many of the
paintings are nearer to their own style than to every other. `structure` is how well the painting
keeps the photograph's edges: the correlation of the size of their gradients over about 8 pixels.
`--sheet` draws most of the styles, and below each its paintings.
"""

import argparse
from pathlib import Path

import cv2
import numpy as np
import torch
from styles import Opened, distances, painted, photograph, read, tensor

from genloom.demo import PHOTOGRAPHS
from genloom_style.content import luminance
from genloom_style.patterns import random_pattern
from genloom_style.stages import Stylize
from genloom_train.data import generator

STYLES = Path(__file__).parents[1] / "pipelines/train/styles"
UNSEEN = (4, 5, 11)
"""Numbers of generated patterns; those of training have other seeds."""
TEXTURES = ("brick", "grass", "immunohistochemistry", "hubble_deep_field", "coffee", "retina")
SHOWN, CELL = (0, 1, 3), 130
"""Photographs on the sheet, and the side of its squares."""
LEFT_OUT = ("pattern 4", "hubble_deep_field", "retina")
"""Styles that are measured and not drawn, so that the sheet is small."""
LONGEST = 384


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--model", default="style-any")
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--sheet", type=Path)
    parser.add_argument("--work", type=Path, default=Path("styles-unseen"))
    options = parser.parse_args()
    torch.set_num_threads(options.threads)
    photographs = [photograph(path) for path in sorted(PHOTOGRAPHS.glob("*.jpg"))]
    paths, run = styles(options.work), Opened(options.threads)
    pictures = [read(path) for path in paths]
    before, columns = distances(photographs, pictures), []
    print(f"{'':28}{'style':>14}{'own':>8}{'structure':>11}{'ms':>7}")
    for number, path in enumerate(paths):
        stage = Stylize(model=options.model, style=path, style_size=LONGEST)
        made, seconds = zip(*(painted(stage, picture, run) for picture in photographs), strict=True)
        after = distances(made, pictures)
        own = int((after.argmin(1) == number).sum())
        kept = np.mean([structure(*pair) for pair in zip(photographs, made, strict=True)])
        both = f"{before[:, number].mean():.2f} / {after[:, number].mean():.2f}"
        figures = f"{own} of {len(made)}".rjust(8) + f"{kept:11.2f}{1000 * np.median(seconds):7.0f}"
        print(f"{path.stem:28}{both:>14}{figures}", flush=True)
        if path.stem not in LEFT_OUT:
            columns.append([pictures[number], *(made[one] for one in SHOWN)])
    if options.sheet:
        blank = np.full((CELL, CELL, 3), 255, np.uint8)
        sheet([[blank, *(photographs[one] for one in SHOWN)], *columns], options.sheet)


def styles(work: Path) -> list[Path]:
    """The pictures of styles, those that are generated or of scikit-image written below `work`."""
    work.mkdir(exist_ok=True)
    found = sorted(STYLES.glob("*.jpg"))
    drawn = {f"pattern {n}": random_pattern(LONGEST, generator("unseen style", n)) for n in UNSEEN}
    pictures = {name: np.rint(255 * one).astype(np.uint8) for name, one in drawn.items()}
    try:
        from skimage import data
    except ImportError:
        print("without scikit-image (`pip install scikit-image`) there are fewer styles")
    else:
        pictures |= {name: getattr(data, name)() for name in TEXTURES}
    for name, picture in pictures.items():
        path = work / f"{name}.png"
        cv2.imwrite(str(path), picture if picture.ndim == 2 else picture[..., ::-1])
        found.append(path)
    return found


def structure(one, other) -> float:
    """The correlation of the size of two pictures' gradients, each averaged over 8 pixels."""
    sizes = []
    for picture in (one, other):
        grey = luminance(tensor(picture))[0, 0].numpy()
        slope = np.hypot(*np.gradient(cv2.GaussianBlur(grey, (0, 0), 2)))
        sizes.append(cv2.resize(slope, None, fx=1 / 8, fy=1 / 8, interpolation=cv2.INTER_AREA))
    return float(np.corrcoef(*(size.ravel() for size in sizes))[0, 1])


def sheet(columns, path: Path) -> None:
    """A column for each style: its picture, then paintings in it."""
    drawn = [np.concatenate([square(picture) for picture in column], axis=0) for column in columns]
    options = [cv2.IMWRITE_JPEG_QUALITY, 72]
    cv2.imwrite(str(path), np.concatenate(drawn, axis=1)[..., ::-1], options)


def square(picture):
    """The middle of a picture as large a square as there is, reduced."""
    side = min(picture.shape[:2])
    top, left = ((length - side) // 2 for length in picture.shape[:2])
    part = picture[top : top + side, left : left + side]
    return cv2.resize(part, (CELL, CELL), interpolation=cv2.INTER_AREA)


if __name__ == "__main__":
    main()
