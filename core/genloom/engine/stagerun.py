"""What the engine offers a stage during one call."""

from __future__ import annotations

import itertools
import os
import re
import threading
from collections.abc import Callable, Hashable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any, TypeVar

import numpy as np

from genloom.engine.packet import Output, Packet
from genloom.engine.provenance import completed
from genloom.errors import OutputError, StageError, UnknownName
from genloom.record import SIDECAR
from genloom.stage import Model
from genloom.types import Item, random_state

T = TypeVar("T")
_RESERVED = {"con", "prn", "aux", "nul"} | {f"{d}{n}" for d in ("com", "lpt") for n in range(1, 10)}
_NOT_ALLOWED = re.compile(r'[\x00-\x1f<>:"|?*\\]')
_counter = itertools.count()


class Once:
    """What is made once for each key, whatever thread asks first."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._locks: dict[Hashable, threading.Lock] = {}
        self._made: dict[Hashable, Any] = {}

    def __call__(self, key: Hashable, make: Callable[[], T]) -> T:
        """See `genloom.Run.once`; what fails is made again by the next who asks."""
        with self._lock:
            own = self._locks.setdefault(key, threading.Lock())
        with own:
            if key not in self._made:
                self._made[key] = make()
            made: T = self._made[key]
            return made


@dataclass(frozen=True)
class Shared:
    """What the calls of all stages of a run share.

    Attributes:
        files: the files that options name, as they were when the plan hashed them.
    """

    files: Mapping[Path, bytes] = field(default_factory=dict)
    once: Once = field(default_factory=Once)


class StageRun:
    """The engine's side of `genloom.Run`, for one call of one stage.

    Attributes:
        outputs: the files the call finished writing.
        keep: whether they are wanted; the stage is called without, too, for what it hands on.
        ends: see `genloom.Run`.
        drawn: keys of the items that random numbers were drawn for.
    """

    def __init__(
        self,
        stage: str,
        seed: int,
        models: Mapping[str, Model],
        temporary: Path,
        *,
        packets: Sequence[Packet] = (),
        beginning: str = "",
        shared: Shared | None = None,
    ) -> None:
        self.stage, self._seed, self._models, self._temporary = stage, seed, models, temporary
        self._packets, self._beginning = packets, beginning
        self._shared = shared or Shared()
        self.outputs: list[Output] = []
        self.keep, self.ends = True, False
        self.drawn: set[str] = set()

    @property
    def seed(self) -> int:
        """The pipeline's seed."""
        return self._seed

    def random(self, item: Item) -> np.random.RandomState:
        """The item's own random numbers at this stage."""
        self.drawn.add(item.key)
        return random_state(self._seed, self.stage, item.key)

    def model(self, name: str) -> Model:
        """The model that an option names."""
        if name not in self._models:
            raise UnknownName.of("model", name, self._models)
        return self._models[name]

    def record(self, item: Item) -> str:
        """How the item was made.

        Raises:
            StageError: when the stage does not say that it writes.
        """
        if not self._beginning:
            raise StageError(
                "only a stage that writes is told how its pictures were made",
                expected="`writes = True` on the stage",
                where=self.stage,
            )
        packet = next((p for p in self._packets if p.is_origin_of(item)), self._packets[0])
        drew = packet.drew or bool(self.drawn & {packet.item.key, item.key})
        return completed(self._beginning, packet.unit, item, drew=drew)

    def file(self, path: Path) -> bytes:
        """The bytes of a file that an option names."""
        files = self._shared.files
        if path not in files:
            raise UnknownName.of("file of an option", str(path), map(str, files), where=self.stage)
        return files[path]

    def once(self, key: Hashable, make: Callable[[], T]) -> T:
        """What `make` gives, made once in a run for each key."""
        return self._shared.once(key, make)

    @contextmanager
    def output(self, item: Item, ending: str, pattern: str = "{folder}/{stem}") -> Iterator[Path]:
        """A temporary file that becomes a result when the block ends well."""
        asked = _asked_name(item, pattern)
        name = _allowed_name(asked)
        place = f"{self._temporary}/{os.getpid()}-{next(_counter)}{ending}"
        wanted = False
        try:
            yield Path(place)
            stat = _stat(place)
            if stat is None:
                raise StageError("it asked for an output file but wrote none", where=self.stage)
            wanted = self.keep
        finally:
            if not wanted:
                for path in (place, f"{place}{SIDECAR}"):
                    Path(path).unlink(missing_ok=True)
        if wanted:
            facts = stat.st_size, stat.st_mtime_ns
            output = Output(item.bare(), place, name, ending, asked, *facts)
            self.outputs.append(output)
            if stat := _stat(f"{place}{SIDECAR}"):
                self.outputs.append(
                    replace(
                        output,
                        temporary=f"{place}{SIDECAR}",
                        ending=SIDECAR,
                        size=stat.st_size,
                        mtime=stat.st_mtime_ns,
                        beside=True,
                    )
                )


def _stat(place: str) -> os.stat_result | None:
    try:
        return os.stat(place)
    except OSError:
        return None


def result_name(item: Item, pattern: str) -> str:
    """Where a result goes below OUT, without ending: a name that every file system takes.

    Raises:
        OutputError: when the pattern is not one, or leads out of OUT.
    """
    return _allowed_name(_asked_name(item, pattern))


def _asked_name(item: Item, pattern: str) -> str:
    folder, _, stem = item.name.rpartition("/")
    # Both slashes of a pattern part folders; one in a file's name is a letter of that name.
    pattern = pattern.replace("\\", "/")
    try:
        text = pattern.format(folder=folder, stem=stem, name=item.name)
    except (KeyError, IndexError, ValueError) as error:
        raise OutputError(
            f"'{pattern}' is not a pattern for names ({error})",
            expected="text with {folder} and {stem}",
        ) from None
    parts = [part for part in text.split("/") if part not in ("", ".")]
    if ".." in parts or not parts:
        raise OutputError("a result would be written outside the output folder", got=text)
    return "/".join(parts)


def _allowed_name(name: str) -> str:
    return "/".join(_allowed(part) for part in name.split("/"))


def _allowed(part: str) -> str:
    """A name that every file system takes: no control characters, none that Windows reserves."""
    part = _NOT_ALLOWED.sub("_", part)
    return f"{part}_" if part.split(".")[0].casefold() in _RESERVED else part
