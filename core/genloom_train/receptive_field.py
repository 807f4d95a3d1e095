"""How far a network looks: measured, not computed by hand."""

from __future__ import annotations

import copy
from collections.abc import Sequence
from typing import Any, Literal

import torch
from torch import Tensor, nn

from genloom_train.training import Graph

SMALLEST, LARGEST = 128, 1024
"""Sides in pixels of the pictures it is measured on; a field that fills the largest is global."""

GAINS = (1.0, 0.1, 0.01)
"""How large the input is, and what a layer of positive weights makes of the size of its own. Blocks
that add to their input let values grow, and an activation with bounds is flat beyond them; under
small gains values stay small, where it is not."""


def receptive_field(graph: Graph, multiple: int = 1) -> int | Literal["global"]:
    """Width in pixels of the square of input that one pixel of the output can depend on.

    The gradient of an output pixel is exactly zero outside it. It is taken for every offset of
    the pixel within the network's stride `multiple`, with the trained weights and again with
    positive ones of several sizes, so that no activation is switched off and none is saturated in
    all of them: none of its reach stays hidden. The picture is the input `image` and the first
    output.
    """
    trials = [(_copy(graph.module), 1.0)]
    trials += [(_positive(_copy(graph.module), gain), gain) for gain in GAINS]
    side = -(-SMALLEST // multiple) * multiple
    while side <= LARGEST:
        reaches = [_reach(m, graph, _inputs(graph, side, gain), multiple) for m, gain in trials]
        if None not in reaches:
            return 2 * max(reach for reach in reaches if reach is not None) + 1
        side *= 2
    return "global"


def _reach(module: nn.Module, graph: Graph, inputs: Sequence[Tensor], multiple: int) -> int | None:
    """Largest distance in pixels from an output pixel to an input it depends on.

    None when it meets the picture's border, so that the picture was too small to tell.
    """
    farthest = 0
    image = inputs[list(graph.inputs).index("image")].requires_grad_()
    side = image.shape[-1]
    result = module(*inputs)
    result = result if isinstance(result, Tensor) else result[0]
    scale = result.shape[-1] // side
    for offset in range(multiple * scale):
        at = (side // 2 // multiple) * multiple * scale + offset
        (gradient,) = torch.autograd.grad(result[0, :, at, at].sum(), image, retain_graph=True)
        touched = (gradient[0] != 0).any(0)
        rows, columns = touched.any(1).nonzero(), touched.any(0).nonzero()
        if len(rows) == 0:
            continue
        low = int(min(rows.min(), columns.min()))
        high = int(max(rows.max(), columns.max()))
        if low == 0 or high == side - 1:
            return None
        farthest = max(farthest, at // scale - low, high - at // scale)
    return farthest


def _inputs(graph: Graph, side: int, gain: float) -> list[Tensor]:
    """One picture in double precision, and other inputs; at the top of their range at gain 1."""
    random = torch.Generator().manual_seed(0)
    sizes = {"batch": 1, "height": side, "width": side}
    inputs = []
    for port in graph.inputs.values():
        shape = [axis if isinstance(axis, int) else sizes[axis] for axis in port.axes]
        low, high = port.range or (0.0, 1.0)
        values = torch.rand(shape, generator=random, dtype=torch.float64) * 0.5 + 0.5
        inputs.append(low + (high - low) * gain * values)
    return inputs


def _copy(module: nn.Module) -> Any:
    return copy.deepcopy(module).double().eval()


def _positive(module: Any, gain: float) -> Any:
    """All weights positive, their sum at each output `gain`; no bias."""
    for parameter in module.parameters():
        fan = max(1, parameter[0].numel()) if parameter.ndim > 1 else 0
        parameter.data.fill_(gain / fan if fan else 0.0)
    return module
