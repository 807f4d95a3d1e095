"""From a file to pixels."""

from __future__ import annotations

import io
import stat
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, BinaryIO

import numpy as np

from genloom.errors import ImageError
from genloom.imaging import deep, guard
from genloom.imaging.formats import (
    DECODERS,
    SPARSE,
    check_density,
    check_size,
    prepare_pillow,
    telling,
)
from genloom.imaging.metadata import (
    ORIENTATION,
    descriptive_exif,
    dpi_of,
    exif_of,
    icc_fits,
    orient,
)
from genloom.imaging.modes import PALETTE_MODES, stored_samples
from genloom.imaging.png import RECORD
from genloom.imaging.tiff import XMP
from genloom.imaging.webp import is_lossless
from genloom.imaging.xmp import carried, record_in
from genloom.limits import MAX_FRAMES, PEAK, USUAL_PEAK
from genloom.types import Array, ImageInfo

if TYPE_CHECKING:
    from PIL import Image


BAD_EXIF = "the EXIF data is damaged and was left out"
XMP_CHUNK = "XML:com.adobe.xmp"
BAD_XMP = "the XMP data is too large, damaged or unusual and was left out"


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


@dataclass(frozen=True)
class _Raw:
    """Samples as stored, and what is still to be done with them."""

    samples: Array
    info: ImageInfo
    orientation: int = 1
    notes: tuple[str, ...] = ()


def read(path: Path, data: bytes | None = None) -> Picture:
    """Decode a file, or `data` in its stead; of several frames or pages, the first.

    Raises:
        ImageError: whatever is wrong with the file, its bytes or its name; or it is above one of
            the limits of `genloom.limits`, or would take more memory than is free.
    """
    with telling(path, "cannot be read"):
        prepare_pillow()
        header = _header_of(path, data)
        with guard.room(header.peak):
            return _decode(path.read_bytes() if data is None else data)


def probe(path: Path, data: bytes | None = None) -> tuple[int, int, int]:
    """Height and width (upright) and the bytes that decoding takes, from the header alone.

    Raises:
        ImageError: the header cannot be read, or claims too many pixels.
    """
    with telling(path, "cannot be read"):
        prepare_pillow()
        header = _header_of(path, data)
        return header.height, header.width, header.nbytes


def read_record(path: Path) -> str:
    """The record of how a picture was made, as `write` was given it; empty when it has none.

    Raises:
        ImageError: whatever is wrong with the file's name or its first bytes.
    """
    with telling(path, "cannot be read"):
        prepare_pillow()
        _header_of(path, None)
        data = path.read_bytes()
        layout = deep.tiff_layout(io.BytesIO(data))
        if layout is not None:
            own, packet = "", layout.tags.get(XMP, b"")
        else:
            with _open(io.BytesIO(data)) as image:
                own, packet = image.info.get(RECORD, ""), image.info.get("xmp", b"")
        return str(own) or (record_in(packet) if isinstance(packet, bytes) else "")


@dataclass(frozen=True)
class _Header:
    """Size upright, the bytes of the pixels, and the bytes that decoding holds at its peak."""

    height: int
    width: int
    nbytes: int
    peak: int


def _header_of(path: Path, data: bytes | None) -> _Header:
    if data is not None:
        return _measure(io.BytesIO(data), len(data))
    found = path.stat()
    # A pipe or a device could keep a reader waiting, or reading, for ever.
    if not stat.S_ISREG(found.st_mode):
        raise ImageError("not a file", got="a folder" if path.is_dir() else "a special file")
    with path.open("rb") as file:
        return _measure(file, found.st_size)


def _open(file: BinaryIO) -> Image.Image:
    from PIL import Image

    return Image.open(file, formats=DECODERS)


def _measure(file: BinaryIO, size: int) -> _Header:
    from PIL import UnidentifiedImageError

    guard.check_bytes(size)
    guard.check_room(size)  # some decoders take the whole file to tell its size
    guard.check_header(file)
    start, layout, format = file.read(32), deep.tiff_layout(file), "TIFF"
    file.seek(0)
    try:
        with _open(file) as image:
            height, width, format = image.height, image.width, image.format or ""
            pixel = len(image.getbands()) if image.mode not in PALETTE_MODES else 4
            # Pillow turns TIFFs by itself; for others, PNGs may keep EXIF behind their pixels.
            if format != "TIFF" and "exif" in image.info and _turned(image):
                height, width = width, height
    except UnidentifiedImageError:
        if layout is None:
            raise
        height, width, pixel = layout.height, layout.width, layout.samples
    check_size(height, width)
    if format not in SPARSE and (layout is None or layout.is_plain):
        check_density(height, width, size)
    nbytes = height * width * pixel * _sample_bytes(start, layout)
    return _Header(height, width, nbytes, size + nbytes * PEAK.get(format, USUAL_PEAK))


