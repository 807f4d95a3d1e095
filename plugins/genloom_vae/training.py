"""How variational autoencoders are trained: the negative ELBO in nats per picture."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional

from genloom.card import Likelihood, Port, SizeRule
from genloom.errors import GenloomError
from genloom.types import Array
from genloom_train.data import Samples, Source
from genloom_train.latents import class_means, latents_of
from genloom_train.training import Graph, Shape, Tensors, Training, Turn
from genloom_vae.bounds import iwae, kl, log_weights
from genloom_vae.classes import disobedience, recognition
from genloom_vae.network import DecoderGraph, EncoderGraph, Vae
from genloom_vae.options import VaeConfig
from genloom_vae.preview import ROW, sheet

CHUNK = 500
DRAWS = 50
"""k of the IWAE bound."""
BOUNDED = 1000
"""Held-out pictures, the first ones, on which the IWAE bound is measured."""


class VaeTraining(Training):
    """−ELBO = reconstruction + β · KL, both sums over dimensions (Kingma & Welling 2014)."""

    config: VaeConfig

    def __init__(self, config: VaeConfig, shape: Shape, labels: Sequence[str] = ()) -> None:
        super().__init__(config, shape, labels)
        if config.conditional and len(self.labels) < 2:
            raise GenloomError(
                "a conditional model needs classes to tell apart",
                expected="data with two labels or more, or 'model.conditional: false'",
                got=f"{len(self.labels)} labels",
            )
        self.classes = len(self.labels) if config.conditional else 0

    def build(self) -> nn.Module:
        """A fresh network."""
        return Vae(self.config, self.shape, self.classes)

    def losses(self, module: nn.Module, batch: Tensors) -> dict[str, Tensor]:
        """One sample of the posterior for each picture, at the full β."""
        return self._losses(module, batch, self.config.beta)

    def step(self, module: nn.Module, batch: Tensors, turn: Turn) -> dict[str, Tensor]:
        """One update, at the β of the step."""
        losses = self._losses(module, batch, self.beta(turn.step))
        turn.update("main", losses["loss"])
        return losses

    def beta(self, step: int) -> float:
        """Weight of the KL term at a step, the first of which is 0."""
        warmup = self.config.kl_warmup
        return self.config.beta * (min(1.0, step / warmup) if warmup else 1.0)

    def _losses(self, module: nn.Module, batch: Tensors, beta: float) -> dict[str, Tensor]:
        reconstruction, divergences = self._terms(module, batch)
        loss = reconstruction.mean() + beta * charged(divergences, self.config.free_bits)
        named = {"reconstruction": reconstruction.mean(), "kl": divergences.sum(1).mean()}
        if self.classes:
            known = self._known(batch)
            named["cross_entropy"] = recognition(_vae(module), batch.image, known)
            loss = loss + named["cross_entropy"]
        if self.classes and self.config.fidelity:
            named["disobedience"] = disobedience(_vae(module), len(batch))
            loss = loss + self.config.fidelity * named["disobedience"]
        return {"loss": loss, **{name: value.detach() for name, value in named.items()}}

    def _terms(self, module: nn.Module, batch: Tensors) -> tuple[Tensor, Tensor]:
        """Reconstruction of each picture, (N,), and KL of each dimension, N×latent, in nats."""
        noise = torch.randn(len(batch), self.config.latent, device=batch.image.device)
        logits, mean, log_variance = module(batch.image, noise, self.one_hot(batch))
        reconstruction = _vae(module).likelihood.cost(logits, batch.image)
        return reconstruction, kl(mean.float(), log_variance.float())

    def one_hot(self, batch: Tensors) -> Tensor | None:
        """The classes of a batch, N×classes float32; None for a model that is not conditional."""
        if not self.classes:
            return None
        return functional.one_hot(self._known(batch), self.classes).float()

    def _known(self, batch: Tensors) -> Tensor:
        if batch.label is None:
            raise GenloomError("a conditional model cannot be trained on pictures without a label")
        return batch.label

    def validate(
        self, module: nn.Module, samples: Samples, device: torch.device
    ) -> dict[str, float]:
        """−ELBO (with β = 1), its two terms, and the IWAE bound with k = 50.

        The former three are of every held-out picture, one sample each. How far the IWAE bound
        lies below −ELBO is measured on the first thousand pictures, on the same draws, and taken
        from the −ELBO of all: the difference varies far less between pictures than either bound.
        """
        totals = torch.zeros(3, dtype=torch.float64)
        for chunk in samples.chunks(CHUNK):
            batch = Tensors.of(chunk, device)
            reconstruction, divergences = self._terms(module, batch)
            right = self._right(_vae(module), batch)
            totals += torch.stack(
                [term.double().sum().cpu() for term in (reconstruction, divergences, right)]
            )
        reconstruction, divergence, accuracy = (totals / len(samples)).tolist()
        negative_elbo = reconstruction + divergence
        gap = self._gap(_vae(module), samples, device)
        return {
            "negative_elbo": negative_elbo,
            "reconstruction": reconstruction,
            "kl": divergence,
            "negative_iwae_50": negative_elbo - gap,
            **({"accuracy": accuracy} if self.classes else {}),
        }

    def _right(self, vae: Vae, batch: Tensors) -> Tensor:
        """1 for each picture whose class a conditional model recognises, (N,)."""
        if not self.classes:
            return torch.zeros(len(batch))
        return (vae.classify(batch.image).argmax(1) == self._known(batch)).float()

    def _gap(self, vae: Vae, samples: Samples, device: torch.device) -> float:
        """IWAE bound minus ELBO on the same draws, the mean of the first pictures, in nats."""
        first = Tensors.of(samples.spread(BOUNDED), device)
        weights = log_weights(vae, first.image, self.one_hot(first), DRAWS)
        return float((iwae(weights) - weights.mean(1)).mean())

    def preview(self, module: nn.Module, batch: Tensors) -> tuple[Tensor, int]:
        """Rows of held-out pictures, their reconstructions, and samples from the prior.

        The samples of a conditional model go through its classes in turn.
        """
        vae, device = _vae(module), batch.image.device
        image, label = batch.image[: 2 * ROW], self.one_hot(batch)
        known = None if label is None else label[: 2 * ROW]
        again = vae.likelihood.mean(vae.decode(vae.encode(image, known)[0], known))
        latent = torch.randn(4 * ROW, self.config.latent, device=device)
        asked = None
        if self.classes:
            turns = torch.arange(len(latent), device=device) % self.classes
            asked = functional.one_hot(turns, self.classes).float()
        return sheet(image, again, vae.likelihood.mean(vae.decode(latent, asked)))

    def graphs(self, module: nn.Module) -> dict[str, Graph]:
        """`encoder` and `decoder`, free in the batch."""
        vae = _vae(module)
        image = Port(axes=("batch", *self.shape), range=(0.0, 1.0))
        latent = Port(axes=("batch", self.config.latent))
        label = {}
        if self.classes:
            label["label"] = Port(axes=("batch", self.classes), range=(0.0, 1.0))
        return {
            "encoder": Graph(
                module=EncoderGraph(vae),
                inputs={"image": image},
                outputs={"mean": latent, "log_variance": latent, **label},
            ),
            "decoder": Graph(
                module=DecoderGraph(vae),
                inputs={"latent": latent, **label},
                outputs={"image": image},
            ),
        }

    def card(self) -> dict[str, Any]:
        """The latent's shape, the one size of pictures, and the likelihood."""
        kind = self.config.likelihood
        stated = kind != "bernoulli" and not self.config.learn_sigma
        sigma = self.config.sigma if stated else None
        return {
            "latent": (self.config.latent,),
            "size": SizeRule(fixed=self.shape[1:]),
            "likelihood": Likelihood(kind=kind, sigma=sigma),
        }

    def tensors(self, module: nn.Module, source: Source, device: torch.device) -> dict[str, Array]:
        """`class_means` where the data has labels; `likelihood_sigma` where it was learned."""
        vae = _vae(module)
        latents, labels = latents_of(lambda image: vae.recognise(image)[0], source, device)
        return {**class_means(latents, labels, len(self.labels)), **vae.likelihood.tensors()}


def charged(divergences: Tensor, free_bits: float) -> Tensor:
    """The KL that is paid for: N×latent → a scalar, the sum of each dimension's mean.

    A dimension whose mean lies below `free_bits` costs that much whatever it holds, and so feels
    no pull towards the prior (Kingma et al. 2016, equation 15).
    """
    means = divergences.mean(0)
    return means.clamp_min(free_bits).sum() if free_bits else means.sum()


def _vae(module: nn.Module) -> Vae:
    assert isinstance(module, Vae)
    return module
