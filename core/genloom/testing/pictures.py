"""Batches to test with, made on the spot: every picture differs, every call gives the same."""

from __future__ import annotations

import numpy as np

from genloom.stage import Model
from genloom.types import Array, Batch, Floats, ImageInfo, Item, as_dtype

DTYPES: tuple[type[np.generic], ...] = (np.uint8, np.uint16, np.float32)


def image_batch(
    count: int = 1,
    *,
    size: tuple[int, int] = (24, 32),
    channels: int = 3,
    dtype: type[np.generic] = np.uint8,
    alpha: bool = False,
    seed: int = 0,
) -> Batch:
    """Pictures with waves and a little noise.

    Args:
        count: how many.
        size: height and width.
        channels: 1 or 3.
        dtype: uint8, uint16 or float32.
        alpha: whether each has an opacity of its own.
        seed: other pictures.
    """
    pixels = np.stack([_picture(size, channels, seed + n) for n in range(count)])
    opacity = np.linspace(0, 1, size[0] * size[1], dtype=np.float32).reshape(size)
    bits = np.dtype(dtype).itemsize * 8
    info = ImageInfo(format="PNG", mode="rgb" if channels == 3 else "grey", bits=bits)
    items = [
        Item(
            key=f"0/picture-{n}.png",
            name=f"picture-{n}",
            alpha=as_dtype(opacity, dtype) if alpha else None,
            info=info,
        )
        for n in range(count)
    ]
    return Batch.images(items, as_dtype(pixels, dtype))


def _picture(size: tuple[int, int], channels: int, seed: int) -> Floats:
    y, x = np.mgrid[0 : size[0], 0 : size[1]]
    waves = [np.sin(x / 5 + c + seed) * np.cos(y / 7 - c) for c in range(channels)]
    noise = np.random.RandomState(seed).normal(0, 0.02, (*size, channels))
    values: Array = np.clip(0.5 + 0.4 * np.stack(waves, axis=2) + noise, 0, 1)
    return values.astype(np.float32)


def latent_batch(model: Model, count: int = 1, *, posterior: bool = True, seed: int = 0) -> Batch:
    """Latents of a model, with or without a log-variance.

    Args:
        model: says their shape and digest.
        count: how many.
        posterior: whether they carry a log-variance.
        seed: other latents.
    """
    random = np.random.RandomState(seed)
    shape = (count, *(model.card.latent or (4,)))
    mean = random.standard_normal(shape).astype(np.float32)
    variance = np.full(shape, -2, np.float32) if posterior else None
    items = [Item(key=f"0/latent-{n}", name=f"latent-{n}") for n in range(count)]
    return Batch.latents(items, mean, model=model.digest, log_variance=variance)
