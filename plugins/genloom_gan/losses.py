"""The games that generator and discriminator play, and the gradient penalty."""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor
from torch.nn.functional import relu, softplus

from genloom_gan import Loss


def discriminator_loss(kind: Loss, real: Tensor, fake: Tensor) -> Tensor:
    """What the discriminator minimises, from its scores of real and made pictures, (N,) each.

    `minimax` and `non-saturating`: −log D(x) − log(1 − D(G(z))), where D is the sigmoid of the
    score (Goodfellow et al. 2014, equation 1). `hinge`: Lim & Ye 2017. `wasserstein`: Arjovsky et
    al. 2017, where the score estimates a distance and is no chance of being real.
    """
    if kind == "wasserstein":
        return fake.mean() - real.mean()
    if kind == "hinge":
        return relu(1 - real).mean() + relu(1 + fake).mean()
    return softplus(-real).mean() + softplus(fake).mean()


def generator_loss(kind: Loss, fake: Tensor) -> Tensor:
    """What the generator minimises, from the discriminator's scores of made pictures, (N,).

    `minimax`: log(1 − D(G(z))), which is flat where the discriminator is sure; `non-saturating`:
    −log D(G(z)), which is not (Goodfellow et al. 2014, section 3).
    """
    if kind == "minimax":
        return -softplus(fake).mean()
    if kind == "non-saturating":
        return softplus(-fake).mean()
    return -fake.mean()


def gradient_penalty(score: Callable[[Tensor], Tensor], real: Tensor, fake: Tensor) -> Tensor:
    """(‖∇ score‖₂ − 1)², averaged over random points between real and made pictures.

    Gulrajani et al. 2017, equation 3.
    """
    share = torch.rand(len(real), 1, 1, 1, device=real.device)
    between = (fake + share * (real - fake)).requires_grad_()
    (slope,) = torch.autograd.grad(score(between).sum(), between, create_graph=True)
    penalty: Tensor = (slope.flatten(1).norm(dim=1) - 1).square().mean()
    return penalty
