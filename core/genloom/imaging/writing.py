"""From pixels to a file."""

from __future__ import annotations

import io
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, BinaryIO

import numpy as np

from genloom import scratch
from genloom.errors import ImageError
from genloom.imaging.fitting import Sheet, fit, leave_out
from genloom.imaging.formats import WRITABLE, can_write, check_size, prepare_pillow, telling
from genloom.imaging.gif import with_xmp
from genloom.imaging.heif import heif_options
from genloom.imaging.jpeg import write_jpeg
from genloom.imaging.metadata import EXIF_PREFIX
from genloom.imaging.palette import indexed
from genloom.imaging.png import RECORD, with_texts, write_png
from genloom.imaging.samples import Samples
from genloom.imaging.tiff import write_tiff
from genloom.imaging.xmp import with_record
from genloom.types import Array, ImageInfo

if TYPE_CHECKING:
    from PIL import Image

FULL_CHROMA = 90  # from this quality on, colour is not subsampled
LOSSLESS = 100
AVIF_SIDE, AVIF_PIXELS = 2**15, 2**28
"""Of the largest AVIF that libavif and Pillow read."""
BUFFER = 2**16
"""Bytes gathered before they are written. Unless said, every file is asked if it is a terminal."""


def write(
    path: Path,
    pixels: Array,
    *,
    ending: str,
    alpha: Array | None = None,
    info: ImageInfo | None = None,
    quality: int = 95,
    palette: bool = True,
    record: str = "",
) -> tuple[str, ...]:
    """Encode a picture into `path`, whose own ending is not looked at; returns notes.

    Not atomic, and nothing is synced: the caller names a temporary path.

    Raises:
        ImageError: it cannot be encoded, or the disk refuses it.
    """
    with telling(path, "cannot be encoded", "cannot be written"):
        sheet = _sheet(pixels, ending, alpha, info, quality, palette, record)
        with path.open("wb", BUFFER) as file:
            _ENCODERS[sheet.format](sheet, file)
        return tuple(sheet.notes)


def encode(
    pixels: Array,
    *,
    ending: str,
    alpha: Array | None = None,
    info: ImageInfo | None = None,
    quality: int = 95,
    palette: bool = True,
    record: str = "",
) -> tuple[bytes, tuple[str, ...]]:
    """A picture as the bytes of a file, with notes on what the format could not keep.

    Args:
        pixels: H×W×C or H×W, C is 1 or 3; uint8, uint16 or floats where 1 is white.
        ending: such as `.png`; decides the format.
        alpha: H×W of any size (resized to the pixels) and any of the three types.
        info: bits to write, and the metadata; by default 8 bits and none.
        quality: 0 to 100, for JPEG, WebP, AVIF and HEIC; at 100, or if `info` says so, WebP is
            lossless.
        palette: whether a picture whose `info.mode` is `palette` becomes one again.
        record: how the picture was made, a text of ASCII such as `Run.record` gives; in PNG a text
            chunk, in JPEG, WebP, TIFF, AVIF, HEIC and GIF XMP; formats that are `SILENT` go
            without.
    """
    with telling(Path(f"*{ending}"), "cannot be encoded"):
        sheet, file = _sheet(pixels, ending, alpha, info, quality, palette, record), io.BytesIO()
        _ENCODERS[sheet.format](sheet, file)
        return file.getvalue(), tuple(sheet.notes)


def _sheet(
    pixels: Array,
    ending: str,
    alpha: Array | None,
    info: ImageInfo | None,
    quality: int,
    palette: bool,
    record: str,
) -> Sheet:
    """A picture made to fit its format."""
    if not can_write(ending):
        raise ImageError(
            f"pictures cannot be written as '{ending}'",
            expected=", ".join(filter(can_write, sorted(WRITABLE))),
        )
    prepare_pillow()
    sheet = Sheet(
        _shaped(pixels),
        alpha,
        info or ImageInfo(),
        WRITABLE[ending.lower()],
        quality,
        palette,
        record,
    )
    fit(sheet)
    return sheet


def _shaped(pixels: Array) -> Array:
    pixels = pixels[..., None] if pixels.ndim == 2 else pixels
    if pixels.ndim != 3 or pixels.shape[2] not in (1, 3):
        raise ImageError("not a picture", expected="H×W×1 or H×W×3", got=str(pixels.shape))
    check_size(*pixels.shape[:2])
    return (
        pixels if pixels.dtype in (np.uint8, np.uint16) else pixels.astype(np.float32, copy=False)
    )


def _pillow(samples: Array) -> Image.Image:
    from PIL import Image

    height, width, count = samples.shape
    # frombuffer keeps a reference instead of copying.
    mode = ("L", "LA", "RGB", "RGBA")[count - 1]
    return Image.frombuffer(mode, (width, height), samples, "raw", mode, 0, 1)


def _save(file: BinaryIO, image: Image.Image, format: str, **options: object) -> None:
    image.save(file, format, **{name: v for name, v in options.items() if v is not None})


def record_options(format: str, record: str) -> dict[str, object]:
    """What Pillow's `save` is told to put a record into a PNG or WebP of several frames."""
    from PIL import PngImagePlugin

    if record and format == "PNG":
        texts = PngImagePlugin.PngInfo()
        texts.add_itxt(RECORD, record)
        return {"pnginfo": texts}
    return {"xmp": with_record(b"", record)} if record and format == "WEBP" else {}


