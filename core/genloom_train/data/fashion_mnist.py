"""Fashion-MNIST (Xiao, Rasul & Vollgraf 2017): 70 000 grey pictures of clothes, 28×28."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import ClassVar

from genloom_train.data.idx import FILES, Mnist, read_idx

__all__ = ["FILES", "LABELS", "FashionMnist", "read_idx"]

LABELS = (
    "T-shirt/top", "Trouser", "Pullover", "Dress", "Coat",
    "Sandal", "Shirt", "Sneaker", "Bag", "Ankle boot",
)  # fmt: skip


@dataclass(frozen=True, kw_only=True)
class FashionMnist(Mnist):
    """Fashion-MNIST from its four IDX files, gzipped or plain.

    Args:
        path: folder of the files; else $GENLOOM_DATA and the usual places are searched.
    """

    path: Path | None = None

    title: ClassVar[str] = "Fashion-MNIST"
    folder: ClassVar[str] = "fashion-mnist"
    names: ClassVar[tuple[str, ...]] = LABELS
    hint: ClassVar[str] = (
        "On Debian or Ubuntu: apt-get download dataset-fashion-mnist && dpkg -x "
        "dataset-fashion-mnist_*.deb data, then --data data/usr/share/datasets/fashion-mnist"
    )
