"""How adversarial networks are trained: two optimisers that take turns, and signs of health."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn.functional import one_hot
from torch.optim import Optimizer

from genloom.card import Port, SizeRule
from genloom.errors import GenloomError
from genloom_gan import GanConfig
from genloom_gan.diversity import concerns, diversity, least_covered
from genloom_gan.losses import discriminator_loss, generator_loss, gradient_penalty
from genloom_gan.network import Adversaries
from genloom_train.data import Samples
from genloom_train.options import TrainOptions
from genloom_train.training import Graph, Shape, Tensors, Training, Turn, fixed, optimiser

ROW = 8
ROWS_MOST = 20
CHUNK = 250
COMPARED = 1000
"""Made and real pictures that a validation compares."""


class GanTraining(Training):
    """A step updates the discriminator, and every `critic_steps`th the generator too."""

    config: GanConfig

    def __init__(self, config: GanConfig, shape: Shape, labels: Sequence[str] = ()) -> None:
        super().__init__(config, shape, labels)
        if config.conditional and len(labels) < 2:
            raise GenloomError(
                "'model.conditional' needs to know the classes of the pictures",
                expected="a data set with two labels or more",
                got=f"{len(labels)}",
            )

    @property
    def classes(self) -> int:
        """How many classes the networks are told of."""
        return len(self.labels) if self.config.conditional else 0

    def build(self) -> nn.Module:
        """Both networks, fresh."""
        return Adversaries(self.config, self.shape, self.classes)

    def optimisers(self, module: nn.Module, options: TrainOptions) -> dict[str, Optimizer]:
        """One for each network."""
        assert isinstance(module, Adversaries)
        betas, rate = self.config.betas, self.config.discriminator_rate
        return {
            "generator": optimiser(module.generator, options, betas=betas),
            "discriminator": optimiser(module.discriminator, options, rate, betas=betas),
        }

    def losses(self, module: nn.Module, batch: Tensors) -> dict[str, Tensor]:
        """Both players' losses; a game has no single one that is minimised."""
        assert isinstance(module, Adversaries)
        label = self._told(batch.label)
        made = self._made(module, len(batch), label)
        judged, report = self._judged(module, batch.image, made, label)
        report["loss_generator"] = self._fooled(module, made, label).detach()
        return {"loss_discriminator": judged.detach(), **report}

    def step(self, module: nn.Module, batch: Tensors, turn: Turn) -> dict[str, Tensor]:
        """One update of the discriminator and, when it is its turn, one of the generator.

        Both see the same made pictures. The generator's turns are the steps whose number, counted
        from 1, is a multiple of `critic_steps`, so that lines of metrics fall on them.
        """
        assert isinstance(module, Adversaries)
        label = self._told(batch.label)
        both = (turn.step + 1) % self.config.turns == 0
        with torch.set_grad_enabled(both):
            made = self._made(module, len(batch), label)
        loss, report = self._judged(module, batch.image, made, label)
        turn.update("discriminator", loss)
        report = {"loss_discriminator": loss.detach(), **report}
        report["gradient_discriminator"] = gradient_norm(module.discriminator)
        if both:
            with fixed(module.discriminator):
                loss = self._fooled(module, made, label)
                turn.update("generator", loss)
            report["loss_generator"] = loss.detach()
            report["gradient_generator"] = gradient_norm(module.generator)
        return report

    def _told(self, label: Tensor | None) -> Tensor | None:
        """What the networks are told of the classes, N×classes."""
        if not self.classes or label is None:
            return None
        return one_hot(label, self.classes).float()

    def _made(self, module: Adversaries, count: int, label: Tensor | None) -> Tensor:
        """Pictures of random latents."""
        device = next(module.parameters()).device
        latent = torch.randn(count, self.config.latent, device=device)
        image: Tensor = module.generator(latent, label)
        return image

    def _judged(
        self, module: Adversaries, real: Tensor, made: Tensor, label: Tensor | None
    ) -> tuple[Tensor, dict[str, Tensor]]:
        """The discriminator's loss, and how well it tells real pictures from made ones."""
        made = made.detach().to(real.dtype)
        twice = None if label is None else label.repeat(2, 1)
        scores = module.discriminator(torch.cat([real, made]), twice).float()
        of_real, of_made = scores.chunk(2)
        loss = discriminator_loss(self.config.loss, of_real, of_made)
        middle = scores.detach().mean() if self.config.loss == "wasserstein" else 0.0
        report = {
            "accuracy_real": (of_real > middle).float().mean(),
            "accuracy_made": (of_made < middle).float().mean(),
        }
        if self.config.penalty and torch.is_grad_enabled():
            with torch.autocast(real.device.type, enabled=False):
                penalty = gradient_penalty(lambda x: module.discriminator(x, label), real, made)
            loss = loss + self.config.penalty * penalty
            report["penalty"] = penalty.detach()
        return loss, report

    def _fooled(self, module: Adversaries, made: Tensor, label: Tensor | None) -> Tensor:
        """The generator's loss."""
        return generator_loss(self.config.loss, module.discriminator(made, label).float())

    def validate(
        self, module: nn.Module, samples: Samples, device: torch.device
    ) -> dict[str, float]:
        """How varied samples are beside as many held-out pictures, and which class they miss."""
        assert isinstance(module, Adversaries)
        compared = samples.spread(COMPARED)
        if len(compared) < 2:
            return {}
        real = Tensors.of(compared, device)
        chunks = [Tensors.of(chunk, device) for chunk in compared.chunks(CHUNK)]
        made = torch.cat([self._made(module, len(one), self._told(one.label)) for one in chunks])
        figures = diversity(made, real.image)
        if real.label is not None:
            figures["least_covered"] = least_covered(made, real.image, real.label)
        return figures

    def concerns(self, figures: Mapping[str, float]) -> list[str]:
        """What shows that the generator collapses."""
        return concerns(figures)

    def preview(self, module: nn.Module, batch: Tensors) -> tuple[Tensor, int]:
        """Samples of the same latents every time; one row for each class, where it is told."""
        assert isinstance(module, Adversaries)
        if not self.classes:
            return self._made(module, ROW * ROW, None), ROW
        rows = min(self.classes, ROWS_MOST)
        latent = torch.randn(ROW, self.config.latent, device=batch.image.device).repeat(rows, 1)
        label = torch.arange(rows, device=latent.device).repeat_interleave(ROW)
        image: Tensor = module.generator(latent, self._told(label))
        return image, ROW

    def graphs(self, module: nn.Module) -> dict[str, Graph]:
        """`generator`, free in the batch."""
        assert isinstance(module, Adversaries)
        inputs = {"latent": Port(axes=("batch", self.config.latent))}
        if self.classes:
            inputs["label"] = Port(axes=("batch", self.classes), range=(0.0, 1.0))
        image = Port(axes=("batch", *self.shape), range=(0.0, 1.0))
        graph = Graph(module=module.generator, inputs=inputs, outputs={"image": image})
        return {"generator": graph}

    def card(self) -> dict[str, Any]:
        """The latent's shape and the one size of pictures."""
        return {"latent": (self.config.latent,), "size": SizeRule(fixed=self.shape[1:])}


def gradient_norm(module: nn.Module) -> Tensor:
    """The length of the gradient that the last update went along; after clipping, if any."""
    gradients = [p.grad for p in module.parameters() if p.grad is not None]
    return torch.nn.utils.get_total_norm(gradients)
