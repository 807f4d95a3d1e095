"""Synthetic shapes with labels, of any size: to try a family on, with nothing to download."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Annotated, Literal

import numpy as np
from annotated_types import Interval

from genloom.types import Array
from genloom_train.data import Dataset, Opening, Source, generator
from genloom_train.data.pictures import Pictures, WholePictures, held_out_of

SHAPES = ("disc", "ring", "square", "triangle", "cross")
FINER = 4
"""Shapes are drawn so many times larger and reduced, so that their edges are smooth."""


@dataclass(frozen=True, kw_only=True)
class Synthetic(Dataset):
    """Discs, rings, squares, triangles and crosses: place, size, angle and brightness vary.

    Args:
        count: pictures to make; a tenth of them is held out.
        size: their height and width, in pixels.
        colour: `grey` shapes on black, or `rgb` shapes of any colour on another.
    """

    count: Annotated[int, Interval(ge=20, le=100_000)] = 5000
    size: Annotated[int, Interval(ge=8, le=512)] = 28
    colour: Literal["grey", "rgb"] = "grey"

    def open(self, opening: Opening) -> Source:
        """Make the pictures."""
        label = np.arange(self.count) % len(SHAPES)
        image = np.stack(
            [
                draw(SHAPES[kind], self.size, self.colour, generator("shape", opening.seed, index))
                for index, kind in enumerate(label)
            ]
        )
        every = Pictures(image, label)
        kept = held_out_of(self.count, 0.1, label)
        return WholePictures(
            every.chosen(~kept), every.chosen(kept), name="synthetic shapes", labels=SHAPES
        )


def draw(shape: str, size: int, colour: str, random: np.random.Generator) -> Array:
    """One picture, uint8, size×size×1, or ×3 for `rgb`."""
    import cv2

    fine = FINER * size
    radius = fine * random.uniform(0.18, 0.34)
    centre = fine / 2 + random.uniform(-1, 1, 2) * (fine / 2 - radius)
    mask = np.zeros((fine, fine), np.uint8)
    if shape in ("disc", "ring"):
        place = (int(centre[0]), int(centre[1]))
        cv2.circle(mask, place, int(radius), 255, -1)
        if shape == "ring":
            cv2.circle(mask, place, int(0.55 * radius), 0, -1)
    else:
        corners = centre + radius * _corners(shape, random.uniform(0, 2 * np.pi))
        cv2.fillPoly(mask, [np.round(corners).astype(np.int32)], 255)
    covered = cv2.resize(mask, (size, size), interpolation=cv2.INTER_AREA)[..., None] / 255
    if colour == "grey":
        return np.rint(255 * covered * random.uniform(0.5, 1)).astype(np.uint8)
    inside, outside = random.uniform(0.4, 1, 3), random.uniform(0, 0.4, 3)
    return np.rint(255 * (covered * inside + (1 - covered) * outside)).astype(np.uint8)


def _corners(shape: str, angle: float) -> Array:
    """Corners on or within the unit circle, turned by `angle`."""
    if shape == "cross":
        arm = 0.3
        quarter = np.array([(1, -arm), (1, arm), (arm, arm)])
        turns = [_turn(step * np.pi / 2) for step in range(4)]
        corners = np.concatenate([quarter @ turn for turn in turns])
    else:
        count = 4 if shape == "square" else 3
        steps = 2 * np.pi * np.arange(count) / count
        corners = np.stack([np.cos(steps), np.sin(steps)], axis=1)
    turned: Array = corners @ _turn(angle)
    return turned


def _turn(angle: float) -> Array:
    cos, sin = np.cos(angle), np.sin(angle)
    return np.array([(cos, sin), (-sin, cos)])
