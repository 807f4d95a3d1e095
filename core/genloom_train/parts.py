"""The parts of a training: from a start to its resume under other steps or devices, and so on."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass


@dataclass(frozen=True)
class Part:
    """A stretch of a training.

    Attributes:
        begin: steps that were done before it.
        steps: the last step as it was planned then; schedules depend on it.
        devices: how many processes had their part of every batch.
    """

    begin: int
    steps: int
    devices: int


def gone_on(parts: Sequence[Part], now: Part) -> list[Part]:
    """The parts up to `now.begin`, and `now` where it differs from the one before."""
    kept = [part for part in parts if part.begin < now.begin]
    last = kept[-1] if kept else None
    same = last is not None and (last.steps, last.devices) == (now.steps, now.devices)
    return kept if same else [*kept, now]


def in_words(parts: Sequence[Part], step: int) -> list[str]:
    """What each part did, of a training that is at `step`; nothing when there is only one."""
    if len(parts) < 2:
        return []
    ends = [*(part.begin for part in parts[1:]), step]
    return [
        f"to step {end} of {part.steps}" + (f" on {part.devices} devices" * (part.devices > 1))
        for part, end in zip(parts, ends, strict=True)
    ]
