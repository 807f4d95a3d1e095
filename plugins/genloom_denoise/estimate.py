"""How noisy a picture is, estimated from the picture itself.

Patches of a photograph lie near a space of few dimensions; white noise fills all of them alike. So
the smallest eigenvalues of the patches' covariance are the variance of the noise, and the others,
in descending order, are dropped until mean and median of the rest agree: then the rest is noise
(Chen, Zhu & Heng 2015, "An efficient statistical method for image noise level estimation").
"""

from __future__ import annotations

import math

import numpy as np
from numpy.lib.stride_tricks import sliding_window_view

from genloom.types import Array, Floats

PATCH = 5
"""Height and width of a patch, in pixels."""
MOST = 16_000
"""Patches looked at; in larger pictures they lie on a coarser lattice."""
LEAST = 20
"""Patches for each of their values, at least: of fewer, eigenvalues scatter, and low ones count."""
ROUNDS = 3
"""Times the patches are chosen again, by the estimate so far."""
DISTANCE = 2.0
"""Patches count whose mean is this many σ away from black and white, where noise is clipped."""
STRONG = 30 / 255
"""Noise of which clipping takes off a share that matters."""
CALM, CALMEST = 0.3, 0.9
"""Share of the patches that are calm, and what of the noise's deviation their liveliest shows."""
LEAST_LEFT = float(np.sqrt(0.5 - 0.5 / np.pi))
"""Share of a normal distribution's deviation that is left when it is clipped at its mean."""
STEPS, GRID = 12, 65
"""Halvings in the search for what was clipped, and means at which it is worked out."""


def estimate_sigma(picture: Floats) -> float:
    """Standard deviation of white noise in a picture, in 8-bit units, 0 to 100.

    Args:
        picture: C×H×W in [0, 1], of any size; a grey picture stored in three channels counts once.
    """
    if len(picture) == 3 and (picture[0] == picture[1]).all() and (picture[1] == picture[2]).all():
        picture = picture[:1]
    if min(picture.shape[1:]) < 4 * PATCH:
        return min(100.0, 255 * _immerkaer(picture))
    patches = _patches(picture)
    extremes = _distance_from_extremes(patches, len(picture))
    sigma = 0.0
    for _ in range(ROUNDS):
        sigma = _sigma_of(_chosen(patches, extremes, DISTANCE * sigma))
    # Values beyond black and white show that nothing was clipped.
    if sigma > STRONG and picture.min() >= 0 and picture.max() <= 1:
        sigma = max(sigma, _of_channels(patches, len(picture), sigma))
    return 255 * min(sigma, _most(patches, len(picture)), 100 / 255)


def _most(patches: Floats, channels: int) -> float:
    """What the noise is at most, since it is everywhere: as the calmest patches show.

    Print on white paper has an edge wherever a patch is neither black nor white, but its paper is
    calm. Of noise on white half is clipped, which leaves `LEAST_LEFT` of its deviation.
    """
    values = patches.reshape(len(patches), channels, -1)
    deviation = np.sqrt(values.var(axis=2).mean(axis=1))
    return float(np.quantile(deviation, CALM)) / (LEAST_LEFT * CALMEST)


def _of_channels(patches: Floats, channels: int, sigma: float) -> float:
    """σ of strong noise: of each channel by itself, without what clipping took off; their median.

    In all channels together the darkest one decides, in which most noise is clipped.
    """
    found = []
    for channel in np.split(patches, channels, axis=1):
        extremes = _distance_from_extremes(channel, 1)
        chosen = _chosen(channel, extremes, DISTANCE * sigma)
        found.append(unclipped(_sigma_of(chosen), chosen.mean(1)))
    return float(np.median(found))


def unclipped(sigma: float, means: Floats) -> float:
    """The σ that noise had before it was clipped to [0, 1].

    Args:
        sigma: of the clipped noise, on [0, 1].
        means: of pixels around, after clipping, (N,).
    """
    low, high = sigma, 100 / 255
    for _ in range(STEPS):
        middle = (low + high) / 2
        if _clipped_variance(middle, means) < sigma**2:
            low = middle
        else:
            high = middle
    return (low + high) / 2


def _clipped_variance(sigma: float, means: Floats) -> float:
    """Variance of noise of this σ once clipped, averaged over places of these (clipped) means.

    Mean and variance of a normal distribution clipped at both ends, in closed form.
    """
    true = np.linspace(-2 * sigma, 1 + 2 * sigma, GRID)
    low, high = (0 - true) / sigma, (1 - true) / sigma
    below, above = _normal_cdf(low), _normal_cdf(high)
    density_low, density_high = (np.exp(-0.5 * z * z) / np.sqrt(2 * np.pi) for z in (low, high))
    inside, beyond = above - below, 1 - above
    mean = true * inside + sigma * (density_low - density_high) + beyond
    second = (true**2 + sigma**2) * inside + beyond
    second += sigma * (density_low * true - density_high * (1 + true))
    variance = second - mean**2
    return float(np.interp(means, mean, variance).mean())


def _normal_cdf(z: Array) -> Array:
    return np.array([0.5 * (1 + math.erf(x / math.sqrt(2))) for x in z])


def _patches(picture: Floats) -> Floats:
    """Patches as rows, N×(C·PATCH²)."""
    windows = sliding_window_view(picture, (PATCH, PATCH), axis=(1, 2))
    step = max(1, int(np.ceil(np.sqrt(windows.shape[1] * windows.shape[2] / MOST))))
    windows = windows[:, ::step, ::step]
    rows = windows.transpose(1, 2, 0, 3, 4).reshape(windows.shape[1] * windows.shape[2], -1)
    return np.ascontiguousarray(rows, np.float32)


def _distance_from_extremes(patches: Floats, channels: int) -> Floats:
    """For each patch, how far the mean of its worst channel is from 0 and from 1."""
    means = patches.reshape(len(patches), channels, -1).mean(2)
    nearest: Floats = np.minimum(means, 1 - means).min(1)
    return nearest


def _chosen(patches: Floats, extremes: Floats, distance: float) -> Floats:
    """Patches at least so far from the extremes; where they are few, the farthest ones."""
    inside = extremes > distance
    enough = min(len(patches), LEAST * patches.shape[1])
    if inside.sum() >= enough:
        return patches[inside]
    return patches[np.argsort(extremes, kind="stable")[-enough:]]


def _sigma_of(patches: Floats) -> float:
    centred = patches - patches.mean(0)
    covariance = centred.T @ centred / len(patches)
    values = np.linalg.eigvalsh(covariance.astype(np.float64))[::-1]
    return float(np.sqrt(max(0.0, _noise_variance(values))))


def _noise_variance(values: Array) -> float:
    """The noise's variance from eigenvalues in descending order."""
    for start in range(len(values)):
        rest = values[start:]
        mean = float(rest.mean())
        if (rest > mean).sum() >= (rest < mean).sum():
            return mean
    return float(values[-1])


def _immerkaer(picture: Floats) -> float:
    """σ from the mean absolute difference of two Laplacians (Immerkær 1996), for small pictures."""
    if min(picture.shape[1:]) < 3:
        return 0.0
    p = picture
    rows = p[:, :-2] - 2 * p[:, 1:-1] + p[:, 2:]
    both = rows[:, :, :-2] - 2 * rows[:, :, 1:-1] + rows[:, :, 2:]
    return float(np.abs(both).mean() * np.sqrt(np.pi / 2) / 6)
