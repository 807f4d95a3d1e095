"""What a judge takes pictures for: which classes are there, and how sure it is."""

from __future__ import annotations

from genloom.likelihood import Doubles
from genloom.types import Array
from genloom_train.evaluation.figures import Figure
from genloom_train.evaluation.judge import Seen

ENOUGH = 0.5
"""A class is covered if its share is at least this much of its share among real pictures."""


def verdicts(drawn: Seen, real: Seen, reference: Seen) -> list[Figure]:
    """How sure the judge is of pictures, and which classes are among them.

    Args:
        drawn: what it sees in the model's pictures.
        real: in one half of the real pictures, for what stands beside the figures.
        reference: in the other half, which both are compared with.
    """
    of_drawn, of_real = drawn.shares, real.shares
    return [
        Figure("confident", drawn.confident, real.confident),
        Figure(
            "class_coverage",
            coverage(of_drawn, reference.shares),
            coverage(of_real, reference.shares),
        ),
        Figure("class_share_min", float(of_drawn.min()), float(of_real.min())),
        Figure("class_share_max", float(of_drawn.max()), float(of_real.max())),
    ]


def coverage(shares: Doubles, reference: Doubles) -> float:
    """Share of the classes among real pictures that are not rare among others, see `ENOUGH`."""
    there = reference > 0
    return float((shares[there] >= ENOUGH * reference[there]).mean())


def obeyed(drawn: Seen, asked: Array) -> float:
    """Share of pictures that are taken for the class they were asked to be of, (N,)."""
    return float((drawn.chosen == asked).mean())
