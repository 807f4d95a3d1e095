"""The `model:` sections of recipes, without torch."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Annotated, Literal

from annotated_types import Interval, Len

Width = Annotated[int, Interval(ge=1, le=4096)]
Widths = Annotated[tuple[Width, ...], Len(1, 8)]


@dataclass(frozen=True, kw_only=True)
class PixelOptions:
    """What a decoder's output says of a picture.

    Args:
        likelihood: `bernoulli` reads a pixel's grey value as a probability; `gaussian` is a density
            of values in [0, 1]; `logistic` is a probability of each of 256 levels (Salimans et
            al. 2017).
        sigma: standard deviation of the Gaussian or the logistic likelihood, on the scale of
            pixels in [0, 1]; where it starts, when it is learned.
        learn_sigma: whether `sigma` is learned: one number for all pixels (Rybkin et al. 2021).
    """

    likelihood: Literal["bernoulli", "gaussian", "logistic"] = "bernoulli"
    sigma: Annotated[float, Interval(gt=0, le=10)] = 0.1
    learn_sigma: bool = False


@dataclass(frozen=True, kw_only=True)
class VaeConfig(PixelOptions):
    """The `model:` section of a recipe for a variational autoencoder.

    Args:
        network: `convolutional`, or `dense` (fully connected).
        latent: dimensions of the latent space.
        widths: channels of each level, or units of each dense layer, from the picture inwards.
            Each level of a convolutional network halves height and width.
        conditional: whether the decoder is told the class (Sohn et al. 2015); the encoder gets a
            small classifier, so that it can tell the class of pictures without a label.
        fidelity: weight of a further term of conditional models, by which that classifier must
            recognise what is drawn from the prior as the class asked for (Hu et al. 2017, equation
            6); 0 leaves it out.
        beta: weight of the KL term (Higgins et al. 2017); 1 is the ELBO, 0 leaves the term out.
        kl_warmup: steps in which `beta` rises from 0 (Bowman et al. 2016).
        free_bits: nats of KL that each latent dimension may hold at no cost, on the average of a
            batch (Kingma et al. 2016); 0 turns it off.
    """

    network: Literal["convolutional", "dense"] = "convolutional"
    latent: Annotated[int, Interval(ge=1, le=4096)] = 16
    widths: Widths = (32, 64, 64)
    conditional: bool = False
    fidelity: Annotated[float, Interval(ge=0, le=1000)] = 0.0
    beta: Annotated[float, Interval(ge=0, le=1000)] = 1.0
    kl_warmup: Annotated[int, Interval(ge=0, le=10_000_000)] = 0
    free_bits: Annotated[float, Interval(ge=0, le=100)] = 0.0


@dataclass(frozen=True, kw_only=True)
class VqVaeConfig(PixelOptions):
    """The `model:` section of a recipe for a vector-quantised autoencoder.

    Args:
        widths: channels of each level from the picture inwards. Each level halves height and
            width; the last one's is the size of the map of codes.
        codes: entries of the codebook.
        embedding: dimensions of an entry.
        commitment: weight of the term that keeps the encoder near its entries (van den Oord et
            al. 2017, equation 3).
        decay: of the running averages that the entries are (the same, appendix A.1).
        restart: an entry that is chosen less often than this share of an even use is put where the
            encoder's output is (Dhariwal et al. 2020); 0 never does.
        prior_width: units of the prior, a small transformer over codes.
        prior_layers: its layers.
        prior_heads: its heads of attention.
    """

    widths: Widths = (32, 64)
    codes: Annotated[int, Interval(ge=2, le=65_536)] = 128
    embedding: Annotated[int, Interval(ge=1, le=4096)] = 16
    commitment: Annotated[float, Interval(ge=0, le=100)] = 0.25
    decay: Annotated[float, Interval(ge=0, lt=1)] = 0.99
    restart: Annotated[float, Interval(ge=0, lt=1)] = 0.05
    prior_width: Annotated[int, Interval(ge=1, le=4096)] = 64
    prior_layers: Annotated[int, Interval(ge=1, le=64)] = 4
    prior_heads: Annotated[int, Interval(ge=1, le=64)] = 4
