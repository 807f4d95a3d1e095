"""What a decoder's output says of a picture: p(image | latent), and its mean."""

from __future__ import annotations

import math

import torch
from torch import Tensor, nn
from torch.nn import functional

from genloom.types import Array
from genloom_vae.options import PixelOptions

LEVEL = 1 / 255
"""Distance of neighbours among the 256 levels of a pixel in [0, 1]."""

LOGISTIC_SCALE = math.sqrt(3) / math.pi
"""A logistic's scale over its standard deviation."""


class Likelihood(nn.Module):
    """p(image | latent) of a decoder whose output, N×C×H×W, is called logits here.

    Bernoulli: logits of the pixels, cross entropy with grey values as targets (without its
    normaliser, as is usual). Gaussian: a density about the sigmoid of the logits. Logistic: a
    probability of 256 levels about 0.5 + logits, which is not confined to [0, 1]: the levels at the
    ends take all that lies beyond them, so that pure black and pure white can be certain.
    """

    def __init__(self, options: PixelOptions) -> None:
        super().__init__()
        self.kind = options.likelihood
        start = math.log(options.sigma)
        self.fixed = None if options.learn_sigma else start
        self.learned = nn.Parameter(torch.tensor(start)) if options.learn_sigma else None

    @property
    def log_sigma(self) -> Tensor:
        """Logarithm of the standard deviation, a scalar; Bernoulli makes no use of it."""
        return torch.tensor(self.fixed) if self.learned is None else self.learned

    def tensors(self) -> dict[str, Array]:
        """What a bundle says of it beside its graphs: `likelihood_sigma`, where it was learned."""
        if self.learned is None:
            return {}
        return {"likelihood_sigma": self.learned.detach().exp().float().cpu().reshape(1).numpy()}

    def mean(self, logits: Tensor) -> Tensor:
        """The picture that a decoder's output stands for; a logistic's may leave [0, 1]."""
        return 0.5 + logits if self.kind == "logistic" else functional.sigmoid(logits)

    def cost(self, logits: Tensor, image: Tensor) -> Tensor:
        """−log p(image | logits) of each picture in nats, the sum over its pixels, (N,)."""
        logits, log_sigma = logits.float(), self.log_sigma
        if self.kind == "bernoulli":
            pixels = functional.binary_cross_entropy_with_logits(logits, image, reduction="none")
        elif self.kind == "gaussian":
            pixels = 0.5 * ((self.mean(logits) - image) * (-log_sigma).exp()).square()
            pixels = pixels + (log_sigma + 0.5 * math.log(2 * math.pi))
        else:
            pixels = -log_logistic(image, self.mean(logits), log_sigma)
        return pixels.flatten(1).sum(1)


def log_logistic(value: Tensor, mean: Tensor, log_sigma: Tensor) -> Tensor:
    """The log P of the level nearest to `value` under a discretised logistic; of the same shape.

    P is the logistic's mass within half a level; the lowest and the highest level take the mass
    beyond them too (Salimans et al. 2017, section 2.1). With a and b the ends of that interval in
    units of the scale, S(a) − S(b) = S(a) · S(−b) · (1 − e^(b−a)), which underflows nowhere.
    """
    inverse = (-log_sigma).exp() / LOGISTIC_SCALE
    above = functional.logsigmoid((value + LEVEL / 2 - mean) * inverse)
    below = functional.logsigmoid((mean - value + LEVEL / 2) * inverse)
    both = above + below + (-(-LEVEL * inverse).expm1()).log()
    lowest, highest = value < LEVEL / 2, value > 1 - LEVEL / 2
    return above.where(lowest, below.where(highest, both))
