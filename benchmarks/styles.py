"""How near paintings are to their style, how near to their photographs, and what they cost.

    python benchmarks/styles.py [--threads N] [--sheet FILE]

The demo's six photographs, which no recipe trained on, 480 pixels along their longer side, through
every bundle of a style that is at hand. `style` is the difference of Gram matrices of random
filters from those of the style's picture, as a share of their size: of the photographs, and, behind
the slash, of the paintings. `light` is the mean difference from the photograph in light, of 255,
where it is compared without what is finer than 8 pixels. `--sheet` draws parts of some of them: a
row for each photograph. `style-any` has a script of its own, `any_style.py`.
"""

import argparse
import time
from pathlib import Path

import cv2
import numpy as np
import torch

import genloom
from genloom.demo import PHOTOGRAPHS
from genloom.types import Batch, Item
from genloom_style.content import blurred, luminance
from genloom_style.stages import Stylize
from genloom_train.features import features, gram, gram_distance

SIZE, GRAIN, ROUNDS = 480, 8, 3
SHOWN, PART = (0, 1, 2, 4), (256, 320)
"""Photographs on the sheet, and the height and width of what is shown of them."""
STYLES = Path(__file__).parents[1] / "pipelines/train/styles"


class Opened:
    """What a stage asks of a run: models, opened once."""

    def __init__(self, threads: int) -> None:
        self.threads, self.models, self.made = threads, {}, {}

    def model(self, name: str):
        """The model of a name."""
        if name not in self.models:
            self.models[name] = genloom.open_model(name, provider="cpu", threads=self.threads).model
        return self.models[name]

    def file(self, path: Path) -> bytes:
        """The bytes of a file."""
        return path.read_bytes()

    def once(self, key, make):
        """What `make` gives, made once for each key."""
        if key not in self.made:
            self.made[key] = make()
        return self.made[key]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--sheet", type=Path)
    options = parser.parse_args()
    torch.set_num_threads(options.threads)
    photographs = [photograph(path) for path in sorted(PHOTOGRAPHS.glob("*.jpg"))]
    run, columns = Opened(options.threads), [photographs]
    print(f"{'':34}{'style':>16}{'light':>8}{'ms':>8}")
    for path in sorted(STYLES.glob("*.jpg")):
        stage, style = Stylize(model=f"style-{path.stem}"), read(path)
        made, seconds = zip(*(painted(stage, picture, run) for picture in photographs), strict=True)
        seen = [distances(pictures, [style]).mean() for pictures in (photographs, made)]
        light = np.mean([difference(*pair) for pair in zip(photographs, made, strict=True)])
        both = f"{seen[0]:.2f} / {seen[1]:.2f}"
        print(f"{stage.model:34}{both:>16}{light:8.1f}{1000 * np.median(seconds):8.0f}", flush=True)
        columns.append(list(made))
    if options.sheet:
        sheet(columns, options.sheet)


def read(path: Path):
    return cv2.imread(str(path))[..., ::-1]


def photograph(path: Path):
    picture = read(path)
    scale = SIZE / max(picture.shape[:2])
    size = [round(side * scale) for side in picture.shape[1::-1]]
    return np.ascontiguousarray(cv2.resize(picture, size, interpolation=cv2.INTER_AREA))


def painted(stage: Stylize, picture, run: Opened):
    """The painting as bytes, and the shortest of a few times, in seconds."""
    batch = Batch.images([Item(key="0", name="0")], picture[None])
    stage(batch, run)  # the first call compiles
    times = []
    for _ in range(ROUNDS):
        started = time.perf_counter()
        made = stage(batch, run).pixels[0]
        times.append(time.perf_counter() - started)
    return np.rint(np.clip(made, 0, 1) * 255).astype(np.uint8), min(times)


def tensor(picture):
    return torch.from_numpy(np.ascontiguousarray(picture)).permute(2, 0, 1)[None].float() / 255


def distances(pictures, styles):
    """How far the textures of pictures are from those of styles, pictures×styles."""
    seen = features("random")
    wanted = [[gram(maps) for maps in seen(tensor(style))] for style in styles]
    shown = [seen(tensor(picture)) for picture in pictures]
    return np.array([[float(gram_distance(maps, one)) for one in wanted] for maps in shown])


def difference(one, other) -> float:
    light = [blurred(luminance(tensor(picture)), GRAIN) for picture in (one, other)]
    return 255 * float((light[0] - light[1]).abs().mean())


def sheet(columns, path: Path) -> None:
    """Photographs on the left, a column for each style."""
    rows = [
        np.concatenate([part(pictures[number]) for pictures in columns], axis=1) for number in SHOWN
    ]
    options = [cv2.IMWRITE_JPEG_QUALITY, 75]
    cv2.imwrite(str(path), np.concatenate(rows, axis=0)[..., ::-1], options)


def part(picture):
    """The upper middle of a picture."""
    height, width = PART
    top, left = (picture.shape[0] - height) // 4, (picture.shape[1] - width) // 2
    return picture[top : top + height, left : left + width]


if __name__ == "__main__":
    main()
