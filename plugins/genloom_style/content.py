"""How far a painted picture is from what it shows."""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torch.nn import functional

from genloom.errors import GenloomError
from genloom_style import AdainConfig, StylizerConfig
from genloom_style.discriminators import SEEN
from genloom_train.features import perceptual_distance
from genloom_train.training import Shape

SMALLEST = 16
"""Pixels that the coarsest feature map needs."""

LUMA = (0.299, 0.587, 0.114)
DEEP = 4
"""Which feature map content is compared in, as in Gatys et al. 2016; of small pictures the last."""


def check_crop(shape: Shape, config: StylizerConfig | AdainConfig) -> None:
    """Whether training pictures are large enough for what paintings are judged by.

    Raises:
        GenloomError: when they are not.
    """
    grain = config.grain + 2 * max(1, config.grain // 2)
    least = max(SMALLEST, grain, SEEN if config.adversarial else 0)
    if min(shape[1:]) < least:
        raise GenloomError(
            "the training's pictures are too small to judge paintings by",
            expected=f"'data.crop' of at least {least}",
            got=f"{shape[2]}×{shape[1]}",
            hint="A smaller 'model.grain' needs less" if least == grain else "",
        )


def content_loss(
    features: nn.Module, made: Tensor, image: Tensor, weights: StylizerConfig | AdainConfig
) -> tuple[Tensor, dict[str, Tensor]]:
    """How far `made` is from what `image` shows, N×C×H×W each, and the figures it is made of."""
    loss, report = light_loss(made, image, weights)
    if weights.content:
        content = perceptual_distance(Deep(features), luminance(made), luminance(image))
        loss = loss + weights.content * content
        report["content"] = content.detach()
    return loss, report


def light_loss(
    made: Tensor, image: Tensor, weights: StylizerConfig | AdainConfig
) -> tuple[Tensor, dict[str, Tensor]]:
    """How far `made` is from the light and colours of `image`, N×C×H×W each, and the two figures.

    They are compared without what is finer than the style's grain.
    """
    grey, grey_made = luminance(image), luminance(made)
    tone = blurred(grey_made - grey, weights.grain).abs().mean()
    colour = blurred((made - grey_made) - (image - grey), weights.grain).abs().mean()
    loss = weights.tone * tone + weights.colour * colour
    return loss, {"tone": tone.detach(), "colour": colour.detach()}


class Deep(nn.Module):
    """The feature map that content is compared in."""

    def __init__(self, features: nn.Module) -> None:
        super().__init__()
        self.features = features

    def forward(self, image: Tensor) -> list[Tensor]:
        """N×C×H×W → one map."""
        maps: list[Tensor] = self.features(image)
        return maps[:DEEP][-1:]


def luminance(image: Tensor) -> Tensor:
    """N×C×H×W → N×1×H×W."""
    if image.shape[1] == 1:
        return image
    weights = torch.tensor(LUMA, device=image.device)[:, None, None]
    return (image * weights).sum(1, keepdim=True)


def blurred(image: Tensor, grain: int) -> Tensor:
    """A picture without what is finer than `grain` pixels, reduced: N×C×H×W → N×C×H'×W'."""
    reduced = functional.avg_pool2d(image, grain, max(1, grain // 2))
    return functional.avg_pool2d(reduced, 3, 1)
