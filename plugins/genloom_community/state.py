"""Weights from files that may hold anything: only tensors are ever taken from them."""

from __future__ import annotations

import pickle
import warnings
import zipfile
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from genloom.errors import GenloomError

SAFE_WAY = (
    "If you trust whoever made it, convert it once with the tool it comes from: "
    "safetensors.torch.save_file(model.state_dict(), 'weights.safetensors'), and import that"
)


def state_dict(path: Path) -> dict[str, Tensor]:
    """The tensors of a file by name, unwrapped as spandrel does.

    Raises:
        GenloomError: when the file is damaged, or wants more than tensors to be made.
    """
    import spandrel

    loaded = _safetensors(path) if path.suffix.lower() == ".safetensors" else _pickled(path)
    if not isinstance(loaded, Mapping):
        raise GenloomError(
            "the file holds no weights by name",
            expected="a state dict",
            got=type(loaded).__name__,
            where=str(path),
        )
    found: Any = spandrel.canonicalize_state_dict(dict(loaded))
    tensors = {str(k): v for k, v in found.items() if isinstance(v, Tensor)}
    if not tensors:
        raise GenloomError("the file holds no tensors", where=str(path))
    for name, tensor in tensors.items():
        _check_filled(name, tensor, path)
    return tensors


def _check_filled(name: str, tensor: Tensor, path: Path) -> None:
    """Check that there is a number for each element: a shape alone can demand any memory.

    Raises:
        GenloomError: when the file holds less than the shape says, or the tensor is sparse.
    """
    plain = tensor.layout == torch.strided and tensor.device.type == "cpu"
    if not plain or tensor.untyped_storage().nbytes() < tensor.numel() * tensor.element_size():
        raise GenloomError(
            f"the file holds less than the shape of '{name}' says",
            got=f"shape {tuple(tensor.shape)}",
            where=str(path),
        )


def _safetensors(path: Path) -> Any:
    from safetensors import SafetensorError
    from safetensors.torch import load_file

    try:
        return load_file(path)
    except (SafetensorError, OSError) as error:
        raise GenloomError(f"not a safetensors file ({error})", where=str(path)) from None


def _pickled(path: Path) -> Any:
    """A file of `torch.save`, unpickled with nothing but tensors and plain containers allowed."""
    if _is_torchscript(path):
        raise GenloomError(
            "the file is a TorchScript archive: a program, not weights",
            where=str(path),
            hint=f"Programs are not run. {SAFE_WAY}",
        )
    _check_size(path)
    try:
        with warnings.catch_warnings(action="ignore"):  # of old formats, which it then refuses
            return torch.load(path, map_location="cpu", weights_only=True)
    except pickle.UnpicklingError as error:
        raise GenloomError(
            f"the file wants more than weights to be loaded ({_reason(error)})",
            where=str(path),
            hint=f"Loading it could run any code, so it is refused. {SAFE_WAY}",
        ) from None
    except Exception as error:
        reason = (str(error).strip().splitlines() or [type(error).__name__])[0]
        raise GenloomError(
            f"the file cannot be read ({type(error).__name__}: {reason[:200]})",
            expected="what torch.save writes",
            where=str(path),
            hint="It is damaged, or no file of weights",
        ) from None


def _is_torchscript(path: Path) -> bool:
    if not zipfile.is_zipfile(path):
        return False
    with zipfile.ZipFile(path) as archive:
        return any(name.endswith("/constants.pkl") for name in archive.namelist())


def _check_size(path: Path) -> None:
    """Check that an archive holds no more than it is large: torch never compresses one.

    Raises:
        GenloomError: when a small file would fill the memory.
    """
    if not zipfile.is_zipfile(path):
        return
    with zipfile.ZipFile(path) as archive:
        members = archive.infolist()
    stored = all(member.compress_type == zipfile.ZIP_STORED for member in members)
    if not stored or sum(member.file_size for member in members) > path.stat().st_size:
        raise GenloomError(
            "the archive is compressed, or its parts share bytes: torch writes none like this",
            expected=f"at most {path.stat().st_size} bytes in it",
            got=f"{sum(member.file_size for member in members)} bytes",
            where=str(path),
            hint=f"A small file of that sort can fill any memory. {SAFE_WAY}",
        )


def _reason(error: Exception) -> str:
    """The sentence of torch's long message that names what was wanted."""
    lines = [line.strip() for line in str(error).splitlines() if line.strip()]
    named = [line for line in lines if "GLOBAL" in line or "nsupported" in line]
    words = (named or lines or [type(error).__name__])[-1 if named else 0]
    return words.removeprefix("WeightsUnpickler error: ").split(" by default")[0][:200]
