"""Measure which settings are fastest for the models of a pipeline on this machine.

The pipeline is run on a few pictures, and what its networks are given there is kept. On these
tensors providers and precisions are compared first, then how many calls at a time, then tiles, then
batches, each with the best of what came before.
"""

from __future__ import annotations

import tempfile
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from typing import Any

from genloom import machine
from genloom.card import Card
from genloom.catalog import Catalog
from genloom.engine import tuned
from genloom.engine.binding import parallel
from genloom.engine.compiling import runtime_named
from genloom.engine.contest import Outcome, Trial, Way, contest
from genloom.engine.cutting import SIDES, usual_side
from genloom.engine.plan import Plan
from genloom.engine.recording import ON_PROCESSOR
from genloom.engine.samples import PICTURES, Load, loads, ran, shaped
from genloom.engine.settings import BATCH, BATCH_PIXELS, PRECISIONS, RunSettings
from genloom.engine.tuned import Answer
from genloom.engine.workload import Setting, Workload
from genloom.errors import GenloomError
from genloom.pipeline import Pipeline
from genloom.runtime import EXACT, INT8, Runtime

SECONDS = 60.0
TILES = (384, *SIDES)
BATCHES = (1, 4, 16, 64)
BATCH_SIDE = 256
"""Side of the pictures that batches are measured with."""
MOST_PIXELS = 1024 * 1024
"""Pixels of one call at the most."""
SLOW = ("tensorrt",)
"""Providers that compile for minutes and are taken only by name."""
_SHARES = {"provider": 0.4, "at a time": 0.3, "tile": 0.6, "batch": 1.0}
"""Of the time that is left, how much a step may spend."""


@dataclass(frozen=True)
class Tuning:
    """What was found for one model.

    Attributes:
        before: what a run would do untuned.
        answer: what is fastest.
        trials: all that was tried.
        at_work: which share of the cores it really had while it measured, for what is computed on
            them; less than half means that other programs were using them.
    """

    model: str
    before: Answer
    answer: Answer
    trials: tuple[Trial, ...]
    at_work: float = 1.0

    @property
    def measured(self) -> bool:
        """Whether there was time for anything."""
        return any(trial.speed is not None for trial in self.trials)


def tune(
    pipeline: Pipeline,
    catalog: Catalog,
    paths: Sequence[str],
    settings: RunSettings | None = None,
    seconds: float = SECONDS,
    tell: Callable[[str], None] = lambda text: None,
) -> list[Tuning]:
    """Find the fastest settings for each model of a pipeline, and keep them for later runs.

    Args:
        pipeline: all its models are tuned, on what it gives them.
        catalog: the plugins.
        paths: pictures; of the first few, the middle is taken. Left aside by a pipeline that reads
            none.
        settings: of these, only the runtime, precision floor and queues are heeded.
        seconds: to spend on measuring in all, about; compiling and the first run come on top.
        tell: told in words of every step.

    Raises:
        GenloomError: when the pipeline has no models, or does not run.
        OutputError: when what was found cannot be kept.
    """
    if not pipeline.bundles:
        raise GenloomError("this pipeline has no model to tune", got=pipeline.name)
    tell(f"{pipeline.name}: running it on a few pictures")
    asked = replace(settings or RunSettings(), tuned=False)
    with tempfile.TemporaryDirectory(prefix="genloom-tune-") as folder:
        plan, recording = ran(pipeline, catalog, paths, asked, Path(folder))
    runtime, here, found = runtime_named(catalog, asked.runtime), tuned.place(catalog), []
    used = [name for name in plan.models if any(loads(recording, name))]
    for name in used:
        share = seconds / len(used)
        one = _Tuner(plan, name, list(loads(recording, name)), runtime, share, tell).tuned()
        found.append(one)
        if one.measured:
            tuned.remember(name, plan.models[name].bundle, here, one.answer)
    _let_others_follow(plan, catalog, here, [one.answer for one in found if one.measured])
    return found


def _let_others_follow(
    plan: Plan, catalog: Catalog, here: dict[str, Any], found: Sequence[Answer]
) -> None:
    """Keep the slowest one's answer for models that nothing of the sample went through.

    Only where all models have an answer is a whole run settled, and what they are like is not
    known until they are tuned themselves: networks for grey pictures, say.
    """
    if not found:
        return
    lead = replace(max(found, key=lambda answer: answer.pace), tile=0, pace=0.0)
    bundles = {name: model.bundle for name, model in plan.models.items()}
    known = tuned.answers(bundles.values(), catalog)
    for name, bundle in bundles.items():
        if bundle.digest not in known:
            tuned.remember(name, bundle, here, lead)


