"""The networks of autoencoders, and how pictures are corrupted to train denoising ones."""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torch.nn import functional

from genloom_ae import AeConfig
from genloom_train.networks import conv_decoder, conv_encoder, dense_decoder, dense_encoder
from genloom_train.training import Shape


class Ae(nn.Module):
    """An encoder to latents, and a decoder to logits of the pixels.

    Its layers are those of the family `vae` but for the last one of the encoder, which gives no
    log-variance.
    """

    def __init__(self, config: AeConfig, shape: Shape) -> None:
        super().__init__()
        convolutional = config.network == "convolutional"
        build = (conv_encoder, conv_decoder) if convolutional else (dense_encoder, dense_decoder)
        self.encoder = build[0](shape, config.widths, config.latent)
        self.decoder = build[1](shape, config.widths, config.latent)

    def encode(self, image: Tensor) -> Tensor:
        """N×C×H×W → N×latent.

        Values beyond [0, 1] are clipped, so that noise looks the same whether it was just added
        or read from a file.
        """
        latent: Tensor = self.encoder(2 * image.clamp(0, 1) - 1)
        return latent

    def decode(self, latent: Tensor) -> Tensor:
        """N×latent → N×C×H×W: logits of the pixels."""
        logits: Tensor = self.decoder(latent)
        return logits

    def forward(self, image: Tensor) -> Tensor:
        """Pictures → logits of their reconstructions."""
        return self.decode(self.encode(image))


class EncoderGraph(nn.Module):
    """What is exported as `encoder`."""

    def __init__(self, ae: Ae) -> None:
        super().__init__()
        self.ae = ae

    def forward(self, image: Tensor) -> Tensor:
        """Pictures in [0, 1] → latents."""
        return self.ae.encode(image)


class DecoderGraph(nn.Module):
    """What is exported as `decoder`: gives pixels, not logits."""

    def __init__(self, ae: Ae) -> None:
        super().__init__()
        self.ae = ae

    def forward(self, latent: Tensor) -> Tensor:
        """Latents → pictures in [0, 1]."""
        return functional.sigmoid(self.ae.decode(latent))


def corrupt(image: Tensor, corruption: str, amount: float) -> Tensor:
    """Pictures as a denoising autoencoder sees them (Vincent et al. 2010, section 3.3).

    `noise` adds amount · N(0, 1) and may leave [0, 1]; `masking` sets each value to 0 with
    probability `amount`; `salt-and-pepper` to 0 or 1, either as likely; `none` does nothing.
    """
    if corruption == "noise":
        return image + amount * torch.randn_like(image)
    if corruption == "masking":
        return image * (torch.rand_like(image) >= amount)
    if corruption == "salt-and-pepper":
        extreme = torch.randint_like(image, 2)
        return torch.where(torch.rand_like(image) < amount, extreme, image)
    return image
