"""Codes drawn from a prior: by the seed, whatever the batch, tamed by temperature and mass."""

import math

import numpy as np
import pytest

from genloom.types import Item, random_state
from genloom_vae import VqVae
from genloom_vae.vq_backend import ROWS
from genloom_vae.vq_sampling import central_mass, choose, draw

CHANCES = np.array([0.1, 0.4, 0.2, 0.3])
LENGTH, CODES = 5, 4


class Fake:
    """A model whose prior likes the code after the last one, and whose entries are the codes."""

    digest = "fake"

    def __init__(self):
        self.shapes = set()
        port = type("Port", (), {"axes": ("batch", LENGTH)})
        part = type("Part", (), {"inputs": {"codes": port}})
        self.card = type("Card", (), {"parts": {"codebook": part}})

    def run(self, part, inputs):
        codes = inputs["codes"]
        if part == "codebook":
            return {"latent": codes[:, None, None].astype(np.float32)}
        self.shapes.add(codes.shape)
        before = np.concatenate([np.zeros((len(codes), 1), np.int64), codes[:, :-1]], axis=1)
        liked = (before + 1) % CODES
        return {"logits": 1.5 * np.eye(CODES, dtype=np.float32)[liked]}


def sample(count, seed=7, start=0, **how):
    model = Fake()
    items = [Item(key=f"sample-{n}", name="sample") for n in range(start, start + count)]
    random = [random_state(seed, "sample", item.key) for item in items]
    batch = VqVae().prior(model, items, random, **how)
    return batch.values[:, 0, 0].astype(int), model


def test_the_same_seed_gives_the_same_codes_and_another_seed_others():
    first, _ = sample(6)
    assert np.array_equal(first, sample(6)[0])
    assert not np.array_equal(first, sample(6, seed=8)[0])
    assert len({tuple(row) for row in first}) > 3


def test_codes_do_not_depend_on_what_else_is_drawn():
    together, _ = sample(2 * ROWS + 3)
    alone = np.concatenate([sample(1, start=n)[0] for n in range(2 * ROWS + 3)])
    assert np.array_equal(together, alone)


def test_the_prior_is_always_called_with_the_same_shape():
    for count in (1, ROWS, ROWS + 1):
        assert sample(count)[1].shapes == {(ROWS, LENGTH)}


def test_temperature_0_takes_the_likeliest_codes():
    codes, _ = sample(3, temperature=0.0)
    assert codes.tolist() == [[1, 2, 3, 0, 1]] * 3


def test_a_narrow_truncation_takes_the_likeliest_codes_too():
    assert sample(3, truncation=0.1)[0].tolist() == sample(3, temperature=0.0)[0].tolist()


def test_a_low_temperature_makes_likely_codes_likelier():
    liked = np.array([1, 2, 3, 0, 1])
    shares = [(sample(64, temperature=t)[0] == liked).mean() for t in (0.3, 1.0, 5.0)]
    assert shares[0] > shares[1] > shares[2]


def test_codes_come_as_often_as_their_chance_says():
    uniform = (np.arange(1000) + 0.5) / 1000
    logits = np.log(np.tile(CHANCES, (1000, 1)))
    found = np.bincount(choose(logits, uniform, 1.0, 1.0), minlength=4) / 1000
    np.testing.assert_allclose(found, CHANCES, atol=1e-9)


def test_the_nucleus_keeps_the_likeliest_codes_that_have_the_mass():
    uniform = (np.arange(1000) + 0.5) / 1000
    logits = np.log(np.tile(CHANCES, (1000, 1)))
    found = np.bincount(choose(logits, uniform, 1.0, 0.6), minlength=4) / 1000
    np.testing.assert_allclose(found, [0, 4 / 7, 0, 3 / 7], atol=1e-3)
    alone = choose(logits, uniform, 1.0, 1e-6)
    assert set(alone.tolist()) == {1}


def test_the_ends_of_the_chance_give_codes_that_have_some():
    logits = np.log(np.tile([1e-30, 0.5, 0.5, 1e-30], (2, 1)))
    ends = np.array([0.0, np.nextafter(1.0, 0.0)])
    assert choose(logits, ends, 1.0, 0.9).tolist() == [1, 2]


def test_truncation_keeps_the_mass_of_a_normal_distribution():
    assert central_mass(None) == 1.0
    assert central_mass(1.96) == pytest.approx(0.95, abs=1e-3)
    assert central_mass(1.0) == pytest.approx(math.erf(math.sqrt(0.5)))


def test_each_code_is_drawn_knowing_those_before():
    seen = []

    def logits(codes):
        seen.append(codes.copy())
        return np.zeros((*codes.shape, CODES))

    codes = draw(logits, np.full((1, 3), 0.6), 1.0, 1.0)
    assert codes.tolist() == [[2, 2, 2]]
    assert [one[0].tolist() for one in seen] == [[0, 0, 0], [2, 0, 0], [2, 2, 0]]
