"""What keeps some networks from being exported for any size, put right while they are.

Networks of windows count them with a division of floats, which the exporter can follow only for one
size; and SPAN fuses its layers anew at every call, which it cannot follow at all. Both are replaced
by what computes the same. That it does is checked afterwards, as for every export.
"""

from __future__ import annotations

import contextlib
import inspect
import sys
from collections.abc import Iterator
from types import ModuleType
from typing import Any

from torch import Tensor, nn


def window_reverse(windows: Tensor, window_size: Any, height: int, width: int) -> Tensor:
    """Windows (N·windows)×rows×columns×C → N×height×width×C."""
    rows, columns = (window_size, window_size) if isinstance(window_size, int) else window_size
    return _joined(windows, rows, columns, height, width)


def windows2img(img_splits_hw: Tensor, rows: int, columns: int, height: int, width: int) -> Tensor:
    """Windows (N·windows)×(rows·columns)×C → N×height×width×C."""
    return _joined(img_splits_hw, rows, columns, height, width)


def _joined(windows: Tensor, rows: int, columns: int, height: int, width: int) -> Tensor:
    channels = windows.shape[-1]
    grid = windows.view(-1, height // rows, width // columns, rows, columns, channels)
    return grid.permute(0, 1, 3, 2, 4, 5).contiguous().view(-1, height, width, channels)


REPLACED = (window_reverse, windows2img)


@contextlib.contextmanager
def exportable(module: nn.Module) -> Iterator[None]:
    """While this lasts, the network is one that the exporter can follow."""
    fuse_once(module)
    with contextlib.ExitStack() as stack:
        for source in {sys.modules[type(part).__module__] for part in module.modules()}:
            for function in REPLACED:
                if _is_like(getattr(source, function.__name__, None), function):
                    stack.enter_context(_replaced(source, function))
        yield


def _is_like(found: Any, function: Any) -> bool:
    """Whether a function takes the same arguments, by their number and the name of the first."""
    if not inspect.isfunction(found):
        return False
    theirs, ours = list(inspect.signature(found).parameters), inspect.signature(function).parameters
    return len(theirs) == len(ours) and theirs[0] == next(iter(ours))


@contextlib.contextmanager
def _replaced(source: ModuleType, function: Any) -> Iterator[None]:
    original = getattr(source, function.__name__)
    setattr(source, function.__name__, function)
    try:
        yield
    finally:
        setattr(source, function.__name__, original)


def fuse_once(module: nn.Module) -> None:
    """Layers that fuse their weights into one convolution do so now, and never again."""
    for part in module.modules():
        if hasattr(part, "eval_conv") and hasattr(part, "update_params"):
            fused: Any = part
            fused.update_params()
            fused.update_params = _done


def _done() -> None:
    """Nothing is left to fuse."""
