"""`genloom demo`: bundled models on bundled pictures, offline, and a page to look at."""

from __future__ import annotations

import math
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np

from genloom import imaging
from genloom.api import load_pipeline
from genloom.catalog import Catalog
from genloom.demo.page import refuse_foreign, write_page
from genloom.engine.report import Report
from genloom.errors import GenloomError
from genloom.types import as_float

HERE = Path(__file__).parent
PHOTOGRAPHS = HERE / "photographs"
CLOTHES = HERE / "clothes"
PIPELINES = HERE / "pipelines"


@dataclass
class Chapter:
    """One pipeline of the demo: what it shows, how to run it oneself, and what it made.

    `seconds` is None when some of it was there already.
    """

    title: str
    text: str
    command: str
    folder: Path
    seconds: float | None
    files: list[Path] = field(default_factory=list)


@dataclass(frozen=True)
class Shown:
    """A photograph three times, with how close each is to the clean one (PSNR in dB)."""

    name: str
    clean: Path
    noisy: Path
    denoised: Path
    noisy_psnr: float
    denoised_psnr: float


@dataclass(frozen=True)
class DemoResult:
    """What the demo made."""

    page: Path
    chapters: list[Chapter]
    photographs: list[Shown]
    seconds: float
    providers: dict[str, str]


def run_demo(out: Path, say: Callable[[str], None], **settings: Any) -> DemoResult:
    """Run the demo into `out` and write `index.html` there.

    Raises:
        OutputError: when `out` has files of the page's names that the demo did not write.
        GenloomError: when a pipeline of the demo fails on any picture.
    """
    started = time.monotonic()
    page, clean = out / "index.html", sorted(PHOTOGRAPHS.glob("*.jpg"))
    refuse_foreign(page, clean)
    demo = _Demo(out, Catalog.load(), say, settings)
    chapters = [demo.noise(), demo.denoise(), demo.sample(), *demo.clothes()]
    photographs = [_shown(path, out) for path in clean]
    seconds = time.monotonic() - started
    write_page(page, chapters, photographs, demo.providers)
    return DemoResult(page, chapters, photographs, seconds, demo.providers)


class _Demo:
    def __init__(
        self, out: Path, catalog: Catalog, say: Callable[[str], None], settings: dict[str, Any]
    ) -> None:
        self.out, self.catalog, self.say, self.settings = out, catalog, say, settings
        self.providers: dict[str, str] = {}

    def noise(self) -> Chapter:
        return self._run(
            "Noisy photographs",
            "Gaussian noise of σ = 25 (of 255) is added, so that there is a truth to compare with.",
            PIPELINES / "add-noise.yaml",
            PHOTOGRAPHS,
            "noisy",
        )

    def denoise(self) -> Chapter:
        return self._run(
            "Denoise",
            "A residual U-Net is told how strong the noise is; here it is estimated from each "
            "picture.",
            PIPELINES / "denoise-sheet.yaml",
            self.out / "noisy",
            "denoised",
            shown_as="genloom run denoise PHOTOS -o OUT",
        )

    def sample(self) -> Chapter:
        return self._run(
            "Sample",
            "Sixty draws from the prior of a variational autoencoder trained on Fashion-MNIST: "
            "clothes that nobody made.",
            PIPELINES / "sample-sheet.yaml",
            None,
            "samples",
            shown_as="genloom run sample -o OUT",
        )

    def clothes(self) -> list[Chapter]:
        return [
            self._run(
                "Reconstruct",
                "Test pictures through the encoder and back: left before, right after.",
                PIPELINES / "reconstruct-sheet.yaml",
                CLOTHES,
                "reconstructions",
                shown_as="genloom run reconstruct PICTURES -o OUT",
            ),
            self._run(
                "Variations",
                "Ten draws from the posterior of each picture, at temperature 1.5.",
                PIPELINES / "variations-sheet.yaml",
                CLOTHES,
                "variations",
                shown_as="genloom run variations PICTURES -o OUT",
            ),
            self._run(
                "Interpolate",
                "A walk through latent space along great circles, from each picture to the next.",
                "interpolate",
                CLOTHES,
                "interpolation",
                options=["interpolate.loop=true", "animate.enlarge=6"],
                shown_as="genloom run interpolate PICTURES -o OUT",
            ),
        ]

    def _run(
        self,
        title: str,
        text: str,
        pipeline: str | Path,
        inputs: Path | None,
        folder: str,
        *,
        options: list[str] | None = None,
        shown_as: str = "",
    ) -> Chapter:
        out = self.out / folder
        self.say(f"{title} …")
        loaded = load_pipeline(pipeline, options or [], catalog=self.catalog)
        report = loaded.run(inputs or (), out, **self.settings)
        _must_be_whole(title, report)
        self.providers |= report.providers
        command = shown_as or f"genloom run {Path(pipeline).name} PICTURES -o OUT"
        seconds = None if report.skipped else report.seconds
        chapter = Chapter(title, text, command, out, seconds)
        chapter.files = sorted(path for path in out.iterdir() if path.is_file())
        return chapter


def _must_be_whole(title: str, report: Report) -> None:
    if report.outcome == "interrupted":
        raise KeyboardInterrupt
    if report.failures:
        raise GenloomError(f"the demo's part '{title}' failed: {report.failures[0].reason}")


def _shown(clean: Path, out: Path) -> Shown:
    noisy, denoised = (out / name / f"{clean.stem}.png" for name in ("noisy", "denoised"))
    truth = imaging.read(clean).pixels
    return Shown(
        clean.stem,
        clean,
        noisy,
        denoised,
        psnr(truth, imaging.read(noisy).pixels),
        psnr(truth, imaging.read(denoised).pixels),
    )


def psnr(truth: np.ndarray[Any, Any], other: np.ndarray[Any, Any]) -> float:
    """Peak signal-to-noise ratio in dB, over all pixels and colours; infinite when equal."""
    error = float(np.mean((as_float(truth) - as_float(other)) ** 2, dtype=np.float64))
    return math.inf if error == 0 else -10 * math.log10(error)
