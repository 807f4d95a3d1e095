"""How varied made pictures are, beside real ones: what shows that a generator collapses.

No network judges here, only distances between pixels, so the figures are cheap and mean the same
for every data set.
"""

from __future__ import annotations

from collections.abc import Mapping

import torch
from torch import Tensor

DIVERSITY_LEAST, NEAREST_LEAST, COVERED_LEAST = 0.6, 0.3, 0.1
"""Figures below these are worth a warning."""

TINY = 1e-12


def diversity(made: Tensor, real: Tensor) -> dict[str, float]:
    """Distances between made pictures as shares of those between as many real ones, N×C×H×W.

    `diversity` compares the mean distance of two pictures: near 0 when all are alike.
    `nearest` compares the mean distance to the most similar other picture: near 0 when there are
    only a few different ones, however different these are. 1 is as varied as real pictures.
    """
    found, right = _distances(made), _distances(real)
    pair = ~torch.eye(len(made), dtype=torch.bool, device=made.device)
    return {
        "diversity": float(found[pair].mean() / right[pair].mean().clamp_min(TINY)),
        "nearest": float(_nearest(found) / _nearest(right).clamp_min(TINY)),
    }


def _distances(image: Tensor) -> Tensor:
    """Euclidean distances between all pictures, N×N."""
    flat = image.flatten(1)
    return torch.cdist(flat, flat)


def _nearest(distance: Tensor) -> Tensor:
    """The mean distance of a picture to the most similar other one."""
    return distance.clone().fill_diagonal_(float("inf")).min(1).values.mean()


def least_covered(made: Tensor, real: Tensor, label: Tensor) -> float:
    """How often the rarest class is made, as a share of how often it is real.

    A picture counts for the class whose mean real picture is the nearest. That is a poor judge, so
    its counts of made pictures are compared with its own of the real ones: 1 when every class is
    made as often as it is real, 0 when one is missing. `label` (N,) is of the real pictures.
    """
    seen = sorted(set(label.tolist()))
    means = torch.stack([real[label == index].mean(0) for index in seen]).flatten(1)
    counts = [
        torch.cdist(image.flatten(1), means).argmin(1).bincount(minlength=len(seen)) / len(image)
        for image in (made, real)
    ]
    common = counts[1] > 0
    return float((counts[0][common] / counts[1][common]).min())


def concerns(figures: Mapping[str, float]) -> list[str]:
    """What these figures say is going wrong, in words."""
    if not figures:
        return ["a collapse would not be noticed: fewer than two held-out pictures to compare with"]
    found = []
    far, near = figures["diversity"], figures["nearest"]
    if not (far >= DIVERSITY_LEAST and near >= NEAREST_LEAST):
        found.append(
            f"the samples are too much alike, the generator may have collapsed: "
            f"diversity {far:.2f}, nearest {near:.2f}; real pictures have 1"
        )
    covered = figures.get("least_covered", 1.0)
    if not covered >= COVERED_LEAST:
        found.append(
            f"one class is hardly made: the rarest {covered:.2f} times as often as it is real"
        )
    return found
