"""The density that stands in for a prior: a Gaussian mixture over latents, in a bundle's tensors.

Drawn from with numpy alone, fitted with scikit-learn.
"""

from __future__ import annotations

import math
import warnings
from dataclasses import dataclass
from typing import Any

import numpy as np

from genloom.backend import truncated_normal
from genloom.errors import ModelError
from genloom.stage import Model
from genloom.types import Array, Floats

WEIGHTS, MEANS, CHOLESKY = NAMES = ("mixture_weights", "mixture_means", "mixture_cholesky")
"""Names of the tensors: (K,), (K, D), and the factors L of the covariances L Lᵀ, (K, D, D)."""

FULL = 64
"""Dimensions up to which a component has a full covariance; above, a diagonal one.

Of a diagonal covariance only the diagonal of L is kept, (K, D).
"""

ITERATIONS = 300


@dataclass(frozen=True)
class Mixture:
    """K Gaussians in D dimensions.

    Attributes:
        weights: shares of the components, (K,).
        means: (K, D).
        cholesky: lower triangles, (K, D, D), or diagonals, (K, D).
    """

    weights: Floats
    means: Floats
    cholesky: Floats

    @classmethod
    def of(cls, model: Model) -> Mixture:
        """The mixture that a bundle holds.

        Raises:
            ModelError: when it holds none, or one that does not fit its latents.
        """
        tensors = model.tensors
        if not set(NAMES) <= set(tensors):
            raise ModelError(
                f"'{model.card.name}' cannot be sampled from: an autoencoder has no prior, and "
                "its bundle holds no mixture fitted to its latents",
                expected=f"the tensors {', '.join(NAMES)}",
                got=", ".join(sorted(tensors)) or "none",
                hint="Train it again with `genloom train`, which fits one; pictures can be "
                "encoded and decoded without",
            )
        mixture = cls(*(np.asarray(tensors[name], np.float32) for name in NAMES))
        mixture._check(model)
        return mixture

    def _check(self, model: Model) -> None:
        count, dimensions = len(self.weights), self.means.shape[-1]
        latent = model.card.latent or (dimensions,)
        dimensions = math.prod(latent)
        right: dict[str, list[tuple[int, ...]]] = {
            WEIGHTS: [(count,)],
            MEANS: [(count, dimensions)],
            CHOLESKY: [(count, dimensions, dimensions), (count, dimensions)],
        }
        for name, found in zip(NAMES, (self.weights, self.means, self.cholesky), strict=True):
            if found.shape not in right[name]:
                raise ModelError(
                    f"the mixture of '{model.card.name}' does not fit its latents",
                    expected=f"'{name}' of shape {right[name][0]}",
                    got=str(found.shape),
                )

    def draw(
        self, random: np.random.RandomState, temperature: float, truncation: float | None
    ) -> Floats:
        """One latent, (D,): the mean of a component drawn by weight, plus temperature · L ε."""
        shares = np.cumsum(self.weights, dtype=np.float64)
        place = np.searchsorted(shares, random.random_sample() * shares[-1], side="right")
        component = min(int(place), len(shares) - 1)
        noise = truncated_normal(random, self.means.shape[1:], truncation)
        factor = self.cholesky[component]
        spread = factor @ noise if factor.ndim == 2 else factor * noise
        return np.asarray(self.means[component] + np.float32(temperature) * spread, np.float32)


def fit(latents: Floats, components: int, seed: int) -> dict[str, Array]:
    """A mixture fitted to latents N×… by expectation maximisation, as tensors for a bundle.

    Latents have any scale, so they are standardised first; what scikit-learn adds to the
    covariances for safety is then small beside them. There are at least D + 1 latents for each
    component, or 2 where covariances are diagonal. The same latents and seed give the same fit.
    """
    flat = latents.reshape(len(latents), -1).astype(np.float64)
    count, dimensions = flat.shape
    full = dimensions <= FULL
    most = count // (dimensions + 1 if full else 2)
    centre, scale = flat.mean(axis=0), np.maximum(flat.std(axis=0), np.finfo(np.float32).tiny)
    fitted = _maximised((flat - centre) / scale, max(1, min(components, most)), full, seed)
    factors = np.linalg.cholesky(fitted.covariances_) if full else np.sqrt(fitted.covariances_)
    scaled = factors * (scale[:, None] if full else scale)
    arrays = (fitted.weights_, centre + scale * fitted.means_, scaled)
    return {name: array.astype(np.float32) for name, array in zip(NAMES, arrays, strict=True)}


def _maximised(latents: Array, components: int, full: bool, seed: int) -> Any:
    from sklearn.exceptions import ConvergenceWarning
    from sklearn.mixture import GaussianMixture
    from threadpoolctl import threadpool_limits  # type: ignore[import-untyped]

    mixture = GaussianMixture(
        components,
        covariance_type="full" if full else "diag",
        max_iter=ITERATIONS,
        random_state=seed,
    )
    # Several threads would add up the sums of k-means, where the fit begins, in any order.
    with threadpool_limits(1), warnings.catch_warnings():
        # A fit that has not settled, or began with fewer clusters, is a density all the same.
        warnings.simplefilter("ignore", ConvergenceWarning)
        return mixture.fit(latents)
