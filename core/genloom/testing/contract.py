"""The contract of a stage, as one call for its author's tests."""

from __future__ import annotations

import json
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from itertools import product
from typing import Any

import numpy as np

from genloom.contributions import checked_stage
from genloom.errors import GenloomError
from genloom.options import check, options_of, plain, schema_of, values_of
from genloom.stage import Cardinality, Inputs, Stage
from genloom.testing.fakes import FakeRun, fake_model
from genloom.testing.pictures import DTYPES, image_batch, latent_batch
from genloom.types import Batch, Item, Kind, as_float

THREADS = 4
TOLERANCE = 1e-5


def check_stage(stage_type: type[Stage], run: FakeRun | None = None, /, **options: Any) -> None:
    """Check that a stage keeps its contract, on pictures and latents of every sort.

    It is a frozen dataclass whose options can be checked; it works on every dtype, grey and
    colour, one and several, from several threads at a time; it gives the kind it says; it leaves
    its input as it was; its result depends on neither chance nor the rest of the batch.

    Args:
        stage_type: the stage. One that takes a kind of a plugin's own is checked only in form.
        run: brings models for its options; each one it lacks is a `fake_model()`.
        options: the stage's options.

    Raises:
        AssertionError: saying what does not hold.
    """
    _check_form(stage_type, options)
    run = run or FakeRun()
    stage = _made(stage_type, _with_models(stage_type, options, run))
    for kind in stage_type.kinds_taken():
        trials = [_Trial(stage, batch, run) for batch in _batches(kind, stage, run)]
        for trial in trials:
            trial.check()
        for trial in trials[-1:]:
            trial.check_threads()


def _expect(holds: bool, otherwise: str) -> None:
    if not holds:
        raise AssertionError(otherwise)


def _check_form(stage_type: type[Stage], options: dict[str, Any]) -> None:
    try:
        checked_stage(stage_type)
    except GenloomError as error:
        raise AssertionError(str(error)) from None
    name = stage_type.name
    kinds = (*stage_type.kinds_taken(), stage_type.gives)
    _expect(
        all(isinstance(kind, Kind) for kind in kinds), f"'{name}' takes and gives must be kinds"
    )
    known = options_of(stage_type)
    json.dumps(schema_of(stage_type))
    defaults = {n: plain(option.default) for n, option in known.items() if not option.required}
    given = {key: plain(value) for key, value in options.items()}
    for what, values in (("default", defaults), ("given", defaults | given)):
        wrong = [p for p in check(stage_type, values)[1] if not p.missing]
        words = ", ".join(f"{p.name}={p.got!r} ({p.expected or 'no such option'})" for p in wrong)
        _expect(not wrong, f"'{name}': {what} options do not pass their own check: {words}")


def _with_models(stage_type: type[Stage], options: dict[str, Any], run: FakeRun) -> dict[str, Any]:
    """The options with a model for each that names one, all of them brought by the run."""
    options = dict(options)
    for name, option in options_of(stage_type).items():
        if option.model is None:
            continue
        chosen = options.get(name) or (None if option.required else option.default) or "fake"
        options[name] = chosen
        if chosen not in run.models:
            run.models[chosen] = fake_model(name="fake")
    return options


def _made(stage_type: type[Stage], options: dict[str, Any]) -> Stage:
    stage = stage_type(**options)
    json.dumps(values_of(stage))
    return stage


def _batches(kind: Kind, stage: Stage, run: FakeRun) -> Iterator[Batch]:
    counts = (2, 3) if stage.cardinality.gathers else (1, 3)
    if kind == Kind.IMAGE:
        for dtype, channels, count in product(DTYPES, (1, 3), counts):
            yield image_batch(count, channels=channels, dtype=dtype)
        yield image_batch(2, size=(17, 13), alpha=True)
    elif kind == Kind.LATENT:
        model = next(iter(run.models.values()), None) or fake_model()
        for count in counts:
            yield latent_batch(model, count)
    elif kind == Kind.NOTHING:
        items = [item for _, item in zip(range(3), stage.sources(Inputs()), strict=False)]
        if items:
            yield Batch.nothing(items)


