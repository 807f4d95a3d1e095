"""The batches of a training as tensors on its device, each prepared in time."""

from __future__ import annotations

from collections import deque
from collections.abc import Generator, Iterable
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import replace
from itertools import islice
from typing import TYPE_CHECKING

import torch

from genloom.machine import cores
from genloom_train.data import Samples, Source
from genloom_train.training import Tensors

if TYPE_CHECKING:
    from genloom_train.loop import Trainer

MOST_AHEAD = 8
"""Batches that are prepared at once for a GPU, at most; a CPU that trains has no time for more than
the next one."""


def batches_of(trainer: Trainer) -> Generator[Tensors, None, None]:
    """Batches from the current step on; of several processes, each gets its part."""
    options, device = trainer.options, trainer.fabric.device
    free = (cores() - 1) // trainer.peers.count
    ahead = 1 if device.type == "cpu" else max(1, min(MOST_AHEAD, free))
    steps = range(trainer.step, trainer.steps)
    for samples in prepared(trainer.source, steps, options.batch, options.seed, ahead):
        batch = Tensors.of(trainer.peers.share(samples), device)
        if options.channels_last:
            image = batch.image.contiguous(memory_format=torch.channels_last)
            batch = replace(batch, image=image)
        yield batch


def prepared(
    source: Source, steps: Iterable[int], size: int, seed: int, ahead: int
) -> Generator[Samples, None, None]:
    """The batches of these steps in order, the next `ahead` of them in the making."""
    left = iter(steps)
    with ThreadPoolExecutor(ahead) as pool:

        def asked(count: int) -> Iterable[Future[Samples]]:
            return (pool.submit(source.batch, step, size, seed) for step in islice(left, count))

        coming = deque(asked(ahead))
        while coming:
            samples = coming.popleft().result()
            coming.extend(asked(1))
            yield samples
