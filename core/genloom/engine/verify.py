"""Check a bundle against its card: hashes, opset, ports, and a trial run of every part."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from genloom import models
from genloom.card import Card, Int8, Part, Port
from genloom.catalog import Catalog
from genloom.engine.compiling import runtime_named
from genloom.errors import GenloomError, did_you_mean
from genloom.models import Bundle
from genloom.runtime import Network, Runtime, Settings, proto
from genloom.types import Array

TRIALS = ((1, 32, 48), (3, 56, 40))
"""Batch, height and width of the trial runs; sizes are rounded up to the model's size rule."""

OTHER_AXIS = 4
"""Length of a free axis that is neither batch, height nor width."""

ALONE = 1e-3
"""Largest difference between a picture run by itself and in a batch, for rounding."""

STEP = 0.02
"""The same of quantised graphs, where rounding makes a step of what is next to one."""


@dataclass(frozen=True)
class Verdict:
    """What came of verifying one bundle."""

    name: str
    problems: tuple[str, ...]
    summary: str = ""


def verify_all(names: Sequence[str], catalog: Catalog) -> Iterator[Verdict]:
    """Verify the bundles named (by name or path), or every bundle at hand.

    Raises:
        MissingRequirement: when there is no runtime to try them on.
    """
    runtime = runtime_named(catalog, "auto")
    if not names:
        for found in models.available(catalog):
            yield _verdict(found.name, found.folder, found.origin, catalog, runtime)
        return
    for name in names:
        try:
            bundle = models.find(name, catalog)
        except GenloomError as error:
            yield Verdict(name, (str(error),))
        else:
            yield _verdict(name, bundle.folder, bundle.origin, catalog, runtime)


def _verdict(name: str, folder: Path, origin: str, catalog: Catalog, runtime: Runtime) -> Verdict:
    try:
        bundle = Bundle.open(folder, origin)
    except GenloomError as error:
        return Verdict(name, tuple(str(error).splitlines()), origin)
    problems = tuple(verify(bundle, catalog, runtime))
    parts = ", ".join(
        f"{part} (opset {p.opset}{', int8' if p.int8 else ''})"
        for part, p in bundle.card.parts.items()
    )
    return Verdict(name, problems, f"{bundle.card.family}: {parts}; from {origin}")


def verify(bundle: Bundle, catalog: Catalog, runtime: Runtime) -> Iterator[str]:
    """Everything wrong with a bundle, in words."""
    card = bundle.card
    families = catalog.families()
    if card.family not in families:
        hint = did_you_mean(card.family, families)
        yield f"no plugin brings its family '{card.family}'. {hint}"
    if card.name != bundle.folder.resolve().name:
        yield f"its card calls it '{card.name}', its folder '{bundle.folder.resolve().name}'"
    yield from _latent_problems(card)
    try:
        arrays = bundle.tensors()
    except GenloomError as error:
        yield f"tensors: {error}"
    else:
        unfit = [name for name, array in arrays.items() if not np.isfinite(array).all()]
        yield from (f"tensors: '{name}' is not finite everywhere" for name in unfit)
    for name, part in card.parts.items():
        for problem in _part_problems(bundle, name, part, runtime):
            yield f"{name}: {problem}"
        for problem in _part_problems(bundle, name, part, runtime, part.int8) if part.int8 else ():
            yield f"int8 form of {name}: {problem}"


def _latent_problems(card: Card) -> Iterator[str]:
    """Every port that holds a latent must have the shape the card states."""
    for name, part in card.parts.items():
        for port_name, port in {**part.inputs, **part.outputs}.items():
            shape = tuple(port.axes[1:])
            if port_name in ("latent", "mean", "log_variance") and card.latent not in (None, shape):
                yield f"{name}: '{port_name}' is {shape}, but the card's latent is {card.latent}"


def _part_problems(
    bundle: Bundle, name: str, part: Part, runtime: Runtime, int8: Int8 | None = None
) -> Iterator[str]:
    """What is wrong with the graph of a part, or with its int8 form."""
    try:
        graph = bundle.int8(name) if int8 else bundle.graph(name)
        yield from _file_problems(graph, int8 or part)
        network = runtime.compile(graph, Settings(provider="auto"))
    except GenloomError as error:
        yield str(error)
        return
    problems = list(_port_problems(network, part))
    # A graph whose ports are not those of its card cannot be fed by the card.
    yield from problems or _trial_problems(network, part, bundle.card, STEP if int8 else ALONE)


def _file_problems(graph: bytes, entry: Part | Int8) -> Iterator[str]:
    facts = proto.facts(graph)
    if facts.opset != entry.opset:
        yield f"its opset is {facts.opset}, the card says {entry.opset}"
    if isinstance(entry, Int8) and "DequantizeLinear" not in facts.operators:
        yield "no layer of it is quantised"
    if random := sorted(facts.operators & proto.RANDOM):
        yield f"it draws random numbers ({', '.join(random)}), so no seed would repeat a picture"


