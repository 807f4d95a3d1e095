"""Which validation was the best, and whether it is time to end: `keep`, `watch`, `patience`."""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any

from torch import nn

from genloom.errors import UnknownName
from genloom_train.checkpoint import Checkpoint, State
from genloom_train.metrics import higher_is_better
from genloom_train.options import TrainOptions

WEIGHTS = "best"
"""Name of the weights to keep among a checkpoint's tensors."""


class Watch:
    """The best validation so far, by the figure that the options name.

    Attributes:
        step: of the best validation; 0 before there was one.
        figures: of that validation.
        weights: those that were validated then, where they are kept.
        waited: validations since then.
    """

    def __init__(self, options: TrainOptions) -> None:
        self._name, self._patience = options.watch, options.patience
        self._keeps = options.keep == "best"
        self.step, self.waited = 0, 0
        self.figures: dict[str, float] = {}
        self.weights: State | None = None
        self.higher = options.better == "higher" or (
            options.better is None and higher_is_better(options.watch or "")
        )

    def __bool__(self) -> bool:
        return self._name is not None

    def __str__(self) -> str:
        return f"watching '{self._name}': {'higher' if self.higher else 'lower'} is better"

    @property
    def over(self) -> bool:
        """Whether training ends here, however many steps are left."""
        return self._patience is not None and self.waited >= self._patience

    def check(self, figures: Mapping[str, float]) -> None:
        """Check that the figure to watch is among those of a validation.

        Raises:
            UnknownName: with the nearest right name.
        """
        if self._name is not None and self._name not in figures:
            raise UnknownName.of("figure", self._name, figures, where="train.watch")

    def see(self, step: int, figures: Mapping[str, float], module: nn.Module) -> None:
        """Look at a validation; keeps the weights when it is the best."""
        self.check(figures)
        if self._name is None:
            return
        self.waited += 1
        if self._better(figures[self._name]):
            self.step, self.figures, self.waited = step, dict(figures), 0
            if self._keeps:
                state = module.state_dict()
                self.weights = {name: value.detach().cpu().clone() for name, value in state.items()}

    def _better(self, value: float) -> bool:
        """Whether it is better than the best so far; a value that is not finite never is."""
        if not math.isfinite(value):
            return False
        best = self.figures.get(self._name or "")
        return best is None or (value > best if self.higher else value < best)

    def save(self) -> tuple[dict[str, State], dict[str, Any]]:
        """The tensors and the JSON values for a checkpoint."""
        tensors = {} if self.weights is None else {WEIGHTS: self.weights}
        return tensors, {"step": self.step, "figures": self.figures, "waited": self.waited}

    def restore(self, saved: Checkpoint) -> None:
        """Go on from a checkpoint."""
        said = saved.scalars.get("watch", {})
        self.step, self.waited = said.get("step", 0), said.get("waited", 0)
        self.figures = said.get("figures", {})
        self.weights = saved.tensors.get(WEIGHTS)
