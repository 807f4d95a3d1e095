"""Data sets: a batch is a function of its number, and what every one of them promises."""

from dataclasses import dataclass

import numpy as np
import pytest

from genloom import hookimpl
from genloom.catalog import Catalog
from genloom.errors import InvalidFile, MissingRequirement, PluginError
from genloom_train import hall, plugin
from genloom_train.batches import prepared
from genloom_train.data import Dataset, Opening, Samples, Source, epoch_indices
from genloom_train.data.checks import check_dataset, check_source
from genloom_train.data.dead_leaves import DeadLeaves
from genloom_train.data.digits import Digits
from genloom_train.data.pictures import held_out_of
from genloom_train.data.synthetic import SHAPES, Synthetic, draw
from genloom_train.recipe import read_recipe


def test_every_epoch_visits_each_picture_once():
    batches = [epoch_indices(10, step, 4, seed=3) for step in range(5)]
    seen = np.concatenate(batches)
    assert sorted(seen[:10]) == sorted(seen[10:]) == list(range(10))
    assert list(seen[:10]) != list(seen[10:])


def test_a_batch_larger_than_the_data_repeats_it():
    assert sorted(epoch_indices(3, 0, 9, seed=0)) == [0, 0, 0, 1, 1, 1, 2, 2, 2]


@pytest.mark.parametrize("ahead", [1, 3, 20])
def test_batches_come_in_order_however_many_are_prepared_at_once(ahead):
    source = Synthetic(count=50).open(Opening())
    found = list(prepared(source, range(2, 9), 8, 7, ahead))
    assert len(found) == 7
    for step, samples in zip(range(2, 9), found, strict=True):
        np.testing.assert_array_equal(samples.image, source.batch(step, 8, 7).image)


def test_a_batch_that_fails_says_so_where_it_is_used_and_nothing_is_left_running():
    def failing(step, size, seed):
        if step == 3:
            raise OSError("the disk is gone")
        return whole(step, size, seed)

    source = Synthetic(count=50).open(Opening())
    whole, source.batch = source.batch, failing
    batches = prepared(source, range(9), 8, 7, 4)
    assert [len(next(batches)) for _ in range(3)] == [8, 8, 8]
    with pytest.raises(OSError, match="the disk is gone"):
        next(batches)


def test_dead_leaves_cover_the_ground_and_the_seed_decides_them():
    options = DeadLeaves(count=2, size=64, crop=32)
    one, two = (options.open(Opening(seed=seed)).batch(0, 2, seed=0).image for seed in (1, 1))
    other = options.open(Opening(seed=2)).batch(0, 2, seed=0).image
    assert np.array_equal(one, two) and not np.array_equal(one, other)
    assert one.std() > 0.05


def test_digits_are_at_hand_with_every_label_in_both_parts():
    source = check_dataset(Digits())
    assert (source.shape, source.labels) == ((1, 8, 8), tuple("0123456789"))
    assert source.count + len(source.held_out()) == 1797
    assert set(source.held_out().label) == set(range(10))
    assert source.held_out().image.max() == 1


def test_digits_without_scikit_learn_name_the_extra(monkeypatch):
    monkeypatch.setitem(__import__("sys").modules, "sklearn.datasets", None)
    with pytest.raises(MissingRequirement, match=r"genloom\[train\]"):
        Digits().open(Opening())


@pytest.mark.parametrize(("colour", "channels"), [("grey", 1), ("rgb", 3)])
def test_synthetic_shapes_have_their_size_and_labels_and_the_seed_decides_them(colour, channels):
    options = Synthetic(count=50, size=20, colour=colour)
    source = check_dataset(options, Opening(seed=1))
    assert (source.shape, source.labels, source.count) == ((channels, 20, 20), SHAPES, 45)
    again, other = (options.open(Opening(seed=seed)).held_out().image for seed in (1, 2))
    assert np.array_equal(source.held_out().image, again)
    assert not np.array_equal(again, other)


def test_a_shape_can_be_told_by_how_much_of_its_circle_it_covers():
    covered = {}
    for shape in SHAPES:
        pictures = [draw(shape, 32, "grey", np.random.default_rng(n)) > 0 for n in range(20)]
        covered[shape] = np.mean(pictures)
    assert covered["disc"] > covered["square"] > covered["triangle"]
    assert covered["disc"] > covered["ring"]


