"""Pictures and image files, made without the code that reads them."""

from __future__ import annotations

import io
import struct
import zlib
from pathlib import Path

import numpy as np
from PIL import Image, ImageCms, TiffImagePlugin

from genloom import imaging
from genloom.types import ImageInfo

NOWHERE = Path("nowhere")


SRGB = ImageCms.ImageCmsProfile(ImageCms.createProfile("sRGB")).tobytes()


GREY_ICC = SRGB[:16] + b"GRAY" + SRGB[20:]


HAS_AVIF = ".avif" in imaging.WRITABLE


def picture(height=37, width=53, channels=3, dtype=np.uint8, seed=0):
    """Smooth, with noise in the low bits, so that every bit of 16 matters."""
    y, x = np.mgrid[0:height, 0:width]
    waves = [np.sin(x / 9 + c) * np.cos(y / 7 - c) for c in range(channels)]
    noise = np.random.default_rng(seed).normal(0, 0.003, (height, width, channels))
    values = np.clip(np.stack(waves, 2) * 0.45 + 0.5 + noise, 0, 1)
    top = {np.uint8: 255, np.uint16: 65535, np.float32: 1}[dtype]
    return (values * top).astype(dtype)


def exif_block(orientation=1):
    exif = Image.Exif()
    exif[0x010F] = "Genloom"
    exif[0x0112] = orientation
    exif[0x8769] = {0x9003: "2026:11:24 08:00:00", 0x927C: b"maker note"}
    exif[0x8825] = {1: "N"}
    return exif.tobytes()


def saved(image, format, **options):
    file = io.BytesIO()
    image.save(file, format, **options)
    return file.getvalue()


def chunk(name, body):
    return struct.pack(">I", len(body)) + name + body + struct.pack(">I", zlib.crc32(name + body))


def png_bytes(samples, colour, extra=b""):
    """A plain PNG, written here so that the reader is not tested against our own writer."""
    height, width = samples.shape[:2]
    big = samples.astype(samples.dtype.newbyteorder(">")).reshape(height, -1)
    rows = b"".join(b"\0" + row.tobytes() for row in big)
    header = struct.pack(">IIBBBBB", width, height, 8 * samples.itemsize, colour, 0, 0, 0)
    body = chunk(b"IHDR", header) + extra + chunk(b"IDAT", zlib.compress(rows))
    return b"\x89PNG\r\n\x1a\n" + body + chunk(b"IEND", b"")


def tiff_bytes(samples, *, order="<", packed=True, tile=0, predictor=1, tags=None):
    """A TIFF of any pixel type in one strip or in tiles, by an encoder of its own."""
    height, width, count = samples.shape
    blocks = [samples]
    if tile:
        rows, columns = -height % tile, -width % tile
        padded = np.pad(samples, ((0, rows), (0, columns), (0, 0)), mode="edge")
        blocks = [
            padded[y : y + tile, x : x + tile]
            for y in range(0, height, tile)
            for x in range(0, width, tile)
        ]
    bodies = [_tiff_block(block, order, packed, predictor) for block in blocks]
    head = b"II*\0\0\0\0\0" if order == "<" else b"MM\0*\0\0\0\0"
    directory = TiffImagePlugin.ImageFileDirectory_v2(head)
    kind = 3 if samples.dtype.kind == "f" else 1
    values = {256: width, 257: height, 258: (samples.itemsize * 8,) * count, 277: count}
    values |= {259: 8 if packed else 1, 262: 2 if count > 2 else 1, 339: (kind,) * count}
    offsets = tuple(int(n) for n in np.cumsum([0] + [len(b) for b in bodies[:-1]]))
    sizes = tuple(map(len, bodies))
    values |= {317: predictor} if predictor > 1 else {}
    values |= tags or {}
    if not tile:
        values |= {278: height, 273: offsets, 279: sizes}
    else:  # Pillow moves strip offsets only, so place the tiles by hand
        values |= {322: tile, 323: tile, 324: offsets, 325: sizes}
        for tag, value in values.items():
            directory[tag] = value
        after = 8 + len(directory.tobytes(8))
        values[324] = tuple(after + at for at in offsets)
    for tag, value in values.items():
        directory[tag] = value
    start = struct.pack(f"{order}I", 8)
    return head[:4] + start + directory.tobytes(8) + b"".join(bodies)


def _tiff_block(samples, order, packed, predictor):
    if predictor == 2:
        samples = np.diff(samples, axis=1, prepend=samples[:, :1] * 0)
    if predictor == 3:
        height, width, count = samples.shape
        planes = samples.astype(">f4").view(np.uint8).reshape(height, width * count, 4)
        planes = planes.swapaxes(1, 2).reshape(height, -1, count)
        samples = np.diff(planes, axis=1, prepend=planes[:, :1] * 0)
    raw = samples.astype(samples.dtype.newbyteorder(order)).tobytes()
    return zlib.compress(raw) if packed else raw


TYPES = {8: np.uint8, 16: np.uint16, 32: np.float32}


def indexed_image(transparency=None):
    image = Image.new("P", (16, 16))
    image.putpalette([value for i in range(256) for value in (i, 255 - i, i // 2)])
    image.putdata(list(range(256)))
    options = {} if transparency is None else {"transparency": transparency}
    return image, options


EVERYTHING = ImageInfo(icc=SRGB, exif=exif_block().removeprefix(b"Exif\0\0"), dpi=(300.0, 150.0))
