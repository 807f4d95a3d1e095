"""Exports to ONNX without what torch does anew for each of them."""

import functools

import pytest


@pytest.fixture(autouse=True, scope="session")
def one_registry():
    """The exporter's table of operators, made once.

    Torch makes it by reading the source of a thousand functions for every graph, which takes longer
    than the export of a tiny one; nothing in it changes.
    """
    from torch.onnx._internal.exporter._registration import ONNXRegistry

    with pytest.MonkeyPatch.context() as patch:
        made = functools.cache(ONNXRegistry.from_torchlib)
        patch.setattr(ONNXRegistry, "from_torchlib", staticmethod(made))
        yield
