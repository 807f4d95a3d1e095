"""Numbers of a latent space: how near the codes lie to N(0, I), and what lies between them."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from genloom.likelihood import Doubles
from genloom.types import Batch, Floats
from genloom_train.data import generator
from genloom_train.evaluation.distances import distances
from genloom_train.evaluation.figures import Figure
from genloom_train.evaluation.judge import Judge, Seen
from genloom_train.evaluation.real import Real
from genloom_train.evaluation.subject import Subject

DIRECTIONS = 256
"""Directions over which the sliced Wasserstein distance is averaged."""

PAIRS, STEPS = 200, 16
"""Interpolations that are walked, and steps of each."""

LEAST_VARIANCE = 1e-12
"""Smallest variance a direction counts with: a direction no code uses would be infinitely far."""


def codes(posterior: Batch, seed: int) -> Doubles:
    """One draw from each posterior, N×d: together, draws from the aggregate posterior.

    The codes themselves, where the encoder gives no variance.
    """
    values = posterior.values.reshape(len(posterior), -1).astype(np.float64)
    if posterior.log_variance is None:
        return values
    spread = np.exp(0.5 * posterior.log_variance.reshape(values.shape).astype(np.float64))
    noise = generator("codes", seed).standard_normal(values.shape)
    return np.asarray(values + spread * noise)


def kl_to_normal(mean: Doubles, covariance: Doubles) -> float:
    """KL(N(mean, covariance) ‖ N(0, I)) in nats: ½ (tr Σ + μᵀμ − d − ln det Σ)."""
    values = np.linalg.eigvalsh(covariance).clip(LEAST_VARIANCE)
    return float(0.5 * ((values - 1 - np.log(values)).sum() + mean @ mean))


def aggregate(posterior: Batch) -> tuple[Doubles, Doubles]:
    """Mean (d,) and covariance (d, d) of the aggregate posterior, the mixture of all posteriors.

    Its covariance is that of the means, plus the mean of the variances.
    """
    values = posterior.values.reshape(len(posterior), -1).astype(np.float64)
    covariance = np.atleast_2d(np.cov(values, rowvar=False))
    if posterior.log_variance is not None:
        variance = np.exp(posterior.log_variance.reshape(values.shape).astype(np.float64))
        covariance = covariance + np.diag(variance.mean(axis=0))
    return values.mean(axis=0), covariance


def sliced_wasserstein(points: Doubles, seed: int) -> float:
    """2-Wasserstein distance of points N×d from N(0, I), on random lines through the origin.

    The root of the mean over lines of ∫ (F⁻¹(q) − Φ⁻¹(q))² dq, where F is the distribution of the
    points on the line (Bonneel et al. 2015).
    """
    directions = generator("directions", seed).standard_normal((DIRECTIONS, points.shape[1]))
    directions /= np.linalg.norm(directions, axis=1, keepdims=True)
    quantiles = normal_quantiles(len(points))
    total = 0.0
    for direction in directions:
        total += float(((np.sort(points @ direction) - quantiles) ** 2).mean())
    return float(np.sqrt(total / DIRECTIONS))


def normal_quantiles(count: int) -> Doubles:
    """Φ⁻¹ at the middles of `count` equal parts of [0, 1]."""
    from statistics import NormalDist

    inverse = NormalDist().inv_cdf
    return np.array([inverse((number + 0.5) / count) for number in range(count)])


def smoothness(paths: NDArray[np.floating]) -> tuple[float, float]:
    """How straight and how even walks through a space of features are.

    Args:
        paths: features along interpolations, P×(S+1)×F.

    Returns:
        the summed length of the paths over the summed distance of their ends, 1 when all are
        straight; and the mean over paths of the largest of the S steps over the length, 1/S when
        all are even and 1 when everything happens at once. Paths that go nowhere do not count.
    """
    steps = np.linalg.norm(np.diff(paths.astype(np.float64), axis=1), axis=2)
    lengths = steps.sum(axis=1)
    ends = np.linalg.norm((paths[:, -1] - paths[:, 0]).astype(np.float64), axis=1)
    going = (lengths > 0) & (ends > 0)
    if not going.any():
        return 1.0, 1 / steps.shape[1]
    ratio = float(lengths[going].sum() / ends[going].sum())
    return ratio, float((steps[going].max(axis=1) / lengths[going]).mean())


def prior_figures(posterior: Batch, seed: int) -> list[Figure]:
    """How far the aggregate posterior is from N(0, I); beside it, as many true draws of N(0, I)."""
    points = codes(posterior, seed)
    true = generator("true", seed).standard_normal(points.shape)
    floor = kl_to_normal(true.mean(axis=0), np.atleast_2d(np.cov(true, rowvar=False)))
    return [
        Figure("kl_to_normal", kl_to_normal(*aggregate(posterior)), floor),
        Figure(
            "sliced_wasserstein", sliced_wasserstein(points, seed), sliced_wasserstein(true, seed)
        ),
    ]


def sample_figures(name: str, drawn: Seen, real: Seen, reference: Seen, seed: int) -> list[Figure]:
    """Confidence in samples and their Fréchet distance, `name` saying where they were drawn."""
    found, floor = (distances(one.features, reference.features, seed) for one in (drawn, real))
    return [
        Figure(f"confident_{name}", drawn.confident, real.confident),
        Figure(f"fid_{name}", found["fid"], floor["fid"]),
    ]


def path_figures(subject: Subject, judge: Judge, posterior: Batch, seed: int) -> list[Figure]:
    """Smoothness of straight interpolations between the codes of pairs of pictures."""
    paths = walks(posterior, seed)
    pairs, points = paths.shape[:2]
    label = posterior.label
    if label is not None:  # a conditional model keeps the class of the first
        label = np.repeat(label[pair_indices(len(posterior), seed)[0]], points, axis=0)
    flat = paths.reshape(pairs * points, *paths.shape[2:])
    features = judge.look(subject.pictures(subject.latents(flat, label))).features
    ratio, largest = smoothness(features.reshape(pairs, points, -1))
    return [Figure("path_ratio", ratio), Figure("largest_step", largest)]


def walks(posterior: Batch, seed: int) -> Floats:
    """Straight lines between codes, P×(STEPS+1)×latent."""
    first, second = pair_indices(len(posterior), seed)
    start, end = posterior.values[first][:, None], posterior.values[second][:, None]
    fraction = np.linspace(0, 1, STEPS + 1, dtype=np.float32)
    fraction = fraction.reshape(1, -1, *(1 for _ in posterior.values.shape[1:]))
    return np.asarray(start + fraction * (end - start), np.float32)


def pair_indices(count: int, seed: int) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """Which pictures are walked between: `PAIRS` pairs, or as many as there are."""
    order = generator("pairs", seed).permutation(count)
    pairs = min(PAIRS, count // 2)
    return order[:pairs], order[pairs : 2 * pairs]


def measure(
    subject: Subject, pictures: Real, posterior: Batch, judge: Judge | None, seed: int
) -> tuple[list[Figure], dict[str, Floats]]:
    """All figures of a latent space, and the samples they were made of.

    What N(0, I) gives is measured for every model, also where the family's own prior is another
    one: then that too, under `prior`. Without a judge only distances of codes are measured.
    """
    figures = prior_figures(posterior, seed)
    one, other = pictures.halves()
    drawn = draws(subject, len(other), seed)
    if judge is not None:
        reference, real = judge.look(one.pixels), judge.look(other.pixels)
        for name, pixels in drawn.items():
            figures += sample_figures(name, judge.look(pixels), real, reference, seed)
        figures += path_figures(subject, judge, posterior, seed)
    return figures, drawn


def draws(subject: Subject, count: int, seed: int) -> dict[str, Floats]:
    """Pictures of `normal`, N(0, I), and of `prior`, the model's own if that is another."""
    normal = subject.standard_normal(count, seed=seed)
    sources = {"normal": normal}
    if subject.samples:
        own = subject.prior(count, seed=seed)
        if not np.array_equal(own.values, normal.values):
            sources["prior"] = own
    return {name: subject.pictures(latents) for name, latents in sources.items()}
