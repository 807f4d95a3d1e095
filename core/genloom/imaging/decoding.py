"""From the bytes of a file to samples as they are stored, and what it says besides pixels."""

from __future__ import annotations

import io
from contextlib import nullcontext
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, BinaryIO

import numpy as np

from genloom import scratch
from genloom.errors import ImageError
from genloom.imaging import deep, guard, png_chunks
from genloom.imaging.formats import DECODERS
from genloom.imaging.gif import xmp_in
from genloom.imaging.heif import colour_notes
from genloom.imaging.metadata import ORIENTATION, descriptive_exif, dpi_of, exif_of
from genloom.imaging.modes import PALETTE_MODES, stored_samples
from genloom.imaging.png import RECORD
from genloom.imaging.png_chunks import Chunk
from genloom.imaging.png_colours import profile_of
from genloom.imaging.png_reading import CutPng, cut_png
from genloom.imaging.tiff import XMP
from genloom.imaging.tiff_reading import CutTiff, cut_tiff
from genloom.imaging.webp import is_lossless
from genloom.imaging.xmp import carried
from genloom.limits import MAX_FRAMES
from genloom.types import Array, ImageInfo, changed

if TYPE_CHECKING:
    from PIL import Image


BAD_EXIF = "the EXIF data is damaged and was left out"
PROFILED = "what the PNG says of its colours (gAMA, cHRM) became an ICC profile"
IPTC, IPTC_TAG = 0x0404, 33723
"""Where captions stand in a form older than XMP: in Photoshop's data in a JPEG, and in a TIFF."""
NO_IPTC = "the IPTC data was left out"
XMP_CHUNK = "XML:com.adobe.xmp"
BAD_XMP = "the XMP data is too large, damaged or unusual and was left out"


@dataclass(frozen=True)
class Raw:
    """Samples as stored, and what is still to be done with them."""

    samples: Array
    info: ImageInfo
    orientation: int = 1
    notes: tuple[str, ...] = ()


APPENDED = 64 * 2**20
"""Bytes that a JPEG may have besides its pixels and that are read: metadata, previews, videos."""

DENSE = 16
"""Bytes of a pixel of a JPEG, at the most: 12 bits of three channels hardly take 6."""


def opened(file: BinaryIO) -> Image.Image:
    """A file as Pillow opens it, by the decoders that may be tried."""
    from PIL import Image

    return Image.open(file, formats=DECODERS)


def decode(
    file: BinaryIO, image: Image.Image | None = None, chunks: list[Chunk] | None = None
) -> Raw:
    """A large file strip by strip where that can be, else the whole of it at once.

    `image` is the same picture as Pillow opened it in another file, if it did already; `chunks` are
    those of a PNG, if they are known.
    """
    layout = deep.tiff_layout(file) if chunks is None else None
    if layout is not None and (tiff := cut_tiff(file, layout)) is not None:
        return _cut_tiff(file, tiff)
    if chunks is None:
        chunks = png_chunks.chunks_of(file)
    if chunks is not None and not png_chunks.is_animated(chunks):
        return _png(file, chunks, image)
    return _whole(_bytes(file), image)


def _bytes(file: BinaryIO) -> bytes:
    """The whole file; of a JPEG as much as its pixels can take, and not all that hangs behind."""
    size = file.seek(0, io.SEEK_END)
    file.seek(0)
    jpeg = size > APPENDED and file.read(2) == b"\xff\xd8"
    file.seek(0)
    if not jpeg:
        return file.read()
    with opened(file) as image:
        most = DENSE * image.height * image.width + APPENDED
    file.seek(0)
    return file.read(most)


def _whole(data: bytes, image: Image.Image | None = None) -> Raw:
    layout = deep.tiff_layout(io.BytesIO(data))
    if layout is not None and layout.is_deep:
        return _deep_described(_deep_tiff(data, layout), io.BytesIO(data), layout)
    with opened(io.BytesIO(data)) if image is None else nullcontext(image) as image:
        if image.format in ("JPEG", "MPO"):
            guard.check_scans(data, image.height * image.width)
        return _deep_png(data, image) if deep.is_deep_png(data) else _plain(data, image)


