"""Binding a pipeline: what is wrong is said before anything is written."""

from __future__ import annotations

import shutil

import pytest

from genloom import load_pipeline, machine
from genloom.errors import GenloomError, ModelError


@pytest.fixture
def chain(catalog, empty_place):
    """Makes a pipeline of the stages given as YAML lines, in an empty working folder."""

    def make(*stages, **how):
        file = empty_place / "chain.yaml"
        lines = "".join(f"  - {stage}\n" for stage in stages)
        file.write_text(f"genloom: 1\nstages:\n{lines}")
        return load_pipeline(file, catalog=catalog, **how)

    return make


@pytest.fixture
def damage(tiny_bundles, empty_place):
    """Damages a graph of the project's own copy of a tiny bundle."""

    def damage(name, part):
        shutil.copytree(tiny_bundles / name, empty_place / "models" / name)
        (empty_place / "models" / name / f"{part}.onnx").write_bytes(b"damaged")

    return damage


def test_a_damaged_graph_that_a_stage_uses_is_an_error_before_anything_is_written(
    chain, damage, empty_place
):
    damage("tiny-vae", "decoder")
    loaded = chain("sample: {model: tiny-vae, count: 2}", "decode", "save")
    with pytest.raises(ModelError, match="the graph of 'decoder' is not the one"):
        loaded.run((), "out")
    assert not (empty_place / "out").exists()


def test_a_graph_that_no_stage_uses_is_not_asked_for(chain, damage):
    damage("tiny-vae", "encoder")
    loaded = chain("sample: {model: tiny-vae, count: 2}", "decode", "save")
    assert loaded.run((), "out").done == 2


def test_an_option_that_the_provider_does_not_have_is_refused(chain):
    loaded = chain("sample: {model: tiny-vae, count: 2}", "decode", "save")
    with pytest.raises(GenloomError, match="'cpu' has no option 'foo'"):
        loaded.plan((), "out", provider="cpu", provider_options={"foo": "1"})


def test_a_pipeline_that_reads_nothing_refuses_inputs(chain):
    loaded = chain("sample: {model: tiny-vae, count: 2}", "decode", "save")
    with pytest.raises(GenloomError, match="begins with 'sample' takes no input; got gone, in"):
        loaded.plan(("gone", "in"), "out")


@pytest.mark.parametrize(
    ("setting", "expected"),
    [
        ({"workers": -2}, "'workers' is not right; expected a whole number of at least 0, got -2"),
        ({"batch": -2}, "'batch' is not right; expected a whole number of at least 0, got -2"),
        (
            {"threads": 1.5},
            "'threads' is not right; expected a whole number of at least 0, got 1.5",
        ),
        ({"tile": 8}, "'tile' is not right; expected 0, or a whole number of at least 16, got 8"),
        (
            {"precision_floor": -1.0},
            "'precision_floor' is not right; expected dB, a number of at least 0, got -1",
        ),
        ({"precision_floor": float("nan")}, "'precision_floor' is not right; expected dB"),
        ({"queue_bytes": -1}, "'queue_bytes' is not right; expected a whole number of at least 0"),
    ],
)
def test_settings_out_of_range_are_refused(chain, setting, expected):
    loaded = chain("sample: {model: tiny-vae, count: 2}", "decode", "save")
    with pytest.raises(GenloomError, match=f"the setting {expected}"):
        loaded.plan((), "out", **setting)


@pytest.mark.parametrize(
    ("cores", "free", "workers", "codecs", "queue"),
    [
        (2, 2**35, 0, 2, 256),
        (16, 2**36, 0, 16, 1024),
        (16, 2**33, 0, 16, 512),
        (16, None, 0, 16, 256),
        (16, 2**36, 3, 3, 256),
        (16, 2**36, 1, 2, 256),
    ],
)
def test_many_cores_have_many_codecs_and_room_for_their_pictures(
    chain, monkeypatch, cores, free, workers, codecs, queue
):
    monkeypatch.setattr(machine, "cores", lambda: cores)
    monkeypatch.setattr(machine, "free_memory", lambda: free)
    plan = chain("sample: {model: tiny-vae, count: 2}", "decode", "save").plan(
        (), "out", workers=workers
    )
    assert (plan.codecs, plan.queue_bytes // 2**20) == (codecs, queue)
    assert plan.workers == (workers or cores)


def test_a_queue_holds_what_it_was_asked_to_hold(chain):
    loaded = chain("sample: {model: tiny-vae, count: 2}", "decode", "save")
    plan = loaded.plan((), "out", queue_bytes=1000)
    assert plan.queue_bytes == plan.describe()["queue_bytes"] == 1000
