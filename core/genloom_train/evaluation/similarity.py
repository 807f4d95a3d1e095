"""How much pictures are like others: PSNR and SSIM, from torchmetrics."""

from __future__ import annotations

import torch
from torch import Tensor

from genloom.types import Floats
from genloom_train.evaluation.figures import Figure
from genloom_train.evaluation.real import Real
from genloom_train.evaluation.subject import Subject

MOST = 120.0
"""PSNR of equal pictures in dB; without a bound it would be infinite."""

SMALL = 16
"""Below this height or width SSIM's window is 5×5 (σ = 0.5) in place of 11×11 (σ = 1.5)."""

CHUNK = 500


def similarity(pixels: Floats, target: Floats) -> dict[str, float]:
    """Mean PSNR in dB and mean SSIM (Wang et al. 2004) over pairs of pictures N×H×W×C."""
    totals = torch.zeros(2, dtype=torch.float64)
    for start in range(0, len(pixels), CHUNK):
        part = slice(start, start + CHUNK)
        totals += _sums(_tensor(pixels[part]), _tensor(target[part]))
    psnr, ssim = (totals / len(pixels)).tolist()
    return {"psnr": psnr, "ssim": ssim}


def _sums(pixels: Tensor, target: Tensor) -> Tensor:
    from torchmetrics.functional.image import (
        peak_signal_noise_ratio,
        structural_similarity_index_measure,
    )

    psnr = peak_signal_noise_ratio(
        pixels, target, data_range=1.0, reduction="none", dim=(1, 2, 3)
    ).clamp_max(MOST)
    sigma = 0.5 if min(pixels.shape[2:]) < SMALL else 1.5
    ssim = structural_similarity_index_measure(
        pixels, target, data_range=1.0, reduction="none", sigma=sigma
    )
    assert isinstance(ssim, Tensor)
    return torch.stack([psnr.sum(), ssim.sum()])


def _tensor(pixels: Floats) -> Tensor:
    return torch.from_numpy(pixels.transpose(0, 3, 1, 2).astype("float64"))


def reconstruction(subject: Subject, real: Real) -> list[Figure]:
    """PSNR and SSIM of what decoder and encoder make of pictures.

    Beside it, what one gets by showing another real picture in their place.
    """
    again = subject.pictures(subject.encode(real))
    found = similarity(again, real.pixels)
    one, other = real.halves()
    floor = similarity(one.pixels, other.pixels)
    return [Figure(name, value, floor[name]) for name, value in found.items()]
