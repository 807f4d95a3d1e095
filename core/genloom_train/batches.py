"""The batches of a training as tensors on its device, each prepared in time."""

from __future__ import annotations

from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from typing import TYPE_CHECKING

import torch

from genloom_train.training import Tensors

if TYPE_CHECKING:
    from genloom_train.loop import Trainer


def batches_of(trainer: Trainer, pool: ThreadPoolExecutor) -> Iterator[Tensors]:
    """Batches from the current step on, each prepared while the one before is trained on.

    Of several processes, each gets its part.
    """
    size, seed = trainer.options.batch, trainer.options.seed
    future = pool.submit(trainer.source.batch, trainer.step, size, seed)
    for step in range(trainer.step + 1, trainer.steps + 1):
        samples = trainer.peers.share(future.result())
        if step < trainer.steps:
            future = pool.submit(trainer.source.batch, step, size, seed)
        batch = Tensors.of(samples, trainer.fabric.device)
        if trainer.options.channels_last:
            image = batch.image.contiguous(memory_format=torch.channels_last)
            batch = replace(batch, image=image)
        yield batch
