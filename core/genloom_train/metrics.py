"""Metrics as a training goes: `metrics.csv` and TensorBoard; and figures of picture quality."""

from __future__ import annotations

import csv
import os
import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

HIGHER_IS_BETTER = {
    "accuracy", "classified", "coverage", "elbo", "iwae", "likelihood", "precision", "psnr",
    "recall", "recognised", "ssim",
}  # fmt: skip
"""Words in the name of a figure whose higher values are better, unless `negative` stands there."""

COLUMNS = ("step", "seconds", "split", "name", "value")


def psnr(result: Tensor, target: Tensor) -> Tensor:
    """Peak signal-to-noise ratio of each picture in dB, shape (N,); values are in [0, 1]."""
    error = (result - target).square().flatten(1).mean(1)
    return -10 * torch.log10(error.clamp_min(1e-12))


def higher_is_better(name: str) -> bool:
    """Whether a figure of that name is better when it is higher, as far as its name tells."""
    words = set(re.split(r"[^a-z]+", name.lower()))
    return bool(words & HIGHER_IS_BETTER) and not words & {"negative", "error", "loss", "minus"}


class Metrics:
    """Writes `metrics.csv`, one value a row, and the same to TensorBoard.

    Rows after the checkpoint's step, or all without one, are dropped: they will be written again.
    """

    def __init__(self, folder: Path, *, after: int = 0) -> None:
        from torch.utils.tensorboard import SummaryWriter

        self._path = folder / "metrics.csv"
        rows = [row for row in self._read() if int(row[0]) <= after] if after else []
        self._begin(rows)
        self._board: Any = SummaryWriter(str(folder / "tensorboard"), purge_step=after + 1)

    def _begin(self, rows: list[list[str]]) -> None:
        """Write what stays beside the old file first: a kill in between must not lose it."""
        beside = self._path.with_suffix(".tmp")
        with beside.open("w", newline="", encoding="utf-8") as file:
            csv.writer(file).writerows([COLUMNS, *rows])
        os.replace(beside, self._path)

    def _read(self) -> list[list[str]]:
        if not self._path.is_file():
            return []
        with self._path.open(newline="", encoding="utf-8") as file:
            return [row for row in list(csv.reader(file))[1:] if len(row) == len(COLUMNS)]

    def write(self, step: int, seconds: float, split: str, values: Mapping[str, float]) -> None:
        """Write values of one step; `split` is `train` or `held-out`."""
        with self._path.open("a", newline="", encoding="utf-8") as file:
            writer = csv.writer(file)
            for name, value in values.items():
                writer.writerow([step, f"{seconds:.1f}", split, name, f"{value:.6g}"])
                self._board.add_scalar(f"{split}/{name}", value, step)

    def close(self) -> None:
        """Flush TensorBoard's file."""
        self._board.close()
