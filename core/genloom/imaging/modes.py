"""What each of Pillow's modes becomes: grey or RGB, with or without alpha."""

from __future__ import annotations

import io
from typing import TYPE_CHECKING, Any

import numpy as np

from genloom import scratch
from genloom.errors import ImageError
from genloom.types import Array

if TYPE_CHECKING:
    from PIL import Image

GREY_MODES = frozenset({"1", "L", "LA", "La", "I;16", "I;16B", "I;16L", "I", "F"})
THROUGH_PROFILE = "CMYK was converted to sRGB through the embedded profile"
PALETTE_MODES = frozenset({"P", "PA"})


def stored_samples(image: Image.Image) -> tuple[Array, int, tuple[str, ...]]:
    """Samples H×W×(1 to 4) of a loaded picture of any of Pillow's modes, bits, and notes."""
    depth = getattr(image, "tag_v2", {}).get(258)
    strips = list(scratch.row_slices(image.height, image.height * image.width * 4))
    if len(strips) == 1:
        return _stored(image, depth)
    # Pillow holds four bytes for most pixels, and a few times as many on their way out.
    parts = (_stored(image.crop((0, s.start, image.width, s.stop)), depth) for s in strips)
    first, bits, notes = next(parts)
    samples = scratch.zeros((image.height, *first.shape[1:]), first.dtype)
    samples[strips[0]] = first
    for strip, (part, _, _) in zip(strips[1:], parts, strict=True):
        samples[strip] = part
        scratch.release(samples)
    return samples, bits, notes


def _stored(image: Image.Image, depth: Any) -> tuple[Array, int, tuple[str, ...]]:
    """`stored_samples` of a picture, or of a part of one whose TIFF says so many bits."""
    mode = image.mode
    if mode == "CMYK":
        converted, note = _cmyk(image)
        return np.asarray(converted), 8, (note,)
    if mode == "LAB":
        return np.asarray(_lab(image)), 8, ("Lab colours were converted to sRGB",)
    if mode.startswith("I"):
        return _integers(image, depth)
    if mode == "F":
        return np.asarray(image, np.float32)[..., None], 32, ()
    if mode == "1":
        grey = image.convert("LA" if "transparency" in image.info else "L")
        return _three(grey), 8, ("1-bit picture was read as 8-bit grey",)
    if image.has_transparency_data or mode in ("La", "PA"):
        return _three(image.convert("LA" if mode in GREY_MODES else "RGBA")), 8, ()
    if mode not in ("L", "RGB"):  # which would be copied
        image = image.convert("L" if mode in GREY_MODES else "RGB")
    return _three(image), 8, ()


def _three(image: Image.Image) -> Array:
    samples = np.asarray(image)
    return samples[..., None] if samples.ndim == 2 else samples


def _integers(image: Image.Image, depth: Any) -> tuple[Array, int, tuple[str, ...]]:
    """Grey wider than 8 bits: PGM, and TIFFs of 12 bits."""
    samples = np.asarray(image)[..., None]
    if depth == (12,):
        return (samples << 4 | samples >> 8).astype(np.uint16), 16, ("12-bit grey read as 16-bit",)
    if samples.min(initial=0) < 0 or samples.max(initial=0) > 65535:
        raise ImageError("samples of this type are not supported", got=f"mode {image.mode}")
    return samples.astype(np.uint16), 16, ()


def _cmyk(image: Image.Image) -> tuple[Image.Image, str]:
    """Converted to sRGB by the embedded profile, or by Pillow's formula; and which it was."""
    from PIL import ImageCms

    icc = image.info.get("icc_profile")
    if icc and icc[16:20] == b"CMYK":
        try:
            source = ImageCms.ImageCmsProfile(io.BytesIO(icc))
            target = ImageCms.createProfile("sRGB")
            converted = ImageCms.profileToProfile(image, source, target, outputMode="RGB")
            if converted is not None:
                return converted, THROUGH_PROFILE
        except (ImageCms.PyCMSError, OSError, ValueError):
            pass  # a damaged profile: as if there were none
    return image.convert("RGB"), "CMYK without a usable profile was converted to RGB by formula"


def _lab(image: Image.Image) -> Image.Image:
    from PIL import ImageCms

    source, target = ImageCms.createProfile("LAB"), ImageCms.createProfile("sRGB")
    transform = ImageCms.buildTransform(source, target, "LAB", "RGB")
    converted = ImageCms.applyTransform(image, transform)
    assert converted is not None  # only an in-place conversion returns nothing
    return converted
