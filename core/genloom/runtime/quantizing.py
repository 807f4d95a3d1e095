"""The int8 form of a graph: its convolutions in 8-bit integers, with ranges measured on examples.

The form is QDQ, as ONNX has it: nodes that round values to integers and back stand around each
layer, and a runtime that knows integers computes what is between them in these. So it is one file
for every runtime, and one that knows nothing of it gives the same to within rounding.

Weights are rounded for each channel by itself. The first and the last convolution of every path
stay in floats, as does everything that is no convolution: they cost little, and what they lose is
seen.
"""

from __future__ import annotations

import tempfile
from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path
from typing import Any

from genloom.errors import MissingRequirement, ModelError
from genloom.runtime import proto
from genloom.runtime.ort import onnxruntime
from genloom.types import Array

OLDEST = 13
"""The first opset that can round the weights of each channel by itself."""

LAYERS = ("Conv", "ConvTranspose")
"""Operators that are computed in integers, a ReLU behind them included."""


def quantized(graph: bytes, examples: Iterable[Mapping[str, Array]]) -> bytes:
    """The int8 form of a graph; its ports are the same.

    Args:
        graph: an ONNX file that computes in float32.
        examples: inputs by port, like those that it will be given. The smallest and the largest
            value that comes up at each layer is what its integers reach to.

    Raises:
        MissingRequirement: when the packages `onnx` or `onnxruntime` are not installed.
        ModelError: when it has no layer that can be quantised, or the tool does not take it.
    """
    onnxruntime()
    try:
        import onnx
        from onnxruntime import quantization as tool
    except ImportError as error:
        package = (error.name or "onnx").partition(".")[0]
        raise MissingRequirement.extra(package, "community", "quantising a model") from None
    proto.check_whole(graph)
    with tempfile.TemporaryDirectory(prefix="genloom-quantize-") as folder:
        given, plain, done = (Path(folder) / f"{name}.onnx" for name in ("given", "plain", "int8"))
        try:
            onnx.save(_raised(onnx.load_from_string(graph)), given)
            # Constants are folded and shapes told, which the tool asks for.
            tool.quant_pre_process(str(given), str(plain), skip_symbolic_shape=True)
            model = onnx.load(plain)
            inner = _named(model.graph)
            onnx.save(model, plain)
            tool.quantize_static(
                str(plain),
                str(done),
                _reader(tool, examples),
                quant_format=tool.QuantFormat.QDQ,
                op_types_to_quantize=[*LAYERS, "Relu"],
                nodes_to_quantize=inner,
                per_channel=True,
                activation_type=tool.QuantType.QUInt8,
                weight_type=tool.QuantType.QInt8,
            )
            data: bytes = _bare(onnx.load(done)).SerializeToString()
            return data
        except ModelError:
            raise
        except Exception as error:  # of its own, of onnx's and of protobuf's many types
            reason = (str(error).strip() or type(error).__name__).splitlines()[0][:300]
            raise ModelError(f"the graph cannot be quantised ({reason})") from None


def _reader(tool: Any, examples: Iterable[Mapping[str, Array]]) -> Any:
    """The examples one by one, as the tool asks for them."""
    left: Iterator[Mapping[str, Array]] = iter(examples)

    class Reader(tool.CalibrationDataReader):  # type: ignore[misc]
        def get_next(self) -> Mapping[str, Array] | None:
            return next(left, None)

    return Reader()


def _raised(model: Any) -> Any:
    """The model, in opset `OLDEST` if it was written for an older one."""
    import onnx

    versions = [entry.version for entry in model.opset_import if entry.domain in ("", "ai.onnx")]
    if versions and versions[0] >= OLDEST:
        return model
    return onnx.version_converter.convert_version(model, OLDEST)


def _named(graph: Any) -> list[str]:
    """Give every node a name of its own; gives those of the nodes to quantise.

    Raises:
        ModelError: when there are none.
    """
    for number, node in enumerate(graph.node):
        node.name = f"{node.op_type}_{number}"
    inner = _behind_layers(graph.node) & _before_layers(graph.node)
    if not any(node.op_type in LAYERS and node.name in inner for node in graph.node):
        raise ModelError(
            "the graph has nothing to quantise",
            expected="convolutions between its first and its last one",
            got=", ".join(sorted({node.op_type for node in graph.node})),
        )
    return [node.name for node in graph.node if node.name in inner]


def _behind_layers(nodes: Iterable[Any]) -> set[str]:
    """Names of the nodes that some convolution comes before; they stand in the order of work."""
    values, found = set[str](), set[str]()
    for node in nodes:
        if not values.isdisjoint(node.input):
            found.add(node.name)
        if node.name in found or node.op_type in LAYERS:
            values.update(node.output)
    return found


def _before_layers(nodes: Iterable[Any]) -> set[str]:
    """Names of the nodes that some convolution comes behind."""
    values, found = set[str](), set[str]()
    for node in reversed(list(nodes)):
        if not values.isdisjoint(node.output):
            found.add(node.name)
        if node.name in found or node.op_type in LAYERS:
            values.update(node.input)
    return found


def _bare(model: Any) -> Any:
    """Without the notes of the tools, and without what no node needs."""
    del model.metadata_props[:]
    del model.graph.value_info[:]
    for one in (model, model.graph, *model.graph.node):
        one.doc_string = ""
    used = {node.domain for node in model.graph.node} | {""}
    kept = [entry for entry in model.opset_import if entry.domain in used]
    del model.opset_import[:]
    model.opset_import.extend(kept)
    return model
