"""The libraries of CUDA and cuDNN that pip installs: found without LD_LIBRARY_PATH.

ONNX Runtime leaves it to the loader of the system to find them, which does not look into Python's
packages. A library that is loaded already is found by its name, so they are loaded before.
"""

from __future__ import annotations

import ctypes
import functools
import os
import re
import sys
from collections.abc import Iterable, Iterator
from pathlib import Path

PROVIDERS = frozenset({"cuda", "tensorrt"})
"""Providers that need them."""

DRIVER = "libcuda.so.1"

LIBRARIES = ("cudart", "nvrtc", "nvJitLink", "cublasLt", "cublas", "curand", "cufft", "cudnn")
"""In the order in which each finds those that it needs among those before it."""


@functools.cache
def preload(release: str) -> tuple[str, ...]:
    """Load the libraries of packages from NVIDIA, once, where there is a driver for them.

    What is not there, or does not load, is left to the system, and missed by whoever needs it.

    Args:
        release: of CUDA that ONNX Runtime was built with, such as `13.0`; empty where it says
            none.

    Returns:
        Names of the files that were loaded.
    """
    if not release or not sys.platform.startswith("linux") or not _loads(DRIVER):
        return ()
    return tuple(path.name for path in found(folders(), release) if _loads(str(path)))


def missing(library: Path) -> str:
    """The library that a provider's own library needs and the system does not find, in its words.

    Args:
        library: such as `libonnxruntime_providers_cuda.so`; ONNX Runtime says nothing when it does
            not load.

    Returns:
        Nothing where all are found, and where the system does not say which is not.
    """
    try:
        ctypes.CDLL(str(library), mode=os.RTLD_LAZY)
    except OSError as error:
        return str(error) if "cannot open shared object" in str(error) else ""
    return ""


def folders() -> list[Path]:
    """Folders of the packages from NVIDIA that hold libraries, wherever packages are found."""
    roots = dict.fromkeys(Path(entry or ".", "nvidia") for entry in sys.path)
    return [folder for root in roots for folder in sorted(root.glob("*/lib"))]


def found(places: Iterable[Path], release: str) -> Iterator[Path]:
    """The libraries among folders, in the order to load them in; the first of each name.

    The packages for CUDA 12 have a folder for each library, those of later releases share one,
    `cu13` or whatever their number is; that of another release is left out.
    """
    own = f"cu{release.partition('.')[0]}"
    names = [(place.parent.name, place) for place in places]
    kept = [(n, place) for n, place in names if n == own or not re.fullmatch(r"cu\d+", n)]
    ordered = [place for _, place in sorted(kept, key=lambda pair: pair[0] != own)]
    for name in LIBRARIES:
        files = (file for place in ordered for file in sorted(place.glob(f"lib{name}.so.*")))
        if file := next(files, None):
            yield file


def _loads(name: str) -> bool:
    try:
        ctypes.CDLL(name)
    except OSError:
        return False
    return True
