"""What is looked at before a decoder is: files that would keep one busy, or fill the memory."""

from __future__ import annotations

import io
import itertools
import re
import struct
import threading
from collections.abc import Iterator
from contextlib import contextmanager, nullcontext
from typing import BinaryIO

import numpy as np

from genloom import machine
from genloom.errors import ImageError
from genloom.limits import (
    LARGE,
    MAX_FRAMES,
    MAX_HEADER_BYTES,
    MAX_PICTURE_BYTES,
    MAX_SCANNED,
    MAX_TAG_VALUES,
    MAX_TEXT_PPM_BYTES,
    ROOM,
)
from genloom.types import Array

_one_at_a_time = threading.Lock()

_GAP = rb"(?:\s|#[^\r\n]*[\r\n])+"
PPM_HEADER = re.compile(
    rb"P[1-6]" + _GAP + rb"(?P<width>\d{1,9})" + _GAP + rb"(?P<height>\d{1,9})"
    rb"(?:" + _GAP + rb"(?P<top>\d{1,9}))?\s"
)
"""The header of a PBM, which has no largest value, a PGM or a PPM."""
_SCAN = re.compile(rb"\xff\xda\0(?:\x08\x01|\x0a\x02|\x0c\x03|\x0e\x04)")
TIFF_ORDERS = {b"II*\0": "<", b"MM\0*": ">", b"II+\0": "<", b"MM\0+": ">"}
_TIFF_SIZES = np.array([0, 1, 1, 2, 4, 8, 1, 1, 2, 4, 8, 4, 8, 4, 0, 0, 8, 8, 8], np.uint64)
_BYTES = (1, 2, 7)  # types of tags that are read as one text


@contextmanager
def room(nbytes: int) -> Iterator[None]:
    """Decode something that takes that many bytes at its peak; large ones wait for each other.

    Raises:
        ImageError: when so much memory is not free.
    """
    # One after the other, so that two do not both count on the same memory.
    with _one_at_a_time if nbytes > LARGE else nullcontext():
        check_room(nbytes)
        yield


def check_room(nbytes: int) -> None:
    """Refuse what takes more bytes than there is memory free, as far as that can be told."""
    free = machine.free_memory() if nbytes > LARGE else None
    if free is not None and nbytes > ROOM * free:
        raise ImageError(
            "there is not enough memory to decode it",
            expected=f"at most {ROOM * free / 2**30:.1f} GiB, {ROOM:.0%} of what is free",
            got=f"up to {nbytes / 2**30:.1f} GiB",
        )


def check_bytes(size: int) -> None:
    """Refuse a file without bytes, or of more than `MAX_PICTURE_BYTES`."""
    if size == 0:  # so do those of /proc say, which may have bytes without end
        raise ImageError("the file is empty")
    if size > MAX_PICTURE_BYTES:
        raise ImageError(
            "the file is too large", expected=f"at most {MAX_PICTURE_BYTES} bytes", got=f"{size}"
        )


def check_header(file: BinaryIO) -> None:
    """Refuse headers that Pillow would read for minutes; the file is at its beginning again."""
    start = file.read(MAX_HEADER_BYTES)
    if re.match(rb"P[1-6]\s", start):
        _check_ppm(start, file.seek(0, io.SEEK_END))
    elif start[:4] in TIFF_ORDERS:
        _check_directory(file)
    file.seek(0)


def _check_ppm(start: bytes, size: int) -> None:
    if not PPM_HEADER.match(start):
        raise ImageError("the file is damaged: its header has no size, or is too long")
    if start[:2] in (b"P1", b"P2", b"P3") and size > MAX_TEXT_PPM_BYTES:
        raise ImageError(
            "the file is too large for pixels that are written as text",
            expected=f"at most {MAX_TEXT_PPM_BYTES} bytes",
            got=f"{size}",
        )


def _check_directory(file: BinaryIO) -> None:
    """Refuse a TIFF whose tags claim more than there is, or one of which is a list without end."""
    size = file.seek(0, io.SEEK_END)
    for entries in _directories(file):
        plain = entries["type"] < len(_TIFF_SIZES)
        kinds, counts = entries["type"][plain], entries["count"][plain].astype(np.float64)
        if (counts[~np.isin(kinds, _BYTES)] > MAX_TAG_VALUES).any():
            raise ImageError(
                "a tag of the TIFF has too many values",
                expected=f"at most {MAX_TAG_VALUES}",
                got=f"{counts.max():.0f}",
            )
        if (counts * _TIFF_SIZES[kinds]).sum() > size:
            raise ImageError("the file is damaged: its tags claim more bytes than it has")
        return  # only the first page is read


def _directories(file: BinaryIO) -> Iterator[Array]:
    """The entries of each directory of a TIFF, until one leads nowhere or back."""
    file.seek(0)
    seen = {0}
    start = file.read(16)
    order, big = TIFF_ORDERS[start[:4]], b"+" in start[:4]
    offset, counter, tail = ("Q", "Q", 20) if big else ("I", "H", 12)
    entry = np.dtype(
        [("tag", f"{order}u2"), ("type", f"{order}u2"), ("count", f"{order}u{8 if big else 4}"),
         ("value", f"V{8 if big else 4}")]
    )  # fmt: skip
    try:
        (at,) = struct.unpack_from(order + offset, start, 8 if big else 4)
        while at not in seen:
            seen.add(at)
            file.seek(at)
            (count,) = struct.unpack(order + counter, file.read(8 if big else 2))
            table = file.read(min(count, 65535) * tail)
            yield np.frombuffer(table[: len(table) // tail * tail], entry)
            (at,) = struct.unpack(order + offset, file.read(8 if big else 4))
    except (struct.error, OverflowError, OSError, ValueError):
        return  # cut short: decoding says so, where it matters


def check_scans(data: bytes, pixels: int) -> None:
    """Refuse a JPEG whose scans together go over more than `MAX_SCANNED` pixels."""
    most = MAX_SCANNED // pixels
    # Entropy-coded bytes never look like the beginning of a scan.
    scans = sum(1 for _ in _SCAN.finditer(data))
    if scans > most:
        raise ImageError(
            "the JPEG has too many scans for its size", expected=f"at most {most}", got=f"{scans}"
        )


def frames(file: BinaryIO) -> int:
    """How many frames or pages a GIF or TIFF has, counted up to `MAX_FRAMES` + 1."""
    file.seek(0)
    if file.read(3) == b"GIF":
        file.seek(0)
        return max(1, _gif_frames(file.read()))
    pages = itertools.islice(_directories(file), MAX_FRAMES + 1)
    return max(1, sum(1 for _ in pages))


def _gif_frames(data: bytes) -> int:
    def table(flags: int) -> int:
        return 3 << (flags & 7) + 1 if flags & 128 else 0

    count, at = 0, 13 + table(data[10])
    while count <= MAX_FRAMES and at + 10 < len(data):
        if data[at] == 0x2C:
            count += 1
            at += 11 + table(data[at + 9])
        elif data[at] == 0x21:
            at += 2
        else:
            break
        while at < len(data) and data[at]:
            at += data[at] + 1
        at += 1
    return count
