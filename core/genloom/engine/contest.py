"""Which of several ways to compute is fastest: measured in turns, within a time."""

from __future__ import annotations

import statistics
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from time import perf_counter

ROUNDS = 3
MARGIN = 1.03
"""How many times as fast a way must be to be taken in place of the one that is used now."""
HASTY = 1.15
"""The same where there was time for one turn after the first, which only warms up."""
LATE = "no time left"
ONCE = "measured once, too little to go by"


@dataclass(frozen=True)
class Way:
    """A way to compute.

    Attributes:
        name: in words.
        call: computes once.
        work: how much is computed; seconds are compared for the same work.
    """

    name: str
    call: Callable[[], object]
    work: float = 1.0


@dataclass(frozen=True)
class Trial:
    """What became of a way.

    Attributes:
        what: which setting was tried; `name` is the value of it.
        speed: how many times as fast as the way that was used before; None where it was not
            measured.
        taken: whether it is taken.
        note: why it was not measured, or what else was found.
    """

    what: str
    name: str
    speed: float | None = None
    taken: bool = False
    note: str = ""


@dataclass(frozen=True)
class Outcome:
    """What a contest came to.

    Attributes:
        best: name of the fastest way; the one used before, where none is clearly faster.
        trials: of every way.
        pace: seconds for one unit of work, of the best; 0 where nothing was measured.
    """

    best: str
    trials: tuple[Trial, ...]
    pace: float


def contest(
    what: str,
    ways: Sequence[Way],
    before: str,
    seconds: float,
    notes: Mapping[str, str] | None = None,
) -> Outcome:
    """Measure ways in turns, so that what disturbs one disturbs all, until the time is over.

    The first turn warms up; where there is no time for another, what is used now stays. A turn is
    not begun that would not end in time.

    Args:
        what: which setting is tried.
        ways: the least work first where it differs.
        before: name of the one that is used now.
        seconds: to spend; a way that would take longer than is left is left out.
        notes: what else is known of ways.
    """
    end, pace = perf_counter() + seconds, 0.0
    taken: dict[str, list[float]] = {}
    for way in ways:
        now = perf_counter()
        if now >= end or now + pace * way.work > end:
            break
        pace = _pace(way)
        taken[way.name] = [pace]
    measured = [way for way in ways if way.name in taken]
    for _ in range(ROUNDS if before in taken and len(measured) > 1 else 0):
        if perf_counter() + sum(taken[way.name][-1] * way.work for way in measured) > end:
            break
        for way in measured:
            taken[way.name].append(_pace(way))
    return _judged(what, ways, before, taken, notes or {})


def _pace(way: Way) -> float:
    """Seconds for one unit of work."""
    began = perf_counter()
    way.call()
    return (perf_counter() - began) / way.work


def _note(way: Way, speeds: Mapping[str, float], turns: int, notes: Mapping[str, str]) -> str:
    if way.name not in speeds:
        return LATE
    once = [ONCE] if turns == 1 and len(speeds) > 1 else []
    return ", ".join([*filter(None, [notes.get(way.name)]), *once])


def _judged(
    what: str,
    ways: Sequence[Way],
    before: str,
    taken: Mapping[str, Sequence[float]],
    notes: Mapping[str, str],
) -> Outcome:
    if before not in taken:
        unmeasured = tuple(Trial(what, way.name, note=LATE) for way in ways)
        return Outcome(before, unmeasured, 0.0)
    turns = len(taken[before])
    counted = {name: times[1 if turns > 1 else 0 :] for name, times in taken.items()}
    speeds = {
        name: statistics.median(old / new for old, new in zip(counted[before], times, strict=True))
        for name, times in counted.items()
    }
    fastest = max(speeds, key=lambda name: speeds[name])
    enough = MARGIN if turns > 2 else HASTY
    best = fastest if turns > 1 and speeds[fastest] >= enough else before
    trials = tuple(
        Trial(
            what,
            way.name,
            speeds.get(way.name),
            way.name == best,
            _note(way, speeds, turns, notes),
        )
        for way in ways
    )
    return Outcome(best, trials, statistics.median(counted[best]))
