"""What was tuned is kept, and used where nothing else is asked."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from dataclasses import replace

import numpy as np
import pytest
from making import chain
from PIL import Image
from tuning import answer, keep

from genloom import machine
from genloom.engine import tuned
from genloom.engine.binding import _with
from genloom.engine.cutting import SIDES, TILE
from genloom.engine.settings import BATCH_PIXELS, RunSettings
from genloom.errors import OutputError
from genloom.record import Record


def test_a_run_uses_what_was_found_where_nothing_is_asked(blur):
    assert blur.plan("in", "out").tuned == {}
    keep(blur)
    plan = blur.plan("in", "out")
    assert plan.tuned == {"tiny-image": answer()}
    assert (plan.workers, plan.tile, plan.batch, plan.batch_pixels) == (3, 512, 16, 4096)
    assert plan.models["tiny-image"].tile == 512
    plan = blur.plan("in", "out", workers=1, tile=256, batch=2)
    assert (plan.workers, plan.tile, plan.batch) == (1, 256, 2)


@pytest.mark.parametrize("settings", [{"tuned": False}, {"runtime": "onnxruntime"}])
def test_other_settings_than_it_was_found_for_leave_it_aside(blur, settings):
    keep(blur)
    plan = blur.plan("in", "out", **settings)
    assert (plan.tuned, plan.tile, plan.batch_pixels) == ({}, SIDES[0], BATCH_PIXELS)


def test_an_answer_for_another_provider_is_left_aside_when_one_is_asked_for(blur):
    keep(blur, provider="elsewhere")
    assert blur.plan("in", "out", provider="cpu").tuned == {}
    keep(blur, precision="bf16")
    assert blur.plan("in", "out", precision="fp32").tuned == {}
    keep(blur)
    plan = blur.plan("in", "out", provider="cpu", precision="fp32")
    assert plan.tuned == {"tiny-image": answer()}


def test_a_tuned_fp32_is_not_compared_again_and_a_lower_one_still_is(many):
    keep(many, "fake", provider="wrong")
    report = many.run("in", "out")
    assert (report.providers, report.notes) == ({"fake": "wrong"}, {})
    assert report.precisions == {"fake": {"network": "fp32"}}
    keep(many, "fake", provider="wrong", precision="fp16")
    report = many.run("in", "other")
    assert report.precisions == {"fake": {"network": "fp32"}}
    assert any("fp16 differs from fp32" in note for note in report.notes)


def test_where_the_provider_that_was_found_is_gone_the_run_does_as_if_untuned(blur):
    keep(blur, provider="gone")
    plan = blur.plan("in", "out")
    assert (plan.tuned, plan.providers, plan.tile) == ({}, {"tiny-image": "cpu"}, SIDES[0])
    untuned = blur.plan("in", "out", tuned=False)
    assert (plan.workers, plan.batch, plan.batch_pixels) == (
        untuned.workers,
        untuned.batch,
        untuned.batch_pixels,
    )
    (note,) = blur.run("in", "out").notes
    assert "what was tuned, gone in fp32" in note and "`genloom tune` would find anew" in note


def test_what_was_tuned_names_no_provider_so_the_cpu_still_helps(blur):
    keep(blur)
    plan = blur.plan("in", "out")
    assert plan.tuned and plan.models["tiny-image"].fallback.spare is not None
    plan = blur.plan("in", "out", cpu_fallback=False)
    assert plan.tuned and plan.models["tiny-image"].fallback.spare is None


def test_tiles_of_a_network_that_sees_a_picture_whole_are_not_tuned(blur):
    bundle = blur.pipeline.bundles["tiny-image"]
    card = bundle.card.model_copy(update={"receptive_field": "global"})
    whole = replace(bundle, card=card)
    assert _with(RunSettings(), answer(), bundle).tile == 512
    assert _with(RunSettings(), answer(), whole).tile == 0


@pytest.mark.parametrize(
    ("where", "value"),
    [
        ("digest", [1]),
        ("model", None),
        ("measured", 3),
        ("place", 4),
        ("workers", 10**7),
        ("tile", 10**30),
        ("pixels", 10**30),
        ("pace", float("inf")),
        ("batch", True),
    ],
)
def test_an_entry_that_is_not_right_is_left_out_and_the_others_stay(blur, where, value):
    keep(blur)
    kept = json.loads(tuned.file().read_text())
    bad = json.loads(tuned.file().read_text())["answers"][0]
    (bad if where in bad else bad["answer"])[where] = value
    kept["answers"].insert(0, bad)
    tuned.file().write_text(json.dumps(kept))
    assert blur.plan("in", "out").tuned == {"tiny-image": answer()}
    assert tuned.forget([blur.pipeline.bundles["tiny-image"].digest]) == 1


def test_what_cannot_be_kept_is_an_error_and_leaves_nothing_behind(blur):
    tuned.file().mkdir(parents=True)
    with pytest.raises(OutputError, match="cannot be kept"):
        keep(blur)
    left = {path.name for path in tuned.file().parent.iterdir()}
    assert left == {"tuned.json", "tuned.lock"}


KEEPING = """
import sys
from genloom.engine import tuned
from genloom.types import digest_of

class Model:
    def __init__(self, name):
        self.digest = digest_of({"name": name})

