"""From trained modules to a bundle: ONNX graphs, proven equal to torch, and their card.

Nothing half-made is left behind: a bundle is built in another folder and renamed when it is whole.
"""

from __future__ import annotations

import copy
import dataclasses
import hashlib
import shutil
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import torch
from safetensors.numpy import save
from torch import nn

from genloom.card import Card, Part, Port, Tensors
from genloom.types import Array
from genloom_train.checkpoint import replace_folder
from genloom_train.onnx_graph import Parity, check_parity, to_onnx
from genloom_train.receptive_field import receptive_field
from genloom_train.training import Graph, Training

TENSORS = "tensors.safetensors"


@dataclass(frozen=True, kw_only=True)
class Bundle:
    """What goes into a bundle besides its graphs.

    Attributes:
        name: how it is called.
        family: the backend that knows what its graphs mean.
        fields: of `genloom.card.Card`, besides what is measured here.
        tensors: arrays to keep beside the graphs.
    """

    name: str
    family: str
    fields: Mapping[str, Any] = field(default_factory=dict)
    tensors: Mapping[str, Array] = field(default_factory=dict)


def export(training: Training, module: nn.Module, bundle: Bundle, folder: Path) -> Card:
    """Write the bundle `folder / bundle.name`, in place of an older one.

    Raises:
        GenloomError: when a graph cannot be exported, differs from torch, or draws at random.
    """
    module = copy.deepcopy(module).cpu().float().eval()
    module = module.to(memory_format=torch.contiguous_format)
    graphs = training.graphs(module)
    final = folder / bundle.name
    temporary = folder / f".{bundle.name}.tmp"
    shutil.rmtree(temporary, ignore_errors=True)
    temporary.mkdir(parents=True)
    try:
        multiple = _multiple(training)
        written = {part: _write(part, graph, temporary, multiple) for part, graph in graphs.items()}
        parts = {name: part for name, (part, _) in written.items()}
        tensors = _write_tensors(bundle.tensors, temporary)
        fields = {**bundle.fields, "metrics": _measured(bundle, [p for _, p in written.values()])}
        bundle = dataclasses.replace(bundle, fields=fields)
        card = _card(training, module, graphs, parts, tensors, bundle)
        card.write(temporary)
        Card.read(temporary)
        replace_folder(temporary, final)
    finally:
        shutil.rmtree(temporary, ignore_errors=True)
    return card


def _measured(bundle: Bundle, found: Sequence[Parity]) -> dict[str, float]:
    """The card's figures, with how far ONNX and torch are apart."""
    figures = dict(bundle.fields.get("metrics", {}))
    figures["onnx_difference"] = float(f"{max(parity.difference for parity in found):.3g}")
    ties = sum(parity.ties for parity in found)
    return {**figures, "onnx_ties": ties} if ties else figures


def _card(
    training: Training,
    module: nn.Module,
    graphs: Mapping[str, Graph],
    parts: dict[str, Part],
    tensors: Tensors | None,
    bundle: Bundle,
) -> Card:
    fields = {"labels": training.labels, **training.card(), **bundle.fields}
    exported = {p for graph in graphs.values() for p in graph.module.parameters()}
    return Card(
        name=bundle.name,
        family=bundle.family,
        channels=training.shape[0],  # type: ignore[arg-type]
        receptive_field=_receptive_field(graphs, _multiple(training)),
        parameters=sum(p.numel() for p in exported),
        parts=parts,
        tensors=tensors,
        **fields,
    )


def _write_tensors(arrays: Mapping[str, Array], folder: Path) -> Tensors | None:
    if not arrays:
        return None
    data = save({name: np.ascontiguousarray(array) for name, array in arrays.items()})
    (folder / TENSORS).write_bytes(data)
    shapes = {name: tuple(array.shape) for name, array in arrays.items()}
    return Tensors(file=TENSORS, sha256=hashlib.sha256(data).hexdigest(), shapes=shapes)


def _multiple(training: Training) -> int:
    size = training.card().get("size")
    return 1 if size is None else int(size.multiple)


def _receptive_field(graphs: Mapping[str, Graph], multiple: int) -> Any:
    """The largest field of the image→image graphs; `global` when there is none that tiles."""
    found = [
        receptive_field(graph, multiple)
        for graph in graphs.values()
        if spatial(graph.inputs) and spatial(graph.outputs)
    ]
    if not found or "global" in found:
        return "global"
    return max(width for width in found if isinstance(width, int))


def spatial(ports: Mapping[str, Port]) -> bool:
    """Whether there is a port of free height and width: a picture that can be tiled."""
    return any({"height", "width"} <= set(port.axes) for port in ports.values())


def _write(part: str, graph: Graph, folder: Path, multiple: int) -> tuple[Part, Parity]:
    """Export one graph, prove it, and write its file."""
    graph.module.eval()
    model = to_onnx(part, graph, multiple)
    data: bytes = model.SerializeToString()
    parity = check_parity(part, graph, data, multiple)
    path = folder / f"{part}.onnx"
    path.write_bytes(data)
    opsets = (entry.version for entry in model.opset_import if entry.domain in ("", "ai.onnx"))
    made = Part(
        file=path.name,
        sha256=hashlib.sha256(data).hexdigest(),
        opset=next(opsets),
        inputs=dict(graph.inputs),
        outputs=dict(graph.outputs),
    )
    return made, parity
