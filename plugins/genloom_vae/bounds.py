"""Bounds of log p(image) from draws of the posterior: the ELBO and the tighter IWAE."""

from __future__ import annotations

import math

import torch
from torch import Tensor

from genloom_vae.network import Vae

AT_ONCE = 500
"""Latents that are decoded together."""


def kl(mean: Tensor, log_variance: Tensor) -> Tensor:
    """KL(N(mean, σ²) ‖ N(0, 1)) of each dimension in nats (Kingma & Welling 2014, appendix B)."""
    return 0.5 * (mean.square() + log_variance.exp() - 1 - log_variance)


def log_weights(vae: Vae, image: Tensor, label: Tensor | None, draws: int) -> Tensor:
    """The log weights, log p(image, z) − log q(z | image), at `draws` draws z of each posterior.

    Args:
        vae: the network.
        image: N×C×H×W in [0, 1].
        label: N×classes, for a conditional network.
        draws: how many for each picture.

    Returns:
        N×draws, float64.
    """
    size = max(1, AT_ONCE // draws)
    parts = [slice(start, start + size) for start in range(0, len(image), size)]
    return torch.cat(
        [
            _log_weights(vae, image[part], None if label is None else label[part], draws)
            for part in parts
        ]
    )


def _log_weights(vae: Vae, image: Tensor, label: Tensor | None, draws: int) -> Tensor:
    mean, log_variance = (part.float() for part in vae.encode(image, label))
    noise = torch.randn(draws, *mean.shape, device=image.device)
    latent = mean + (0.5 * log_variance).exp() * noise
    prior_over_posterior = 0.5 * (noise.square() - latent.square() + log_variance).sum(2)
    again = None if label is None else label.repeat(draws, 1)
    logits = vae.decode(latent.flatten(0, 1), again)
    cost = vae.likelihood.cost(logits, image.repeat(draws, 1, 1, 1))
    return (prior_over_posterior.double() - cost.view(draws, -1).double()).T


def iwae(weights: Tensor) -> Tensor:
    """The log of the mean weight, N×k → (N,): a bound that rises with k (Burda et al. 2016).

    With one draw it is an estimate of the ELBO, and the mean of the ELBO's estimates never lies
    above it.
    """
    return weights.logsumexp(1) - math.log(weights.shape[1])
