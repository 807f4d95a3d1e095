"""The training side of a family of models: what differs from family to family, and nothing else.

A family derives from `Training` and says how its network is built, what its loss is and which
graphs it exports. Data, optimisers' schedules, averaging, checkpoints, metrics and export are the
hall's. A family with alternating optimisers (GANs) overrides `optimisers` and `step`.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, ClassVar, Protocol

import torch
from torch import Tensor, nn
from torch.optim import Optimizer

from genloom.card import Port
from genloom.errors import GenloomError
from genloom.types import Array
from genloom_train.data import Samples, Source
from genloom_train.options import TrainOptions

if TYPE_CHECKING:
    from genloom_train.devices import Peers  # Fabric, which importing weights does without

Shape = tuple[int, int, int]


@dataclass(frozen=True)
class Tensors:
    """A batch on the device.

    Attributes:
        image: float32, N×C×H×W in [0, 1].
        label: int64, (N,), where the data has labels.
        others: other pictures of the same things by name, N×C'×H×W, where the data has such.
    """

    image: Tensor
    label: Tensor | None = None
    others: Mapping[str, Tensor] = field(default_factory=dict)

    @classmethod
    def of(cls, samples: Samples, device: torch.device | str = "cpu") -> Tensors:
        """Samples of a data set as tensors on a device."""
        label = None if samples.label is None else torch.from_numpy(samples.label).to(device)
        others = {name: torch.from_numpy(v).to(device) for name, v in samples.others.items()}
        return cls(torch.from_numpy(samples.image).to(device), label, others)

    def __len__(self) -> int:
        return len(self.image)


@dataclass(frozen=True, kw_only=True)
class Graph:
    """One ONNX graph of a bundle.

    Attributes:
        module: its `forward` takes the inputs in order, gives the outputs as a tensor or a tuple,
            and draws no random numbers.
        inputs: the ports; a text among the axes is a free axis (`batch`, `height`, `width`).
        outputs: the same.
        ties: where the module chooses, as the nearest entry of a codebook: a function of the inputs
            that says of each sample, (N,) bool, whether a choice is so close that rounding may
            decide it otherwise. There ONNX and torch may differ, and it is counted.
    """

    module: nn.Module
    inputs: Mapping[str, Port]
    outputs: Mapping[str, Port]
    ties: Callable[..., Tensor] | None = None


class Turn(Protocol):
    """What a training step is given besides module and batch.

    Attributes:
        step: steps done, of `steps`.
        peers: the processes that train together, each on its part of the batch; for what a step
            works out of the whole batch other than gradients.
    """

    step: int
    steps: int
    peers: Peers

    def update(self, name: str, loss: Tensor) -> None:
        """One update of the optimiser `name`: zero gradients, back-propagate, clip, step."""
        ...


class Training(ABC):
    """How one model of a family is trained.

    Args:
        config: an instance of the backend's `config`.
        shape: channels, height and width of a training sample.
        labels: names of the classes, where the data has labels.

    Random numbers of every kind come from torch's global generator, which the hall seeds from
    (seed, step) before each step; that is what makes a resumed training exact. Steps run under
    autocast: with a precision below 32 bits a network's outputs may be bfloat16, so bring them to
    `.float()` before sums.
    """

    any_size: ClassVar[bool] = False
    """Whether validation pictures may be larger than the training samples."""

    def __init__(self, config: Any, shape: Shape, labels: Sequence[str] = ()) -> None:
        self.config, self.shape, self.labels = config, shape, tuple(labels)

    @abstractmethod
    def build(self) -> nn.Module:
        """The network, freshly initialised. Its `forward` is what `losses` calls."""

    @abstractmethod
    def losses(self, module: nn.Module, batch: Tensors) -> dict[str, Tensor]:
        """Named scalars to report; the one called `loss` is minimised."""

    @abstractmethod
    def graphs(self, module: nn.Module) -> dict[str, Graph]:
        """The graphs of the bundle by part."""

    @abstractmethod
    def validate(
        self, module: nn.Module, samples: Samples, device: torch.device
    ) -> dict[str, float]:
        """Figures of quality on held-out samples, without gradients; the same at every call."""

    @abstractmethod
    def preview(self, module: nn.Module, batch: Tensors) -> tuple[Tensor, int]:
        """Pictures that show how training goes, N×C×H×W in [0, 1], and how many make a row."""

    def optimisers(self, module: nn.Module, options: TrainOptions) -> dict[str, Optimizer]:
        """The optimisers by name; one over all parameters unless the family needs more."""
        return {"main": optimiser(module, options)}

    def step(self, module: nn.Module, batch: Tensors, turn: Turn) -> dict[str, Tensor]:
        """One training step: loss and update; gives the scalars to report."""
        losses = self.losses(module, batch)
        turn.update("main", losses["loss"])
        return losses

    def card(self) -> dict[str, Any]:
        """Fields of the card that only the family knows: `size`, `latent`, `scale`."""
        return {}

    def concerns(self, figures: Mapping[str, float]) -> Sequence[str]:
        """What the figures of a validation say is going wrong, each a line to warn with."""
        return ()

    def tensors(self, module: nn.Module, source: Source, device: torch.device) -> dict[str, Array]:
        """Arrays for the bundle that are computed once the network is trained, from its data.

        A density fitted to latents, say, or the mean latent of each class; none unless the family
        says so. Must not depend on anything but the module, the data and torch's seed.
        """
        return {}


def optimiser(
    module: nn.Module,
    options: TrainOptions,
    scale: float = 1.0,
    betas: tuple[float, float] = (0.9, 0.999),
) -> Optimizer:
    """The recipe's optimiser over the parameters of a module, at `scale` times its rate."""
    rate, parameters = options.learning_rate * scale, module.parameters()
    # A fused optimiser undoes the scaling of 16-bit losses by itself, too late for clipping.
    fused = options.precision != "16-mixed"
    if options.optimiser == "adamw":
        decay = options.weight_decay
        return torch.optim.AdamW(parameters, rate, betas, weight_decay=decay, fused=fused)
    return torch.optim.Adam(parameters, rate, betas, fused=fused)


def check_multiple(shape: Shape, multiple: int, what: str) -> None:
    """Whether height and width of the training's pictures are multiples of a number.

    Args:
        shape: channels, height and width.
        multiple: the number.
        what: what goes wrong where they are not, for the message.

    Raises:
        GenloomError: when they are not.
    """
    height, width = shape[1:]
    if height % multiple or width % multiple:
        raise GenloomError(
            what, expected=f"'data.crop' a multiple of {multiple}", got=f"{width}×{height}"
        )


def whole(image: Tensor, multiple: int) -> Tensor:
    """Pictures N×C×H×W without the rows and columns beyond the last multiple of a number."""
    height, width = (side - side % multiple for side in image.shape[2:])
    return image[:, :, :height, :width]


@contextmanager
def fixed(module: nn.Module) -> Iterator[None]:
    """A time in which a network is not trained: gradients go through it and leave none in it."""
    module.requires_grad_(False)
    try:
        yield
    finally:
        module.requires_grad_(True)
