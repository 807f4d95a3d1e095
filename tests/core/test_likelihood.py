"""Likelihoods of pictures: against torch's distributions, and what a card must say for one."""

import numpy as np
import pytest
from pydantic import ValidationError

from genloom.backend import LIKELIHOOD_SIGMA, Backend
from genloom.card import Card, Likelihood
from genloom.errors import ModelError
from genloom.likelihood import LEVEL, log_likelihood

RANDOM = np.random.default_rng(0)
IMAGE = RANDOM.uniform(0, 1, (3, 2, 4, 5)).astype(np.float32)
DECODED = RANDOM.uniform(0.05, 0.95, IMAGE.shape).astype(np.float32)


def test_bernoulli_is_the_cross_entropy_with_grey_values_as_targets():
    torch = pytest.importorskip("torch")
    image, decoded = (torch.from_numpy(array).double() for array in (IMAGE, DECODED))
    right = -torch.nn.functional.binary_cross_entropy(decoded, image, reduction="none")
    found = log_likelihood("bernoulli", IMAGE, DECODED)
    np.testing.assert_allclose(found, right.flatten(1).sum(1).numpy(), rtol=1e-12)


def test_bernoulli_is_finite_where_the_decoder_is_certain():
    image = np.array([[[[0.0, 1.0, 0.5]]]], np.float32)
    certain = np.array([[[[0.0, 1.0, 1.0]]]], np.float32)
    found = log_likelihood("bernoulli", image, certain)
    assert found[0] == pytest.approx(0.5 * np.log(2.0**-24), rel=1e-6)


def test_gaussian_is_the_density_of_a_normal():
    torch = pytest.importorskip("torch")
    image, decoded = (torch.from_numpy(array).double() for array in (IMAGE, DECODED))
    right = torch.distributions.Normal(decoded, 0.07).log_prob(image).flatten(1).sum(1)
    found = log_likelihood("gaussian", IMAGE, DECODED, 0.07)
    np.testing.assert_allclose(found, right.numpy(), rtol=1e-12)


@pytest.mark.parametrize("sigma", [0.004, 0.05, 0.5])
@pytest.mark.parametrize("mean", [-0.3, 0.0, 0.4, 1.0, 1.2])
def test_the_256_probabilities_of_a_logistic_sum_to_one(mean, sigma):
    levels = (np.arange(256) * LEVEL).astype(np.float32).reshape(256, 1, 1, 1)
    found = log_likelihood("logistic", levels, np.full_like(levels, mean), sigma)
    assert np.exp(found).sum() == pytest.approx(1, abs=1e-6)


def test_a_fine_logistic_has_the_standard_deviation_it_says():
    levels = np.arange(256) * LEVEL
    pictures = levels.astype(np.float32).reshape(256, 1, 1, 1)
    chances = np.exp(log_likelihood("logistic", pictures, np.full_like(pictures, 0.5), 0.05))
    assert (chances * levels).sum() == pytest.approx(0.5, abs=1e-6)
    spread = np.sqrt((chances * (levels - 0.5) ** 2).sum())
    assert spread == pytest.approx(0.05, rel=0.01)


class Model:
    """As much of a model as the likelihood asks for."""

    def __init__(self, card, tensors=None):
        self.card, self.tensors = card, tensors or {}


@pytest.fixture
def card(tiny_bundles):
    return Card.read(tiny_bundles / "tiny-vae")


def stating(card, **likelihood):
    return card.model_copy(update={"likelihood": Likelihood(**likelihood)})


def test_a_backend_follows_the_card(card):
    for kind, sigma in (("bernoulli", None), ("gaussian", 0.2), ("logistic", 0.1)):
        model = Model(stating(card, kind=kind, sigma=sigma))
        found = Backend().log_likelihood(model, IMAGE, DECODED)
        np.testing.assert_array_equal(found, log_likelihood(kind, IMAGE, DECODED, sigma or 1.0))


def test_a_learned_sigma_stands_in_the_tensors(card):
    learned = {LIKELIHOOD_SIGMA: np.array([0.25], np.float32)}
    found = Backend().log_likelihood(Model(stating(card, kind="gaussian"), learned), IMAGE, DECODED)
    np.testing.assert_array_equal(found, log_likelihood("gaussian", IMAGE, DECODED, 0.25))


def test_a_card_without_a_likelihood_or_its_sigma_is_an_error(card):
    with pytest.raises(ModelError, match="states no likelihood"):
        Backend().log_likelihood(Model(card), IMAGE, DECODED)
    with pytest.raises(ModelError, match="lacks its standard deviation"):
        Backend().log_likelihood(Model(stating(card, kind="logistic")), IMAGE, DECODED)


def test_the_likelihood_survives_the_file(card, tmp_path):
    stating(card, kind="gaussian", sigma=0.1).write(tmp_path)
    assert Card.read(tmp_path).likelihood == Likelihood(kind="gaussian", sigma=0.1)
    with pytest.raises(ValidationError):
        Likelihood(kind="gaussian", sigma=0.0)
