"""How autoencoders are trained: the error of the reconstruction, and a density for afterwards."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional

from genloom.card import Port, SizeRule
from genloom.types import Array
from genloom_ae import AeConfig
from genloom_ae.mixture import fit
from genloom_ae.network import Ae, DecoderGraph, EncoderGraph, corrupt
from genloom_train.data import Samples, Source
from genloom_train.latents import class_means, latents_of
from genloom_train.metrics import psnr
from genloom_train.training import Graph, Tensors, Training

ROW = 8
CHUNK = 500


class AeTraining(Training):
    """Minimises the error of each reconstruction, summed over its values.

    With a corruption the network sees corrupted pictures and is to give clean ones.
    """

    config: AeConfig

    def build(self) -> nn.Module:
        """A fresh network."""
        return Ae(self.config, self.shape)

    def losses(self, module: nn.Module, batch: Tensors) -> dict[str, Tensor]:
        """Of the pictures as they are to be; those that are seen are corrupted anew each time."""
        logits = module(self.seen(batch.image)).float()
        mse = (torch.sigmoid(logits.detach()) - batch.image).square().mean()
        return {"loss": self.error(logits, batch.image).mean(), "mse": mse}

    def seen(self, image: Tensor) -> Tensor:
        """Pictures as the network sees them in training: corrupted, but for the share `clean`."""
        corrupted = self.corrupted(image)
        if corrupted is image or self.config.clean == 0:
            return corrupted
        spared = torch.rand(len(image), 1, 1, 1, device=image.device) < self.config.clean
        return torch.where(spared, image, corrupted)

    def corrupted(self, image: Tensor) -> Tensor:
        """Pictures with the configured corruption."""
        return corrupt(image, self.config.corruption, self.config.amount)

    def error(self, logits: Tensor, image: Tensor) -> Tensor:
        """Of each reconstruction, summed over its values, (N,).

        `cross-entropy` is in nats, with grey values as targets: what a variational autoencoder of
        Bernoulli likelihood calls its reconstruction.
        """
        if self.config.loss == "cross-entropy":
            values = functional.binary_cross_entropy_with_logits(logits, image, reduction="none")
        else:
            values = (torch.sigmoid(logits) - image).square()
        return values.flatten(1).sum(1)

    def validate(
        self, module: nn.Module, samples: Samples, device: torch.device
    ) -> dict[str, float]:
        """Means over the held-out pictures of what is measured for each of them."""
        totals: dict[str, float] = {}
        for chunk in samples.chunks(CHUNK):
            for name, values in self._figures(module, Tensors.of(chunk, device).image):
                totals[name] = totals.get(name, 0.0) + float(values.double().sum())
        return {name: total / len(samples) for name, total in totals.items()}

    def _figures(self, module: nn.Module, image: Tensor) -> Iterator[tuple[str, Tensor]]:
        """Figures of each picture, (N,): of clean input, then of corrupted input.

        `psnr_restored` stands beside `psnr_corrupted`, which is that of the input itself.
        """
        logits = module(image).float()
        again = torch.sigmoid(logits)
        yield "mse", (again - image).square().flatten(1).mean(1)
        yield "psnr", psnr(again, image)
        if self.config.loss == "cross-entropy":
            yield "reconstruction", self.error(logits, image)
        if self.config.corruption != "none":
            corrupted = self.corrupted(image)
            yield "psnr_corrupted", psnr(corrupted.clamp(0, 1), image)
            yield "psnr_restored", psnr(torch.sigmoid(module(corrupted).float()), image)

    def preview(self, module: nn.Module, batch: Tensors) -> tuple[Tensor, int]:
        """Rows of held-out pictures, what was made of them by a corruption, reconstructions.

        There are no samples: the mixture to draw them from is fitted after the last step.
        """
        image = batch.image[: 3 * ROW]
        corrupted = self.corrupted(image)
        kinds = [image] if self.config.corruption == "none" else [image, corrupted]
        kinds.append(torch.sigmoid(module(corrupted).float()))
        rows = [kind[i : i + ROW] for i in range(0, len(image), ROW) for kind in kinds]
        return torch.cat(rows), min(ROW, len(image))

    def graphs(self, module: nn.Module) -> dict[str, Graph]:
        """`encoder` and `decoder`, free in the batch."""
        assert isinstance(module, Ae)
        image = Port(axes=("batch", *self.shape), range=(0.0, 1.0))
        latent = Port(axes=("batch", self.config.latent))
        return {
            "encoder": Graph(
                module=EncoderGraph(module), inputs={"image": image}, outputs={"latent": latent}
            ),
            "decoder": Graph(
                module=DecoderGraph(module), inputs={"latent": latent}, outputs={"image": image}
            ),
        }

    def card(self) -> dict[str, Any]:
        """The latent's shape and the one size of pictures."""
        return {"latent": (self.config.latent,), "size": SizeRule(fixed=self.shape[1:])}

    def tensors(self, module: nn.Module, source: Source, device: torch.device) -> dict[str, Array]:
        """A mixture fitted to the latents of clean training pictures, and each class's mean."""
        assert isinstance(module, Ae)
        latents, labels = latents_of(module.encode, source, device)
        seed = int(torch.randint(2**31, ()))
        mixture = fit(latents, self.config.components, seed)
        return {**mixture, **class_means(latents, labels, len(self.labels))}
