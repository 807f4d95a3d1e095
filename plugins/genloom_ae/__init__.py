"""Autoencoders, plain and denoising (Hinton & Salakhutdinov 2006): family `ae`."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any, Literal

import numpy as np
from annotated_types import Interval, Len

from genloom.backend import Backend
from genloom.hookspecs import hookimpl
from genloom.stage import Model
from genloom.types import Batch, Item
from genloom_ae.mixture import Mixture

genloom_api = 1

Width = Annotated[int, Interval(ge=1, le=4096)]


@dataclass(frozen=True, kw_only=True)
class AeConfig:
    """The `model:` section of a recipe for an autoencoder.

    Args:
        network: `convolutional`, or `dense` (fully connected).
        latent: dimensions of the latent space.
        widths: channels of each level, or units of each dense layer, from the picture inwards.
            Each level of a convolutional network halves height and width.
        loss: `mse` is the squared error of the pixels; `cross-entropy` reads a pixel's grey value
            as a probability, as the Bernoulli likelihood of a variational autoencoder does.
        corruption: what is done to a picture before it is encoded in training, with the clean
            picture as the target: a denoising autoencoder (Vincent et al. 2008, 2010).
        amount: of the corruption: the standard deviation of `noise` on the scale of pixels in
            [0, 1]; the share of values that `masking` sets to 0, or `salt-and-pepper` to 0 or 1.
        clean: share of training pictures that are left alone. At 0, as in the papers, a network
            that has only ever seen corrupted pictures misjudges clean ones.
        components: Gaussians of the mixture that is fitted to the latents after training, to
            sample from; fewer where the training pictures are few.
    """

    network: Literal["convolutional", "dense"] = "convolutional"
    latent: Annotated[int, Interval(ge=1, le=4096)] = 16
    widths: Annotated[tuple[Width, ...], Len(1, 8)] = (32, 64, 64)
    loss: Literal["mse", "cross-entropy"] = "mse"
    corruption: Literal["none", "noise", "masking", "salt-and-pepper"] = "none"
    amount: Annotated[float, Interval(ge=0, le=1)] = 0.3
    clean: Annotated[float, Interval(ge=0, le=1)] = 0.0
    components: Annotated[int, Interval(ge=1, le=1000)] = 10


class Ae(Backend):
    """Autoencoders: `encoder` image → latent; `decoder` latent → image.

    An autoencoder has no prior: nothing in its training says where latents lie. It is sampled
    through a Gaussian mixture that is fitted to the latents of its training pictures once it is
    trained, and kept in the bundle's tensors; see `genloom_ae.mixture`.
    """

    family = "ae"
    config = AeConfig

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
        """Latents from the fitted mixture; `labels` mean nothing to it.

        Temperature scales the deviation from the mean of the component that is drawn, so 0 gives
        one of the `components` means; truncation bounds the standard normal numbers behind it.

        Raises:
            ModelError: when the bundle holds no mixture of its latents.
        """
        mixture = Mixture.of(model)
        drawn = np.stack([mixture.draw(state, temperature, truncation) for state in random])
        shape = model.card.latent or drawn.shape[1:]
        return Batch.latents(items, drawn.reshape(-1, *shape), model=model.digest)

    def training(self) -> Any:
        """The training side; imports torch."""
        from genloom_ae.training import AeTraining

        return AeTraining


@hookimpl
def genloom_backends() -> list[type[Backend]]:
    """Bring the family."""
    return [Ae]


@hookimpl
def genloom_models() -> list[Path]:
    """Bring the bundles beside this file."""
    return [Path(__file__).parent / "models"]
