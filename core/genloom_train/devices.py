"""Where a training runs: the device, and what the processes of several devices do together.

Fabric's DDP joins the processes. A family is given its bare module, so gradients are averaged in
`Trainer.update` rather than by a wrapper; averaged too is what no optimiser moves, as running
statistics. So all processes hold the same weights after every step. What an average would spoil,
as the codebook of a VQ-VAE, a family works out of the whole batch, see `Peers.gather`.
"""

from __future__ import annotations

import logging
import os
import shutil
import sys
from collections.abc import Iterable
from datetime import timedelta
from itertools import groupby
from typing import Any, TypeVar

import torch
from lightning_fabric import Fabric
from lightning_fabric.plugins.environments.lightning import LightningEnvironment
from lightning_fabric.strategies.ddp import DDPStrategy
from torch import Tensor, nn

from genloom.errors import GenloomError, MissingRequirement
from genloom_train.data import Samples

T = TypeVar("T")

LONGEST_WAIT = timedelta(hours=12)
"""For each other. Whether a process has died is not found out by waiting, see `processes`."""


def accelerator(device: str, count: int = 1) -> str:
    """`cpu` or `cuda`, for `auto` what there is.

    Raises:
        MissingRequirement: when there are too few.
    """
    present = torch.cuda.device_count() if torch.cuda.is_available() else 0
    if device == "auto":
        device = "cuda" if present else "cpu"
    if device == "cuda" and not present:
        raise MissingRequirement(
            "the device 'cuda' was asked for and torch finds none",
            hint="Train with --device cpu, or install a build of torch for this GPU",
        )
    if device == "cuda" and present < count:
        raise MissingRequirement(
            f"{count} devices were asked for and torch finds {present}",
            hint=f"Train with --devices {present}",
        )
    return device


def fabric(device: str, precision: Any, count: int = 1) -> Fabric:
    """Fabric on one device, or on this process's one of `count`, in a process of `processes`."""
    where = accelerator(device, count)
    logging.getLogger("lightning_fabric").setLevel(logging.WARNING)
    torch.backends.cudnn.benchmark = where == "cuda"  # batches of one shape: search once
    # Named, lest Fabric takes a cluster's environment for a wish to use it.
    plugins: list[Any] = [LightningEnvironment()]
    if count == 1:
        return Fabric(accelerator=where, devices=1, precision=precision, plugins=plugins)
    strategy = DDPStrategy(timeout=LONGEST_WAIT)
    made = Fabric(
        accelerator=where, devices=count, strategy=strategy, precision=precision, plugins=plugins
    )
    made.launch()
    return made


def check_split(batch: int, count: int) -> None:
    """Check that each device gets as many pictures of a batch as every other.

    Raises:
        GenloomError: with the nearest batches that can be split.
    """
    if batch % count:
        low = batch - batch % count
        near = f"{low} or {low + count}" if low else str(count)
        raise GenloomError(
            "a batch is split evenly among the devices",
            expected=f"train.batch to be a multiple of {count}",
            got=str(batch),
            hint=f"--set train.batch={near.split()[0]}, or another number of --devices",
        )


def compile_forward(module: nn.Module, device: torch.device) -> None:
    """Compile what a module computes, or what its parts do where it is only their container.

    Copies of the module (the average of weights, what is exported) stay as they were.

    Raises:
        MissingRequirement: when there is no compiler.
    """
    compiler = os.environ.get("CXX", "clang++" if sys.platform == "darwin" else "g++")
    if device.type == "cpu" and shutil.which(compiler) is None:
        raise MissingRequirement(
            f"'train.compile' needs a C++ compiler on a CPU, and there is no '{compiler}'",
            hint="Install one, or train with --set train.compile=false",
        )
    container = isinstance(module, nn.ModuleDict | nn.ModuleList)
    for part in module.children() if container else [module]:
        part.compile()


class Peers:
    """The processes of one training, of which this is one.

    Attributes:
        rank: of this process, from 0.
        count: how many there are.
    """

    def __init__(self, fabric: Fabric) -> None:
        self.rank, self.count = fabric.global_rank, fabric.world_size
        self._fabric = fabric

    @property
    def first(self) -> bool:
        """Whether this is the process that validates, writes and shows."""
        return self.rank == 0

    def share(self, samples: Samples) -> Samples:
        """This process's part of a batch: the `rank`-th of `count` equal ones."""
        if self.count == 1:
            return samples
        size = len(samples) // self.count
        return samples.chosen(slice(self.rank * size, (self.rank + 1) * size))

    @torch.no_grad()
    def average(self, tensors: Iterable[Tensor]) -> None:
        """Give tensors their mean over all processes, in place and in one piece for each type."""
        if self.count == 1:
            return
        for _, group in groupby(sorted(tensors, key=_type), key=_type):
            members = list(group)
            flat = torch.cat([member.reshape(-1) for member in members])
            torch.distributed.all_reduce(flat)
            flat /= self.count
            parts = torch.split(flat, [member.numel() for member in members])
            for member, part in zip(members, parts, strict=True):
                member.copy_(part.view_as(member))

    @torch.no_grad()
    def gather(self, tensor: Tensor) -> Tensor:
        """The rows of all processes, each with as many, in the order of their ranks."""
        if self.count == 1:
            return tensor
        parts = [torch.empty_like(tensor).contiguous() for _ in range(self.count)]
        torch.distributed.all_gather(parts, tensor.contiguous())
        return torch.cat(parts)

    def any(self, flag: bool) -> bool:
        """Whether any process says so."""
        if self.count == 1:
            return flag
        said = torch.tensor(float(flag), device=self._fabric.device)
        torch.distributed.all_reduce(said, torch.distributed.ReduceOp.MAX)
        return bool(said)

    def from_first(self, value: T) -> T:
        """What the first process has."""
        return value if self.count == 1 else self._fabric.broadcast(value)

    def part(self) -> None:
        """Say goodbye: nothing is done together any more."""
        if self.count > 1:
            torch.distributed.destroy_process_group()


def _type(tensor: Tensor) -> str:
    return str(tensor.dtype)
