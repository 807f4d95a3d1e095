"""Families are exported in many tests."""

from exporting import one_registry as one_registry
from measuring import pytest_runtest_protocol as pytest_runtest_protocol
