"""How large pictures are cut for a model: by its size rule, its receptive field, and the memory."""

from __future__ import annotations

from math import inf, isqrt

from genloom.card import PICTURES, Card
from genloom.engine import shapes, tiling
from genloom.errors import ModelError
from genloom.limits import MAX_TILES

TILE = 1536
"""Side in pixels of the largest tile that is taken unasked, and of all that are blended."""

SIDES = (768, 1024, TILE)
WORTH = 1.07
"""Unless asked otherwise, the side is the smallest of these for which no more than so many times
the pixels are computed: what a network holds for a tile grows with its pixels."""

LARGE_TILE = 512
"""The same where a picture is too large for memory, so that its tiles are none of the trouble: what
a network holds for one of 1536 can be 2 GB."""

LEAST_TILE = 64
"""Side that no tile is cut below because memory ran out."""


def usual_side(card: Card) -> int:
    """Side of the tiles of a model unless asked otherwise; see `SIDES`."""
    if card.receptive_field == "global" or card.size.fixed is not None:
        return TILE
    step, margin = card.size.step, card.receptive_field // 2

    def work(side: int) -> float:
        side = side // step * step
        kept = (side - 2 * margin) // step * step
        return (side / kept) ** 2 if kept > 0 else inf

    return next((side for side in SIDES if work(side) <= WORTH * work(TILE) < inf), TILE)


