"""Trainings that pause: what both sides of `benchmarks/pythae.py` have in common.

A training is a process that is given a plan. It says how many weights it has and waits. For each
line that it is sent it trains one slice of steps and says how long that took; after the last slice
it measures what it has learned, and ends. So two trainings can take turns on one machine.
"""

import json
import sys
import time
from dataclasses import dataclass
from pathlib import Path

import torch
from torch import nn
from torch.nn import functional

from genloom_train.data import Opening, Source
from genloom_train.data.fashion_mnist import FashionMnist
from genloom_train.randomness import seed_step
from genloom_train.training import Tensors
from genloom_vae import VaeConfig
from genloom_vae.training import VaeTraining

CHUNK = 500
"""Held-out pictures that are measured together."""
SAID = sys.stdout
"""Where the parent listens."""


@dataclass(frozen=True, kw_only=True)
class Plan:
    """What to train, and how.

    Attributes:
        data: folder of Fashion-MNIST's IDX files.
        model: options of genloom's VAE.
        size: steps in a slice.
        slices: how many there are.
        rate: learning rate of Adam.
        draws: of the posterior for each held-out picture.
        changes: what this training does otherwise: options of its tool.
    """

    data: str
    model: dict
    size: int
    slices: int
    batch: int
    rate: float
    threads: int
    seed: int = 0
    draws: int = 1
    changes: dict

    @classmethod
    def given(cls) -> "Plan":
        """The plan on the command line; takes its number of threads."""
        sys.stdout = sys.stderr
        plan = cls(**json.loads(sys.argv[1]))
        torch.set_num_threads(plan.threads)
        return plan

    def source(self) -> Source:
        """The pictures."""
        return FashionMnist().open(Opening(root=Path(self.data)))

    def training(self, source: Source) -> VaeTraining:
        """How genloom trains the model."""
        return VaeTraining(VaeConfig(**self.model), source.shape)

    def network(self, source: Source) -> nn.Module:
        """The network with the weights that every training of this plan begins with."""
        seed_step(self.seed, "weights")
        return self.training(source).build()


class Enough(Exception):
    """Raised out of a training after its last step."""


class Slices:
    """Counts steps and pauses after each slice.

    Args:
        plan: how many steps and slices.
        samples: pictures seen after so many steps.
    """

    def __init__(self, plan: Plan, samples) -> None:
        self.plan, self.samples, self.step, self.started = plan, samples, 0, 0.0

    def begin(self, module: nn.Module) -> None:
        """Tell the number of weights, and wait for the first turn."""
        say(parameters=sum(weight.numel() for weight in module.parameters()))
        self.wait()

    def step_done(self) -> None:
        """To be called after every step."""
        self.step += 1
        if self.step % self.plan.size == 0:
            seconds = time.perf_counter() - self.started
            seen = self.samples(self.step) - self.samples(self.step - self.plan.size)
            say(rate=seen / seconds)
            if self.step == self.plan.size * self.plan.slices:
                raise Enough
            self.wait()

    def wait(self) -> None:
        """Pause until the parent sends a line; end if there is no parent any more."""
        if not sys.stdin.readline():
            raise SystemExit
        self.started = time.perf_counter()


def say(**values: float) -> None:
    print(json.dumps(values), file=SAID, flush=True)


@torch.no_grad()
def negative_elbo(vae: nn.Module, source: Source, draws: int) -> float:
    """−ELBO of the held-out pictures in nats, Bernoulli with grey values as targets.

    Written out here, so that it is the same for both tools and owes nothing to either's loss.
    """
    vae.eval()
    torch.manual_seed(0)
    image, total = Tensors.of(source.held_out()).image, 0.0
    for part in image.split(CHUNK):
        mean, log_variance = vae.encode(part)
        total += float(0.5 * (mean.square() + log_variance.exp() - 1 - log_variance).sum())
        for _ in range(draws):
            logits = vae.decode(mean + (0.5 * log_variance).exp() * torch.randn_like(mean))
            cost = functional.binary_cross_entropy_with_logits(logits, part, reduction="sum")
            total += float(cost) / draws
    return total / len(image)
