"""Fixtures that several files of this room share."""

import pytest
from exporting import one_registry as one_registry
from making import FREE

from genloom_openvino.runtime import OpenVino


@pytest.fixture
def openvino_runtime():
    """The runtime `openvino`, where its library is installed."""
    made = OpenVino()
    if not made.providers():
        pytest.skip("openvino is not installed")
    return made


@pytest.fixture
def doubling(onnx_bytes):
    """A graph that adds pictures to themselves."""
    return onnx_bytes([("Add", ["x", "x"], ["y"], {})], {"x": FREE}, {"y": FREE})
