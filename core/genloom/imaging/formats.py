"""Which files are read and written, what each format can keep, and how failures are told."""

from __future__ import annotations

import re
import struct
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from functools import cache
from importlib import import_module
from importlib.util import find_spec
from pathlib import Path

from genloom.errors import ImageError
from genloom.limits import DENSEST, MAX_PIXELS

HAS_AVIF = find_spec("PIL._avif") is not None
HAS_HEIF = find_spec("pillow_heif") is not None

WRITABLE: dict[str, str] = {
    ".bmp": "BMP",
    ".gif": "GIF",
    ".jfif": "JPEG",
    ".jpe": "JPEG",
    ".jpeg": "JPEG",
    ".jpg": "JPEG",
    ".pgm": "PPM",
    ".png": "PNG",
    ".pnm": "PPM",
    ".ppm": "PPM",
    ".tif": "TIFF",
    ".tiff": "TIFF",
    ".webp": "WEBP",
    **({".avif": "AVIF"} if HAS_AVIF else {}),
    **(dict.fromkeys((".heic", ".heif", ".hif"), "HEIF") if HAS_HEIF else {}),
}
"""File endings that can be written, with the name of their format; HEIF if `can_write` says so."""

READABLE: frozenset[str] = frozenset({*WRITABLE, ".mpo", ".pbm"})
"""Lower-case file endings that a folder walk picks up."""

# Only these decoders are ever tried: some of Pillow's others run programs (EPS) or fetch files.
DECODERS = (
    *("JPEG", "PNG", "WEBP", "TIFF", "BMP", "GIF", "PPM"),
    *(("AVIF",) if HAS_AVIF else ()),
    *(("HEIF",) if HAS_HEIF else ()),
)
SPARSE = ("WEBP", "AVIF", "HEIF")
"""Formats whose pixels no number of bytes bounds."""

KEEPS: dict[str, frozenset[str]] = {
    "PNG": frozenset({"icc", "exif", "xmp", "dpi", "alpha", "palette"}),
    "TIFF": frozenset({"icc", "exif", "xmp", "dpi", "alpha", "palette"}),
    "JPEG": frozenset({"icc", "exif", "xmp", "dpi"}),
    "WEBP": frozenset({"icc", "exif", "xmp", "alpha"}),
    "AVIF": frozenset({"icc", "exif", "xmp", "alpha"}),
    "HEIF": frozenset({"icc", "exif", "xmp", "alpha"}),
    "GIF": frozenset({"xmp", "alpha", "palette"}),
    "BMP": frozenset({"dpi", "palette"}),
    "PPM": frozenset(),
}
"""What a format keeps besides colour."""

SILENT = frozenset(kind for kind, kept in KEEPS.items() if "xmp" not in kept)
"""Formats whose files cannot say how they were made."""

DEEPEST = {"PNG": 16, "PPM": 16, "TIFF": 32}
"""Most bits a channel a format keeps; 8 where it is not listed."""

NO_GREY = frozenset({"WEBP", "AVIF"})
"""Formats whose files are always read back as colour."""

NO_GREY_ALPHA = NO_GREY | {"HEIF"}
"""The same for pictures with transparency."""

_PLUGINS = (
    "Jpeg",
    "Mpo",
    "Png",
    "WebP",
    "Tiff",
    "Bmp",
    "Gif",
    "Ppm",
    *(("Avif",) if HAS_AVIF else ()),
)
_PILLOW_WARNINGS = ("ignore", None, Warning, re.compile(r"PIL\."), 0)


def can_write(ending: str) -> bool:
    """Whether pictures can be written under an ending here.

    The package pillow-heif, which always reads HEIC, may have been built without its encoder.
    """
    format = WRITABLE.get(ending.lower())
    return format is not None and (format != "HEIF" or _encodes_heif())


@cache
def _encodes_heif() -> bool:
    return bool(import_module("pillow_heif").libheif_info()["HEIF"])


def prepare_pillow() -> None:
    """Make Pillow leave size limits to us and keep its warnings to itself, in every thread.

    Both are process-wide, because Pillow and `warnings` offer nothing narrower that is safe among
    threads. Damage that matters is reported as an `ImageError`, so a warning adds nothing.
    """
    from PIL import Image

    _load_plugins()
    if _PILLOW_WARNINGS not in warnings.filters:
        warnings.filterwarnings("ignore", module=r"PIL\.")
    if Image.MAX_IMAGE_PIXELS is not None and Image.MAX_IMAGE_PIXELS < MAX_PIXELS:
        Image.MAX_IMAGE_PIXELS = MAX_PIXELS


@cache
def _load_plugins() -> None:
    """Load Pillow's plugins now: it would load them on demand, which races among threads."""
    from PIL import Image

    for name in _PLUGINS:
        import_module(f"PIL.{name}ImagePlugin")
    if HAS_HEIF and "HEIF" not in Image.ID:
        import_module("pillow_heif").register_heif_opener(thumbnails=False)


def check_size(height: int, width: int) -> None:
    """Refuse a picture without pixels, or with more than `MAX_PIXELS`."""
    if height < 1 or width < 1:
        raise ImageError("the picture has no pixels", got=f"{width}×{height}")
    if height * width > MAX_PIXELS:
        raise ImageError(
            "the picture is too large",
            expected=f"at most {MAX_PIXELS} pixels",
            got=f"{width}×{height}",
        )


def check_density(height: int, width: int, size: int) -> None:
    """Refuse a file of so few bytes for its pixels that it must be damaged, or a bomb."""
    if height * width > DENSEST * size:
        raise ImageError(
            "the file is damaged: too short for its pixels",
            got=f"{size} bytes for {width}×{height}",
        )


@contextmanager
def telling(path: Path, what: str, system: str = "") -> Iterator[None]:
    """Turn every failure inside the block into an `ImageError` that names `path`.

    Args:
        path: of the file.
        what: cannot be done.
        system: the same for what the system refuses.
    """
    try:
        yield
    except ImageError as error:
        if error.where:
            raise
        raise ImageError(
            error.what, expected=error.expected, got=error.got, where=str(path), hint=error.hint
        ) from error
    # Decoders raise nearly anything on damaged bytes: struct.error, SyntaxError, IndexError …
    except Exception as error:
        refused = isinstance(error, OSError) and error.strerror
        what = system if refused and system else what
        raise ImageError(f"{what}: {_reason(error)}", where=str(path)) from error


def _reason(error: Exception) -> str:
    if isinstance(error, MemoryError):
        return "not enough memory"
    if isinstance(error, OSError) and error.strerror:
        return error.strerror.lower()
    if type(error).__name__ == "UnidentifiedImageError":
        return "not a picture, or damaged at its beginning"
    if type(error).__name__ == "DecompressionBombError":  # it names twice the limit
        return f"the picture is too large; expected at most {MAX_PIXELS} pixels"
    text = " ".join(str(error).split())[:200]
    if isinstance(error, (LookupError, struct.error, SyntaxError)):
        return "damaged or unusual contents" + (f" ({text})" if text else "")
    return text or type(error).__name__
