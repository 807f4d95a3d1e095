"""How the estimator of noise levels is trained: on clean photographs, spoilt in all known ways."""

from __future__ import annotations

import math
from dataclasses import replace
from typing import Any

import torch
from torch import Tensor, nn

from genloom.card import Port, SizeRule
from genloom_denoise import NoiseLevelConfig
from genloom_denoise.estimate import estimate_sigma
from genloom_denoise.level import CELL, OFFSET, STRONGEST, UNKNOWN
from genloom_denoise.level_network import NoiseLevelNetwork
from genloom_denoise.spoiling import spoilt
from genloom_train.data import Samples
from genloom_train.degradations import as_in_a_file, gaussian_noise, jpeg
from genloom_train.training import Graph, Shape, Tensors, Training, check_multiple, whole

CHUNK = 8
SIGMA, QUALITY, FINE = 15, 85, 95
"""Noise, in 8-bit units, quality of JPEG with it and without, in the validation."""
SLACK = 1.5
"""Levels in 8-bit units below which errors count less: denoising at them does next to nothing."""
PREVIEW_PICTURES = 4


class NoiseLevelTraining(Training):
    """Minimises the absolute error of the logarithm of the level, in 8-bit units, plus a little.

    That is `OFFSET`, which the network's estimate has too, and `SLACK`.
    """

    config: NoiseLevelConfig
    any_size = True

    def __init__(self, config: NoiseLevelConfig, shape: Shape, labels: Any = ()) -> None:
        super().__init__(config, shape, labels)
        check_multiple(shape, CELL, "the network sees cells of 8×8 pixels")
        if config.reduced:
            check_multiple(shape, 2 * CELL, "reduced to half, crops must be cells of 8×8 pixels")

    def build(self) -> nn.Module:
        """A fresh network."""
        return NoiseLevelNetwork(self.config, self.shape[0])

    def losses(self, module: nn.Module, batch: Tensors) -> dict[str, Tensor]:
        """The error, about as a share of the level."""
        noisy, level = spoilt(batch.image, self.config)
        moved = _moved(noisy)
        white = _white(moved, self.config.white)
        return {"loss": _error(module(moved, white), level).mean()}

    def validate(
        self, module: nn.Module, samples: Samples, device: torch.device
    ) -> dict[str, float]:
        """Mean errors for white noise, for it in a JPEG file, and what is found in clean pictures.

        Errors are those that are minimised, the last two figures are levels in 8-bit units: of
        pictures as they are, and as JPEG files of high quality.
        """
        white, in_file, clean, fine = [], [], [], []
        for chunk in samples.chunks(CHUNK):
            image = whole(Tensors.of(chunk, device).image, CELL)
            level = torch.full((len(image),), SIGMA / 255, device=device)
            noisy = as_in_a_file(gaussian_noise(image, level))
            filed = jpeg(noisy, torch.full((len(image),), QUALITY))
            true = (filed - image).square().flatten(1).mean(1).sqrt()
            finely = jpeg(image, torch.full((len(image),), FINE))
            white.append(_error(_found(module, noisy), level))
            in_file.append(_error(_found(module, filed), true))
            clean.append(_found(module, image).exp() - OFFSET)
            fine.append(_found(module, finely).exp() - OFFSET)
        named = {
            "error_white": white,
            "error_jpeg": in_file,
            "level_clean": clean,
            "level_clean_jpeg": fine,
        }
        return {name: float(torch.cat(values).mean()) for name, values in named.items()}

    def preview(self, module: nn.Module, batch: Tensors) -> tuple[Tensor, int]:
        """A row for each of a few pictures: clean, spoilt, and as grey as the level found."""
        clean = batch.image[:PREVIEW_PICTURES]
        noisy, _ = spoilt(clean, replace(self.config, reduced=0.0))
        level = ((_found(module, whole(noisy, CELL)).exp() - OFFSET) / 255).clamp(0, 1)
        shown = [clean, noisy.clamp(0, 1), level[:, None, None, None].expand_as(clean)]
        return torch.stack(shown, dim=1).flatten(0, 1), len(shown)

    def graphs(self, module: nn.Module) -> dict[str, Graph]:
        """`estimator`, free in batch, height and width."""
        image = Port(axes=("batch", self.shape[0], "height", "width"), range=(0.0, 1.0))
        inputs = {"image": image, "white_level": Port(axes=("batch",), range=(UNKNOWN, STRONGEST))}
        outputs = {"log_level": Port(axes=("batch",))}
        return {"estimator": Graph(module=module, inputs=inputs, outputs=outputs)}

    def card(self) -> dict[str, Any]:
        """The size rule, and fp32: bf16 changes a level by up to 3 %, which no run accepts."""
        return {"size": SizeRule(multiple=CELL, minimum=2 * CELL), "precision": "fp32"}


def _found(module: nn.Module, image: Tensor) -> Tensor:
    """The estimate for each picture, as the network gives it, (N,)."""
    found: Tensor = module(image, _white(image))
    return found


def _white(image: Tensor, share: float = 1.0) -> Tensor:
    """σ / 255 of white noise in the first so many of the pictures, (N,); of others `UNKNOWN`."""
    level = image.new_full((len(image),), UNKNOWN)
    for index, picture in enumerate(image[: math.ceil(share * len(image))].cpu().numpy()):
        level[index] = estimate_sigma(picture) / 255
    return level


def _error(found: Tensor, level: Tensor) -> Tensor:
    """How far apart an estimate, as the network gives it, and a level in σ / 255 are, (N,)."""
    return ((found.exp() + SLACK).log() - (255 * level + OFFSET + SLACK).log()).abs()


def _moved(image: Tensor) -> Tensor:
    """Half of the time a crop whose cells are not those of JPEG's blocks."""
    if torch.rand(()) < 0.5:
        return image
    top, left = torch.randint(1, CELL, (2,)).tolist()
    return whole(image[:, :, top:, left:], CELL)
