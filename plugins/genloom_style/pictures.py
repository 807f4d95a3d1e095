"""Pictures of styles, read for training."""

from __future__ import annotations

from pathlib import Path

import torch
from torch import Tensor

from genloom.errors import GenloomError
from genloom.types import Array
from genloom_train.data.crops import as_images
from genloom_train.data.files import at_most, decoded, picture_files

LONGEST = 512
"""Longer side in pixels that the pictures of a folder of styles are reduced to."""


def style_picture(path: Path, longest: int, channels: int, least: int) -> Tensor:
    """The picture of a style, 1×C×H×W in [0, 1].

    Args:
        path: its file.
        longest: longer side in pixels that larger ones are reduced to, by averaging.
        channels: 1 reads it in grey.
        least: pixels that its shorter side must have.

    Raises:
        GenloomError: when there is none, it is broken, or it is too small.
    """
    picture = decoded(path, "rgb" if channels == 3 else "grey")
    if picture is None:
        raise GenloomError(
            "the picture of the style cannot be read",
            expected="a picture file at 'model.style', a path from the recipe's folder",
            got="a file that is no picture, or broken" if path.exists() else "no such file",
            where=str(path),
        )
    image = as_tensor(at_most(picture, longest))
    if min(image.shape[2:]) < least:
        raise GenloomError(
            "the picture of the style is too small",
            expected=f"at least {least} pixels along its shorter side, at 'model.style_size'",
            got=f"{image.shape[3]}×{image.shape[2]}",
            where=str(path),
            hint="Take a larger picture, a larger 'model.style_size', or a smaller 'data.crop' "
            "and 'model.period'",
        )
    return image


def style_crops(picture: Tensor, count: int, side: int) -> Tensor:
    """Random crops of a picture 1×C×H×W, turned by quarters and mirrored: count×C×side×side.

    Chance comes from torch's global generator.
    """
    found = []
    for _ in range(count):
        top, left = (int(torch.randint(n - side + 1, ())) for n in picture.shape[2:])
        crop = picture[0, :, top : top + side, left : left + side]
        crop = torch.rot90(crop, int(torch.randint(4, ())), (1, 2))
        found.append(crop.flip(2) if torch.rand(()) < 0.5 else crop)
    return torch.stack(found)


def folder_of_styles(folder: Path, channels: int, least: int) -> list[Tensor]:
    """The pictures below a folder, 1×C×H×W in [0, 1]; broken and too small ones are left out.

    Raises:
        GenloomError: when none is left.
    """
    paths = list(picture_files(folder))
    read = (decoded(path, "rgb" if channels == 3 else "grey") for path in paths)
    reduced = [at_most(picture, LONGEST) for picture in read if picture is not None]
    found = [as_tensor(picture) for picture in reduced if min(picture.shape[:2]) >= least]
    if not found:
        raise GenloomError(
            "there are no usable pictures of styles",
            expected=f"a folder at 'model.styles' with pictures of at least {least}×{least} pixels",
            got=f"{len(paths)} picture files",
            where=str(folder),
        )
    return found


def as_tensor(picture: Array) -> Tensor:
    """H×W×C bytes as 1×C×H×W floats in [0, 1]."""
    return torch.from_numpy(as_images([picture]))
