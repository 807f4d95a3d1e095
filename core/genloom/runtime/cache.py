"""Compiled graphs kept on disk, for runtimes that compile longer than they read.

An entry is a file in the user's cache folder, named by a digest of all that it depends on: it is
never out of date, only unused. It begins with a digest of what follows, so that a file that was cut
short or is not one of these is as good as none. Nothing here raises: what cannot be kept is
compiled again.
"""

from __future__ import annotations

import contextlib
import hashlib
import os
import stat
import tempfile
from collections.abc import Mapping
from pathlib import Path

import platformdirs

from genloom.limits import MAX_CACHE_BYTES

VARIABLE = "GENLOOM_CACHE"
"""The environment variable that names another folder, or `off` for none."""

_MAGIC = b"genloom graph 1\n"
_ENDING = ".graph"


def place() -> Path:
    """The folder for all that is kept between runs: the user's, or the one that was named."""
    said = "" if _is_off() else os.environ.get(VARIABLE, "")
    return Path(said or platformdirs.user_cache_dir("genloom", appauthor=False))


def folder() -> Path | None:
    """Where entries lie; None where none are to be kept."""
    return None if _is_off() else place() / "graphs"


def _is_off() -> bool:
    return os.environ.get(VARIABLE, "").strip().lower() == "off"


def key(graph: bytes, facts: Mapping[str, str]) -> str:
    """Name of the entry for a graph and all else that decides what it is compiled to.

    Args:
        graph: its bytes.
        facts: name and version of the runtime, device, processor, options.
    """
    digest = hashlib.sha256(hashlib.sha256(graph).digest())
    for name, value in sorted(facts.items()):
        for text in (name, value):
            data = text.encode()
            digest.update(len(data).to_bytes(8, "big") + data)
    return digest.hexdigest()


def get(name: str) -> bytes | None:
    """What is kept under a key; None where there is nothing, or nothing whole."""
    place = folder()
    if place is None:
        return None
    try:
        path = place / f"{name}{_ENDING}"
        with open(path, "rb", opener=_without_waiting) as file:
            facts = os.fstat(file.fileno())
            if not stat.S_ISREG(facts.st_mode) or facts.st_size > MAX_CACHE_BYTES:
                return None
            data = file.read()
        with contextlib.suppress(OSError):  # another's folder, say
            os.utime(path)  # it was used: others go first
    except OSError:
        return None
    start = len(_MAGIC) + hashlib.sha256().digest_size
    if data[:start] != _head(data[start:]):
        return None
    return data[start:]


def _without_waiting(path: str, flags: int) -> int:
    """Open a file; a pipe in its place would keep a reader waiting."""
    return os.open(path, flags | getattr(os, "O_NONBLOCK", 0))


def put(name: str, data: bytes, most: int = MAX_CACHE_BYTES) -> None:
    """Keep something under a key, and delete what was used longest ago beyond `most` bytes."""
    place = folder()
    if place is None or len(data) > most:
        return
    with contextlib.suppress(OSError):
        place.mkdir(mode=0o700, parents=True, exist_ok=True)
        handle, temporary = tempfile.mkstemp(prefix=".tmp-", dir=place)
        try:
            with os.fdopen(handle, "wb") as file:
                file.write(_head(data) + data)
            os.replace(temporary, place / f"{name}{_ENDING}")
        finally:
            with contextlib.suppress(OSError):
                os.unlink(temporary)
        _prune(place, most)


def _head(data: bytes) -> bytes:
    return _MAGIC + hashlib.sha256(data).digest()


def _prune(place: Path, most: int) -> None:
    """Delete the entries used longest ago, and what a killed process left, beyond a size."""
    found = []
    for path in place.iterdir():
        if path.suffix == _ENDING or path.name.startswith(".tmp-"):
            with contextlib.suppress(OSError):  # another process may be deleting too
                fact = path.stat()
                found.append((fact.st_mtime, fact.st_size, path))
    total = sum(size for _, size, _ in found)
    for _, size, path in sorted(found):
        if total <= most:
            break
        with contextlib.suppress(OSError):
            path.unlink()
        total -= size
