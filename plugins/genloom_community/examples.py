"""Pictures and sizes that foreign graphs are tried on."""

from __future__ import annotations

from typing import Any

import numpy as np

from genloom.types import Floats

ABOUT = 96
"""Sides in pixels that trials have at least."""


def odd(multiple: int, square: bool) -> tuple[int, int]:
    """Height and width of `ABOUT` or a little more that no larger multiple divides."""
    times = max(0, -(-(ABOUT - multiple) // (2 * multiple))) * 2 + 1
    return multiple * times, multiple * (times if square else times + 2)


def example(size: tuple[int, int], channels: int, seed: int = 0) -> Floats:
    """A picture with slopes, discs and a little grain, 1×C×H×W in [0.1, 0.9]."""
    random = np.random.default_rng(seed)
    rows, columns = np.mgrid[: size[0], : size[1]].astype(np.float32)
    planes = []
    for _ in range(channels):
        a, b, phase = random.uniform(0.02, 0.08, 3)
        plane = 0.5 + 0.25 * np.sin(a * rows + b * columns + 50 * phase)
        y, x = random.uniform(0.2, 0.8, 2) * size
        plane[(rows - y) ** 2 + (columns - x) ** 2 < (min(size) / 5) ** 2] -= 0.2
        planes.append(plane)
    picture: Any = np.stack(planes)[None] + random.uniform(-0.05, 0.05, (1, channels, *size))
    return np.asarray(np.clip(picture, 0.1, 0.9), np.float32)
