"""Foreign ONNX files: read, probed, and given genloom's ports.

The probing is done on the graph as it is, with a runtime: what it takes without an error and gives
back in a whole multiple of the size is what it can do. What no trial can tell for sure (the range
of the pixel values, blue first) is said aloud and can be said by whoever imports.
"""

from __future__ import annotations

from dataclasses import replace
from typing import Literal

import numpy as np

from genloom.card import SizeRule
from genloom.errors import GenloomError, ModelError
from genloom.runtime import Network
from genloom_community.examples import example
from genloom_community.onnx_file import read
from genloom_community.probe import Probe
from genloom_community.range import settled
from genloom_community.reach import compiled
from genloom_community.request import Draft, Request, Tell, unheard
from genloom_community.wrap import Convention, wrapped

PARITY = {"float32": 1e-4, "uint8": 1e-4, "float16": 2e-3}
"""Largest difference on [0, 1] that is rounding, by the type of a network's values."""
DEFAULT_LEVEL = 15 / 255
"""Noise level of a network that takes a map of it, unless said: what DRUNet's authors use."""


def draft(request: Request, tell: Tell = unheard) -> Draft:
    """Make a draft of an ONNX file; `tell` hears what it is at.

    Raises:
        GenloomError: when the file cannot be used, with the reason.
    """
    model = read(request.file)
    network = compiled(model)
    tell(f"{request.file.name}: trying out what it takes")
    probe = Probe(network, request)
    convention, size = probe.convention, probe.size
    convention, notes = settled(probe, convention, request.values)
    channels: Literal[1, 3] = 3 if convention.channels == 3 else 1
    made = Draft(
        model=wrapped(model, convention, size, scale=probe.scale, batch=probe.batch),
        channels=channels,
        scale=probe.scale,
        size=size,
        batch=probe.batch,
        level=DEFAULT_LEVEL if convention.level else None,
        notes=(*probe.notes, *notes),
    )
    return replace(made, difference=_difference(made, network, convention))


def _difference(made: Draft, network: Network, convention: Convention) -> float:
    """How far the graph with genloom's ports is from the file's own, on [0, 1].

    Raises:
        GenloomError: when that is more than rounding.
    """
    wrapped_network = compiled(made.model)
    worst = 0.0
    for size in _sizes(made.size):
        picture = example(size, made.channels, seed=size[1])
        inputs = {"image": picture}
        if made.level is not None:
            inputs["noise_level"] = np.full(1, made.level, np.float32)
        got = wrapped_network.run(inputs)["result"]
        right = convention.run(network, picture, made.level)
        if got.shape != right.shape:
            raise ModelError(
                "the rewritten graph gives another shape",
                expected=str(right.shape),
                got=str(got.shape),
            )
        worst = max(worst, float(np.abs(got - right).max()))
    most = max(PARITY[convention.dtype], PARITY[convention.result_dtype])
    if not worst <= most:
        raise GenloomError(
            "the rewritten graph computes something else",
            expected=f"at most {most:g} apart",
            got=f"{worst:.3g}",
        )
    return worst


def _sizes(rule: SizeRule) -> list[tuple[int, int]]:
    if rule.fixed is not None:
        return [rule.fixed]
    return [rule.padded(*size) for size in ((64, 48), (97, 131))]
