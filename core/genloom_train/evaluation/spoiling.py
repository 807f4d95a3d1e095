"""True pictures made worse, the same way at every call, for a network to restore."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Literal

import numpy as np
import torch

from genloom import imaging
from genloom.errors import GenloomError
from genloom.types import Array, as_dtype, as_float
from genloom_train import degradations
from genloom_train.data import generator
from genloom_train.randomness import seed_step

Degradation = Literal["noise", "photographic", "jpeg", "bicubic", "blind"]
KEEPING, REDUCING = ("noise", "photographic", "jpeg"), ("bicubic", "blind")
"""Degradations for networks that keep the size, and for those that enlarge."""

SIGMAS, QUALITIES = (15.0, 25.0, 50.0), (20, 40, 60)


@dataclass(frozen=True)
class Condition:
    """One way of making pictures worse.

    Attributes:
        name: short, for tables and files.
        suffix: ending of the names of figures on a card.
        words: what is done.
        spoil: makes bytes H×W×C of bytes H×W×C; told what the random numbers depend on.
        sigma: of the noise in 8-bit units; None where it is not white, or none.
    """

    name: str
    suffix: str
    words: str
    spoil: Callable[[Array, str], Array]
    sigma: float | None = None

    def level(self, spoiled: Array, truth: Array) -> float:
        """The noise level that methods are told: σ, or how large the difference really is."""
        if self.sigma is not None or spoiled.shape != truth.shape:
            return self.sigma or 0.0
        return float(np.sqrt(np.mean((spoiled.astype(np.float64) - truth) ** 2)))


def conditions(
    degradation: Degradation | None,
    scale: int,
    *,
    sigmas: Sequence[float] = (),
    qualities: Sequence[int] = (),
) -> list[Condition]:
    """What pictures go through before a network of some scale gets them.

    Args:
        degradation: Gaussian noise, or bicubic reduction, unless said.
        scale: of the network.
        sigmas: noise levels in 8-bit units; `SIGMAS` unless said.
        qualities: of JPEG; `QUALITIES` unless said.

    Raises:
        GenloomError: when they do not go together.
    """
    possible = KEEPING if scale == 1 else REDUCING
    chosen = degradation or possible[0]
    if chosen not in possible:
        what = "keeps the size" if scale == 1 else "enlarges"
        raise GenloomError(
            f"a network that {what} cannot undo '{chosen}'", expected=" or ".join(possible)
        )
    _check(chosen, "--sigma", sigmas, ("noise", "photographic"))
    _check(chosen, "--quality", qualities, ("jpeg",))
    if chosen == "noise":
        return [_noise(sigma) for sigma in sigmas or SIGMAS]
    if chosen == "photographic":
        return [_photographic(sigma) for sigma in sigmas or SIGMAS]
    if chosen == "jpeg":
        return [_jpeg(quality) for quality in qualities or QUALITIES]
    return [_bicubic(scale) if chosen == "bicubic" else _blind(scale)]


def _check(chosen: str, option: str, given: Sequence[float], fits: tuple[str, ...]) -> None:
    if given and chosen not in fits:
        raise GenloomError(
            f"'{option}' says nothing about the degradation '{chosen}'",
            expected=" or ".join(f"--degradation {name}" for name in fits),
        )


def _noise(sigma: float) -> Condition:
    def spoil(picture: Array, key: str) -> Array:
        noise = generator("noise", f"{sigma:g}", key).normal(0, sigma, picture.shape)
        return np.clip(np.rint(picture + noise), 0, 255).astype(np.uint8)

    words = f"Gaussian noise, σ = {sigma:g}, clipped and rounded to 8 bits"
    return Condition(f"sigma {sigma:g}", f"_{sigma:g}", words, spoil, sigma)


def _photographic(sigma: float) -> Condition:
    def spoil(picture: Array, key: str) -> Array:
        level = torch.tensor([sigma / 255])
        return _by_torch(picture, key, lambda image: degradations.photographic_noise(image, level))

    words = f"shot and chroma noise of about {sigma:g}, JPEG or not, in 8 bits"
    return Condition(f"photographic {sigma:g}", f"_photographic_{sigma:g}", words, spoil)


def _jpeg(quality: int) -> Condition:
    def spoil(picture: Array, key: str) -> Array:
        at = torch.tensor([quality])
        return _by_torch(picture, key, lambda image: degradations.jpeg(image, at))

    return Condition(f"jpeg {quality}", f"_jpeg_{quality}", f"JPEG of quality {quality}", spoil)


def _bicubic(scale: int) -> Condition:
    def spoil(picture: Array, key: str) -> Array:
        height, width = (side // scale for side in picture.shape[:2])
        return imaging.resize(picture, height, width, "bicubic")

    words = f"reduced {scale} times by Pillow's antialiased bicubic filter"
    return Condition(f"x{scale}", "", words, spoil)


def _blind(scale: int) -> Condition:
    def spoil(picture: Array, key: str) -> Array:
        return _by_torch(picture, key, lambda image: degradations.blindly_reduced(image, scale))

    words = f"reduced {scale} times in one of several ways, with blur, noise and JPEG or not"
    return Condition(f"x{scale} blind", "_blind", words, spoil)


def _by_torch(picture: Array, key: str, spoil: Callable[[torch.Tensor], torch.Tensor]) -> Array:
    """What torch's generator makes of a picture when it is seeded by `key`; others see nothing."""
    image = torch.from_numpy(np.ascontiguousarray(as_float(picture).transpose(2, 0, 1)[None]))
    with torch.random.fork_rng(devices=[]):
        seed_step(0, key)
        spoiled = spoil(image)
    values = spoiled[0].permute(1, 2, 0).contiguous().numpy()
    return as_dtype(values, np.uint8)
