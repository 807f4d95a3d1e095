"""How denoisers are trained: clean photographs, and the noise that is added to them."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor, nn

from genloom.card import Port, SizeRule
from genloom_denoise import DenoiserConfig
from genloom_denoise.network import DenoisingUnet
from genloom_train.data import Samples
from genloom_train.metrics import psnr
from genloom_train.training import Graph, Tensors, Training

SIGMAS = (15, 25, 50)
"""Noise of the validation, in 8-bit units."""
PREVIEW_SIGMA, PREVIEW_PICTURES = 25, 4
CHUNK = 8
FLOOR = 1e-6
"""Added to squared errors (on [0, 1]) before the root, whose slope at 0 is infinite."""


class DenoiserTraining(Training):
    """Minimises the root-mean-square error of each crop, averaged over the crops.

    The root weighs weak and strong noise more evenly than the squared error does, as the
    peak signal-to-noise ratio, its logarithm, would.
    """

    config: DenoiserConfig
    any_size = True

    def build(self) -> nn.Module:
        """A fresh network."""
        return DenoisingUnet(self.config, self.shape[0])

    def losses(self, module: nn.Module, batch: Tensors) -> dict[str, Tensor]:
        """Noise of another level on every picture."""
        count, device = len(batch), batch.image.device
        level = torch.rand(count, device=device) * (self.config.sigma / 255)
        noisy = add_noise(batch.image, level)
        clipped = torch.rand(count, 1, 1, 1, device=device) < self.config.clipped
        result = module(torch.where(clipped, as_in_a_file(noisy), noisy), level).float()
        error = (result - batch.image).square().flatten(1).mean(1)
        mean = psnr(result.detach(), batch.image).mean()
        return {"loss": (error + FLOOR).sqrt().mean(), "psnr": mean}

    def validate(
        self, module: nn.Module, samples: Samples, device: torch.device
    ) -> dict[str, float]:
        """Mean PSNR in dB at three levels, noise clipped to 8 bits, and of the noisy input."""
        figures = {}
        for sigma in SIGMAS:
            before, after = [], []
            for chunk in samples.chunks(CHUNK):
                clean = Tensors.of(chunk, device).image
                level = torch.full((len(clean),), sigma / 255, device=device)
                noisy = as_in_a_file(add_noise(clean, level))
                before.append(psnr(noisy, clean))
                after.append(psnr(module(noisy, level).clamp(0, 1), clean))
            figures[f"psnr_noisy_{sigma}"] = float(torch.cat(before).mean())
            figures[f"psnr_{sigma}"] = float(torch.cat(after).mean())
        return figures

    def preview(self, module: nn.Module, batch: Tensors) -> tuple[Tensor, int]:
        """A row for each of a few pictures: clean, noisy, denoised."""
        clean = batch.image[:PREVIEW_PICTURES]
        level = torch.full((len(clean),), PREVIEW_SIGMA / 255, device=clean.device)
        noisy = as_in_a_file(add_noise(clean, level))
        rows = torch.stack([clean, noisy, module(noisy, level)], dim=1)
        return rows.flatten(0, 1), 3

    def graphs(self, module: nn.Module) -> dict[str, Graph]:
        """`network`, free in batch, height and width."""
        image = Port(axes=("batch", self.shape[0], "height", "width"), range=(0.0, 1.0))
        level = Port(axes=("batch",), range=(0.0, 100 / 255))
        inputs = {"image": image, "noise_level": level}
        return {"network": Graph(module=module, inputs=inputs, outputs={"result": image})}

    def card(self) -> dict[str, Any]:
        """The size rule."""
        multiple = 2 ** len(self.config.widths)
        return {"size": SizeRule(multiple=multiple, minimum=multiple)}


def add_noise(image: Tensor, level: Tensor) -> Tensor:
    """Image + level · N(0, 1); `level` holds σ / 255 for each picture, (N,)."""
    return image + level[:, None, None, None] * torch.randn_like(image)


def as_in_a_file(image: Tensor) -> Tensor:
    """Clipped to [0, 1] and rounded to 8 bits."""
    return (image.clamp(0, 1) * 255).round() / 255
