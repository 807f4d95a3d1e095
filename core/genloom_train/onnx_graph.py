"""ONNX graphs of torch modules, and the proof that both compute the same."""

from __future__ import annotations

import contextlib
import io
import logging
import warnings
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
import onnx
import torch
from torch import Tensor

from genloom.card import Port
from genloom.errors import GenloomError
from genloom.runtime import Settings
from genloom.runtime.ort import OnnxRuntime
from genloom_train.training import Graph

TOLERANCE = 1e-4
"""Largest difference between ONNX Runtime and torch that is still rounding; where the largest value
of a sample is above 1, as a share of that."""

EVEN_TOLERANCE = 1e-2
"""The same on pictures of one colour: what divides by how little those vary makes rounding larger,
a thousand times in adaptive instance normalisation."""

HUGE = 1e4
"""Values that no healthy network gives."""

BATCHES = (1, 2, 5)
SIZES = ((64, 48), (40, 88), (96, 96))
"""Heights and widths tried, rounded up to the model's size rule."""

OTHER_AXIS = 6
"""Least length tried of a free axis that is neither batch, height nor width."""

OPSET = 18
SLOW_RULES = frozenset({"SlicesSplit"})
"""Rules of onnxscript's optimizer that take time with the square of the nodes: this one indexes the
whole graph for each of them, which took minutes for SwinIR, and finds two slices that could be one
split, which changes no result."""
_RANDOM = ("RandomNormal", "RandomUniform", "RandomNormalLike", "RandomUniformLike", "Bernoulli",
           "Multinomial", "Dropout")  # fmt: skip


def to_onnx(
    part: str,
    graph: Graph,
    multiple: int = 1,
    example_size: tuple[int, int] = SIZES[0],
) -> onnx.ModelProto:
    """The graph as one self-contained ONNX model with the ports' names and nothing private in it.

    Args:
        part: what to call it in errors.
        graph: what to export.
        multiple: heights and widths are multiples of this.
        example_size: height and width of the pictures that the exporter follows through it.

    Raises:
        GenloomError: when torch cannot export it, or it draws random numbers.
    """
    height, width = _rounded(example_size, multiple)
    sizes = _lengths(graph, 2, height, width)
    example = tuple(example_inputs(graph.inputs, sizes).values())
    dynamic = tuple(
        {i: torch.export.Dim.AUTO for i, axis in enumerate(port.axes) if isinstance(axis, str)}
        for port in graph.inputs.values()
    )
    try:
        with _quiet(), _without_slow_rules():
            program = torch.onnx.export(
                graph.module,
                example,
                dynamo=True,
                opset_version=OPSET,
                input_names=list(graph.inputs),
                output_names=list(graph.outputs),
                dynamic_shapes=dynamic,
                external_data=False,
                verbose=False,
            )
        model: onnx.ModelProto = program.model_proto  # type: ignore[union-attr]
    except Exception as error:
        reason = _reason(error)
        raise GenloomError(f"'{part}' cannot be exported to ONNX ({reason})") from error
    random = sorted({node.op_type for node in model.graph.node} & set(_RANDOM))
    if random:
        raise GenloomError(f"the graph of '{part}' draws random numbers", got=", ".join(random))
    return _cleaned(model, graph)


def _reason(error: BaseException) -> str:
    """The first line of what was wrong at the bottom of it."""
    while error.__cause__ is not None:
        error = error.__cause__
    lines = [line.strip() for line in str(error).splitlines() if line.strip()]
    return f"{type(error).__name__}: {lines[0] if lines else ''}"


