"""`genloom tune`: what is tried, what is taken, and that later runs use it."""

from __future__ import annotations

import itertools
import json
import os
import subprocess
import sys
import threading
from dataclasses import replace

import numpy as np
import pytest
from click.testing import CliRunner
from making import chain, fake_catalog
from PIL import Image

from genloom import load_pipeline, machine
from genloom.cli import main
from genloom.cli.tune import tuning_text
from genloom.engine import tuned
from genloom.engine.contest import HASTY, LATE, MARGIN, ONCE, ROUNDS, Trial, Way, contest
from genloom.engine.cutting import SIDES, TILE
from genloom.engine.plan import _with
from genloom.engine.samples import shaped
from genloom.engine.settings import BATCH, BATCH_PIXELS, RunSettings
from genloom.engine.tune import Tuning, tune
from genloom.engine.tuned import Answer
from genloom.errors import GenloomError, MissingRequirement, OutputError
from genloom.record import Record
from genloom.runtime.pixels import IMAGE
from genloom.testing import FakeRuntime


@pytest.fixture
def place(empty_place, monkeypatch):
    """A working folder with three pictures, where nothing has been tuned yet."""
    monkeypatch.delenv(tuned.ENVIRONMENT, raising=False)
    monkeypatch.setenv("XDG_CACHE_HOME", str(empty_place / "cache"))
    monkeypatch.setattr(tuned.cache.platformdirs, "user_cache_dir", lambda *_, **__: "cache")
    (empty_place / "in").mkdir()
    random = np.random.RandomState(0)
    for index in range(3):
        pixels = random.randint(0, 256, (40, 48 + index, 3)).astype(np.uint8)
        Image.fromarray(pixels).save(f"in/p{index}.png")
    return empty_place


@pytest.fixture
def blur(place, catalog):
    return chain(place, "load", "apply: {model: tiny-image}", "save", catalog=catalog)


def answer(**changes):
    given = {"provider": "cpu", "precision": "fp32", "workers": 3, "tile": 512, "batch": 16}
    return Answer(**{**given, "pixels": 4096, "pace": 0.5, **changes})


def keep(loaded, name="tiny-image", **changes):
    """Keep an answer for a model as if it had been measured here."""
    here = tuned.place(loaded.catalog)
    tuned.remember(name, loaded.pipeline.bundles[name], here, answer(**changes))


@pytest.fixture
def steady(monkeypatch):
    """A clock by which every way takes equally long, so that there is always time."""
    ticks = itertools.count()
    monkeypatch.setattr("genloom.engine.contest.perf_counter", lambda: 1e-6 * next(ticks))


# Measuring.


class Clock:
    """A clock that only what is measured moves."""

    def __init__(self, monkeypatch):
        self.now = 0.0
        monkeypatch.setattr("genloom.engine.contest.perf_counter", lambda: self.now)

    def way(self, name, seconds, work=1.0):
        def call():
            self.now += seconds

        return Way(name, call, work)


def test_the_fastest_way_is_taken_and_every_trial_says_how_fast(monkeypatch):
    clock = Clock(monkeypatch)
    ways = [clock.way("old", 2.0), clock.way("fast", 1.0), clock.way("slow", 4.0)]
    outcome = contest("provider", ways, "old", 1000, {"fast": "60 dB"})
    assert (outcome.best, outcome.pace) == ("fast", 1.0)
    assert [(one.name, one.speed, one.taken, one.note) for one in outcome.trials] == [
        ("old", 1.0, False, ""),
        ("fast", 2.0, True, "60 dB"),
        ("slow", 0.5, False, ""),
    ]
    assert clock.now == 7.0 * (ROUNDS + 1)


def test_a_way_that_is_hardly_faster_is_not_taken(monkeypatch):
    clock = Clock(monkeypatch)
    ways = [clock.way("old", 1.0), clock.way("new", 1.0 / (MARGIN - 0.01))]
    assert contest("tile", ways, "old", 1000).best == "old"
    ways = [clock.way("old", 1.0), clock.way("new", 1.0 / (MARGIN + 0.01))]
    assert contest("tile", ways, "old", 1000).best == "new"


