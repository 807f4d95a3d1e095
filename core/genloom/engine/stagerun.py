"""What the engine offers a stage during one call."""

from __future__ import annotations

import itertools
import os
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path, PurePosixPath

import numpy as np

from genloom.engine.packet import Output
from genloom.errors import OutputError, StageError, UnknownName
from genloom.stage import Model
from genloom.types import Item, random_state

_RESERVED = {"con", "prn", "aux", "nul"} | {f"{d}{n}" for d in ("com", "lpt") for n in range(1, 10)}
_counter = itertools.count()


class StageRun:
    """The engine's side of `genloom.Run`, for one call of one stage.

    Attributes:
        outputs: the files the call finished writing.
        keep: whether they are wanted; the stage is called without, too, for what it hands on.
    """

    def __init__(self, stage: str, seed: int, models: Mapping[str, Model], temporary: Path) -> None:
        self.stage, self._seed, self._models, self._temporary = stage, seed, models, temporary
        self.outputs: list[Output] = []
        self.keep = True

    @property
    def seed(self) -> int:
        """The pipeline's seed."""
        return self._seed

    def random(self, item: Item) -> np.random.RandomState:
        """The item's own random numbers at this stage."""
        return random_state(self._seed, self.stage, item.key)

    def model(self, name: str) -> Model:
        """The model that an option names."""
        if name not in self._models:
            raise UnknownName.of("model", name, self._models)
        return self._models[name]

    @contextmanager
    def output(self, item: Item, ending: str, pattern: str = "{folder}/{stem}") -> Iterator[Path]:
        """A temporary file that becomes a result when the block ends well."""
        asked = _asked_name(item, pattern)
        name = result_name(item, pattern)
        temporary = self._temporary / f"{os.getpid()}-{next(_counter)}{ending}"
        try:
            yield temporary
            if not temporary.exists():
                raise StageError("it asked for an output file but wrote none", where=self.stage)
        except BaseException:
            temporary.unlink(missing_ok=True)
            raise
        if self.keep:
            light = item.bare()
            self.outputs.append(Output(light, temporary, name, ending, asked))
        else:
            temporary.unlink()


def result_name(item: Item, pattern: str) -> str:
    """Where a result goes below OUT, without ending: a name that every file system takes.

    Raises:
        OutputError: when the pattern is not one, or leads out of OUT.
    """
    return "/".join(_allowed(part) for part in _asked_name(item, pattern).split("/"))


def _asked_name(item: Item, pattern: str) -> str:
    own = PurePosixPath(item.name)
    folder = own.parent.as_posix().removeprefix(".")
    # Both slashes of a pattern part folders; one in a file's name is a letter of that name.
    pattern = pattern.replace("\\", "/")
    try:
        text = pattern.format(folder=folder, stem=own.name, name=item.name)
    except (KeyError, IndexError, ValueError) as error:
        raise OutputError(
            f"'{pattern}' is not a pattern for names ({error})",
            expected="text with {folder} and {stem}",
        ) from None
    parts = [part for part in text.split("/") if part not in ("", ".")]
    if ".." in parts or not parts:
        raise OutputError("a result would be written outside the output folder", got=text)
    return "/".join(parts)


def _allowed(part: str) -> str:
    """A name that every file system takes: no control characters, none that Windows reserves."""
    part = "".join("_" if ord(char) < 32 or char in '<>:"|?*\\' else char for char in part)
    return f"{part}_" if part.split(".")[0].casefold() in _RESERVED else part
