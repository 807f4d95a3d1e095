"""Make a picture again from its record, and compare the two."""

from __future__ import annotations

import hashlib
import os
import tempfile
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np

from genloom import __version__, imaging, models, options, pipeline
from genloom.catalog import Catalog
from genloom.engine.binding import bind
from genloom.engine.calls import Caller
from genloom.engine.cutting import TILE
from genloom.engine.opening import sign
from genloom.engine.packet import Output, Packet, Unit
from genloom.engine.plan import Plan
from genloom.engine.provenance import Beginnings, plugin_record
from genloom.engine.settings import RunSettings
from genloom.engine.stagerun import Shared
from genloom.errors import GenloomError, MissingRequirement, ModelError, OutputError, StageError
from genloom.imaging import Picture
from genloom.record import SIDECAR, Record, StageRecord
from genloom.runtime import EXACT, INT8
from genloom.stage import Inputs
from genloom.types import Array, Batch, Item
from genloom.yamlfile import Document

STEP = 1 / 255
SLACK = 1e-6


@dataclass(frozen=True, kw_only=True)
class Reproduction:
    """A picture that was made again, beside the one that its record came from.

    Attributes:
        path: its file.
        difference: the largest of any pixel or alpha, in 8-bit steps; None when the two differ in
            size, in channels or in having alpha.
        notes: what is not as it was then, and may explain a difference.
    """

    path: Path
    difference: float | None
    notes: tuple[str, ...] = ()

    @property
    def equal(self) -> bool:
        """Whether no pixel differs by more than one 8-bit step."""
        return self.difference is not None and self.difference <= 1 + SLACK


def reproduce(
    file: str | os.PathLike[str],
    out: str | os.PathLike[str],
    inputs: Sequence[str | os.PathLike[str]] = (),
    *,
    catalog: Catalog | None = None,
) -> Reproduction:
    """Make a picture again from its record, and compare the two.

    Args:
        file: the picture, or its sidecar.
        out: the folder to write into.
        inputs: files and folders, among which what it was made of is found by its hash.
        catalog: the plugins; the installed ones unless given.

    Raises:
        GenloomError: when there is no record, the picture was made of several, or something it
            was made of is not among the inputs.
        ModelError: when a model of that name is another one now.
        InvalidFile: when a stage or option of the record is not known here.
        StageError: when a stage fails.
        OutputError: when another file stands where the picture would go.
    """
    file, out, places = Path(file), Path(out), [Path(place) for place in inputs]
    record = Record.read(file)
    catalog = catalog or Catalog.load()
    _check_single(record, catalog)
    _check_models(record, catalog)
    notes = list(_changes(record, catalog))
    checked = pipeline.check(_document(record, catalog, places), catalog)
    found = _found(record, checked, places)
    plan = _bound(record, checked, catalog, Inputs(found, out))
    providers = {model.name: model.provider for model in record.models}
    for name, provider in plan.providers.items():
        if provider != providers.get(name, provider):
            notes.append(f"computed on {provider}; then '{name}' was on {providers[name]}")
    path = _made(record, plan, out)
    original = file.with_suffix("") if file.suffix == SIDECAR else file
    difference = _difference(imaging.read(original), imaging.read(path))
    return Reproduction(path=path, difference=difference, notes=tuple(notes))


def _check_single(record: Record, catalog: Catalog) -> None:
    for stage in record.stages:
        if catalog.stage(stage.stage).cardinality.gathers:
            count = record.input.count if record.input else 0
            raise GenloomError(
                "a picture that was made of several cannot be made again from its record",
                expected="a picture made of one input, or of none",
                got=f"one that the stage '{stage.id}' made of {count}",
                hint=f"Run the pipeline '{record.pipeline}' over all of them again",
            )


def _check_models(record: Record, catalog: Catalog) -> None:
    for model in record.models:
        if Path(model.name).name != model.name:
            raise GenloomError("the record names a model by a path", got=model.name)
        bundle = models.find(model.name, catalog)
        if bundle.digest != model.digest:
            raise ModelError(
                f"the model '{model.name}' is another one than made the picture",
                expected=f"digest {model.digest[:12]}…",
                got=f"{bundle.digest[:12]}…",
                where=str(bundle.folder),
                hint=f"Put the one it was made with into {models.PROJECT_FOLDER}/{model.name}",
            )


def _changes(record: Record, catalog: Catalog) -> Iterator[str]:
    """What is not as it was when the picture was made."""
    if record.genloom != __version__:
        yield f"it was made with genloom {record.genloom}; this is {__version__}"
    for then in record.plugins:
        made = f"it was made with the plugin {then.name} {then.version}"
        plugin = catalog.plugins.get(then.name)
        if plugin is None:
            yield f"{made}, which is not installed"
        elif (now := plugin_record(plugin)) != then:
            changed = ", changed since" if now.version == then.version else ""
            yield f"{made}; this is {now.version}{changed}"


def _document(record: Record, catalog: Catalog, inputs: Sequence[Path]) -> Document:
    """The pipeline of a record."""
    stages = [
        {stage.stage: {"id": stage.id, **_options(stage, catalog, inputs)}}
        for stage in record.stages
    ]
    said = {"genloom": pipeline.FORMAT, "name": record.pipeline, "seed": record.seed}
    return Document("the record", {**said, "stages": stages})


def _options(stage: StageRecord, catalog: Catalog, inputs: Sequence[Path]) -> dict[str, Any]:
    """The options of a stage, files among them found by their hash."""
    known = options.options_of(catalog.stage(stage.stage))
    return {
        name: _located(value, inputs) if name in known and known[name].is_path else value
        for name, value in stage.options.items()
    }


