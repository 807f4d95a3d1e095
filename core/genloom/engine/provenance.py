"""The records of a run's outputs: what all share is made once, what each adds is added to it."""

from __future__ import annotations

import dataclasses
import hashlib
import os
import re
import sys
from collections.abc import Iterator, Mapping
from pathlib import Path, PurePosixPath, PureWindowsPath
from types import MappingProxyType
from typing import Any

from genloom import __version__
from genloom.engine.packet import Unit
from genloom.engine.plan import Plan
from genloom.models import Bundle
from genloom.pipeline import Step, model_options
from genloom.record import ModelRecord, PluginRecord, Record, StageRecord, dumps
from genloom.registry import Plugin
from genloom.runtime import EXACT
from genloom.types import Item

NO_FILES: Mapping[Path, bytes] = MappingProxyType({})


class Beginnings:
    """What the records of all outputs of a step begin with, made at the first of them.

    Not before: what its models compute in is settled by then, or, where that was blank, later.
    """

    def __init__(self, plan: Plan) -> None:
        self._plan = plan
        self._settled: dict[str, str] = {}
        self._made: dict[tuple[str, ...], str] = {}

    def of(self, step: Step) -> str:
        """The beginning for a step that writes."""
        if step.id not in self._settled:
            models = self._plan.models
            key = (step.id, *(_precision(self._plan, name) for name in models))
            if key not in self._made:
                self._made[key] = self._text(step)
            if any(_is_open(one) for model in models.values() for one in model.precisions.values()):
                return self._made[key]
            self._settled[step.id] = self._made[key]
        return self._settled[step.id]

    def _text(self, step: Step) -> str:
        plan = self._plan
        public = {name: _public_name(one) for name, one in plan.pipeline.bundles.items()}
        steps = plan.steps[: plan.steps.index(step) + 1]
        stages = [_stage(one, public, plan.files) for one in steps]
        return _record(plan, steps, stages, public).text()


def completed(beginning: str, unit: Unit, item: Item, *, drew: bool) -> str:
    """The record of one output.

    Args:
        beginning: what `beginnings` says for the step.
        unit: what it belongs to.
        item: the picture.
        drew: whether random numbers were drawn for it.
    """
    own: dict[str, Any] = {}
    root = unit.item.key
    if unit.level:
        hashes = [one.sha256 for one in unit.inputs if one.sha256]
        digest = hashlib.sha256("\n".join(hashes).encode()).hexdigest()
        size = sum(one.size for one in unit.inputs)
        own["input"] = {"sha256": digest} if hashes else {}
        own["input"] |= {"size": size} if size else {}
        own["input"]["count"] = len(unit.inputs)
    elif unit.item.source is not None:
        own["input"] = {"sha256": unit.inputs[0].sha256, "size": unit.inputs[0].size}
    if not unit.level and (drew or unit.item.source is None):
        own["key"] = root
    if item.key != root and item.key.startswith(root):
        own["child"] = item.key.removeprefix(root)
    return f"{beginning[:-1]},{dumps(own)[1:]}" if own else beginning


def _record(
    plan: Plan, steps: tuple[Step, ...], stages: list[StageRecord], public: Mapping[str, str]
) -> Record:
    named = [value for step in steps for _, value in model_options(step.stage)]
    names = [name for name in plan.pipeline.bundles if name in named]
    owners = [plan.catalog.stage_owner(step.name) for step in steps]
    owners += [
        plan.catalog.owner("family", plan.pipeline.bundles[name].card.family) for name in names
    ]
    foreign = {owner.name: owner for owner in owners if not owner.builtin}
    return Record(
        record=1,
        genloom=__version__,
        pipeline=str(_public(plan.pipeline.name)),
        seed=plan.pipeline.seed,
        stages=tuple(stages),
        models=tuple(
            ModelRecord(
                name=public[name],
                digest=plan.pipeline.bundles[name].digest,
                provider=plan.providers.get(name, ""),
                precision=_precision(plan, name),
                tile=plan.models[name].tile if name in plan.models else None,
            )
            for name in names
        ),
        plugins=tuple(plugin_record(owner) for _, owner in sorted(foreign.items())),
    )


def _precision(plan: Plan, name: str) -> str:
    """What a model computed in; several names where its parts differ."""
    found = plan.models[name].precisions.values() if name in plan.models else ()
    # What is not decided was computed in fp32 up to now.
    return ", ".join(dict.fromkeys(EXACT if _is_open(one) else one for one in found)) or EXACT


def _is_open(precision: str) -> bool:
    """Whether `Verdict` says that a precision is not decided yet."""
    return " or " in precision


def _stage(step: Step, public: Mapping[str, str], files: Mapping[Path, bytes]) -> StageRecord:
    models = {option.name for option, _ in model_options(step.stage)}
    options = {}
    for field in dataclasses.fields(step.stage):
        name, value = field.name, getattr(step.stage, field.name)
        if name in models and value:
            value = public.get(value, Path(value).name)  # one that is not used was not opened
        options[name] = _public(value, files)
    return StageRecord(id=step.id, stage=step.name, options=options)


def _public(value: Any, files: Mapping[Path, bytes] = NO_FILES) -> Any:
    """A plain value without any place on this machine."""
    if isinstance(value, Path):
        return {"file": value.name, "sha256": hashlib.sha256(files[value]).hexdigest()}
    if isinstance(value, str):
        return PureWindowsPath(value).name if _is_place(value) else value
    if isinstance(value, tuple | list):
        return [_public(part, files) for part in value]
    if isinstance(value, Mapping):
        return {str(_public(key, files)): _public(part, files) for key, part in value.items()}
    return value


def _is_place(text: str) -> bool:
    if PurePosixPath(text).is_absolute() or PureWindowsPath(text).is_absolute():
        return True
    home = re.escape(os.path.expanduser("~"))  # of a user without one, `~` or `/`
    within = len(home) > 2 and re.search(rf"(?<![\w}}.-]){home}(?!\w)", text)
    return text.startswith("~") or bool(within)


def _public_name(bundle: Bundle) -> str:
    return Path(os.path.abspath(bundle.folder)).name


def plugin_record(plugin: Plugin) -> PluginRecord:
    """What a record says of a plugin."""
    digest = hashlib.sha256()
    count = 0
    for path in _sources(plugin.module):
        digest.update(f"{path.name}\0".encode() + path.read_bytes())
        count += 1
    sha256 = digest.hexdigest() if count else ""
    return PluginRecord(name=plugin.name, version=plugin.version, sha256=sha256)


def _sources(module: str) -> Iterator[Path]:
    """The Python files of the package that a module belongs to; none where it has no file."""
    top = sys.modules.get(module.partition(":")[0].partition(".")[0])
    file = getattr(top, "__file__", None)
    if file is None:
        return
    if Path(file).name == "__init__.py":
        yield from sorted(Path(file).parent.rglob("*.py"))
    elif Path(file).suffix == ".py":
        yield Path(file)
