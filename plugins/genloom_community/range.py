"""Which pixel values a foreign graph works on: guessed from what it makes of a picture."""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np

from genloom.errors import GenloomError
from genloom.types import Floats
from genloom_community.examples import ABOUT, example
from genloom_community.probe import Probe
from genloom_community.request import RANGES, Values
from genloom_community.wrap import Convention

UNLIKE = 0.05
"""Mean difference between a picture and its result from which another range is looked for."""
CLEARLY = 0.5
"""Another range is taken when the result is this many times closer to the picture."""
SAME = 1e-3
"""Mean difference between results of two ranges up to which it does not matter which it is."""
BYTES: Values = (0, 255)

_PAIRS = (("0-1", "0-1"), ("0-255", "0-255"), ("-1-1", "-1-1"), ("0-1", "0-255"), ("0-255", "0-1"))


@dataclass(frozen=True)
class _Trial:
    """What came of one pair of ranges: the result, and how far it is from the picture."""

    convention: Convention
    result: Floats | None
    apart: float

    @property
    def words(self) -> str:
        names = {values: name for name, values in RANGES.items()}
        taken = names[self.convention.values]
        given = names[self.convention.result_values]
        return taken if taken == given else f"{taken} in, {given} out"


def settled(
    probe: Probe, convention: Convention, said: tuple[Values, Values] | None
) -> tuple[Convention, tuple[str, ...]]:
    """The convention with its ranges, and what people should know of them.

    Said ones are taken, but that bytes are always 0 to 255. Otherwise they are guessed: a network
    that restores or enlarges gives back what looks like the picture it was given; the ranges are
    those under which it does so best. In doubt it is [0, 1], which most use. As a network that
    adds a small correction to its picture does so under all ranges, a guess is always told.
    """
    pairs = dict.fromkeys(_ranges(convention, RANGES[a], RANGES[b]) for a, b in _PAIRS)
    trials = [_trial(probe, convention, pair) for pair in pairs]
    if said is not None:
        return _believed(_trial(probe, convention, _ranges(convention, *said)), trials, said)
    best = trials[0]
    for trial in trials[1:]:
        if best.apart > UNLIKE and trial.apart < CLEARLY * best.apart:
            best = trial
    if len(trials) == 1:
        return best.convention, ()
    others = [trial for trial in trials if trial is not best]
    seen = "; ".join(f"{trial.words}: {trial.apart:.2g}" for trial in others)
    notes = [
        f"pixel values are taken to be {best.words}: then its result differs from the picture by "
        f"{best.apart:.2g} on average ({seen}); --range says it for sure"
    ]
    if likely := [trial.words for trial in others if _as_likely(trial, best)]:
        notes.append(
            "warning: that is a guess, since its result looks like the picture with "
            f"{' or '.join(likely)} too; look up what it was trained on"
        )
    return best.convention, tuple(notes)


def _ranges(convention: Convention, values: Values, result_values: Values) -> tuple[Values, Values]:
    """The ranges, but for ports of bytes."""
    return (
        BYTES if convention.dtype == "uint8" else values,
        BYTES if convention.result_dtype == "uint8" else result_values,
    )


def _believed(
    taken: _Trial, trials: list[_Trial], said: tuple[Values, Values]
) -> tuple[Convention, tuple[str, ...]]:
    notes = []
    if (taken.convention.values, taken.convention.result_values) != said:
        notes.append(f"--range is taken as {taken.words}: bytes are always 0-255")
    if taken.apart > UNLIKE:
        best = min(trials, key=lambda trial: trial.apart)
        notes.append(
            f"warning: with pixel values of {taken.words} its result differs from the picture by "
            f"{taken.apart:.2g} on average"
            + (f", with {best.words} by {best.apart:.2g}" if best.apart < taken.apart else "")
        )
    return taken.convention, tuple(notes)


def _as_likely(other: _Trial, best: _Trial) -> bool:
    """Whether another range would look as right, and computes something else."""
    if other.result is None or other.apart > max(UNLIKE, best.apart / CLEARLY):
        return False
    return best.result is None or float(np.abs(other.result - best.result).mean()) > SAME


def _trial(probe: Probe, convention: Convention, pair: tuple[Values, Values]) -> _Trial:
    tried = replace(convention, values=pair[0], result_values=pair[1])
    size = probe.size.fixed or probe.size.padded(ABOUT, ABOUT)
    picture = example(size, convention.channels)
    try:
        result = tried.run(probe.network, picture, 0.1)
    except GenloomError:
        return _Trial(tried, None, np.inf)
    apart = float(np.abs(_shrunk(result, probe.scale) - picture).mean())
    return _Trial(tried, result, apart if np.isfinite(apart) else np.inf)


def _shrunk(result: Floats, scale: int) -> Floats:
    count, channels, height, width = result.shape
    blocks = result.reshape(count, channels, height // scale, scale, width // scale, scale)
    return np.asarray(blocks.mean(axis=(3, 5)), np.float32)
