"""Torch's random numbers as a function of (seed, step), so that there is no state to save."""

from __future__ import annotations

import hashlib

import torch


def seed_step(seed: int, step: int | str, rank: int = 0) -> None:
    """Seed torch's generators from (seed, step), each of several processes differently."""
    key = f"{seed}\0{step}" + (f"\0{rank}" if rank else "")
    digest = hashlib.sha256(key.encode()).digest()
    torch.manual_seed(int.from_bytes(digest[:8], "little") >> 1)
