"""Dead leaves: random opaque shapes that cover each other, as leaves on the ground.

Their edges, occlusions and power spectrum are close to those of photographs (Lee, Mumford & Huang
2001, "Occlusion models for natural images"), and restoration networks learn from them nearly as
well as from photographs (Achddou, Gousseau & Ladjal 2021).
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Annotated

import annotated_types
import numpy as np
from numpy.typing import NDArray

from genloom.types import Array, Floats
from genloom_train.data import Dataset, Opening, Source, generator
from genloom_train.data.crops import PhotographCrops

SMALLEST = 5.0
"""Radius in pixels of the smallest leaf; the density r⁻³ of radii makes the scene scale-free."""


@dataclass(frozen=True, kw_only=True)
class DeadLeaves(Dataset):
    """Synthetic colour pictures; no data needed.

    Args:
        count: pictures to make.
        size: their height and width, in pixels.
        crop: height and width of a training crop.
    """

    count: Annotated[int, annotated_types.Interval(ge=2, le=10_000)] = 64
    size: Annotated[int, annotated_types.Interval(ge=32, le=2048)] = 384
    crop: Annotated[int, annotated_types.Interval(ge=8, le=512)] = 96

    def open(self, opening: Opening) -> Source:
        """Make the pictures."""
        pictures = dead_leaves_pictures(self.count, self.size, opening.seed)
        held_out = max(1, self.count // 16)
        return PhotographCrops(
            pictures[held_out:],
            pictures[:held_out],
            crop=self.crop,
            description=f"{self.count} synthetic dead-leaves pictures of {self.size}×{self.size}",
        )


def dead_leaves_pictures(count: int, size: int, seed: int) -> list[Array]:
    """`count` pictures, uint8, size×size×3."""
    return [dead_leaves(size, generator("dead leaves", seed, index)) for index in range(count)]


def dead_leaves(size: int, random: np.random.Generator) -> Array:
    """One picture, uint8, size×size×3: leaves fall until the ground is covered.

    Drawn at twice the size and reduced, so that edges are as smooth as a lens makes them.
    """
    import cv2

    large = 2 * size
    canvas = np.empty((large, large, 3), np.float32)
    canvas[:] = random.random(3, np.float32)
    for radius in _radii(large, random):
        _drop(canvas, radius, random)
    reduced = cv2.resize(canvas, (size, size), interpolation=cv2.INTER_AREA)
    return (np.clip(reduced, 0, 1) * 255 + 0.5).astype(np.uint8)


def _radii(size: int, random: np.random.Generator) -> Floats:
    """Radii in pixels with density r⁻³, enough to cover the ground several times over."""
    count = int(16 * (size / 64) ** 2)
    uniform = random.random(count)
    low, high = 2 * SMALLEST, size / 3
    radii = 1 / np.sqrt(uniform * (low**-2 - high**-2) + high**-2)
    return radii.astype(np.float32)


def _drop(canvas: Floats, radius: float, random: np.random.Generator) -> None:
    """Cover part of the canvas with one textured ellipse or polygon."""
    import cv2

    size = canvas.shape[0]
    centre = random.integers(0, size, 2)
    top, left = np.maximum(centre - int(radius) - 1, 0)
    bottom, right = np.minimum(centre + int(radius) + 2, size)
    mask = np.zeros((bottom - top, right - left), np.uint8)
    points = _outline(radius, random) + (centre - (top, left))
    cv2.fillPoly(mask, [np.round(points[:, ::-1]).astype(np.int32)], 1)
    region = canvas[top:bottom, left:right]
    leaf = _texture(mask.shape, radius, random)
    np.copyto(region, leaf, where=mask[..., None].astype(bool))


def _outline(radius: float, random: np.random.Generator) -> NDArray[np.float64]:
    """Corners of a leaf, (row, column) about its centre: 3 to 7 corners, or nearly round."""
    corners = int(random.choice([3, 4, 5, 7, 24]))
    angles: NDArray[np.float64] = np.sort(random.random(corners)) * 2 * np.pi
    if corners == 24:
        angles = np.arange(24, dtype=np.float64) * (2 * np.pi / 24)
    squeeze = random.uniform(0.4, 1)
    turn = random.uniform(0, np.pi)
    x, y = np.cos(angles), squeeze * np.sin(angles)
    turned = (np.cos(turn) * x - np.sin(turn) * y, np.sin(turn) * x + np.cos(turn) * y)
    return radius * np.stack(turned, axis=1)


def _texture(shape: tuple[int, ...], radius: float, random: np.random.Generator) -> Floats:
    """A colour with a gradient across it and, on half of the leaves, stripes."""
    height, width = shape
    mix = random.random(dtype=np.float32) ** 2
    grey = random.random(dtype=np.float32)
    colour = mix * random.random(3, np.float32) + (1 - mix) * grey
    rows = np.linspace(-1, 1, height, dtype=np.float32)[:, None]
    columns = np.linspace(-1, 1, width, dtype=np.float32)[None]
    slope = random.normal(0, 0.08, 2).astype(np.float32)
    shade = slope[0] * rows + slope[1] * columns
    if random.random() < 0.5:
        waves = random.uniform(-1, 1, 2) * random.uniform(1, radius / 3 + 1)
        strength = random.uniform(0.02, 0.15)
        shade = shade + strength * np.sin(np.pi * (waves[0] * rows + waves[1] * columns))
    leaf: Floats = (colour + shade[..., None]).astype(np.float32)
    return leaf
