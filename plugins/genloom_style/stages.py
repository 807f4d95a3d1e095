"""The stage `stylize`."""

from __future__ import annotations

import math
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated

import numpy as np
from annotated_types import Interval

from genloom import imaging
from genloom.card import Card
from genloom.errors import GenloomError, ImageError, OptionError
from genloom.options import ModelName
from genloom.stage import Model, Run, Stage
from genloom.types import Array, Batch, Floats, Item, Kind, as_float
from genloom_style.seams import detail, seamless

NETWORK, ENCODER, DECODER, STYLE = "network", "encoder", "decoder", "style"

ONE, ANY = "style-woodcut", "style-any"
"""Models where none is named: without a picture of the style, and with one."""

WHOLE = 4 * 2**20
"""Pixels of the largest picture that is put whole through an encoder and a decoder; larger ones are
painted at that size and enlarged."""

RIM = 16
"""Pixels that pictures are mirrored by on each side there: networks that pad with zeros draw lines
along the border, which are cut off with it."""

MULTIPLE = 8
"""Heights and widths that models of the family `adain` take are multiples of this: encoders look at
an eighth of the size."""

LEAST = 9
"""Pixels along a side of the smallest picture that a square is made of which repeats."""

SLOW = 20
"""Changes over more than about twice as many pixels are none of a style's detail."""

EPSILON = 1e-5
"""Added to deviations that are divided by."""

LUMA = np.array([0.299, 0.587, 0.114], np.float32)
"""Weights of red, green and blue in luminance (ITU-R BT.601, as everywhere in genloom)."""


