"""Picture files of a folder, decoded; broken ones are noted and left out."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Literal

import numpy as np

from genloom.types import Array

ENDINGS = (".png", ".jpg", ".jpeg", ".webp", ".tif", ".tiff", ".bmp")


@dataclass
class Found:
    """What a folder holds.

    Attributes:
        pictures: H×W×C bytes in RGB order.
        folders: name of the first sub-folder that each lies in; empty for the root itself.
        notes: what was left out, and why.
    """

    pictures: list[Array] = field(default_factory=list)
    folders: list[str] = field(default_factory=list)
    notes: list[str] = field(default_factory=list)


def picture_files(root: Path) -> Iterator[Path]:
    """Picture files below a folder, in the order of their names; hidden ones are left out."""
    for path in sorted(root.rglob("*")):
        hidden = any(part.startswith(".") for part in path.relative_to(root).parts)
        if path.suffix.lower() in ENDINGS and path.is_file() and not hidden:
            yield path


def decoded(path: Path, colour: Literal["rgb", "grey"]) -> Array | None:
    """The picture, upright, H×W×C bytes in RGB order; None when it is broken."""
    import cv2

    mode = cv2.IMREAD_COLOR if colour == "rgb" else cv2.IMREAD_GRAYSCALE
    level = cv2.utils.logging.getLogLevel()
    cv2.utils.logging.setLogLevel(0)
    try:
        picture = cv2.imdecode(np.frombuffer(path.read_bytes(), np.uint8), mode)
    except (OSError, cv2.error):
        return None
    finally:
        cv2.utils.logging.setLogLevel(level)
    if picture is None:
        return None
    return picture[..., ::-1] if picture.ndim == 3 else picture[..., None]


def at_most(picture: Array, longest: int) -> Array:
    """The picture, reduced by averaging when its longer side exceeds `longest`."""
    longer = max(picture.shape[:2])
    if longer <= longest:
        return picture
    scale = longest / longer
    return _resized(picture, round(picture.shape[0] * scale), round(picture.shape[1] * scale))


def square(picture: Array, size: int) -> Array:
    """The largest square in the middle of a picture, at `size` × `size`."""
    side = min(picture.shape[:2])
    top, left = (picture.shape[0] - side) // 2, (picture.shape[1] - side) // 2
    return _resized(picture[top : top + side, left : left + side], size, size)


def _resized(picture: Array, height: int, width: int) -> Array:
    import cv2

    shrinks = height * width < picture.shape[0] * picture.shape[1]
    how = cv2.INTER_AREA if shrinks else cv2.INTER_CUBIC
    size = (max(1, width), max(1, height))
    resized = cv2.resize(np.ascontiguousarray(picture), size, interpolation=how)
    return resized if resized.ndim == 3 else resized[..., None]
