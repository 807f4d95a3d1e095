"""Read and check pipeline files."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

from genloom import options, yamlfile
from genloom.catalog import Catalog
from genloom.errors import GenloomError, InvalidFile, did_you_mean, shown
from genloom.options import Option, OptionProblem
from genloom.pipeline.chain import Link, check_chain
from genloom.pipeline.checked import FORMAT, MAX_SEED, Pipeline, Step
from genloom.pipeline.context import Context
from genloom.pipeline.entries import Entry, override, read_entries
from genloom.pipeline.finding import find
from genloom.pipeline.using import bundles_of, share_models
from genloom.stage import Stage
from genloom.yamlfile import Document

_KEYS = ("genloom", "name", "description", "seed", "stages")
_SEEDS = f"a whole number from 0 to {MAX_SEED}"


def load(
    source: str | Path, catalog: Catalog, overrides: Sequence[str] = (), seed: int | None = None
) -> Pipeline:
    """Read and check a pipeline by name or path.

    Args:
        source: the path of a file, or the name of a pipeline that ships or that a plugin brings.
        catalog: brings the stages and models.
        overrides: `stage.option=value` each; the stage by id, or by name if that is unique.
        seed: in place of the file's.

    Raises:
        UnknownName: when there is no such pipeline.
        InvalidFile: with every problem of the file.
    """
    path = find(source, catalog)
    checked = check(yamlfile.read(path), catalog, overrides, seed=seed, file=path)
    return replace(checked, source=str(source))


def check(
    document: Document,
    catalog: Catalog,
    overrides: Sequence[str] = (),
    *,
    seed: int | None = None,
    file: Path | None = None,
) -> Pipeline:
    """Check a pipeline document; see `load`."""
    context = Context(document, catalog, file.parent if file is not None else Path())
    _check_top(context, seed)
    entries = read_entries(context)
    override(context, entries, overrides)
    links = [(entry, _stage_of(context, entry)) for entry in entries]
    if links:
        check_chain(context, links)
    steps = share_models(context, [_step(context, link) for link in links])
    bundles = bundles_of(context, steps)
    if context.problems:
        raise InvalidFile(context.problems)
    stem = file.stem if file is not None else "pipeline"
    return Pipeline(
        name=str(document.data.get("name") or stem),
        seed=document.data.get("seed", 0) if seed is None else seed,
        steps=tuple(step for step in steps if step is not None),
        bundles=bundles,
        description=str(document.data.get("description") or ""),
        file=file,
        overrides=tuple(overrides),
    )


def _check_top(context: Context, seed: int | None) -> None:
    data = context.document.data
    if not isinstance(data, dict):
        got = "an empty file" if data is None else shown(data)
        what, expected = "not a pipeline", "`genloom: 1` and a list of `stages`"
        raise InvalidFile([context.document.problem((), what, expected=expected, got=got)])
    for key in data:
        if key not in _KEYS:
            hint = did_you_mean(key, _KEYS)
            context.add((key,), f"unknown key '{key}'", at_key=True, hint=hint)
    version, expected = data.get("genloom"), f"`genloom: {FORMAT}`"
    if version is None:
        context.add(("genloom",), "the version of the format is missing", expected=expected)
    elif type(version) is not int or version != FORMAT:
        what = "this version of the format is not known"
        context.add(("genloom",), what, expected=expected, got=shown(version))
    for key in ("name", "description"):
        if not isinstance(data.get(key, ""), str):
            what = f"'{key}' is not right"
            context.add((key,), what, expected="a text", got=shown(data[key]))
    if not _is_seed(data.get("seed", 0)):
        got = shown(data["seed"])
        context.add(("seed",), "the seed is not usable", expected=_SEEDS, got=got)
    if seed is not None and not _is_seed(seed):
        context.add_set(f"--seed {seed}", "the seed is not usable", expected=_SEEDS)


def _is_seed(value: Any) -> bool:
    return type(value) is int and 0 <= value <= MAX_SEED


def _stage_of(context: Context, entry: Entry) -> type[Stage] | None:
    if not entry.name:
        return None
    try:
        return context.catalog.stage(entry.name)
    except GenloomError as error:
        context.add(entry.where, error.what, at_key=True, hint=error.hint)
        return None


def _step(context: Context, link: Link) -> Step | None:
    """The stage with its options; None when something is wrong with them."""
    entry, stage = link
    if stage is None or entry.values is None:
        return None
    before = len(context.problems)
    good, wrong = options.check(stage, entry.values | entry.told)
    for problem in wrong:
        _add_option_problem(context, entry, stage, problem)
    known = options.options_of(stage)
    good = {name: _located(context, entry, known[name], value) for name, value in good.items()}
    if len(context.problems) > before:
        return None
    try:
        return Step(entry.id, stage(**good), entry.where)
    except GenloomError as error:
        said = {"expected": error.expected, "got": error.got, "hint": error.hint}
        _add_refusal(context, entry, stage, error.what, **said)
    except (ValueError, TypeError) as error:
        _add_refusal(context, entry, stage, str(error))
    except Exception as error:  # of a plugin's own checks
        what = f"the stage '{entry.name}' failed on its options ({type(error).__name__}: {error})"
        _add_refusal(context, entry, stage, what)
    return None


def _add_refusal(
    context: Context, entry: Entry, stage: type[Stage], what: str, **said: Any
) -> None:
    """Note what a stage's own checks say, at the override that made them say it if one did."""
    guilty, values = "", dict(entry.values or {})
    before = _refusal(stage, values)
    for name, value in entry.told.items():
        values[name] = value
        now = _refusal(stage, values)
        if now and now != before:
            guilty = name
        before = now
    if guilty:
        context.add_option(entry.id, entry.where, guilty, what, **said)
    else:
        context.add(entry.where, what, at_key=True, **said)


