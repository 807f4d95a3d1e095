"""The networks of variational autoencoders."""

from __future__ import annotations

import math

import torch
from torch import Tensor, nn
from torch.func import functional_call

from genloom_train.networks import conv_decoder, conv_encoder, dense_decoder, dense_encoder
from genloom_train.training import Shape
from genloom_vae.likelihood import Likelihood
from genloom_vae.options import VaeConfig

LOG_VARIANCE_LIMIT = 12.0
"""log σ² is kept within ± this, so that exp never overflows."""

NETWORKS = {
    "convolutional": (conv_encoder, conv_decoder),
    "dense": (dense_encoder, dense_decoder),
}

CLASSIFIER_WIDTHS = {"convolutional": (16, 32), "dense": (64,)}
"""Of the small network by which a conditional encoder tells the class."""


class Vae(nn.Module):
    """An encoder to mean and log σ², and a decoder to logits.

    Args:
        config: the options of the recipe.
        shape: channels, height and width of the pictures.
        classes: how many a conditional model knows; else 0.
    """

    def __init__(self, config: VaeConfig, shape: Shape, classes: int = 0) -> None:
        super().__init__()
        self.latent, self.classes = config.latent, classes
        self.convolutional = config.network == "convolutional"
        build = NETWORKS[config.network]
        told = _told_shape(shape, classes, self.convolutional)
        self.encoder = build[0](told, config.widths, 2 * config.latent)
        self.decoder = build[1](shape, config.widths, config.latent + classes)
        self.likelihood = Likelihood(config)
        self.classifier = (
            build[0](shape, CLASSIFIER_WIDTHS[config.network], classes) if classes else None
        )

    def _told(self, image: Tensor, label: Tensor | None) -> Tensor:
        """The input of the encoder: classes are further channels, or further units if dense."""
        if label is None:
            return image
        if not self.convolutional:
            return torch.cat([image.flatten(1), label.to(image.dtype)], dim=1)
        planes = label.to(image.dtype)[:, :, None, None].expand(-1, -1, *image.shape[2:])
        return torch.cat([image, planes], dim=1)

    def encode(self, image: Tensor, label: Tensor | None = None) -> tuple[Tensor, Tensor]:
        """Pictures, and N×classes where the model is conditional, to the posterior.

        An encoder that does not know the class leaves much of it in the latent, and a decoder goes
        by that rather than by its label.

        Args:
            image: N×C×H×W in [0, 1].
            label: weights of the classes.

        Returns:
            mean and log σ², each N×latent.
        """
        mean, log_variance = self.encoder(self._told(2 * image - 1, label)).chunk(2, dim=1)
        return mean, log_variance.clamp(-LOG_VARIANCE_LIMIT, LOG_VARIANCE_LIMIT)

    def recognise(self, image: Tensor) -> tuple[Tensor, ...]:
        """The posterior of pictures without a label; and, if conditional, the chances of classes.

        A conditional encoder is told what the classifier makes of the picture.
        """
        if self.classifier is None:
            return self.encode(image)
        label = self.classify(image).softmax(dim=1)
        return *self.encode(image, label), label

    def classify(self, image: Tensor, *, learn: bool = True) -> Tensor:
        """N×C×H×W in [0, 1] → logits of the classes, N×classes; of conditional models only.

        Without `learn`, gradients reach the pictures and not the classifier.
        """
        assert self.classifier is not None
        if learn:
            logits: Tensor = self.classifier(2 * image - 1)
        else:
            weights = {name: w.detach() for name, w in self.classifier.named_parameters()}
            logits = functional_call(self.classifier, weights, (2 * image - 1,))
        return logits

    def decode(self, latent: Tensor, label: Tensor | None = None) -> Tensor:
        """N×latent, and N×classes where the model is conditional, → N×C×H×W logits."""
        known = latent if label is None else torch.cat([latent, label.to(latent.dtype)], dim=1)
        logits: Tensor = self.decoder(known)
        return logits

    def forward(
        self, image: Tensor, noise: Tensor, label: Tensor | None = None
    ) -> tuple[Tensor, Tensor, Tensor]:
        """Logits at mean + σ·noise (the reparametrisation trick), mean, log σ²."""
        mean, log_variance = self.encode(image, label)
        return self.decode(mean + (0.5 * log_variance).exp() * noise, label), mean, log_variance


def _told_shape(shape: Shape, classes: int, convolutional: bool) -> Shape:
    """The shape of what `Vae._told` gives."""
    if convolutional or not classes:
        return (shape[0] + classes, *shape[1:])
    return (1, 1, math.prod(shape) + classes)


class EncoderGraph(nn.Module):
    """What is exported as `encoder`."""

    def __init__(self, vae: Vae) -> None:
        super().__init__()
        self.vae = vae

    def forward(self, image: Tensor) -> tuple[Tensor, ...]:
        """Pictures in [0, 1] → mean, log σ², and the chances of the classes if conditional."""
        return self.vae.recognise(image)


class DecoderGraph(nn.Module):
    """What is exported as `decoder`: gives pixels, not logits."""

    def __init__(self, vae: Vae) -> None:
        super().__init__()
        self.vae = vae

    def forward(self, latent: Tensor, label: Tensor | None = None) -> Tensor:
        """Latents, and weights of the classes if conditional → the mean picture."""
        return self.vae.likelihood.mean(self.vae.decode(latent, label))
