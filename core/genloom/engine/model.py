"""A bundle compiled for a runtime: the model that stages and backends are given."""

from __future__ import annotations

import threading
from collections.abc import Mapping, Sequence
from typing import Literal

import numpy as np

from genloom import imaging
from genloom.backend import Backend
from genloom.card import Card
from genloom.engine import tiling
from genloom.engine.networks import FLOOR, Compile, Form, Networks
from genloom.engine.stitch import Stitch
from genloom.errors import ModelError, shown
from genloom.limits import MAX_TILES
from genloom.models import Bundle
from genloom.runtime import EXACT, Network
from genloom.runtime.pixels import IMAGE, MEAN, RESULT
from genloom.types import Array, Batch, Floats, Item, as_float

TILE = 1536
"""Side of a tile in pixels, unless asked otherwise: large enough that the overlap costs little."""

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
    ) -> None:
        self.bundle, self.backend, self.tile = bundle, backend, tile
        self.networks = Networks(bundle, compile, precision, floor)
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
    def cutting(self) -> str:
        """How large pictures are put through it, in words."""
        card, fixed = self.card, self.card.size.fixed
        tiles = f"tiles of {fixed[1]}×{fixed[0]}" if fixed else f"tiles of {self._side}"
        if card.receptive_field != "global":
            return f"{tiles}, field {card.receptive_field} px"
        return f"{tiles}, blended over {card.size.overlap} px" if card.size.overlap else "whole"

    @property
    def _overlap(self) -> int:
        """Pixels over which tiles of a network are blended that sees a picture whole."""
        return self.card.size.overlap if self.card.receptive_field == "global" else 0

    @property
    def _side(self) -> int:
        """Side of the tiles: as asked, in steps of the size rule, or as much as keeps something."""
        step, margin = self.card.size.step, _margin(self.card) or 0
        least = -(-(2 * margin + step) // step) * step
        return max(self.tile // step * step, least)

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
        form = Form.ROUNDED if rounded and not self._overlap else Form.BYTES
        networks = [
            self.networks.get(part, form if self.networks.folds(part) else Form.FLOATS)
            for part in parts
        ]
        return ", ".join(dict.fromkeys(network.provider for network in networks))

    def run(self, part: str, inputs: Mapping[str, Array]) -> dict[str, Array]:
        """Run one graph on arrays exactly as its ports want them."""
        return self.network(part).run(inputs)

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
        count, channels = len(batch), batch.pixels.shape[3]
        pixels, split = batch.pixels, channels == 3 and self.card.channels == 1
        if split:  # a grey network sees each colour by itself
            pixels = pixels.transpose(0, 3, 1, 2).reshape(count * 3, *batch.size, 1)
            ports = {name: np.repeat(value, 3, axis=0) for name, value in ports.items()}
        else:
            pixels = with_channels(pixels, self.card.channels)
        blended = ensemble > 1 or channels < self.card.channels or self._overlap > 0
        result = self._averaged(part, pixels, ports, ensemble, rounded and not blended)
        if split:
            result = result.reshape(count, 3, *result.shape[1:3]).transpose(0, 2, 3, 1)
        elif channels == 1 and result.shape[3] == 3:
            result = result @ LUMA[:, None]
        return batch.with_pixels(result)

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
            result += turn(self._whole_or_tiled(part, turn(pixels, way), turned), way, back=True)
        return result if ensemble == 1 else result / np.float32(ensemble)

    def _whole_or_tiled(
        self, part: str, pixels: Array, ports: Mapping[str, Array], rounded: bool = False
    ) -> Array:
        """Results N×H×W×C: uint8 where they may be `rounded` and all are numbers, else floats."""
        card, form = self.card, self._form(part, pixels, rounded)
        height, width = pixels.shape[1:3]
        padded = card.size.padded(height, width)
        guides = self._guides(part, pixels, ports, padded)
        stitch = Stitch((height, width), padded, card)
        rest = {name: value for name, value in ports.items() if name not in guides}
        whole = reflect(pixels, *padded)
        for tile in self._tiles(*padded):
            cut = {name: _piece(guide, tile) for name, guide in guides.items()}
            image = _cut(whole, tile) if form != Form.FLOATS else _piece(whole, tile)
            result = self._result(part, form, image, {**cut, **rest})
            if result is None:
                return self._whole_or_tiled(part, pixels, ports)
            stitch.add(result, tile)
        return stitch.result

    def _form(self, part: str, pixels: Array, rounded: bool) -> Form:
        if pixels.dtype != np.uint8 or not self.networks.folds(part):
            return Form.FLOATS
        return Form.ROUNDED if rounded else Form.BYTES

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
                found[name] = reflect(with_channels(value, int(channels)), *padded)
        return found

    def _result(
        self, part: str, form: Form, image: Array, others: Mapping[str, Array]
    ) -> Array | None:
        """`result` of an image→image graph, N×H×W×C; None where bytes would hide what is no number.

        A graph made for one picture gets one at a time.
        """
        if self.card.parts[part].inputs["image"].axes[0] == 1 < len(image):
            ones = [
                self._result(
                    part, form, image[n : n + 1], {k: v[n : n + 1] for k, v in others.items()}
                )
                for n in range(len(image))
            ]
            good = [one for one in ones if one is not None]
            return np.concatenate(good) if len(good) == len(ones) else None
        if form == Form.FLOATS:
            return self.run(part, {"image": image, **others})["result"].transpose(0, 2, 3, 1)
        given = self.networks.get(part, form).run({IMAGE: image, **others})
        if form == Form.BYTES:
            return given["result"].transpose(0, 2, 3, 1)
        return given[RESULT] if np.isfinite(given[MEAN]) else None

    def _tiles(self, height: int, width: int) -> list[tiling.Tile]:
        """How a picture that meets the size rule is cut; one tile where it is not."""
        rule, margin = self.card.size, _margin(self.card)
        tile = rule.fixed or (self._side, self._side)
        # A picture a little larger than a tile costs less whole than in two overlapping tiles.
        large = height * width > 1.5 * tile[0] * tile[1] or rule.fixed is not None
        if margin is None and rule.fixed not in (None, (height, width)):
            raise ModelError(
                f"'{self.card.name}' sees a picture whole and takes one size only",
                expected=f"{tile[1]}×{tile[0]}",
                got=f"{width}×{height}",
                hint="Put a `resize` before it, or import it with `--overlap`, to be cut",
            )
        if margin is None or not large:
            tile = (height, width)
        kept = [max(1, side - 2 * (margin or 0)) for side in tile]
        if height * width > MAX_TILES * kept[0] * kept[1]:
            raise ModelError(
                f"'{self.card.name}' takes pieces too small for a picture of this size",
                expected=f"at most {MAX_TILES} of them",
                got=f"pieces of {tile[1]}×{tile[0]} for {width}×{height}",
            )
        try:
            return list(tiling.tiles((height, width), tile, margin or 0, rule.step))
        except ValueError as error:
            raise ModelError(f"'{self.card.name}' cannot be tiled like this: {error}") from None


def turn(pixels: Array, way: int, *, back: bool = False) -> Array:
    """N×H×W×C in one of eight ways, 0 to 7: upside down, left to right, rows for columns."""
    swapped = pixels.swapaxes(1, 2) if way & 4 and not back else pixels
    turned = swapped[:, :: -1 if way & 1 else 1, :: -1 if way & 2 else 1]
    return turned.swapaxes(1, 2) if way & 4 and back else turned


def _cut(pixels: Array, tile: tiling.Tile) -> Array:
    """A tile of pictures N×H×W×C."""
    rows, columns = tile.rows, tile.columns
    return pixels[
        :, rows.start : rows.start + rows.length, columns.start : columns.start + columns.length
    ]


def _piece(pixels: Array, tile: tiling.Tile) -> Floats:
    """A tile of pictures N×H×W×C, as floats N×C×h×w."""
    return np.ascontiguousarray(as_float(_cut(pixels, tile)).transpose(0, 3, 1, 2))


def _margin(card: Card) -> int | None:
    """Pixels of a tile at its inner edges that are not right by themselves.

    None for a network that sees a picture whole and must not be cut.
    """
    if card.receptive_field != "global":
        return card.receptive_field // 2
    return -(-card.size.overlap // 2) or None


def reflect(pixels: Array, height: int, width: int) -> Array:
    """Pad N×H×W×C at the bottom and right to at least this size.

    By mirroring about the last row and column, and by repeating the last one where a picture is too
    small for that: as the tools do that community networks come from, so that pixels are equal.
    """
    down, across = max(0, height - pixels.shape[1]), max(0, width - pixels.shape[2])
    mirrored = min(down, pixels.shape[1] - 1), min(across, pixels.shape[2] - 1)
    pixels = _padded(pixels, *mirrored, "reflect")
    return _padded(pixels, down - mirrored[0], across - mirrored[1], "edge")


def _padded(pixels: Array, down: int, across: int, mode: Literal["reflect", "edge"]) -> Array:
    if down == across == 0:
        return pixels
    return np.pad(pixels, ((0, 0), (0, down), (0, across), (0, 0)), mode=mode)


def with_channels(pixels: Array, channels: int) -> Array:
    """Grey as three equal channels, or colour as its luma; dtype is kept for the former."""
    if pixels.shape[-1] == channels:
        return pixels
    if channels == 3:
        return np.repeat(pixels, 3, axis=-1)
    return as_float(pixels) @ LUMA[:, None]
