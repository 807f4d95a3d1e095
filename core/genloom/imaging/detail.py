"""Where a picture has the most to show, and such places enlarged."""

from __future__ import annotations

import numpy as np

from genloom.types import Array, Floats, as_float

Place = tuple[int, int, int, int]
"""Top, left, height and width of a part of a picture, in pixels."""

STEPS = 8
"""Parts that are compared lie this fraction of their own size apart."""


def most_detailed(picture: Array, height: int, width: int, count: int = 1) -> list[Place]:
    """The parts of one size with the most detail: the largest mean gradient of the brightness.

    Args:
        picture: H×W×C.
        height: of a part; at most the picture's.
        width: of a part; at most the picture's.
        count: parts wanted. They do not overlap, so there may be fewer; there is always one.
    """
    height, width = min(height, picture.shape[0]), min(width, picture.shape[1])
    means = _means(_gradients(picture), height, width)
    tops, lefts = (
        _starts(whole - part + 1, part // STEPS)
        for whole, part in zip(picture.shape[:2], (height, width), strict=True)
    )
    candidates = means[np.ix_(tops, lefts)]
    places: list[Place] = []
    for index in np.argsort(-candidates, axis=None, kind="stable"):
        row, column = np.unravel_index(index, candidates.shape)
        top, left = int(tops[row]), int(lefts[column])
        if all(abs(top - p[0]) >= height or abs(left - p[1]) >= width for p in places):
            places.append((top, left, height, width))
        if len(places) == count:
            break
    return places


def around(picture: Array, x: int, y: int, height: int, width: int) -> Place:
    """The part about a point, moved inward where the point lies near the border."""
    height, width = min(height, picture.shape[0]), min(width, picture.shape[1])
    top = min(max(0, y - height // 2), picture.shape[0] - height)
    left = min(max(0, x - width // 2), picture.shape[1] - width)
    return top, left, height, width


def enlarged(picture: Array, place: Place, times: int) -> Array:
    """A part with every pixel as a square of `times` × `times`."""
    top, left, height, width = place
    part = picture[top : top + height, left : left + width]
    return part.repeat(times, axis=0).repeat(times, axis=1)


def outlined(picture: Floats, place: Place) -> Floats:
    """The picture with a frame about a part: a white line, a black one within."""
    framed = picture.copy()
    top, left, height, width = place
    for inset, level in ((0, 1.0), (1, 0.0)):
        rows = (top + inset, top + height - 1 - inset)
        columns = (left + inset, left + width - 1 - inset)
        if rows[0] > rows[1] or columns[0] > columns[1]:
            break
        framed[rows, columns[0] : columns[1] + 1] = level
        framed[rows[0] : rows[1] + 1, columns] = level
    return framed


def _starts(count: int, step: int) -> Array:
    """Where parts begin, the last possible place too."""
    return np.unique(np.append(np.arange(0, count, max(1, step)), count - 1))


def _gradients(picture: Array) -> Floats:
    """Size of the brightness's gradient at each pixel, H×W."""
    grey = as_float(picture).mean(axis=2)
    down = np.abs(np.diff(grey, axis=0, append=grey[-1:]))
    across = np.abs(np.diff(grey, axis=1, append=grey[:, -1:]))
    gradients: Floats = down + across
    return gradients


def _means(values: Floats, height: int, width: int) -> Array:
    """Mean over each part, by the top left corner of the part."""
    sums = np.zeros((values.shape[0] + 1, values.shape[1] + 1))
    sums[1:, 1:] = values.cumsum(0, dtype=np.float64).cumsum(1)
    total = (
        sums[height:, width:] - sums[:-height, width:] - sums[height:, :-width]
        + sums[:-height, :-width]
    )  # fmt: skip
    return np.asarray(total / (height * width))
