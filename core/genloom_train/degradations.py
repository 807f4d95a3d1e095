"""What spoils photographs, for networks that learn to undo it.

Pictures are N×3×H×W or N×1×H×W in [0, 1]; what is random comes from torch's global generator.
"""

from __future__ import annotations

import functools
from collections.abc import Callable
from typing import Any, TypeVar, cast

import cv2
import numpy as np
import torch
from torch import Tensor
from torch.nn import functional

F = TypeVar("F", bound=Callable[..., Tensor])

CHROMA_CELL = (2, 6)
"""Size of the blotches of chroma noise in pixels, from and to."""


def gaussian_noise(image: Tensor, level: Tensor) -> Tensor:
    """Image + level · N(0, 1); `level` holds σ / 255 for each picture, (N,)."""
    return image + level[:, None, None, None] * torch.randn_like(image)


def as_in_a_file(image: Tensor) -> Tensor:
    """Clipped to [0, 1] and rounded to 8 bits."""
    return (image.clamp(0, 1) * 255).round() / 255


def shot_noise(image: Tensor, level: Tensor, share: Tensor) -> Tensor:
    """Noise of a sensor: its variance is a·x + b at a value of x (Foi et al. 2008, equation 1).

    Args:
        image: the pictures.
        level: root mean square of the noise over a picture, σ / 255, (N,).
        share: of the variance that grows with the light; the rest is the same everywhere, (N,).
    """
    light = image / image.mean((1, 2, 3), keepdim=True).clamp_min(1e-3)
    growing = share[:, None, None, None]
    deviation = (growing * light + 1 - growing).clamp_min(0).sqrt()
    return image + level[:, None, None, None] * deviation * torch.randn_like(image)


