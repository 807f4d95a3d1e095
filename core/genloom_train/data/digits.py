"""The 1797 handwritten digits, 8×8, that come inside scikit-learn (Alpaydin & Kaynak 1998)."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Annotated

import numpy as np
from annotated_types import Interval

from genloom.errors import MissingRequirement
from genloom_train.data import Dataset, Opening, Source
from genloom_train.data.pictures import Pictures, WholePictures, held_out_of

HIGHEST = 16
"""The largest value of a pixel."""


@dataclass(frozen=True, kw_only=True)
class Digits(Dataset):
    """Small grey pictures of digits, 8×8; nothing to download.

    Args:
        held_out: share of the pictures of each digit that is kept for validation.
    """

    held_out: Annotated[float, Interval(gt=0, le=0.5)] = 0.2

    def open(self, opening: Opening) -> Source:
        """Read them from scikit-learn.

        Raises:
            MissingRequirement: when it is not installed.
        """
        try:
            from sklearn.datasets import load_digits
        except ImportError:
            raise MissingRequirement.extra(
                "scikit-learn", "train", "the data set 'digits'"
            ) from None
        found = load_digits()
        image = (found.images[..., None] / HIGHEST).astype(np.float32)
        every = Pictures(image, found.target.astype(np.int64))
        kept = held_out_of(len(every), self.held_out, every.label)
        return WholePictures(
            every.chosen(~kept),
            every.chosen(kept),
            name="scikit-learn's digits",
            labels=tuple(map(str, range(10))),
        )
