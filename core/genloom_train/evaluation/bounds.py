"""Bounds of log p(picture) for variational models: the ELBO, its terms, and the tighter IWAE."""

from __future__ import annotations

import math
from dataclasses import replace

import numpy as np

from genloom.likelihood import LEVEL, Doubles
from genloom.types import Batch, Floats
from genloom_train.data import generator
from genloom_train.evaluation.figures import Figure
from genloom_train.evaluation.real import Real
from genloom_train.evaluation.subject import CHUNK, Subject

BEYOND = 1e3
"""A decoded value at which black or white is certain."""


def bounds(subject: Subject, real: Real, draws: int, seed: int) -> list[Figure]:
    """Negative ELBO, its two terms and the negative IWAE bound in nats, means over pictures.

    Beside the first two and the last stands −log p of a picture whose decoder gives just that
    picture: no model with this likelihood can be lower.

    Args:
        subject: the model.
        real: pictures; with their classes, for a conditional model.
        draws: k of the IWAE bound, from each posterior; the ELBO is the mean of the same draws.
        seed: of the draws.
    """
    size = max(1, 4 * CHUNK // draws)
    parts = []
    for start in range(0, len(real), size):
        part = real[start : start + size]
        posterior = subject.encode(part)
        if (known := subject.classes(part)) is not None:
            posterior = replace(posterior, label=known)
        noise = np.stack(
            [
                generator("posterior", seed, number).standard_normal((draws, *subject.latent))
                for number in range(start, start + len(part))
            ]
        )
        parts.append(_terms(subject, part.pixels, posterior, noise.astype(np.float32)))
    cost, divergence, tighter = np.concatenate(parts, axis=1).mean(axis=1)
    floor = float(-subject.log_likelihood(real.pixels, _ideal(subject, real.pixels)).mean())
    return [
        Figure("negative_elbo", float(cost + divergence), floor),
        Figure("reconstruction", float(cost), floor),
        Figure("kl", float(divergence)),
        Figure(f"negative_iwae_{draws}", float(tighter), floor),
    ]


def _ideal(subject: Subject, pixels: Floats) -> Floats:
    """What a decoder should give for pictures: themselves.

    Only the logistic likelihood is surest of black and white when the decoder goes far beyond them.
    """
    likelihood = subject.card.likelihood
    if likelihood is None or likelihood.kind != "logistic":
        return pixels
    far = np.where(pixels < LEVEL / 2, -BEYOND, np.where(pixels > 1 - LEVEL / 2, BEYOND, pixels))
    return far.astype(np.float32)


def _terms(subject: Subject, pixels: Floats, posterior: Batch, noise: Floats) -> Doubles:
    """Reconstruction term, KL and negative IWAE of each picture, 3×N; `noise` is N×k×latent."""
    assert posterior.log_variance is not None
    count, draws = noise.shape[:2]
    mean, log_variance = (
        array.astype(np.float64)[:, None] for array in (posterior.values, posterior.log_variance)
    )
    latent = mean + np.exp(0.5 * log_variance) * noise
    flat = latent.reshape(count * draws, *latent.shape[2:]).astype(np.float32)
    label = None if posterior.label is None else np.repeat(posterior.label, draws, axis=0)
    decoded = subject.decode(subject.latents(flat, label))
    likelihood = subject.log_likelihood(np.repeat(pixels, draws, axis=0), decoded)
    likelihood = likelihood.reshape(count, draws)
    # log p(z) − log q(z | x), both Gaussians: their normalising constants cancel.
    ratio = _summed(0.5 * (noise.astype(np.float64) ** 2 - latent**2 + log_variance))
    weights = likelihood + ratio
    tighter = np.logaddexp.reduce(weights, axis=1) - math.log(draws)
    return np.stack([-likelihood.mean(axis=1), kl(mean, log_variance)[:, 0], -tighter])


def kl(mean: Doubles, log_variance: Doubles) -> Doubles:
    """KL(N(mean, σ²) ‖ N(0, I)) in nats (Kingma & Welling 2014, appendix B), N×1×latent → N×1."""
    return _summed(0.5 * (mean**2 + np.exp(log_variance) - 1 - log_variance))


def _summed(values: Doubles) -> Doubles:
    """N×k×latent → N×k."""
    total: Doubles = values.reshape(*values.shape[:2], -1).sum(axis=2)
    return total