def _port_problems(network: Network, part: Part) -> Iterator[str]:
    yield from _side_problems("input", part.inputs, network.inputs, network.types)
    yield from _side_problems("output", part.outputs, network.outputs, network.types)


def _side_problems(
    side: str,
    said: Mapping[str, Port],
    real: Mapping[str, tuple[int | str, ...]],
    types: Mapping[str, str],
) -> Iterator[str]:
    for name in sorted(said.keys() - real.keys()):
        yield f"the graph has no {side} '{name}' that the card lists"
    for name in sorted(real.keys() - said.keys()):
        yield f"the card does not list the {side} '{name}' of the graph"
    for name in sorted(said.keys() & real.keys()):
        port, axes = said[name], real[name]
        dtype = types.get(name, port.dtype)
        if dtype != port.dtype:
            yield f"the {side} '{name}' is {dtype}, the card says {port.dtype}"
        if not _axes_agree(port.axes, axes):
            words = f"{_axes(axes)}, the card says {_axes(port.axes)}"
            yield f"the {side} '{name}' has axes {words}"


def _axes_agree(said: Sequence[int | str], real: Sequence[int | str | None]) -> bool:
    """Fixed axes are equal; free axes are free. Free axes without a name go by any."""
    return len(said) == len(real) and all(
        ours == theirs if isinstance(ours, int) or isinstance(theirs, int) else True
        for ours, theirs in zip(said, real, strict=True)
    )


def _axes(axes: Iterable[int | str | None]) -> str:
    return "[" + ", ".join(str(axis) for axis in axes) + "]"


def _trial_problems(network: Network, part: Part, card: Card, alone: float) -> Iterator[str]:
    """Run it on random numbers of several sizes and batches."""
    random = np.random.default_rng(0)
    for trial in TRIALS:
        lengths = _lengths(trial, card)
        inputs = {name: _example(port, lengths, card, random) for name, port in part.inputs.items()}
        shapes = ", ".join(f"{name} {array.shape}" for name, array in inputs.items())
        try:
            outputs = network.run(inputs)
            problems = list(_output_problems(outputs, part, lengths, card))
            problems += _alone_problems(network, inputs, outputs, part, alone)
        except GenloomError as error:
            problems = [str(error)]
        yield from (f"a trial on {shapes}: {problem}" for problem in problems)


def _lengths(trial: tuple[int, int, int], card: Card) -> dict[str, int]:
    batch, *sides = trial
    height, width = card.size.fixed or card.size.padded(*sides)
    return {"batch": batch, "height": height, "width": width}


def _shape(port: Port, lengths: Mapping[str, int]) -> tuple[int, ...]:
    return tuple(
        axis if isinstance(axis, int) else lengths.get(axis, OTHER_AXIS) for axis in port.axes
    )


def _example(
    port: Port, lengths: Mapping[str, int], card: Card, random: np.random.Generator
) -> Array:
    """Uniform over the port's range (a picture's unless said), whole numbers from 0 for labels."""
    shape = _shape(port, lengths)
    if port.dtype == "int64":
        top = port.range[1] if port.range else max(0, len(card.labels) - 1)
        return random.integers(0, int(top) + 1, shape)
    if port.dtype == "uint8":
        return random.integers(0, 256, shape, np.uint8)
    return random.uniform(*(port.range or card.range), shape).astype(port.dtype)


def _output_problems(
    outputs: Mapping[str, Array], part: Part, lengths: Mapping[str, int], card: Card
) -> Iterator[str]:
    given = {axis for port in part.inputs.values() for axis in port.axes}
    # Sides that no input has are those of something else, as of a latent of another size.
    held = {axis: length for axis, length in lengths.items() if axis in {"batch", *given}}
    for name, port in part.outputs.items():
        result = outputs[name]
        scale = card.scale if name == "result" else 1
        known = {axis: length * (1 if axis == "batch" else scale) for axis, length in held.items()}
        expected = [axis if isinstance(axis, int) else known.get(axis) for axis in port.axes]
        agree = len(expected) == result.ndim and all(
            length in (None, real) for length, real in zip(expected, result.shape, strict=True)
        )
        if not agree:
            words = _axes("any" if length is None else length for length in expected)
            yield f"'{name}' came out as {list(result.shape)}, expected {words}"
        if not np.isfinite(result).all():
            yield f"'{name}' is not finite everywhere"


def _alone_problems(
    network: Network,
    inputs: Mapping[str, Array],
    outputs: Mapping[str, Array],
    part: Part,
    most: float,
) -> Iterator[str]:
    """The first of a batch must come out as it does alone: the engine batches as it likes."""
    if not all(port.axes[:1] == ("batch",) for port in part.inputs.values()):
        return
    if any(len(array) < 2 for array in inputs.values()):
        return
    alone = network.run({name: array[:1] for name, array in inputs.items()})
    for name, result in outputs.items():
        if not np.allclose(result[:1], alone[name], rtol=most, atol=most, equal_nan=True):
            yield f"'{name}' of one depends on what else is in the batch"