def chroma_noise(image: Tensor, level: Tensor) -> Tensor:
    """Coloured blotches of a few pixels that leave the luma (BT.601) as it is; grey stays so.

    `level` is their root mean square over all channels, σ / 255, (N,).
    """
    if image.shape[1] == 1:
        return image
    count, _, height, width = image.shape
    cell = int(torch.randint(CHROMA_CELL[0], CHROMA_CELL[1] + 1, ()))
    size = (-(-height // cell) + 1, -(-width // cell) + 1)
    coarse = torch.randn(count, 2, *size, device=image.device)
    blotches = functional.interpolate(coarse, scale_factor=cell, mode="bilinear")
    blue, red = blotches[:, :1, :height, :width], blotches[:, 1:, :height, :width]
    noise = torch.cat([1.402 * red, -0.344136 * blue - 0.714136 * red, 1.772 * blue], dim=1)
    size_now = noise.square().mean((1, 2, 3), keepdim=True).sqrt().clamp_min(1e-6)
    return image + level[:, None, None, None] * noise / size_now


def jpeg(image: Tensor, quality: Tensor, full: Tensor | None = None) -> Tensor:
    """Written as JPEG and read again.

    Args:
        image: the pictures.
        quality: 1 to 100 for each picture, (N,); 0 leaves it alone.
        full: whether chroma keeps its height and width (4:4:4), (N,) bool; else it has half
            (4:2:0).
    """
    pixels = (image.clamp(0, 1) * 255).round().byte().cpu().permute(0, 2, 3, 1).contiguous().numpy()
    grey = pixels.shape[3] == 1
    read = []
    chroma = [False] * len(image) if full is None else full.tolist()
    for picture, of_picture, whole in zip(pixels, quality.tolist(), chroma, strict=True):
        if of_picture == 0:
            read.append(picture)
            continue
        # Channels go in reversed, as OpenCV wants them, and so come out.
        options = [cv2.IMWRITE_JPEG_QUALITY, int(of_picture)]
        if whole:
            options += [cv2.IMWRITE_JPEG_SAMPLING_FACTOR, cv2.IMWRITE_JPEG_SAMPLING_FACTOR_444]
        _, written = cv2.imencode(".jpg", picture[..., ::-1], options)
        again: Any = cv2.imdecode(written, cv2.IMREAD_GRAYSCALE if grey else cv2.IMREAD_COLOR)
        read.append(again[..., None] if grey else again[..., ::-1])
    result = torch.from_numpy(np.stack(read)).permute(0, 3, 1, 2).to(image.device)
    return result.to(image.dtype) / 255


def photographic_noise(image: Tensor, level: Tensor) -> Tensor:
    """What a camera's file has, in 8 bits: shot noise, often chroma noise and JPEG's artefacts.

    `level` is roughly the root mean square of all of it, σ / 255, (N,).
    """
    count, device = len(image), image.device
    chroma = torch.rand(count, device=device) * 0.7
    chroma = chroma * (torch.rand(count, device=device) < 0.6)
    luma = (1 - chroma.square()).sqrt()
    noisy = shot_noise(image, level * luma, torch.rand(count, device=device))
    noisy = as_in_a_file(chroma_noise(noisy, level * chroma))
    quality = torch.randint(60, 100, (count,), device=device)
    return jpeg(noisy, quality * (torch.rand(count, device=device) < 0.6))


def reduced(image: Tensor, scale: int) -> Tensor:
    """A `scale`th of height and width by antialiased bicubic interpolation, as Pillow's; 8 bits."""
    size = [side // scale for side in image.shape[2:]]
    return as_in_a_file(_resized(image, size, "bicubic"))


def blindly_reduced(image: Tensor, scale: int) -> Tensor:
    """A `scale`th of height and width in one of many ways, blurred, noisy, through JPEG or not.

    Blur, resize, noise, JPEG, in the order of the first stage of Real-ESRGAN (Wang et al. 2021).
    """
    count, device = len(image), image.device
    image = blurred(image, torch.rand(count, device=device) * 0.6 * scale)
    modes = ("bicubic", "bilinear", "area")
    chosen = torch.randint(len(modes), (count,)).tolist()
    size = [side // scale for side in image.shape[2:]]
    small = [
        _resized(one[None], size, modes[mode]) for one, mode in zip(image, chosen, strict=True)
    ]
    low = torch.cat(small)
    noisy = torch.rand(count, device=device) < 0.7
    level = torch.rand(count, device=device) * (12 / 255) * noisy
    low = as_in_a_file(shot_noise(low, level, torch.rand(count, device=device)))
    quality = torch.randint(50, 98, (count,), device=device)
    return jpeg(low, quality * (torch.rand(count, device=device) < 0.7))


def _exact(function: F) -> F:
    """The same outside autocast: what is made to learn from has no rounding of 16-bit numbers."""

    @functools.wraps(function)
    def wrapped(image: Tensor, *more: Any) -> Tensor:
        with torch.autocast(image.device.type, enabled=False):
            result: Tensor = function(image, *more)
        return result

    return cast(F, wrapped)


@_exact
def blurred(image: Tensor, sigma: Tensor) -> Tensor:
    """Gaussian blur; `sigma` is in pixels for each picture, (N,), at most a sixth of its size."""
    reach = max(1, int(3 * float(sigma.max())))
    offsets = torch.arange(-reach, reach + 1, device=image.device, dtype=image.dtype)
    weights = torch.exp(-0.5 * (offsets / sigma.clamp_min(0.05)[:, None]).square())
    weights = weights / weights.sum(1, keepdim=True)
    count, channels, height, width = image.shape
    kernels = weights.repeat_interleave(channels, 0)
    rows = image.reshape(1, count * channels, height, width)
    padded = functional.pad(rows, (reach,) * 4, mode="reflect")
    across = functional.conv2d(padded, kernels[:, None, None, :], groups=count * channels)
    both = functional.conv2d(across, kernels[:, None, :, None], groups=count * channels)
    return both.reshape(image.shape)


@_exact
def _resized(image: Tensor, size: list[int], mode: str) -> Tensor:
    if mode == "area":
        return functional.interpolate(image, size, mode="area")
    return functional.interpolate(image, size, mode=mode, antialias=True, align_corners=False)
