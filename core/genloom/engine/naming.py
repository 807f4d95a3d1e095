"""The names that results may get below OUT, and why one was given."""

from __future__ import annotations

from collections.abc import Iterator

from genloom.engine.packet import Output, Unit
from genloom.engine.records import FileRecord
from genloom.record import STATE_FOLDER

UNKNOWN = "\ufffd"
"""What stands for bytes of a name that are no text."""


def candidates(output: Output) -> Iterator[str]:
    """Names a result may get, best first."""
    reserved = f"{STATE_FOLDER}/"
    return (name for name in _names(output) if not name.startswith(reserved))


def _names(output: Output) -> Iterator[str]:
    natural = f"{output.name}{output.ending}"
    if output.beside:
        yield natural
        return
    source = output.item.source
    full = natural
    if source is not None and source.suffix.lower() != output.ending.lower():
        full = f"{output.name}{source.suffix}{output.ending}"
    # Beside a twin (a.jpg and a.png, both to be a.png) the one that keeps its ending keeps it all.
    first = full if output.item.twin else natural
    yield first
    if full != first:
        yield full
    for number in range(2, 1000):
        yield f"{output.name}-{number}{output.ending}"


def renamed(output: Output, path: str, unit: Unit, rival: FileRecord | None) -> Iterator[str]:
    """Why a result has another name than the picture it was made from."""
    if output.name != output.asked:
        yield f"written as {output.name}, because not every system takes '{output.asked}'"
    source = unit.item.source
    if UNKNOWN in output.name and source is not None and UNKNOWN not in source.name:
        yield f"written as {output.name}, because the name of the file is not UTF-8"
    if path == f"{output.name}{output.ending}":
        return
    if rival is None:
        stem = output.name.rpartition("/")[2]
        yield f"written as {path}, because its folder holds another picture named {stem}"
    elif rival.unit == unit.key:
        yield f"written as {path}, because {rival.path} is another result of this picture"
    else:
        yield f"written as {path}, because {rival.path} is another picture's"
