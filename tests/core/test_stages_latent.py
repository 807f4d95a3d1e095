"""`encode`, `sample`, `interpolate` and `decode`."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as arrays
from PIL import Image

from genloom import load_pipeline
from genloom.backend import truncated_normal
from genloom.errors import ModelError, StageError
from genloom.stage import Inputs
from genloom.stages.latent import Decode, Encode, Interpolate, Sample, lerp, slerp
from genloom.testing import FakeRun, fake_model, image_batch, latent_batch
from genloom.types import Batch, Item, Kind, join, random_state

MODEL = fake_model(name="m")
SHAPE = MODEL.card.latent


def run(**how):
    return FakeRun({"m": MODEL}, **how)


def drawn(batch, seed=0, **options):
    return Sample(model="m", **options)(batch, run(seed=seed, stage="sample"))


def prior(count, seed=0, **options):
    stage = Sample(model="m", count=count, **options)
    return drawn(Batch.nothing(list(stage.sources(Inputs()))), seed, count=count, **options)


def test_encoding_gives_the_posterior_of_the_model():
    batch = image_batch(2, size=(8, 8), dtype=np.float32)
    latents = Encode(model="m")(batch, run())
    assert (latents.kind, latents.model, latents.items) == (Kind.LATENT, MODEL.digest, batch.items)
    blocks = batch.data.reshape(2, 3, 4, 2, 4, 2).mean(axis=(3, 5))
    np.testing.assert_allclose(latents.values, blocks, atol=1e-6)
    assert (latents.log_variance == -2).all()


def test_decoding_takes_the_mean_of_a_posterior():
    latents = latent_batch(MODEL, 2)
    pictures = Decode(model="m")(latents, run())
    assert pictures.kind == Kind.IMAGE
    np.testing.assert_array_equal(pictures.data[:, :, ::2, ::2], latents.values)


def test_latents_of_another_model_are_not_decoded():
    stranger = Batch.latents(
        [Item(key="k", name="n")], np.zeros((1, *SHAPE), np.float32), model="x"
    )
    with pytest.raises(ModelError, match="made by another model"):
        Decode(model="m")(stranger, run())


def test_draws_have_the_mean_and_variance_of_the_posterior():
    one = latent_batch(MODEL, 1)
    draws = drawn(one, count=4000).values.astype(np.float64)
    sigma = np.exp(-1)
    np.testing.assert_allclose(draws.mean(axis=0), one.values[0], atol=6 * sigma / np.sqrt(4000))
    np.testing.assert_allclose(draws.std(axis=0), sigma, rtol=0.1)
    assert draws.std() > 0


@pytest.mark.parametrize("temperature", [0.5, 2.0])
def test_temperature_scales_the_spread(temperature):
    one = latent_batch(MODEL, 1)
    plain, scaled = drawn(one, count=3), drawn(one, count=3, temperature=temperature)
    np.testing.assert_allclose(
        scaled.values - one.values, temperature * (plain.values - one.values), atol=1e-5
    )


def test_at_temperature_nought_every_draw_is_the_mean():
    one = latent_batch(MODEL, 1)
    draws = drawn(one, count=3, temperature=0.0).values
    np.testing.assert_array_equal(draws, np.repeat(one.values, 3, axis=0))
    assert (prior(3, temperature=0.0).values == 0).all()


@pytest.mark.parametrize("truncation", [0.1, 0.5, 2.0])
def test_no_draw_lies_beyond_the_truncation_times_the_temperature(truncation):
    one = latent_batch(MODEL, 1)
    how = {"count": 50, "truncation": truncation, "temperature": 3.0}
    distance = np.abs(drawn(one, **how).values - one.values) / (3 * np.exp(-1))
    assert truncation * 0.9 < distance.max() <= truncation + 1e-5
    assert np.abs(prior(**how).values).max() <= 3 * truncation + 1e-5


@pytest.mark.parametrize("truncation", [0, -1.0, 1e-9, float("nan")])
def test_a_truncation_that_leaves_nothing_is_refused_and_does_not_run_for_ever(truncation):
    with pytest.raises(ModelError, match=r"the truncation is too small; expected 0\.1 or more"):
        truncated_normal(random_state(0, "s", "k"), (2,), truncation)


def test_truncated_numbers_keep_the_shape_of_the_normal_between_their_bounds():
    numbers = truncated_normal(random_state(0, "s", "k"), (20_000,), 1.0)
    assert np.abs(numbers).max() <= 1
    assert numbers.std() == pytest.approx(0.5396, abs=0.01)  # of N(0, 1) cut at ±1
    assert numbers.mean() == pytest.approx(0, abs=0.02)


def test_draws_from_the_prior_are_standard_normal():
    values = prior(600).values
    assert values.shape == (600, *SHAPE)
    assert values.mean() == pytest.approx(0, abs=0.02)
    assert values.std() == pytest.approx(1, abs=0.02)
    assert prior(2).log_variance is None


def test_several_draws_are_children_with_keys_and_one_keeps_its_key():
    one = latent_batch(MODEL, 1)
    (item,) = one.items
    assert drawn(one).items == (item,)
    several = drawn(one, count=3)
    assert [child.key for child in several.items] == [f"{item.key}#{k}" for k in range(3)]
    assert [child.name for child in several.items] == [f"{item.name}-{k:03d}" for k in range(3)]
    assert len(np.unique(several.values, axis=0)) == 3


def test_samples_of_a_prior_have_stable_keys():
    assert [item.key for item in prior(2).items] == ["sample-000000", "sample-000001"]


def test_the_first_draws_do_not_depend_on_how_many_follow():
    one = latent_batch(MODEL, 1)
    np.testing.assert_array_equal(drawn(one, count=5).values[:2], drawn(one, count=2).values)
    np.testing.assert_array_equal(drawn(one, count=5).values[:1], drawn(one).values)
    np.testing.assert_array_equal(prior(9).values[:4], prior(4).values)


@given(st.permutations(range(4)), st.integers(1, 3))
def test_draws_do_not_depend_on_the_batch_or_its_order(order, count):
    whole = latent_batch(MODEL, 4)
    shuffled = join([whole[k : k + 1] for k in order])
    together = drawn(whole, count=count).values.reshape(4, count, *SHAPE)
    mixed = drawn(shuffled, count=count).values.reshape(4, count, *SHAPE)
    np.testing.assert_array_equal(mixed, together[list(order)])


def test_another_seed_or_stage_gives_other_draws():
    one = latent_batch(MODEL, 1)
    assert (drawn(one, seed=1).values != drawn(one, seed=0).values).all()
    elsewhere = Sample(model="m")(one, run(stage="sample-2"))
    assert (elsewhere.values != drawn(one).values).all()


def test_what_has_no_posterior_cannot_be_sampled():
    with pytest.raises(
        StageError, match="no posterior to sample from; expected a latent with mean"
    ):
        drawn(latent_batch(MODEL, 1, posterior=False))


def test_a_walk_that_is_too_long_is_refused_and_not_cut_in_two(monkeypatch):
    monkeypatch.setattr("genloom.stages.latent.LONGEST_WALK", 3)
    stage, item = Interpolate(steps=2), Item(key="i", name="i")
    members = list(latent_batch(MODEL, 4))
    assert len(stage.gather(members[:3], item, run())) == 5
    assert stage.most() > 3
    with pytest.raises(StageError, match=r"too long; expected at most 3 items.*group: folder"):
        stage.gather(members, item, run())


VECTORS = arrays.arrays(np.float32, 5, elements=st.floats(-10, 10, width=32))
FRACTIONS = st.floats(0, 1, width=32)


@pytest.mark.parametrize("walk", [lerp, slerp])
@given(start=VECTORS, end=VECTORS, t=FRACTIONS)
def test_walks_meet_their_ends_and_are_the_same_backwards(walk, start, end, t):
    np.testing.assert_allclose(walk(start, end, 0), start, atol=1e-3)
    np.testing.assert_allclose(walk(start, end, 1), end, atol=1e-3)
    there, back = walk(start, end, t), walk(end, start, 1 - np.float32(t))
    assert there.dtype == np.float32
    assert np.isfinite(there).all()
    np.testing.assert_allclose(there, back, atol=2e-3)


@given(VECTORS, VECTORS, FRACTIONS)
def test_an_arc_goes_through_lengths_evenly(start, end, t):
    lengths = np.linalg.norm(start), np.linalg.norm(end)
    cosine = np.vdot(start, end) / max(lengths[0] * lengths[1], 1e-9)
    if min(lengths) > 0.1 and abs(cosine) < 0.99:
        expected = (1 - t) * lengths[0] + t * lengths[1]
        assert np.linalg.norm(slerp(start, end, t)) == pytest.approx(expected, rel=1e-3)


def test_half_an_arc_between_axes_is_the_diagonal():
    x, y = np.array([2, 0], np.float32), np.array([0, 2], np.float32)
    np.testing.assert_allclose(slerp(x, y, 0.5), [np.sqrt(2)] * 2, rtol=1e-6)
    np.testing.assert_allclose(lerp(x, y, 0.5), [1, 1])


def test_an_arc_between_opposite_or_no_directions_is_a_line():
    x, none = np.array([2, 0], np.float32), np.zeros(2, np.float32)
    np.testing.assert_allclose(slerp(x, -x, 0.25), [1, 0])
    np.testing.assert_allclose(slerp(x, none, 0.25), [1.5, 0])
    np.testing.assert_allclose(slerp(x, x, 0.3), x)


def walked(count, **options):
    members = list(latent_batch(MODEL, count))
    result = Interpolate(**options).gather(members, Item(key="walk", name="walk"), run())
    return [member.values[0] for member in members], result


def test_a_walk_passes_every_latent_and_ends_at_the_last():
    ends, walk = walked(3, steps=4)
    assert len(walk) == 2 * 4 + 1
    np.testing.assert_allclose(walk.values[[0, 4, 8]], ends, atol=1e-6)
    assert (walk.model, walk.log_variance) == (MODEL.digest, None)
    assert [item.key for item in walk.items] == [f"walk#{k}" for k in range(9)]


def test_a_walk_in_a_circle_stops_before_it_is_back():
    ends, walk = walked(3, steps=4, loop=True)
    assert len(walk) == 3 * 4
    np.testing.assert_allclose(walk.values[[0, 4, 8]], ends, atol=1e-6)
    np.testing.assert_allclose(walk.values[11], slerp(ends[2], ends[0], 0.75), atol=1e-6)


def test_the_method_decides_between_line_and_arc():
    ends, straight = walked(2, steps=2, method="linear")
    np.testing.assert_allclose(straight.values[1], (ends[0] + ends[1]) / 2, atol=1e-6)
    _, arc = walked(2, steps=2, method="spherical")
    assert np.abs(arc.values[1] - straight.values[1]).max() > 0.01


def test_one_latent_is_too_few_to_walk_between():
    with pytest.raises(StageError, match="expected two items or more, got one"):
        walked(1)


@pytest.fixture
def go(catalog, tmp_path, empty_place):
    """Runs a chain on grey 8×8 pictures of levels 40, 80 … in two folders."""
    folder = tmp_path / "in"
    for n in range(4):
        name = folder / f"{'ab'[n // 2]}/{n}.png"
        name.parent.mkdir(parents=True, exist_ok=True)
        Image.fromarray(np.full((8, 8), 40 + 40 * n, np.uint8)).save(name)

    def go(*stages, out="out", **settings):
        lines = "".join(f"  - {stage}\n" for stage in stages)
        (tmp_path / "p.yaml").write_text(f"genloom: 1\nseed: 7\nstages:\n{lines}")
        inputs = folder if stages[0] == "load" else ()
        loaded = load_pipeline(tmp_path / "p.yaml", catalog=catalog)
        report = loaded.run(inputs, tmp_path / out, provider="cpu", **settings)
        assert report.failures == []
        paths = sorted((tmp_path / out).rglob("*.png"))
        return {
            path.relative_to(tmp_path / out).as_posix(): np.asarray(Image.open(path))
            for path in paths
            if ".genloom" not in path.parts
        }

    return go


def test_flat_pictures_survive_the_autoencoder_end_to_end(go):
    results = go("load", "encode: {model: tiny-vae}", "decode", "save")
    assert {name: int(picture[0, 0]) for name, picture in results.items()} == {
        "a/0.png": 40,
        "a/1.png": 80,
        "b/2.png": 120,
        "b/3.png": 160,
    }


@pytest.mark.parametrize(
    "first",
    [
        ["sample: {model: tiny-vae, count: 9}"],
        ["load", "encode: {model: tiny-vae}", "sample: {count: 3}"],
    ],
)
def test_samples_are_the_same_in_batches_of_any_size_and_among_any_workers(go, first):
    one = go(*first, "decode", "save", out="one", batch=1, workers=1)
    many = go(*first, "decode", "save", out="many", batch=16, workers=3)
    assert one.keys() == many.keys()
    assert len(one) == (9 if len(first) == 1 else 12)
    for name in one:
        assert np.abs(one[name].astype(int) - many[name].astype(int)).max() <= 1
    assert len({picture.tobytes() for picture in one.values()}) > len(one) // 2


def test_the_temperature_nought_of_a_posterior_is_the_reconstruction_end_to_end(go):
    plain = go("load", "encode: {model: tiny-vae}", "decode", "save")
    cold = go("load", "encode: {model: tiny-vae}", "sample: {temperature: 0}", "decode", "save",
              out="cold")  # fmt: skip
    for name, picture in plain.items():
        np.testing.assert_array_equal(picture, cold[name])


def test_walks_go_through_all_pictures_or_through_each_folder_end_to_end(go):
    walk = ["load", "encode: {model: tiny-vae}", "interpolate: {steps: 2, method: linear}"]
    whole = go(*walk, "decode", "save")
    assert [int(picture[0, 0]) for picture in whole.values()] == [40, 60, 80, 100, 120, 140, 160]
    assert next(iter(whole)) == "interpolate-000.png"
    walk[2] = "interpolate: {steps: 2, method: linear, group: folder}"
    parts = go(*walk, "decode", "save", out="parts")
    assert [int(picture[0, 0]) for picture in parts.values()] == [40, 60, 80, 120, 140, 160]
    assert "a/interpolate-000.png" in parts
