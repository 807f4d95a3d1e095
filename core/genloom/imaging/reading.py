"""From a file to pixels."""

from __future__ import annotations

import io
import stat
import struct
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, BinaryIO

from genloom import scratch
from genloom.errors import ImageError
from genloom.imaging import deep, guard, png_chunks
from genloom.imaging.decoding import Raw, decode, opened, orientation_of
from genloom.imaging.formats import SPARSE, check_density, check_size, prepare_pillow, telling
from genloom.imaging.gif import xmp_in
from genloom.imaging.metadata import icc_fits, orient
from genloom.imaging.modes import PALETTE_MODES
from genloom.imaging.png import HEADER_END, RECORD
from genloom.imaging.png_chunks import SIGNATURE, Chunk
from genloom.imaging.png_reading import CHANNELS, CutPng, cut_png
from genloom.imaging.tiff import XMP
from genloom.imaging.tiff_reading import CutTiff, cut_tiff
from genloom.imaging.xmp import record_in
from genloom.limits import COPIES, PEAK, USUAL_PEAK
from genloom.types import Array, ImageInfo, changed

if TYPE_CHECKING:
    from PIL import Image


@dataclass(frozen=True)
class Picture:
    """One decoded file, upright.

    Attributes:
        pixels: H×W×C, C is 1 (grey) or 3 (RGB); uint8, uint16, or float32 where 1 is white.
        alpha: opacity, H×W, of the type of the pixels; None when the file has none.
        info: what else the file said, without what no longer fits these pixels.
        notes: what was left out or changed on reading.
    """

    pixels: Array
    alpha: Array | None
    info: ImageInfo
    notes: tuple[str, ...] = ()


def read(path: Path, data: bytes | None = None) -> Picture:
    """Decode a file, or `data` in its stead; of several frames or pages, the first.

    Raises:
        ImageError: whatever is wrong with the file, its bytes or its name; or it is above one of
            the limits of `genloom.limits`, or would take more memory than is free.
    """
    with telling(path, "cannot be read"):
        prepare_pillow()
        # What the decoder held is let go before the picture is turned upright.
        if data is None:
            with guard.room(_header_of(path, data).peak):
                with path.open("rb") as opened_file:
                    raw = decode(opened_file)
                return _finish(raw)
        file, apart = io.BytesIO(data), io.BytesIO(data)
        with _measured(file, len(data), apart) as (header, image), guard.room(header.peak):
            raw = decode(file, image, header.chunks)
        return _finish(raw)


def probe(path: Path, data: bytes | None = None) -> tuple[int, int, int]:
    """Height and width (upright) and the bytes that decoding takes, from the header alone.

    Raises:
        ImageError: the header cannot be read, or the file is above a limit of `genloom.limits`.
    """
    with telling(path, "cannot be read"):
        prepare_pillow()
        header = _header_of(path, data)
        return header.height, header.width, header.nbytes


def decoded_bytes(path: Path, data: bytes | None = None) -> int:
    """The bytes that decoding a file takes, or `data` in its stead: `probe`, and quicker for PNG.

    Raises:
        ImageError: the header cannot be read, or claims too many pixels.
    """
    if data is None or data[:8] != SIGNATURE or len(data) < HEADER_END or data[12:16] != b"IHDR":
        return probe(path, data)[2]
    width, height, depth, colours = struct.unpack_from(">IIBB", data, 16)
    with telling(path, "cannot be read"):
        check_size(height, width)
        check_density(height, width, len(data))
    return int(height * width * CHANNELS.get(colours, 4) * (2 if depth == 16 else 1))


def read_record(path: Path) -> str:
    """The record of how a picture was made, as `write` was given it; empty when it has none.

    Raises:
        ImageError: whatever is wrong with the file's name or its first bytes.
    """
    with telling(path, "cannot be read"):
        prepare_pillow()
        _header_of(path, None)
        with path.open("rb") as file:
            layout = deep.tiff_layout(file)
            if layout is not None:
                own, packet = "", layout.tags.get(XMP, b"")
            else:
                file.seek(0)
                with opened(file) as image:
                    own, packet = image.info.get(RECORD, ""), image.info.get("xmp", b"")
                    if image.format == "GIF":
                        file.seek(0)
                        packet = xmp_in(file.read()) or b""
        return str(own) or (record_in(packet) if isinstance(packet, bytes) else "")


@dataclass(frozen=True)
class _Header:
    """Size upright, the bytes of the pixels, and the bytes that decoding holds at its peak.

    And of a PNG its chunks.
    """

    height: int
    width: int
    nbytes: int
    peak: int
    chunks: list[Chunk] | None = None


