"""Classifiers, which judge what generative models make: family `classifier`.

They judge, and do nothing else: no training looks at one, and none chooses between models.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any

from annotated_types import Interval, Len

from genloom.backend import Backend
from genloom.hookspecs import hookimpl

genloom_api = 1

Width = Annotated[int, Interval(ge=1, le=4096)]


@dataclass(frozen=True, kw_only=True)
class ClassifierConfig:
    """The `model:` section of a recipe for a classifier.

    Args:
        widths: channels of each level from the picture inwards; each level but the first halves
            height and width. The last one is the number of features.
        dropout: share of the features that is left out in each training step.
        shift: pixels by which training pictures are moved at random, up, down and sideways.
        mirror: whether half of the training pictures are mirrored.
    """

    widths: Annotated[tuple[Width, ...], Len(1, 6)] = (24, 48, 80)
    dropout: Annotated[float, Interval(ge=0, lt=1)] = 0.2
    shift: Annotated[int, Interval(ge=0, le=64)] = 2
    mirror: bool = True


class Classifier(Backend):
    """Classifiers: `classifier` takes `image`, gives `features` (N×F) and `logits` (N×classes)."""

    family = "classifier"
    config = ClassifierConfig

    def training(self) -> Any:
        """The training side; imports torch."""
        from genloom_classifier.training import ClassifierTraining

        return ClassifierTraining


@hookimpl
def genloom_backends() -> list[type[Backend]]:
    """Bring the family."""
    return [Classifier]


@hookimpl
def genloom_models() -> list[Path]:
    """Bring the bundles beside this file."""
    return [Path(__file__).parent / "models"]
