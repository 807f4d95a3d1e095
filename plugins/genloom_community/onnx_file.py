"""Read an ONNX file whole, or say why it cannot be used."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from pathlib import Path, PurePosixPath, PureWindowsPath

import onnx
from google.protobuf.message import DecodeError
from onnx import TensorProto
from onnx.external_data_helper import load_external_data_for_model, uses_external_data

from genloom.errors import GenloomError, ModelError
from genloom.runtime import proto
from genloom_community.request import check_bytes

OLDEST = 11
"""The oldest version of ONNX's operators that the added nodes are written for."""
OLDEST_IR = 4
"""The first version of the format in which weights need not be listed as inputs."""


def read(path: Path) -> onnx.ModelProto:
    """The model, with its weights in it and nothing but what is computed.

    Weights in files beside it are taken in, when they lie in the same folder.

    Raises:
        GenloomError: when it is no ONNX file, too old or too large, draws random numbers, or its
            weights are missing or elsewhere.
    """
    check_bytes(path.stat().st_size, path)
    try:
        model = onnx.load(str(path), load_external_data=False)
    except (DecodeError, OSError) as error:
        raise ModelError("this is not an ONNX file", got=str(error), where=str(path)) from None
    if not model.graph.node:
        raise ModelError("this is not an ONNX file, or an empty one", where=str(path))
    _take_in_weights(model, path)
    _check_opset(model, path)
    _check_random(model, path)
    return _bare(model)


def graphs(graph: onnx.GraphProto) -> Iterator[onnx.GraphProto]:
    """A graph and all that its nodes hold: the branches of `If`, the bodies of loops."""
    yield graph
    yield from _graphs_below(graph.node)


def _graphs_below(nodes: Iterable[onnx.NodeProto]) -> Iterator[onnx.GraphProto]:
    for node in nodes:
        for attribute in node.attribute:
            if attribute.HasField("g"):
                yield from graphs(attribute.g)
            for below in attribute.graphs:
                yield from graphs(below)


def _nodes(model: onnx.ModelProto) -> Iterator[onnx.NodeProto]:
    """Every node, those of graphs inside nodes and of the file's own functions included."""
    for graph in graphs(model.graph):
        yield from graph.node
    for function in model.functions:
        yield from function.node
        for graph in _graphs_below(function.node):
            yield from graph.node


def _tensors(model: onnx.ModelProto) -> Iterator[onnx.TensorProto]:
    """Every constant, wherever it is kept."""
    within = (graph for function in model.functions for graph in _graphs_below(function.node))
    for graph in (*graphs(model.graph), *within):
        yield from graph.initializer
    for node in _nodes(model):
        for attribute in node.attribute:
            if attribute.HasField("t"):
                yield attribute.t
            yield from attribute.tensors


def _take_in_weights(model: onnx.ModelProto, path: Path) -> None:
    folder = path.resolve().parent
    outside = set[str]()
    for tensor in _tensors(model):
        if uses_external_data(tensor):
            entries = {entry.key: entry.value for entry in tensor.external_data}
            location = entries.get("location", "")
            _check_location(location, folder, path)
            outside.add(location)
    check_bytes(sum(file.stat().st_size for file in (path, *(folder / o for o in outside))), path)
    try:
        load_external_data_for_model(model, str(folder))
    except Exception as error:
        raise ModelError(
            f"the weights in files beside it cannot be read ({error})", where=str(path)
        ) from None


def _check_location(location: str, folder: Path, path: Path) -> None:
    """Weights may only lie in the file's own folder, whatever the file says."""
    pure = PurePosixPath(location), PureWindowsPath(location)
    plain = all(not p.is_absolute() and len(p.parts) == 1 and p.parts[0] != ".." for p in pure)
    if not plain or (folder / location).is_symlink():
        raise ModelError(
            "the file keeps its weights outside its own folder",
            expected="the name of a file beside it",
            got=location,
            where=str(path),
        )
    if not (folder / location).is_file():
        raise ModelError(
            f"its weights lie in '{location}', which is not there",
            where=str(path),
            hint="Put that file beside it",
        )


def _check_opset(model: onnx.ModelProto, path: Path) -> None:
    versions = [entry.version for entry in model.opset_import if entry.domain in ("", "ai.onnx")]
    if not versions or versions[0] < OLDEST:
        raise ModelError(
            "the file is written for an old version of ONNX's operators",
            expected=f"opset {OLDEST} or newer",
            got=f"opset {versions[0] if versions else 'none'}",
            where=str(path),
            hint="onnx.version_converter.convert_version(model, 17) of the onnx package raises it",
        )


def _check_random(model: onnx.ModelProto, path: Path) -> None:
    random = sorted(proto.RANDOM & {node.op_type for node in _nodes(model)})
    if random:
        raise GenloomError(
            "the network draws random numbers, so no seed would repeat a picture",
            got=", ".join(random),
            where=str(path),
        )


def _bare(model: onnx.ModelProto) -> onnx.ModelProto:
    """Without notes and listed weights: constants are no inputs, whatever old files say."""
    model.ir_version = max(model.ir_version, OLDEST_IR)
    weights = {tensor.name for tensor in model.graph.initializer}
    inputs = [port for port in model.graph.input if port.name not in weights]
    del model.graph.input[:]
    model.graph.input.extend(inputs)
    del model.metadata_props[:]
    model.doc_string = ""
    for graph in graphs(model.graph):
        graph.doc_string = ""
        del graph.value_info[:]
    for node in _nodes(model):
        node.doc_string = ""
    for tensor in _tensors(model):
        if tensor.data_location != TensorProto.EXTERNAL:
            tensor.ClearField("data_location")
    return model