def test_a_share_is_held_out_of_each_label_and_at_least_one_picture():
    label = np.repeat([0, 1], [10, 20])
    assert np.bincount(label[held_out_of(30, 0.2, label)]).tolist() == [2, 4]
    assert held_out_of(3, 0.05).tolist() == [False, False, True]
    assert held_out_of(100, 0.05).sum() == 5


class Stripes(Source):
    """What a plugin might bring; a test spoils one thing of it."""

    labels = ("flat", "steep")

    def __init__(self, **spoilt):
        self.shape, self.count, self.description = (1, 4, 4), 6, "stripes"
        self.image, self.label = np.full((6, 1, 4, 4), 0.5, np.float32), np.arange(6) % 2
        self.kept = 2
        for name, value in spoilt.items():
            setattr(self, name, value)

    def batch(self, step, size, seed):
        chosen = epoch_indices(6, step, size, seed)
        return Samples(self.image[chosen], None if self.label is None else self.label[chosen])

    def held_out(self, larger=False):
        label = None if self.label is None else self.label[: self.kept]
        return Samples(self.image[: self.kept], label)


@pytest.mark.parametrize(
    ("spoilt", "said"),
    [
        ({"count": 0}, "pictures in an epoch"),
        ({"kept": 0}, "held-out pictures"),
        ({"shape": (3, 4, 4)}, "shape of a picture"),
        ({"image": np.zeros((6, 1, 4, 4))}, "float32"),
        ({"image": np.full((6, 1, 4, 4), 255, np.float32)}, "values from 0 to 1"),
        ({"image": np.full((6, 1, 4, 4), np.nan, np.float32)}, "values from 0 to 1"),
        ({"label": None}, "labels"),
        ({"label": np.arange(6)}, "numbers below 2"),
        ({"label": np.zeros(6)}, "int64"),
        ({"batch": lambda step, size, seed: Samples(np.zeros((1, 1, 4, 4)))}, "in a batch"),
    ],
)
def test_a_data_set_that_breaks_a_promise_is_named(spoilt, said):
    check_source(Stripes(), "stripes")
    with pytest.raises(PluginError, match=rf"'stripes' is broken: .*{said}"):
        check_source(Stripes(**spoilt), "stripes")


@dataclass(frozen=True, kw_only=True)
class StripesData(Dataset):
    """Stripes.

    Args:
        bright: how bright they are.
    """

    bright: float = 0.5

    def open(self, opening):
        image = np.full((6, 1, 4, 4), self.bright, np.float32)
        return Stripes(image=image)


class Fickle(StripesData):
    """Another data set each time it is opened."""

    opened = 0

    def open(self, opening):
        type(self).opened += 1
        return Stripes(image=np.full((6, 1, 4, 4), type(self).opened / 9, np.float32))


def test_what_authors_test_with_finds_a_batch_that_depends_on_more_than_its_number():
    check_dataset(StripesData())
    with pytest.raises(PluginError, match="'Fickle' is broken: a batch"):
        check_dataset(Fickle())


class Plugin:
    """A plugin that brings a data set."""

    genloom_api = 1

    @hookimpl
    def genloom_datasets(self):
        return {"stripes": StripesData}


RECIPE = """\
genloom: 1
recipe: vae
data: {dataset: stripes, bright: 0.25}
model: {network: dense, latent: 2, widths: [4]}
train: {steps: 2, batch: 2}
export: {name: tiny}
"""


def test_a_data_set_of_a_plugin_is_checked_in_recipes_and_trained_on(tmp_path):
    import genloom_vae

    catalog = Catalog()
    for module in (plugin, genloom_vae, Plugin()):
        assert not catalog.register(module).error
    path = tmp_path / "recipe.yaml"
    path.write_text(RECIPE)
    recipe = read_recipe(path, catalog)
    card = hall.run(recipe, catalog, hall.Request(out=tmp_path / "out", device="cpu"))
    assert (card.origin.data, card.labels) == ("stripes", ("flat", "steep"))
    with pytest.raises(InvalidFile, match="Did you mean 'bright'"):
        read_recipe(path, catalog, ["data.brite=1"])
    with pytest.raises(PluginError, match="'stripes' is broken: pixels"):
        spoilt = read_recipe(path, catalog, ["data.bright=7"])
        hall.run(spoilt, catalog, hall.Request(out=tmp_path / "other", device="cpu"))
    assert not (tmp_path / "other").exists()
