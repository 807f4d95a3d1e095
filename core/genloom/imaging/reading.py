"""From a file to pixels."""

from __future__ import annotations

import io
import stat
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, BinaryIO

import numpy as np

from genloom.errors import ImageError
from genloom.imaging import deep
from genloom.imaging.formats import DECODERS, check_density, check_size, prepare_pillow, telling
from genloom.imaging.metadata import (
    ORIENTATION,
    descriptive_exif,
    dpi_of,
    exif_of,
    icc_fits,
    orient,
)
from genloom.imaging.modes import PALETTE_MODES, stored_samples
from genloom.imaging.webp import is_lossless
from genloom.types import Array, ImageInfo

if TYPE_CHECKING:
    from PIL import Image


BAD_EXIF = "the EXIF data is damaged and was left out"


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
        ImageError: whatever is wrong with the file, its bytes or its name.
    """
    with telling(path, "cannot be read"):
        prepare_pillow()
        return _decode(_bytes_of(path) if data is None else data)


def probe(path: Path, data: bytes | None = None) -> tuple[int, int, int]:
    """Height and width (upright) and the bytes that decoding takes, from the header alone.

    Raises:
        ImageError: the header cannot be read, or claims too many pixels.
    """
    with telling(path, "cannot be read"):
        prepare_pillow()
        if data is not None:
            return _measure(io.BytesIO(data))
        _check_file(path)
        with path.open("rb") as file:
            return _measure(file)


def _check_file(path: Path) -> None:
    # A pipe or a device could keep a reader waiting, or reading, for ever.
    if not stat.S_ISREG(path.stat().st_mode):
        raise ImageError("not a file", got="a folder" if path.is_dir() else "a special file")


def _bytes_of(path: Path) -> bytes:
    _check_file(path)
    return path.read_bytes()


def _open(file: BinaryIO) -> Image.Image:
    from PIL import Image

    return Image.open(file, formats=DECODERS)


def _measure(file: BinaryIO) -> tuple[int, int, int]:
    from PIL import UnidentifiedImageError

    start = file.read(65536)
    file.seek(0)
    try:
        with _open(file) as image:
            height, width = image.height, image.width
            pixel = len(image.getbands()) if image.mode not in PALETTE_MODES else 4
            # Pillow turns TIFFs by itself; for others, PNGs may keep EXIF behind their pixels.
            if image.format != "TIFF" and "exif" in image.info and _orientation(image) > 4:
                height, width = width, height
    except UnidentifiedImageError:
        file.seek(0)
        layout = deep.tiff_layout(file.read())
        if layout is None:
            raise
        height, width, pixel = layout.height, layout.width, layout.samples
    check_size(height, width)
    return height, width, height * width * pixel * _sample_bytes(start)


def _sample_bytes(start: bytes) -> int:
    """Bytes a decoded sample takes, judged by the first bytes of a file."""
    if deep.is_deep_png(start):
        return 2
    if start[:2] in (b"P5", b"P6"):
        return 2 if start[:2] == b"P6" else 4
    try:
        layout = deep.tiff_layout(start)
    except Exception:  # its directory may lie beyond the first bytes
        return 4 if start[:2] in (b"II", b"MM") else 1
    return 1 if layout is None else min(4, -(-layout.bits // 8))


def _decode(data: bytes) -> Picture:
    if not data:
        raise ImageError("the file is empty")
    layout = deep.tiff_layout(data)
    if layout is not None and layout.is_plain:
        check_size(layout.height, layout.width)
        check_density(layout.height, layout.width, len(data))
    if layout is not None and layout.is_deep:
        raw = _deep_tiff(data, layout)
    else:
        with _open(io.BytesIO(data)) as image:
            check_size(image.height, image.width)
            if image.format not in ("TIFF", "WEBP", "AVIF"):
                check_density(image.height, image.width, len(data))
            raw = _deep_png(data, image) if deep.is_deep_png(data) else _plain(data, image)
    return _finish(raw)


def _orientation(image: Image.Image) -> int:
    value = image.getexif().get(ORIENTATION, 1)
    return value if isinstance(value, int) and 1 <= value <= 8 else 1


def _described(raw: _Raw, image: Image.Image) -> _Raw:
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
    if frames := _frames(image) - 1:
        notes.append(f"only the first frame was read; {frames} left out")
    if any(key in image.info for key in ("xmp", "XML:com.adobe.xmp")):
        notes.append("XMP data was left out")
    if "comment" in image.info or getattr(image, "text", None):
        notes.append("text comments were left out")
    return replace(raw, info=info, orientation=orientation, notes=tuple(notes))


def _frames(image: Image.Image) -> int:
    try:
        return int(getattr(image, "n_frames", 1))
    except Exception:  # a later frame is damaged; the first one is good
        return 1


def _deep_png(data: bytes, image: Image.Image) -> _Raw:
    samples = deep.deep_png(data)
    image.load()  # EXIF may stand behind the pixels
    if (clear := image.info.get("transparency")) is not None:
        alpha = np.where((samples == np.asarray(clear)).all(axis=2), 0, 65535).astype(np.uint16)
        samples = np.dstack([samples, alpha])
    return _described(_Raw(samples, ImageInfo(bits=16)), image)


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
    if 700 in tags:
        notes.append("XMP data was left out")
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
    wide = deep.deep_ppm(data) if image.format == "PPM" else None
    if wide is not None:
        return _described(_Raw(wide, ImageInfo(bits=16)), image)
    image.load()
    samples, bits, notes = stored_samples(image)
    mode = "palette" if image.mode in PALETTE_MODES else "rgb"
    # An empty profile says that the file's own one must not be kept: the colours were converted.
    icc = b"" if image.mode in ("CMYK", "LAB") else None
    lossless = image.format == "WEBP" and is_lossless(data)
    info = ImageInfo(mode=mode, bits=bits, icc=icc, lossless=lossless)
    return _described(_Raw(samples, info, notes=notes), image)


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