def add_record(path: Path, record: str) -> None:
    """Put a record into a GIF, for which Pillow can be told none."""
    if packet := with_record(b"", record):
        path.write_bytes(with_xmp(path.read_bytes(), packet))


def _png(sheet: Sheet, file: BinaryIO) -> None:
    if sheet.palette:
        image, clear, note = indexed(sheet.samples.whole)
        sheet.notes += note
        encoded = io.BytesIO()
        _save(
            encoded,
            image,
            "PNG",
            transparency=clear,
            icc_profile=sheet.info.icc,
            exif=sheet.info.exif,
            dpi=sheet.info.dpi,
        )
        file.write(with_texts(encoded.getvalue(), sheet.info, sheet.record))
    else:
        write_png(file, sheet.samples, sheet.info, sheet.record)


def _tiff(sheet: Sheet, file: BinaryIO) -> None:
    samples, table = sheet.samples, None
    if sheet.palette:
        image, _, note = indexed(samples.whole)
        sheet.notes += note
        samples = Samples(np.asarray(image)[..., None])
        table = np.array(image.getpalette(), np.uint8)
    try:
        write_tiff(file, samples, sheet.info, table)
    except ImageError:
        raise
    except Exception:
        if not sheet.info.exif:
            raise
        leave_out(sheet, "exif", "the EXIF data does not fit a TIFF and was left out")
        file.seek(0)
        write_tiff(file, samples, sheet.info, table)


def _jpeg(sheet: Sheet, file: BinaryIO) -> None:
    info, samples, full = sheet.info, sheet.samples, sheet.quality >= FULL_CHROMA
    coding = {"quality": sheet.quality, "subsampling": 0 if full else 2}
    metadata = {
        "icc_profile": info.icc,
        "exif": EXIF_PREFIX + info.exif if info.exif else None,
        "xmp": info.xmp,
        "dpi": info.dpi,
    }
    if not scratch.is_large(samples.shape, samples.dtype):
        _save(file, _pillow(samples.whole), "JPEG", **coding, **metadata)
        return

    def encode(strip: Array, first: bool) -> bytes:
        encoded = io.BytesIO()
        _save(encoded, _pillow(strip), "JPEG", **coding, **(metadata if first else {}))
        return encoded.getvalue()

    write_jpeg(file, samples, 8 if full or samples.shape[2] == 1 else 16, encode)


def _webp(sheet: Sheet, file: BinaryIO) -> None:
    _save(
        file,
        _pillow(sheet.samples.whole),
        "WEBP",
        quality=sheet.quality,
        lossless=sheet.quality >= LOSSLESS or sheet.info.lossless,
        exact=True,
        icc_profile=sheet.info.icc,
        exif=sheet.info.exif,
        xmp=sheet.info.xmp,
    )


def _avif(sheet: Sheet, file: BinaryIO) -> None:
    height, width = sheet.samples.shape[:2]
    if max(height, width) > AVIF_SIDE or height * width > AVIF_PIXELS:
        raise ImageError(
            "the picture is too large for an AVIF that everybody can read",
            expected=f"at most {AVIF_SIDE} pixels a side, and {AVIF_PIXELS} in all",
            got=f"{width}×{height}",
        )
    _save(
        file,
        _pillow(sheet.samples.whole),
        "AVIF",
        quality=sheet.quality,
        subsampling="4:4:4" if sheet.quality >= FULL_CHROMA else "4:2:0",
        icc_profile=sheet.info.icc,
        exif=sheet.info.exif,
        xmp=sheet.info.xmp,
    )


def _heif(sheet: Sheet, file: BinaryIO) -> None:
    _save(
        file,
        _pillow(sheet.samples.whole),
        "HEIF",
        icc_profile=sheet.info.icc,
        exif=sheet.info.exif,
        xmp=sheet.info.xmp,
        **heif_options(sheet.samples.shape, sheet.quality),
    )


def _gif(sheet: Sheet, file: BinaryIO) -> None:
    samples, encoded = sheet.samples.whole, io.BytesIO()
    if samples.shape[2] == 1:
        _save(encoded, _pillow(samples), "GIF")
    else:
        if samples.shape[2] == 2:
            samples = samples[..., [0, 0, 0, 1]]
        image, clear, note = indexed(samples, one_clear=True)
        sheet.notes += note
        _save(encoded, image, "GIF", transparency=clear, optimize=False)
    xmp = sheet.info.xmp
    file.write(with_xmp(encoded.getvalue(), xmp) if xmp else encoded.getvalue())


def _bmp(sheet: Sheet, file: BinaryIO) -> None:
    image = _pillow(sheet.samples.whole)
    if sheet.palette:
        image, _, note = indexed(sheet.samples.whole)
        sheet.notes += note
    _save(file, image, "BMP", dpi=sheet.info.dpi)


def _ppm(sheet: Sheet, file: BinaryIO) -> None:
    height, width, count = sheet.pixels.shape
    top = np.iinfo(sheet.pixels.dtype).max
    header = f"{'P5' if count == 1 else 'P6'}\n{width} {height}\n{top}\n".encode()
    file.write(header)
    for strip in sheet.samples.strips():
        file.write(strip.astype(strip.dtype.newbyteorder(">"), copy=False).data)


_ENCODERS: dict[str, Callable[[Sheet, BinaryIO], None]] = {
    "AVIF": _avif,
    "BMP": _bmp,
    "GIF": _gif,
    "HEIF": _heif,
    "JPEG": _jpeg,
    "PNG": _png,
    "PPM": _ppm,
    "TIFF": _tiff,
    "WEBP": _webp,
}
