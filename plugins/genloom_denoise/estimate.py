"""How noisy a picture is, estimated from the picture itself.

Patches of a photograph lie near a space of few dimensions; white noise fills all of them alike. So
the smallest eigenvalues of the patches' covariance are the variance of the noise, and the others,
in descending order, are dropped until mean and median of the rest agree: then the rest is noise
(Chen, Zhu & Heng 2015, "An efficient statistical method for image noise level estimation").
"""

from __future__ import annotations

import math
from collections.abc import Sequence

import numpy as np
from numpy.lib.stride_tricks import sliding_window_view

from genloom.types import Array, Floats

PATCH = 5
"""Height and width of a patch, in pixels."""
SMALLEST = 4 * PATCH
"""Pictures with a shorter side have too few patches."""
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
AROUND = 24
"""Pixels around a flat patch that are flat too where it is no part of the scene: bars, margins."""
UNCLIPPED = 0.1
"""Share of the patches without a clipped value from which these are believed alone."""
STEPS, GRID = 12, 65
"""Halvings in the search for what was clipped, and means at which it is worked out."""

Lattice = tuple[Array, Array]
"""First rows and first columns of patches."""


def estimate_sigma(picture: Floats, alpha: Array | None = None) -> float:
    """Standard deviation of white noise in a picture, in 8-bit units, 0 to 100.

    Exactly flat areas and transparent pixels show no noise and are left out; where nothing else is
    left, it is 0.

    Args:
        picture: C×H×W in [0, 1], of any size; a grey picture stored in three channels counts once.
        alpha: its opacity, H×W; pixels of opacity 0 are left out.
    """
    if min(picture.shape[1:]) < SMALLEST:
        grey = len(picture) == 3 and (picture[:2] == picture[1:]).all()
        return min(100.0, 255 * _immerkaer(picture[:1] if grey else picture, alpha))
    return estimate_sigma_of([picture], [alpha])


def estimate_sigma_of(
    parts: Sequence[Floats], alphas: Sequence[Array | None] | None = None
) -> float:
    """The same from parts of one picture, each C×H×W, H and W at least `SMALLEST`."""
    if all(len(part) == 3 and (part[:2] == part[1:]).all() for part in parts):
        parts = [part[:1] for part in parts]
    channels, most = len(parts[0]), MOST // len(parts)
    pairs = zip(parts, alphas or [None] * len(parts), strict=True)
    found = [_sorted(part, alpha, most) for part, alpha in pairs]
    patches, scene, opaque = (np.concatenate(kind) for kind in zip(*found, strict=True))
    if len(patches) == 0:
        return 0.0
    extremes = _distance_from_extremes(patches, channels)
    sigma = 0.0
    for _ in range(ROUNDS):
        sigma = _sigma_of(_chosen(patches, extremes, DISTANCE * sigma))
    # Values beyond black and white show that nothing was clipped.
    if sigma > STRONG and all(part.min() >= 0 and part.max() <= 1 for part in parts):
        sigma = max(sigma, _of_channels(patches, channels, sigma))
    return 255 * min(sigma, _most(scene, opaque, channels), 100 / 255)


def _sorted(picture: Floats, alpha: Array | None, most: int) -> tuple[Floats, Floats, Floats]:
    """Patches that are not flat, those that are not flat far around, and all that are opaque."""
    everywhere, lattice = _patches(picture, most), _lattice(picture, most)
    opaque, flat = _opaque(lattice, alpha), _flat(everywhere, len(picture))
    wide = _wide(flat, picture, lattice)
    return everywhere[opaque & ~flat], everywhere[opaque & ~wide], everywhere[opaque]


def _most(patches: Floats, everywhere: Floats, channels: int) -> float:
    """What the noise is at most, since it is everywhere: as the calmest patches show.

    Those of a channel that hold no black and no white; if few are so, it may be print on white
    paper, which has an edge wherever a patch is neither, but its paper is calm: then all patches
    count, in wide flat areas too. Of noise on white half is clipped, which leaves `LEAST_LEFT` of
    its deviation.
    """
    values = patches.reshape(len(patches) * channels, -1)
    unclipped = ((values != 0) & (values != 1)).all(1)
    if unclipped.mean() >= UNCLIPPED:
        deviation = values[unclipped].std(axis=1)
    else:
        each = everywhere.reshape(len(everywhere), channels, -1).var(axis=2)
        deviation = np.sqrt(each.mean(axis=1))
    return float(np.quantile(deviation, CALM)) / (LEAST_LEFT * CALMEST)


def _flat(patches: Floats, channels: int) -> Array:
    """Which patches have one colour, exactly."""
    values = patches.reshape(len(patches), channels, -1)
    return np.asarray((values == values[:, :, :1]).all(axis=(1, 2)))


def _wide(flat: Array, picture: Floats, lattice: Lattice) -> Array:
    """Which of the flat patches are flat far around too: they show no noise.

    So it is in a letterbox, a margin or a blown-out sky. Between lines of print a patch is flat but
    what is around is not, and that shows a paper without noise.
    """
    rows, columns = lattice
    wide = flat.copy()
    for index in flat.nonzero()[0]:
        row, column = rows[index // len(columns)], columns[index % len(columns)]
        top, left = max(0, row - AROUND), max(0, column - AROUND)
        bottom, right = row + PATCH + AROUND, column + PATCH + AROUND
        around = picture[:, top:bottom, left:right]
        wide[index] = (around == around[:, :1, :1]).all()
    return wide


def _opaque(lattice: Lattice, alpha: Array | None) -> Array:
    """Which patches have no pixel that is wholly transparent."""
    rows, columns = lattice
    if alpha is None:
        return np.ones(len(rows) * len(columns), bool)
    windows = sliding_window_view(alpha > 0, (PATCH, PATCH))[np.ix_(rows, columns)]
    return np.asarray(windows.all(axis=(2, 3)).reshape(-1))


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


def _lattice(picture: Floats, most: int) -> Lattice:
    """First row and first column of about so many patches at the most."""
    rows, columns = (side - PATCH + 1 for side in picture.shape[1:])
    step = max(1, int(np.ceil(np.sqrt(rows * columns / most))))
    return np.arange(0, rows, step), np.arange(0, columns, step)


def _patches(picture: Floats, most: int) -> Floats:
    """Patches as rows, N×(C·PATCH²)."""
    rows, columns = _lattice(picture, most)
    windows = sliding_window_view(picture, (PATCH, PATCH), axis=(1, 2))
    windows = windows[:, rows[:, None], columns]
    found = windows.transpose(1, 2, 0, 3, 4).reshape(len(rows) * len(columns), -1)
    return np.ascontiguousarray(found, np.float32)


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


def _immerkaer(picture: Floats, alpha: Array | None) -> float:
    """σ from the mean absolute difference of two Laplacians (Immerkær 1996), for small pictures."""
    if min(picture.shape[1:]) < 3:
        return 0.0
    p = picture
    rows = p[:, :-2] - 2 * p[:, 1:-1] + p[:, 2:]
    both = np.abs(rows[:, :, :-2] - 2 * rows[:, :, 1:-1] + rows[:, :, 2:])
    if alpha is not None:
        both = both[:, sliding_window_view(alpha > 0, (3, 3)).all(axis=(2, 3))]
    return float(both.mean() * np.sqrt(np.pi / 2) / 6) if both.size else 0.0
