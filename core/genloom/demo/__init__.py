"""`genloom demo`: bundled models on bundled pictures, offline, and a page to look at."""

from __future__ import annotations

import math
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np

from genloom import imaging
from genloom.api import load_pipeline
from genloom.catalog import Catalog
from genloom.demo.page import copy_clean, refuse_foreign, write_page
from genloom.engine.report import Report
from genloom.errors import GenloomError
from genloom.types import as_float

HERE = Path(__file__).parent
PHOTOGRAPHS = HERE / "photographs"
CLOTHES = HERE / "clothes"
PIPELINES = HERE / "pipelines"

PAINTED = {
    "style-woodcut": ("parrot", "cat"),
    "style-strokes": ("rocket", "coffee"),
    "style-mosaic": ("astronaut", "raccoon"),
}
"""Which photographs are painted in which style."""


@dataclass(frozen=True)
class Pair:
    """A picture before and after, and how close each is to the true one: PSNR in dB, or None.

    `true` is None where there is no such picture.
    """

    name: str
    before: Path
    after: Path
    true: Path | None = None
    before_psnr: float | None = None
    after_psnr: float | None = None


@dataclass
class Chapter:
    """What a command made of the bundled pictures.

    Attributes:
        command: how to run it oneself.
        seconds: what it took; None when some of it was there already.
        pairs: what to drag across; `labels` say what is to the left of it and to the right.
        sheets: shown where there are no pairs.
    """

    title: str
    text: str
    command: str
    seconds: float | None
    pairs: list[Pair] = field(default_factory=list)
    labels: tuple[str, str] = ("before", "after")
    sheets: list[Path] = field(default_factory=list)


@dataclass(frozen=True)
class DemoResult:
    """What the demo made, and the seconds that all of it took."""

    page: Path
    chapters: list[Chapter]
    seconds: float
    providers: dict[str, str]


def run_demo(out: Path, say: Callable[[str], None], **settings: Any) -> DemoResult:
    """Run the demo into `out` and write `index.html` there.

    Raises:
        OutputError: when `out` has files of the page's names that the demo did not write.
        GenloomError: when a pipeline of the demo fails on any picture.
    """
    started = time.monotonic()
    page, photographs = out / "index.html", sorted(PHOTOGRAPHS.glob("*.jpg"))
    refuse_foreign(page, photographs)
    copy_clean(page, photographs)
    demo = _Demo(out, Catalog.load(), say, settings)
    names = [path.stem for path in photographs]
    chapters = [demo.denoise(names), demo.enlarge(names), demo.paint(), demo.sample()]
    chapters += demo.clothes()
    write_page(page, chapters, demo.providers)
    return DemoResult(page, chapters, time.monotonic() - started, demo.providers)