def _cleaned(model: onnx.ModelProto, graph: Graph) -> onnx.ModelProto:
    """Ports' axes by name; without the exporter's notes, which hold paths of this machine.

    An axis of an output that is not as long as the input's of that name, as in a network that
    enlarges, is called `height_out`: a runtime may take axes of one name for equally long.
    """
    symbols: dict[str, str] = {}
    for values, ports in ((model.graph.input, graph.inputs), (model.graph.output, graph.outputs)):
        for value, port in zip(values, ports.values(), strict=True):
            for dimension, axis in zip(value.type.tensor_type.shape.dim, port.axes, strict=True):
                if isinstance(axis, str):
                    symbol = dimension.dim_param
                    dimension.dim_param = (
                        axis if symbols.get(axis, symbol) == symbol else f"{axis}_out"
                    )
                    symbols.setdefault(axis, symbol)
                else:
                    dimension.dim_value = axis
    del model.graph.value_info[:]
    del model.metadata_props[:]
    model.graph.doc_string = model.doc_string = ""
    del model.graph.metadata_props[:]
    for entry in (*model.graph.node, *model.graph.initializer, *model.graph.input,
                  *model.graph.output):  # fmt: skip
        entry.doc_string = ""
        if hasattr(entry, "metadata_props"):
            del entry.metadata_props[:]
    onnx.checker.check_model(model, full_check=True)
    return model


@dataclass(frozen=True)
class Parity:
    """How far ONNX Runtime and torch are apart.

    Attributes:
        difference: the largest one on random inputs, but for ties.
        ties: samples that differ by more because a choice in them was a near tie.
    """

    difference: float = 0.0
    ties: int = 0


def check_parity(part: str, graph: Graph, data: bytes, multiple: int = 1) -> Parity:
    """Run ONNX Runtime beside torch over several batches and sizes, on noise and on even pictures.

    Raises:
        GenloomError: when they differ by more than `TOLERANCE` says, of even pictures
            `EVEN_TOLERANCE`, or a shape differs.
    """
    network = OnnxRuntime().compile(data, Settings(provider="cpu"))
    differences, ties, exceeded, largest = [0.0], 0, 0.0, 0.0
    for inputs, tolerance in _trials(graph, multiple):
        batch = len(next(iter(inputs.values())))
        results = network.run({name: value.numpy() for name, value in inputs.items()})
        apart, share = np.zeros(batch), np.zeros(batch)
        for name, right in zip(graph.outputs, _torch_results(part, graph, inputs), strict=True):
            found = results[name]
            if found.shape != right.shape:
                said = {"expected": str(right.shape), "got": str(found.shape)}
                raise GenloomError(f"ONNX gives '{part}.{name}' another shape than torch", **said)
            with np.errstate(invalid="ignore"):  # infinite values: the share is not a number then
                far = np.abs(found - right).reshape(batch, -1).max(1)
                size = np.abs(right).reshape(batch, -1).max(1)
                apart = np.maximum(apart, far)
                share = np.maximum(share, far / np.maximum(1, size))
            largest = float(np.maximum(largest, size.max()))
        tied = _tied(graph, inputs) & (share > tolerance)
        failed = not (share[~tied] <= tolerance).all()
        exceeded = tolerance if failed else exceeded
        if failed or tolerance == TOLERANCE:
            differences += apart[~tied].tolist()
        ties += int(tied.sum())
    worst = float(np.max(differences))  # not a number, if one of them is not
    if exceeded:
        raise _apart(part, worst, largest, exceeded)
    return Parity(worst, ties)


def _apart(part: str, worst: float, largest: float, tolerance: float) -> GenloomError:
    hint = "The bundle was not written"
    if not largest <= HUGE:
        hint += ". Values so large mean that training came apart: lower train.learning_rate"
    return GenloomError(
        f"ONNX and torch differ on '{part}'",
        expected=f"at most {tolerance:g}, as a share of a sample's largest value above 1",
        got=f"{worst:.3g} where values reach {largest:.3g}",
        hint=hint,
    )


def _tied(graph: Graph, inputs: Mapping[str, Tensor]) -> Any:
    """Which samples hold a choice that rounding may decide, (N,) bool or a scalar."""
    if graph.ties is None:
        return np.False_
    with torch.no_grad():
        return graph.ties(*inputs.values()).numpy()


