"""The loop: one for every family, on Lightning Fabric."""

from __future__ import annotations

import copy
import threading
import time
from collections.abc import Mapping
from contextlib import closing
from pathlib import Path
from typing import Any

import torch
from lightning_fabric import Fabric
from torch import Tensor, nn

from genloom.errors import GenloomError
from genloom.models import Bundle
from genloom.types import Array
from genloom_train import checkpoint
from genloom_train.batches import batches_of
from genloom_train.beginning import begin_with
from genloom_train.checkpoint import Checkpoint
from genloom_train.data import Samples, Source
from genloom_train.devices import Peers, compile_forward
from genloom_train.metrics import Metrics
from genloom_train.options import TrainOptions
from genloom_train.parts import Part
from genloom_train.progress import Progress
from genloom_train.randomness import seed_step
from genloom_train.report import Report
from genloom_train.state import follow, restore, state_of, unmoved
from genloom_train.stopping import Flag, Interrupted
from genloom_train.training import Tensors, Training
from genloom_train.watch import Watch

__all__ = ["Interrupted", "Trainer", "seed_step"]

PREVIEW = 64
"""Held-out samples a preview is given at most."""


class Trainer:
    """Weights, optimisers and averages of one training, and the steps that change them.

    Everything random is seeded from (seed, step), the learning rate is a function of the step,
    and so is each batch: the state is what a checkpoint holds, and nothing else.

    Attributes:
        smooth: the module that is validated: the average of weights where there is one.
        figures: of the last validation.
        parts: starts and resumes with their steps and devices.
        began: name and digest of the bundle whose weights it began with, if any.
        stopping: set it to end after the current step, with a checkpoint.
    """

    def __init__(
        self,
        training: Training,
        source: Source,
        options: TrainOptions,
        fabric: Fabric,
        out: Path,
        start: Bundle | None = None,
    ) -> None:
        self.training, self.source, self.options = training, source, options
        self.fabric, self.out = fabric, out
        self.peers, self.watch = Peers(fabric), Watch(options)
        self.steps = options.steps_for(source.count)
        self.step, self.seconds = 0, 0.0
        self.parts = [Part(0, self.steps, self.peers.count)]
        self.figures: dict[str, float] = {}
        self.stopping: Flag = threading.Event()
        seed_step(options.seed, "weights")
        module: nn.Module = training.build()
        if start is not None:
            begin_with(training, module, start)
        module = fabric.to_device(module)
        if options.channels_last:
            module = module.to(memory_format=torch.channels_last)
        raw = training.optimisers(module, options)
        self.rates = {name: [group["lr"] for group in o.param_groups] for name, o in raw.items()}
        self.module = module
        self.began = "" if start is None else f"{start.card.name} {start.digest}"
        self.optimisers: dict[str, Any] = {
            name: fabric.setup_optimizers(optimiser) for name, optimiser in raw.items()
        }
        self.average = copy.deepcopy(module).requires_grad_(False) if options.ema else None
        self._unmoved = unmoved(module, raw.values())
        if options.compile:
            compile_forward(module, fabric.device)

    @property
    def smooth(self) -> nn.Module:
        """The module to look at: the average where there is one."""
        return self.module if self.average is None else self.average

    @property
    def best(self) -> nn.Module:
        """The module to export: the weights that were kept, else the last ones."""
        if self.watch.weights is None:
            return self.smooth
        module = copy.deepcopy(self.smooth)
        module.load_state_dict(self.watch.weights)
        return module

    @property
    def finished(self) -> bool:
        """Whether the last step is done, or training has ended before it."""
        return self.step >= self.steps or self.watch.over

    def run(self, metrics: Metrics | None, progress: Progress | None) -> dict[str, float]:
        """Train to the last step; gives the figures of the final validation.

        Of several processes only the first has metrics and a progress to show.

        Raises:
            Interrupted: after a checkpoint, when `stopping` was set.
            UnknownName: when there is no figure of the name to watch.
            GenloomError: when the loss or the weights are not finite any more.
        """
        if self.watch and not self.finished:
            self.watch.check(self.validate(self.held_out().spread(PREVIEW)))
        report = Report(metrics, progress)
        with closing(batches_of(self)) as batches:
            while not self.finished:
                started = time.perf_counter()
                losses = self.advance(next(batches))
                self.seconds += time.perf_counter() - started
                if self._now(self.options.log_every):
                    self._log(losses, report)
                if self._now(self.options.validate_every):
                    self._examine(report)
                stopping = self.peers.any(self.stopping.is_set())
                self._write(stopping)
                if stopping and not self.finished:
                    raise Interrupted(self.step)
        return self.figures

    def _now(self, every: int) -> bool:
        """Whether something is done after this step that is done every so many."""
        return self.finished or self.step % every == 0

    def _write(self, stopping: bool) -> None:
        """Write a preview and a checkpoint where it is time for them."""
        if not self.peers.first:
            return
        if self._now(self.options.sample_every):
            self.preview()
        if stopping or self._now(self.options.checkpoint_every):
            self.save()

    def advance(self, batch: Tensors) -> dict[str, Tensor]:
        """One training step."""
        factor = self.options.rate(self.step, self.steps)
        for name, optimiser in self.optimisers.items():
            for group, rate in zip(optimiser.param_groups, self.rates[name], strict=True):
                group["lr"] = rate * factor
        seed_step(self.options.seed, self.step, self.peers.rank)
        self.module.train()
        with self.fabric.autocast():
            losses = self.training.step(self.module, batch, self)
        self.step += 1
        self.peers.average(self._unmoved)
        if self.average is not None:
            follow(self.average, self.module, self.options.ema, self.step)
        return losses

    def update(self, name: str, loss: Tensor) -> None:
        """One update of the optimiser `name`: zero gradients, back-propagate, clip, step.

        Of several processes, each takes the mean of all their gradients.
        """
        if not torch.isfinite(loss):
            raise self._not_finite(f"the loss of '{name}' is {loss.item()}")
        optimiser = self.optimisers[name]
        optimiser.zero_grad()
        self.fabric.backward(loss)
        weights = [weight for group in optimiser.param_groups for weight in group["params"]]
        self.peers.average([weight.grad for weight in weights if weight.grad is not None])
        if self.options.clip is not None:
            self.fabric.clip_gradients(
                self.module, optimiser, max_norm=self.options.clip, error_if_nonfinite=False
            )
        optimiser.step()

    def _not_finite(self, what: str) -> GenloomError:
        kept = checkpoint.found(self.out / "checkpoints")
        begun = f"The checkpoint of step {kept[-1].name[5:].lstrip('0')} is whole. " if kept else ""
        return GenloomError(
            f"training came apart at step {self.step + 1}: {what}",
            expected="a finite number",
            hint=f"{begun}Lower train.learning_rate, set train.clip, or raise train.warmup",
        )

    def _log(self, losses: Mapping[str, Tensor], report: Report) -> None:
        """Report the losses of a step, their means over all processes."""
        scalars = torch.stack([value.detach().float().reshape(()) for value in losses.values()])
        self.peers.average([scalars])
        values = dict(zip(losses, scalars.tolist(), strict=True))
        rate = self.options.rate(self.step - 1, self.steps) * self.options.learning_rate
        report.step(self.step, self.seconds, values, rate)

    def _examine(self, report: Report) -> None:
        """Validate in the first process; all of them hear how it went."""
        figures = self.validate() if self.peers.first else {}
        self.figures = self.peers.from_first(figures)
        self.watch.see(self.step, self.figures, self.smooth)
        report.figures(self.step, self.seconds, self.figures)
        for concern in self.training.concerns(self.figures):
            report.say(f"warning: {concern}")
        if self.watch.over:
            report.say(f"no better '{self.options.watch}' since step {self.watch.step}: over")

    @torch.no_grad()
    def validate(self, samples: Samples | None = None) -> dict[str, float]:
        """Figures on the held-out samples, or on some of them."""
        seed_step(self.options.seed, "validate")
        samples = self.held_out() if samples is None else samples
        return self.training.validate(self.smooth.eval(), samples, self.fabric.device)

    @torch.no_grad()
    def tensors(self) -> dict[str, Array]:
        """The arrays that go into the bundle beside the graphs."""
        seed_step(self.options.seed, "tensors")
        return self.training.tensors(self.best.eval(), self.source, self.fabric.device)

    def held_out(self) -> Samples:
        """The samples to validate on."""
        return self.source.held_out(self.training.any_size)

    @torch.no_grad()
    def preview(self) -> None:
        """Write `samples/step-….png`."""
        from torchvision.utils import save_image  # type: ignore[import-untyped]

        seed_step(self.options.seed, "preview")
        samples = self.held_out().spread(PREVIEW)
        batch = Tensors.of(samples, self.fabric.device)
        pictures, row = self.training.preview(self.smooth.eval(), batch)
        folder = self.out / "samples"
        folder.mkdir(exist_ok=True)
        save_image(pictures.clamp(0, 1), folder / f"step-{self.step:08d}.png", nrow=row)

    def save(self) -> None:
        """Write a checkpoint, unless something in it is ruined."""
        state = state_of(self)
        for name in state.tensors:
            if not checkpoint.finite(state.tensors[name]):
                raise self._not_finite(f"not all numbers of '{name}' are finite")
        checkpoint.save(state, self.out / "checkpoints")

    def restore(self, saved: Checkpoint) -> None:
        """Go on from a checkpoint.

        Raises:
            GenloomError: when it is of another network, or further than the last step.
        """
        if saved.step > self.steps:
            raise GenloomError(
                "the training is further than it should go",
                expected=f"train.steps of at least {saved.step}, the step of its checkpoint",
                got=str(self.steps),
                hint=f"--set train.steps={saved.step} exports it as it is; for a shorter training "
                "begin a new one in another folder with -o",
            )
        try:
            restore(self, saved)
        except (KeyError, RuntimeError, ValueError) as error:
            raise GenloomError(
                f"the checkpoint of step {saved.step} does not fit this network ({error})",
                hint="The family's code has changed since; begin again in another folder",
            ) from error
