"""A bundle compiled for a runtime: the model that stages and backends are given."""

from __future__ import annotations

import threading
from collections.abc import Mapping, Sequence
from functools import partial
from math import prod

import numpy as np

from genloom import imaging, scratch
from genloom.backend import Backend
from genloom.card import Card
from genloom.engine import tiling
from genloom.engine.cutting import TILE, Cutting
from genloom.engine.fallback import Fallback
from genloom.engine.networks import FLOOR, Compile, Form, Networks
from genloom.engine.room import Room, as_ours, items_of, of_items, pieces, shape_of
from genloom.engine.stitch import Stitch
from genloom.errors import ModelError, OutOfMemory, shown
from genloom.models import Bundle
from genloom.runtime import EXACT, Network
from genloom.runtime.pixels import IMAGE, MEAN, RESULT
from genloom.types import Array, Batch, Floats, Item, as_dtype, as_float

ENSEMBLES = (1, 2, 4, 8)
"""Of how many ways to turn and mirror a picture the mean can be taken."""

LUMA = np.array([0.299, 0.587, 0.114], np.float32)
"""Weights of red, green and blue in grey (ITU-R BT.601, as Pillow and OpenCV use)."""


class CompiledModel:
    """A model ready to run; see `genloom.Model`. Safe to use from several threads.

    Args:
        bundle: the model on disk.
        backend: what its family means.
        compile: makes a network of the bytes of a graph, in a precision.
        tile: side in pixels of the tiles that large pictures are cut into.
        precision: as in `genloom.RunSettings`.
        floor: its `precision_floor`.
        spare: compiles for the CPU what another provider has no memory for; None where that is
            not wanted.
        batch: pictures, or tiles of them, that go into one call where the network gains by it.
        batch_pixels: pixels of such a call at the most; 0 for no such bound.
    """

    def __init__(
        self,
        bundle: Bundle,
        backend: Backend,
        compile: Compile,
        *,
        tile: int = TILE,
        precision: str = EXACT,
        floor: float = FLOOR,
        spare: Compile | None = None,
        batch: int = 1,
        batch_pixels: int = 0,
    ) -> None:
        self.bundle, self.backend, self.tile = bundle, backend, tile
        self.networks = Networks(bundle, compile, precision, floor)
        self.fallback = Fallback(
            bundle.card.name, self.networks, Networks(bundle, spare) if spare else None
        )
        self._batch, self._batch_pixels = batch, batch_pixels
        self._tensors: Mapping[str, Array] | None = None
        self._lock = threading.Lock()

    @property
    def card(self) -> Card:
        """What the model is."""
        return self.bundle.card

    @property
    def digest(self) -> str:
        """SHA-256 over what decides results in the card."""
        return self.bundle.digest

    @property
    def tensors(self) -> Mapping[str, Array]:
        """The arrays that the bundle holds beside its graphs; read once."""
        with self._lock:
            if self._tensors is None:
                self._tensors = self.bundle.tensors()
            return self._tensors

    @property
    def cutting(self) -> Cutting:
        """How large pictures are put through it."""
        return Cutting(self.card, self.tile)

    def network(self, part: str) -> Network:
        """The compiled graph of a part; compiled once."""
        return self.networks.get(part)

    @property
    def precisions(self) -> dict[str, str]:
        """What each compiled part computes in, or may after its first call."""
        return self.networks.precisions

    def prepare(self, parts: Sequence[str], *, rounded: bool) -> str:
        """Compile parts now as 8-bit pictures will want them: what fails shall fail early.

        Returns:
            the provider that took them, or all of them where `auto` came to different ones.
        """
        form = Form.ROUNDED if rounded and not self.cutting.overlap else Form.BYTES
        providers = [
            self.fallback.call(
                part, 0, "its graph", partial(_compiled, part=part, form=form)
            ).provider
            for part in parts
        ]
        return ", ".join(dict.fromkeys(providers))

    def run(self, part: str, inputs: Mapping[str, Array]) -> dict[str, Array]:
        """Run one graph on arrays exactly as its ports want them; see `genloom.Model`."""
        count = items_of(self.card.parts.get(part), inputs)
        shape = shape_of(inputs, count)

        what = "×".join(map(str, shape)) or "1"

        def on(networks: Networks) -> list[dict[str, Array]]:
            def call(which: slice) -> dict[str, Array]:
                some = of_items(inputs, which, count) if count > 1 else inputs
                return self._called(networks, part, Form.FLOATS, some)

            return pieces(networks.room(part), count, prod(shape), what, call)

        done = self.fallback.call(part, prod(shape), f"one item of {what}", on)
        return {name: _joined([one[name] for one in done]) for name in done[0]}

    def _called(
        self, networks: Networks, part: str, form: Form, inputs: Mapping[str, Array]
    ) -> dict[str, Array]:
        """One call of a graph."""
        return networks.get(part, form).run(inputs)

    def encode(self, batch: Batch) -> Batch:
        """Pictures → latents."""
        return self.backend.encode(self, self.fit(batch))

    def decode(self, batch: Batch) -> Batch:
        """Latents → pictures.

        Raises:
            ModelError: when another model made the latents.
        """
        if batch.model != self.digest:
            raise ModelError(
                "these latents were made by another model",
                expected=f"latents of '{self.card.name}' ({self.digest[:12]}…)",
                got=f"{batch.model[:12]}…",
            )
        return self.backend.decode(self, batch)

    def prior(
        self,
        items: Sequence[Item],
        random: Sequence[np.random.RandomState],
        *,
        temperature: float = 1.0,
        truncation: float | None = None,
        labels: Sequence[int] | None = None,
    ) -> Batch:
        """One latent for each item from the model's prior."""
        return self.backend.prior(
            self, items, random, temperature=temperature, truncation=truncation, labels=labels
        )

    def fit(self, batch: Batch) -> Batch:
        """The pictures in the model's channels and, where it takes only one, in its size."""
        batch = batch.with_pixels(with_channels(batch.pixels, self.card.channels))
        fixed = self.card.size.fixed
        if fixed is None:
            return self._cut_to_multiple(batch)
        if batch.size == fixed:
            return batch
        note = f"resized from {batch.size[1]}×{batch.size[0]} to the model's {fixed[1]}×{fixed[0]}"
        pixels = [imaging.resize(one, *fixed, "lanczos") for one in batch.pixels]
        return batch.with_items([item.noting(note) for item in batch.items]).with_pixels(
            np.stack(pixels)
        )

    def _cut_to_multiple(self, batch: Batch) -> Batch:
        rule, (height, width) = self.card.size, batch.size
        new = [max(side // rule.multiple * rule.multiple, rule.minimum) for side in (height, width)]
        if (height, width) == (new[0], new[1]):
            return batch
        pixels = [imaging.resize(one, new[0], new[1], "lanczos") for one in batch.pixels]
        return batch.with_pixels(np.stack(pixels))

    def image(
        self,
        part: str,
        batch: Batch,
        *,
        ensemble: int = 1,
        rounded: bool = False,
        **ports: Array,
    ) -> Batch:
        """Run an image→image graph (ports `image`, `result`); see `genloom.Model`."""
        if ensemble not in ENSEMBLES:
            raise ModelError(
                "'ensemble' is not right",
                expected=" or ".join(map(str, ENSEMBLES)),
                got=shown(ensemble),
            )
        blended = ensemble > 1 or self.cutting.overlap > 0
        return batch.with_pixels(
            self._averaged(part, batch.pixels, ports, ensemble, rounded and not blended)
        )

    def _averaged(
        self,
        part: str,
        pixels: Array,
        ports: Mapping[str, Array],
        ensemble: int,
        rounded: bool,
    ) -> Array:
        """The mean of the results on pictures turned and mirrored in so many ways."""
        result = self._whole_or_tiled(part, pixels, ports, rounded)
        for way in range(1, ensemble):
            turned = {n: turn(v, way) if v.ndim == 4 else v for n, v in ports.items()}
            other = turn(self._whole_or_tiled(part, turn(pixels, way), turned), way, back=True)
            for rows in scratch.strips(result, other):
                result[rows] += other[rows]
        for rows in scratch.strips(result) if ensemble > 1 else ():
            result[rows] /= np.float32(ensemble)
        return result

    def _whole_or_tiled(
        self, part: str, pixels: Array, ports: Mapping[str, Array], rounded: bool = False
    ) -> Array:
        """Results N×H×W×C: uint8 where they may be `rounded` and all are numbers, else floats."""
        size = self.card.size.padded(*pixels.shape[1:3])
        least = self.cutting.least(*size, large=self._is_large(pixels))
        what = f"one picture of {size[1]}×{size[0]}"
        what += f", in tiles of {least[1]}×{least[0]}" if least != size else ", whole"

        def on(networks: Networks) -> Array:
            return self._in_tiles(networks, part, pixels, ports, rounded)

        return self.fallback.call(part, prod(least) * self.card.channels, what, on)

    def _in_tiles(
        self,
        networks: Networks,
        part: str,
        pixels: Array,
        ports: Mapping[str, Array],
        rounded: bool,
    ) -> Array:
        """The same on some networks: in tiles as large as there is room for."""
        padded, room = self.card.size.padded(*pixels.shape[1:3]), networks.room(part)
        tiles = self._tiles(pixels, padded, room)
        while True:
            try:
                return self._stitched(networks, part, pixels, ports, rounded, tiles)
            except (OutOfMemory, MemoryError) as error:
                if isinstance(error, MemoryError):  # for the arrays around a call
                    first = tiles[0].rows.length, tiles[0].columns.length
                    room.ran_out(1, prod(first) * self.card.channels, f"{first[1]}×{first[0]}")
                smaller = self._tiles(pixels, padded, room)
                if smaller == tiles:
                    raise as_ours(error) from None
                tiles = smaller

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
            image = _joined([_cut(pixels, tile) for tile in some])
            others = {
                name: _joined([value] * len(some)) if len(value) == len(pixels) else value
                for name, value in rest.items()
            }
            for name, guide in guides.items():
                others[name] = _joined([_planes(_cut(guide, tile)) for tile in some])
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

    def _tiles(self, pixels: Array, padded: tuple[int, int], room: Room) -> list[tiling.Tile]:
        """How pictures N×H×W×C are cut, once padded, where there is so much room."""
        most = room.each(self.card.channels)
        return self.cutting.tiles(*padded, most, large=self._is_large(pixels))

    def _is_large(self, pixels: Array) -> bool:
        """Whether the result for pictures N×H×W×C is too large for memory."""
        count, height, width, channels = pixels.shape
        shape = (count, height * self.card.scale, width * self.card.scale, channels)
        return scratch.is_large(shape, pixels.dtype)

    def _form(self, part: str, pixels: Array, rounded: bool) -> Form:
        if pixels.dtype != np.uint8 or not self.networks.folds(part):
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
        image = with_channels(image, self.card.channels)
        image = image if form != Form.FLOATS else _planes(image)
        result = self._result(networks, part, form, image, others)
        if result is not None and split:
            return result.reshape(count, 3, *result.shape[1:3]).transpose(0, 2, 3, 1)
        if result is not None and channels == 1 and result.shape[3] == 3:
            return np.asarray(result @ LUMA[:, None])
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
                found[name] = with_channels(value, int(channels))
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
            given = self._called(networks, part, form, of_items(inputs, which, count))
            if form == Form.ROUNDED:
                return given[RESULT] if np.isfinite(given[MEAN]) else None
            return given["result"].transpose(0, 2, 3, 1)

        done = pieces(networks.room(part), count, image.size // count, f"{columns}×{rows}", call)
        good = [one for one in done if one is not None]
        if len(good) < len(done):
            return None
        return _joined(good)


def turn(pixels: Array, way: int, *, back: bool = False) -> Array:
    """N×H×W×C in one of eight ways, 0 to 7: upside down, left to right, rows for columns."""
    swapped = pixels.swapaxes(1, 2) if way & 4 and not back else pixels
    turned = swapped[:, :: -1 if way & 1 else 1, :: -1 if way & 2 else 1]
    return turned.swapaxes(1, 2) if way & 4 and back else turned


def _compiled(networks: Networks, part: str, form: Form) -> Network:
    return networks.get(part, form if networks.folds(part) else Form.FLOATS)


def _joined(arrays: Sequence[Array]) -> Array:
    return arrays[0] if len(arrays) == 1 else np.concatenate(arrays)


def _cut(pixels: Array, tile: tiling.Tile) -> Array:
    """A tile of pictures N×H×W×C, padded where it reaches beyond them."""
    rows, columns = tile.rows, tile.columns
    return reflect(pixels, rows.length, columns.length, rows.start, columns.start)


def _rounded(result: Array) -> Array | None:
    """A result as 8 bits; None where not all are numbers."""
    try:
        return as_dtype(result, np.uint8)
    except ValueError:
        return None


def _planes(pixels: Array) -> Floats:
    """Pictures N×H×W×C as floats N×C×H×W."""
    return np.ascontiguousarray(as_float(pixels).transpose(0, 3, 1, 2))


def reflect(pixels: Array, height: int, width: int, top: int = 0, left: int = 0) -> Array:
    """A part of N×H×W×C that may reach beyond the bottom and the right.

    What is beyond is mirrored about the last row and column, and repeats the last one where a
    picture is too small for that: as the tools do that community networks come from, so that pixels
    are equal.
    """
    bottom, right = top + height, left + width
    if bottom <= pixels.shape[1] and right <= pixels.shape[2]:
        return pixels[:, top:bottom, left:right]
    rows, columns = _mirrored(top, bottom, pixels.shape[1]), _mirrored(left, right, pixels.shape[2])
    return pixels[:, rows[:, None], columns]


def _mirrored(start: int, end: int, length: int) -> Array:
    """Which of so many rows stand for those from `start` to `end`."""
    places = np.arange(start, end)
    return np.where(places < length, places, np.maximum(0, 2 * (length - 1) - places))


def with_channels(pixels: Array, channels: int) -> Array:
    """Grey as three equal channels, or colour as its luma; dtype is kept for the former."""
    if pixels.shape[-1] == channels:
        return pixels
    if channels == 3:
        return np.repeat(pixels, 3, axis=-1)
    return as_float(pixels) @ LUMA[:, None]
