"""Weights of known architectures: recognised by spandrel, exported to ONNX, proven equal."""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import dataclass, replace
from functools import cached_property
from typing import Any, Literal

import numpy as np
import torch
from torch import Tensor, nn

from genloom.card import SizeRule
from genloom.errors import GenloomError
from genloom.types import Array
from genloom_community import padding
from genloom_community.exporting import exportable
from genloom_community.padding import Padding, with_padding
from genloom_community.reach import compiled
from genloom_community.request import PART, SIZE, Draft, Request, Tell, check_bytes, unheard
from genloom_community.state import state_dict
from genloom_train.onnx_graph import example_inputs, to_onnx
from genloom_train.training import Graph

SIZES = ((64, 48), (41, 87), (97, 33))
"""Heights and widths at which ONNX is compared with torch, raised to the size rule."""
TOLERANCE = 1e-4
"""Largest difference that is still rounding, of the larger of 1 and the largest value."""
DRUNET_LEVEL = 15 / 255
"""What spandrel, as DRUNet's authors, takes unless the noise is known."""


def draft(request: Request, tell: Tell = unheard) -> Draft:
    """Make a draft of a file of weights; `tell` hears what it is at.

    Raises:
        GenloomError: when the file wants more than restricted loading allows, nobody knows the
            architecture, it is no image-to-image network, or it cannot be exported.
    """
    network = recognised(request)
    parameters = sum(one.numel() for one in network.module.parameters())
    check_bytes(4 * parameters, request.file)
    if network.random:
        raise GenloomError(
            f"{network.architecture} draws random numbers: no seed would repeat a picture",
            where=str(request.file),
        )
    said = f"{request.file.name}: {network.architecture}, {parameters / 1e6:.2g} million parameters"
    problems: list[str] = []
    for attempt in _attempts(network, request.size or SIZE):
        tell(f"{problems[-1] if problems else said}; exporting {attempt.in_words}")
        try:
            return _exported(attempt, problems)
        except GenloomError as error:
            problems.append(error.what)
    raise GenloomError(
        f"{network.architecture} cannot be exported to ONNX",
        got=problems[-1],
        where=str(request.file),
    )


@dataclass(kw_only=True)
class Recognised:
    """A network that spandrel recognised.

    Attributes:
        module: takes N×C×H×W in [0, 1] and, where `level` is one, N noise levels.
        size: what spandrel knows of the sizes it takes.
    """

    module: nn.Module
    architecture: str
    channels: Literal[1, 3]
    scale: int
    size: SizeRule
    level: float | None = None

    def example(self, height: int, width: int) -> tuple[Tensor, ...]:
        """A picture of noise, of this size or the next that it takes, and what else it wants."""
        picture = torch.rand(1, self.channels, *self.size.padded(height, width))
        return (picture,) if self.level is None else (picture, torch.full((1,), self.level))

    @property
    def random(self) -> bool:
        """Whether it draws random numbers, and they change the result.

        Exporting such a network can take very long, to end in nothing.
        """
        inputs, state = self.example(*SIZES[0]), torch.get_rng_state()
        try:
            with torch.no_grad():
                first = self.module(*inputs)
                drawn = not torch.equal(state, torch.get_rng_state())
                return drawn and not torch.equal(first, self.module(*inputs))
        except Exception:  # what else is wrong with it is told when it is exported
            return False

    @cached_property
    def own_padding(self) -> Padding:
        """How it pads pictures by itself."""
        inputs = [self.example(*size) for size in padding.SIZES]
        try:
            return padding.found(self.module, inputs, self.size)
        except Exception as error:
            raise _failed(error) from None


def recognised(request: Request) -> Recognised:
    """Load the weights into the network they belong to."""
    import spandrel

    state = state_dict(request.file)
    try:
        model = spandrel.ModelLoader("cpu").load_from_state_dict(state)
    except spandrel.UnsupportedModelError:
        raise GenloomError(
            "no architecture that spandrel knows has these weights",
            got=f"{len(state)} tensors: {', '.join(list(state)[:3])} …",
            where=str(request.file),
            hint="Export the network to ONNX with the tool it comes from, and import that",
        ) from None
    except Exception as error:
        raise GenloomError(
            f"the weights do not fit the architecture they look like ({_first_line(error)})",
            where=str(request.file),
        ) from None
    return _described(model, request)


def _described(found: Any, request: Request) -> Recognised:
    import spandrel

    name = str(found.architecture.name)
    channels = (found.input_channels, found.output_channels)
    pictures = isinstance(found, spandrel.ImageModelDescriptor)
    if not pictures or channels not in ((1, 1), (3, 3)):
        raise GenloomError(
            f"{name} is no network from a picture to a picture of the same channels",
            expected="1 or 3 channels in and out, and nothing else",
            got=f"{channels[0]} in, {channels[1]} out, for {found.purpose.lower()}",
            where=str(request.file),
        )
    rule = found.size_requirements
    tags = f" ({', '.join(found.tags)})" if found.tags else ""
    told = name == "DRUNet"
    return Recognised(
        module=(_Told if told else _Plain)(found).float().eval(),
        architecture=f"{name}{tags}",
        channels=channels[0],
        scale=found.scale,
        size=SizeRule(multiple=rule.multiple_of, minimum=max(1, rule.minimum), square=rule.square),
        level=DRUNET_LEVEL if told else None,
    )