def _png(file: BinaryIO, chunks: list[Chunk], image: Image.Image | None) -> Raw:
    chunks, notes = png_chunks.sound(file, chunks)
    for coded in [chunk.read(file)[8:10] for chunk in chunks if chunk.name == b"cICP"]:
        said = {"color_primaries": coded[0], "transfer_characteristics": coded[1]}
        notes += tuple(colour_notes({"nclx_profile": said}))
    if (cut := cut_png(file, chunks)) is not None:
        raw = _cut_png(file, cut)
    else:
        data = b"".join((png_chunks.SIGNATURE, *(chunk.read(file) for chunk in chunks)))
        is_all = len(data) == file.seek(0, io.SEEK_END)
        raw = _whole(data, image if is_all else None)
    return changed(raw, notes=(*raw.notes, *notes))


def _cut_png(file: BinaryIO, cut: CutPng) -> Raw:
    """A PNG strip by strip, and what a PNG of its other chunks says besides pixels."""
    samples: Array | None = None
    for rows, part in cut.strips(file, lambda data: _whole(data).samples):
        if samples is None:
            samples = scratch.zeros((cut.height, *part.shape[1:]), part.dtype)
        samples[rows] = part
        scratch.release(samples)
    assert samples is not None  # a picture has rows
    return replace(_whole(cut.bare(file)), samples=samples)


def _cut_tiff(file: BinaryIO, cut: CutTiff) -> Raw:
    """A TIFF strip by strip, and what the whole says besides pixels."""
    samples: Array | None = None
    layout = cut.layout
    for rows, part in cut.parts(file):
        raw = _whole(part)
        if samples is None:
            first = raw
            samples = scratch.zeros((layout.height, *raw.samples.shape[1:]), raw.samples.dtype)
        samples[rows] = raw.samples
        scratch.release(samples)
    assert samples is not None  # a picture has rows
    raw = replace(first, samples=samples)
    if layout.is_deep:
        return _deep_described(raw, file, layout)
    file.seek(0)
    with opened(file) as image:
        return _described(raw, image, file)


def orientation_of(image: Image.Image) -> int:
    """One of the eight orientations of EXIF; upright for any other."""
    value = image.getexif().get(ORIENTATION, 1)
    return value if isinstance(value, int) and 1 <= value <= 8 else 1


def _described(raw: Raw, image: Image.Image, file: BinaryIO) -> Raw:
    """The same samples with what the loaded `image` says besides pixels."""
    icc, notes = image.info.get("icc_profile"), list(raw.notes)
    if icc is None and image.format == "PNG":
        icc = profile_of(image.info, grey=raw.samples.shape[2] < 3)
        notes += [PROFILED] if icc else []
    info = changed(
        raw.info,
        format="JPEG" if image.format == "MPO" else image.format or "",
        icc=raw.info.icc if icc is None or raw.info.icc == b"" else bytes(icc),
        dpi=dpi_of(image.info.get("dpi")),
    )
    try:
        orientation = orientation_of(image)
        info = changed(info, exif=exif_of(image))
    except Exception:  # damaged EXIF is no reason to lose the picture
        orientation = 1
        notes.append(BAD_EXIF)
    if image.format == "HEIF" and (depth := image.info.get("bit_depth", 8)) > 8:
        notes.append(f"{depth}-bit picture was read with 8 bits")
    if image.format == "HEIF":
        notes += colour_notes(image.info)
    if frames := _frames(image, file) - 1:
        many = frames if frames < MAX_FRAMES else f"{MAX_FRAMES} or more"
        notes.append(f"only the first frame was read; {many} left out")
    raw_xmp = image.info.get("xmp") or image.info.get(XMP_CHUNK)
    if image.format == "GIF":
        file.seek(0)
        raw_xmp = xmp_in(file.read())
    if raw_xmp is not None:
        info = _with_xmp(info, raw_xmp, notes)
    if "comment" in image.info or {*getattr(image, "text", ())} - {RECORD, XMP_CHUNK}:
        notes.append("text comments were left out")
    if IPTC in image.info.get("photoshop", ()) or IPTC_TAG in getattr(image, "tag_v2", ()):
        notes.append(NO_IPTC)
    return changed(raw, info=info, orientation=orientation, notes=tuple(notes))


