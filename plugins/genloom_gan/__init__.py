"""Generative adversarial networks (Goodfellow et al. 2014): family `gan`."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any, Literal

from annotated_types import Interval, Len

from genloom.backend import Backend
from genloom.hookspecs import hookimpl

genloom_api = 1

Width = Annotated[int, Interval(ge=1, le=4096)]
Decay = Annotated[float, Interval(ge=0, lt=1)]
Loss = Literal["minimax", "non-saturating", "hinge", "wasserstein"]


@dataclass(frozen=True, kw_only=True)
class GanConfig:
    """The `model:` section of a recipe for a generative adversarial network.

    Args:
        network: `convolutional` (DCGAN, Radford et al. 2016), or `dense`, fully connected as the
            first one was (Goodfellow et al. 2014).
        latent: dimensions of the latent space.
        widths: of the generator: channels of each level, or units of each dense layer, from the
            picture inwards. Each level of a convolutional network doubles height and width.
        discriminator_widths: the same of the discriminator; those of the generator unless said.
        conditional: whether generator and discriminator are told the class.
        loss: `minimax` and `non-saturating` are the first paper's, `hinge` is Lim & Ye's (2017),
            `wasserstein` is Arjovsky et al.'s (2017).
        gradient_penalty: weight of the gradient penalty (Gulrajani et al. 2017); unless said, 10
            with `wasserstein` and 0, which leaves it out, with the others.
        critic_steps: updates of the discriminator for each of the generator, n_critic; unless
            said, 5 with `wasserstein` and 1 with the others. Each is a step of the training.
        spectral_norm: whether the discriminator's weights are kept at spectral norm 1 (Miyato et
            al. 2018).
        discriminator_rate: the discriminator's learning rate, as a multiple of the recipe's.
        betas: decays of Adam's averages of the gradient and of its square, for both networks.
    """

    network: Literal["convolutional", "dense"] = "convolutional"
    latent: Annotated[int, Interval(ge=1, le=4096)] = 64
    widths: Annotated[tuple[Width, ...], Len(1, 8)] = (64, 64)
    discriminator_widths: Annotated[tuple[Width, ...], Len(1, 8)] | None = None
    conditional: bool = False
    loss: Loss = "non-saturating"
    gradient_penalty: Annotated[float, Interval(ge=0, le=1000)] | None = None
    critic_steps: Annotated[int, Interval(ge=1, le=100)] | None = None
    spectral_norm: bool = False
    discriminator_rate: Annotated[float, Interval(gt=0, le=100)] = 1.0
    betas: tuple[Decay, Decay] = (0.5, 0.999)

    @property
    def penalty(self) -> float:
        """The weight of the gradient penalty, 0 for none."""
        if self.gradient_penalty is not None:
            return self.gradient_penalty
        return 10.0 if self.loss == "wasserstein" else 0.0

    @property
    def turns(self) -> int:
        """Updates of the discriminator for each of the generator."""
        if self.critic_steps is not None:
            return self.critic_steps
        return 5 if self.loss == "wasserstein" else 1


class Gan(Backend):
    """Adversarial networks: `generator` latent (and label) → image; no discriminator is kept."""

    family = "gan"
    config = GanConfig

    def training(self) -> Any:
        """The training side; imports torch."""
        from genloom_gan.training import GanTraining

        return GanTraining


@hookimpl
def genloom_backends() -> list[type[Backend]]:
    """Bring the family."""
    return [Gan]


@hookimpl
def genloom_models() -> list[Path]:
    """Bring the bundles beside this file."""
    return [Path(__file__).parent / "models"]
