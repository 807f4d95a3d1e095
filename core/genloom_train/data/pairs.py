"""Two pictures of each thing: a noisy one, and a clean or another noisy one."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any, Literal

import numpy as np
from annotated_types import Interval

from genloom.errors import GenloomError
from genloom.types import Array
from genloom_train.data import Dataset, Opening, Samples, Source, generator
from genloom_train.data.crops import PhotographCrops
from genloom_train.data.files import decoded, picture_files
from genloom_train.data.pictures import held_out_of

NOISY = "noisy"


@dataclass(frozen=True, kw_only=True)
class Pairs(Dataset):
    """A folder in which every picture has a second one of the same name with another ending.

    Args:
        path: the folder; `--data` on the command line goes before it.
        first: how the names of the noisy pictures end.
        second: how the names of those they are to be turned into end: clean ones, or as noisy.
        swap: whether either of the two may be the noisy one: for pictures that are equally noisy.
        crop: height and width of a training crop, in pixels, turned and mirrored at random.
        choices: of so many random crops the one with the most detail is taken.
        colour: learn on colour (`rgb`) or on grey pictures.
        memory: decoded pictures are kept in memory up to this many megabytes.
        held_out: share of the pairs that is kept for validation.
    """

    path: Path | None = None
    first: str = ".noisy.png"
    second: str = ".clean.png"
    swap: bool = False
    crop: Annotated[int, Interval(ge=8, le=1024)] = 96
    choices: Annotated[int, Interval(ge=1, le=100)] = 1
    colour: Literal["rgb", "grey"] = "rgb"
    memory: Annotated[int, Interval(ge=1, le=1_000_000)] = 2048
    held_out: Annotated[float, Interval(gt=0, le=0.5)] = 0.05

    def open(self, opening: Opening) -> Source:
        """Decode the pictures."""
        root = opening.folder(self.path)
        pairs, notes, left = [], [], self.memory * 2**20
        for path in picture_files(root):
            if not path.name.endswith(self.first):
                continue
            other = path.with_name(path.name.removesuffix(self.first) + self.second)
            both, note = self._both(path, other)
            if both is not None and both.nbytes > left:
                both, note = None, f"left out, {self.memory} MB are full"
            if both is None:
                notes.append(f"{path.relative_to(root).as_posix()}: {note}")
            else:
                pairs.append(both)
                left -= both.nbytes
        if len(pairs) < 2:
            raise GenloomError(
                "the folder holds too few pairs",
                expected=f"at least 2, named …{self.first} and …{self.second}",
                got=f"{len(pairs)}; {'; '.join(notes[:3]) or 'no such files'}",
                where=str(root),
            )
        kept = held_out_of(len(pairs), self.held_out, None)
        train = [pair for pair, held in zip(pairs, kept, strict=True) if not held]
        held_out = [pair for pair, held in zip(pairs, kept, strict=True) if held]
        return PairCrops(
            train,
            held_out,
            swap=self.swap,
            crop=self.crop,
            choices=self.choices,
            description=f"{len(train)} pairs of pictures, {len(held_out)} held out",
            notes=tuple(notes),
        )

    def _both(self, path: Path, other: Path) -> tuple[Array | None, str]:
        """Both pictures in one, H×W×2C, or why not."""
        one = decoded(path, self.colour)
        two = decoded(other, self.colour) if other.is_file() else None
        if one is None:
            return None, "not a readable picture, skipped"
        if two is None:
            return None, f"there is no readable {other.name} beside it, skipped"
        if one.shape != two.shape:
            return None, f"{other.name} has another size, skipped"
        if min(one.shape[:2]) < self.crop:
            return None, f"smaller than a crop of {self.crop}, skipped"
        return np.concatenate([one, two], axis=2), ""


class PairCrops(PhotographCrops):
    """The same crop of both pictures of a pair, the first as `noisy`."""

    def __init__(
        self, pairs: Sequence[Array], held_out: Sequence[Array], *, swap: bool, **more: Any
    ) -> None:
        super().__init__(pairs, held_out, **more)
        self._swap = swap
        self.shape = (self.shape[0] // 2, *self.shape[1:])

    def batch(self, step: int, size: int, seed: int) -> Samples:
        """Batch number `step`: `size` random crops of pairs."""
        both = super().batch(step, size, seed).image
        if self._swap:
            swapped = generator("swap", seed, step).random((size, 1, 1, 1)) < 0.5
            both = np.where(swapped, np.roll(both, self.shape[0], axis=1), both)
        return _split(both)

    def held_out(self, larger: bool = False) -> Samples:
        """As of single pictures; never swapped."""
        return _split(super().held_out(larger).image)


def _split(both: Array) -> Samples:
    noisy, target = (np.ascontiguousarray(part) for part in np.split(both, 2, axis=1))
    return Samples(target, None, {NOISY: noisy})
