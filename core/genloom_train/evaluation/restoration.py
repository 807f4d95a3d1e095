"""Measure a restoration network beside methods without one: `genloom eval` of image to image."""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

import genloom
from genloom import options
from genloom.api import OpenModel
from genloom.catalog import Catalog
from genloom.errors import GenloomError, MissingRequirement
from genloom.pipeline import model_options
from genloom.testing import FakeRun
from genloom.types import Array, Batch, Item, as_dtype
from genloom_train.evaluation.classical import Enlarger, denoisers, enlargers
from genloom_train.evaluation.fidelity import Perceptual, fidelity, least_side
from genloom_train.evaluation.perceptual import open_lpips
from genloom_train.evaluation.photographs import Photograph, Photographs, Wanted
from genloom_train.evaluation.restored import MILLISECONDS, Restored, Row
from genloom_train.evaluation.sheets import Cell, write_sheet
from genloom_train.evaluation.spoiling import Condition, Degradation, conditions

NETWORK = "network"
Say = Callable[[str], None]


@dataclass(frozen=True, kw_only=True)
class RestorationRequest:
    """What to measure.

    Attributes:
        model: name or path of a bundle with the part `network`.
        pictures: `dataset`, `options`, `data`, `count`, `seed` and `crop` of `Wanted`.
        degradation: how pictures are made worse; noise, or bicubic reduction, unless said.
        sigma: noise levels in 8-bit units.
        quality: of JPEG.
        border: pixels not looked at on each side; 0, or the scale of a network that enlarges.
        sheets: folder that a sheet of each picture is written into.
        ensemble: as in the stages `denoise` and `upscale`.
        threads: of the runtime; 0 leaves the choice to it.
    """

    model: str
    dataset: str | None = None
    options: tuple[str, ...] = ()
    data: Path | None = None
    count: int | None = None
    seed: int = 0
    crop: int | None = None
    degradation: Degradation | None = None
    sigma: tuple[float, ...] = ()
    quality: tuple[int, ...] = ()
    border: int | None = None
    sheets: Path | None = None
    ensemble: int = 1
    threads: int = 0


@dataclass(frozen=True)
class Method:
    """A way to restore a picture.

    Attributes:
        name: as the table says it.
        restore: takes bytes H×W×C and σ in 8-bit units, gives bytes.
        own: as in `Row`.
    """

    name: str
    restore: Callable[[Array, float], Array]
    own: str | None = None


def measure(
    request: RestorationRequest, catalog: Catalog, say: Say = lambda text: None
) -> Restored:
    """Measure a network and the other methods at hand; `say` is told what is being done.

    Raises:
        GenloomError: when the model or the pictures are not at hand or do not fit.
    """
    return _Measurement(request, catalog, say).run()