class _Trial:
    """One stage on one batch."""

    def __init__(self, stage: Stage, batch: Batch, run: FakeRun) -> None:
        self.stage, self.batch, self.run = stage, batch, run
        values = batch.values
        self.what = f"the stage '{stage.name}' on {len(batch)} × {values.dtype}{values.shape[1:]}"

    def check(self) -> None:
        """All that must hold."""
        before = _copied(self.batch)
        files = len(self.run.files)
        result = self.apply(self.batch)
        _same(before, self.batch, f"{self.what} changes the batch it is given")
        self.check_files(len(self.run.files) - files)
        self.check_result(result)
        self.check_items(result)
        _same(result, self.apply(self.batch), f"{self.what}: two calls differ")
        if len(self.batch) > 1:
            self.check_alone(result)

    def apply(self, batch: Batch) -> Batch:
        """What the stage makes of a batch; a stage that gathers is given it as its group."""
        try:
            done = self.stage(batch, self.run)
            if self.stage.cardinality.gathers:
                done = self.stage.gather(list(done), Item(key="all#0", name="all"), self.run)
        except Exception as error:
            raise AssertionError(f"{self.what} raised {type(error).__name__}: {error}") from error
        _expect(isinstance(done, Batch), f"{self.what} gave no batch but {type(done).__name__}")
        return done

    def check_files(self, written: int) -> None:
        if self.stage.writes:
            _expect(written > 0, f"{self.what} says that it writes, but wrote no file")
        else:
            _expect(written == 0, f"{self.what} writes files but does not say `writes = True`")

    def check_result(self, result: Batch) -> None:
        gives, values = self.stage.gives, result.values
        _expect(result.kind == gives, f"{self.what} gave {result.kind}, but says it gives {gives}")
        dtypes = DTYPES if gives == Kind.IMAGE else (np.float32,)
        if gives in (Kind.IMAGE, Kind.LATENT):
            _expect(values.dtype in dtypes, f"{self.what} gave values of type {values.dtype}")
            _expect(bool(np.isfinite(values).all()), f"{self.what} gave values that are not finite")
        if gives == Kind.IMAGE:
            _expect(values.shape[3] in (1, 3), f"{self.what} gave {values.shape[3]} channels")
            _expect(min(values.shape[1:3]) > 0, f"{self.what} gave empty pictures")
        if gives == Kind.LATENT:
            _expect(bool(result.model), f"{self.what} does not say which model its latents are of")

    def check_items(self, result: Batch) -> None:
        if self.stage.cardinality.gathers:
            return
        given, made = len(self.batch), len(result)
        if self.stage.cardinality != Cardinality.ONE_TO_MANY:
            _expect(made == given, f"{self.what} gave {made} items")
        _expect(made > 0 and made % given == 0, f"{self.what} gave {made} items")
        share = made // given
        for index, item in enumerate(result.items):
            parent = self.batch.items[index // share].key
            _expect(
                item.key == parent or item.key.startswith(f"{parent}#"),
                f"{self.what} gave the item '{item.key}' where '{parent}' or its child belongs",
            )
        _expect(len({item.key for item in result.items}) == made, f"{self.what} repeats a key")

    def check_threads(self) -> None:
        """Calls that are under way at the same time do not disturb each other."""
        if self.stage.writes:  # into files of the same names
            return
        result = self.apply(self.batch)
        with ThreadPoolExecutor(THREADS) as pool:
            for other in pool.map(self.apply, [self.batch] * THREADS):
                _same(result, other, f"{self.what}: calls from several threads differ")

    def check_alone(self, together: Batch) -> None:
        if self.stage.cardinality.gathers:
            return
        share = len(together) // len(self.batch)
        for index, one in enumerate(self.batch):
            alone = self.apply(one)
            part = together[index * share : (index + 1) * share]
            _same(part, alone, f"{self.what}: an item's result depends on the rest of its batch")


def _copied(batch: Batch) -> Batch:
    items = [
        replace(
            item,
            alpha=None if item.alpha is None else item.alpha.copy(),
            guides={name: guide.copy() for name, guide in item.guides.items()},
        )
        for item in batch.items
    ]
    return replace(batch, items=tuple(items), values=batch.values.copy())


def _same(first: Batch, second: Batch, otherwise: str) -> None:
    _expect([i.key for i in first.items] == [i.key for i in second.items], otherwise)
    _expect(first.values.shape == second.values.shape, otherwise)
    pairs = [(first.values, second.values)]
    if first.log_variance is not None and second.log_variance is not None:
        pairs.append((first.log_variance, second.log_variance))
    pairs += [
        (one.alpha, other.alpha)
        for one, other in zip(first.items, second.items, strict=True)
        if one.alpha is not None and other.alpha is not None
    ]
    for one, other in pairs:
        close = one.shape == other.shape and np.allclose(
            as_float(one), as_float(other), atol=TOLERANCE, rtol=TOLERANCE, equal_nan=True
        )
        _expect(close, otherwise)
