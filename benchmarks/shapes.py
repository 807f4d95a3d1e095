"""What few shapes cost: the pixels computed in tiles of listed sides, beyond those of the picture.

    python benchmarks/shapes.py [--fields 18 39 60 183 263] [--pictures 100]

No network is run and no time taken: what is counted are pixels and shapes. First, for typical
sizes of pictures and each receptive field, the side that is chosen and how many percent of the
picture are computed once more, where it is not one of the first few sizes, which go as they are;
then, over pictures of random sizes, how many shapes their calls have, with tiles and without, the
percent over all of them, and how many go as they are.
"""

from __future__ import annotations

import argparse

import numpy as np

from genloom.card import Card, SizeRule
from genloom.engine import shapes, tiling
from genloom.engine.cutting import Cutting
from genloom.engine.settings import BATCH, BATCH_PIXELS

SIZES = (
    (256, 256), (320, 240), (512, 512), (640, 480), (800, 600), (1000, 667), (1024, 768),
    (1080, 1080), (1280, 720), (1500, 1000), (1920, 1080), (2048, 1365), (3000, 2000), (4000, 3000),
)  # fmt: skip


def main() -> None:
    """Print the two tables."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--fields", type=int, nargs="+", default=[18, 39, 60, 183, 263])
    parser.add_argument("--pictures", type=int, default=100)
    options = parser.parse_args()
    print("width×height   " + "".join(f"{f'field {field}':>18}" for field in options.fields))
    for width, height in SIZES:
        row = f"{width}×{height}".ljust(15)
        print(row + "".join(f"{cost(height, width, field):>18}" for field in options.fields))
    print(
        f"\nof {options.pictures} random sizes   shapes, cut   shapes, as on a CPU   extra   whole"
    )
    for field in options.fields:
        print(f"field {field:<20} {row_of(field, options.pictures)}")


def cost(height: int, width: int, field: int) -> str:
    """The sides of the tiles of a picture, and what is computed beyond its pixels."""
    tiles = cutting(field).tiles(height, width, few_shapes=True)
    extra = 100 * (area(tiles) / (height * width) - 1)
    return f"{tiles[0].rows.length}: {extra:.0f} %" if len(tiles) > 1 else "whole"


def area(tiles: list[tiling.Tile]) -> int:
    """Pixels of all tiles."""
    return sum(tile.rows.length * tile.columns.length for tile in tiles)


def row_of(field: int, pictures: int) -> str:
    """How many shapes the calls for pictures of random sizes have, and what that costs."""
    random, familiar = np.random.default_rng(0), shapes.Familiar()
    seen, plain, whole = set[tuple[int, int, int]](), set[tuple[int, int, int]](), 0
    computed = pixels = 0
    for _ in range(pictures):
        height, width = map(int, random.integers(100, 2000, 2))
        few = not familiar.has((height, width))
        tiles = cutting(field).tiles(height, width, few_shapes=few)
        usual = cutting(field).tiles(height, width)
        seen.update(calls(tiles, True))
        plain.update(calls(usual, False))
        computed, pixels = computed + area(tiles), pixels + area(usual)
        whole += tiles == usual
    return f"{len(seen):8}{len(plain):22}{100 * (computed / pixels - 1):13.0f} %{whole:8}"


def calls(tiles: list[tiling.Tile], few: bool) -> set[tuple[int, int, int]]:
    """Shapes of the calls that tiles of one picture are put into: count, height, width."""
    found = set()
    most = max(1, min(BATCH, BATCH_PIXELS // area(tiles[:1])))
    for some in tiling.together(tiles, most):
        left = len(some)
        while left:
            count = shapes.at_most(left) if few else left
            found.add((count, some[0].rows.length, some[0].columns.length))
            left -= count
    return found


def cutting(field: int) -> Cutting:
    """How pictures are cut for a network of that receptive field."""
    return Cutting(Card.model_construct(name="x", size=SizeRule(), receptive_field=field))


if __name__ == "__main__":
    main()
