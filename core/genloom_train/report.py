"""What a training says as it goes: shown, and written down."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from genloom_train.metrics import Metrics
from genloom_train.progress import Progress


@dataclass
class Report:
    """Metrics and progress of a training; of several processes only the first has them."""

    metrics: Metrics | None = None
    progress: Progress | None = None

    def step(self, step: int, seconds: float, losses: Mapping[str, float], rate: float) -> None:
        """The losses of a step, and its learning rate."""
        if self.metrics is not None:
            self.metrics.write(step, seconds, "train", {**losses, "learning_rate": rate})
        if self.progress is not None:
            self.progress.step(step, seconds, losses)

    def figures(self, step: int, seconds: float, figures: Mapping[str, float]) -> None:
        """The figures of a validation."""
        if self.metrics is not None:
            self.metrics.write(step, seconds, "held-out", figures)
        if self.progress is not None:
            self.progress.figures(step, figures)

    def say(self, text: str) -> None:
        """A line of its own."""
        if self.progress is not None:
            self.progress.say(text)
