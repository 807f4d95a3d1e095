"""Facts about the machine, as far as they can be had without a library."""

from __future__ import annotations

import contextlib
import os
import shutil
import subprocess
from collections.abc import Iterator
from importlib.util import find_spec
from pathlib import Path

UNLIMITED = 2**60
"""Bytes that no machine has: control groups of the first version say more where nothing limits."""

FEATURES = ("avx2", "avx512f", "avx512_vnni", "avx_vnni", "amx_tile", "asimd", "sve")
"""Instruction sets that make networks faster, as Linux calls them."""


def cores() -> int:
    """Processors this process may use."""
    if hasattr(os, "sched_getaffinity"):
        return len(os.sched_getaffinity(0))
    return os.cpu_count() or 1


def processor(cpuinfo: Path = Path("/proc/cpuinfo")) -> str:
    """Number of cores, model and instruction sets in words."""
    text = f"{cores()} CPU core{'s' if cores() != 1 else ''}"
    try:
        lines = cpuinfo.read_text(encoding="utf-8", errors="replace").splitlines()
    except OSError:
        return text
    facts: dict[str, str] = {}
    for line in lines:
        name, colon, value = line.partition(":")
        if colon:
            facts.setdefault(name.strip().lower(), value.strip())
    flags = (facts.get("flags") or facts.get("features") or "").split()
    known = [feature for feature in FEATURES if feature in flags]
    return ", ".join([text, *filter(None, [facts.get("model name"), " ".join(known)])])


def free_memory(
    meminfo: Path = Path("/proc/meminfo"),
    groups: Path = Path("/sys/fs/cgroup"),
    own: Path = Path("/proc/self/cgroup"),
) -> int | None:
    """Bytes that can be had without swapping; None where this cannot be told.

    The least of what the machine, the container or job, and the limit of the process leave.
    """
    found = []
    with contextlib.suppress(OSError, ValueError, KeyError):
        found.append(_numbers(meminfo)["MemAvailable:"] * 1024)
    for folder, (most, used, cached, shared) in _groups(groups, own):
        with contextlib.suppress(OSError, ValueError, KeyError):
            limit = int((folder / most).read_text())
            if limit < UNLIMITED:
                numbers = _numbers(folder / "memory.stat")
                given_back = numbers[cached] - numbers.get(shared, 0)
                found.append(limit - int((folder / used).read_text()) + given_back)
    with contextlib.suppress(ImportError, OSError, ValueError):
        import resource

        limit = resource.getrlimit(resource.RLIMIT_AS)[0]
        if limit != resource.RLIM_INFINITY:
            pages = int(Path("/proc/self/statm").read_text().split()[0])
            found.append(limit - pages * resource.getpagesize())
    return max(0, min(found)) if found else None


def data_bytes(status: Path = Path("/proc/self/status")) -> tuple[int, int]:
    """Bytes this process was promised, as Linux's limit `RLIMIT_DATA` counts them, and holds.

    Raises:
        OSError, KeyError: where that cannot be told.
    """
    found = _numbers(status)
    return found["VmData:"] * 1024, found["RssAnon:"] * 1024


_LIMITS = {
    "": ("memory.max", "memory.current", "file", "shmem"),
    "memory": (
        "memory.limit_in_bytes",
        "memory.usage_in_bytes",
        "total_cache",
        "total_shmem",
    ),
}
"""Files of a control group that say how much memory it may have and has, and numbers: files held in
memory, which are given back when it is needed, and which of them lie nowhere else. Of the second
version, and of the first, by its folder."""


def _groups(root: Path, own: Path) -> Iterator[tuple[Path, tuple[str, str, str, str]]]:
    """The control groups that this process is in, from the outermost on, with their files."""
    paths = dict.fromkeys(_LIMITS, "/")
    with contextlib.suppress(OSError, ValueError):
        for line in own.read_text(encoding="utf-8", errors="replace").splitlines():
            _, controllers, path = line.split(":", 2)
            paths.update((name, path) for name in controllers.split(",") if name in paths)
    for name, files in _LIMITS.items():
        parts = [part for part in paths[name].split("/") if part not in ("", "..")]
        for depth in range(len(parts) + 1):
            yield root.joinpath(name, *parts[:depth]), files


def _numbers(file: Path) -> dict[str, int]:
    """The lines of a file of the kernel: a name, a number, perhaps a unit."""
    lines = [line.split() for line in file.read_text(encoding="utf-8").splitlines()]
    return {line[0]: int(line[1]) for line in lines if len(line) > 1 and line[1].isdecimal()}


def free_disk(folder: Path = Path()) -> int:
    """Bytes free where a folder lies."""
    return shutil.disk_usage(folder).free


def nvidia_gpu() -> str:
    """Names of the NVIDIA GPUs that the driver lists; empty when there are none."""
    program = shutil.which("nvidia-smi")
    if program is None:
        return ""
    query = [program, "--query-gpu=name", "--format=csv,noheader"]
    try:
        done = subprocess.run(query, capture_output=True, text=True, timeout=20, check=False)
    except (OSError, subprocess.TimeoutExpired):
        return ""
    return ", ".join(done.stdout.split("\n")).strip(", ") if done.returncode == 0 else ""


def codecs() -> dict[str, bool]:
    """Image formats that depend on what was built or installed, and whether they are there."""
    from PIL import features

    found = {name.upper(): bool(features.check(name)) for name in ("jpg", "webp", "avif")}
    return {**found, "HEIC": find_spec("pillow_heif") is not None}
