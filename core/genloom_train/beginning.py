"""Training that begins with the weights of a bundle: fine-tuning."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

import onnx
import torch
from onnx import numpy_helper
from torch import nn

from genloom import models
from genloom.card import CARD
from genloom.catalog import Catalog
from genloom.errors import GenloomError, UnknownName
from genloom.models import Bundle
from genloom.types import Array
from genloom_train.blocks import Growth
from genloom_train.recipe import shipped_recipes
from genloom_train.training import Graph, Training


def bundle_to_begin_with(name: str, catalog: Catalog, out: Path, base: Path) -> Bundle:
    """The bundle that `train.start` names: where this training puts its own, or as models are.

    Raises:
        UnknownName: when there is none; with the recipe that makes it, if that ships.
    """
    for place in (out, base):
        if (place / name / CARD).is_file():
            return Bundle.open(place / name)
    try:
        return models.find(name, catalog, base)
    except UnknownName:
        if name not in shipped_recipes():
            raise
        raise UnknownName(
            f"training begins with the bundle '{name}', which is not there",
            expected=f"it in {out}, or wherever models are found",
            hint=f"Make it first: `genloom train {name} -o {out}`, with the same --data",
        ) from None


def begin_with(training: Training, module: nn.Module, bundle: Bundle) -> None:
    """Give the parts of a module that are exported the weights that a bundle's graphs hold.

    What is not exported, as a discriminator, keeps its first weights. The exporter keeps the names
    of weights, so they are found by name. Residual blocks and other `Growth` that the bundle lacks
    begin by changing nothing, so that a larger network begins where the bundle stands (Chen et al.
    2016, Net2Net).

    Raises:
        GenloomError: when the bundle is of another network, or its graphs hold weights in another
            shape, as those of layers that were folded into each other.
    """
    for part, graph in training.graphs(module).items():
        model = onnx.load_model_from_string(bundle.graph(part))
        held = {entry.name: numpy_helper.to_array(entry) for entry in model.graph.initializer}
        for node in model.graph.node:  # of biases that are equal, as at 0, the exporter keeps one
            _, weight, bias = (*node.input, "", "", "")[:3]
            if weight.endswith(".weight") and bias in held:
                held.setdefault(f"{weight.removesuffix('weight')}bias", held[bias])
        _fill(part, graph, held, bundle)


def _fill(part: str, graph: Graph, held: Mapping[str, Array], bundle: Bundle) -> None:
    wanted = graph.module.state_dict()
    for name, block in graph.module.named_modules():
        own = {f"{name}.{key}" for key in block.state_dict()}
        if isinstance(block, Growth) and not own & set(held):
            block.silence()
            wanted = {key: value for key, value in wanted.items() if key not in own}
    unfit = [
        name
        for name, value in wanted.items()
        if name not in held or held[name].shape != tuple(value.shape)
    ]
    if unfit:
        raise GenloomError(
            f"training cannot begin with the weights of '{bundle.card.name}'",
            expected=f"the weights of this recipe's '{part}', {len(wanted)} of them",
            got=f"{len(unfit)} missing or of another shape, '{unfit[0]}' first",
            where=str(bundle.folder),
            hint="The recipe's section `model:` must be that of the bundle; networks with batch "
            "normalisation cannot be begun with, their export folds it into other weights",
        )
    with torch.no_grad():
        for name, value in wanted.items():
            value.copy_(torch.from_numpy(held[name].copy()))
