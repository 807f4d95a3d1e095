"""The stage `stylize`."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Annotated

import numpy as np
from annotated_types import Interval

from genloom import imaging
from genloom.card import Card
from genloom.errors import GenloomError, StageError
from genloom.options import ModelName
from genloom.stage import Model, Run, Stage
from genloom.types import Batch, Floats, Item, Kind

NETWORK, ENCODER, DECODER = "network", "encoder", "decoder"

WHOLE = 32 * 2**20
"""Pixels of the largest picture that is put whole through an encoder and a decoder."""

EPSILON = 1e-5
"""Added to deviations that are divided by."""

LUMA = np.array([0.299, 0.587, 0.114], np.float32)
"""Weights of red, green and blue in luminance (ITU-R BT.601, as everywhere in genloom)."""


@dataclass(frozen=True, kw_only=True)
class Stylize(Stage):
    """Paint pictures in another style: the one a network knows, or that of any picture.

    Large pictures are tiled for networks that know one style. The style of a picture is carried
    over by the statistics of whole pictures, so there they are computed whole.

    Args:
        model: a model of the family `stylizer`, or another network that keeps the size; or one of
            the family `adain`, which takes its style from a picture.
        style: the picture whose style is taken, for a model that takes one. A path starts from the
            pipeline file, on the command line from the working folder.
        style_size: longer side in pixels that it is brought to: smaller makes finer strokes.
        strength: how much of the result is taken: 0 leaves the picture alone, 1 takes all; between
            them, pixels are blended.
        keep_colour: whether only the luminance is taken from the result, and the colour from the
            picture.
    """

    name, takes, gives = "stylize", Kind.IMAGE, Kind.IMAGE
    model: Annotated[str, ModelName(f"{NETWORK}|{ENCODER}")] = "style-woodcut"
    style: Path | None = None
    style_size: Annotated[int, Interval(ge=16, le=4096)] = 512
    strength: Annotated[float, Interval(ge=0, le=1)] = 1.0
    keep_colour: bool = False

    def __call__(self, batch: Batch, run: Run) -> Batch:
        """Stylize; nothing is done at strength 0."""
        if self.strength == 0:
            return batch
        model, colours = run.model(self.model), _in_colour(batch)
        if NETWORK in model.card.parts:
            painted = model.image(NETWORK, colours).data
        else:
            painted = self._like_style(model, colours)
        painted, data = np.clip(painted, 0, 1), colours.data
        if self.keep_colour:
            data = batch.data
            painted = data + _luminance(painted) - _luminance(data)
        return batch.with_data(data + np.float32(self.strength) * (painted - data))

    def check_model(self, option: str, card: Card) -> None:
        """A network must keep the size and need nothing more; an encoder must come with a style."""
        if NETWORK in card.parts:
            self._check_network(card)
        elif DECODER not in card.parts or not _gives_maps(card):
            raise GenloomError(
                f"'{card.name}' has no style, and takes none",
                expected="a model of the family `stylizer` or `adain`, or a network that keeps the "
                "size of pictures",
                got=f"the family '{card.family}'",
            )
        elif self.style is None:
            raise GenloomError(
                f"'{card.name}' takes its style from a picture, and none is named",
                expected="`style:` with the path of a picture",
            )
        else:
            imaging.probe(self.style)

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
            raise GenloomError(
                f"'{card.name}' knows one style, and takes none from a picture",
                expected="no `style:`, or a model of the family `adain`",
                got=str(self.style),
            )

    def _like_style(self, model: Model, batch: Batch) -> Floats:
        """Pictures N×3×H×W with the statistics of the style's features (Huang & Belongie 2017)."""
        height, width = batch.size
        if height * width > WHOLE:
            raise StageError(
                f"the picture is too large for '{model.card.name}', which sees it whole",
                expected=f"at most {WHOLE} pixels",
                got=f"{width}×{height}",
                hint="Put a `resize` before it",
            )
        latent = adapted(_encoded(model, batch), _encoded(model, self._style()))
        painted: Floats = model.run(DECODER, {"latent": latent})["image"]
        return painted[:, :, :height, :width]

    def _style(self) -> Batch:
        """The style's picture, of the size asked for."""
        assert self.style is not None  # check_model has seen to it
        pixels = imaging.read(self.style).pixels
        factor = self.style_size / max(pixels.shape[:2])
        height, width = (max(1, round(side * factor)) for side in pixels.shape[:2])
        resized = imaging.resize(pixels, height, width)
        return _in_colour(Batch.images([Item(key="style", name="style")], resized[None]))


def _encoded(model: Model, batch: Batch) -> Floats:
    """Feature maps of pictures, which are mirrored at the bottom and right to fit the model."""
    rule, data = model.card.size, batch.data
    height, width = rule.padded(*batch.size)
    more = (height - batch.size[0], width - batch.size[1])
    data = np.pad(data, ((0, 0), (0, 0), (0, more[0]), (0, more[1])), mode="symmetric")
    return np.asarray(model.run(ENCODER, {"image": data})["latent"], np.float32)


def _gives_maps(card: Card) -> bool:
    """Whether its encoder gives feature maps, whose height and width are those of pictures."""
    port = card.parts[ENCODER].outputs.get("latent")
    return port is not None and len(port.axes) == 4


def adapted(content: Floats, style: Floats) -> Floats:
    """Feature maps with the mean and deviation that the style's have in each channel.

    Adaptive instance normalisation (Huang & Belongie 2017, equation 8).

    Args:
        content: N×C×H×W.
        style: 1×C×H'×W'.
    """
    places = (2, 3)
    mean, deviation = content.mean(places, keepdims=True), content.std(places, keepdims=True)
    unit = (content - mean) / (deviation + EPSILON)
    result: Floats = unit * style.std(places, keepdims=True) + style.mean(places, keepdims=True)
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
