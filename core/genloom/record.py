"""The record of how a picture was made, which every output carries: a small JSON text.

Whoever gets a picture reads it, so it holds what made the picture and nothing of who made it or
where: no folder, no user, no time.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Literal

from pydantic import BaseModel, ConfigDict, ValidationError

from genloom import imaging
from genloom.errors import GenloomError
from genloom.limits import MAX_RECORD

_ENCODER = json.JSONEncoder(separators=(",", ":"))

SIDECAR = ".json"
"""What is added to the whole name of a picture's file for the one beside it with its record."""


STATE_FOLDER = ".genloom"
"""The folder in OUT that the journal lies in; no result goes there."""


class _Part(BaseModel):
    """Frozen; a later version may say more, which is left out."""

    model_config = ConfigDict(frozen=True, extra="ignore", strict=True)


class StageRecord(_Part):
    """A stage under its id, with all options: those it was not told, too.

    A file that an option names stands there as `{"file": its name, "sha256": …}`.
    """

    id: str
    stage: str
    options: Mapping[str, Any]


class ModelRecord(_Part):
    """A model by name, its digest (see `Model.digest`), the provider that ran it, and how.

    Attributes:
        tile: side in pixels of the tiles that large pictures were cut into.
    """

    name: str
    digest: str
    provider: str = ""
    precision: str = "fp32"
    tile: int | None = None


class PluginRecord(_Part):
    """A plugin that is not part of genloom, and the SHA-256 of its Python files."""

    name: str
    version: str = ""
    sha256: str = ""


class InputRecord(_Part):
    """What a picture was made of.

    Attributes:
        sha256: of the file; with guides or several inputs, of the hashes of all.
        size: bytes of them all.
        count: how many inputs: more than one for a sheet or an animation.
    """

    sha256: str = ""
    size: int = 0
    count: int = 1


class Record(_Part):
    """How one picture was made.

    Attributes:
        record: version of this format.
        genloom: version of genloom.
        pipeline: name of the pipeline.
        seed: its seed.
        stages: the stages, up to the one that wrote the picture.
        models: the models their options name.
        plugins: who brought those stages and models, if not genloom.
        input: what it was made of; None for a sample.
        key: what its random numbers come from, besides the seed: of a sample its number, of a file
            its path below the input folder. Only there where random numbers were drawn.
        child: which one it is of several that were made of one input: `#3`.
    """

    record: Literal[1]
    genloom: str
    pipeline: str
    seed: int
    stages: tuple[StageRecord, ...]
    models: tuple[ModelRecord, ...] = ()
    plugins: tuple[PluginRecord, ...] = ()
    input: InputRecord | None = None
    key: str = ""
    child: str = ""

    def text(self) -> str:
        """The record as JSON of ASCII on one line, in the order above; defaults are left out."""
        return dumps(self.model_dump(mode="json", exclude_defaults=True))

    @classmethod
    def read(cls, path: Path) -> Record:
        """The record in a picture's file, or else in its sidecar; or of a sidecar itself.

        Raises:
            ImageError: when the file cannot be read.
            GenloomError: when there is no record, or it cannot be understood.
        """
        sidecar = path if path.suffix == SIDECAR else path.with_name(f"{path.name}{SIDECAR}")
        text = "" if path == sidecar else imaging.read_record(path)
        if not text and sidecar.is_file():
            if sidecar.stat().st_size > MAX_RECORD:
                raise GenloomError("the file is too large for a record", where=str(sidecar))
            text = sidecar.read_text(encoding="utf-8", errors="replace")
        if not text:
            raise GenloomError(
                "nothing says how the picture was made",
                expected=f"a record of genloom in it, or in {sidecar.name} beside it",
                where=str(path),
                hint="Not made by genloom, or made with `provenance: off`, or lost since",
            )
        return cls.parse(text, where=str(path))

    @classmethod
    def parse(cls, text: str, *, where: str = "") -> Record:
        """A record from its text; `where` is only for the message.

        Raises:
            GenloomError: when it is none, or one of a version that this genloom does not know.
        """
        said = {"expected": "a record of genloom, version 1", "where": where}
        if len(text) > MAX_RECORD:
            raise GenloomError("the record is too long", got=f"{len(text)} characters", **said)
        try:
            return cls.model_validate_json(text)
        except ValidationError as error:
            first = error.errors()[0]
            place = ".".join(str(part) for part in first["loc"])
            got = f"{place}: {first['msg']}" if place else first["msg"]
            raise GenloomError("the record cannot be understood", got=got, **said) from None


def dumps(values: Mapping[str, Any]) -> str:
    """Plain values as JSON of ASCII on one line, in the order they come in."""
    return _ENCODER.encode(values)