def _torch_results(part: str, graph: Graph, inputs: Mapping[str, Tensor]) -> list[Any]:
    try:
        with torch.no_grad():
            results = graph.module(*inputs.values())
    except RuntimeError as error:
        shapes = ", ".join(f"{name} {tuple(value.shape)}" for name, value in inputs.items())
        raise GenloomError(f"'{part}' does not take a size it says it takes ({error})",
                           got=shapes) from error  # fmt: skip
    return [one.numpy() for one in ((results,) if isinstance(results, Tensor) else results)]


def example_inputs(
    ports: Mapping[str, Port], sizes: Mapping[str, int], seed: int = 0
) -> dict[str, Tensor]:
    """Random inputs: uniform over a port's range, or standard normal where it has none."""
    random = np.random.default_rng(seed)
    inputs = {}
    for name, port in ports.items():
        shape = tuple(axis if isinstance(axis, int) else sizes[axis] for axis in port.axes)
        if port.dtype == "int64":
            values: Any = random.integers(0, int((port.range or (0, 1))[1]) + 1, shape)
        elif port.range is None:
            values = random.standard_normal(shape).astype(np.float32)
        else:
            values = random.uniform(*port.range, shape).astype(np.float32)
        inputs[name] = torch.from_numpy(values)
    return inputs


def _trials(graph: Graph, multiple: int) -> Iterator[tuple[dict[str, Tensor], float]]:
    """Inputs to compare two networks on: several batches of random ones, and even pictures.

    Each with how far apart results may be. What divides by how much a picture varies is seen on a
    picture of one colour alone: the exporter takes an addition of 1e-8, which keeps a divisor from
    0, for nothing and leaves it out.
    """
    for batch, size in zip(BATCHES, SIZES, strict=True):
        sizes = _lengths(graph, batch, *_rounded(size, multiple))
        yield example_inputs(graph.inputs, sizes, seed=batch), TOLERANCE
    inputs = example_inputs(graph.inputs, _lengths(graph, 2, *_rounded(SIZES[0], multiple)))
    pictures = [name for name, port in graph.inputs.items() if len(port.axes) == 4]
    for name in pictures:
        inputs[name][:] = inputs[name][:, :, :1, :1].clone()
        inputs[name][1] = (graph.inputs[name].range or (0.0,))[0]  # black
    if pictures:
        yield inputs, EVEN_TOLERANCE


def _lengths(graph: Graph, batch: int, height: int, width: int) -> dict[str, int]:
    """Lengths of the free axes of a graph's inputs; of others than these three, small ones."""
    lengths = {"batch": batch, "height": height, "width": width}
    free = {axis for port in graph.inputs.values() for axis in port.axes if isinstance(axis, str)}
    others = sorted(free - lengths.keys())
    return lengths | {axis: OTHER_AXIS + batch + 3 * n for n, axis in enumerate(others)}


def _rounded(size: tuple[int, int], multiple: int) -> tuple[int, int]:
    height, width = (-(-side // multiple) * multiple for side in size)
    return height, width


@contextlib.contextmanager
def _without_slow_rules() -> Iterator[None]:
    """Without `SLOW_RULES`, wherever this release of onnxscript keeps its rules where 0.7 does."""
    from onnxscript import rewriter

    rules = vars(rewriter).get("_DEFAULT_REWRITE_RULES")
    if rules is None:
        yield
        return
    kept = tuple(rule for rule in rules if getattr(rule, "name", "") not in SLOW_RULES)
    rewriter._DEFAULT_REWRITE_RULES = kept
    try:
        yield
    finally:
        rewriter._DEFAULT_REWRITE_RULES = rules


@contextlib.contextmanager
def _quiet() -> Iterator[None]:
    """Without the exporter's progress, warnings and log lines."""
    level = logging.root.manager.disable
    logging.disable(logging.WARNING)
    try:
        with warnings.catch_warnings(), contextlib.redirect_stdout(io.StringIO()):
            warnings.simplefilter("ignore")
            yield
    finally:
        logging.disable(level)
