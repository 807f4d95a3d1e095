"""A folder of pictures, sub-folders too: random crops of them, or whole pictures of one size."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Literal

import numpy as np
from annotated_types import Interval

from genloom.errors import GenloomError
from genloom.types import Array
from genloom_train.data import Dataset, Opening, Source
from genloom_train.data.crops import PhotographCrops
from genloom_train.data.dead_leaves import dead_leaves_pictures
from genloom_train.data.files import Found, at_most, decoded, picture_files, square
from genloom_train.data.pictures import Pictures, WholePictures, held_out_of, without_pictures

SYNTHETIC_COUNT, SYNTHETIC_SIZE = 64, 384


@dataclass(frozen=True, kw_only=True)
class Folder(Dataset):
    """Every picture below a folder; broken ones are skipped and noted.

    Args:
        path: the folder; `--data` on the command line goes before it.
        crop: height and width of a training crop, in pixels, turned and mirrored at random; smaller
            pictures are skipped.
        turn: whether crops are turned by quarters of a circle; not for a model that makes pictures,
            in which up is up.
        choices: of so many random crops the one with the most detail is taken.
        size: whole pictures instead of crops: the largest square in the middle of each, resized to
            this height and width.
        mirror: with `size`, whether pictures are mirrored with a chance of one half.
        labels: `folders` takes the name of the first sub-folder as the label of the pictures in it.
        colour: train on colour (`rgb`) or on grey pictures.
        longest: pictures whose longer side exceeds this are reduced to it, by averaging.
        memory: decoded pictures are kept in memory up to this many megabytes.
        held_out: share of the pictures that is kept for validation.
        dead_leaves: share of the crops that comes from synthetic dead-leaves pictures.
    """

    path: Path | None = None
    crop: Annotated[int, Interval(ge=8, le=1024)] = 96
    turn: bool = True
    choices: Annotated[int, Interval(ge=1, le=100)] = 1
    size: Annotated[int, Interval(ge=4, le=1024)] | None = None
    mirror: bool = False
    labels: Literal["none", "folders"] = "none"
    colour: Literal["rgb", "grey"] = "rgb"
    longest: Annotated[int, Interval(ge=64, le=20_000)] = 2048
    memory: Annotated[int, Interval(ge=1, le=1_000_000)] = 2048
    held_out: Annotated[float, Interval(gt=0, le=0.5)] = 0.05
    dead_leaves: Annotated[float, Interval(ge=0, lt=1)] = 0.0

    def open(self, opening: Opening) -> Source:
        """Decode the pictures."""
        root = opening.folder(self.path)
        self._check_options()
        found = self._read(root)
        if len(found.pictures) < 2:
            size = 1 if self.size else self.crop
            raise GenloomError(
                "the folder holds too few usable pictures",
                expected=f"at least 2 of at least {size}×{size} pixels"
                + (", in sub-folders" if self.labels == "folders" else ""),
                got=f"{len(found.pictures)}; {'; '.join(found.notes[:3]) or 'no picture files'}",
                where=str(root),
            )
        return self._source(found, opening.seed)

    def _check_options(self) -> None:
        if self.dead_leaves and (self.size or self.labels == "folders"):
            raise GenloomError(
                "'data.dead_leaves' mixes synthetic crops in, which have no label and no size",
                hint="Leave it out, or leave out 'data.size' and 'data.labels'",
            )
        if self.mirror and not self.size:
            raise GenloomError(
                "'data.mirror' is for whole pictures; crops are mirrored anyway",
                hint="Leave it out, or set 'data.size'",
            )

    def _source(self, found: Found, seed: int) -> Source:
        names: tuple[str, ...] = ()
        label: Array | None = None
        if self.labels == "folders":
            unique, label = np.unique(found.folders, return_inverse=True)
            names = tuple(map(str, unique))
        kept = held_out_of(len(found.pictures), self.held_out, label)
        if self.size:
            every = Pictures(np.stack(found.pictures), label)
            return WholePictures(
                every.chosen(~kept),
                every.chosen(kept),
                name="pictures of a folder",
                labels=names,
                notes=found.notes,
                mirror=self.mirror,
            )
        synthetic = self._synthetic(seed)
        words = f"{(~kept).sum()} pictures of a folder, {kept.sum()} held out"
        words += f", and {self.dead_leaves:.0%} dead leaves" if self.dead_leaves else ""
        words += f"; crops with the most detail of {self.choices}" if self.choices > 1 else ""
        training = None if label is None else label[~kept]
        return PhotographCrops(
            _where(found.pictures, ~kept),
            _where(found.pictures, kept),
            crop=self.crop,
            label=training,
            held_out_label=None if label is None else label[kept],
            labels=names,
            synthetic=synthetic,
            synthetic_share=self.dead_leaves,
            turn=self.turn,
            choices=self.choices,
            description=words,
            notes=(*found.notes, *without_pictures(training, names)),
        )

    def _synthetic(self, seed: int) -> list[Array]:
        if not self.dead_leaves:
            return []
        pictures = dead_leaves_pictures(SYNTHETIC_COUNT, SYNTHETIC_SIZE, seed)
        if self.colour == "rgb":
            return pictures
        return [picture.mean(2, keepdims=True).astype(np.uint8) for picture in pictures]

    def _read(self, root: Path) -> Found:
        found = Found()
        left = self.memory * 2**20
        for path in picture_files(root):
            inside = path.relative_to(root)
            picture, note = self._usable(path, inside, left)
            if picture is None:
                found.notes.append(f"{inside.as_posix()}: {note}")
                continue
            found.pictures.append(picture)
            found.folders.append(inside.parts[0] if len(inside.parts) > 1 else "")
            left -= picture.nbytes
        if self.labels == "folders":
            found.notes += _empty_folders(root, found.folders)
        return found

    def _usable(self, path: Path, inside: Path, left: int) -> tuple[Array | None, str]:
        """The picture as it is kept, or why it is not."""
        if self.labels == "folders" and len(inside.parts) == 1:
            return None, "not in a sub-folder, which would be its label; skipped"
        picture = decoded(path, self.colour)
        if picture is None:
            return None, "not a readable picture, skipped"
        if self.size is None:
            picture = np.ascontiguousarray(at_most(picture, self.longest))
            if min(picture.shape[:2]) < self.crop:
                return None, f"smaller than a crop of {self.crop}, skipped"
        else:
            picture = square(picture, self.size)
        if picture.nbytes > left:
            return None, f"left out, {self.memory} MB are full"
        return picture, ""


def _where(pictures: Sequence[Array], chosen: Array) -> list[Array]:
    return [picture for picture, this in zip(pictures, chosen, strict=True) if this]


def _empty_folders(root: Path, used: Sequence[str]) -> list[str]:
    """Notes about sub-folders that are no label, for want of pictures."""
    names = {
        path.name for path in root.iterdir() if path.is_dir() and not path.name.startswith(".")
    }
    return [f"{name}: no usable pictures, so it is no label" for name in sorted(names - set(used))]
