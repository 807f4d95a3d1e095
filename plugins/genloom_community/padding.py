"""Networks that pad pictures to a multiple of their windows by themselves.

The exporter follows such a network only for sizes of one sort: those that need padding, or those
that do not. So it is shown pictures that need none, and nodes before and after the network pad and
cut as the network itself would have done. How it does that is found by trying.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import partial
from typing import Literal

import numpy as np
import onnx
import torch
from onnx import helper, numpy_helper
from torch import Tensor, nn
from torch.nn import functional

from genloom.card import SizeRule

Mode = Literal["reflect", "edge", "constant"]
MODES: tuple[Mode, ...] = ("reflect", "edge", "constant")
TIMES = (2, 4, 8, 16, 32, 64, 3, 6, 7, 12, 14, 24)
SIZES = ((65, 67), (41, 87))
"""Heights and widths it is tried on: each multiple raises them to others, between them."""
UNSHUFFLED = (1, 2, 3, 4, 8)
"""Of how many pixels' height and width one place is that a first convolution sees."""
LARGEST = 64
"""The largest multiple that is tried."""
SAME = 1e-5


@dataclass(frozen=True)
class Padding:
    """What a network pads to by itself, and how; 1 where it does not pad."""

    multiple: int = 1
    mode: Mode = "reflect"


def found(module: nn.Module, inputs: Sequence[tuple[Tensor, ...]], rule: SizeRule) -> Padding:
    """The largest multiple to which pictures can be padded beforehand without a difference.

    Args:
        module: the network.
        inputs: pictures of odd sizes, as far as the size rule allows, with what else it takes.
        rule: the size rule.
    """
    with torch.no_grad():
        right, seen = zip(*(_watched(module, one) for one in inputs), strict=True)
        sizes = [one[0].shape[2:] for one in inputs]
        agreeing = [
            padding
            for padding in _candidates(rule)
            if all(map(partial(_fits, padding), sizes, seen))
            and all(_agrees(module, *pair, padding) for pair in zip(inputs, right, strict=True))
        ]
    return max(agreeing, key=lambda padding: padding.multiple, default=Padding())


def _watched(module: nn.Module, inputs: tuple[Tensor, ...]) -> tuple[Tensor, torch.Size | None]:
    """The result, and height and width of what the first convolution was given.

    Of those that see a pixel's neighbours: others are the same before a padding as after it.
    """
    seen: list[torch.Size] = []

    def look(_: nn.Module, given: tuple[Tensor, ...]) -> None:
        if not seen and given and given[0].ndim == 4:
            seen.append(given[0].shape[2:])

    parts = [part for part in module.modules() if isinstance(part, nn.Conv2d)]
    wide = [part for part in parts if max(part.kernel_size) > 1]
    hooks = [part.register_forward_pre_hook(look) for part in wide]
    try:
        result: Tensor = module(*inputs)
    finally:
        for hook in hooks:
            hook.remove()
    return result, seen[0] if seen else None


def _fits(padding: Padding, size: torch.Size, seen: torch.Size | None) -> bool:
    """Whether a network that pads so could show its first convolution what it was seen to.

    Each trial is a run of the network, and one that shows its first convolution the picture as it
    is does not pad it: it needs none. Where a convolution sees something else altogether, or there
    is none, nothing is ruled out.
    """
    if seen is None:
        return True
    padded = [-(-side // padding.multiple) * padding.multiple for side in size]
    raised = [[by * side for side in seen] for by in UNSHUFFLED]
    if list(size) in raised:
        return False
    near = any(
        all(own <= side < own + LARGEST for side, own in zip(sides, size, strict=True))
        for sides in raised
    )
    return padded in raised or not near


def _agrees(module: nn.Module, inputs: tuple[Tensor, ...], right: Tensor, padding: Padding) -> bool:
    try:
        result = module(pad(inputs[0], padding), *inputs[1:])
    except RuntimeError:
        return False
    result = result[..., : right.shape[2], : right.shape[3]]
    tolerance = SAME * max(1.0, float(right.abs().max()))
    return result.shape == right.shape and float((result - right).abs().max()) <= tolerance


def _candidates(size: SizeRule) -> Iterator[Padding]:
    for mode in MODES:
        for times in TIMES:
            if size.multiple * times <= LARGEST:
                yield Padding(size.multiple * times, mode)


def pad(image: Tensor, padding: Padding) -> Tensor:
    """A picture padded at the bottom and right."""
    down, across = (-side % padding.multiple for side in image.shape[2:])
    mode = "replicate" if padding.mode == "edge" else padding.mode
    return functional.pad(image, (0, across, 0, down), mode)


def with_padding(model: onnx.ModelProto, padding: Padding, scale: int) -> onnx.ModelProto:
    """The model with nodes that pad `image` before it and cut `result` after it."""
    graph = model.graph
    for node in graph.node:
        node.input[:] = ["pad/image" if name == "image" else name for name in node.input]
        node.output[:] = ["pad/result" if name == "result" else name for name in node.output]
    constants = {
        "multiple": np.array([padding.multiple]),
        "scale": np.array([scale]),
        "none": np.zeros(6, np.int64),
        "zero": np.zeros(2, np.int64),
        "axes": np.array([2, 3]),
    }
    graph.initializer.extend(
        numpy_helper.from_array(value, f"pad/{name}") for name, value in constants.items()
    )
    before = [
        helper.make_node("Shape", ["image"], ["pad/size"], start=2, end=4),
        helper.make_node("Neg", ["pad/size"], ["pad/minus"]),
        helper.make_node("Mod", ["pad/minus", "pad/multiple"], ["pad/missing"]),
        helper.make_node("Concat", ["pad/none", "pad/missing"], ["pad/pads"], axis=0),
        helper.make_node("Pad", ["image", "pad/pads"], ["pad/image"], mode=padding.mode),
    ]
    after = [
        helper.make_node("Mul", ["pad/size", "pad/scale"], ["pad/ends"]),
        helper.make_node("Slice", ["pad/result", "pad/zero", "pad/ends", "pad/axes"], ["result"]),
    ]
    nodes = [*before, *graph.node, *after]
    del graph.node[:]
    graph.node.extend(nodes)
    onnx.checker.check_model(model)
    return model