def test_what_would_take_longer_than_is_left_is_not_begun(monkeypatch):
    clock = Clock(monkeypatch)
    ways = [clock.way("old", 1.0), clock.way("new", 0.5, 1.0), clock.way("large", 8.0, 8.0)]
    outcome = contest("tile", ways, "old", 2.5)
    assert clock.now == pytest.approx(1.5)  # one turn, and no time for another
    assert outcome.best == "old"
    assert [one.note for one in outcome.trials] == [ONCE, ONCE, LATE]
    for seconds, best in ((1.01 / HASTY, "old"), (0.99 / HASTY, "new")):
        ways = [clock.way("old", 1.0), clock.way("new", seconds)]
        assert contest("tile", ways, "old", 2 * (1 + seconds)).best == best  # two turns


def test_without_time_nothing_is_measured_and_all_stays_as_it_is(monkeypatch):
    clock = Clock(monkeypatch)
    outcome = contest("tile", [clock.way("small", 1.0), clock.way("old", 9.0, 9.0)], "old", 0.0)
    assert (outcome.best, outcome.pace, clock.now) == ("old", 0.0, 0.0)
    outcome = contest("tile", [clock.way("small", 1.0), clock.way("old", 9.0, 9.0)], "old", 5.0)
    assert (outcome.best, clock.now) == ("old", 1.0)  # nothing to compare with
    assert {one.note for one in outcome.trials} == {LATE}


def test_inputs_are_cut_mirrored_and_repeated():
    image = np.arange(2 * 3 * 4 * 3, dtype=np.uint8).reshape(2, 3, 4, 3)
    level = np.array([0.1, 0.2], np.float32)
    found = shaped({IMAGE: image, "noise_level": level}, 3, 6)
    assert (
        found[IMAGE].shape == (3, 6, 6, 3)
        and found["noise_level"].tolist() == level[[0, 1, 0]].tolist()
    )
    np.testing.assert_array_equal(found[IMAGE][0, :3, :4], image[0])
    np.testing.assert_array_equal(found[IMAGE][0, 3:, :4], image[0, ::-1])
    np.testing.assert_array_equal(found[IMAGE][2], found[IMAGE][0])
    floats = {"image": np.zeros((1, 3, 8, 6), np.float32), "latent": np.zeros((1, 5), np.float32)}
    assert {name: a.shape for name, a in shaped(floats, 2, 4).items()} == {
        "image": (2, 3, 4, 4),
        "latent": (2, 5),
    }
    assert shaped(floats, 1, None)["image"].shape == (1, 3, 8, 6)


def test_tuning_tries_all_steps_keeps_the_answer_and_leaves_nothing_else(blur, place, steady):
    before = {path for path in place.rglob("*") if "cache" not in path.parts}
    (found,) = tune(blur.pipeline, blur.catalog, ["in"], seconds=20)
    assert {path for path in place.rglob("*") if "cache" not in path.parts} == before
    assert found.model == "tiny-image" and found.answer.pace > 0
    assert (found.before.provider, found.before.precision) == ("cpu", "fp32")
    assert (found.before.tile, found.before.batch) == (0, BATCH)
    tried = {what: [one for one in found.trials if one.what == what] for what in STEPS}
    assert next(one.name for one in tried["provider"]) == "cpu fp32"
    assert [one.name for one in tried["tile"]] == ["384", "768", "1024", "1536"]
    assert [one.name for one in tried["batch"]] == [f"{n} of 256×256" for n in (1, 4, 16)]
    for trials in tried.values():
        assert sum(one.taken for one in trials) == (1 if trials else 0)
    assert [entry.answer for entry in tuned.entries()] == [found.answer]
    assert blur.plan("in", "out").tuned == {"tiny-image": found.answer}


STEPS = ("provider", "at a time", "tile", "batch")


