"""The data set `rendered`: noisy and clean pictures of one scene, with albedo and normals."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Annotated

import numpy as np
from annotated_types import Interval

from genloom.types import Floats
from genloom_denoise.render import displayed, guides, random_scene, render
from genloom_train.data import Dataset, Opening, Samples, Source, generator

PATHS = (2, 4, 8)
"""Paths through each pixel of the noisy pictures."""
CHECK_PATHS = 4
"""Of these the one that validation looks at."""
HELD_OUT_MORE = 8
"""Times as many paths as in training make the clean pictures that are held out."""


@dataclass(frozen=True, kw_only=True)
class Rendered(Dataset):
    """Scenes of textured shapes from a small Monte-Carlo renderer; no data needed.

    Each is there three times noisy (2, 4 and 8 paths a pixel), once clean, and as the guides
    `albedo` and `normal`.

    Args:
        count: scenes.
        size: height and width they are rendered at, in pixels.
        crop: height and width of a training crop.
        paths: through each pixel of the clean pictures, which so are a little noisy too; that does
            no harm, as their noise is another (Lehtinen et al. 2018).
    """

    count: Annotated[int, Interval(ge=2, le=10_000)] = 120
    size: Annotated[int, Interval(ge=16, le=1024)] = 128
    crop: Annotated[int, Interval(ge=8, le=512)] = 96
    paths: Annotated[int, Interval(ge=1, le=4096)] = 32

    def open(self, opening: Opening) -> Source:
        """Render the scenes: about two seconds each at 128×128 and 32 paths."""
        held_out = max(1, self.count // 20)
        views = [
            view(
                self.size,
                self.paths * (HELD_OUT_MORE if number < held_out else 1),
                generator("scene", opening.seed, number),
            )
            for number in range(self.count)
        ]
        return Views(views[held_out:], views[:held_out], min(self.crop, self.size))


@dataclass(frozen=True)
class View:
    """A scene as seen from one place: float32, H×W×3 in [0, 1]; `noisy` for each of `PATHS`."""

    clean: Floats
    noisy: tuple[Floats, ...]
    albedo: Floats
    normal: Floats


def view(size: int, paths: int, random: np.random.Generator) -> View:
    """Render a random scene, as 8-bit files would hold it."""
    scene = random_scene(random)
    albedo, normal = guides(scene, size, random)
    return View(
        _in_a_file(displayed(render(scene, size, paths, random))),
        tuple(_in_a_file(displayed(render(scene, size, few, random))) for few in PATHS),
        _in_a_file(albedo),
        _in_a_file(normal * 0.5 + 0.5),
    )


def _in_a_file(pixels: Floats) -> Floats:
    rounded: Floats = (np.rint(pixels.clip(0, 1) * 255) / 255).astype(np.float32)
    return rounded


class Views(Source):
    """Random crops of views, turned and mirrored; normals are of the world, so they stay true."""

    endless = True

    def __init__(self, views: Sequence[View], held_out: Sequence[View], crop: int) -> None:
        self._views, self._held_out = list(views), list(held_out)
        self.shape, self.count = (3, crop, crop), len(views)
        words = f"{len(views)} rendered scenes, {len(held_out)} held out"
        self.description = words

    def batch(self, step: int, size: int, seed: int) -> Samples:
        """Batch number `step`: `size` random crops, each at one of the three noises."""
        random = generator("views", seed, step)
        return _samples([self._crop(random) for _ in range(size)])

    def _crop(self, random: np.random.Generator) -> list[Floats]:
        seen = self._views[random.integers(len(self._views))]
        size, whole = self.shape[1], seen.clean.shape[0]
        top, left = random.integers(whole - size + 1, size=2)
        turns, mirrored = int(random.integers(4)), bool(random.integers(2))
        noisy = seen.noisy[random.integers(len(PATHS))]
        found = []
        for picture in (seen.clean, noisy, seen.albedo, seen.normal):
            crop = np.rot90(picture[top : top + size, left : left + size], turns)
            found.append(crop[:, ::-1] if mirrored else crop)
        return found

    def held_out(self, larger: bool = False) -> Samples:
        """Whole scenes, or the middle of them."""
        size = self._held_out[0].clean.shape[0] if larger else self.shape[1]
        noisy = PATHS.index(CHECK_PATHS)
        pictures = [[v.clean, v.noisy[noisy], v.albedo, v.normal] for v in self._held_out]
        start = (pictures[0][0].shape[0] - size) // 2
        part = slice(start, start + size)
        return _samples([[picture[part, part] for picture in seen] for seen in pictures])


def _samples(crops: Sequence[Sequence[Floats]]) -> Samples:
    stacks = (np.stack(pictures).transpose(0, 3, 1, 2) for pictures in zip(*crops, strict=True))
    clean, noisy, albedo, normal = (np.ascontiguousarray(stack) for stack in stacks)
    return Samples(clean, None, {"noisy": noisy, "albedo": albedo, "normal": normal})
