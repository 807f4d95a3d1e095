"""More generated pictures of styles, after materials and ways to draw.

Drawn as those of `patterns` are: at twice the size and reduced, the same numbers the same picture.
"""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np

from genloom.types import Array, Floats
from genloom_style.drawing import FINENESS, Look, Pattern, equalised, hills, mixed, reduced


def dots(size: int, look: Look, random: np.random.Generator) -> Floats:
    """Dabs of paint side by side, as pointillists set them; or dots of a print, larger where dark.

    Args:
        size: height and width in pixels.
        look: its colours, and the distance of dots.
        random: draws it.

    Returns:
        size×size×3 in [0, 1].
    """
    import cv2

    large, step = size * FINENESS, look.grain * FINENESS
    tone, printed = equalised(hills(large, 4, random)), random.random() < 0.4
    canvas = np.empty((large, large, 3), np.float32)
    canvas[:] = look.palette[-1]
    places = np.mgrid[0 : large + step : step, 0 : large + step : step].reshape(2, -1).T
    for row, column in places + (0 if printed else random.uniform(-0.6, 0.6, places.shape) * step):
        shade = float(tone[min(int(max(row, 0)), large - 1), min(int(max(column, 0)), large - 1)])
        radius = step * (0.62 * (1 - shade) if printed else random.uniform(0.35, 0.65))
        colour = look.palette[0] if printed else _near(look.palette, shade, random)
        centre = (round(float(column)), round(float(row)))
        cv2.circle(canvas, centre, max(1, round(radius)), colour.tolist(), -1, cv2.LINE_AA)
    return reduced(canvas, size)


def bricks(size: int, look: Look, random: np.random.Generator) -> Floats:
    """Rows of blocks with joints; long or square, each row shifted or not.

    Args:
        size: height and width in pixels.
        look: its colours (the first fills the joints) and the height of a block.
        random: draws it.

    Returns:
        size×size×3 in [0, 1].
    """
    large, high = size * FINENESS, 1.5 * look.grain * FINENESS
    wide, shift = high * random.uniform(1, 3.5), random.choice([0.0, 0.5, 0.33])
    y, x = _shaken(large, random, 0.15 * high)
    row = np.floor(y / high)
    across = x / wide + shift * row
    column = np.floor(across)
    edge = np.minimum(_to_edge(y / high) * high, _to_edge(across) * wide)
    shade = _hashed(row, column, random) * 0.6 + 0.4 * equalised(hills(large, 4, random))
    picture = mixed(look.palette[1:], shade) + 0.05 * _grit(large, random)[..., None]
    picture = np.where((edge < 0.09 * high)[..., None], look.palette[0], picture)
    return reduced(picture.astype(np.float32), size)


def weave(size: int, look: Look, random: np.random.Generator) -> Floats:
    """Cloth: threads that go over and under each other, round, in stripes of colours.

    Args:
        size: height and width in pixels.
        look: its colours, and the width of a thread.
        random: draws it.

    Returns:
        size×size×3 in [0, 1].
    """
    large, thick = size * FINENESS, look.grain * FINENESS
    y, x = _shaken(large, random, 0.4 * thick)
    row, column = np.floor(y / thick), np.floor(x / thick)
    over = (row + column * random.integers(1, 3)) % int(random.integers(2, 4)) == 0
    number = np.where(over, row, column + 1000)
    shade = _hashed(np.floor(number / int(random.integers(1, 6))), 0 * number, random)
    along, across = np.where(over, x, y) / thick, np.where(over, y, x) / thick
    round_ = np.sin(np.pi * (across % 1)) * (0.75 + 0.25 * np.sin(np.pi * (along % 1)))
    fibre = 0.08 * np.sin(2 * np.pi * (4 * across + along))
    picture = mixed(look.palette, shade) * (0.35 + 0.65 * round_ + fibre)[..., None]
    return reduced(picture.astype(np.float32), size)


def marble(size: int, look: Look, random: np.random.Generator) -> Floats:
    """Marbled paper: bands of colour that were stirred; smooth, or with edges between the colours.

    Args:
        size: height and width in pixels.
        look: its colours, and the width of a band.
        random: draws it.

    Returns:
        size×size×3 in [0, 1].
    """
    large = size * FINENESS
    y, x = _shaken(large, random, 9 * look.grain * FINENESS, 4)
    bend = 2 * look.grain * FINENESS * hills(large, 12, random)
    bands = (x * random.uniform(0.3, 1) + y * random.uniform(0, 1) + bend) / look.grain / FINENESS
    shade = np.abs((bands / random.uniform(2, 6)) % 2 - 1)
    if random.random() < 0.5:
        shade = np.round(shade * len(look.palette)) / len(look.palette)
    return reduced(mixed(look.palette, shade).astype(np.float32), size)


