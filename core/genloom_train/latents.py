"""What a trained encoder makes of its training data: latents, and the mean of each class."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import torch
from torch import Tensor

from genloom.types import Array, Floats
from genloom_train.data import Source
from genloom_train.training import Tensors

CLASS_MEANS = "class_means"
"""Name of the tensor that holds the mean latent of each class, (classes, …latent)."""

BATCH = 500
MOST = 20_000
"""Pictures that are encoded at most; so many of a source without an end."""


def latents_of(
    encode: Callable[[Tensor], Tensor], source: Source, device: torch.device
) -> tuple[Floats, Array | None]:
    """Latents N×… of the first pass over the training data, and their labels, (N,)."""
    latents: list[Floats] = []
    labels: list[Array] = []
    count = MOST if source.endless else min(source.count, MOST)
    size = min(BATCH, count)
    for step in range(max(1, count // size)):
        samples = source.batch(step, size, 0)
        latents.append(encode(Tensors.of(samples, device).image).float().cpu().numpy())
        if samples.label is not None:
            labels.append(samples.label)
    whole = len(labels) == len(latents)
    return np.concatenate(latents), np.concatenate(labels) if whole else None


def class_means(latents: Floats, labels: Array | None, classes: int) -> dict[str, Array]:
    """The mean latent of each class, as the tensor `class_means`; nothing without labels.

    The difference of two is an attribute direction (Larsen et al. 2016, section 4.2). A class
    without pictures gets the mean of all.
    """
    if labels is None or classes < 2:
        return {}
    everywhere = latents.mean(axis=0)
    groups = [latents[labels == index] for index in range(classes)]
    means = [group.mean(axis=0) if len(group) else everywhere for group in groups]
    return {CLASS_MEANS: np.stack(means).astype(np.float32)}