def _located(value: Any, inputs: Sequence[Path]) -> Any:
    if isinstance(value, list):
        return [_located(part, inputs) for part in value]
    if value is None:
        return None
    name, sha256 = (value.get(key) if isinstance(value, dict) else "" for key in ("file", "sha256"))
    for place in inputs:
        for path in sorted(place.rglob("*")) if place.is_dir() else [place]:
            if path.is_file() and _sha256(path) == sha256:
                return str(path.absolute())
    raise _missing(f"the file '{name}', which an option names,", str(sha256), inputs)


def _sha256(path: Path) -> str:
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def _found(record: Record, checked: pipeline.Pipeline, inputs: Sequence[Path]) -> tuple[str, ...]:
    """The path of what the picture was made of; nothing for a sample."""
    if record.input is None:
        return ()
    for place in inputs:
        for item in checked.steps[0].stage.sources(Inputs((str(place),))):
            signature = sign(item)
            if (signature.size, signature.sha256) == (record.input.size, record.input.sha256):
                return (str(item.source),)
    raise _missing("what the picture was made of", record.input.sha256, inputs)


def _missing(what: str, sha256: str, inputs: Sequence[Path]) -> GenloomError:
    return GenloomError(
        f"{what} is not there",
        expected=f"a file with the SHA-256 {sha256}",
        got="none among " + ", ".join(map(str, inputs)) if inputs else "no input",
        hint="Name it, or a folder that holds it, with --input",
    )


def _bound(record: Record, checked: pipeline.Pipeline, catalog: Catalog, inputs: Inputs) -> Plan:
    """The plan, with the tiles of then; on that provider, in that precision if they are at hand."""
    exact = all(model.precision == EXACT for model in record.models)
    settings = RunSettings(precision=EXACT if exact else "auto", tuned=False)
    tiles = {model.name: model.tile or TILE for model in record.models}
    providers = {model.provider for model in record.models}
    then = providers.pop() if len(providers) == 1 else ""
    try:
        wanted = replace(settings, provider=then or "auto")
        plan = bind(checked, catalog, inputs, wanted, tiles=tiles)
    except MissingRequirement:
        plan = bind(checked, catalog, inputs, settings, tiles=tiles)
    precisions = {model.digest: model.precision for model in record.models}
    for model in plan.models.values():
        then = precisions.get(model.digest, EXACT)
        parts = dict.fromkeys(model.card.parts, then)
        if INT8 in then.split(", "):  # the parts that have no such form were computed in fp32
            parts = {name: INT8 if part.int8 else EXACT for name, part in model.card.parts.items()}
        model.networks.keep(parts)
    return plan


def _made(record: Record, plan: Plan, out: Path) -> Path:
    """Make the one picture; its file below `out`."""
    item = _item(record, plan)
    wanted = Item(key=f"{item.key}{record.child}", name="")
    out.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(prefix=".genloom-", dir=out) as folder:
        caller = Caller(
            plan.pipeline.seed,
            plan.models,
            Path(folder),
            {},
            records=Beginnings(plan).of,
            shared=Shared(plan.files),
        )
        unit = Unit(item.key, item, inputs=(sign(item),))
        packets = [Packet(unit, item, Batch.nothing([item]))]
        for step in plan.steps:
            ours = [packet for packet in packets if packet.is_origin_of(wanted)]
            packets = [packet for made in caller.apply([step], ours) for packet in made]
            for failure in (packet.failure for packet in packets if packet.failure is not None):
                raise StageError(failure.reason, where=failure.stage)
        outputs = [output for packet in packets for output in packet.outputs]
        written = [one for one in outputs if one.item.key == wanted.key and not one.beside]
        if not written:
            raise _not_made(wanted.key)
        return _moved(written[-1], out)


def _item(record: Record, plan: Plan) -> Item:
    """The item that the picture was made of, under the key that it had."""
    for item in plan.sources():
        if item.source is not None:
            return replace(item, key=record.key or item.key)
        if item.key == record.key:
            return item
    raise _not_made(record.key)


def _not_made(key: str) -> GenloomError:
    return GenloomError(
        "the pipeline does not make this picture again",
        expected=f"a result '{key}'",
        got="none",
        hint="Its record was changed",
    )


def _moved(output: Output, out: Path) -> Path:
    """Give a file its name, unless another one stands there."""
    final = out / f"{output.name}{output.ending}"
    if final.exists() and final.read_bytes() != Path(output.temporary).read_bytes():
        raise OutputError(
            "another file stands where the picture would go",
            where=str(final),
            hint="Write to another folder",
        )
    final.parent.mkdir(parents=True, exist_ok=True)
    os.replace(output.temporary, final)
    return final


def _difference(one: Picture, other: Picture) -> float | None:
    """The largest difference of any pixel or alpha, in 8-bit steps; None for other shapes."""
    pairs: list[tuple[Array, Array]] = [(one.pixels, other.pixels)]
    if one.alpha is not None and other.alpha is not None:
        pairs.append((one.alpha, other.alpha))
    elif one.alpha is not None or other.alpha is not None:
        return None
    if any(a.shape != b.shape for a, b in pairs):
        return None
    return max(float(np.abs(_unit(a) - _unit(b)).max()) / STEP for a, b in pairs)


def _unit(pixels: Array) -> Array:
    top = {"u1": 255, "u2": 65535}.get(pixels.dtype.str[1:], 1)
    return pixels.astype(np.float64) / top
