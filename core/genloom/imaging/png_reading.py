"""A large PNG as many small ones, so that a decoder never holds more than a strip of it.

The rows of a PNG are stored as differences from the row above. A strip can stand for itself once
the row above its first one is put before it, as it is: the decoder that has given that row makes
the strip out of it. Packing is left out, for it costs time and saves nothing.
"""

from __future__ import annotations

import struct
import zlib
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from itertools import dropwhile, takewhile
from typing import BinaryIO

from genloom import scratch
from genloom.errors import ImageError
from genloom.imaging.png_chunks import BROKEN, PART, SIGNATURE, Chunk, is_animated, made
from genloom.types import Array

CHANNELS = {0: 1, 2: 3, 4: 2, 6: 4}
"""Samples of a pixel by the type of colour; palettes are not cut."""


@dataclass(frozen=True)
class CutPng:
    """A PNG whose rows can be had in strips.

    Attributes:
        width, height: in pixels.
        depth: bits of a sample, 8 or 16.
        colours: the type of colour.
        chunks: of the file, the header first.
    """

    width: int
    height: int
    depth: int
    colours: int
    chunks: tuple[Chunk, ...]

    @property
    def piece(self) -> int:
        """Bytes of the most rows that are decoded at once, and of the PNG made of them for that."""
        return 2 * max(scratch.STRIP, 2 * self.row)

    @property
    def channels(self) -> int:
        """Samples of a pixel as they are stored."""
        return CHANNELS[self.colours]

    @property
    def row(self) -> int:
        """Bytes of a row as it is stored, with the number of its filter."""
        return 1 + self.width * self.channels * self.depth // 8

    def strips(
        self, file: BinaryIO, decode: Callable[[bytes], Array]
    ) -> Iterator[tuple[slice, Array]]:
        """Rows and their samples, as `decode` makes them of the PNGs it is handed.

        Raises:
            ImageError: when the rows are cut short or damaged.
        """
        steps = list(scratch.row_slices(self.height, self.height * self.row))
        sizes = [(rows.stop - rows.start) * self.row for rows in steps]
        before = b"".join(self._clear(file))
        above = b""
        for rows, stored in zip(steps, self._unpacked(file, sizes), strict=True):
            samples = decode(self._png(before, above, stored))[bool(above) :]
            yield rows, samples
            last = samples[-1, :, : self.channels]
            above = b"\0" + last.astype(last.dtype.newbyteorder(">")).tobytes()

    def bare(self, file: BinaryIO) -> bytes:
        """A PNG of one pixel with all other chunks of the file."""
        first = next((chunk for chunk in self.chunks if chunk.name == b"IDAT"), None)
        pixel = zlib.compress(bytes(1 + self.channels * self.depth // 8))
        parts = [SIGNATURE, self._header(1, 1)]
        for chunk in self.chunks[1:]:
            if chunk.name != b"IDAT":
                parts.append(chunk.read(file))
            elif chunk is first:
                parts.append(made(b"IDAT", pixel))
        return b"".join(parts)

    def _clear(self, file: BinaryIO) -> Iterator[bytes]:
        """Which colour is transparent: three numbers at most."""
        for chunk in self.chunks:
            if chunk.name == b"tRNS":
                file.seek(chunk.at)
                yield made(b"tRNS", file.read(min(6, chunk.length)))

    def _png(self, before: bytes, above: bytes, stored: bytes) -> bytes:
        rows = zlib.compress(above + stored, 0)
        header = self._header(self.width, (len(above) + len(stored)) // self.row)
        parts = (SIGNATURE, header, before, made(b"IDAT", rows), made(b"IEND", b""))
        return b"".join(parts)

    def _unpacked(self, file: BinaryIO, sizes: Sequence[int]) -> Iterator[bytes]:
        """The stored rows, so many bytes at a time."""
        unpacker, bodies = zlib.decompressobj(), self._packed(file)
        packed = b""
        for size in sizes:
            stored = bytearray()
            while len(stored) < size:
                packed = packed or next(bodies, b"")
                if unpacker.eof or not packed:
                    raise ImageError("the file is damaged: cut short")
                try:
                    stored += unpacker.decompress(packed, size - len(stored))
                except zlib.error:
                    raise ImageError(BROKEN) from None
                packed = unpacker.unconsumed_tail
            yield bytes(stored)

    def _packed(self, file: BinaryIO) -> Iterator[bytes]:
        """The packed rows, in parts that are not large."""
        # Those that follow on the first without a gap; decoders pass over any after that.
        behind = dropwhile(lambda chunk: chunk.name != b"IDAT", self.chunks)
        for chunk in takewhile(lambda chunk: chunk.name == b"IDAT", behind):
            file.seek(chunk.at)
            for done in range(0, chunk.length, PART):
                yield file.read(min(PART, chunk.length - done))

    def _header(self, width: int, height: int) -> bytes:
        said = (width, height, self.depth, self.colours, 0, 0, 0)
        return made(b"IHDR", struct.pack(">IIBBBBB", *said))


def cut_png(file: BinaryIO, chunks: Sequence[Chunk]) -> CutPng | None:
    """How a large PNG is cut; None for all else, and where rows do not follow each other."""
    if not chunks or chunks[0].name != b"IHDR" or chunks[0].length != 13 or is_animated(chunks):
        return None
    header = chunks[0].read(file)[8:]
    width, height, depth, colours, _, _, interlaced = struct.unpack_from(">IIBBBBB", header)
    if interlaced or depth not in (8, 16) or colours not in CHANNELS:
        return None
    cut = CutPng(width, height, depth, colours, tuple(chunks))
    return None if height * cut.row <= scratch.STRIP else cut
