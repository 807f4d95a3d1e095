"""From a file of weights to a verified bundle."""

from __future__ import annotations

import hashlib
import math
import re
import shutil
from collections.abc import Iterator
from importlib import metadata
from pathlib import Path
from typing import Any

import genloom
from genloom.card import CARD, Card, Origin, Part
from genloom.errors import GenloomError
from genloom_community import ImageToImage
from genloom_community.reach import Reach, measured
from genloom_community.request import PART, Draft, Request

NAME = re.compile(r"^[A-Za-z0-9][A-Za-z0-9._-]{0,99}$")
ENDINGS = (".onnx", ".safetensors", ".pth", ".pt", ".ckpt")
MOST_BYTES = 2**31 - 1
"""What one protobuf message can hold."""


def import_file(request: Request) -> Iterator[str]:
    """Import a file; gives what was found out, line by line, as it goes.

    Raises:
        GenloomError: when the file cannot be imported, or the folder not be written.
    """
    _check(request)
    draft = _draft(request)
    yield f"{request.file.name}: {draft.architecture or 'a foreign graph'}, {_in_words(draft)}"
    yield from (f"  {note}" for note in draft.notes)
    data = draft.model.SerializeToString()
    reach = measured(draft)
    card = _card(request, draft, reach, data)
    _write(request, card, data)
    yield f"  {size_in_words(card)}"
    yield f"  the same as the original to {draft.difference:.2g} of full scale"
    stage = "upscale" if card.scale > 1 else "denoise" if draft.level is not None else "apply"
    yield f"{request.folder}: verified; for the stage `{stage}`"
    if request.licence == "unknown":
        yield "Its licence is unknown; say it with --licence, whoever gets the bundle needs it."


def _check(request: Request) -> None:
    file, folder = request.file, request.folder
    if not file.is_file():
        raise GenloomError("there is no such file", where=str(file))
    if file.suffix.lower() not in ENDINGS:
        raise GenloomError(
            "this is no file of weights that can be imported",
            expected=", ".join(ENDINGS),
            got=file.name,
        )
    name = folder.resolve().name
    if not NAME.match(name):
        raise GenloomError(
            "a model cannot have this name",
            expected="letters, digits, '.', '_' and '-'",
            got=name,
            hint="The last part of FOLDER, or --name, is the name",
        )
    if folder.exists() and not _may_replace(request):
        raise GenloomError(
            "the folder exists already",
            where=str(folder),
            hint="--force replaces a bundle; nothing else is ever replaced",
        )


def _may_replace(request: Request) -> bool:
    if not request.folder.is_dir():
        return False
    return not any(request.folder.iterdir()) or (
        request.force and (request.folder / CARD).is_file()
    )


def _draft(request: Request) -> Draft:
    if request.file.suffix.lower() == ".onnx":
        from genloom_community.foreign import draft
    else:
        from genloom_community.weights import draft
    made = draft(request)
    if request.scale not in (None, made.scale):
        raise GenloomError(
            "the network has another scale", expected=f"{request.scale}", got=f"{made.scale}"
        )
    if made.model.ByteSize() > MOST_BYTES:
        raise GenloomError(
            "the network is too large for one ONNX file",
            expected="at most 2 GiB",
            got=f"{made.model.ByteSize() / 2**30:.1f} GiB",
            where=str(request.file),
        )
    return made


def _card(request: Request, draft: Draft, reach: Reach, data: bytes) -> Card:
    digest = hashlib.sha256(data).hexdigest()
    opsets = [entry.version for entry in draft.model.opset_import if not entry.domain]
    part = Part(file=f"{PART}.onnx", sha256=digest, opset=opsets[0], inputs=draft.inputs,
                outputs=draft.outputs)  # fmt: skip
    overlap = request.overlap if reach.field == "global" else 0
    rule = draft.size.model_copy(update={"stride": reach.stride, "overlap": overlap})
    return Card(
        name=request.folder.resolve().name,
        family=ImageToImage.family,
        summary=request.summary or f"{draft.architecture or 'Network'}, {_in_words(draft)}",
        licence=request.licence,
        channels=draft.channels,
        size=rule,
        scale=draft.scale,
        receptive_field=reach.field,
        parameters=_parameters(draft.model),
        parts={PART: part},
        metrics={"import_difference": float(f"{draft.difference:.3g}")},
        origin=_origin(request, draft),
    )


def _origin(request: Request, draft: Draft) -> Origin:
    return Origin(
        source=request.file.name,
        source_sha256=hashlib.sha256(request.file.read_bytes()).hexdigest(),
        architecture=draft.architecture,
        command=f"genloom import {request.file.name} -o OUT",
        versions=_versions(),
    )


def _versions() -> dict[str, str]:
    found = {}
    for name in ("genloom", "onnx", "spandrel", "torch"):
        try:
            found[name] = metadata.version(name)
        except metadata.PackageNotFoundError:
            continue
    return found


def _parameters(model: Any) -> int:
    """Numbers among its weights: of the constants, those that are floats and no scalars."""
    floats = (1, 10, 11, 16)  # onnx.TensorProto: float, float16, double, bfloat16
    return sum(
        math.prod(tensor.dims)
        for tensor in model.graph.initializer
        if tensor.data_type in floats and len(tensor.dims) > 0
    )


def _write(request: Request, card: Card, data: bytes) -> None:
    """Write the bundle under another name, verify it, and rename it."""
    final: Path = request.folder.resolve()
    temporary = final.parent / f".{final.name}.tmp" / final.name
    shutil.rmtree(temporary.parent, ignore_errors=True)
    temporary.mkdir(parents=True)
    try:
        (temporary / f"{PART}.onnx").write_bytes(data)
        card.write(temporary)
        if problems := genloom.verify_model(temporary):
            raise GenloomError(
                f"the bundle made of {request.file.name} does not stand: {'; '.join(problems)}",
                hint="It was not written",
            )
        if final.exists():
            shutil.rmtree(final)
        temporary.rename(final)
    finally:
        shutil.rmtree(temporary.parent, ignore_errors=True)


def _in_words(draft: Draft) -> str:
    words = ["grey" if draft.channels == 1 else "colour"]
    words += [f"×{draft.scale}"] if draft.scale > 1 else []
    words += ["told the noise level"] if draft.level is not None else []
    return ", ".join(words)


def size_in_words(card: Card) -> str:
    """Which pictures it takes, and how."""
    rule = card.size
    if rule.fixed:
        words = f"one size only, {rule.fixed[1]}×{rule.fixed[0]}"
    else:
        words = f"multiples of {rule.multiple}" if rule.multiple > 1 else "any size"
        words += f" from {rule.minimum}" if rule.minimum > rule.multiple else ""
        words += ", square" if rule.square else ""
    if card.receptive_field != "global":
        return f"{words}; receptive field {card.receptive_field} pixels: tiles equal the whole"
    if rule.overlap:
        return f"{words}; sees a picture whole: tiles are blended over {rule.overlap} pixels"
    alone = "pictures of that size only" if rule.fixed else "never cut into tiles"
    return f"{words}; sees a picture whole: {alone} (--overlap N allows it)"