class _Plain(nn.Module):
    """A network as spandrel calls it."""

    def __init__(self, found: Any) -> None:
        super().__init__()
        self.model, self.call = found.model, found._call_fn

    def forward(self, image: Tensor) -> Tensor:
        result: Tensor = self.call(self.model, image)
        return result


class _Told(nn.Module):
    """A network that wants the noise level as one more channel."""

    def __init__(self, found: Any) -> None:
        super().__init__()
        self.model = found.model

    def forward(self, image: Tensor, noise_level: Tensor) -> Tensor:
        plane = torch.zeros_like(image[:, :1]) + noise_level[:, None, None, None]
        result: Tensor = self.model(torch.cat([image, plane], dim=1))
        return result


@dataclass(frozen=True, kw_only=True)
class Attempt:
    """One way to export a network: with free axes, or some of them fixed."""

    found: Recognised
    size: SizeRule
    batch: bool

    @property
    def in_words(self) -> str:
        """For which pictures it is exported."""
        fixed = self.size.fixed
        size = f"{fixed[1]}×{fixed[0]} pixels" if fixed else "any size"
        return f"for pictures of {size}, {'any number' if self.batch else 'one'} at a time"

    @property
    def blank(self) -> Draft:
        """The draft but for its model."""
        found = self.found
        return Draft(
            model=None,  # type: ignore[arg-type]
            channels=found.channels,
            scale=found.scale,
            size=self.size,
            batch=self.batch,
            level=found.level,
            architecture=found.architecture,
        )


def _attempts(found: Recognised, side: int) -> Iterator[Attempt]:
    for batch in (True, False):
        yield Attempt(found=found, size=found.size, batch=batch)
    fixed = SizeRule(fixed=found.size.padded(side, side))
    for batch in (True, False):
        yield Attempt(found=found, size=fixed, batch=batch)


def _exported(attempt: Attempt, problems: list[str]) -> Draft:
    blank, module = attempt.blank, attempt.found.module
    graph = Graph(module=module, inputs=blank.inputs, outputs=blank.outputs)
    padded = Padding() if attempt.size.fixed else attempt.found.own_padding
    size = attempt.size.fixed or _example_size(attempt.size, padded)
    with exportable(module):
        model = to_onnx(PART, graph, example_size=size)
    if padded.multiple > 1:
        model = with_padding(model, padded, blank.scale)
    made = replace(blank, model=model, windows=padded.multiple)
    notes = []
    if attempt.size.fixed is not None:
        notes.append(f"exports at one size only ({problems[0]})")
    elif not attempt.batch:
        notes.append("exports for one picture at a time")
    return replace(made, difference=_difference(made, graph), notes=tuple(notes))


def _example_size(rule: SizeRule, padded: Padding) -> tuple[int, int]:
    """A size that needs no padding, not square where it need not be."""
    step = math.lcm(rule.multiple, padded.multiple)
    height, width = (-(-side // step) * step for side in SIZES[0])
    return rule.padded(height, width if width != height else width + step)


def _difference(made: Draft, graph: Graph) -> float:
    """How far ONNX is from torch, over batches and odd sizes.

    Raises:
        GenloomError: when that is more than rounding.
    """
    network = compiled(made.model)
    worst = 0.0
    for seed, size in enumerate(SIZES if made.size.fixed is None else SIZES[:1]):
        height, width = made.size.fixed or made.size.padded(*size)
        sizes = {"batch": 1 + seed % 2 if made.batch else 1, "height": height, "width": width}
        inputs = example_inputs(graph.inputs, sizes, seed)
        given: dict[str, Array] = {name: value.numpy() for name, value in inputs.items()}
        got = network.run(given)["result"]
        try:
            with torch.no_grad():
                right = graph.module(*inputs.values()).numpy()
        except Exception as error:
            raise _failed(error) from None
        if got.shape != right.shape:
            raise GenloomError(f"ONNX gives {got.shape} where torch gives {right.shape}")
        worst = max(worst, float(np.abs(got - right).max() / max(1.0, float(np.abs(right).max()))))
    if not worst <= TOLERANCE:
        raise GenloomError(f"ONNX and torch differ by {worst:.3g}")
    return worst


def _failed(error: Exception) -> GenloomError:
    """Of any error of the network itself: foreign code raises what it likes."""
    return GenloomError(f"the network fails on a picture ({_first_line(error)})")


def _first_line(error: Exception) -> str:
    return (str(error).strip().splitlines() or [type(error).__name__])[0][:200]
