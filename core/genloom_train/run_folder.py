"""The folder of a training: begun once, and gone on with only under the same options."""

from __future__ import annotations

import hashlib
import json
from pathlib import Path
from typing import Any

from genloom import options
from genloom.errors import OutputError
from genloom_train import checkpoint
from genloom_train.data import Source
from genloom_train.recipe import Recipe

SETTINGS = "recipe.json"
"""File in a training's folder: every option with its value."""

_PUT_BACK = (
    "The checkpoints are not touched. Begin the same recipe in another folder with -o, stop it, "
    f"copy its {SETTINGS} here and go on with --resume; or move this folder away"
)

RESUMABLE = (
    "steps", "epochs", "patience",
    "log_every", "validate_every", "sample_every", "checkpoint_every",
)  # fmt: skip
"""Options of `train:` that may change between a start and a resume."""


def state_folder(recipe: Recipe, out: Path) -> Path:
    """Where a training keeps its checkpoints, samples and metrics: beside its bundle."""
    return out / f"{recipe.export.name}.training"


def checkpoint_to_resume(recipe: Recipe, out: Path, resume: bool) -> Path | None:
    """Check the training's folder; gives the checkpoint to go on from.

    Raises:
        OutputError: when it is in use, damaged, was begun with other options, or when something
            else stands where the bundle would go.
    """
    state, bundle = state_folder(recipe, out), out / recipe.export.name
    settings = state / SETTINGS
    checkpoints = checkpoint.found(state / "checkpoints")
    if checkpoints and not settings.is_file():
        raise OutputError(
            f"there are checkpoints, and no {SETTINGS} that says with which options they were made",
            where=str(state),
            hint=_PUT_BACK,
        )
    if bundle.exists() and not settings.is_file():
        raise OutputError(
            "something that this training did not make stands where its bundle would go",
            where=str(bundle),
            hint="Move it away, name another folder with -o, or another bundle with "
            "--set export.name=NAME",
        )
    if checkpoints and not resume:
        raise OutputError(
            "the folder holds a training already",
            where=str(state),
            hint="Add --resume to go on with it, or name another folder with -o",
        )
    if checkpoints:
        _same(_settings(state), recipe, str(state))
    return checkpoints[-1] if resume and checkpoints else None


def begin(recipe: Recipe, state: Path, source: Source) -> None:
    """Make the training's folder and write down what is trained; only once the data is at hand.

    A file that says so already is left alone.

    Raises:
        OutputError: when it cannot be written.
    """
    try:
        state.mkdir(parents=True, exist_ok=True)
        settings = {**recipe.resolved(), "source": _facts(source), "files": recipe.files}
        _say(state / SETTINGS, json.dumps(settings, indent=1))
        _say(state / "recipe.yaml", recipe.text)
        _say(state / "notes.txt", "".join(f"{note}\n" for note in source.notes))
    except OSError as error:
        what = f"the training's folder cannot be written ({error})"
        raise OutputError(what, where=str(state)) from error


def check_same_data(recipe: Recipe, state: Path, source: Source) -> None:
    """Refuse to go on with a training on other data.

    Raises:
        OutputError: when the data are not those it was begun with, as far as their number and
            first pictures tell; or the files that options of the model name are not.
    """
    settings = _settings(state)
    files = settings.get("files", {})
    for name, digest in recipe.files.items():
        if files.get(name, digest) != digest:
            raise OutputError(
                f"the file at '{name}' is not the one that this training was begun with",
                expected=f"SHA-256 {files[name]}",
                got=digest,
                where=str(state),
                hint="Put the old one back, or name another folder with -o to begin a new one",
            )
    before, now = settings.get("source"), _facts(source)
    if before not in (None, now):
        raise OutputError(
            "the training in this folder was begun with other data",
            expected=before["description"],
            got=now["description"],
            where=str(state),
            hint="Name the same data with --data, or another folder with -o to begin a new one",
        )


def _say(path: Path, text: str) -> None:
    if not path.is_file() or path.read_bytes() != text.encode():
        checkpoint.write_whole(path, text)


def _settings(state: Path) -> dict[str, Any]:
    """What `begin` wrote down.

    Raises:
        OutputError: when it cannot be read.
    """
    path = state / SETTINGS
    try:
        said = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        what = f"the options of this training cannot be read ({error})"
        raise OutputError(what, where=str(path), hint=_PUT_BACK) from error
    if not isinstance(said, dict):
        raise OutputError(
            "the options of this training cannot be read",
            expected="an object of sections",
            got=type(said).__name__,
            where=str(path),
            hint=_PUT_BACK,
        )
    return said


def _facts(source: Source) -> dict[str, Any]:
    first = source.batch(0, min(8, source.count), 0).image
    return {
        "description": source.description,
        "count": source.count,
        "sha256": hashlib.sha256(first.tobytes()).hexdigest(),
    }


def _same(before: dict[str, Any], recipe: Recipe, where: str) -> None:
    """Refuse to go on with a training under other options.

    An option that an older genloom did not know had its default then.
    """
    now = recipe.resolved()
    owners = {"data": recipe.data, "model": recipe.model, "train": recipe.train}
    for section in ("recipe", "data", "model", "train"):
        old, new = before.get(section), now[section]
        if not isinstance(old, dict):
            old, new = {"recipe": old}, {"recipe": new}
        else:
            old = {**_defaults(owners[section]), **old}
        for name in {**old, **new}:
            if old.get(name) != new.get(name) and not (section == "train" and name in RESUMABLE):
                raise OutputError(
                    f"the training in this folder was begun with another {section}.{name}",
                    expected=repr(old.get(name)),
                    got=repr(new.get(name)),
                    where=where,
                    hint="Name another folder with -o to begin a new one",
                )


def _defaults(owner: Any) -> dict[str, Any]:
    if owner is None:
        return {}
    found = options.options_of(type(owner))
    return {name: options.plain(o.default) for name, o in found.items() if not o.required}
