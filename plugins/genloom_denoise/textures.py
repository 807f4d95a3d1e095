"""Pictures without noise whose texture is as fine as noise: grass, gravel, fur, cloth."""

from __future__ import annotations

import math

import torch
from torch import Tensor

from genloom_train.degradations import as_in_a_file, blurred, reduced

SCALES, OFTEN = (2, 4, 8), (0.6, 0.2, 0.2)
"""By how much pictures are reduced, and how often."""
CANDIDATES = 3
"""Pictures of which that with the finest texture is reduced to less than half."""
SMOOTH = 1.0
"""Standard deviation in pixels of a blur that takes off the finest detail."""
ROUGH = 0.15
"""Share of the textures that are random fields."""
FALL, LENS, CONTRAST, BEND = (0.7, 1.6), (0.0, 0.8), (0.02, 0.3), (0.6, 1.6)
"""Of random fields: by what power of the frequency amplitudes fall, the blur by a lens in pixels,
the deviation, and the power of values, from and to."""


def texture(clean: Tensor) -> Tensor:
    """One fine texture of half the height and width of pictures N×C×H×W, multiples of 16: C×H×W."""
    if torch.rand(()) < ROUGH:
        return field(clean.shape[1], clean.shape[2] // 2, clean.shape[3] // 2).to(clean.device)
    return finer(clean, SCALES[int(torch.multinomial(torch.tensor(OFTEN), 1))])


def finer(clean: Tensor, scale: int) -> Tensor:
    """A picture reduced, with its mirror images as large as half of height and width, C×H×W.

    To less than half, of a few pictures that which has fine texture nearly all over; sharpened, as
    what is shown on screens often is.
    """
    few = torch.randint(len(clean), (CANDIDATES if scale > 2 else 1,))
    small = reduced(clean[few], scale)
    detail = (small - _smooth(small)).abs().mean(1).flatten(1).median(1).values
    chosen = _sharpened(small[[int(detail.argmax())]])
    while chosen.shape[2] < clean.shape[2] // 2:
        chosen = torch.cat([chosen, chosen.flip(2)], dim=2)
        chosen = torch.cat([chosen, chosen.flip(3)], dim=3)
    return chosen[0]


def field(channels: int, height: int, width: int) -> Tensor:
    """A random field of nearly one colour, whose amplitudes fall as those of photographs do, C×H×W.

    They fall with a power of the frequency (Field 1987), longer one way than the other, and at the
    highest frequencies as through a lens. Noise does neither.
    """
    down, along = torch.fft.fftfreq(height)[:, None], torch.fft.rfftfreq(width)[None]
    turn, longer = _between(0, math.pi), _between(1, 3)
    across = down * math.cos(turn) + along * math.sin(turn)
    other = (along * math.cos(turn) - down * math.sin(turn)) * longer
    frequency = (across.square() + other.square()).sqrt().clamp_min(1 / height)
    lens = (-2 * (math.pi * _between(*LENS)) ** 2 * (down.square() + along.square())).exp()
    spectrum = torch.fft.rfft2(torch.randn(height, width)) * frequency ** -_between(*FALL) * lens
    values = torch.fft.irfft2(spectrum, s=(height, width))
    values = values.sign() * values.abs() ** _between(*BEND)
    values = values / values.std() * _between(*CONTRAST)
    tint = 1 + 0.2 * torch.randn(channels, 1, 1)
    return as_in_a_file(
        0.2 + 0.6 * torch.rand(()) + 0.1 * torch.randn(channels, 1, 1) + tint * values
    )


def _between(low: float, high: float) -> float:
    return low + (high - low) * float(torch.rand(()))


def _sharpened(image: Tensor) -> Tensor:
    """More or less, and half of the time not at all."""
    if torch.rand(()) < 0.5:
        return image
    return as_in_a_file(image + float(torch.rand(())) * (image - _smooth(image)))


def _smooth(image: Tensor) -> Tensor:
    return blurred(image, torch.full((len(image),), SMOOTH, device=image.device))