@dataclass(frozen=True, kw_only=True)
class Stylize(Stage):
    """Paint pictures in another style: the one a network knows, or that of any picture.

    Large pictures are tiled for networks that know one style. The style of a picture is carried
    over by the statistics of whole pictures, so there they are computed whole: those of more than 4
    million pixels are reduced, painted and enlarged again, and a note says so.

    Args:
        model: a model of the family `stylizer`, or another network that keeps the size; or one of
            the family `adain`, which takes its style from a picture. Unless said, `style-any` where
            a style is named, else `style-woodcut`.
        style: the picture whose style is taken, for a model that takes one. A path starts from the
            pipeline file, on the command line from the working folder.
        style_size: longer side in pixels that it is brought to: smaller makes finer strokes.
        motif: how much is drawn of the tiles, strokes and lines that the style's picture shows. Of
            a photograph its things are drawn, over the painting: 0 draws none, for its colours.
        strength: how much of the result is taken: 0 leaves the picture alone, 1 takes all; between
            them, pixels are blended.
        keep_colour: whether only the luminance is taken from the result, and the colour from the
            picture.
    """

    name, takes, gives = "stylize", Kind.IMAGE, Kind.IMAGE
    model: Annotated[str | None, ModelName(f"{NETWORK}|{ENCODER}", f"{NETWORK}|{DECODER}")] = None
    style: Path | None = None
    style_size: Annotated[int, Interval(ge=16, le=2048)] = 512
    motif: Annotated[float, Interval(ge=0, le=1)] = 1.0
    strength: Annotated[float, Interval(ge=0, le=1)] = 1.0
    keep_colour: bool = False

    def __post_init__(self) -> None:
        """Choose a model where none is named."""
        if self.model is None:
            object.__setattr__(self, "model", ONE if self.style is None else ANY)

    def __call__(self, batch: Batch, run: Run) -> Batch:
        """Stylize; nothing is done at strength 0."""
        if self.strength == 0:
            return batch
        assert self.model is not None  # __post_init__ has seen to it
        model, colours = run.model(self.model), _in_colour(batch)
        if NETWORK in model.card.parts:
            painted = model.image(NETWORK, colours).data
        else:
            painted = self._like_style(model, colours, run)
            batch = _noted(batch, model.card.name)
        painted, data = np.clip(painted, 0, 1), colours.data
        if self.keep_colour:
            data = batch.data
            painted = recoloured(_luminance(painted), data)
        return batch.with_data(data + np.float32(self.strength) * (painted - data))

    def check_model(self, option: str, card: Card) -> None:
        """A network must keep the size and need nothing more; an encoder must come with a style."""
        if NETWORK in card.parts:
            self._check_network(card)
        elif not _gives_maps(card):
            raise GenloomError(
                f"'{card.name}' has no style, and takes none",
                expected="a model of the family `stylizer` or `adain`, or a network that keeps the "
                "size of pictures",
                got=f"the family '{card.family}'",
            )
        elif card.channels != 3:
            raise GenloomError(
                f"'{card.name}' makes grey pictures, and styles have colours",
                expected="a model whose card says `channels: 3`",
                got=str(card.channels),
            )
        elif card.family == "adain" and card.size.multiple % MULTIPLE:
            raise GenloomError(
                f"'{card.name}' was trained by an earlier genloom, which showed it other pictures",
                expected=f"sizes in multiples of {MULTIPLE}, as this genloom trains them",
                got=f"of {card.size.multiple}",
                hint="Train it anew; out of the way, it leaves the place to the one that ships",
            )
        elif self.style is None:
            raise GenloomError(
                f"'{card.name}' takes its style from a picture, and none is named",
                expected="`style:` with the path of a picture",
            )
        else:
            self._check_style(self.style)

    def _check_network(self, card: Card) -> None:
        if card.scale != 1:
            raise GenloomError(
                f"'{card.name}' enlarges pictures",
                expected="a network that keeps their size",
                hint="The stage `upscale` takes it",
            )
        lacking = [name for name in card.parts[NETWORK].inputs if name != "image"]
        if lacking:
            raise GenloomError(
                f"'{card.name}' needs to be told more than this stage knows",
                expected="a network that needs nothing but a picture",
                got=", ".join(lacking),
            )
        if self.style is not None:
            raise OptionError(
                "style",
                f"'{card.name}' knows one style, and takes none from a picture",
                other="model",
                expected="no `style:`, or a model of the family `adain`",
                got=str(self.style),
            )

    def _check_style(self, path: Path) -> None:
        try:
            _opaque(path)
        except ImageError as error:
            raise OptionError.of("style", error) from None

    def _like_style(self, model: Model, batch: Batch, run: Run) -> Floats:
        """Pictures N×3×H×W with the statistics of the style's features (Huang & Belongie 2017).

        The pictures are seen in grey, as in training, so that the colours are the style's.
        """
        height, width = batch.size
        if (small := seen_whole(height, width)) != (height, width):
            reduced = batch.with_pixels(_resized(batch.pixels, *small))
            enlarged = _resized(
                self._like_style(model, reduced, run).transpose(0, 2, 3, 1), *batch.size
            )
            return enlarged.transpose(0, 3, 1, 2)
        if len(batch) * height * width > WHOLE:
            return np.concatenate([self._like_style(model, one, run) for one in batch])
        mean, deviation, own = run.once((self, "style"), lambda: self._known(model, run))
        inputs = {"latent": adapted(_encoded(model, _grey(batch)), mean, deviation)}
        if STYLE in model.card.parts[DECODER].inputs:
            inputs[STYLE] = own.repeat(len(batch), axis=0)
        painted: Floats = model.run(DECODER, inputs)["image"]
        return painted[:, :, RIM : RIM + height, RIM : RIM + width]

    def _known(self, model: Model, run: Run) -> tuple[Floats, Floats, Floats]:
        """Mean and deviation of the style's feature maps, and its detail, which repeats."""
        data = self._style(run).data
        own = np.float32(self.motif) * repeating(data)
        return *_statistics(_encoded(model, data)), own

    def _style(self, run: Run) -> Batch:
        """The style's picture, of the size asked for."""
        assert self.style is not None  # check_model has seen to it
        pixels = _opaque(self.style, run.file(self.style))
        factor = self.style_size / max(pixels.shape[:2])
        height, width = (max(1, round(side * factor)) for side in pixels.shape[:2])
        resized = imaging.resize(pixels, height, width)
        return _in_colour(Batch.images([Item(key="style", name="style")], resized[None]))


