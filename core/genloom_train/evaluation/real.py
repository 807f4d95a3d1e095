"""The held-out pictures that a model is measured on."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from genloom import options, yamlfile
from genloom.catalog import Catalog
from genloom.errors import GenloomError, UnknownName, did_you_mean
from genloom.types import Array, Floats
from genloom_train.data import Dataset, Opening, Source, generator


@dataclass(frozen=True)
class Real:
    """Real pictures that no training saw.

    Attributes:
        pixels: float32, N×H×W×C in [0, 1].
        label: int64, (N,), where the data has labels.
        labels: names of the classes.
    """

    pixels: Floats
    label: Array | None = None
    labels: tuple[str, ...] = ()

    def __len__(self) -> int:
        return len(self.pixels)

    def __getitem__(self, part: slice) -> Real:
        label = None if self.label is None else self.label[part]
        return Real(self.pixels[part], label, self.labels)

    def change_from(self, given: Real) -> list[str]:
        """What was done to the pictures given to fit a model, in words; empty for nothing."""
        before, after = ("×".join(map(str, real.pixels.shape[1:])) for real in (given, self))
        return (
            []
            if before == after
            else [f"pictures were brought from {before} to the model's {after}"]
        )

    def halves(self) -> tuple[Real, Real]:
        """Two parts of one size without a picture in common."""
        half = len(self) // 2
        return self[:half], self[half : 2 * half]


def held_out(source: Source, seed: int, count: int | None) -> Real:
    """`count` held-out pictures in random order, all of them unless said.

    Raises:
        GenloomError: when there are fewer than two, so that none can stand beside another.
    """
    samples = source.held_out()
    if len(samples) < 2:
        raise GenloomError(
            "there are too few held-out pictures to measure anything on",
            expected="2 or more",
            got=f"{len(samples)} ({source.description})",
            hint="Add pictures, or hold more of them out: --set held_out=0.2",
        )
    order = generator("held out", seed).permutation(len(samples))[:count]
    pixels = samples.image[order].transpose(0, 2, 3, 1)
    label = None if samples.label is None else samples.label[order]
    return Real(pixels, label, source.labels if label is not None else ())


def open_source(
    name: str, overrides: Sequence[str], root: Path | None, seed: int, catalog: Catalog
) -> Source:
    """The data set `name` with options `option=value`, opened.

    Raises:
        UnknownName: when no plugin brings it.
        GenloomError: when an option is wrong or the data is not at hand.
    """
    datasets = catalog.datasets()
    if name not in datasets:
        raise UnknownName.of("dataset", name, datasets)
    dataset = _configured(datasets[name], dict(map(_pair, overrides)))
    return dataset.open(Opening(root=root, base=Path(), seed=seed))


def _pair(words: str) -> tuple[str, Any]:
    name, equals, value = words.partition("=")
    if not equals or not name.strip():
        raise GenloomError(
            "an option of the data set is not understood",
            expected="OPTION=VALUE",
            got=words,
            where="--set",
        )
    return name.strip(), yamlfile.scalar(value)


def _configured(owner: type[Any], values: Mapping[str, Any]) -> Dataset:
    good, problems = options.check(owner, values)
    for problem in problems:
        if problem.unknown:
            hint = did_you_mean(problem.name, options.options_of(owner))
            raise UnknownName(f"unknown option '{problem.name}'", where="--set", hint=hint)
        got = "nothing" if problem.missing else repr(problem.got)
        raise GenloomError(
            f"'{problem.name}' is not right", expected=problem.expected, got=got, where="--set"
        )
    dataset: Dataset = owner(**good)
    return dataset
