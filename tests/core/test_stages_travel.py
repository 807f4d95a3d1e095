"""`walk`, `traverse` and `shift`."""

import numpy as np
import pytest

from genloom import load_pipeline, open_model
from genloom.errors import GenloomError, InvalidFile
from genloom.stages.travel import Shift, Traverse, Walk
from genloom.testing import FakeRun, check_stage, fake_model, latent_batch
from genloom.types import Batch, Item

MODEL = fake_model(name="m")


def written(folder, text):
    (folder / "pipeline.yaml").write_text(text, encoding="utf-8")
    return folder / "pipeline.yaml"


def run(**how):
    return FakeRun({"m": MODEL}, **how)


def test_stages_that_travel_keep_the_contract():
    check_stage(Walk, steps=3)
    check_stage(Traverse, dimension=1, steps=3)


def test_a_walk_begins_where_it_came_in_and_stays_in_the_prior():
    one = latent_batch(MODEL, 1)
    walk = Walk(steps=4000, stride=0.5)(one, run())
    np.testing.assert_array_equal(walk.values[0], one.values[0])
    later = walk.values[100:].astype(np.float64)
    assert abs(later.mean()) < 0.05
    assert abs(later.std() - 1) < 0.05


def test_steps_of_a_walk_are_as_long_as_its_stride():
    start = Batch.latents([Item(key="a", name="a")], np.zeros((1, 4000), np.float32), model="m")
    still = Walk(steps=3, stride=0)(start, run()).values
    assert (still == 0).all()
    first, second = Walk(steps=2, stride=0.25)(start, run()).values
    assert np.std(second - first) == pytest.approx(0.25, rel=0.05)


def test_each_latent_walks_its_own_way():
    two = Batch.latents(
        [Item(key="a", name="a"), Item(key="b", name="b")], np.zeros((2, 4), np.float32), model="m"
    )
    walks = Walk(steps=5)(two, run())
    assert [item.key for item in walks.items] == [f"{k}#{i}" for k in "ab" for i in range(5)]
    assert not np.array_equal(walks.values[4], walks.values[9])
    np.testing.assert_array_equal(walks.values[:5], Walk(steps=5)(two[:1], run()).values)


def test_traversing_one_dimension_leaves_the_others():
    one = latent_batch(MODEL, 1)
    moved = Traverse(dimension=5, steps=7, extent=2.0, model="m")(one, run()).values.reshape(7, -1)
    np.testing.assert_allclose(moved[:, 5], np.linspace(-2, 2, 7), atol=1e-6)
    others = np.delete(moved, 5, axis=1)
    np.testing.assert_array_equal(others, np.repeat(others[:1], 7, axis=0))
    np.testing.assert_array_equal(others[0], np.delete(one.values.ravel(), 5))


def test_all_dimensions_are_traversed_one_after_the_other():
    one = latent_batch(MODEL, 1)
    size = one.values.size
    moved = Traverse(steps=3, model="m")(one, run()).values.reshape(size, 3, size)
    for dimension in range(size):
        assert moved[dimension, :, dimension].tolist() == [-3, 0, 3]


def test_a_dimension_that_is_not_there_is_refused_before_anything_runs(catalog, tmp_path):
    text = "genloom: 1\nstages:\n  - sample: {model: tiny-vae}\n  - traverse: {dimension: 4}\n"
    with pytest.raises(InvalidFile, match="no dimension 4; expected 0 to 3"):
        load_pipeline(written(tmp_path, text + "  - decode\n  - save\n"), catalog=catalog)


def shifted(tiny_bundles, catalog, **options):
    model = open_model(tiny_bundles / "tiny-cvae", catalog=catalog).model
    start = Batch.latents(
        [Item(key="a", name="a")], np.full((1, 4), 0.5, np.float32), model=model.digest
    )
    return Shift(model="c", **options)(start, FakeRun({"c": model}))


def test_shifting_keeps_the_contract_of_a_stage(tiny_bundles, catalog):
    model = open_model(tiny_bundles / "tiny-cvae", catalog=catalog).model
    check_stage(Shift, FakeRun({"c": model}), towards="bag", model="c", steps=2)


def test_shifting_adds_the_difference_of_two_means(tiny_bundles, catalog):
    assert shifted(tiny_bundles, catalog, towards="bag", away_from="shirt").values.tolist() == [
        [1.5] * 4
    ]
    assert shifted(tiny_bundles, catalog, towards=0, away_from=2, amount=0.5).values.tolist() == [
        [-0.5] * 4
    ]


def test_shifting_from_no_class_starts_at_the_mean_of_all(tiny_bundles, catalog):
    assert shifted(tiny_bundles, catalog, towards="bag").values.tolist() == [[1.5] * 4]


def test_shifting_in_steps_shows_the_way(tiny_bundles, catalog):
    way = shifted(tiny_bundles, catalog, towards="bag", away_from="boot", steps=3)
    assert way.values[:, 0].tolist() == [0.5, 1.5, 2.5]
    assert [item.name for item in way.items] == ["a-000", "a-001", "a-002"]


def test_shifting_a_conditional_model_turns_its_class_as_well(tiny_bundles, catalog):
    model = open_model(tiny_bundles / "tiny-cvae", catalog=catalog).model
    start = Batch.latents(
        [Item(key="a", name="a")], np.zeros((1, 4), np.float32), model=model.digest,
        label=np.eye(3, dtype=np.float32)[:1],
    )  # fmt: skip
    towards = model.card.label_index("bag")
    way = Shift(model="c", towards="bag", steps=3)(start, FakeRun({"c": model}))
    assert way.label[:, towards].tolist() == [0, 0.5, 1]
    assert way.label[:, 0].tolist() == [1, 0.5, 0]


def test_shifting_a_model_without_means_is_refused_before_anything_runs(catalog, tmp_path):
    text = "genloom: 1\nstages:\n  - sample: {model: tiny-vae}\n  - shift: {towards: bag}\n"
    with pytest.raises(InvalidFile, match="keeps no means of classes"):
        load_pipeline(written(tmp_path, text + "  - decode\n  - save\n"), catalog=catalog)


def test_a_misspelt_class_gets_the_nearest_right_name(catalog, tmp_path):
    text = "genloom: 1\nstages:\n  - sample: {model: tiny-cvae}\n  - shift: {towards: bagg}\n"
    with pytest.raises(InvalidFile, match=r"4:22: .*'bagg'.*Did you mean 'bag'"):
        load_pipeline(written(tmp_path, text + "  - decode\n  - save\n"), catalog=catalog)


def test_the_number_of_a_class_must_be_one(tiny_bundles, catalog):
    with pytest.raises(GenloomError, match="'3'"):
        shifted(tiny_bundles, catalog, towards=3)
