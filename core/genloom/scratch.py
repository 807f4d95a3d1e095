"""Arrays too large for memory, in files without a name that go when the array does.

    use, within     where such files lie, for the calls of this thread
    zeros           an array, in memory or in a file, as its size decides
    resident        how much of it is in memory
    strips          an array part by part, so that no more than a part of it is resident
    copied          a copy of a view, in order, made by strips
    contiguous      the same where it is needed
    release         let go of the memory that an array in a file takes; what it holds stays

Such an array is an ordinary one for all who are handed it: what is read comes from the disk, what
is written goes there, and the system keeps as much of it in memory as it has to spare.
"""

from __future__ import annotations

import contextlib
import math
import mmap
import os
import shutil
import tempfile
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import DTypeLike, NDArray

from genloom.errors import OutputError
from genloom.limits import ROOM

IN_MEMORY = 256 * 2**20
"""Largest array in bytes that is kept in memory where a file could hold it."""

STRIP = 16 * 2**20
"""About how many bytes of an array are worked on at once."""

_local = threading.local()


def use(folder: Path | None) -> None:
    """Put the large arrays of this thread into files below a folder; in memory with None."""
    _local.folder = folder


@contextlib.contextmanager
def within(folder: Path | None) -> Iterator[None]:
    """`use` within a block."""
    before = getattr(_local, "folder", None)
    use(folder)
    try:
        yield
    finally:
        use(before)


def is_large(shape: tuple[int, ...], dtype: DTypeLike) -> bool:
    """Whether an array is too large to be kept in memory."""
    return math.prod(shape) * np.dtype(dtype).itemsize > IN_MEMORY


def resident(nbytes: int) -> int:
    """How many bytes an array of that many takes in memory, if this thread makes it."""
    in_file = getattr(_local, "folder", None) is not None and nbytes > IN_MEMORY
    return STRIP if in_file else nbytes


def zeros(shape: tuple[int, ...], dtype: DTypeLike) -> NDArray[Any]:
    """An array of zeros: in a file where it is large and this thread has a folder for such.

    Raises:
        OutputError: when the disk has no room for it.
    """
    folder: Path | None = getattr(_local, "folder", None)
    if folder is None or not is_large(shape, dtype):
        return np.zeros(shape, dtype)
    nbytes = math.prod(shape) * np.dtype(dtype).itemsize
    # Without a name from the start, or deleted by the system when it is closed.
    with tempfile.TemporaryFile(dir=folder) as file:
        _reserve(file.fileno(), nbytes, folder)
        mapped = mmap.mmap(file.fileno(), nbytes)
    return np.frombuffer(mapped, dtype).reshape(shape)


def strips(array: NDArray[Any], *others: NDArray[Any]) -> Iterator[tuple[slice, ...]]:
    """Parts of an array N×H×W×C, H×W×C or H×W, whole rows each, to take with `array[part]`.

    After each part, what was read or written of `array` and the `others` is let go.
    """
    lead = (slice(None),) * (array.ndim == 4)
    height = array.shape[len(lead)] if array.ndim > len(lead) else 1
    for rows in row_slices(height, array.nbytes):
        yield (*lead, rows)
        release(array, *others)


def row_slices(height: int, nbytes: int) -> Iterator[slice]:
    """Rows of something of that height and that many bytes, about `STRIP` bytes at a time."""
    step = max(1, height * STRIP // max(1, nbytes))
    for top in range(0, height, step):
        yield slice(top, min(top + step, height))


def contiguous(array: NDArray[Any]) -> NDArray[Any]:
    """The same array if its rows follow each other in memory, else a copy for which they do."""
    return array if array.flags.c_contiguous else copied(array)


def copied(array: NDArray[Any]) -> NDArray[Any]:
    """A copy of its own, in order."""
    copy = zeros(array.shape, array.dtype)
    for part in strips(array, copy):
        copy[part] = array[part]
    return copy


def release(*arrays: NDArray[Any]) -> None:
    """Let go of the memory of arrays that lie in files; nothing for others."""
    for array in arrays:
        mapped = _file_of(array)
        if mapped is not None and hasattr(mapped, "madvise"):
            # The pages are those of a file: what was written to them goes to the disk all the same.
            mapped.madvise(mmap.MADV_DONTNEED)


def _file_of(array: Any) -> mmap.mmap | None:
    """The mapping that an array is a view of."""
    while isinstance(array, np.ndarray):
        array = array.base
    if isinstance(array, memoryview):
        array = array.obj
    return array if isinstance(array, mmap.mmap) else None


def _reserve(file: int, nbytes: int, folder: Path) -> None:
    """Give a file its size, with all of its bytes on the disk: later there is no way to fail."""
    try:
        free = shutil.disk_usage(folder).free
        if nbytes <= ROOM * free:
            if hasattr(os, "posix_fallocate"):
                os.posix_fallocate(file, 0, nbytes)
            else:
                os.truncate(file, nbytes)
            return
    except OSError as error:
        raise OutputError(
            f"there is no room for a large picture while it is worked on ({error.strerror})",
            expected=f"{_gib(nbytes / ROOM)} free on the disk",
            where=str(folder),
        ) from None
    raise OutputError(
        "there is no room for a large picture while it is worked on",
        expected=f"{_gib(nbytes / ROOM)} free on the disk",
        got=_gib(free),
        where=str(folder),
        hint="Make room, or write to a folder on another disk",
    )


def _gib(nbytes: float) -> str:
    return f"{nbytes / 2**30:.2f} GiB"
