"""What only a GPU can show, a line each: `ok` or `FAILED`, with the figure. None stops the others.

Part of `gpu.py --checks`. With `--provider cpu` the same is tried on the processor, as far as it
goes.
"""

import contextlib
import os
import shutil
import subprocess
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from enlarge import PHOTOGRAPHS, genloom
from PIL import Image

import genloom as api
from genloom.engine.report import Report

LARGE = (2000, 1500)
WHOLE, TILE = 4096, 512
ALIKE = 45.0
"""Least dB between a result in tiles and whole, in a precision of which 50 are asked for."""

LIMIT = 256 * 2**20
"""Bytes of the device that a run may have, far less than a large picture takes whole."""

SPARE = 900 * 2**20
"""Bytes that are left free where another program has nearly all of the device."""


class NotHereError(Exception):
    """A check that needs what there is not."""


@dataclass(frozen=True)
class Checks:
    """Each public method is a check: it gives what was found in words, or raises."""

    work: Path
    model: Path
    provider: str

    def doctor(self) -> str:
        """`genloom doctor` sees the GPU, and the provider works."""
        said = self._command("doctor", codes=(0, 1))  # it may find something else to mend
        assert f"the provider '{self.provider}' works" in said, said
        if self.provider == "cuda":
            assert "GPU NVIDIA" in said, said
        return next((line.strip() for line in said.splitlines() if "GPU" in line), "no GPU")

    def auto_takes_it(self) -> str:
        """`auto` chooses the provider."""
        report, _ = self._enlarged("auto", provider="auto")
        assert set(report.providers.values()) == {self.provider}, report.providers
        return f"{report.providers}"

    def guard(self) -> str:
        """What a lower precision makes of real pictures, beside fp32."""
        report, low = self._enlarged("low", precision="auto")
        _, exact = self._enlarged("exact", precision="fp32")
        found = {precision for parts in report.precisions.values() for precision in parts.values()}
        decibels = min(_decibels(a, b) for a, b in zip(low, exact, strict=True))
        assert decibels >= 50, f"{decibels:.1f} dB"
        return f"{' and '.join(found)}, at least {decibels:.1f} dB; notes {report.notes}"

    def tiled_denoise(self) -> str:
        """A denoiser, in fp32."""
        return self._tiled("denoise", {"denoise.sigma": 25})

    def tiled_upscale(self) -> str:
        """An enlarger, in fp32."""
        return self._tiled("upscale", {"upscale.model": "upscale-x2"})

    def tiled_in_auto(self) -> str:
        """An enlarger, in what `auto` computes in: other sizes may be computed in another order."""
        return self._tiled("upscale", {"upscale.model": "upscale-x2"}, "auto")

    def seeds(self) -> str:
        """One seed gives one result, another another."""
        one, two = (self._sampled(name, 8) for name in ("one", "two"))
        other = self._sampled("other", 9)
        steps = max(_steps(a, b) for a, b in zip(one, two, strict=True))
        assert steps == 0, f"{steps} steps apart"
        assert any(_steps(a, b) for a, b in zip(one, other, strict=True)), "seeds do nothing"
        return f"{len(one)} pictures, 0 steps apart"

    def reproduce(self) -> str:
        """`genloom reproduce` makes the same picture again."""
        # By its name, which a record tells; a bundle of a folder would have to lie at hand.
        self._run("upscale", {"upscale.model": "upscale-x2"}, "first", "few", precision="auto")
        first = self.work / "first/0.png"
        return self._command(
            "reproduce", first, "-o", self.work / "again", "--input", self.work / "few"
        ).splitlines()[-1]

    def memory_limit(self) -> str:
        """A device that is said to be small: calls are halved, and the result is the same."""
        if self.provider != "cuda":
            raise NotHereError("no GPU")
        return self._with_little_memory(
            "limit", provider_options={"gpu_mem_limit": str(LIMIT)}, cpu_fallback=False
        )

    def memory_taken(self) -> str:
        """A device that another program has nearly all of."""
        if self.provider != "cuda":
            raise NotHereError("no GPU")
        with _nearly_full():
            return self._with_little_memory("taken", cpu_fallback=False)

    def calls_at_a_time(self) -> str:
        """How fast the bare network is with one and with several calls at a time."""
        from concurrent.futures import ThreadPoolExecutor

        from genloom.catalog import Catalog
        from genloom.engine.compiling import runtime_named
        from genloom.runtime import Settings
        from genloom.runtime.pixels import IMAGE, in_pixels

        graph = in_pixels((self.model / "network.onnx").read_bytes(), "image", "result")
        runtime, told = runtime_named(Catalog.load(), "auto"), []
        for precision in ("auto", "fp32"):
            settings = Settings(provider=self.provider, threads=1, precision=precision)
            network = runtime.compile(graph, settings)
            for batch, threads in ((1, 1), (2, 1), (8, 1), (2, 4), (2, 16)):
                given = {
                    IMAGE: np.random.RandomState(0).randint(0, 256, (batch, 320, 480, 3), "u1")
                }
                with ThreadPoolExecutor(threads) as pool:
                    list(pool.map(network.run, [given] * threads))
                    started, calls = time.perf_counter(), 0
                    while time.perf_counter() - started < 0.5:
                        list(pool.map(network.run, [given] * 2 * threads))
                        calls += 2 * threads
                rate = calls * batch / (time.perf_counter() - started)
                told.append(f"{network.precision} {threads}×{batch}: {rate:.0f}/s")
        return ", ".join(told)

    def tune(self) -> str:
        """`genloom tune` runs, and says what it found; it is not kept."""
        said = self._command(
            "tune", "upscale", self.work / "few", "--seconds", "8",
            *["--set", f"upscale.model={self.model}", "--set", "upscale.scale=4"],
        )  # fmt: skip
        return " | ".join(line.strip() for line in said.splitlines()[-4:])

    def _command(self, *words: object, codes: tuple[int, ...] = (0,)) -> str:
        command = [str(word) for word in (*genloom(), *words)]
        kept = {**os.environ, "XDG_CACHE_HOME": str(self.work / "cache")}
        done = subprocess.run(
            command, capture_output=True, text=True, check=False, timeout=90, env=kept
        )
        assert done.returncode in codes, f"exit code {done.returncode}: {done.stdout}{done.stderr}"
        return done.stdout

    def _run(
        self, pipeline: str, overrides: dict[str, object], out: str, source: str, **how: object
    ) -> tuple[Report, list[np.ndarray]]:
        target = self.work / out
        shutil.rmtree(target, ignore_errors=True)
        how = {"provider": self.provider, "tuned": False, **how}
        loaded = api.load_pipeline(pipeline, overrides | {"save.format": "png"})
        report = loaded.run(str(self.work / source), target, **how)
        assert report.outcome == "done", report.failures
        return report, [_pixels(path) for path in sorted(target.glob("*.png"))]

    def _enlarged(self, out: str, **how: object) -> tuple[Report, list[np.ndarray]]:
        overrides = {"upscale.model": str(self.model), "upscale.scale": 4}
        return self._run("upscale", overrides, out, "few", **how)

    def _tiled(self, pipeline: str, overrides: dict[str, object], precision: str = "fp32") -> str:
        """A large picture in tiles and whole: in fp32 a step apart at most."""
        how, exact = {"precision": precision, "source": "large"}, precision == "fp32"
        report, (tiled,) = self._run(pipeline, overrides, "tiled", tile=TILE, **how)
        _, (whole,) = self._run(pipeline, overrides, "whole", tile=WHOLE, **how)
        steps, decibels = _steps(tiled, whole), _decibels(tiled, whole)
        good = steps <= 1 and not report.notes if exact else decibels >= ALIKE
        told = f"{steps} steps apart at most, {decibels:.1f} dB, {report.precisions}"
        assert good, f"{told}, {report.notes}"
        return f"{told}, {report.notes}"

    def _sampled(self, out: str, seed: int) -> list[np.ndarray]:
        target = self.work / out
        loaded = api.load_pipeline("sample", seed=seed)
        report = loaded.run((), target, provider=self.provider)
        assert report.outcome == "done", report.failures
        return [_pixels(path) for path in sorted(target.rglob("*.png"))]

    def _with_little_memory(self, out: str, **how: object) -> str:
        overrides = {"upscale.model": "upscale-x2"}
        same = {"source": "large", "tile": WHOLE, "precision": "fp32", **how}
        report, (made,) = self._run("upscale", overrides, out, **same)
        text = "; ".join(report.notes)
        assert "ran out of memory" in text, f"it did not run out: {text}"
        assert set(report.providers.values()) == {self.provider}, report.providers
        same = {"source": "large", "precision": "fp32"}
        _, (plain,) = self._run("upscale", overrides, "plain", **same)
        steps = _steps(made, plain)
        assert steps <= 1, f"{steps} steps apart; {text}"
        return f"{steps} steps apart at most; {text}"