def _turned(image: Image.Image) -> bool:
    try:
        return _orientation(image) > 4
    except Exception:  # damaged EXIF, which is left out
        return False


def _sample_bytes(start: bytes, layout: deep.TiffLayout | None) -> int:
    """Bytes a decoded sample takes, at the most."""
    if layout is not None:
        return min(4, -(-layout.bits // 8))
    return 2 if deep.is_deep_png(start) or start[:2] in (b"P2", b"P5", b"P6") else 1


def _decode(data: bytes) -> Picture:
    layout = deep.tiff_layout(io.BytesIO(data))
    if layout is not None and layout.is_deep:
        raw = _deep_tiff(data, layout)
    else:
        with _open(io.BytesIO(data)) as image:
            if image.format in ("JPEG", "MPO"):
                guard.check_scans(data, image.height * image.width)
            raw = _deep_png(data, image) if deep.is_deep_png(data) else _plain(data, image)
    return _finish(raw)


def _orientation(image: Image.Image) -> int:
    value = image.getexif().get(ORIENTATION, 1)
    return value if isinstance(value, int) and 1 <= value <= 8 else 1


def _described(raw: _Raw, image: Image.Image, data: bytes) -> _Raw:
    """The same samples with what the loaded `image` says besides pixels."""
    icc = image.info.get("icc_profile")
    info = replace(
        raw.info,
        format="JPEG" if image.format == "MPO" else image.format or "",
        icc=raw.info.icc if icc is None or raw.info.icc == b"" else bytes(icc),
        dpi=dpi_of(image.info.get("dpi")),
    )
    notes = list(raw.notes)
    try:
        orientation = _orientation(image)
        info = replace(info, exif=exif_of(image))
    except Exception:  # damaged EXIF is no reason to lose the picture
        orientation = 1
        notes.append(BAD_EXIF)
    if image.format == "HEIF" and (depth := image.info.get("bit_depth", 8)) > 8:
        notes.append(f"{depth}-bit picture was read with 8 bits")
    if frames := _frames(image, data) - 1:
        many = frames if frames < MAX_FRAMES else f"{MAX_FRAMES} or more"
        notes.append(f"only the first frame was read; {many} left out")
    if (raw_xmp := image.info.get("xmp") or image.info.get(XMP_CHUNK)) is not None:
        info = _with_xmp(info, raw_xmp, notes)
    if "comment" in image.info or {*getattr(image, "text", ())} - {RECORD, XMP_CHUNK}:
        notes.append("text comments were left out")
    return replace(raw, info=info, orientation=orientation, notes=tuple(notes))


def _with_xmp(info: ImageInfo, raw: object, notes: list[str]) -> ImageInfo:
    packet = carried(raw)
    if packet is None:
        notes.append(BAD_XMP)
    elif b"HasExtendedXMP" in packet:
        notes.append("the XMP data goes on in other segments, which were left out")
    return replace(info, xmp=packet or None)


def _frames(image: Image.Image, data: bytes) -> int:
    if image.format in ("GIF", "TIFF"):  # Pillow reads all of them to tell
        return guard.frames(data)
    try:
        return min(int(getattr(image, "n_frames", 1)), MAX_FRAMES + 1)
    except Exception:  # a later frame is damaged; the first one is good
        return 1


def _deep_png(data: bytes, image: Image.Image) -> _Raw:
    samples = deep.deep_png(data)
    image.load()  # EXIF may stand behind the pixels
    if (clear := image.info.get("transparency")) is not None:
        alpha = np.where((samples == np.asarray(clear)).all(axis=2), 0, 65535).astype(np.uint16)
        samples = np.dstack([samples, alpha])
    return _described(_Raw(samples, ImageInfo(bits=16)), image, data)


def _deep_tiff(data: bytes, layout: deep.TiffLayout) -> _Raw:
    from PIL import Image

    samples = deep.deep_tiff(data, layout)
    bits = 16 if samples.dtype == np.uint16 else 32
    tags, notes, channels = layout.tags, [], 3 if layout.photometric == 2 else 1
    if samples.shape[2] < channels:
        raise ImageError("the file is damaged: too few channels")
    if layout.bits == 64 or (layout.bits == 32 and layout.kind == layout.UNSIGNED):
        notes.append(f"{layout.bits}-bit samples were read as 32-bit floats")
    samples, more = _tiff_alpha(samples, tags.get(338, ()), channels)
    exif = None
    try:
        directory = Image.Exif()
        directory.load_from_fp(io.BytesIO(data))
        exif = descriptive_exif(directory)
    except Exception:  # damaged EXIF is no reason to lose the picture
        notes.append(BAD_EXIF)
    per_inch = 2.54 if tags.get(296, 2) == 3 else 1.0
    dpi = dpi_of((tags.get(282), tags.get(283)))
    info = ImageInfo(
        format="TIFF",
        bits=bits,
        icc=tags.get(34675),
        exif=exif,
        dpi=(dpi[0] * per_inch, dpi[1] * per_inch) if dpi and tags.get(296, 2) != 1 else None,
    )
    if XMP in tags:
        info = _with_xmp(info, tags[XMP], notes)
    if tags.next:
        notes.append("only the first page was read; more were left out")
    orientation = int(tags.get(ORIENTATION, 1))
    return _Raw(samples, info, orientation, (*notes, *more))


def _tiff_alpha(
    samples: Array, meanings: tuple[int, ...], colours: int
) -> tuple[Array, tuple[str, ...]]:
    """Colour and at most one straight alpha out of all samples of a TIFF, with notes."""
    extra = samples.shape[2] - colours
    colour = samples[..., :colours]
    if not extra:
        return colour, ()
    # 1 is premultiplied, 2 is straight; nothing said means straight, as in Pillow.
    at = next((i for i, m in enumerate(meanings[:extra]) if m in (1, 2)), None if meanings else 0)
    dropped = extra - (at is not None)
    notes = (f"{dropped} extra channels of the TIFF were left out",) if dropped else ()
    if at is None:
        return colour, notes
    alpha = samples[..., colours + at, None]
    if meanings and meanings[at] == 1:
        colour = _straight(colour, alpha)
    return np.concatenate([colour, alpha], axis=2), notes


def _straight(colour: Array, alpha: Array) -> Array:
    """Colour divided by its alpha; black where nothing shows."""
    top = 65535 if colour.dtype == np.uint16 else 1
    scale = top / np.maximum(alpha.astype(np.float64), 1 if top > 1 else 1e-6)
    colours = np.where(alpha > 0, colour * scale, 0)
    return (np.minimum(np.rint(colours), top) if top > 1 else colours).astype(colour.dtype)


def _plain(data: bytes, image: Image.Image) -> _Raw:
    """What Pillow decodes without loss."""
    binary = deep.binary_ppm(data)
    if binary is not None:
        return _described(_Raw(binary, ImageInfo(bits=8 * binary.itemsize)), image, data)
    image.load()
    samples, bits, notes = stored_samples(image)
    mode = "palette" if image.mode in PALETTE_MODES else "rgb"
    # An empty profile says that the file's own one must not be kept: the colours were converted.
    icc = b"" if image.mode in ("CMYK", "LAB") else None
    lossless = image.format == "WEBP" and is_lossless(data)
    info = ImageInfo(mode=mode, bits=bits, icc=icc, lossless=lossless)
    return _described(_Raw(samples, info, notes=notes), image, data)


def _finish(raw: _Raw) -> Picture:
    """Turn upright, part alpha from colour, drop a profile that does not fit."""
    samples = np.ascontiguousarray(orient(raw.samples, raw.orientation))
    channels = 1 if samples.shape[2] < 3 else 3
    alpha = None
    if samples.shape[2] in (2, 4):
        alpha = np.ascontiguousarray(samples[..., channels])
        samples = np.ascontiguousarray(samples[..., :channels])
    mode = raw.info.mode if channels == 3 else "grey"
    info, notes = replace(raw.info, mode=mode, icc=raw.info.icc or None), raw.notes
    if info.icc is not None and not icc_fits(info.icc, channels):
        info = replace(info, icc=None)
        notes = (*notes, "the ICC profile does not fit the picture and was left out")
    return Picture(samples, alpha, info, notes)
