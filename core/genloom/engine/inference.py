"""Pictures through an image→image graph: whole, or in tiles as large as there is room for."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from contextlib import nullcontext
from math import prod

import numpy as np

from genloom import scratch
from genloom.card import Card
from genloom.engine import arrays, interrupt, shapes, tiling
from genloom.engine.cutting import Cutting
from genloom.engine.fallback import Fallback
from genloom.engine.networks import Form, Networks
from genloom.engine.room import Room, as_ours, of_items, pieces
from genloom.engine.stitch import Stitch
from genloom.errors import ModelError, OutOfMemory
from genloom.models import Bundle
from genloom.runtime import memory
from genloom.runtime.pixels import IMAGE, MEAN, RESULT
from genloom.types import Array, as_dtype

Call = Callable[[Networks, str, Form, Mapping[str, Array]], dict[str, Array]]
"""One call of a part's graph, in a form, on some networks."""


class ImageInference:
    """Puts pictures through the image→image graphs of a model. Safe to use from several threads.

    Args:
        bundle: the model on disk.
        networks: its compiled graphs.
        fallback: where they compute.
        call: calls a graph.
        tile: longest side in pixels of the tiles that large pictures are cut into; 0 for what is
            usual for the model.
        batch: pictures, or tiles of them, that go into one call where the network gains by it.
        batch_pixels: pixels of such a call at the most; 0 for no such bound.
    """

    def __init__(
        self,
        bundle: Bundle,
        networks: Networks,
        fallback: Fallback,
        call: Call,
        *,
        tile: int,
        batch: int,
        batch_pixels: int,
    ) -> None:
        self._bundle, self._networks, self._fallback = bundle, networks, fallback
        self._call, self._tile = call, tile
        self._batch, self._batch_pixels = batch, batch_pixels
        self._familiar = shapes.Familiar()

    @property
    def card(self) -> Card:
        """What the model is."""
        return self._bundle.card

    @property
    def cutting(self) -> Cutting:
        """How large pictures are put through it."""
        return Cutting(self.card, self._tile)

    def averaged(
        self,
        part: str,
        pixels: Array,
        ports: Mapping[str, Array],
        ensemble: int,
        rounded: bool,
    ) -> Array:
        """The mean of the results N×H×W×C on pictures turned and mirrored in so many ways.

        Args:
            part: which graph.
            pixels: N×H×W×C.
            ports: its other inputs; those of four axes are turned too.
            ensemble: 1, 2, 4 or 8 ways.
            rounded: whether 8 bits will do, of 8 bits in a single way.
        """
        result = self.whole_or_tiled(part, pixels, ports, rounded)
        for way in range(1, ensemble):
            turned = {n: arrays.turn(v, way) if v.ndim == 4 else v for n, v in ports.items()}
            other = arrays.turn(
                self.whole_or_tiled(part, arrays.turn(pixels, way), turned), way, back=True
            )
            for rows in scratch.strips(result, other):
                result[rows] += other[rows]
        for rows in scratch.strips(result) if ensemble > 1 else ():
            result[rows] /= np.float32(ensemble)
        return result

    def whole_or_tiled(
        self, part: str, pixels: Array, ports: Mapping[str, Array], rounded: bool = False
    ) -> Array:
        """Results N×H×W×C: uint8 where they may be `rounded` and all are numbers, else floats."""
        size = self.card.size.padded(*pixels.shape[1:3])
        least = self.cutting.least(*size, large=self._is_large(pixels))
        what = f"one picture of {size[1]}×{size[0]}"
        what += f", in tiles of {least[1]}×{least[0]}" if least != size else ", whole"

        def on(networks: Networks) -> Array:
            return self._in_tiles(networks, part, pixels, ports, rounded)

        return self._fallback.call(part, prod(least) * self.card.channels, what, on)

    def _in_tiles(
        self,
        networks: Networks,
        part: str,
        pixels: Array,
        ports: Mapping[str, Array],
        rounded: bool,
    ) -> Array:
        """The same on some networks: in tiles as large as there is room for."""
        room, size = networks.room(part), self.card.size.padded(*pixels.shape[1:3])
        few = networks.get(part, self._form(part, pixels, rounded)).few_shapes
        few = few and not self._familiar.has((part, *size))
        tiles = self._tiles(pixels, room, few)
        while True:
            first = tiles[0].rows.length, tiles[0].columns.length
            each = prod(first) * self.card.channels
            alone = room.is_for_one(each)
            try:
                with memory.alone() if alone else nullcontext():
                    return self._stitched(networks, part, pixels, ports, rounded, tiles)
            except (OutOfMemory, MemoryError) as error:
                if isinstance(error, MemoryError):  # for the arrays around a call
                    room.ran_out(1, each, f"{first[1]}×{first[0]}")
                smaller = self._tiles(pixels, room, few)
                if smaller != tiles:
                    tiles = smaller
                elif memory.was_crowded() and not alone:
                    room.keep_for_one(each)
                else:
                    raise as_ours(error) from None

    def _stitched(
        self,
        networks: Networks,
        part: str,
        pixels: Array,
        ports: Mapping[str, Array],
        rounded: bool,
        tiles: Sequence[tiling.Tile],
    ) -> Array:
        card, form = self.card, self._form(part, pixels, rounded)
        height, width = pixels.shape[1:3]
        padded = card.size.padded(height, width)
        guides = self._guides(part, pixels, ports, padded)
        stitch = Stitch((height, width), padded, card)
        rest = {name: value for name, value in ports.items() if name not in guides}
        for some in tiling.together(tiles, self._at_a_time(networks, part, form, pixels, tiles)):
            interrupt.go_on()
            image = arrays.joined([arrays.cut(pixels, tile) for tile in some])
            others = {
                name: arrays.joined([value] * len(some)) if len(value) == len(pixels) else value
                for name, value in rest.items()
            }
            for name, guide in guides.items():
                others[name] = arrays.joined(
                    [arrays.planes(arrays.cut(guide, tile)) for tile in some]
                )
            result = self._adapted(networks, part, form, image, others)
            if result is not None and rounded and pixels.dtype == np.uint8:
                result = _rounded(result)
            if result is None:
                return self._stitched(networks, part, pixels, ports, False, tiles)
            for tile, done in zip(some, np.split(result, len(some)), strict=True):
                stitch.add(done, tile)
            scratch.release(pixels, *guides.values())
        return stitch.result

    def _at_a_time(
        self,
        networks: Networks,
        part: str,
        form: Form,
        pixels: Array,
        tiles: Sequence[tiling.Tile],
    ) -> int:
        """How many tiles of each picture go into one call."""
        if len(tiles) == 1 or not networks.get(part, form).together:
            return 1
        area = tiles[0].rows.length * tiles[0].columns.length * len(pixels)
        most = self._batch_pixels // area if self._batch_pixels else self._batch
        return max(1, min(self._batch // len(pixels), most))

    def _tiles(self, pixels: Array, room: Room, few: bool) -> list[tiling.Tile]:
        """How pictures N×H×W×C are cut, once padded, where there is so much room."""
        most, large = room.each(self.card.channels), self._is_large(pixels)
        padded = self.card.size.padded(*pixels.shape[1:3])
        return self.cutting.tiles(*padded, most, large=large, few_shapes=few)

    def _is_large(self, pixels: Array) -> bool:
        """Whether the result for pictures N×H×W×C is too large for memory."""
        count, height, width, channels = pixels.shape
        shape = (count, height * self.card.scale, width * self.card.scale, channels)
        return scratch.is_large(shape, pixels.dtype)

    def _form(self, part: str, pixels: Array, rounded: bool) -> Form:
        if pixels.dtype != np.uint8 or not self._networks.folds(part):
            return Form.FLOATS
        grey = pixels.shape[3] < self.card.channels  # its luma is taken of floats
        return Form.ROUNDED if rounded and not grey else Form.BYTES

    def _adapted(
        self,
        networks: Networks,
        part: str,
        form: Form,
        image: Array,
        others: Mapping[str, Array],
    ) -> Array | None:
        """`_result` for pictures N×H×W×C of other channels than the network's own, as they came.

        A grey network sees each colour by itself; a colour network sees grey as three equal ones.
        """
        count, height, width, channels = image.shape
        split = channels == 3 and self.card.channels == 1
        if split:
            image = image.transpose(0, 3, 1, 2).reshape(count * 3, height, width, 1)
            others = {
                name: np.repeat(value, 3, axis=0) if len(value) == count else value
                for name, value in others.items()
            }
        image = arrays.with_channels(image, self.card.channels)
        image = image if form != Form.FLOATS else arrays.planes(image)
        result = self._result(networks, part, form, image, others)
        if result is not None and split:
            return result.reshape(count, 3, *result.shape[1:3]).transpose(0, 2, 3, 1)
        if result is not None and channels == 1 and result.shape[3] == 3:
            return np.asarray(result @ arrays.LUMA[:, None])
        return result

    def _guides(
        self, part: str, pixels: Array, ports: Mapping[str, Array], padded: tuple[int, int]
    ) -> dict[str, Array]:
        """The pictures among the other inputs, as large as the padded picture.

        Raises:
            ModelError: when one is not as large as the picture.
        """
        found = {}
        for name, port in self.card.parts[part].inputs.items():
            if name == "image" or len(port.axes) != 4 or name not in ports:
                continue
            value, channels = ports[name], port.axes[1]
            if value.ndim == 1:
                even = np.asarray(value, np.float32)[:, None, None, None]
                found[name] = np.broadcast_to(even, (len(pixels), *padded, int(channels)))
            elif value.shape[:3] != pixels.shape[:3]:
                raise ModelError(
                    f"the guide '{name}' is not as large as its picture",
                    expected="×".join(map(str, pixels.shape[:3])),
                    got="×".join(map(str, value.shape[:3])),
                )
            else:
                found[name] = arrays.with_channels(value, int(channels))
        return found

    def _result(
        self,
        networks: Networks,
        part: str,
        form: Form,
        image: Array,
        others: Mapping[str, Array],
    ) -> Array | None:
        """`result` of an image→image graph, N×H×W×C; None where bytes would hide what is no number.

        In as many calls as memory wants; a graph made for one picture gets one at a time.
        """
        count, inputs = len(image), {"image" if form == Form.FLOATS else IMAGE: image, **others}
        rows, columns = image.shape[1:3] if form != Form.FLOATS else image.shape[2:4]

        def call(which: slice) -> Array | None:
            given = self._call(networks, part, form, of_items(inputs, which, count))
            if form == Form.ROUNDED:
                return given[RESULT] if np.isfinite(given[MEAN]) else None
            return given["result"].transpose(0, 2, 3, 1)

        room, few, what = (
            networks.room(part),
            networks.get(part, form).few_shapes,
            f"{columns}×{rows}",
        )
        done = pieces(room, count, image.size // count, what, call, few_shapes=few)
        good = [one for one in done if one is not None]
        if len(good) < len(done):
            return None
        return arrays.joined(good)


def _rounded(result: Array) -> Array | None:
    """A result as 8 bits; None where not all are numbers."""
    try:
        return as_dtype(result, np.uint8)
    except ValueError:
        return None