def test_a_model_of_one_size_that_draws_from_nothing_is_tuned_too(place, catalog, steady):
    loaded = chain(place, "sample: {model: tiny-vae, count: 6}", "decode", "save", catalog=catalog)
    (found,) = tune(loaded.pipeline, catalog, ["in"], seconds=20)
    assert found.answer.tile == 0
    assert not [one for one in found.trials if one.what == "tile"]
    assert [one.name for one in found.trials if one.what == "batch"][:2] == ["1 of 8×8", "4 of 8×8"]
    assert found.answer.pixels == BATCH_PIXELS and found.answer.batch in (1, 4, 16, 64)


class Many(FakeRuntime):
    """Providers that are slow, fast, fast and wrong in a lower precision, and broken."""

    name = "many"
    seconds, lock = 0.0, threading.Lock()

    def providers(self):
        return ("plain", "fast", "wrong", "broken")

    def compile(self, graph, settings):
        provider = "plain" if settings.provider == "auto" else settings.provider
        if provider == "broken":
            raise MissingRequirement("the provider 'broken' did not take the graph")
        network = super().compile(graph, settings)
        network.provider, lower = provider, provider == "wrong" and settings.precision == "auto"
        network.precision = "fp16" if lower else "fp32"

        def function(image):
            with Many.lock:
                Many.seconds += 0.001 if provider == "fast" or lower else 0.01
            return {"result": 1 - image if lower else image}

        network.function = function
        return network


@pytest.fixture
def many(place, tmp_path):
    """A pipeline with a model on the runtime `many`, the only one."""
    catalog = fake_catalog(tmp_path / "bundles", Many)
    return chain(place, "load", "apply: {model: fake}", "save", catalog=catalog)


def test_the_fastest_provider_that_gives_the_same_pictures_is_taken(many, monkeypatch):
    monkeypatch.setattr("genloom.engine.contest.perf_counter", lambda: Many.seconds)
    (found,) = tune(many.pipeline, many.catalog, ["in"], RunSettings(runtime="many"), seconds=20)
    assert found.before.provider == "plain" and found.answer.provider == "fast"
    tried = {one.name: one for one in found.trials if one.what == "provider"}
    assert tried["fast fp32"].taken and tried["fast fp32"].speed == pytest.approx(10)
    assert "less than 50" in tried["wrong fp16"].note and tried["wrong fp16"].speed is None
    assert "did not take the graph" in tried["broken fp32"].note
    assert tried["wrong fp32"].speed == pytest.approx(1)


def test_a_model_whose_card_asks_for_fp32_is_tried_in_nothing_else(place, tmp_path):
    catalog = fake_catalog(tmp_path / "bundles", Many)
    card = next((tmp_path / "bundles").rglob("model.yaml"))
    card.write_text(card.read_text(encoding="utf-8") + "precision: fp32\n", encoding="utf-8")
    many = chain(place, "load", "apply: {model: fake}", "save", catalog=catalog)
    (found,) = tune(many.pipeline, catalog, ["in"], RunSettings(runtime="many"), seconds=20)
    tried = {one.name for one in found.trials if one.what == "provider"}
    assert tried == {"plain fp32", "fast fp32", "wrong fp32", "broken fp32"}


def test_what_was_not_measured_is_not_kept(blur):
    (found,) = tune(blur.pipeline, blur.catalog, ["in"], seconds=0)
    assert not found.measured and {one.note for one in found.trials} == {LATE}
    assert (found.answer.tile, found.answer.provider) == (0, found.before.provider)
    assert tuned.entries() == []


def test_a_pipeline_without_models_or_pictures_is_refused(place, catalog, blur):
    plain = chain(place, "load", "save", catalog=catalog)
    with pytest.raises(GenloomError, match="no model to tune"):
        tune(plain.pipeline, catalog, ["in"])
    (place / "in/bad.png").write_bytes(b"no")
    with pytest.raises(GenloomError, match="there is nothing to do"):
        tune(blur.pipeline, catalog, ["in/bad.png"])


def test_it_says_where_other_programs_had_the_processor():
    found = Tuning("net", answer(), answer(), (Trial("tile", "512", 1.0, True),), 0.2)
    assert "measuring had 20 % of it" in tuning_text(found)
    assert "note:" not in tuning_text(replace(found, at_work=0.8))


