"""Where a model came from: what its card says so that it can be made again."""

from __future__ import annotations

import platform
from importlib import metadata
from pathlib import Path
from typing import TYPE_CHECKING, Any

import torch

from genloom_train.loop import Trainer
from genloom_train.parts import in_words
from genloom_train.recipe import Recipe

if TYPE_CHECKING:
    from genloom_train.hall import Request


def fields(recipe: Recipe, request: Request, trainer: Trainer) -> dict[str, Any]:
    """Fields of the card that the hall knows."""
    kept = trainer.watch.weights is not None
    figures = trainer.watch.figures if kept else trainer.figures
    parts = in_words(trainer.parts, trainer.step)
    return {
        "summary": recipe.export.summary,
        "licence": recipe.export.licence,
        "metrics": {
            f"{recipe.dataset}/{name}": float(f"{value:.6g}") for name, value in figures.items()
        },
        "origin": {
            "recipe": recipe.path.name,
            "recipe_sha256": recipe.sha256,
            "command": command(recipe, request, bool(parts)),
            "parts": parts,
            "start": trainer.began,
            "files": recipe.files,
            "data": trainer.source.description,
            "steps": trainer.watch.step if kept else trainer.step,
            "seconds": round(trainer.seconds, 1),
            "device": device_in_words(trainer.fabric.device, request.devices),
            "versions": versions(),
        },
    }


def command(recipe: Recipe, request: Request, resumed: bool = False) -> str:
    """The command that makes the bundle again; folders stand as OUT and DATA.

    Args:
        recipe: as it was read, with what the command line changed.
        request: what the command line said besides.
        resumed: whether only the resume of what earlier commands did makes it.
    """
    words = ["genloom", "train", recipe.path.stem, "-o", "OUT"]
    words += ["--resume"] if resumed else []
    words += ["--data", "DATA"] if request.data is not None else []
    words += ["--devices", str(request.devices)] if request.devices > 1 else []
    for override in recipe.overrides:
        words += ["--set", override]
    return " ".join(words)


def device_in_words(device: torch.device, count: int = 1) -> str:
    """The processor or card by its name."""
    if device.type == "cuda":
        name = str(torch.cuda.get_device_name(device))
        return f"{count} × {name}" if count > 1 else name
    name = platform.processor() or platform.machine()
    info = Path("/proc/cpuinfo")
    if info.is_file():
        lines = info.read_text(encoding="utf-8", errors="replace").splitlines()
        models = [line.partition(":")[2].strip() for line in lines if line.startswith("model name")]
        name = models[0] if models else name
    threads = torch.get_num_threads()
    words = f"{name}, {threads} thread{'s' if threads > 1 else ''}"
    return f"{words} in each of {count} processes" if count > 1 else words


def versions() -> dict[str, str]:
    """Versions of what shaped the bundle."""
    found = {"python": platform.python_version()}
    for name in ("genloom", "torch", "onnx", "onnxscript"):
        try:
            found[name] = metadata.version(name)
        except metadata.PackageNotFoundError:
            continue
    return found