def blobs(size: int, look: Look, random: np.random.Generator) -> Floats:
    """Flat areas of colour, as of cut paper or an old poster; some with an outline.

    Args:
        size: height and width in pixels.
        look: its colours, and a quarter of the size of an area.
        random: draws it.

    Returns:
        size×size×3 in [0, 1].
    """
    large = size * FINENESS
    field = equalised(hills(large, max(3, round(size / (4 * look.grain))), random))
    levels = int(random.integers(3, 8))
    level = np.floor(field * levels)
    colours = look.palette[random.integers(0, len(look.palette), levels + 1)]
    picture = colours[level.astype(int)] + 0.04 * _grit(large, random)[..., None]
    if random.random() < 0.5:
        slope = np.hypot(*np.gradient(field)) * levels
        line = _to_edge(field * levels) < slope * random.uniform(1, 4)
        picture = np.where(line[..., None], look.palette[0], picture)
    return reduced(picture.astype(np.float32), size)


def scribble(size: int, look: Look, random: np.random.Generator) -> Floats:
    """Long pencil or crayon lines over each other on paper, denser where it is dark.

    Args:
        size: height and width in pixels.
        look: its colours (the lightest is the paper), and twice the width of a line.
        random: draws it.

    Returns:
        size×size×3 in [0, 1].
    """
    import cv2

    large, thick = size * FINENESS, max(1, round(look.grain * FINENESS / 4))
    tone = equalised(hills(large, 4, random))
    angle, curl = random.uniform(0, np.pi), random.uniform(0, 1.2)
    length = random.uniform(4, 14) * look.grain * FINENESS
    canvas = np.empty((large, large, 3), np.float32)
    canvas[:] = look.palette[-1]
    for _ in range(int(1.2 * large**2 / (length * thick) / 2)):
        row, column = random.uniform(0, large, 2)
        shade = float(tone[int(row), int(column)])
        if random.random() < shade:
            continue
        turn = angle + random.normal(0, 0.15) + (np.pi / 2 if random.random() < 0.3 else 0)
        steps = np.linspace(-0.5, 0.5, 7) * length
        bent = turn + curl * steps / length * random.choice([-1, 1])
        points = np.stack([column + steps * np.cos(bent), row + steps * np.sin(bent)], 1)
        colour = _near(look.palette[:-1], shade, random)
        cv2.polylines(canvas, [points.round().astype(np.int32)], False, colour.tolist(), thick, 16)
    return reduced(canvas, size)


MATERIALS: Mapping[str, Pattern] = {
    "dots": dots,
    "bricks": bricks,
    "weave": weave,
    "marble": marble,
    "blobs": blobs,
    "scribble": scribble,
}


def _near(palette: Floats, shade: float, random: np.random.Generator) -> Array:
    """A colour near that of a shade, as paint is mixed anew for each stroke."""
    other = float(np.clip(shade + random.normal(0, 0.15), 0, 1))
    return np.clip(mixed(palette, other) + random.normal(0, 0.07, 3), 0, 1)


def _shaken(
    size: int, random: np.random.Generator, by: float, hollows: int = 5
) -> tuple[Array, Array]:
    """Rows and columns of a picture, turned by chance and bent by about `by` pixels."""
    y, x = np.mgrid[0:size, 0:size].astype(np.float32)
    turn = random.uniform(0, np.pi)
    bent_y, bent_x = (by * hills(size, hollows, random) for _ in range(2))
    down = y * np.cos(turn) - x * np.sin(turn) + bent_y + 2 * size
    return down, y * np.sin(turn) + x * np.cos(turn) + bent_x + 2 * size


def _to_edge(place: Array) -> Array:
    """How far a place is from the nearest whole number."""
    return np.asarray(np.abs(place - np.round(place)))


def _hashed(row: Array, column: Array, random: np.random.Generator) -> Array:
    """A number in [0, 1] for each block, the same all over it."""
    table = random.uniform(0, 1, 4096)
    place = (row.astype(np.int64) * 131 + column.astype(np.int64) * 17) % 4096
    return np.asarray(table[place])


def _grit(size: int, random: np.random.Generator) -> Floats:
    """Fine roughness, about −1 to 1."""
    return hills(size, size // 6, random)