# Using what was found.


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


def test_processes_that_keep_answers_at_once_lose_none(place):
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


def test_the_slowest_of_several_models_decides_what_is_of_the_whole_run(place, catalog):
    stages = ("load", "apply: {model: tiny-image}", "encode: {model: tiny-vae}", "decode", "save")
    loaded = chain(place, *stages, catalog=catalog)
    keep(loaded, workers=3, pace=1.0, tile=512)
    plan = loaded.plan("in", "out")
    assert plan.models["tiny-image"].tile == 512 and plan.batch_pixels == BATCH_PIXELS
    keep(loaded, "tiny-vae", workers=5, pace=2.0, batch=64, pixels=9999, tile=0)
    plan = loaded.plan("in", "out")
    assert (plan.workers, plan.batch, plan.batch_pixels) == (5, 64, 9999)
    assert plan.models["tiny-image"].tile == 512 and plan.models["tiny-vae"].tile == TILE
    assert plan.tile == TILE  # the larger; the record tells both
    loaded.run("in", "out")
    models = Record.read(place / "out/p0.png").models
    assert {one.name: one.tile for one in models} == {"tiny-image": 512, "tiny-vae": TILE}


def test_tuned_or_not_the_pixels_and_the_fingerprint_are_the_same_and_the_record_tells(blur, place):
    blur.run("in", "plain")
    keep(blur, tile=16, pixels=1)
    report = blur.run("in", "tuned", workers=2)
    assert report.done == 3
    for path in (place / "plain").glob("*.png"):
        with Image.open(path) as one, Image.open(place / "tuned" / path.name) as other:
            apart = np.asarray(one, int) - np.asarray(other, int)
        assert np.abs(apart).max() <= 1
    assert Record.read(place / "tuned/p0.png").models[0].tile == 16
    assert Record.read(place / "plain/p0.png").models[0].tile == SIDES[0]
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


# The command.


def genloom(*arguments):
    return CliRunner().invoke(main, list(arguments))


def test_the_command_tunes_shows_and_forgets(place):
    result = genloom("tune", "upscale", "in", "--seconds", "5")
    assert result.exit_code == 0, result.output
    lines = result.stdout.splitlines()
    assert lines[0].startswith("upscale-x2: ") and " at a time" in lines[0]
    assert lines[2].split() == ["setting", "tried", "speed"]
    assert lines[3].startswith("provider ")
    assert lines[-1].startswith("kept in ")
    assert result.stderr.startswith("upscale: running it on a few pictures\n")
    shown = genloom("tune", "--show").stdout
    assert shown.startswith("upscale-x2") and "not here" not in shown
    assert json.loads(genloom("tune", "upscale", "--show", "--json").stdout)[0]["model"]
    assert genloom("tune", "denoise", "--show").stdout == "nothing is kept\n"
    assert genloom("tune", "denoise", "--forget").stdout == "0 forgotten\n"
    assert genloom("tune", "--forget").stdout == "1 forgotten\n"
    assert tuned.entries() == []
    assert genloom("tune").exit_code == 2


def test_a_run_says_in_one_line_that_it_is_tuned(place):
    loaded = load_pipeline("upscale")
    keep(loaded, "upscale-x2", workers=2, tile=768)
    command = ["run", "upscale", "in/p0.png", "-o", "out"]
    first, second, *_ = genloom(*command).stdout.splitlines()
    assert first == "tuned: upscale-x2 on cpu in fp32, 2 at a time, tiles of 768"
    assert second.startswith("upscale: 1 item through upscale-x2 on ")
    assert "tuned" not in genloom(*command, "--force", "--no-tuned").stdout
    assert "tuned: " in genloom("plan", *command[1:]).stdout


def test_few_calls_at_a_time_leave_all_cores_to_decoding_and_writing(blur, monkeypatch):
    monkeypatch.setattr(machine, "cores", lambda: 16)
    keep(blur, workers=1)
    plan = blur.plan("in", "out")
    assert (plan.workers, plan.codecs) == (1, 16)