@contextlib.contextmanager
def _nearly_full() -> Iterator[None]:
    """Nearly all of the device's memory taken by torch."""
    import torch

    free, _ = torch.cuda.mem_get_info()
    held = torch.empty(max(0, free - SPARE), dtype=torch.uint8, device="cuda")
    try:
        yield
    finally:
        del held
        torch.cuda.empty_cache()


def _pixels(path: Path) -> np.ndarray:
    with Image.open(path) as image:
        return np.asarray(image.convert("RGB"), np.int16)


def _steps(one: np.ndarray, other: np.ndarray) -> int:
    return int(np.abs(one - other).max())


def _decibels(one: np.ndarray, other: np.ndarray) -> float:
    error = float(np.square((one - other).astype(np.float64)).mean())
    return 10 * np.log10(255**2 / error) if error else np.inf


def make_inputs(work: Path) -> None:
    """Six small pictures, and a large one."""
    sources = sorted(PHOTOGRAPHS.glob("*.jpg"))
    for folder in ("few", "large"):
        (work / folder).mkdir(parents=True)
    for index in range(6):
        with Image.open(sources[index % len(sources)]) as image:
            image.convert("RGB").resize((480, 320)).save(work / f"few/{index}.png")
    with Image.open(sources[0]) as image:
        image.convert("RGB").resize(LARGE).save(work / "large/0.png")


def checked(work: Path, model: Path, provider: str) -> bool:
    """Every check, a line each; whether all went well."""
    make_inputs(work)
    checks, good = Checks(work, model, provider), True
    for name in [name for name in vars(Checks) if not name.startswith("_")]:
        check: Callable[[], str] | object = getattr(checks, name)
        if not callable(check):
            continue
        started = time.perf_counter()
        try:
            verdict, told = "ok", check()
        except NotHereError as error:
            verdict, told = "skipped", str(error)
        except BaseException as error:
            if isinstance(error, KeyboardInterrupt):
                raise
            verdict, told = "FAILED", f"{type(error).__name__}: {error}"
        good = good and verdict != "FAILED"
        seconds = time.perf_counter() - started
        told = " ".join(str(told).split())
        print(f"{verdict}: {name} ({seconds:.1f} s): {told[:1200]}", flush=True)
    return good
