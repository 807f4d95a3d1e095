"""Pictures of at most 256 colours."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from genloom.types import Array

if TYPE_CHECKING:
    from PIL import Image

MOST = 256
HALF = 128


def indexed(
    samples: Array, *, one_clear: bool = False
) -> tuple[Image.Image, bytes | int | None, list[str]]:
    """Samples H×W×3 or H×W×4 uint8 as a palette picture; exact if there are at most 256 colours.

    Args:
        samples: colour, with straight alpha if there are four.
        one_clear: the format (GIF) knows one wholly transparent colour and no half-tones.

    Returns:
        The picture, what Pillow calls its `transparency`, and notes on what was merged.
    """
    notes: list[str] = []
    if samples.shape[2] == 3:
        samples = np.dstack([samples, np.full(samples.shape[:2], 255, np.uint8)])
    elif one_clear:
        samples, notes = _one_clear(samples)
    packed = np.ascontiguousarray(samples).view(np.uint32)[..., 0]
    colours, indices = np.unique(packed, return_inverse=True)
    if len(colours) > MOST:
        table, indices = _merged(samples, one_clear)
        notes.append(f"{len(colours)} colours were merged into {len(table)}")
    else:
        table = colours.view(np.uint8).reshape(-1, 4)
    return _image(indices.reshape(packed.shape), table), _transparency(table, one_clear), notes


def _one_clear(samples: Array) -> tuple[Array, list[str]]:
    alpha = samples[..., 3]
    notes = []
    if ((alpha > 0) & (alpha < 255)).any():
        notes.append("half-transparent pixels became opaque or transparent")
    samples = samples.copy()
    samples[alpha >= HALF, 3] = 255
    samples[alpha < HALF] = 0
    return samples, notes


def _merged(samples: Array, one_clear: bool) -> tuple[Array, Array]:
    """A table N×4 and indices H×W; opaque pictures and GIFs are dithered."""
    from PIL import Image

    clear = samples[..., 3] == 0
    if not one_clear and (samples[..., 3] < 255).any():
        # Of Pillow's methods, only the octree looks at alpha.
        whole = Image.fromarray(samples).quantize(MOST, Image.Quantize.FASTOCTREE)
        return _table(whole, "RGBA", 4), np.asarray(whole)
    colour = Image.fromarray(np.ascontiguousarray(samples[..., :3]))
    coarse = colour.quantize(MOST - bool(clear.any()), Image.Quantize.MEDIANCUT)
    # Pillow dithers only towards a given palette.
    indices = np.asarray(colour.quantize(palette=coarse, dither=Image.Dither.FLOYDSTEINBERG))
    table = np.pad(_table(coarse, "RGB", 3), ((0, 0), (0, 1)), constant_values=255)
    if clear.any():
        indices = np.where(clear, len(table), indices)
        table = np.vstack([table, np.zeros((1, 4), np.uint8)])
    return table, indices


def _table(image: Image.Image, mode: str, width: int) -> Array:
    table = np.array(image.getpalette(mode), np.uint8).reshape(-1, width)
    return table[: MOST if width == 4 else MOST - 1]


def _image(indices: Array, table: Array) -> Image.Image:
    from PIL import Image

    height, width = indices.shape
    image = Image.frombytes("P", (width, height), indices.astype(np.uint8).tobytes())
    image.putpalette(table[:, :3].tobytes())
    return image


def _transparency(table: Array, one_clear: bool) -> bytes | int | None:
    if (table[:, 3] == 255).all():
        return None
    return int(np.argmin(table[:, 3])) if one_clear else table[:, 3].tobytes()