def _with_xmp(info: ImageInfo, raw: object, notes: list[str]) -> ImageInfo:
    packet = carried(raw)
    if packet is None:
        notes.append(BAD_XMP)
    elif b"HasExtendedXMP" in packet:
        notes.append("the XMP data goes on in other segments, which were left out")
    return replace(info, xmp=packet or None)


def _frames(image: Image.Image, file: BinaryIO) -> int:
    if image.format in ("GIF", "TIFF"):  # Pillow reads all of them to tell
        return guard.frames(file)
    try:
        return min(int(getattr(image, "n_frames", 1)), MAX_FRAMES + 1)
    except Exception:  # a later frame is damaged; the first one is good
        return 1


def _deep_png(data: bytes, image: Image.Image) -> Raw:
    samples = deep.deep_png(data)
    image.load()  # EXIF may stand behind the pixels
    if (clear := image.info.get("transparency")) is not None:
        alpha = np.where((samples == np.asarray(clear)).all(axis=2), 0, 65535).astype(np.uint16)
        samples = np.dstack([samples, alpha])
    return _described(Raw(samples, ImageInfo(bits=16)), image, io.BytesIO(data))


def _deep_tiff(data: bytes, layout: deep.TiffLayout) -> Raw:
    samples = deep.deep_tiff(data, layout)
    bits = 16 if samples.dtype == np.uint16 else 32
    tags, notes, channels = layout.tags, [], 3 if layout.photometric == 2 else 1
    if samples.shape[2] < channels:
        raise ImageError("the file is damaged: too few channels")
    if layout.bits == 64 or (layout.bits == 32 and layout.kind == layout.UNSIGNED):
        notes.append(f"{layout.bits}-bit samples were read as 32-bit floats")
    samples, more = _tiff_alpha(samples, tags.get(338, ()), channels)
    return Raw(samples, ImageInfo(format="TIFF", bits=bits), notes=(*notes, *more))


def _deep_described(raw: Raw, file: BinaryIO, layout: deep.TiffLayout) -> Raw:
    """The same samples with what the file says besides pixels."""
    from PIL import Image

    tags, notes = layout.tags, list(raw.notes)
    exif = None
    try:
        directory = Image.Exif()
        file.seek(0)
        directory.load_from_fp(file)
        exif = descriptive_exif(directory)
    except Exception:  # damaged EXIF is no reason to lose the picture
        notes.append(BAD_EXIF)
    per_inch = 2.54 if tags.get(296, 2) == 3 else 1.0
    dpi = dpi_of((tags.get(282), tags.get(283)))
    info = replace(
        raw.info,
        icc=tags.get(34675),
        exif=exif,
        dpi=(dpi[0] * per_inch, dpi[1] * per_inch) if dpi and tags.get(296, 2) != 1 else None,
    )
    if XMP in tags:
        info = _with_xmp(info, tags[XMP], notes)
    if IPTC_TAG in tags:
        notes.append(NO_IPTC)
    if tags.next:
        notes.append("only the first page was read; more were left out")
    orientation = int(tags.get(ORIENTATION, 1))
    return replace(raw, info=info, orientation=orientation, notes=tuple(notes))


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


def _plain(data: bytes, image: Image.Image) -> Raw:
    """What Pillow decodes without loss."""
    binary = deep.binary_ppm(data)
    if binary is not None:
        return _described(Raw(binary, ImageInfo(bits=8 * binary.itemsize)), image, io.BytesIO(data))
    image.load()
    samples, bits, notes = stored_samples(image)
    mode = "palette" if image.mode in PALETTE_MODES else "rgb"
    # An empty profile says that the file's own one must not be kept: the colours were converted.
    icc = b"" if image.mode in ("CMYK", "LAB") else None
    lossless = image.format == "WEBP" and is_lossless(data)
    info = ImageInfo(mode=mode, bits=bits, icc=icc, lossless=lossless)
    return _described(Raw(samples, info, notes=notes), image, io.BytesIO(data))