def _header_of(path: Path, data: bytes | None) -> _Header:
    if data is not None:
        return _measure(io.BytesIO(data), len(data))
    found = path.stat()
    # A pipe or a device could keep a reader waiting, or reading, for ever.
    if not stat.S_ISREG(found.st_mode):
        raise ImageError("not a file", got="a folder" if path.is_dir() else "a special file")
    with path.open("rb") as file:
        return _measure(file, found.st_size)


def _measure(file: BinaryIO, size: int) -> _Header:
    with _measured(file, size) as (header, _):
        return header


@contextmanager
def _measured(
    file: BinaryIO, size: int, apart: BinaryIO | None = None
) -> Iterator[tuple[_Header, Image.Image | None]]:
    """The header of a file, and the picture as Pillow opened it, which knows not all TIFFs.

    The picture is opened in `apart`, the same bytes once more, if they are to be had.
    """
    from PIL import UnidentifiedImageError

    guard.check_bytes(size)
    start = file.read(32)
    if not start.startswith((SIGNATURE, *guard.TIFF_ORDERS)):
        guard.check_room(size)  # some decoders take the whole file to tell its size
    file.seek(0)
    guard.check_header(file)
    chunks = png_chunks.chunks_of(file)
    guard.check_room(COPIES * png_chunks.other_bytes(chunks or ()))
    layout = deep.tiff_layout(file) if chunks is None else None
    file.seek(0)
    try:
        image = opened(apart or file)
    except UnidentifiedImageError:
        if layout is None:
            raise
        yield _header(file, size, start, layout, chunks, None), None
    else:
        with image:
            yield _header(file, size, start, layout, chunks, image), image


def _header(
    file: BinaryIO,
    size: int,
    start: bytes,
    layout: deep.TiffLayout | None,
    chunks: list[Chunk] | None,
    image: Image.Image | None,
) -> _Header:
    """What an opened picture, or else the layout of a TIFF, says; refused beyond the limits."""
    if image is not None:
        height, width, pixel, format = _shape(image)
    else:
        assert layout is not None  # else there would have been an error
        height, width, pixel, format = layout.height, layout.width, layout.samples, "TIFF"
    check_size(height, width)
    if format not in SPARSE and (layout is None or layout.is_plain):
        check_density(height, width, size)
    nbytes = height * width * pixel * _sample_bytes(start, layout)
    cut: CutPng | CutTiff | None
    cut = cut_png(file, chunks or ()) if layout is None else cut_tiff(file, layout)
    if cut is not None:
        beside = png_chunks.other_bytes(chunks or ())
        peak = COPIES * (scratch.resident(nbytes) + beside) + USUAL_PEAK * cut.piece
        return _Header(height, width, nbytes, peak, chunks)
    return _Header(height, width, nbytes, size + nbytes * PEAK.get(format, USUAL_PEAK), chunks)


def _shape(image: Image.Image) -> tuple[int, int, int, str]:
    """Height and width upright, samples of a pixel, and format of a picture that is opened."""
    height, width, format = image.height, image.width, image.format or ""
    # Pillow turns TIFFs by itself; for others, PNGs may keep EXIF behind their pixels.
    if format != "TIFF" and "exif" in image.info and _turned(image):
        height, width = width, height
    pixel = 4 if image.mode in PALETTE_MODES else len(image.getbands())
    pixel += pixel in (1, 3) and "transparency" in image.info
    return height, width, pixel, format


def _turned(image: Image.Image) -> bool:
    try:
        return orientation_of(image) > 4
    except Exception:  # damaged EXIF, which is left out
        return False


def _sample_bytes(start: bytes, layout: deep.TiffLayout | None) -> int:
    """Bytes a decoded sample takes, at the most."""
    if layout is not None:
        return min(4, -(-layout.bits // 8))
    return 2 if deep.is_deep_png(start) or start[:2] in (b"P2", b"P5", b"P6") else 1


def _finish(raw: Raw) -> Picture:
    """Turn upright, part alpha from colour, drop a profile that does not fit."""
    samples = scratch.contiguous(orient(raw.samples, raw.orientation))
    channels = 1 if samples.shape[2] < 3 else 3
    alpha = None
    if samples.shape[2] in (2, 4):
        alpha = scratch.contiguous(samples[..., channels])
        samples = scratch.contiguous(samples[..., :channels])
    mode = raw.info.mode if channels == 3 else "grey"
    info, notes = changed(raw.info, mode=mode, icc=raw.info.icc or None), raw.notes
    if info.icc is not None and not icc_fits(info.icc, channels):
        info = replace(info, icc=None)
        notes = (*notes, "the ICC profile does not fit the picture and was left out")
    return Picture(samples, alpha, info, notes)
