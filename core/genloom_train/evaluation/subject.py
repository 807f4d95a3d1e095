"""The model that is measured: pictures in, latents and pictures out, a bounded number at a time."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import replace

import numpy as np

from genloom.api import OpenModel
from genloom.backend import class_weights, truncated_normal
from genloom.card import Card
from genloom.errors import ModelError
from genloom.likelihood import Doubles
from genloom.types import Array, Batch, Floats, Item, join, random_state
from genloom_train.evaluation.real import Real

CHUNK = 250
"""Pictures that are worked on together."""


class Subject:
    """A bundle, as far as it is measured.

    Pictures are float32, N×H×W×C in [0, 1]; random numbers depend on the seed and on a picture's
    number alone, so no figure depends on how many are worked on together.
    """

    def __init__(self, opened: OpenModel) -> None:
        self.model = opened.model

    @property
    def card(self) -> Card:
        """What the model is."""
        return self.model.card

    @property
    def reconstructs(self) -> bool:
        """Whether it has an encoder and a decoder."""
        return {"encoder", "decoder"} <= set(self.card.parts)

    @property
    def variational(self) -> bool:
        """Whether its encoder gives a Gaussian posterior, and its card a likelihood."""
        outputs = self.card.parts["encoder"].outputs if "encoder" in self.card.parts else {}
        return self.reconstructs and "log_variance" in outputs and self.card.likelihood is not None

    @property
    def samples(self) -> bool:
        """Whether pictures can be drawn from its prior."""
        makes = {"decoder", "generator"} & set(self.card.parts)
        if not makes or self.card.latent is None:
            return False
        try:
            self.prior(1, seed=0)
        except ModelError:
            return False
        return True

    def fit(self, real: Real) -> Real:
        """The pictures in the model's channels and size."""
        parts = [self.model.fit(batch).data for batch in _images(real.pixels)]
        return Real(np.concatenate(parts).transpose(0, 2, 3, 1), real.label, real.labels)

    def classes(self, real: Real) -> Floats | None:
        """The pictures' true classes as weights, N×classes; None unless the model knows them."""
        if not self.card.conditional or real.label is None or real.labels != self.card.labels:
            return None
        return class_weights(self.card, (), [int(label) for label in real.label])

    def encode(self, real: Real) -> Batch:
        """The posteriors of pictures; their true classes where the encoder gives none."""
        batch = join([self.model.encode(part) for part in _images(real.pixels)])
        if batch.label is None and self.card.conditional:
            return replace(batch, label=self.classes(real))
        return batch

    def decode(self, latents: Batch) -> Floats:
        """What the decoder makes of latents; values may leave [0, 1]."""
        return np.concatenate([self.model.decode(part).pixels for part in _parts(latents)])

    def pictures(self, latents: Batch) -> Floats:
        """Latents as the pictures that would be saved."""
        return np.clip(self.decode(latents), np.float32(0), np.float32(1))

    def log_likelihood(self, pixels: Floats, decoded: Floats) -> Doubles:
        """Logarithm of p of each picture about the decoded one, in nats."""
        image, mean = (array.transpose(0, 3, 1, 2) for array in (pixels, decoded))
        starts = range(0, len(image), CHUNK)
        parts = [(image[start : start + CHUNK], mean[start : start + CHUNK]) for start in starts]
        likelihood = self.model.backend.log_likelihood
        return np.concatenate([likelihood(self.model, *part) for part in parts])

    def prior(self, count: int, *, seed: int, labels: Sequence[int] | None = None) -> Batch:
        """Latents from its own prior: those of `genloom.open_model(…).sample`."""
        items = _items("sample", count)
        random = [random_state(seed, "sample", item.key) for item in items]
        return self.model.prior(items, random, labels=labels)

    def standard_normal(self, count: int, *, seed: int) -> Batch:
        """Latents from N(0, I), whatever the prior of its family is."""
        items = _items("sample", count)
        random = [random_state(seed, "sample", item.key) for item in items]
        noise = np.stack([truncated_normal(state, self.latent, None) for state in random])
        return self.latents(noise, class_weights(self.card, random, None))

    def latents(self, values: Floats, label: Floats | None = None) -> Batch:
        """A batch of the model's latents."""
        items = _items("latent", len(values))
        return Batch.latents(items, values, model=self.model.digest, label=label)

    @property
    def latent(self) -> tuple[int, ...]:
        """Shape of one latent.

        Raises:
            ModelError: when the card states none.
        """
        if self.card.latent is None:
            raise ModelError(f"the card of '{self.card.name}' states no latent shape")
        return self.card.latent


def _items(word: str, count: int) -> tuple[Item, ...]:
    keys = [f"{word}-{number:06d}" for number in range(count)]
    return tuple(Item(key=key, name=key) for key in keys)


def _images(pixels: Array) -> Iterator[Batch]:
    return _parts(Batch.images(_items("picture", len(pixels)), pixels))


def _parts(batch: Batch) -> Iterator[Batch]:
    return (batch[start : start + CHUNK] for start in range(0, len(batch), CHUNK))
