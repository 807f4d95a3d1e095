"""The chunks of a PNG: where they are, and which of them are sound.

They are judged alike in files of every size, before a decoder sees them, because decoders do not
agree on them: Pillow looks at no checksum from the first pixels on, and misses no end.
"""

from __future__ import annotations

import io
import struct
import zlib
from collections.abc import Sequence
from typing import BinaryIO, NamedTuple

from genloom.errors import ImageError, counted
from genloom.limits import MAX_PNG_CHUNKS, MAX_PNG_OTHER_BYTES, MAX_PNG_OTHER_CHUNKS

SIGNATURE = b"\x89PNG\r\n\x1a\n"
PIXELS = (b"IDAT", b"fdAT")
"""Chunks of pixels: of a still picture or the first frame, and of further frames."""

PART = 2**20
BROKEN = "the file is damaged: a part of the PNG is broken or cut short"


class Chunk(NamedTuple):
    """One chunk: its name, where its body begins in the file, and the bytes of the body."""

    name: bytes
    at: int
    length: int

    @property
    def is_ancillary(self) -> bool:
        """Whether the pixels can be understood without it."""
        return bool(self.name[0] & 0x20)

    def read(self, file: BinaryIO) -> bytes:
        """All of it, with its length, name and checksum."""
        file.seek(self.at - 8)
        return file.read(self.length + 12)

    def is_sound(self, file: BinaryIO) -> bool:
        """Whether its checksum is right."""
        file.seek(self.at)
        check = zlib.crc32(self.name)
        for done in range(0, self.length, PART):
            check = zlib.crc32(file.read(min(PART, self.length - done)), check)
        return file.read(4) == struct.pack(">I", check)


def chunks_of(file: BinaryIO) -> list[Chunk] | None:
    """The chunks of a PNG, to IEND or to where it is cut short; None if it is no PNG.

    Raises:
        ImageError: when there are more of them than `genloom.limits` allows.
    """
    file.seek(0)
    if file.read(8) != SIGNATURE:
        return None
    chunks: list[Chunk] = []
    size, at, others = file.seek(0, io.SEEK_END), 8, 0
    while at + 12 <= size:
        file.seek(at)
        length, name = struct.unpack(">I4s", file.read(8))
        if at + 12 + length > size:
            break
        chunks.append(Chunk(name, at + 8, length))
        others += name not in PIXELS
        _check_count(len(chunks), MAX_PNG_CHUNKS, "chunks")
        _check_count(others, MAX_PNG_OTHER_CHUNKS, "chunks besides its pixels")
        at += 12 + length
        if name == b"IEND":
            break
    _check_count(other_bytes(chunks), MAX_PNG_OTHER_BYTES, "bytes besides its pixels")
    return chunks


def other_bytes(chunks: Sequence[Chunk]) -> int:
    """The bytes of the chunks that hold no pixels."""
    return sum(chunk.length + 12 for chunk in chunks if chunk.name not in PIXELS)


def is_animated(chunks: Sequence[Chunk]) -> bool:
    """Whether the file says, before its pixels, that it has several frames."""
    names = [chunk.name for chunk in chunks]
    return b"acTL" in names[: names.index(b"IDAT") if b"IDAT" in names else len(names)]


def sound(file: BinaryIO, chunks: Sequence[Chunk]) -> tuple[list[Chunk], tuple[str, ...]]:
    """The chunks of a still PNG without damaged ones that do not matter, and notes on those.

    Only behind the first pixels does a damaged one not matter, and only if it is ancillary.

    Raises:
        ImageError: when one that matters is damaged, or the file is cut short.
    """
    headers = [at for at, chunk in enumerate(chunks) if chunk.name == b"IHDR"]
    if headers != [0] or chunks[-1].name != b"IEND":
        raise ImageError(BROKEN)
    chunks = [chunk for chunk in chunks if chunk.name != b"fdAT"]  # a still one has no frames
    kept: list[Chunk] = []
    behind = False
    for chunk in chunks:
        behind = behind or chunk.name == b"IDAT"
        if chunk.is_sound(file):
            kept.append(chunk)
        elif not (behind and chunk.is_ancillary):
            raise ImageError(BROKEN)
    left_out = len(chunks) - len(kept)
    was = "was" if left_out == 1 else "were"
    note = f"{counted(left_out, 'damaged chunk')} behind the pixels {was} left out"
    return kept, (note,) if left_out else ()


def made(name: bytes, body: bytes) -> bytes:
    """A chunk of that name, with its length and checksum."""
    check = zlib.crc32(body, zlib.crc32(name))
    return b"".join((struct.pack(">I", len(body)), name, body, struct.pack(">I", check)))


def put(file: BinaryIO, name: bytes, body: bytes) -> None:
    """Write a chunk, as `made` makes it, without a copy of its body: other threads can go on."""
    file.write(struct.pack(">I", len(body)) + name)
    file.write(body)
    file.write(struct.pack(">I", zlib.crc32(body, zlib.crc32(name))))


def _check_count(count: int, most: int, what: str) -> None:
    if count > most:
        raise ImageError(f"the PNG has too many {what}", expected=f"at most {most}", got=f"{count}")
