"""Files in the format of MNIST (IDX): MNIST, Fashion-MNIST, and others laid out like them.

The format: two zero bytes, the type of the values, the number of axes, the axes as big-endian
32-bit numbers, the values.
"""

from __future__ import annotations

import gzip
import os
import struct
import zlib
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, ClassVar

import numpy as np
from annotated_types import Interval

from genloom.errors import GenloomError
from genloom.types import Array
from genloom_train.data import Dataset, Opening, Source
from genloom_train.data.pictures import Pictures, WholePictures, held_out_of

FILES = {
    ("train", "image"): "train-images-idx3-ubyte",
    ("train", "label"): "train-labels-idx1-ubyte",
    ("test", "image"): "t10k-images-idx3-ubyte",
    ("test", "label"): "t10k-labels-idx1-ubyte",
}
_SHARE = Path("share/datasets")
_UNSIGNED_BYTE = 8
MOST_BYTES = 2**32
"""Most bytes that a file is read or unpacked to: four times the largest such data set, and more."""


@dataclass(frozen=True, kw_only=True)
class Idx(Dataset):
    """Pictures and labels of IDX files named as MNIST's are, gzipped or plain.

    Args:
        path: folder of the files; `--data` on the command line goes before it.
        prefix: what stands before the usual names of the files.
        labels: names of the classes in their order; the numbers 0, 1, … unless said.
        held_out: share of the pictures that is kept for validation where there are no test files.
    """

    path: Path | None = None
    prefix: str = ""
    labels: tuple[str, ...] = ()
    held_out: Annotated[float, Interval(gt=0, le=0.5)] = 0.1

    def open(self, opening: Opening) -> Source:
        """Read all of it into memory."""
        folder = opening.root or (opening.base / self.path if self.path else None)
        found = {} if folder is None else files_in(folder, self.prefix)
        if ("train", "image") not in found:
            expected = f"{self.prefix}{FILES['train', 'image']} (plain or .gz)"
            raise GenloomError(
                "there is no IDX file of training pictures",
                expected=expected,
                got="no folder" if folder is None else str(folder),
                hint="Name their folder with --data FOLDER, or as `path:` in the data section",
            )
        train, test = (pictures_of(found, part) for part in ("train", "test"))
        assert train is not None
        _check_labels(found)
        if test is None:
            held_out = held_out_of(len(train), self.held_out, train.label)
            train, test = train.chosen(~held_out), train.chosen(held_out)
        return WholePictures(train, test, name="IDX files", labels=self._names(train, test))

    def _names(self, train: Pictures, test: Pictures) -> tuple[str, ...]:
        if train.label is None:
            return ()
        most = 1 + max(int(part.label.max()) for part in (train, test) if part.label is not None)
        if self.labels and len(self.labels) < most:
            raise GenloomError(
                "there are more classes than names",
                expected=f"{most} names in data.labels",
                got=str(len(self.labels)),
            )
        return self.labels or tuple(map(str, range(most)))


def _check_labels(found: dict[tuple[str, str], Path]) -> None:
    """Check that training and test pictures both have labels, or neither."""
    parts = [part for part in ("train", "test") if (part, "image") in found]
    without = [part for part in parts if (part, "label") not in found]
    if 0 < len(without) < len(parts):
        there = next(found[part, "label"] for part in parts if part not in without)
        raise GenloomError(
            "there are labels for only some of the pictures",
            expected=f"{FILES[without[0], 'label']} (plain or .gz) beside {there.name}",
            got="no such file",
            where=str(there.parent),
            hint="Add it, or move the other file of labels away to train without labels",
        )


