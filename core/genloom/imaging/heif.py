"""What pillow-heif is told, so that a HEIC is as good and as readable as a JPEG of its quality."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from genloom.errors import ImageError

LARGEST = 2**14
"""Longest side in pixels: levels of HEVC end at 16888, and encoders fail at some sides above."""

TILE, TILED = 1024, 2048
"""Side of the tiles that pictures of longer sides are coded in, as phones do: for 12 megapixels the
encoder holds a quarter of what it does for the whole. At most 1000 may be in a file."""

FULL_CHROMA = 90  # from this quality on, colour is not subsampled, as in a JPEG
LOSSLESS = 100

PRIMARIES, TRANSFERS = {1, 2, 5, 6}, {1, 2, 6, 13}
"""Code points of ITU-T H.273 that stand for sRGB, or for what is shown like it."""


def colour_notes(info: Mapping[Any, Any]) -> list[str]:
    """A note where a HEIC without a profile says that its colours are others than sRGB's."""
    said = info.get("nclx_profile") or {}
    primaries, transfer = said.get("color_primaries", 2), said.get("transfer_characteristics", 2)
    if "icc_profile" in info or (primaries in PRIMARIES and transfer in TRANSFERS):
        return []
    return [f"colours of primaries {primaries}, transfer {transfer} were taken for sRGB's"]


def heif_options(shape: tuple[int, ...], quality: int) -> dict[str, object]:
    """Options of `save` for samples H×W×C, at a quality from 0 to 100.

    libheif's own scale is steeper than that of JPEG; on its lower part lies what JPEG reaches.
    At 100 nothing is lost but the rounding of colours, which are stored as luma and chroma.

    Raises:
        ImageError: when the picture is too large.
    """
    height, width, _ = shape
    if max(height, width) > LARGEST:
        raise ImageError(
            "the picture is too large for a HEIC",
            expected=f"at most {LARGEST} pixels a side",
            got=f"{width}×{height}",
        )
    return {
        "quality": -1 if quality >= LOSSLESS else max(0, round(0.9 * quality) - 20),
        "subsampling": "4:4:4" if quality >= FULL_CHROMA else "4:2:0",
        "tile_size": TILE if max(height, width) > TILED else 0,
        "enc_params": {"preset": "medium"},  # half the time of "slow", a tenth more bytes
    }
