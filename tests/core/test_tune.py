"""`genloom tune` measures, keeps what it found, and shows it."""

from __future__ import annotations

import json
import shutil
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from click.testing import CliRunner
from making import chain, fake_catalog
from tuning import Many, answer, keep

from genloom import load_pipeline, models
from genloom.card import SizeRule
from genloom.cli import main
from genloom.cli.tune import tuning_text
from genloom.engine import tuned
from genloom.engine.contest import HASTY, LATE, MARGIN, ONCE, ROUNDS, Trial, Way, contest
from genloom.engine.samples import shaped
from genloom.engine.settings import BATCH, BATCH_PIXELS, RunSettings
from genloom.engine.tune import Tuning, tune
from genloom.errors import GenloomError
from genloom.runtime.pixels import IMAGE

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


def test_tuning_tries_all_steps_keeps_the_answer_and_leaves_nothing_else(blur, untuned, steady):
    before = {path for path in untuned.rglob("*") if "cache" not in path.parts}
    (found,) = tune(blur.pipeline, blur.catalog, ["in"], seconds=20)
    assert {path for path in untuned.rglob("*") if "cache" not in path.parts} == before
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


def test_a_model_of_one_size_that_draws_from_nothing_is_tuned_too(untuned, catalog, steady):
    loaded = chain(
        untuned, "sample: {model: tiny-vae, count: 6}", "decode", "save", catalog=catalog
    )
    (found,) = tune(loaded.pipeline, catalog, ["in"], seconds=20)
    assert found.answer.tile == 0
    assert not [one for one in found.trials if one.what == "tile"]
    assert [one.name for one in found.trials if one.what == "batch"][:2] == ["1 of 8×8", "4 of 8×8"]
    assert found.answer.pixels == BATCH_PIXELS and found.answer.batch in (1, 4, 16, 64)


def test_the_fastest_provider_that_gives_the_same_pictures_is_taken(many, monkeypatch):
    monkeypatch.setattr("genloom.engine.contest.perf_counter", lambda: Many.seconds)
    (found,) = tune(many.pipeline, many.catalog, ["in"], RunSettings(runtime="many"), seconds=20)
    assert found.before.provider == "plain" and found.answer.provider == "fast"
    tried = {one.name: one for one in found.trials if one.what == "provider"}
    assert tried["fast fp32"].taken and tried["fast fp32"].speed == pytest.approx(10)
    assert "less than 50" in tried["wrong fp16"].note and tried["wrong fp16"].speed is None
    assert "did not take the graph" in tried["broken fp32"].note
    assert tried["wrong fp32"].speed == pytest.approx(1)


def test_a_model_whose_card_asks_for_fp32_is_tried_in_nothing_else(untuned, tmp_path):
    catalog = fake_catalog(tmp_path / "bundles", Many)
    card = next((tmp_path / "bundles").rglob("model.yaml"))
    card.write_text(card.read_text(encoding="utf-8") + "precision: fp32\n", encoding="utf-8")
    many = chain(untuned, "load", "apply: {model: fake}", "save", catalog=catalog)
    (found,) = tune(many.pipeline, catalog, ["in"], RunSettings(runtime="many"), seconds=20)
    tried = {one.name for one in found.trials if one.what == "provider"}
    assert tried == {"plain fp32", "fast fp32", "wrong fp32", "broken fp32"}


def test_a_model_that_only_grey_pictures_need_costs_a_run_nothing_that_was_found(
    untuned, catalog, steady
):
    bundle = models.find("tiny-image", catalog)
    shutil.copytree(bundle.folder, "grey")
    bundle.card.model_copy(update={"size": SizeRule(multiple=4)}).write(Path("grey"))
    stage = "denoise: {model: tiny-image, grey: ./grey, sigma: 5}"
    pipeline = chain(untuned, "load", stage, "save", catalog=catalog)
    (found,) = tune(pipeline.pipeline, catalog, ["in"], seconds=20)
    plan = pipeline.plan("in", "out")
    assert found.model == "tiny-image" and set(plan.tuned) == set(plan.models)
    assert (plan.workers, plan.batch) == (found.answer.workers, found.answer.batch)
    own = replace(found.answer, batch=3)
    (other,) = set(plan.models) - {"tiny-image"}
    tuned.remember(other, plan.models[other].bundle, tuned.place(catalog), own)
    tune(pipeline.pipeline, catalog, ["in"], seconds=20)
    assert pipeline.plan("in", "out").tuned[other] == own  # which was measured


def test_what_was_not_measured_is_not_kept(blur):
    (found,) = tune(blur.pipeline, blur.catalog, ["in"], seconds=0)
    assert not found.measured and {one.note for one in found.trials} == {LATE}
    assert (found.answer.tile, found.answer.provider) == (0, found.before.provider)
    assert tuned.entries() == []


def test_a_pipeline_without_models_or_pictures_is_refused(untuned, catalog, blur):
    plain = chain(untuned, "load", "save", catalog=catalog)
    with pytest.raises(GenloomError, match="no model to tune"):
        tune(plain.pipeline, catalog, ["in"])
    (untuned / "in/bad.png").write_bytes(b"no")
    with pytest.raises(GenloomError, match="there is nothing to do"):
        tune(blur.pipeline, catalog, ["in/bad.png"])


def test_it_says_where_other_programs_had_the_processor():
    found = Tuning("net", answer(), answer(), (Trial("tile", "512", 1.0, True),), 0.2)
    assert "measuring had 20 % of it" in tuning_text(found)
    assert "note:" not in tuning_text(replace(found, at_work=0.8))


# The command.


def genloom(*arguments):
    return CliRunner().invoke(main, list(arguments))


def test_the_command_tunes_shows_and_forgets(untuned):
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


def test_a_run_says_in_one_line_that_it_is_tuned(untuned):
    loaded = load_pipeline("upscale")
    keep(loaded, "upscale-x2", workers=2, tile=768)
    command = ["run", "upscale", "in/p0.png", "-o", "out"]
    first, second, *_ = genloom(*command).stdout.splitlines()
    assert first == "tuned: upscale-x2 on cpu in fp32, 2 at a time, tiles of 768"
    assert second.startswith("upscale: 1 item through upscale-x2 on ")
    assert "tuned" not in genloom(*command, "--force", "--no-tuned").stdout
    assert "tuned: " in genloom("plan", *command[1:]).stdout
