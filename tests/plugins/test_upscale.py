"""The stages `upscale` and `apply`."""

import numpy as np
import pytest

from genloom.card import Port
from genloom.errors import GenloomError, StageError
from genloom.testing import FakeRun, check_stage, fake_model, image_batch
from genloom.types import as_float
from genloom_upscale.stages import Apply, Upscale, passes


def doubled(image):
    return image.repeat(2, axis=2).repeat(2, axis=3)


def halved(image):
    return image * np.float32(0.5)


@pytest.fixture
def run():
    models = {
        "double": fake_model(doubled, name="double", scale=2),
        "half": fake_model(halved, name="half"),
        "told": fake_model(lambda image, noise_level: image, name="told", ports=("noise_level",)),
    }
    return FakeRun(models)


@pytest.mark.parametrize("options", [{}, {"scale": 3}, {"scale": 4}, {"scale": 1.5}])
def test_upscale_keeps_the_contract_of_a_stage(run, options):
    check_stage(Upscale, run, model="double", **options)


@pytest.mark.parametrize("options", [{"model": "half"}, {"model": "half", "strength": 0.3}])
def test_apply_keeps_the_contract_of_a_stage(run, options):
    check_stage(Apply, run, **options)


@pytest.mark.parametrize(
    ("scale", "calls", "size"),
    [(None, 1, (10, 14)), (2, 1, (10, 14)), (3, 2, (15, 21)), (4, 2, (20, 28)), (1.5, 1, (8, 10))],
)
def test_other_factors_come_from_passes_of_the_network_and_a_resample(run, scale, calls, size):
    batch = image_batch(1, size=(5, 7))
    assert Upscale(model="double", scale=scale)(batch, run).size == size
    assert len(run.models["double"].calls) == calls


def test_the_network_s_own_factor_is_not_resampled(run):
    batch = image_batch(2, size=(5, 7))
    expected = as_float(batch.pixels).repeat(2, axis=1).repeat(2, axis=2)
    assert np.array_equal(Upscale(model="double", scale=2)(batch, run).pixels, expected)


def test_passes_are_as_few_as_are_enough():
    assert [passes(2, scale) for scale in (0.5, 1, 2, 2.5, 3, 4, 8)] == [1, 1, 1, 1, 2, 2, 3]
    assert [passes(4, scale) for scale in (2, 5, 8, 9, 16)] == [1, 1, 1, 2, 2]


def test_grey_stays_grey(run):
    assert Upscale(model="double")(image_batch(1, channels=1), run).pixels.shape[3] == 1


def test_a_picture_that_would_become_too_large_is_refused_before_it_is_computed(run, monkeypatch):
    monkeypatch.setattr("genloom.imaging.MAX_PIXELS", 10_000)
    with pytest.raises(StageError, match="too large"):
        Upscale(model="double", scale=8)(image_batch(1, size=(20, 20)), run)
    assert run.models["double"].calls == []
    # What the network gives, 100×56, is small enough; what resampling makes of it is not.
    with pytest.raises(StageError, match=r"at most 10000 pixels, got 136×76"):
        Upscale(model="double", scale=2.72)(image_batch(1, size=(28, 50)), run)
    assert run.models["double"].calls == []


def test_strength_blends_and_zero_leaves_the_picture_alone(run):
    batch = image_batch(1)
    assert Apply(model="half", strength=0)(batch, run) is batch
    result = Apply(model="half", strength=0.5)(batch, run)
    assert np.allclose(result.data, batch.data * 0.75, atol=1e-6)


def test_other_inputs_get_the_default_of_the_card(run):
    Apply(model="told")(image_batch(3), run)
    ((_, inputs),) = run.models["told"].calls
    assert inputs["noise_level"].tolist() == [0, 0, 0]


def test_a_model_that_does_not_fit_is_refused_with_what_would(run):
    half, double = run.models["half"].card, run.models["double"].card
    with pytest.raises(GenloomError, match=r"keeps the size.*`apply` takes it"):
        Upscale(model="half").check_model("model", half)
    denoiser = fake_model(name="denoiser", ports=("noise_level",)).card
    with pytest.raises(GenloomError, match=r"keeps the size.*`denoise` takes it"):
        Upscale(model="denoiser").check_model("model", denoiser)
    with pytest.raises(GenloomError, match="cannot be blended"):
        Apply(model="double", strength=0.5).check_model("model", double)
    Apply(model="double").check_model("model", double)
    part = half.parts["network"]
    for port, message in (("style", "got style$"), ("noise_level", "`denoise` takes it")):
        ports = {**part.inputs, port: Port(axes=("batch",))}
        lacking = half.model_copy(
            update={"parts": {"network": part.model_copy(update={"inputs": ports})}}
        )
        with pytest.raises(GenloomError, match=message):
            Apply(model="half").check_model("model", lacking)


@pytest.mark.parametrize(
    ("scale", "model"),
    [
        *[(scale, "upscale-x2") for scale in (None, 1.5, 2, 8)],
        *[(scale, "upscale-x4") for scale in (2.5, 3, 4)],
    ],
)
def test_the_scale_chooses_the_model_unless_one_is_named(scale, model):
    assert Upscale(scale=scale).model == model
    assert Upscale(scale=scale, model="own").model == "own"
    assert Upscale(scale=3).with_options(ensemble=2).model == "upscale-x4"