class _Measurement:
    def __init__(self, request: RestorationRequest, catalog: Catalog, say: Say) -> None:
        self.request, self.say = request, say
        self.model = genloom.open_model(request.model, threads=request.threads, catalog=catalog)
        self.card = self.model.card
        self.conditions = conditions(
            request.degradation, self.card.scale, sigmas=request.sigma, qualities=request.quality
        )
        self.border = request.border
        if self.border is None:
            self.border = 0 if self.card.scale == 1 else self.card.scale
        self.pictures = Photographs(self._wanted(least_side(self.border)), catalog)
        self.methods, self.notes = methods(self.model, catalog, request.ensemble, request.threads)
        self.lpips = self._lpips()
        self.rows = [
            Row(condition, method.name, method.own)
            for condition in self.conditions
            for method in self.methods
        ]

    def run(self) -> Restored:
        """Measure: of each picture every condition, of each condition every method in turn."""
        names: list[str] = []
        for picture in self.pictures:
            self.say(picture.name)
            if not names:
                self._warm_up(picture)
            rows = iter(self.rows)
            for condition in self.conditions:
                self._measure(picture, condition, [next(rows) for _ in self.methods])
            names.append(picture.name)
        if not names:
            raise GenloomError("no picture can be used", got="; ".join(self.pictures.notes))
        return Restored(
            about=self._about(len(names)),
            rows=self.rows,
            dataset=self.pictures.name,
            notes=(*self.notes, *self.pictures.notes),
        )

    def _wanted(self, least: int) -> Wanted:
        r = self.request
        return Wanted(
            dataset=r.dataset, options=r.options, data=r.data, count=r.count, seed=r.seed,
            crop=r.crop, channels=self.card.channels, multiple=self.card.scale, least=least,
        )  # fmt: skip

    def _lpips(self) -> Perceptual | None:
        try:
            return open_lpips()
        except MissingRequirement as error:
            self.notes.append(f"LPIPS is left out: {error}")
            return None

    def _about(self, count: int) -> dict[str, Any]:
        return {
            "model": self.card.name,
            "digest": self.model.model.digest,
            "data": self.pictures.description,
            "pictures": count,
            "crop": self.request.crop,
            "ensemble": self.request.ensemble,
            "border": self.border,
            "seed": self.request.seed,
        }

    def _spoiled(self, picture: Photograph, condition: Condition) -> tuple[Array, float]:
        spoiled = condition.spoil(picture.pixels, f"{self.request.seed}/{picture.name}")
        return spoiled, condition.level(spoiled, picture.pixels)

    def _warm_up(self, picture: Photograph) -> None:
        """What a method does once for all is none of its time for a picture."""
        spoiled = self._spoiled(picture, self.conditions[0])
        for method in self.methods:
            method.restore(*spoiled)

    def _measure(self, picture: Photograph, condition: Condition, rows: list[Row]) -> None:
        spoiled, level = self._spoiled(picture, condition)
        cells = []
        for method, row in zip(self.methods, rows, strict=True):
            started = time.perf_counter()
            result = method.restore(spoiled, level)
            seconds = time.perf_counter() - started
            found = fidelity(
                result,
                picture.pixels,
                border=self.border or 0,
                scale=self.card.scale,
                lpips=self.lpips,
            )
            row.each.append({**found, MILLISECONDS: 1000 * seconds})
            cells.append(Cell(method.name, result, found["psnr"]))
        if self.request.sheets is not None:
            write_sheet(self.request.sheets, picture, condition, spoiled, cells)


def methods(
    model: OpenModel, catalog: Catalog, ensemble: int = 1, threads: int = 0
) -> tuple[list[Method], list[str]]:
    """What a network is measured beside, then the network; and notes on what is not at hand."""
    card = model.card
    if card.scale > 1:
        found = [Method(name, _by(enlarge, card.scale)) for name, enlarge in enlargers().items()]
        own = Method(card.name, lambda picture, level: model(picture, ensemble=ensemble), "")
        return [*found, own], []
    others, notes = denoisers(card.channels)
    found = [Method(name, denoise) for name, denoise in others.items()]
    return found + _own(model, catalog, ensemble, threads), notes


def _by(enlarge: Enlarger, scale: int) -> Callable[[Array, float], Array]:
    return lambda picture, level: enlarge(picture, scale)


def _own(model: OpenModel, catalog: Catalog, ensemble: int, threads: int) -> list[Method]:
    """A network that keeps the size: told the noise level, and left to itself."""
    port = model.card.parts[NETWORK].inputs.get("noise_level")
    if port is None:
        return [
            Method(model.card.name, lambda picture, level: model(picture, ensemble=ensemble), "")
        ]
    most = 1.0 if port.range is None else port.range[1]

    def told(picture: Array, level: float) -> Array:
        return model(picture, ensemble=ensemble, noise_level=min(level / 255, most))

    found = [Method(model.card.name, told, "")]
    stage = catalog.stages().get("denoise")
    if stage is None or "sigma" not in options.options_of(stage):
        return found
    made: Any = stage
    by_itself = made(model=model.card.name, sigma="auto", ensemble=ensemble)
    asked = {name for _, name in model_options(by_itself) if name not in (None, model.card.name)}
    others = {
        name: genloom.open_model(name, threads=threads, catalog=catalog).model for name in asked
    }
    run = FakeRun({model.card.name: model.model, **others})

    def alone(picture: Array, level: float) -> Array:
        batch = Batch.images([Item(key="picture", name="picture")], picture[None])
        return as_dtype(np.asarray(by_itself(batch, run).pixels[0]), np.uint8)

    return [*found, Method(f"{model.card.name} (auto)", alone, "_auto")]
