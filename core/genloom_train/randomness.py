"""Torch's random numbers as a function of (seed, step), so that there is no state to save."""

from __future__ import annotations

import functools
import hashlib
from collections.abc import Callable

import torch


def seed_step(seed: int, step: int | str, rank: int = 0) -> None:
    """Seed torch's generators from (seed, step), each of several processes differently."""
    key = f"{seed}\0{step}" + (f"\0{rank}" if rank else "")
    digest = hashlib.sha256(key.encode()).digest()
    _seed()(int.from_bytes(digest[:8], "little") >> 1)


@functools.cache
def _seed() -> Callable[[int], object]:
    """How all generators there are get a seed.

    Where there is only the CPU's, it is asked itself: `torch.manual_seed` takes a trace of the
    stack for devices that may come later, at every step.
    """
    if torch.accelerator.is_available():
        return torch.manual_seed
    return torch.default_generator.manual_seed
