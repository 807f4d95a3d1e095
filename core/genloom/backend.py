"""What a family of models means: how encoding, sampling and decoding are made of its graphs."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, ClassVar

import numpy as np

from genloom import likelihood
from genloom.card import Card
from genloom.errors import ModelError
from genloom.stage import Model
from genloom.types import Array, Batch, Floats, Item, Kind

LEAST_TRUNCATION = 0.1

LIKELIHOOD_SIGMA = "likelihood_sigma"
"""Name of the tensor that holds a learned standard deviation of the likelihood, one number."""


class Backend:
    """A family of models. Subclass it and set `family`; override where the family differs.

    What stands here serves every family whose encoder gives `latent`, or `mean` and
    `log_variance`, whose decoder (or generator) turns `latent` into `image`, and whose prior is
    N(0, I). A conditional decoder has the input `label` too, N×classes, and an encoder may give
    `label`, the class that it recognises.
    """

    family: ClassVar[str]
    config: ClassVar[type | None] = None
    """The options of a recipe's `model:` section, a frozen dataclass that needs no torch."""

    def encode(self, model: Model, batch: Batch) -> Batch:
        """Pictures that fit the model → latents."""
        outputs = model.run("encoder", {"image": batch.data})
        mean = outputs["mean"] if "mean" in outputs else outputs["latent"]
        return Batch.latents(
            batch.items,
            mean,
            model=model.digest,
            log_variance=outputs.get("log_variance"),
            label=outputs.get("label"),
        )

    def decode(self, model: Model, batch: Batch) -> Batch:
        """Latents → pictures."""
        part = "decoder" if "decoder" in model.card.parts else "generator"
        inputs: dict[str, Array] = {"latent": batch.data}
        if "label" in model.card.parts[part].inputs:
            inputs["label"] = self._labels(model, batch)
        image = model.run(part, inputs)["image"]
        pixels = np.ascontiguousarray(image.transpose(0, 2, 3, 1))
        return Batch(kind=Kind.IMAGE, items=batch.items, values=pixels)

    def _labels(self, model: Model, batch: Batch) -> Floats:
        if batch.label is None:
            raise ModelError(
                f"'{model.card.name}' needs to know the class of what it decodes",
                expected="latents with a label, from `sample` or from its own encoder",
                got="latents without",
            )
        return batch.label

    def prior(
        self,
        model: Model,
        items: Sequence[Item],
        random: Sequence[np.random.RandomState],
        *,
        temperature: float = 1.0,
        truncation: float | None = None,
        labels: Sequence[int] | None = None,
    ) -> Batch:
        """Latents from N(0, temperature² I), redrawn beyond ±truncation before scaling.

        A conditional model draws the classes that nobody named after everything else, so that
        naming one changes nothing but the class.
        """
        noise = self.noise(model, random, truncation) * np.float32(temperature)
        label = class_weights(model.card, random, labels)
        return Batch.latents(items, noise, model=model.digest, label=label)

    def noise(
        self, model: Model, random: Sequence[np.random.RandomState], truncation: float | None
    ) -> Floats:
        """Standard normal numbers in the shape of the model's latents, one row for each state."""
        shape = model.card.latent
        if shape is None:
            raise ModelError(
                f"'{model.card.name}' cannot be sampled from: its card states no latent shape",
                where=model.card.family,
            )
        return np.stack([truncated_normal(state, shape, truncation) for state in random])

    def log_likelihood(self, model: Model, image: Floats, decoded: Floats) -> likelihood.Doubles:
        """Give log p(image | latent) of each picture in nats, (N,), by the card's `likelihood`.

        Args:
            model: the model.
            image: N×C×H×W in [0, 1], in the model's channels and size.
            decoded: what `decode` makes of the latents, of the same shape.

        Raises:
            ModelError: when the card states no likelihood, or one that lacks its `sigma`.
        """
        stated = model.card.likelihood
        if stated is None:
            raise ModelError(f"the card of '{model.card.name}' states no likelihood of pictures")
        if stated.kind == "bernoulli":
            return likelihood.log_likelihood(stated.kind, image, decoded)
        sigma = stated.sigma
        if sigma is None:
            if LIKELIHOOD_SIGMA not in model.tensors:
                raise ModelError(
                    f"the likelihood of '{model.card.name}' lacks its standard deviation",
                    expected=f"'sigma' on the card or the tensor '{LIKELIHOOD_SIGMA}'",
                )
            sigma = float(model.tensors[LIKELIHOOD_SIGMA].reshape(-1)[0])
        return likelihood.log_likelihood(stated.kind, image, decoded, sigma)

    def training(self) -> Any:
        """The training side of the family, a `genloom_train.Training`; imports torch.

        Raises:
            ModelError: when the family cannot be trained.
        """
        raise ModelError(f"the family '{self.family}' has no training side")


def class_weights(
    card: Card, random: Sequence[np.random.RandomState], labels: Sequence[int] | None
) -> Floats | None:
    """One-hot rows, N×classes: the classes named, else one drawn for each state.

    None for a model that is not conditional.
    """
    if not card.conditional:
        return None
    count = len(card.labels)
    chosen = [state.randint(count) for state in random] if labels is None else list(labels)
    weights = np.zeros((len(chosen), count), np.float32)
    weights[np.arange(len(chosen)), chosen] = 1
    return weights


def truncated_normal(
    random: np.random.RandomState, shape: tuple[int, ...], truncation: float | None
) -> Floats:
    """Standard normal numbers; those beyond ±truncation are drawn again.

    This is the truncation trick of BigGAN (Brock et al. 2019, section 3.1).

    Raises:
        ModelError: when so little is left that drawing would hardly ever end.
    """
    if truncation is not None and not truncation >= LEAST_TRUNCATION:
        raise ModelError(
            "the truncation is too small",
            expected=f"{LEAST_TRUNCATION} or more",
            got=f"{truncation}",
        )
    values = random.standard_normal(shape)
    while truncation is not None and (far := np.abs(values) > truncation).any():
        values[far] = random.standard_normal(int(far.sum()))
    return values.astype(np.float32)
