"""The networks of a vector-quantised autoencoder, and the graphs that are exported of them."""

from __future__ import annotations

import itertools
from collections.abc import Sequence

import torch
from torch import Tensor, nn

from genloom_train.blocks import Residual, SubPixelUp
from genloom_train.networks import Cut, pyramid
from genloom_train.training import Shape
from genloom_vae.likelihood import Likelihood
from genloom_vae.options import VqVaeConfig
from genloom_vae.vq_codebook import Codebook, look_up, near_ties, nearest, straight_through
from genloom_vae.vq_prior import CodePrior


class VqVae(nn.Module):
    """Encoder, codebook and decoder, and beside them the prior over codes."""

    def __init__(self, config: VqVaeConfig, shape: Shape) -> None:
        super().__init__()
        self.size = pyramid(shape, len(config.widths))[-1]
        self.encoder = map_encoder(shape, config.widths, config.embedding)
        self.decoder = map_decoder(shape, config.widths, config.embedding)
        self.likelihood = Likelihood(config)
        self.codebook = Codebook(config.codes, config.embedding, config.decay, config.restart)
        self.prior = CodePrior(config, self.size[0] * self.size[1])

    def encode(self, image: Tensor) -> Tensor:
        """N×C×H×W in [0, 1] → N×embedding×h×w, not yet quantised."""
        latent: Tensor = self.encoder(2 * image - 1)
        return latent.float()

    def forward(self, image: Tensor) -> tuple[Tensor, Tensor, Tensor, Tensor]:
        """Logits of the picture; the encoder's output, its nearest entries, and their codes."""
        latent = self.encode(image)
        # Near ties decide by the last bits, which bfloat16 has not.
        with torch.autocast(latent.device.type, enabled=False):
            codes = self.codebook.nearest(latent)
        quantised = self.codebook.look_up(codes, self.size)
        return self.decoder(straight_through(latent, quantised)), latent, quantised, codes


def map_encoder(shape: Shape, widths: Sequence[int], out: int) -> nn.Module:
    """Strided convolutions to the map of codes, a residual block, and a 1×1 convolution."""
    layers: list[nn.Module] = []
    for before, after in itertools.pairwise([shape[0], *widths]):
        layers += [nn.Conv2d(before, after, 3, stride=2, padding=1), nn.ReLU()]
    return nn.Sequential(*layers, Residual(widths[-1]), nn.ReLU(), nn.Conv2d(widths[-1], out, 1))


def map_decoder(shape: Shape, widths: Sequence[int], embedding: int) -> nn.Module:
    """A convolution, a residual block, then sub-pixel enlargements cut to each level's size."""
    sizes = pyramid(shape, len(widths))
    outermost = max(8, widths[0] // 2)
    layers: list[nn.Module] = [nn.Conv2d(embedding, widths[-1], 3, padding=1), Residual(widths[-1])]
    for (before, after), size in zip(
        itertools.pairwise([*reversed(widths), outermost]), reversed(sizes[:-1]), strict=True
    ):
        layers += [nn.ReLU(), SubPixelUp(before, after), Cut(size)]
    return nn.Sequential(*layers, nn.ReLU(), nn.Conv2d(outermost, shape[0], 3, padding=1))


class _Graph(nn.Module):
    """A part with the entries as they are now: one constant, not a division in each graph."""

    entries: Tensor

    def __init__(self, model: VqVae) -> None:
        super().__init__()
        self.size = model.size
        self.register_buffer("entries", model.codebook.entries.clone())

    def snap(self, latent: Tensor) -> Tensor:
        """The nearest entry at each place, N×embedding×h×w → the same shape."""
        return look_up(self.entries, nearest(self.entries, latent), self.size)


class EncoderGraph(_Graph):
    """What is exported as `encoder`."""

    def __init__(self, model: VqVae) -> None:
        super().__init__(model)
        self.encoder = model.encoder

    def forward(self, image: Tensor) -> Tensor:
        """Pictures in [0, 1] → entries of the codebook, N×embedding×h×w."""
        return self.snap(self.encoder(2 * image - 1))

    def ties(self, image: Tensor) -> Tensor:
        """Whether two entries are equally near somewhere, (N,) bool."""
        return near_ties(self.entries, self.encoder(2 * image - 1))


class DecoderGraph(_Graph):
    """What is exported as `decoder`: latents between entries go to the nearest."""

    def __init__(self, model: VqVae) -> None:
        super().__init__(model)
        self.decoder, self.likelihood = model.decoder, model.likelihood

    def forward(self, latent: Tensor) -> Tensor:
        """N×embedding×h×w → the mean picture."""
        return self.likelihood.mean(self.decoder(self.snap(latent)))

    def ties(self, latent: Tensor) -> Tensor:
        """Whether two entries are equally near somewhere, (N,) bool."""
        return near_ties(self.entries, latent)


class CodebookGraph(_Graph):
    """What is exported as `codebook`."""

    def forward(self, codes: Tensor) -> Tensor:
        """Codes N×(h·w) → entries N×embedding×h×w."""
        return look_up(self.entries, codes, self.size)