def seen_whole(height: int, width: int) -> tuple[int, int]:
    """The height and width at which a picture is painted: its own, or what fits into `WHOLE`."""
    factor = min(1.0, math.sqrt(WHOLE / (height * width)))
    rows = max(1, int(height * factor))
    return rows, min(max(1, int(width * factor)), WHOLE // rows)


def _noted(batch: Batch, model: str) -> Batch:
    """The batch, with a note for each picture that is painted smaller than it is."""
    height, width = seen_whole(*batch.size)
    if (height, width) == batch.size:
        return batch
    said = f"painted at {width}×{height}, as large as '{model}' sees whole, and enlarged"
    return batch.with_items([item.noting(said) for item in batch.items])


def _resized(pixels: Array, height: int, width: int) -> Array:
    """Pixels N×H×W×C at another size."""
    return np.stack([imaging.resize(one, height, width) for one in pixels])


def _encoded(model: Model, data: Floats) -> Floats:
    """Feature maps of pictures, which are mirrored at the bottom and right to fit the model."""
    height, width = model.card.size.padded(*data.shape[2:])
    more = (height - data.shape[2], width - data.shape[3])
    data = np.pad(data, ((0, 0), (0, 0), (0, more[0]), (0, more[1])), mode="symmetric")
    return np.asarray(model.run(ENCODER, {"image": data})["latent"], np.float32)


def fine(data: Floats) -> Floats:
    """The detail of pictures N×C×H×W: what a decoder sees of a style's tiles, strokes and lines."""
    return detail(data, SLOW, "symmetric")


def repeating(data: Floats) -> Floats:
    """The detail of a picture 1×C×H×W as a square that repeats without seams, 1×C×P×P.

    It is as large as the picture allows.
    """
    more = [max(0, LEAST - side) for side in data.shape[2:]]
    data = np.pad(data, ((0, 0), (0, 0), (0, more[0]), (0, more[1])), mode="symmetric")
    return seamless(fine(data), 8 * min(data.shape[2:]) // 9)


def _gives_maps(card: Card) -> bool:
    """Whether its parts go from pictures of any size to feature maps and back."""
    if ENCODER not in card.parts or DECODER not in card.parts or card.size.fixed is not None:
        return False
    port = card.parts[ENCODER].outputs.get("latent")
    sides = () if port is None else port.axes[2:]
    return len(sides) == 2 and all(isinstance(side, str) for side in sides)


def _grey(batch: Batch) -> Floats:
    """Pictures in grey, as three channels, mirrored by `RIM` pixels on each side."""
    sides = ((0, 0), (0, 0), (RIM, RIM), (RIM, RIM))
    return np.pad(_luminance(batch.data), sides, mode="symmetric").repeat(3, axis=1)


def _opaque(path: Path, data: bytes | None = None) -> Array:
    """The pixels of a picture, H×W×C, on white where one sees through it."""
    picture = imaging.read(path, data)
    if picture.alpha is None:
        return picture.pixels
    alpha = as_float(picture.alpha)[..., None]
    return as_float(picture.pixels) * alpha + (1 - alpha)


def adapted(content: Floats, mean: Floats, deviation: Floats) -> Floats:
    """Feature maps N×C×H×W with another mean and deviation in each channel.

    Adaptive instance normalisation (Huang & Belongie 2017, equation 8).
    """
    own_mean, own_deviation = _statistics(content)
    unit = (content - own_mean) / (own_deviation + EPSILON)
    result: Floats = unit * deviation + mean
    return result


def _statistics(maps: Floats) -> tuple[Floats, Floats]:
    """Mean and deviation of each channel: N×C×H×W → N×C×1×1."""
    return maps.mean((2, 3), keepdims=True), maps.std((2, 3), keepdims=True)


def recoloured(light: Floats, picture: Floats) -> Floats:
    """The colours of a picture N×C×H×W in another light N×1×H×W in [0, 1].

    Where a colour is too strong for that light, it is paled until it fits in [0, 1].
    """
    chroma = picture - _luminance(picture)
    strength = np.abs(chroma)
    room = np.where(chroma > 0, 1 - light, light)
    fits = np.divide(room, strength, out=np.ones_like(strength), where=strength > room)
    result: Floats = light + fits.min(1, keepdims=True) * chroma
    return result


def _in_colour(batch: Batch) -> Batch:
    """Grey pictures as colour, since styles have some."""
    pixels = batch.pixels
    return batch if pixels.shape[3] == 3 else batch.with_pixels(np.repeat(pixels, 3, axis=3))


def _luminance(data: Floats) -> Floats:
    """N×C×H×W → N×1×H×W."""
    if data.shape[1] == 1:
        return data
    grey: Floats = np.einsum("nchw,c->nhw", data, LUMA)[:, None]
    return grey
