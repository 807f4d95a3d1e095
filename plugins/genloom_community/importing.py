"""From a file of weights to a verified bundle."""

from __future__ import annotations

import dataclasses
import hashlib
import math
import re
import shlex
from collections.abc import Iterator
from importlib import metadata
from typing import Any

from genloom.card import Card, Origin, Part, SizeRule
from genloom.errors import GenloomError
from genloom_community import ImageToImage
from genloom_community.reach import Reach, measured
from genloom_community.request import BLENDED, PART, Draft, Request, Tell, check_bytes, unheard
from genloom_community.writing import check_folder, write

NAME = re.compile(r"^[A-Za-z0-9][A-Za-z0-9._-]{0,99}$")
COSTLY = 3.0
"""How often pixels may be computed, on the average, before it is said."""
ENDINGS = (".onnx", ".safetensors", ".pth", ".pt", ".ckpt")


def import_file(request: Request, tell: Tell = unheard) -> Iterator[str]:
    """Import a file; gives what was found out, line by line, as it goes.

    Args:
        request: what to import, and where to.
        tell: hears what the import is at: a large network takes minutes.

    Raises:
        GenloomError: when the file cannot be imported, or the folder not be written.
    """
    _check(request)
    draft = _draft(request, tell)
    yield f"{request.file.name}: {draft.architecture or 'a foreign graph'}, {_in_words(draft)}"
    yield from (f"  {note}" for note in draft.notes)
    data = draft.model.SerializeToString()
    reach = measured(draft, tell)
    card = _card(request, draft, reach, data)
    tell("verifying the bundle")
    write(request, card, data)
    yield f"  {size_in_words(card)}"
    yield from (f"  {line}" for line in _costly(card))
    if request.overlap and card.receptive_field != "global":
        yield "  --overlap does nothing: its tiles need no blending"
    yield f"  the same as the original to {draft.difference:.2g} of full scale"
    stage = "upscale" if card.scale > 1 else "denoise" if draft.level is not None else "apply"
    yield f"{request.folder}: verified; for the stage `{stage}`"
    if request.licence == "unknown":
        yield "Its licence is unknown; say it with --licence, whoever gets the bundle needs it."


def _costly(card: Card) -> Iterator[str]:
    """What is to be said where little is kept of each tile of a network that takes one size."""
    rule = card.size
    if rule.fixed is None or card.receptive_field == "global":
        return
    kept = _kept(rule, card.receptive_field)
    times = math.prod(rule.fixed) / math.prod(kept)
    if times > COSTLY:
        yield (
            f"only {kept[1]}×{kept[0]} pixels are kept of each tile: a large picture costs "
            f"{times:.0f} times what its pixels do; exported at a larger size it would be faster"
        )


def _check(request: Request) -> None:
    file = request.file
    if not file.is_file():
        if file.is_dir():
            inside = sorted(one.name for one in file.iterdir() if one.suffix.lower() in ENDINGS)
            raise GenloomError(
                "this is a folder",
                expected="a file of weights",
                where=str(file),
                hint=f"In it are: {', '.join(inside[:10])}" if inside else "",
            )
        raise GenloomError("there is no such file", where=str(file))
    if file.suffix.lower() not in ENDINGS:
        raise GenloomError(
            "this is no file of weights that can be imported",
            expected=", ".join(ENDINGS),
            got=file.name,
        )
    _check_options(request)
    name = request.folder.resolve().name
    if not NAME.match(name):
        raise GenloomError(
            "a model cannot have this name",
            expected="letters, digits, '.', '_' and '-'",
            got=name,
            hint="The last part of FOLDER, or --name, is the name",
        )
    check_folder(request)


def _check_options(request: Request) -> None:
    """Refuse what would do nothing, as it was said for a reason."""
    foreign = request.file.suffix.lower() == ".onnx"
    idle = ["size"] if foreign else ["range", "layout", "bgr"]
    if said := [f"--{name}" for name in idle if getattr(request, name)]:
        raise GenloomError(
            f"{' and '.join(said)} would do nothing for this file",
            where=str(request.file),
            hint="An .onnx file has the sizes it was exported with"
            if foreign
            else "How a network of a known architecture takes pictures is known",
        )
    _ = request.values  # raises where --range says no range


def _draft(request: Request, tell: Tell) -> Draft:
    if request.file.suffix.lower() == ".onnx":
        from genloom_community.foreign import draft
    else:
        from genloom_community.weights import draft
    made = draft(request, tell)
    if request.scale not in (None, made.scale):
        raise GenloomError(
            "the network has another scale",
            expected=f"{request.scale}",
            got=f"{made.scale}",
            where=str(request.file),
            hint="Without --scale it is imported as it is",
        )
    check_bytes(made.model.ByteSize(), request.file)
    return made


def _card(request: Request, draft: Draft, reach: Reach, data: bytes) -> Card:
    digest = hashlib.sha256(data).hexdigest()
    opsets = [entry.version for entry in draft.model.opset_import if not entry.domain]
    part = Part(file=f"{PART}.onnx", sha256=digest, opset=opsets[0], inputs=draft.inputs,
                outputs=draft.outputs)  # fmt: skip
    rule = draft.size.model_copy(update={"stride": reach.stride})
    if reach.field != "global" and not all(_kept(rule, reach.field)):
        reach = Reach("global", reach.stride)  # nothing of a tile would be as in the whole
    if reach.field == "global":
        rule = rule.model_copy(update={"overlap": _overlap(request, rule)})
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


def _overlap(request: Request, rule: SizeRule) -> int:
    """Over how many pixels tiles of a network are blended that sees a picture whole; 0 cuts none.

    One of a single size could take no other picture.
    """
    if request.overlap is not None:
        return request.overlap
    if rule.fixed is None:
        return 0
    return max(1, min(rule.fixed) // BLENDED // rule.step) * rule.step


def _kept(rule: SizeRule, field: int) -> list[int]:
    """Height and width that are kept of a tile of one size; nothing for other networks."""
    return [(side - field // 2 * 2) // rule.step * rule.step for side in rule.fixed or ()]


def _origin(request: Request, draft: Draft) -> Origin:
    return Origin(
        source=request.file.name,
        source_sha256=hashlib.sha256(request.file.read_bytes()).hexdigest(),
        architecture=draft.architecture,
        command=command(request),
        versions=_versions(),
    )


def command(request: Request) -> str:
    """The command that makes the bundle again, where the file is in the working folder."""
    said = ["genloom", "import", request.file.name, "-o", "OUT"]
    for field in dataclasses.fields(request):
        value = getattr(request, field.name)
        if field.name in ("file", "folder", "force") or value == field.default:
            continue
        said += [f"--{field.name}"] + ([] if value is True else [str(value)])
    return shlex.join(said)


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
        blended = f"tiles are blended over {rule.overlap} pixels"
        return f"{words}; sees a picture whole: {blended} (--overlap N for another)"
    alone = "pictures of that size only" if rule.fixed else "never cut into tiles"
    return f"{words}; sees a picture whole: {alone} (--overlap N allows it)"
