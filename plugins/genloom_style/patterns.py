"""Generated pictures of styles: hatching lines, brush strokes, tiles. Nobody else's are in them.

Each is drawn at twice its size and reduced, so that its edges are smooth. The same random numbers
draw the same picture.
"""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np

from genloom.types import Array, Floats
from genloom_style.drawing import FINENESS, Look, Pattern, equalised, hills, mixed, reduced
from genloom_style.materials import MATERIALS

SHADOW = 0.4
"""Light of a stroke's shadow, as a share of its own."""


def hatching(size: int, look: Look, random: np.random.Generator) -> Floats:
    """A woodcut: lines in patches of one direction each, thick where it is dark.

    Args:
        size: height and width in pixels.
        look: its colours (the darkest is the ink, the lightest the paper) and its lines.
        random: draws it.

    Returns:
        size×size×3 in [0, 1].
    """
    large = size * FINENESS
    tone = np.clip(0.5 + 0.42 * hills(large, 5, random), 0.02, 0.98)
    patch, _ = _nearest(large, large / 5, random)
    angles = look.turns * random.uniform(0, np.pi, patch.max() + 1) + np.pi / 5
    angle = angles[patch]
    y, x = np.mgrid[0:large, 0:large].astype(np.float32)
    wobble = 0.35 * hills(large, 24, random)
    phase = (x * np.cos(angle) + y * np.sin(angle)) / (look.grain * FINENESS) + wobble
    # The share of a triangle wave's period that lies below a level is that level.
    line = np.abs(2 * (phase % 1) - 1) > tone
    picture = np.where(line[..., None], look.palette[0], look.palette[-1])
    return reduced(picture.astype(np.float32), size)


def strokes(size: int, look: Look, random: np.random.Generator) -> Floats:
    """A painting: short thick strokes that follow a field of directions, streaked by the brush.

    Each has a shadow, which parts it from the ones below.

    Args:
        size: height and width in pixels.
        look: its colours, the width of a stroke, and how its directions turn.
        random: draws it.

    Returns:
        size×size×3 in [0, 1].
    """
    import cv2

    large = size * FINENESS
    width = look.grain * FINENESS
    tone = equalised(hills(large, 4, random))
    angle = 0.7 * np.pi * look.turns * hills(large, 3, random) + random.uniform(0, np.pi)
    canvas = np.empty((large, large, 3), np.float32)
    canvas[:] = look.palette[len(look.palette) // 2]
    for _ in range(int(6 * (large / width) ** 2 / 4)):
        row, column = random.integers(0, large, 2)
        shade = float(np.clip(tone[row, column] + random.normal(0, 0.14), 0, 1))
        path = _path(row, column, angle, width, random)
        shadow = (SHADOW * mixed(look.palette, shade)).tolist()
        middle = np.round(path[:2].T).astype(np.int32)
        cv2.polylines(canvas, [middle], False, shadow, round(1.3 * width), cv2.LINE_AA)
        for bristle in np.linspace(-0.45, 0.45, 6):
            colour = np.clip(mixed(look.palette, shade) + random.normal(0, 0.06), 0, 1)
            across = np.stack([-np.sin(path[2]), np.cos(path[2])], 1) * bristle * width
            points = np.round(path[:2].T + across).astype(np.int32)
            thick = max(1, round(width / 5))
            cv2.polylines(canvas, [points], False, colour.tolist(), thick, cv2.LINE_AA)
    return reduced(canvas, size)


def mosaic(size: int, look: Look, random: np.random.Generator) -> Floats:
    """Tiles of one colour each, with dark joints between them.

    Args:
        size: height and width in pixels.
        look: its colours (the darkest fills the joints) and the size of its tiles.
        random: draws it.

    Returns:
        size×size×3 in [0, 1].
    """
    large = size * FINENESS
    cell = look.grain * FINENESS
    tile, edge = _nearest(large, cell, random)
    tone = equalised(hills(large, 4, random))
    count = tile.max() + 1
    area = np.maximum(np.bincount(tile.ravel(), minlength=count), 1)
    mean = np.bincount(tile.ravel(), tone.ravel(), count) / area
    shade = np.clip(mean + random.normal(0, 0.1, count), 0, 1)
    colours = mixed(look.palette[1:], shade) + random.normal(0, 0.02, (count, 1))
    picture = colours[tile] + 0.04 * np.clip(edge / cell - 0.2, 0, 0.3)[..., None]
    picture = np.where((edge < 0.16 * cell)[..., None], look.palette[0], picture)
    return reduced(np.clip(picture, 0, 1).astype(np.float32), size)


PATTERNS: Mapping[str, Pattern] = {
    "hatching": hatching,
    "strokes": strokes,
    "mosaic": mosaic,
    **MATERIALS,
}


def random_look(random: np.random.Generator) -> Look:
    """A palette of two to six colours that go from dark to light, and a grain of 4 to 16 pixels."""
    count = int(random.integers(2, 7))
    light = np.linspace(random.uniform(0, 0.25), random.uniform(0.75, 1), count)[:, None]
    colour = random.uniform(-0.5, 0.5, (count, 3)) * random.uniform(0, 1)
    colour -= colour.mean(1, keepdims=True)
    palette = np.clip(light + colour, 0, 1).astype(np.float32)
    grain = float(4 * 4 ** random.random())
    return Look(palette=palette, grain=grain, turns=float(random.uniform(0, 1.5)))


def random_pattern(size: int, random: np.random.Generator) -> Floats:
    """One of the patterns in a random look, size×size×3 in [0, 1]."""
    name = list(PATTERNS)[int(random.integers(len(PATTERNS)))]
    return PATTERNS[name](size, random_look(random), random)


def _nearest(size: int, cell: float, random: np.random.Generator) -> tuple[Array, Floats]:
    """A Voronoi diagram of a shaken lattice.

    Returns:
        the number of the nearest point, size×size; and how many pixels farther the second is.
    """
    count = int(np.ceil(size / cell)) + 2
    shaken = random.uniform(-0.35, 0.35, (2, count, count)) + 0.5
    rows, columns = (np.mgrid[0:count, 0:count] - 1 + shaken) * cell
    y, x = np.mgrid[0:size, 0:size].astype(np.float32)
    row, column = (y / cell).astype(int) + 1, (x / cell).astype(int) + 1
    first = np.full((size, size), np.inf, np.float32)
    second, which = first.copy(), np.zeros((size, size), np.int64)
    for down in range(-2, 3):
        for across in range(-2, 3):
            r, c = np.clip(row + down, 0, count - 1), np.clip(column + across, 0, count - 1)
            far = np.hypot(rows[r, c] - y, columns[r, c] - x).astype(np.float32)
            other = r * count + c
            new = other != which
            second = np.where(far < first, np.where(new, first, second), second)
            second = np.where((far >= first) & new, np.minimum(second, far), second)
            which = np.where(far < first, other, which)
            first = np.minimum(first, far)
    return which, second - first


def _path(
    row: int, column: int, angle: Floats, width: float, random: np.random.Generator
) -> Floats:
    """A stroke from a place along a field of directions: x, y and angle of each step, 3×steps."""
    x, y, found = float(column), float(row), []
    for _ in range(int(random.integers(8, 14))):
        inside = min(max(int(y), 0), len(angle) - 1), min(max(int(x), 0), len(angle) - 1)
        turn = float(angle[inside])
        found.append((x, y, turn))
        x, y = x + 0.6 * width * np.cos(turn), y + 0.6 * width * np.sin(turn)
    return np.array(found, np.float32).T
