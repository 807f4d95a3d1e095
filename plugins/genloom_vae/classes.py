"""What a conditional autoencoder learns about classes, besides the ELBO. Scalars, in nats."""

from __future__ import annotations

import torch
from torch import Tensor
from torch.nn import functional

from genloom_vae.network import Vae


def recognition(vae: Vae, image: Tensor, known: Tensor) -> Tensor:
    """Cross entropy of the classifier on pictures; it moves the classifier alone.

    Reconstructions are left out on purpose: a classifier that has learned to forgive their blur
    asks less of samples, and other classifiers then recognise fewer of them.

    Args:
        vae: a conditional network.
        image: N×C×H×W in [0, 1].
        known: the classes, (N,).
    """
    return functional.cross_entropy(vae.classify(image).float(), known)


def disobedience(vae: Vae, count: int) -> Tensor:
    """Cross entropy of the classifier on samples, against the classes that were asked for.

    It moves the decoder alone (Hu et al. 2017, equation 6). Without it a decoder goes by what the
    latent says of the class rather than by the label.
    """
    device = next(vae.parameters()).device
    asked = torch.randint(vae.classes, (count,), device=device)
    latent = torch.randn(count, vae.latent, device=device)
    label = functional.one_hot(asked, vae.classes).float()
    drawn = vae.likelihood.mean(vae.decode(latent, label).float())
    return functional.cross_entropy(vae.classify(drawn, learn=False).float(), asked)
