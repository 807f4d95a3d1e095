"""What photographs are spoilt by, and how much: what the estimator of noise levels learns from."""

from __future__ import annotations

import torch
from torch import Tensor

from genloom_denoise import NoiseLevelConfig
from genloom_denoise.textures import texture
from genloom_train.degradations import (
    as_in_a_file,
    chroma_noise,
    gaussian_noise,
    jpeg,
    shot_noise,
)

EXPOSURE = (0.3, 1.8)
"""Factors by which photographs get darker and lighter, from and to."""
QUALITY, MEDIOCRE = (40, 100), 1.5
"""Qualities of JPEG, from and to, and how much more of the high ones there are."""
HARMLESS = 2 / 255
"""Artefacts of JPEG up to this root mean square are left alone: smoothing them costs more."""
HALVED = 0.6
"""Share of the JPEG files whose chroma has half the height and width (4:2:0)."""
BAR = 0.4
"""Share of height or width that a bar of one colour takes at the most."""


def spoilt(clean: Tensor, config: NoiseLevelConfig) -> tuple[Tensor, Tensor]:
    """Spoilt pictures, and the level of noise that a denoiser is to be told, (N,), σ / 255.

    That is the root mean square of the noise before it was clipped, as denoisers learned it; of a
    JPEG file that of the error, without what the picture alone would have lost, up to `HARMLESS`.
    """
    clean = _exposed(_halved(clean, config.reduced), config.exposed)
    grey = torch.rand(len(clean), device=clean.device) < config.grey
    noisy, level = torch.empty_like(clean), clean.new_empty(len(clean))
    for which, channels in ((grey, 1), (~grey, clean.shape[1])):
        if which.any():
            some = clean[which]
            some = some if channels == some.shape[1] else some.mean(1, keepdim=True)
            done, level[which] = _spoilt(some, config)
            noisy[which] = done.expand(-1, clean.shape[1], -1, -1)
    return _with_bars(noisy, config.bars), level


def _spoilt(clean: Tensor, config: NoiseLevelConfig) -> tuple[Tensor, Tensor]:
    count, device = len(clean), clean.device

    def share(of: float) -> Tensor:
        return torch.rand(count, device=device) < of

    level = torch.rand(count, device=device) ** config.weak * (config.sigma / 255)
    level = level * ~share(config.clean)
    photographic, in_jpeg = share(config.photographic), share(config.jpeg)
    noisy = gaussian_noise(clean, level)
    chroma = (1 - torch.rand(count, device=device).square()) * share(0.6)
    luma = (1 - chroma.square()).sqrt()
    shot = shot_noise(clean, level * luma, torch.rand(count, device=device))
    noisy = _chosen(photographic, chroma_noise(shot, level * chroma), noisy)
    noisy = _chosen(share(config.clipped) | in_jpeg | photographic, as_in_a_file(noisy), noisy)
    quality = _quality(count).to(device) * in_jpeg
    whole = torch.rand(count) >= HALVED
    noisy = _chosen(in_jpeg, jpeg(noisy, quality, whole), noisy)
    artefacts = _root_mean_square(jpeg(clean, quality, whole) - clean).clamp(max=HARMLESS)
    error = _root_mean_square(noisy - clean)
    counting = (error.square() - artefacts.square()).clamp_min(0).sqrt()
    return noisy, torch.where(in_jpeg, counting, level)


def _quality(count: int) -> Tensor:
    worst, best = QUALITY
    return (best - (best - worst) * torch.rand(count) ** MEDIOCRE).round().long()


def _root_mean_square(error: Tensor) -> Tensor:
    """Of each picture, (N,)."""
    return error.square().flatten(1).mean(1).sqrt()


def _chosen(which: Tensor, one: Tensor, other: Tensor) -> Tensor:
    return torch.where(which[:, None, None, None], one, other)


def _halved(clean: Tensor, share: float) -> Tensor:
    """Half of height and width: some as texture as fine as pixels, of the others a part.

    A share of 0 leaves all as large as they are.
    """
    if share == 0:
        return clean
    result = _part(clean)
    for index in (torch.rand(len(clean)) < share).nonzero()[:, 0].tolist():
        result[index] = texture(clean)
    return result


def _part(clean: Tensor) -> Tensor:
    height, width = (side // 2 for side in clean.shape[2:])
    top, left = (int(torch.randint(side + 1, ())) for side in (height, width))
    return clean[:, :, top : top + height, left : left + width].clone()


def _exposed(clean: Tensor, share: float) -> Tensor:
    """Some of the pictures darker or lighter, in 8 bits."""
    count, device = len(clean), clean.device
    low, high = (torch.tensor(factor, device=device).log() for factor in EXPOSURE)
    factor = (low + (high - low) * torch.rand(count, device=device)).exp()
    exposed = as_in_a_file(clean * factor[:, None, None, None])
    return _chosen(torch.rand(count, device=device) < share, exposed, clean)


def _with_bars(noisy: Tensor, share: float) -> Tensor:
    """Some of the pictures with a bar of one colour, mostly black or white, without noise."""
    noisy = noisy.clone()
    for index in (torch.rand(len(noisy)) < share).nonzero()[:, 0].tolist():
        size = 1 + int(torch.rand(()) * BAR * noisy.shape[2])
        colour = torch.rand(noisy.shape[1], 1, 1, device=noisy.device)
        colour = colour if torch.rand(()) < 0.3 else colour[:1].round()
        place = int(torch.randint(4, ()))
        bar = slice(size) if place % 2 else slice(-size, None)
        where = (slice(None), bar) if place < 2 else (slice(None), slice(None), bar)
        noisy[(index, *where)] = colour
    return noisy
