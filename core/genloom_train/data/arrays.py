"""Pictures in numpy's files: one .npy of pictures, or an .npz of pictures and labels."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any

import numpy as np
from annotated_types import Interval

from genloom.errors import GenloomError
from genloom.types import Array
from genloom_train.data import Dataset, Opening, Source
from genloom_train.data.pictures import Pictures, WholePictures, held_out_of

IMAGES = ("images", "image", "x", "X", "data", "arr_0")
LABELS = ("labels", "label", "y", "Y", "target", "arr_1")
PARTS = (("x_train", "y_train"), ("x_test", "y_test"))
"""Names under which arrays are looked for in an .npz; `x_test` is held out where it is."""


@dataclass(frozen=True, kw_only=True)
class Arrays(Dataset):
    """Pictures N×H×W or N×H×W×C of 8 bits, or floats in [0, 1], with or without labels (N,).

    In an .npz they are called `images` and `labels`, or `x_train`, `y_train`, `x_test`, `y_test`.

    Args:
        path: an .npy or .npz file, or a folder with one; `--data` on the command line goes before.
        labels: names of the classes in their order; unless said, the numbers or texts in the file.
        held_out: share of the pictures that is kept for validation where there is no `x_test`.
        mirror: whether training pictures are mirrored with a chance of one half.
    """

    path: Path | None = None
    labels: tuple[str, ...] = ()
    held_out: Annotated[float, Interval(gt=0, le=0.5)] = 0.1
    mirror: bool = False

    def open(self, opening: Opening) -> Source:
        """Read all of it into memory."""
        path = _file(opening.root or (opening.base / self.path if self.path else None))
        (image, label), test = _parts(_read(path), path)
        if test is not None and (label is None) != (test[1] is None):
            raise GenloomError(
                "there are labels for only some of the pictures",
                expected="both y_train and y_test, or neither",
                got="y_test" if label is None else "y_train",
                where=str(path),
                hint="Store the other beside it, or leave both out to train without labels",
            )
        count = len(label) if label is not None else 0
        if label is not None and test is not None and test[1] is not None:
            label = np.concatenate([label.reshape(-1), test[1].reshape(-1)])
        numbers, names = _classes(label, self.labels, path)
        train = _pictures(image, None if numbers is None else numbers[:count], path)
        if test is None:
            kept = held_out_of(len(train), self.held_out, train.label)
            train, held_out = train.chosen(~kept), train.chosen(kept)
        else:
            held_out = _pictures(test[0], None if numbers is None else numbers[count:], path)
        return WholePictures(
            train, held_out, name=f"arrays of {path.name}", labels=names, mirror=self.mirror
        )


def _file(place: Path | None) -> Path:
    found = [] if place is None else [place]
    if place is not None and place.is_dir():
        found = sorted(path for path in place.iterdir() if path.suffix in (".npy", ".npz"))
    if len(found) != 1 or not found[0].is_file():
        raise GenloomError(
            "which file of arrays to train on is not clear",
            expected="an .npy or .npz file, or a folder with exactly one",
            got=", ".join(path.name for path in found[:5]) or "none",
            where="" if place is None else str(place),
            hint="Name it with --data FILE, or as `path:` in the recipe's data section",
        )
    return found[0]


def _read(path: Path) -> Mapping[str, Array]:
    try:
        loaded = np.load(path, allow_pickle=False)
        if isinstance(loaded, np.ndarray):
            return {"images": loaded}
        with loaded:
            return {name: loaded[name] for name in loaded.files}
    except Exception as error:  # numpy, zipfile and zlib raise many types
        reason = " ".join(str(error).split()) or type(error).__name__
        raise GenloomError(f"the arrays cannot be read ({reason})", where=str(path)) from None


def _parts(found: Mapping[str, Array], path: Path) -> tuple[Any, Any]:
    """Pictures and labels to train on, and those to hold out; None where there are none."""
    (x_train, y_train), (x_test, y_test) = PARTS
    if x_train in found:
        test = (found[x_test], found.get(y_test)) if x_test in found else None
        return (found[x_train], found.get(y_train)), test
    images = [name for name in IMAGES if name in found]
    labels = [name for name in LABELS if name in found]
    if not images:
        raise GenloomError(
            "there are no pictures among the arrays",
            expected=f"one called {', '.join(IMAGES[:3])} … or x_train",
            got=", ".join(sorted(found)) or "none",
            where=str(path),
        )
    return (found[images[0]], found[labels[0]] if labels else None), None


def _pictures(image: Array, label: Array | None, path: Path) -> Pictures:
    """Checked pictures, N×H×W×C."""
    image = image[..., None] if image.ndim == 3 else image
    if image.ndim != 4 or image.shape[3] not in (1, 3) or not image.size:
        raise GenloomError(
            "the array holds no pictures of one size",
            expected="N×H×W, or N×H×W×C with 1 or 3 channels, and at least one",
            got=f"shape {image.shape}",
            where=str(path),
            hint="Channels stand last: numpy.moveaxis(images, 1, 3) puts them there",
        )
    if label is not None and len(label) != len(image):
        raise GenloomError(
            "pictures and labels do not fit each other",
            expected=f"{len(image)} labels",
            got=str(len(label)),
            where=str(path),
        )
    return Pictures(_checked_values(image, path), label)


def _checked_values(image: Array, path: Path) -> Array:
    if image.dtype == np.uint8:
        return image
    if image.dtype == np.bool_:
        return image.astype(np.uint8) * np.uint8(255)
    what, expected = "the pixels are of a kind that cannot be trained on", "uint8, or floats"
    got = str(image.dtype)
    if np.issubdtype(image.dtype, np.floating):
        low, high = float(image.min()), float(image.max())
        if low >= 0 and high <= 1:
            return image.astype(np.float32)
        what, got = "the pixels leave their range", f"{low:.4g} to {high:.4g}"
    raise GenloomError(
        what,
        expected=f"{expected} from 0 to 1",
        got=got,
        where=str(path),
        hint="Bring them there, and store them again",
    )


def _classes(
    label: Array | None, names: tuple[str, ...], path: Path
) -> tuple[Array | None, tuple[str, ...]]:
    """Labels as numbers from 0, (N,), and the names of the classes."""
    if label is None:
        return None, ()
    label = label.reshape(-1) if label.ndim == 2 and label.shape[1] == 1 else label
    if label.ndim == 1 and label.dtype.kind == "U":
        found, numbers = np.unique(label, return_inverse=True)
        return numbers.astype(np.int64), tuple(map(str, found))
    if label.ndim != 1 or label.dtype.kind not in "iu" or label.min(initial=0) < 0:
        raise GenloomError(
            "the labels are not right",
            expected="one whole number from 0, or one text, for each picture",
            got=f"{label.dtype} of shape {label.shape}",
            where=str(path),
        )
    most = int(label.max(initial=-1)) + 1
    if most > max(len(label), len(names)) or (names and most > len(names)):
        raise GenloomError(
            "there are more classes than names" if names else "the labels are too large",
            expected=f"numbers below {len(names) or len(label)}",
            got=str(most - 1),
            where=str(path),
        )
    return label.astype(np.int64), names or tuple(map(str, range(most)))
