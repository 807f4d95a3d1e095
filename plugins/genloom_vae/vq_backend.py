"""The family `vqvae`: what its graphs mean, and how its prior is sampled."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

from genloom.backend import Backend
from genloom.stage import Model
from genloom.types import Array, Batch, Item
from genloom_vae.options import VqVaeConfig
from genloom_vae.vq_sampling import Codes, central_mass, draw

ROWS = 16
"""Rows of each call of the prior, always: ONNX Runtime's last bits depend on how many there are,
and a code that flips makes another picture."""


class VqVae(Backend):
    """Vector-quantised autoencoders (van den Oord et al. 2017).

    Parts: `encoder` image → latent, made of entries of the codebook; `decoder` latent → image, by
    the entries nearest to it; `codebook` codes → latent; `prior` codes → logits of each code given
    those before it.
    """

    family = "vqvae"
    config = VqVaeConfig

    def prior(
        self,
        model: Model,
        items: Sequence[Item],
        random: Sequence[np.random.RandomState],
        *,
        temperature: float = 1.0,
        truncation: float | None = None,
        labels: Sequence[int] | None = None,
    ) -> Batch:
        """Latents whose codes are drawn one after the other.

        `temperature` divides the logits; `truncation` is read as `vq_sampling.central_mass` says.
        """
        length = int(model.card.parts["codebook"].inputs["codes"].axes[1])
        uniform = np.stack([state.random_sample(length) for state in random])
        mass = central_mass(truncation)

        def logits(codes: Codes) -> Array:
            return model.run("prior", {"codes": codes})["logits"]

        parts = []
        for start in range(0, len(uniform), ROWS):
            chunk = uniform[start : start + ROWS]
            padded = np.concatenate([chunk, np.zeros((ROWS - len(chunk), *chunk.shape[1:]))])
            parts.append(draw(logits, padded, temperature, mass)[: len(chunk)])
        latent = model.run("codebook", {"codes": np.concatenate(parts)})["latent"]
        return Batch.latents(items, latent, model=model.digest)

    def training(self) -> Any:
        """The training side; imports torch."""
        from genloom_vae.vq_training import VqVaeTraining

        return VqVaeTraining
