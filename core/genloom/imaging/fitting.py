"""What a format cannot keep is converted or left out, and said."""

from __future__ import annotations

from dataclasses import dataclass, field, replace

import numpy as np

from genloom import scratch
from genloom.imaging.formats import DEEPEST, KEEPS, NO_GREY, NO_GREY_ALPHA, SILENT
from genloom.imaging.metadata import EXIF_PREFIX, icc_fits, sized_exif
from genloom.imaging.resizing import resize
from genloom.imaging.samples import Samples
from genloom.imaging.xmp import with_record
from genloom.types import Array, ImageInfo, as_dtype

EXIF_LIMIT = 65533 - len(EXIF_PREFIX)  # what fits into one JPEG segment


@dataclass
class Sheet:
    """One picture on its way into one format; notes gather as it is made to fit.

    `record` says how it was made; it becomes part of `info.xmp`, except in a PNG.
    """

    pixels: Array
    alpha: Array | None
    info: ImageInfo
    format: str
    quality: int
    wants_palette: bool
    record: str = ""
    notes: list[str] = field(default_factory=list)

    @property
    def samples(self) -> Samples:
        """Colour and alpha together."""
        return Samples(self.pixels, self.alpha)

    @property
    def palette(self) -> bool:
        """Whether it becomes a palette picture, as the file it came from was one."""
        came = self.info.mode == "palette" and self.pixels.shape[2] == 3
        return self.wants_palette and came and "palette" in KEEPS[self.format]


def fit(sheet: Sheet) -> None:
    """Leave out or convert what the format cannot hold, with a note for each."""
    _fit_depth(sheet)
    _fit_alpha(sheet)
    _fit_palette(sheet)
    _fit_metadata(sheet)


def _fit_depth(sheet: Sheet) -> None:
    wanted, deepest = sheet.info.bits, DEEPEST.get(sheet.format, 8)
    if sheet.palette:
        deepest = 8
    bits = min(wanted, deepest)
    if bits < wanted:
        sheet.notes.append(f"{wanted}-bit picture was written with {bits} bits")
    elif bits == 8 and sheet.pixels.dtype == np.uint16:
        sheet.notes.append("16-bit pixels were written with 8 bits")
    dtype = {8: np.uint8, 16: np.uint16, 32: np.float32}[bits]
    sheet.pixels = as_dtype(sheet.pixels, dtype)
    if sheet.alpha is not None:
        alpha = as_dtype(resize(sheet.alpha, *sheet.pixels.shape[:2]), dtype)
        sheet.alpha = np.clip(alpha, 0, 1) if bits == 32 else alpha


def _fit_alpha(sheet: Sheet) -> None:
    if sheet.alpha is None or "alpha" in KEEPS[sheet.format]:
        return
    top = np.iinfo(sheet.alpha.dtype).max  # all such formats hold integers
    if any((sheet.alpha[rows] < top).any() for rows in scratch.strips(sheet.alpha)):
        flat = scratch.zeros(sheet.pixels.shape, sheet.pixels.dtype)
        for rows in scratch.strips(sheet.pixels, sheet.alpha, flat):
            opacity = sheet.alpha[rows][..., None].astype(np.float32) / top
            flat[rows] = np.rint(sheet.pixels[rows] * opacity + top * (1 - opacity))
        sheet.pixels = flat
        sheet.notes.append(f"{sheet.format} has no transparency: flattened onto white")
    sheet.alpha = None


def _fit_palette(sheet: Sheet) -> None:
    if not sheet.wants_palette or sheet.info.mode != "palette":
        return
    if sheet.format == "TIFF" and sheet.alpha is not None:
        sheet.notes.append("TIFF has no palette with transparency: written as RGBA")
        sheet.wants_palette = False
    elif "palette" not in KEEPS[sheet.format]:
        sheet.notes.append(f"{sheet.format} has no palette: written as RGB")


def _fit_metadata(sheet: Sheet) -> None:
    names = {"icc": "ICC profile", "exif": "EXIF data", "xmp": "XMP data", "dpi": "resolution"}
    for name, words in names.items():
        if getattr(sheet.info, name) and name not in KEEPS[sheet.format]:
            leave_out(sheet, name, f"{sheet.format} cannot hold the {words}, which was left out")
    without = NO_GREY if sheet.alpha is None else NO_GREY_ALPHA
    if sheet.format in without and sheet.pixels.shape[2] == 1:
        grey = "grey" if sheet.format in NO_GREY else "grey with transparency"
        sheet.notes.append(f"{sheet.format} has no {grey}: written as RGB")
        sheet.pixels = np.repeat(sheet.pixels, 3, axis=2)
    if sheet.info.icc and not icc_fits(sheet.info.icc, sheet.pixels.shape[2]):
        leave_out(sheet, "icc", "the ICC profile does not fit the channels and was left out")
    if sheet.info.exif:
        exif = sized_exif(sheet.info.exif, *sheet.pixels.shape[:2])
        sheet.info = replace(sheet.info, exif=exif)
    if sheet.info.exif and sheet.format == "JPEG" and len(sheet.info.exif) > EXIF_LIMIT:
        leave_out(sheet, "exif", "the EXIF data is too long for JPEG and was left out")
    if sheet.info.xmp and not sheet.info.exif and b"GPS" in sheet.info.xmp:
        leave_out(sheet, "xmp", "the XMP data tells a place and was left out, as there is no EXIF")
    _fit_record(sheet)


def _fit_record(sheet: Sheet) -> None:
    """Put the record into the XMP, except in a PNG, which has a chunk for it."""
    if not sheet.record or sheet.format == "PNG" or sheet.format in SILENT:
        return
    packet = with_record(sheet.info.xmp or b"", sheet.record)
    if packet is None and sheet.info.xmp:
        leave_out(sheet, "xmp", "the XMP data has no room for genloom's record and was left out")
        packet = with_record(b"", sheet.record)
    if packet is None:
        sheet.notes.append("the record of how it was made is too long for XMP and was left out")
    sheet.info = replace(sheet.info, xmp=packet)


def leave_out(sheet: Sheet, name: str, note: str) -> None:
    """Leave out one kind of metadata."""
    sheet.info = replace(sheet.info, **{name: None})  # type: ignore[arg-type]
    sheet.notes.append(note)