class _Tuner:
    """Finds the fastest settings of one model, step by step."""

    def __init__(
        self,
        plan: Plan,
        name: str,
        loads: list[Load],
        runtime: Runtime,
        seconds: float,
        tell: Callable[[str], None],
    ) -> None:
        self._model, self._name = plan.models[name], name
        self._work = Workload(self._model, loads, runtime)
        self._runtime, self._floor = runtime, plan.settings.precision_floor
        self._left, self._pictures = seconds, plan.total
        self._trials: list[Trial] = []
        self._wall = self._cpu = 0.0
        self._tell = tell
        lower = set(self._model.precisions.values()) & set(PRECISIONS) - {EXACT}
        workers, _ = parallel(RunSettings(), PICTURES * BATCH)
        provider = plan.providers[name].partition(",")[0]
        self._now = Setting(provider, lower.pop() if lower else EXACT, workers)
        self._has_int8 = any(part.int8 for part in self._model.card.parts.values())
        self._pace = 0.0

    def tuned(self) -> Tuning:
        """Try all steps."""
        first = self._now
        self._providers()
        self._at_a_time()
        tile = self._tiles()
        batch, pixels = self._batches()
        before = _answer(first, 0, BATCH, BATCH_PIXELS, 0.0)
        work = sum(load.work * load.count for load in self._work.loads)
        answer = _answer(self._now, tile, batch, pixels, self._pace * work / self._pictures)
        had = self._cpu / (self._wall * machine.cores()) if self._wall else 1.0
        return Tuning(self._name, before, answer, tuple(self._trials), min(1.0, had))

    def _run(self, what: str, ways: list[Way], before: str, notes: Mapping[str, str]) -> Outcome:
        self._tell(f"{self._name}: trying {what}: {', '.join(way.name for way in ways)}")
        wall, cpu = time.perf_counter(), time.process_time()
        outcome = contest(what, ways, before, self._left * _SHARES[what], notes)
        self._left -= time.perf_counter() - wall
        if self._now.provider in ON_PROCESSOR:
            self._wall += time.perf_counter() - wall
            self._cpu += time.process_time() - cpu
        self._trials += outcome.trials
        return outcome

    # Steps.

    def _providers(self) -> None:
        """Every provider at hand, in fp32 and in lower precisions where the guard takes them."""
        settings, notes = {_named(self._now): self._now}, dict[str, str]()
        lower = ["auto", *([INT8] if self._has_int8 else [])]
        asked_for = [EXACT, *(lower if self._model.card.precision == "auto" else [])]
        self._work.compiled(self._now)
        for provider in self._runtime.providers():
            if provider in SLOW and provider != self._now.provider:
                continue
            for asked in asked_for:
                try:
                    setting = self._candidate(provider, asked, notes)
                except Exception as error:  # a provider that does not take the graph, or breaks
                    reason = str(error) if isinstance(error, GenloomError) else repr(error)
                    self._refuse(f"{provider} {asked}", reason)
                    break
                if setting is not None:
                    settings.setdefault(_named(setting), setting)
        ways = [self._work.way(name, setting) for name, setting in settings.items()]
        outcome = self._run("provider", ways, _named(self._now), notes)
        self._now, self._pace = settings[outcome.best], outcome.pace

    def _candidate(self, provider: str, asked: str, notes: dict[str, str]) -> Setting | None:
        """A provider in a precision, if it computes there and gives the same pictures."""
        found = self._work.settled(replace(self._now, provider=provider, precision=asked))
        if asked != EXACT and found.precision == EXACT:
            return None  # it has no lower one
        if found.precision == EXACT:
            self._work.run_once(found)
            return found
        decibels = self._work.apart(found)
        notes[_named(found)] = f"{decibels:.1f} dB from {EXACT}"
        if decibels < self._floor:
            self._refuse(_named(found), f"{decibels:.1f} dB, less than {self._floor:g}")
            return None
        return found

    def _refuse(self, name: str, reason: str) -> None:
        self._trials.append(Trial("provider", name, note=reason))

    def _at_a_time(self) -> None:
        """Fewer calls at a time, each with more threads."""
        cores = machine.cores()
        counts = sorted({cores, self._now.workers, *(2**n for n in range(7) if 2**n < cores)})
        settings = {_times(one): one for one in (replace(self._now, workers=n) for n in counts)}
        if len(settings) < 2:
            return
        ways = [self._work.way(name, setting) for name, setting in settings.items()]
        outcome = self._run("at a time", ways, _times(self._now), {})
        self._now, self._pace = settings[outcome.best], outcome.pace or self._pace

    def _tiles(self) -> int:
        """Sides of tiles, where cutting changes nothing; gives the best, or 0."""
        card = self._model.card
        load = self._work.pictures()
        if not any("result" in part.outputs for part in card.parts.values()):
            return 0
        if card.receptive_field == "global" or card.size.fixed is not None or load is None:
            return 0
        margin = card.receptive_field // 2
        sides = [side // card.size.step * card.size.step for side in TILES]
        sides = sorted({side for side in sides if side >= max(64, 4 * margin)})
        now = usual_side(card) // card.size.step * card.size.step
        if now not in sides:
            return 0
        ways = [self._tile(load, side, margin, card) for side in sides]
        outcome = self._run("tile", ways, str(now), {})
        return int(outcome.best) if any(trial.speed for trial in outcome.trials) else 0

    def _tile(self, load: Load, side: int, margin: int, card: Card) -> Way:
        """A tile of that side for each worker; what counts is what is kept of it."""
        inputs = shaped(load.calls[0], 1, side)
        call = partial(self._work.together, [(load, [inputs] * self._now.workers)], self._now)
        return Way(str(side), call, float((side - 2 * margin) ** 2 * self._now.workers))

    def _batches(self) -> tuple[int, int]:
        """Pictures in one call: how many at the most, and of how many pixels together."""
        shapes = [shape for one in self._work.compiled(self._now) for shape in one.inputs.values()]
        if any(shape and isinstance(shape[0], int) for shape in shapes):
            return BATCH, BATCH_PIXELS  # made for one picture
        side, pixels = self._batch_pixels()
        now = max(1, min(BATCH, -(-BATCH_PIXELS // pixels)))
        counts = sorted({now, *(n for n in BATCHES if n == 1 or n * pixels <= MOST_PIXELS)})
        ways = [self._batch(count, side) for count in counts]
        outcome = self._run("batch", ways, _pictures(now, pixels), {})
        best = next(n for n in counts if _pictures(n, pixels) == outcome.best)
        if best == now:
            return BATCH, BATCH_PIXELS
        return (best, max(BATCH_PIXELS, best * pixels)) if side is None else (BATCH, best * pixels)

    def _batch_pixels(self) -> tuple[int | None, int]:
        """Side that pictures are cut to for this, None for one size only; and pixels of each."""
        load = self._work.pictures()
        fixed = self._model.card.size.fixed
        if fixed is not None or load is None:
            height, width = fixed or (1, 1)
            return None, height * width
        step = self._model.card.size.step
        side = max(step, BATCH_SIDE // step * step)
        return side, side * side

    def _batch(self, count: int, side: int | None) -> Way:
        """Calls with so many pictures, one for each worker."""
        jobs = [
            (load, [shaped(load.calls[0], count, side if load.takes_pictures else None)])
            for load in self._work.loads
        ]
        each = [(load, inputs * self._now.workers) for load, inputs in jobs]
        pixels = self._batch_pixels()[1]
        work = float(count * self._now.workers)
        return Way(_pictures(count, pixels), partial(self._work.together, each, self._now), work)


def _named(setting: Setting) -> str:
    return f"{setting.provider} {setting.precision}"


def _times(setting: Setting) -> str:
    return f"{setting.workers} × {setting.threads} thread{'s' if setting.threads != 1 else ''}"


def _pictures(count: int, pixels: int) -> str:
    side = round(pixels**0.5)
    return f"{count} of {side}×{side}" if pixels > 1 else str(count)


def _answer(setting: Setting, tile: int, batch: int, pixels: int, pace: float) -> Answer:
    return Answer(
        provider=setting.provider,
        precision=setting.precision,
        workers=setting.workers,
        tile=tile,
        batch=batch,
        pixels=pixels,
        pace=pace,
    )
