"""Weights that others publish, used where the user has them and never fetched."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import torch

from genloom.errors import GenloomError, MissingRequirement


def place(file: str) -> Path:
    """Where torchvision and its kin keep a file of weights, and find it."""
    return Path(torch.hub.get_dir()) / "checkpoints" / file


def published(file: str, what: str, *, by: str, hint: str = "") -> Any:
    """The tensors of a file of weights; nothing but tensors is read.

    Args:
        file: its name.
        what: what needs it, in words: "LPIPS needs the weights of AlexNet".
        by: who publishes it.
        hint: what else can be done.

    Raises:
        MissingRequirement: when it is not there.
        GenloomError: when it is damaged, or holds more than tensors.
    """
    path = place(file)
    if not path.is_file():
        raise MissingRequirement(
            f"{what}, which are not at hand",
            expected=f"the file {file}, as {by} publishes it",
            where=str(path.parent),
            hint=hint,
        )
    return tensors(path)


def tensors(path: Path) -> Any:
    """The tensors of a file of weights; nothing but tensors is read.

    Raises:
        GenloomError: when it is damaged, or holds more than tensors.
    """
    try:
        return torch.load(path, map_location="cpu", weights_only=True)
    except Exception as error:
        raise unusable(path, error) from None


def unusable(path: Path, error: Exception) -> GenloomError:
    """The error that says that a file of weights is not what it should be."""
    reason = (str(error).strip().splitlines() or [type(error).__name__])[0]
    return GenloomError(f"the weights cannot be used ({reason})", where=str(path))
