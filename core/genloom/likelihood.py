"""Likelihoods of pictures: log p(image | latent) of a variational model, from what it decodes."""

from __future__ import annotations

import math
from typing import Literal

import numpy as np
from numpy.typing import NDArray

from genloom.types import Floats

Kind = Literal["bernoulli", "gaussian", "logistic"]
Doubles = NDArray[np.float64]

CERTAIN = 2.0**-24
"""Decoded probabilities are kept this far from 0 and 1: float32 tells no larger one from 1."""

LEVEL = 1 / 255
"""Distance of neighbours among the 256 levels of a pixel in [0, 1]."""


def log_likelihood(kind: Kind, image: Floats, decoded: Floats, sigma: float = 1.0) -> Doubles:
    """Give log p(image | latent) in nats, summed over the values of each picture, (N,).

    Args:
        kind: `bernoulli`: a grey value read as a probability, cross entropy with the decoded one
            (without its normaliser, as is usual). `gaussian`: a density of values in [0, 1] about
            the decoded one. `logistic`: a probability of 256 levels (Salimans et al. 2017, section
            2.1), about the decoded value.
        image: N×C×H×W in [0, 1].
        decoded: what the decoder makes of the latents, of the same shape.
        sigma: standard deviation of the Gaussian or the logistic, on the scale of pixels in [0, 1].
    """
    x, mean = image.astype(np.float64), decoded.astype(np.float64)
    if kind == "bernoulli":
        p = np.clip(mean, CERTAIN, 1 - CERTAIN)
        pixels = x * np.log(p) + (1 - x) * np.log1p(-p)
    elif kind == "gaussian":
        pixels = -0.5 * ((x - mean) / sigma) ** 2 - math.log(sigma * math.sqrt(2 * math.pi))
    else:
        pixels = _logistic(x, mean, sigma * math.sqrt(3) / math.pi)
    total: Doubles = pixels.reshape(len(pixels), -1).sum(axis=1)
    return total


def _logistic(x: Doubles, mean: Doubles, scale: float) -> Doubles:
    """Logarithm of the mass within half a level of x; the levels at the ends take all beyond them.

    With a and b the ends of that interval in units of the scale, S(a) − S(b) =
    S(a) · S(−b) · (1 − exp(b − a)), which underflows nowhere.
    """
    below_top = _log_sigmoid((x + LEVEL / 2 - mean) / scale)
    above_bottom = _log_sigmoid((mean - x + LEVEL / 2) / scale)
    inside = below_top + above_bottom + math.log(-math.expm1(-LEVEL / scale))
    ends = np.where(x > 1 - LEVEL / 2, above_bottom, inside)
    return np.where(x < LEVEL / 2, below_top, ends)


def _log_sigmoid(x: Doubles) -> Doubles:
    return -np.logaddexp(0, -x)