def _refusal(stage: type[Stage], values: dict[str, Any]) -> str:
    """What is wrong with the options of a stage, in words to compare; empty when nothing is."""
    good, wrong = options.check(stage, values)
    if wrong:
        return str(wrong)
    try:
        stage(**good)
    except Exception as error:
        return repr(error)
    return ""


def _located(context: Context, entry: Entry, option: Option, value: Any) -> Any:
    """A value with the paths in it made relative to the working folder; each must be there."""
    if not option.is_path:
        return value
    if isinstance(value, tuple | list):
        return type(value)(_located(context, entry, option, part) for part in value)
    if not isinstance(value, Path):
        return value
    path = context.base_of(entry.id, option.name) / value
    if not path.exists():
        names = [other.name for other in path.parent.iterdir()] if path.parent.is_dir() else []
        context.add_option(
            entry.id,
            entry.where,
            option.name,
            f"'{entry.id}.{option.name}' names a file that is not there",
            got=str(path),
            hint=did_you_mean(path.name, names) if names else "",
        )
    return path


def _add_option_problem(
    context: Context, entry: Entry, stage: type[Stage], problem: OptionProblem
) -> None:
    label = f"{entry.id}.{problem.name}"
    if problem.missing:
        what = f"the option '{label}' is missing"
        context.add(entry.where, what, at_key=True, expected=problem.expected)
    elif problem.unknown:
        what = f"the stage '{entry.name}' has no option '{problem.name}'"
        hint = did_you_mean(problem.name, ["id", *options.options_of(stage)])
        context.add_option(entry.id, entry.where, problem.name, what, hint=hint, at_key=True)
    else:
        unquoted = "text" in problem.expected and isinstance(problem.got, bool | int | float)
        context.add_option(
            entry.id,
            entry.where,
            problem.name,
            f"'{label}' is not right",
            expected=problem.expected,
            got=shown(options.plain(problem.got)),
            hint="Put it in quotes to make it a text" if unquoted else "",
        )
