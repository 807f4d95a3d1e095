"""How networks that enlarge are trained: large photographs, and small ones made of them."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional
from torch.optim import Optimizer

from genloom.card import Port
from genloom_train.data import Samples
from genloom_train.degradations import as_in_a_file, blindly_reduced, reduced
from genloom_train.features import features, perceptual_distance
from genloom_train.metrics import psnr
from genloom_train.options import TrainOptions
from genloom_train.training import (
    Graph,
    Shape,
    Tensors,
    Training,
    Turn,
    check_multiple,
    fixed,
    optimiser,
    whole,
)
from genloom_upscale import UpscalerConfig
from genloom_upscale.network import Upscalers
from genloom_upscale.patterns import checkerboard, dotted, stray

CHUNK = 8
PREVIEW_PICTURES = 4
STRIDE = 8
"""A discriminator's strides multiplied, and the coarsest scale of random filters."""
BETAS = (0.9, 0.99)


class UpscalerTraining(Training):
    """Minimises the mean absolute error, and what a discriminator and feature maps say, if asked.

    The sum of losses is that of SRGAN (Ledig et al. 2017, equation 3); `relativistic` makes it
    ESRGAN's (Wang et al. 2018, equations 1 to 3).
    """

    config: UpscalerConfig
    any_size = True

    def __init__(self, config: UpscalerConfig, shape: Shape, labels: Sequence[str] = ()) -> None:
        super().__init__(config, shape, labels)
        check_multiple(shape, config.scale, "training pictures cannot be reduced by the scale")
        self._features = features(config.features) if config.perceptual else None

    def build(self) -> nn.Module:
        """Fresh networks."""
        return Upscalers(self.config, self.shape[0])

    def optimisers(self, module: nn.Module, options: TrainOptions) -> dict[str, Optimizer]:
        """One for the network, and one for the discriminator."""
        assert isinstance(module, Upscalers)
        found = {"main": optimiser(module.network, options, betas=BETAS)}
        if module.discriminator is not None:
            rate = self.config.discriminator_rate
            found["discriminator"] = optimiser(module.discriminator, options, rate, BETAS)
        return found

    def losses(self, module: nn.Module, batch: Tensors) -> dict[str, Tensor]:
        """The network's."""
        assert isinstance(module, Upscalers)
        high = batch.image
        return self._losses(module, module.network(self._small(high)).float(), high)

    def step(self, module: nn.Module, batch: Tensors, turn: Turn) -> dict[str, Tensor]:
        """One update of the network and, where there is one, one of the discriminator."""
        assert isinstance(module, Upscalers)
        high = batch.image
        module.network.settle()  # the weights it began with
        made = module.network(self._small(high)).float()
        report: dict[str, Tensor] = {}
        if module.discriminator is not None:
            real, fake = self._scores(module.discriminator, high, made.detach())
            loss = self._judged(real, fake)
            turn.update("discriminator", loss)
            report["loss_discriminator"] = loss.detach()
            report["accuracy_real"] = (real > fake.mean()).float().mean()
            report["accuracy_made"] = (fake < real.mean()).float().mean()
            with fixed(module.discriminator):
                losses = self._losses(module, made, high)
                turn.update("main", losses["loss"])
        else:
            losses = self._losses(module, made, high)
            turn.update("main", losses["loss"])
        module.network.settle()
        return {**losses, **report}

    def _losses(self, module: Upscalers, made: Tensor, high: Tensor) -> dict[str, Tensor]:
        config = self.config
        pixel = (made - high).abs().mean()
        loss = config.pixel * pixel
        report = {"pixel": pixel.detach(), "psnr": psnr(made.detach(), high).mean()}
        if config.checkerboard:
            pattern = checkerboard(made - high, config.scale)
            loss = loss + config.checkerboard * pattern
            report["checkerboard"] = pattern.detach()
        if config.dotted:
            lines = dotted(made, high, config.scale)
            loss = loss + config.dotted * lines
            report["dotted"] = lines.detach()
        if config.stray:
            detail = stray(made, high)
            loss = loss + config.stray * detail
            report["stray"] = detail.detach()
        if self._features is not None:
            seen = perceptual_distance(self._features.to(high.device), *moved(made, high))
            loss = loss + config.perceptual * seen
            report["perceptual"] = seen.detach()
        if module.discriminator is not None:
            real, fake = self._scores(module.discriminator, high, made)
            fooled = self._fooled(real.detach(), fake)
            loss = loss + config.adversarial * fooled
            report["adversarial"] = fooled.detach()
        return {"loss": loss, **report}

    def _scores(
        self, discriminator: nn.Module, high: Tensor, made: Tensor
    ) -> tuple[Tensor, Tensor]:
        pictures = torch.cat(moved(high, made.to(high.dtype)))
        real, fake = discriminator(pictures).float().chunk(2)
        return real, fake

    def _judged(self, real: Tensor, fake: Tensor) -> Tensor:
        """What the discriminator minimises."""
        if not self.config.relativistic:
            return functional.softplus(-real).mean() + functional.softplus(fake).mean()
        of_real, of_fake = real - fake.mean(), fake - real.mean()
        return (functional.softplus(-of_real).mean() + functional.softplus(of_fake).mean()) / 2

    def _fooled(self, real: Tensor, fake: Tensor) -> Tensor:
        """What the network minimises of its verdict."""
        if not self.config.relativistic:
            return functional.softplus(-fake).mean()
        of_real, of_fake = real - fake.mean(), fake - real.mean()
        return (functional.softplus(of_real).mean() + functional.softplus(-of_fake).mean()) / 2

    def _small(self, high: Tensor) -> Tensor:
        """Small pictures as they come, made of large ones."""
        reduce = reduced if self.config.degradation == "bicubic" else blindly_reduced
        return reduce(high, self.config.scale)

    def validate(
        self, module: nn.Module, samples: Samples, device: torch.device
    ) -> dict[str, float]:
        """Mean PSNR in dB over all colours, saved in 8 bits; and that of bicubic enlargement."""
        assert isinstance(module, Upscalers)
        plain, found = [], []
        for chunk in samples.chunks(CHUNK):
            high = whole(Tensors.of(chunk, device).image, self.config.scale)
            low = self._small(high)
            found.append(psnr(as_in_a_file(module.network(low).float()), high))
            plain.append(psnr(as_in_a_file(enlarged(low, self.config.scale)), high))
        return {
            "psnr_bicubic": float(torch.cat(plain).mean()),
            "psnr": float(torch.cat(found).mean()),
        }

    def preview(self, module: nn.Module, batch: Tensors) -> tuple[Tensor, int]:
        """A row for each of a few pictures: bicubic, the network's, the true one."""
        assert isinstance(module, Upscalers)
        high = whole(batch.image[:PREVIEW_PICTURES], self.config.scale)
        low = self._small(high)
        rows = torch.stack([enlarged(low, self.config.scale), module.network(low), high], dim=1)
        return rows.flatten(0, 1), 3

    def graphs(self, module: nn.Module) -> dict[str, Graph]:
        """`network`, free in batch, height and width."""
        assert isinstance(module, Upscalers)
        module.network.settle()  # an average of weights still has a little of those it began with
        axes = ("batch", self.shape[0], "height", "width")
        port = Port(axes=axes, range=(0.0, 1.0))
        inputs, outputs = {"image": port}, {"result": port}
        return {"network": Graph(module=module.network, inputs=inputs, outputs=outputs)}

    def card(self) -> dict[str, Any]:
        """The scale."""
        return {"scale": self.config.scale}


def moved(one: Tensor, other: Tensor) -> tuple[Tensor, Tensor]:
    """The same part of two pictures N×C×H×W, cut off at random.

    What looks at pictures in strides would treat places of one phase alike, always the same, and
    ask for patterns that repeat with them.
    """
    height, width = one.shape[2:]
    less = min(STRIDE, height // 2, width // 2)
    top, left = torch.randint(less, (2,)).tolist() if less else (0, 0)
    rows, columns = slice(top, top + height - less), slice(left, left + width - less)
    return one[:, :, rows, columns], other[:, :, rows, columns]


def enlarged(image: Tensor, scale: int) -> Tensor:
    """Bicubic enlargement, as Pillow's (a = −0.5), in [0, 1]."""
    size = [side * scale for side in image.shape[2:]]
    larger = functional.interpolate(
        image, size, mode="bicubic", antialias=True, align_corners=False
    )
    return larger.clamp(0, 1)
