"""Where TensorRT keeps what it compiled: in genloom's cache folder, apart for each graph.

ONNX Runtime names the files of its engines by the names in a graph and not by its weights, so two
models of one architecture would read each other's. What TensorRT measured of its kernels has
nothing to do with weights, and lies in one folder for all.
"""

from __future__ import annotations

import contextlib
import json
import os
import shutil
from collections.abc import Mapping, Sequence
from pathlib import Path

from genloom.limits import MAX_CACHE_BYTES
from genloom.runtime import cache


def kept(
    graph: Path | bytes, versions: Sequence[str], options: Mapping[str, str]
) -> dict[str, str]:
    """The options that keep engines and timings on disk; none where nothing can be kept.

    Args:
        graph: an ONNX file, or its bytes.
        versions: of ONNX Runtime.
        options: of the provider, as they were asked for; they decide what is compiled.
    """
    place = cache.folder()
    if place is None:
        return {}
    try:
        data = graph if isinstance(graph, bytes) else graph.read_bytes()
        facts = {
            "runtime": " ".join(versions),
            "options": json.dumps(dict(options), sort_keys=True),
        }
        root = place.parent / "tensorrt"
        engines = root / "engines" / cache.key(data, facts)
        engines.mkdir(mode=0o700, parents=True, exist_ok=True)
        os.utime(engines)  # it is used: others go first
        _prune(engines.parent, engines)
    except OSError:
        return {}
    return {
        "trt_engine_cache_enable": "1",
        "trt_engine_cache_path": str(engines),
        "trt_timing_cache_enable": "1",
        "trt_timing_cache_path": str(root),
    }


def _prune(root: Path, used: Path, most: int = MAX_CACHE_BYTES) -> None:
    """Delete the engines of the graphs used longest ago beyond a size, but not those used now."""
    found = []
    for folder in root.iterdir():
        with contextlib.suppress(OSError):  # another process may be deleting too
            size = sum(file.stat().st_size for file in folder.iterdir())
            found.append((folder.stat().st_mtime, size, folder))
    total = sum(size for _, size, _ in found)
    for _, size, folder in sorted(found):
        if total > most and folder != used:
            shutil.rmtree(folder, ignore_errors=True)
            total -= size