@dataclass(frozen=True, kw_only=True)
class Mnist(Dataset):
    """MNIST (LeCun et al. 1998): 70 000 handwritten digits, 28×28, from its four IDX files.

    Args:
        path: folder of the files; else $GENLOOM_DATA and the usual places are searched.
    """

    path: Path | None = None

    title: ClassVar[str] = "MNIST"
    folder: ClassVar[str] = "mnist"
    names: ClassVar[tuple[str, ...]] = tuple("0123456789")
    hint: ClassVar[str] = "Name the folder of the four files with --data FOLDER"

    def open(self, opening: Opening) -> Source:
        """Read all of it into memory (55 MB)."""
        found = self._files(list(self._places(opening)))
        train, test = (pictures_of(found, part) for part in ("train", "test"))
        assert train is not None and test is not None
        for part in (train, test):
            if part.label is None or part.label.max() >= len(self.names):
                raise GenloomError(f"the labels are not those of {self.title}")
        return WholePictures(train, test, name=self.title, labels=self.names)

    def _files(self, places: Sequence[Path]) -> dict[tuple[str, str], Path]:
        for place in places:
            found = files_in(place)
            if len(found) == len(FILES):
                return found
        raise GenloomError(
            f"{self.title} is not at hand",
            expected=f"{', '.join(FILES.values())} (plain or .gz) in one of the folders searched",
            got=f"none of {', '.join(map(str, places))}",
            hint=self.hint,
        )

    def _places(self, opening: Opening) -> Iterator[Path]:
        if opening.root is not None:
            yield from (opening.root, opening.root / self.folder)
            return
        if self.path is not None:
            yield opening.base / self.path
            return
        if environment := os.environ.get("GENLOOM_DATA"):
            yield from (Path(environment), Path(environment) / self.folder)
        yield from (root / _SHARE / self.folder for root in (Path("/usr"), Path("/usr/local")))


def files_in(folder: Path, prefix: str = "") -> dict[tuple[str, str], Path]:
    """The files of `FILES` that are there, plain or gzipped; EMNIST calls `t10k` `test`."""
    found: dict[tuple[str, str], Path] = {}
    for key, name in FILES.items():
        names = (name, name.replace("t10k", "test"))
        paths = [folder / f"{prefix}{name}{end}" for name in names for end in ("", ".gz")]
        present = [path for path in paths if path.is_file()]
        if present:
            found[key] = present[0]
    return found


def pictures_of(found: dict[tuple[str, str], Path], part: str) -> Pictures | None:
    """The pictures and labels of a part, `train` or `test`; None when it has no file.

    Raises:
        GenloomError: when they do not fit each other.
    """
    if (part, "image") not in found:
        return None
    path = found[part, "image"]
    image = read_idx(path)
    label = read_idx(found[part, "label"]) if (part, "label") in found else None
    if image.ndim != 3 or not image.size or (label is not None and label.shape != image.shape[:1]):
        raise GenloomError(
            "the pictures and labels do not fit each other",
            expected="N×H×W pictures and N labels",
            got=f"shapes {image.shape} and {'none' if label is None else label.shape}",
            where=str(path),
        )
    return Pictures(image[..., None], label)


def read_idx(path: Path) -> Array:
    """An IDX file of unsigned bytes, gzipped when it ends in `.gz`.

    Raises:
        GenloomError: when it is damaged or holds something else.
    """
    try:
        with gzip.open(path) if path.suffix == ".gz" else path.open("rb") as file:
            data = file.read(MOST_BYTES + 1)
    except (OSError, EOFError, zlib.error) as error:
        raise GenloomError(f"the file cannot be read ({error})", where=str(path)) from None
    if len(data) < 4 or data[:2] != b"\0\0" or data[2] != _UNSIGNED_BYTE:
        raise GenloomError("not an IDX file of unsigned bytes", where=str(path))
    axes = data[3]
    header = 4 + 4 * axes
    shape = struct.unpack(f">{axes}I", data[4:header]) if len(data) >= header else ()
    wanted = int(np.prod(shape, dtype=object)) if shape else -1
    if len(data) - header != wanted:
        raise GenloomError(
            "the IDX file is cut short or damaged",
            expected=f"{wanted} values after its header" if shape else "a whole header",
            got=str(max(0, len(data) - header)),
            where=str(path),
        )
    return np.frombuffer(data, np.uint8, offset=header).reshape(shape)
