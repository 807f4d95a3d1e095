"""Checkpoints: safetensors for tensors, JSON for the rest; whole or absent.

    checkpoints/step-00002000/weights.safetensors
                              average.safetensors         when the recipe has `ema`
                              best.safetensors            with `keep: best`
                              optimiser-main.safetensors
                              state.json

A folder is written under another name, synced and renamed, so one that has its name is complete.
Random numbers and the position in the data are functions of (seed, step): there is no such state.
"""

from __future__ import annotations

import json
import os
import re
import shutil
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import torch
from safetensors.torch import load_file, save_file
from torch import Tensor
from torch.optim import Optimizer

from genloom.errors import GenloomError

KEEP = 2
_NAME = re.compile(r"^step-(\d{8,})$")

State = dict[str, Tensor]


@dataclass(frozen=True)
class Checkpoint:
    """Everything a training needs to go on.

    Attributes:
        step: steps done.
        tensors: groups of tensors by file name (`weights`, `average`, `optimiser-main`).
        scalars: the rest: seconds spent, options, scalars of the optimisers.
    """

    step: int
    tensors: dict[str, State]
    scalars: dict[str, Any] = field(default_factory=dict)


def save(checkpoint: Checkpoint, folder: Path) -> Path:
    """Write a checkpoint below `folder`, then remove all but the newest two.

    Raises:
        GenloomError: when it cannot be written; older checkpoints stay as they are.
    """
    final = folder / f"step-{checkpoint.step:08d}"
    temporary = folder / f".{final.name}.tmp"
    try:
        folder.mkdir(parents=True, exist_ok=True)
        shutil.rmtree(temporary, ignore_errors=True)
        temporary.mkdir()
        for name, state in checkpoint.tensors.items():
            save_file(_plain(state), temporary / f"{name}.safetensors")
        scalars = json.dumps({"step": checkpoint.step, **checkpoint.scalars}, indent=1)
        (temporary / "state.json").write_text(scalars, encoding="utf-8")
        replace_folder(temporary, final)
    except Exception as error:
        shutil.rmtree(temporary, ignore_errors=True)
        raise GenloomError(
            f"the checkpoint of step {checkpoint.step} could not be written ({error})",
            where=str(final),
            hint=after_room(folder),
        ) from error
    for old in found(folder)[:-KEEP]:
        shutil.rmtree(old, ignore_errors=True)
    return final


def after_room(folder: Path) -> str:
    """What to do when a disk was full: go on from the newest checkpoint, if there is one."""
    kept = found(folder)
    if not kept:
        return "There is no checkpoint yet: make room and begin again"
    step = int(kept[-1].name.removeprefix("step-"))
    return f"The checkpoint of step {step} is whole: make room and go on with --resume"


def found(folder: Path) -> list[Path]:
    """The complete checkpoints below a folder, oldest first."""
    if not folder.is_dir():
        return []
    return sorted(
        (path for path in folder.iterdir() if _NAME.match(path.name)),
        key=lambda path: int(path.name.removeprefix("step-")),
    )


def load(path: Path) -> Checkpoint:
    """Read a checkpoint.

    Raises:
        GenloomError: when it is damaged.
    """
    try:
        scalars = json.loads((path / "state.json").read_text(encoding="utf-8"))
        tensors = {file.stem: load_file(file) for file in sorted(path.glob("*.safetensors"))}
        return Checkpoint(int(scalars.pop("step")), tensors, scalars)
    except Exception as error:
        raise GenloomError(
            f"the checkpoint cannot be read ({error})",
            where=str(path),
            hint="Remove this folder to go on from the one before it",
        ) from error


def write_whole(path: Path, text: str) -> None:
    """Write a file so that it is the new one or, whatever happens, the one before."""
    temporary = path.with_name(f".{path.name}.tmp")
    try:
        temporary.write_text(text, encoding="utf-8")
        _sync(temporary)
        os.replace(temporary, path)
    except BaseException:
        temporary.unlink(missing_ok=True)
        raise
    _sync(path.parent)


def finite(state: State) -> bool:
    """Whether every number in it is."""
    return all(bool(torch.isfinite(v).all()) for v in state.values() if v.is_floating_point())


def split_optimiser(optimiser: Optimizer) -> tuple[State, dict[str, Any]]:
    """The state of an optimiser as tensors and JSON values."""
    state = optimiser.state_dict()
    tensors: State = {}
    scalars: dict[str, Any] = {"groups": state["param_groups"], "state": {}}
    for index, entries in state["state"].items():
        for key, value in entries.items():
            if isinstance(value, Tensor):
                tensors[f"{index}.{key}"] = value
            else:
                scalars["state"].setdefault(str(index), {})[key] = value
    return tensors, scalars


def join_optimiser(optimiser: Optimizer, tensors: State, scalars: dict[str, Any]) -> None:
    """Give an optimiser the state that `split_optimiser` took."""
    state: dict[int, dict[str, Any]] = {
        int(index): dict(entries) for index, entries in scalars["state"].items()
    }
    for name, value in tensors.items():
        index, _, key = name.partition(".")
        state.setdefault(int(index), {})[key] = value
    optimiser.load_state_dict({"state": state, "param_groups": scalars["groups"]})


def replace_folder(temporary: Path, final: Path) -> None:
    """Sync a folder's files and give it its final name, in place of an older one."""
    for path in temporary.iterdir():
        _sync(path)
    _sync(temporary)
    if final.exists():
        older = final.with_name(f".{final.name}.old")
        shutil.rmtree(older, ignore_errors=True)
        final.rename(older)
        temporary.rename(final)
        shutil.rmtree(older, ignore_errors=True)
    else:
        temporary.rename(final)
    _sync(final.parent)


def _sync(path: Path) -> None:
    if os.name == "nt" and path.is_dir():
        return
    handle = os.open(path, os.O_RDONLY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)


def _plain(state: State) -> State:
    """Contiguous copies in main memory, none sharing storage: what safetensors wants."""
    return {name: value.detach().cpu().contiguous().clone() for name, value in state.items()}