class _Demo:
    def __init__(
        self, out: Path, catalog: Catalog, say: Callable[[str], None], settings: dict[str, Any]
    ) -> None:
        self.out, self.catalog, self.say, self.settings = out, catalog, say, settings
        self.providers: dict[str, str] = {}

    def denoise(self, names: Sequence[str]) -> Chapter:
        self.say("Denoise …")
        self._run(PIPELINES / "add-noise.yaml", PHOTOGRAPHS, "noisy")
        seconds = self._run(PIPELINES / "denoise-sheet.yaml", self.out / "noisy", "denoised")
        return Chapter(
            "Denoise",
            "Gaussian noise of σ = 25 (of 255) was added, so that there is a truth to compare "
            "with. A residual U-Net is told how strong the noise is; here it is estimated from "
            "each picture.",
            "genloom run denoise PHOTOS -o OUT",
            seconds,
            [self._pair(n, f"noisy/{n}.png", f"denoised/{n}.png", f"clean/{n}.jpg") for n in names],
            ("noisy", "denoised"),
        )

    def enlarge(self, names: Sequence[str]) -> Chapter:
        self.say("Enlarge …")
        self._run(PIPELINES / "reduce.yaml", PHOTOGRAPHS, "reduced")
        small = self.out / "reduced/small"
        self._run(PIPELINES / "bicubic.yaml", small, "bicubic")
        seconds = self._run("upscale", small, "enlarged", ["upscale.scale=4"])
        return Chapter(
            "Enlarge",
            "The photographs were reduced to a quarter of their width and height, and are enlarged "
            "again: by bicubic interpolation, as most programs do it, and by a residual network.",
            "genloom run upscale PHOTOS -o OUT --set upscale.scale=4",
            seconds,
            [
                self._pair(n, f"bicubic/{n}.png", f"enlarged/{n}.png", f"reduced/true/{n}.png")
                for n in names
            ],
            ("bicubic", "network"),
        )

    def paint(self) -> Chapter:
        self.say("Paint …")
        times: list[float | None] = []
        pairs: list[Pair] = []
        for style, names in PAINTED.items():
            photographs = [self.out / f"clean/{name}.jpg" for name in names]
            times.append(self._run("stylize", photographs, style, [f"stylize.model={style}"]))
            pairs += [
                Pair(f"{n}, {style}", self.out / f"clean/{n}.jpg", self.out / f"{style}/{n}.jpg")
                for n in names
            ]
        return Chapter(
            "Paint",
            "Networks that know one style each: a woodcut, strokes of a brush, a mosaic. Another "
            "one, style-any, takes the style of any picture.",
            "genloom run stylize PHOTOS -o OUT",
            None if None in times else sum(filter(None, times)),
            pairs,
            ("photograph", "painted"),
        )

    def sample(self) -> Chapter:
        return self._sheet(
            "Sample",
            "Sixty draws from the prior of a variational autoencoder trained on Fashion-MNIST: "
            "clothes that nobody made.",
            "genloom run sample -o OUT",
            PIPELINES / "sample-sheet.yaml",
            (),
            "samples",
        )

    def clothes(self) -> list[Chapter]:
        return [
            self._sheet(
                "Reconstruct",
                "Test pictures through the encoder and back: left before, right after.",
                "genloom run reconstruct PICTURES -o OUT",
                PIPELINES / "reconstruct-sheet.yaml",
                CLOTHES,
                "reconstructions",
            ),
            self._sheet(
                "Variations",
                "Ten draws from the posterior of each picture, at temperature 1.5.",
                "genloom run variations PICTURES -o OUT",
                PIPELINES / "variations-sheet.yaml",
                CLOTHES,
                "variations",
            ),
            self._sheet(
                "Interpolate",
                "A walk through latent space along great circles, from each picture to the next.",
                "genloom run interpolate PICTURES -o OUT",
                "interpolate",
                CLOTHES,
                "interpolation",
                ["interpolate.loop=true", "animate.enlarge=6"],
            ),
        ]

    def _sheet(
        self,
        title: str,
        text: str,
        command: str,
        pipeline: str | Path,
        inputs: Path | Sequence[Path],
        folder: str,
        options: Sequence[str] = (),
    ) -> Chapter:
        self.say(f"{title} …")
        seconds = self._run(pipeline, inputs, folder, options)
        sheets = sorted(path for path in (self.out / folder).iterdir() if path.is_file())
        return Chapter(title, text, command, seconds, sheets=sheets)

    def _run(
        self,
        pipeline: str | Path,
        inputs: Path | Sequence[Path],
        folder: str,
        options: Sequence[str] = (),
    ) -> float | None:
        """The seconds it took; None when some of it was there already."""
        loaded = load_pipeline(pipeline, list(options), catalog=self.catalog)
        report = loaded.run(inputs, self.out / folder, **self.settings)
        _must_be_whole(folder, report)
        self.providers |= report.providers
        return None if report.skipped else report.seconds

    def _pair(self, name: str, before: str, after: str, true: str) -> Pair:
        places = [self.out / place for place in (before, after, true)]
        pixels = [imaging.read(place).pixels for place in places]
        first, second = (psnr(pixels[2], pixels[at]) for at in (0, 1))
        return Pair(name, places[0], places[1], places[2], first, second)


def _must_be_whole(part: str, report: Report) -> None:
    if report.outcome == "interrupted":
        raise KeyboardInterrupt
    if report.failures:
        raise GenloomError(f"the demo's part '{part}' failed: {report.failures[0].reason}")


def psnr(truth: np.ndarray[Any, Any], other: np.ndarray[Any, Any]) -> float:
    """Peak signal-to-noise ratio in dB, over all pixels and colours; infinite when equal."""
    error = float(np.mean((as_float(truth) - as_float(other)) ** 2, dtype=np.float64))
    return math.inf if error == 0 else -10 * math.log10(error)
