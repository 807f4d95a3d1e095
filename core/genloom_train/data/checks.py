"""What every data set promises; the hall checks it, since a plugin may bring one."""

from __future__ import annotations

import numpy as np

from genloom.card import SizeRule
from genloom.errors import GenloomError, PluginError
from genloom_train.data import Dataset, Opening, Samples, Source

LOOKED_AT = 4
"""Pictures of a batch that is looked at."""


def check_source(source: Source, name: str) -> None:
    """Check an opened data set: a batch and the held-out pictures are as they should be.

    Raises:
        PluginError: when they are not.
    """
    if source.count < 1:
        raise _broken(name, "pictures in an epoch", "at least 1", source.count)
    first = source.batch(0, LOOKED_AT, 0)
    if len(first) != LOOKED_AT:
        raise _broken(name, "pictures in a batch", str(LOOKED_AT), len(first))
    if tuple(first.image.shape[1:]) != tuple(source.shape):
        raise _broken(name, "shape of a picture", str(source.shape), first.image.shape[1:])
    held_out = source.held_out()
    if not len(held_out):
        raise _broken(name, "held-out pictures", "at least 1", 0)
    for samples in (first, next(held_out.chunks(LOOKED_AT))):
        _check_samples(samples, source, name)


def check_fits(source: Source, rule: SizeRule | None) -> None:
    """Whether a network with this size rule can be trained on the pictures of a data set.

    Raises:
        GenloomError: when it cannot.
    """
    height, width = source.shape[1:]
    if rule is None or rule.fixed is not None:
        return
    if height % rule.multiple or width % rule.multiple or min(height, width) < rule.minimum:
        raise GenloomError(
            "the network does not take pictures of this size",
            expected=f"multiples of {rule.multiple}, at least {rule.minimum}",
            got=f"{height}×{width}",
            hint="Change the size in the recipe's data section (`crop` or `size`), or use fewer "
            "levels in its model section",
        )


def check_dataset(dataset: Dataset, opening: Opening | None = None) -> Source:
    """What authors of data sets test with: opens one twice, checks it, gives the first source.

    Raises:
        PluginError: when a promise is broken.
    """
    name = type(dataset).__name__
    one, two = (dataset.open(opening or Opening()) for _ in range(2))
    check_source(one, name)
    two.batch(0, LOOKED_AT, 3)
    for step in (5, 0):
        same = np.array_equal(
            one.batch(step, LOOKED_AT, 3).image, two.batch(step, LOOKED_AT, 3).image
        )
        if not same:
            raise _broken(name, "a batch", "a function of step, size and seed", "others")
    if not np.array_equal(one.held_out().image, one.held_out().image):
        raise _broken(name, "held-out pictures", "the same at every call", "others")
    return one


def _check_samples(samples: Samples, source: Source, name: str) -> None:
    image, label = samples.image, samples.label
    if image.dtype != np.float32 or image.ndim != 4 or image.shape[1] != source.shape[0]:
        got = f"{image.dtype} of shape {image.shape}"
        raise _broken(name, "pictures", f"float32, N×{source.shape[0]}×H×W", got)
    low, high = float(image.min()), float(image.max())
    if not (low >= 0 and high <= 1):
        raise _broken(name, "pixels", "values from 0 to 1", f"{low:.3g} to {high:.3g}")
    for other, values in samples.others.items():
        if values.dtype != np.float32 or values[:, 0].shape != image[:, 0].shape:
            got = f"{values.dtype} of shape {values.shape}"
            raise _broken(name, f"the pictures '{other}'", f"float32, as {image.shape}", got)
    if label is None:
        if source.labels:
            raise _broken(name, "labels", f"{len(samples)} of {len(source.labels)} classes", "none")
        return
    if label.dtype != np.int64 or label.shape != (len(samples),):
        raise _broken(name, "labels", "int64, (N,)", f"{label.dtype} of shape {label.shape}")
    if label.min() < 0 or label.max() >= len(source.labels):
        expected = f"numbers below {len(source.labels)}, the count of names"
        raise _broken(name, "labels", expected, f"{label.min()} to {label.max()}")


def _broken(name: str, what: str, expected: str, got: object) -> PluginError:
    return PluginError(f"the data set '{name}' is broken: {what}", expected=expected, got=str(got))
