"""The state of a training: what a checkpoint holds, and what changes besides optimised weights."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import asdict
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor, nn
from torch.optim import Optimizer

from genloom_train import checkpoint
from genloom_train.checkpoint import Checkpoint
from genloom_train.parts import Part, gone_on

if TYPE_CHECKING:
    from genloom_train.loop import Trainer


def state_of(trainer: Trainer) -> Checkpoint:
    """Everything a training needs to go on."""
    tensors = {"weights": trainer.module.state_dict()}
    if trainer.average is not None:
        tensors["average"] = trainer.average.state_dict()
    scalars: dict[str, Any] = {}
    for name, optimiser in trainer.optimisers.items():
        state, scalars[name] = checkpoint.split_optimiser(optimiser)
        tensors[f"optimiser-{name}"] = state
    kept, watched = trainer.watch.save()
    said = {
        "seconds": trainer.seconds,
        "optimisers": scalars,
        "figures": trainer.figures,
        "parts": [asdict(part) for part in trainer.parts],
        "began": trainer.began,
        "watch": watched,
        "precision": trainer.fabric.strategy.precision.state_dict(),
    }
    return Checkpoint(trainer.step, {**tensors, **kept}, said)


def restore(trainer: Trainer, saved: Checkpoint) -> None:
    """Give a trainer the state that `state_of` took.

    Raises:
        KeyError: when something is missing; `RuntimeError` and `ValueError` when it does not fit.
    """
    trainer.step, trainer.seconds = saved.step, float(saved.scalars["seconds"])
    trainer.figures = saved.scalars.get("figures", {})
    trainer.began = saved.scalars.get("began", "")
    now = Part(saved.step, trainer.steps, trainer.peers.count)
    # Checkpoints of an older genloom do not say how they were begun: as now, then.
    said = saved.scalars.get("parts") or [asdict(now) | {"begin": 0}]
    trainer.parts = gone_on([Part(**part) for part in said], now)
    trainer.watch.restore(saved)
    trainer.fabric.strategy.precision.load_state_dict(saved.scalars.get("precision", {}))
    trainer.module.load_state_dict(saved.tensors["weights"])
    if trainer.average is not None:
        trainer.average.load_state_dict(saved.tensors["average"])
    for name, optimiser in trainer.optimisers.items():
        tensors = saved.tensors.get(f"optimiser-{name}", {})
        scalars = saved.scalars["optimisers"][name]
        checkpoint.join_optimiser(getattr(optimiser, "optimizer", optimiser), tensors, scalars)


def unmoved(module: nn.Module, optimisers: Iterable[Optimizer]) -> list[Tensor]:
    """What no optimiser moves, but a step may: running statistics, a codebook, frozen weights."""
    moved = {id(w) for o in optimisers for group in o.param_groups for w in group["params"]}
    tensors = [*module.parameters(), *module.buffers()]
    return [t for t in tensors if t.is_floating_point() and id(t) not in moved]


@torch.no_grad()
def follow(average: nn.Module, module: nn.Module, decay: float, step: int) -> None:
    """Move an average of weights; it forgets faster in the first steps. Buffers are copied."""
    decay = min(decay, (1 + step) / (10 + step))
    for parameter, newer in zip(average.parameters(), module.parameters(), strict=True):
        parameter.lerp_(newer, 1 - decay)
    for buffer, newest in zip(average.buffers(), module.buffers(), strict=True):
        buffer.copy_(newest)