class Cutting:
    """Cuts pictures for a model into tiles of one size.

    Args:
        card: of the model.
        tile: longest side of the tiles in pixels, as asked; 0 for what is usual for the model.
    """

    def __init__(self, card: Card, tile: int = 0) -> None:
        self._card, self.tile = card, tile or usual_side(card)

    def __str__(self) -> str:
        """In words, for `genloom plan`."""
        card, fixed = self._card, self._card.size.fixed
        side = self._side()
        tiles = f"tiles of {fixed[1]}×{fixed[0]}" if fixed else f"tiles of {side}"
        if card.receptive_field != "global":
            return f"{tiles}, field {card.receptive_field} px"
        return f"{tiles}, blended over {card.size.overlap} px" if card.size.overlap else "whole"

    @property
    def unheeded(self) -> str:
        """Why tiles have another side than was asked for; empty where they have it."""
        card, side = self._card, self._side()
        if not any(PICTURES & part.outputs.keys() for part in card.parts.values()):
            return ""  # no picture is made of tiles
        if card.size.fixed is not None:
            return "it takes one size only"
        if self._margin is None:
            return "it sees a picture whole, and in tiles its results would be others"
        far = f"it sees {card.receptive_field} pixels far, so they are of {side}"
        return far if side > self.tile else ""

    @property
    def overlap(self) -> int:
        """Pixels over which tiles of a network are blended that sees a picture whole."""
        return self._card.size.overlap if self._card.receptive_field == "global" else 0

    @property
    def _margin(self) -> int | None:
        """Pixels of a tile at its inner edges that are not right by themselves.

        None for a network that sees a picture whole and must not be cut.
        """
        if self._card.receptive_field != "global":
            return self._card.receptive_field // 2
        return -(-self._card.size.overlap // 2) or None

    def _side(self, large: bool = False) -> int:
        """Side of the tiles: as asked, in steps of the size rule, or as much as keeps something."""
        step = self._card.size.step
        asked = min(self.tile, LARGE_TILE) if large and not self.overlap else self.tile
        return max(asked // step * step, self._side_that_keeps(max(step, self._most_lost)))

    def _side_that_keeps(self, pixels: int) -> int:
        """Side of the smallest tile that keeps so many pixels between its margins."""
        step, margin = self._card.size.step, self._margin or 0
        return -(-(2 * margin + pixels) // step) * step

    @property
    def _most_lost(self) -> int:
        """Pixels of a tile's side that are not kept, where as many are: else most work is lost."""
        return 0 if self._card.receptive_field == "global" else 2 * (self._margin or 0)

    def _side_within(self, pixels: int, large: bool) -> int:
        """Side of the tiles where memory has room for so many pixels."""
        step, lost = self._card.size.step, self._most_lost
        if self._card.receptive_field == "global":  # other tiles would be blended otherwise
            return self._side(large)
        # At least half of a tile's side is kept: what is smaller would be computed over and over.
        least = self._side_that_keeps(max(step, lost, LEAST_TILE - lost))
        return min(self._side(large), max(least, isqrt(pixels) // step * step))

    def least(self, height: int, width: int, *, large: bool = False) -> tuple[int, int]:
        """Height and width of the smallest tile that a picture may be cut into."""
        side = self._side_within(1, large)
        limit = side * side if side < self._side(large) else 1.5 * side * side
        if self._card.size.fixed is not None:
            return self._card.size.fixed
        if self._margin is None or height * width <= limit:
            return height, width
        rows, columns = (max(side, self._least(length)) for length in (height, width))
        return min(rows, height), min(columns, width)

    def _least(self, length: int) -> int:
        """Length of the shortest tiles along an axis of which the graphs take the last one too.

        That one is shorter than the others by what the axis lacks of a multiple of the step.
        """
        rule = self._card.size
        return -(-(rule.minimum + -length % rule.step) // rule.step) * rule.step

    def _evened(self, height: int, width: int, tile: tuple[int, int]) -> tuple[int, int]:
        """The smallest tile of which a picture needs no more, where any gives the same result."""
        card, rule = self._card, self._card.size
        if rule.fixed is not None:
            return tile
        lengths = (height, width)
        if card.receptive_field != "global":
            margin, step = card.receptive_field // 2, rule.step
            rows, columns = (
                tiling.shortest(length, side, margin, step)
                for length, side in zip(lengths, tile, strict=True)
            )
            tile = rows, columns
        rows, columns = map(max, map(self._least, lengths), tile)
        longer = max(rows, columns)
        return (longer, longer) if rule.square else (rows, columns)

    def _work(self, height: int, width: int, tile: tuple[int, int]) -> float:
        """How many times the pixels of a picture tiles of a size have together."""
        margin, step = self._margin or 0, self._card.size.step
        sides = zip((height, width), tile, strict=True)
        try:
            rows, columns = (tiling.spans(length, side, margin, step) for length, side in sides)
        except ValueError:  # there are no such tiles
            return 1.0
        pixels = sum(row.length for row in rows) * sum(column.length for column in columns)
        return pixels / (height * width)

    def tiles(
        self,
        height: int,
        width: int,
        most: int | None = None,
        *,
        large: bool = False,
        few_shapes: bool = False,
    ) -> list[tiling.Tile]:
        """How a picture that meets the size rule is cut; one tile where it is not.

        Args:
            height: of the picture, padded to the size rule.
            width: the same.
            most: pixels that there is room for. Below the least tile, and where other tiles would
                give another result, it is left to the call to fail.
            large: whether the result does not fit into memory.
            few_shapes: whether tiles of pictures of many sizes are to have few. Then pictures that
                are smaller than a tile are cut too, where the result does not depend on it.

        Raises:
            ModelError: when a network that sees a picture whole takes another size only, or the
                tiles would be too many or too small.
        """
        card, rule, margin = self._card, self._card.size, self._margin
        usual = self._side(large)
        side = usual if most is None else self._side_within(most, large)
        tile = rule.fixed or (side, side)
        # A picture a little larger than a tile costs less whole than in two overlapping tiles.
        limit = 1.5 * side * side
        if most is not None and side < usual:
            limit = max(most, side * side)
        cut = height * width > limit or rule.fixed is not None
        if margin is None and rule.fixed not in (None, (height, width)):
            raise ModelError(
                f"'{card.name}' sees a picture whole and takes one size only",
                expected=f"{tile[1]}×{tile[0]}",
                got=f"{width}×{height}",
                hint="Put a `resize` before it, or import it with `--overlap`, to be cut",
            )
        whole = margin is None or not cut
        tile = (height, width) if whole else self._evened(height, width, tile)
        if few_shapes and card.receptive_field != "global" and rule.fixed is None:
            one = shapes.tile(
                height,
                width,
                margin=margin or 0,
                step=rule.step,
                least=rule.minimum,
                most=side,
                work=shapes.MOST_WORK * (self._work(height, width, tile) if cut else 1.0),
            )
            tile = (one, one) if one else tile
        kept = [max(1, length - 2 * (margin or 0)) for length in tile]
        if height * width > MAX_TILES * kept[0] * kept[1]:
            raise ModelError(
                f"'{card.name}' takes pieces too small for a picture of this size",
                expected=f"at most {MAX_TILES} of them",
                got=f"pieces of {tile[1]}×{tile[0]} for {width}×{height}",
            )
        try:
            return list(tiling.tiles((height, width), tile, margin or 0, rule.step))
        except ValueError as error:
            raise ModelError(f"'{card.name}' cannot be tiled like this: {error}") from None