number = int(sys.argv[1])
how = {"provider": "cpu", "precision": "fp32", "workers": 1, "tile": 0, "batch": 1}
answer = tuned.Answer(**how, pixels=1, pace=1.0)
tuned.cache.platformdirs.user_cache_dir = lambda *_, **__: "cache"
for each in range(20):
    tuned.remember("m", Model(f"{number}-{each}"), {}, answer)
"""


def test_processes_that_keep_answers_at_once_lose_none(untuned):
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join(sys.path)}
    commands = [[sys.executable, "-c", KEEPING, str(number)] for number in range(3)]
    processes = [subprocess.Popen(command, env=environment) for command in commands]
    assert [process.wait(timeout=120) for process in processes] == [0, 0, 0]
    assert len(tuned.entries()) == 60


def test_a_lock_that_is_held_too_long_is_told(blur, monkeypatch):
    keep(blur)
    monkeypatch.setattr(tuned, "PATIENCE", 0.01)
    with tuned._alone(), pytest.raises(OutputError, match="another process has been holding"):
        keep(blur, tile=768)
    keep(blur, tile=768)
    assert blur.plan("in", "out").tile == 768


@pytest.mark.parametrize("value", ["off", "0", "no", "FALSE"])
def test_the_environment_turns_it_off(blur, monkeypatch, value):
    keep(blur)
    monkeypatch.setenv(tuned.ENVIRONMENT, value)
    assert blur.plan("in", "out").tuned == {}


def test_an_answer_holds_for_this_machine_these_versions_and_this_model_alone(blur, monkeypatch):
    keep(blur)
    monkeypatch.setattr(tuned.machine, "processor", lambda: "another")
    assert blur.plan("in", "out").tuned == {}
    keep(blur, tile=768)
    assert len(tuned.entries()) == 2
    assert blur.plan("in", "out").tile == 768


def test_the_slowest_of_several_models_decides_what_is_of_the_whole_run(untuned, catalog):
    stages = ("load", "apply: {model: tiny-image}", "encode: {model: tiny-vae}", "decode", "save")
    loaded = chain(untuned, *stages, catalog=catalog)
    keep(loaded, workers=3, pace=1.0, tile=512)
    plan = loaded.plan("in", "out")
    assert plan.models["tiny-image"].tile == 512 and plan.batch_pixels == BATCH_PIXELS
    keep(loaded, "tiny-vae", workers=5, pace=2.0, batch=64, pixels=9999, tile=0)
    plan = loaded.plan("in", "out")
    assert (plan.workers, plan.batch, plan.batch_pixels) == (5, 64, 9999)
    assert plan.models["tiny-image"].tile == 512 and plan.models["tiny-vae"].tile == TILE
    assert plan.tile == TILE  # the larger; the record tells both
    loaded.run("in", "out")
    models = Record.read(untuned / "out/p0.png").models
    assert {one.name: one.tile for one in models} == {"tiny-image": 512, "tiny-vae": TILE}


def test_tuned_or_not_the_pixels_and_the_fingerprint_are_the_same_and_the_record_tells(
    blur, untuned
):
    blur.run("in", "plain")
    keep(blur, tile=16, pixels=1)
    report = blur.run("in", "tuned", workers=2)
    assert report.done == 3
    for path in (untuned / "plain").glob("*.png"):
        with Image.open(path) as one, Image.open(untuned / "tuned" / path.name) as other:
            apart = np.asarray(one, int) - np.asarray(other, int)
        assert np.abs(apart).max() <= 1
    assert Record.read(untuned / "tuned/p0.png").models[0].tile == 16
    assert Record.read(untuned / "plain/p0.png").models[0].tile == SIDES[0]
    assert blur.run("in", "plain").skipped == 3  # tuned since: nothing is done again


@pytest.mark.parametrize(
    "text",
    [
        "",
        "[]",
        "{}",
        '{"version": 2, "answers": []}',
        '{"version": 1, "answers": [{}]}',
        '{"version": 1, "answers": 7}',
        "\x00",
        "[" * 100_000,
    ],
)
def test_a_file_that_is_not_right_is_as_good_as_none(blur, text):
    tuned.file().parent.mkdir(parents=True)
    tuned.file().write_text(text)
    assert tuned.entries() == [] and blur.plan("in", "out").tuned == {}
    keep(blur)
    assert len(tuned.entries()) == 1


@pytest.mark.parametrize(
    "changes",
    [
        {"workers": 0},
        {"workers": "2"},
        {"tile": 15},
        {"tile": -4},
        {"batch": 0},
        {"pixels": 1.5},
        {"provider": 7},
        {"pace": "fast"},
        {"pace": -1.0},
        {"other": 1},
    ],
)
def test_an_answer_out_of_range_is_left_out(blur, changes):
    keep(blur)
    kept = json.loads(tuned.file().read_text())
    kept["answers"][0]["answer"] |= changes
    tuned.file().write_text(json.dumps(kept))
    assert tuned.entries() == []


def test_few_calls_at_a_time_leave_all_cores_to_decoding_and_writing(blur, monkeypatch):
    monkeypatch.setattr(machine, "cores", lambda: 16)
    keep(blur, workers=1)
    plan = blur.plan("in", "out")
    assert (plan.workers, plan.codecs) == (1, 16)
