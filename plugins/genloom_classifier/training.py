"""How classifiers are trained: cross entropy, on pictures that are moved and mirrored a little."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional

from genloom.card import Port, SizeRule
from genloom.errors import GenloomError
from genloom_classifier import ClassifierConfig
from genloom_classifier.network import Classifier
from genloom_train.data import Samples
from genloom_train.training import Graph, Shape, Tensors, Training

CHUNK = 500
ROW = 8


class ClassifierTraining(Training):
    """Minimises the cross entropy of the classes.

    Targets are not smoothed: a judge is asked how sure it is, and smoothing would cap the answer.
    """

    config: ClassifierConfig

    def __init__(self, config: ClassifierConfig, shape: Shape, labels: Sequence[str] = ()) -> None:
        super().__init__(config, shape, labels)
        if len(self.labels) < 2:
            raise GenloomError(
                "a classifier needs classes to tell apart",
                expected="data with two labels or more",
                got=", ".join(self.labels) or "none",
            )

    def build(self) -> nn.Module:
        """A fresh network."""
        return Classifier(self.config, self.shape[0], len(self.labels))

    def losses(self, module: nn.Module, batch: Tensors) -> dict[str, Tensor]:
        """Cross entropy in nats, and the share that is right."""
        image = moved(batch.image, self.config.shift, self.config.mirror)
        _, logits = module(image)
        label = known(batch)
        loss = functional.cross_entropy(logits.float(), label)
        return {"loss": loss, "accuracy": (logits.argmax(1) == label).float().mean()}

    def validate(
        self, module: nn.Module, samples: Samples, device: torch.device
    ) -> dict[str, float]:
        """Accuracy, cross entropy in nats, and mean confidence, on pictures left as they are."""
        totals = torch.zeros(3, dtype=torch.float64)
        for chunk in samples.chunks(CHUNK):
            batch = Tensors.of(chunk, device)
            logits, label = module(batch.image)[1].float(), known(batch)
            entropy = functional.cross_entropy(logits, label, reduction="none")
            confidence, chosen = logits.softmax(1).max(1)
            each = torch.stack([(chosen == label).double(), entropy.double(), confidence.double()])
            totals += each.sum(1).cpu()
        names = ("accuracy", "cross_entropy", "confidence")
        return dict(zip(names, (totals / len(samples)).tolist(), strict=True))

    def preview(self, module: nn.Module, batch: Tensors) -> tuple[Tensor, int]:
        """The held-out pictures of the batch, those it is least sure of first."""
        confidence = module(batch.image)[1].float().softmax(1).amax(1)
        return batch.image[confidence.argsort(stable=True)], min(ROW, len(batch))

    def graphs(self, module: nn.Module) -> dict[str, Graph]:
        """`classifier`, free in the batch."""
        return {
            "classifier": Graph(
                module=module,
                inputs={"image": Port(axes=("batch", *self.shape), range=(0.0, 1.0))},
                outputs={
                    "features": Port(axes=("batch", self.config.widths[-1])),
                    "logits": Port(axes=("batch", len(self.labels))),
                },
            )
        }

    def card(self) -> dict[str, Any]:
        """The one size of pictures."""
        return {"size": SizeRule(fixed=self.shape[1:])}


def known(batch: Tensors) -> Tensor:
    """The labels of a batch, (N,).

    Raises:
        GenloomError: when it has none.
    """
    if batch.label is None:
        raise GenloomError("a classifier cannot be trained on pictures without a label")
    return batch.label


def moved(image: Tensor, shift: int, mirror: bool) -> Tensor:
    """Each picture mirrored or not, and moved by up to ±shift pixels; what comes in is its edge."""
    count, _, height, width = image.shape
    device = image.device
    flip = mirror & (torch.rand(count, device=device) < 0.5)
    down, across = torch.randint(-shift, shift + 1, (2, count, 1), device=device)
    rows = (torch.arange(height, device=device) + down).clamp(0, height - 1)
    columns = (torch.arange(width, device=device) + across).clamp(0, width - 1)
    columns = torch.where(flip[:, None], columns.flip(1), columns)
    each = torch.arange(count, device=device)[:, None, None]
    taken: Tensor = image.permute(0, 2, 3, 1)[each, rows[:, :, None], columns[:, None, :]]
    return taken.permute(0, 3, 1, 2)
