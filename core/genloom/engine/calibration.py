"""What a model is calibrated on: parts of photographs, as its graphs take them."""

from __future__ import annotations

import contextlib
import hashlib
import itertools
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path

import numpy as np

from genloom import imaging
from genloom.card import Card, Part
from genloom.engine.arrays import reflect, with_channels
from genloom.errors import GenloomError, ImageError
from genloom.stage import Inputs
from genloom.stages.folders import walk
from genloom.types import Array, as_float

SIDE = 192
"""Side in pixels of the parts of photographs that are calibrated and compared on, or the next
larger one that the model takes."""

MOST = 48
"""Photographs that are looked at, at the most."""

LEVELS = (0.1, 0.3, 0.6, 1.0)
"""Noise levels that are put on in turn, for a network that is told them; of its highest."""

STRONGEST = 50 / 255
"""The highest noise level of a network that does not say."""

Example = Mapping[str, Array]
"""Inputs of a graph, by port."""


def photographs(paths: Sequence[str], height: int, width: int) -> list[list[Array]]:
    """Parts H×W×C of each photograph, in an order that neither names nor folders decide.

    Raises:
        GenloomError: when there are fewer than two, to calibrate on one and compare on another.
    """
    items = (item for listing in walk(Inputs(tuple(paths)), recursive=True)
             for item in listing.items(range(len(listing))))  # fmt: skip
    files = {_digest(item.source): item.source for item in items if item.source is not None}
    found = list[list[Array]]()
    for digest, path in sorted(files.items()):
        if digest and len(found) < MOST:
            with contextlib.suppress(ImageError):  # one that cannot be read is no photograph
                found.append(list(_tiles(imaging.read(path).pixels, height, width)))
    if len(found) < 2:
        raise GenloomError(
            "there are too few photographs to calibrate on",
            expected="at least 2 that can be read, better 20",
            got=str(len(found)),
            hint="Name photographs like those that the model will see",
        )
    return found


def _digest(path: Path) -> bytes:
    """SHA-256 of a file; nothing where it is no file, or cannot be read."""
    try:
        if not path.is_file():  # a pipe would keep a reader waiting
            return b""
        with path.open("rb") as file:
            return hashlib.file_digest(file, "sha256").digest()
    except OSError:
        return b""


def examples(pictures: Sequence[Sequence[Array]], card: Card, part: Part) -> Iterator[Example]:
    """What the graph takes, of each part; noisy where a network is told how much."""
    random, level_port = np.random.default_rng(0), part.inputs.get("noise_level")
    for number, tile in enumerate(itertools.chain.from_iterable(pictures)):
        pixels = as_float(with_channels(tile, card.channels)).transpose(2, 0, 1)[None]
        if level_port is None:
            yield {"image": np.ascontiguousarray(pixels)}
            continue
        top = level_port.range[1] if level_port.range else STRONGEST
        level = top * LEVELS[number % len(LEVELS)]
        noise = random.normal(0.0, level, pixels.shape)
        noisy = np.clip(pixels + noise, 0, 1).astype(np.float32)
        yield {"image": noisy, "noise_level": np.array([level], np.float32)}


def _tiles(pixels: Array, height: int, width: int) -> Iterator[Array]:
    """The middle of a photograph, and what has most detail."""
    rows, columns = pixels.shape[:2]
    if rows < height or columns < width:
        yield reflect(pixels[None], height, width)[0]
        return
    middle = ((rows - height) // 2, (columns - width) // 2, height, width)
    for top, left, *_ in (middle, *imaging.most_detailed(pixels, height, width)):
        yield pixels[top : top + height, left : left + width].copy()
