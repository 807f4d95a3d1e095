"""Keeping the best weights and ending early: what is exported, and that a resume keeps to it."""

import dataclasses

import families
import pytest
import torch

from genloom.errors import UnknownName
from genloom_train import checkpoint
from genloom_train.metrics import higher_is_better
from genloom_train.options import TrainOptions
from genloom_train.testing import equal, run, train, train_in_two, trainer

SHAPE = (1, 8, 8)
OPTIONS = TrainOptions(
    steps=12, batch=4, learning_rate=1e-2, log_every=12, validate_every=2, sample_every=12,
    checkpoint_every=3, keep="best", watch="score",
)  # fmt: skip
SCORES = {2: 5.0, 4: 3.0, 6: 4.0, 8: 3.0, 10: float("nan"), 12: 9.0}


def options(**changes):
    return dataclasses.replace(OPTIONS, **changes)


def told(scores=SCORES):
    return families.Told(scores, SHAPE)


@pytest.mark.parametrize(
    ("better", "step"), [(None, 4), ("lower", 4), ("higher", 12)], ids=["by name", "low", "high"]
)
def test_the_weights_of_the_best_validation_are_exported(better, step, tmp_path):
    made = train(told(), tmp_path / "whole", options(better=better))
    assert (made.watch.step, made.watch.figures["score"]) == (step, SCORES[step])
    assert (made.step, int(made.best.steps), int(made.module.steps)) == (12, step, 12)
    short = train(told(), tmp_path / "short", options(steps=step, schedule="constant"))
    same = train(told(), tmp_path / "same", options(better=better, schedule="constant"))
    assert equal(same.best, short.module)


def test_the_average_is_what_is_kept_where_there_is_one(tmp_path):
    made = train(told(), tmp_path, options(ema=0.9, schedule="constant"))
    short = train(told(), tmp_path / "short", options(ema=0.9, steps=4, schedule="constant"))
    assert equal(made.best, short.average) and not equal(made.best, short.module)


def test_training_ends_when_patience_is_over_and_says_so(tmp_path, capsys):
    made = train(told(), tmp_path, options(patience=2))
    assert (made.step, made.watch.step, made.finished) == (8, 4, True)
    assert [p.name for p in checkpoint.found(tmp_path / "checkpoints")][-1] == "step-00000008"
    assert (tmp_path / "samples" / "step-00000008.png").is_file()


def test_patience_works_without_keeping_the_best(tmp_path):
    made = train(told(), tmp_path, options(patience=3, keep="last"))
    assert made.step == 10 and made.watch.weights is None and made.best is made.module


def test_a_figure_that_is_not_finite_is_never_the_best(tmp_path):
    scores = {2: float("nan"), 4: float("inf"), 6: 8.0, 8: float("-inf"), 10: 7.0, 12: 7.0}
    assert train(told(scores), tmp_path, OPTIONS).watch.step == 10


@pytest.mark.parametrize("patience", [None, 2])
@pytest.mark.parametrize("ema", [0.0, 0.9])
def test_two_halves_keep_what_one_whole_keeps(ema, patience, tmp_path):
    changed = options(ema=ema, patience=patience)
    straight = train(told(), tmp_path / "a", changed)
    halves = train_in_two(told(), tmp_path / "b", changed)
    assert (straight.step, straight.watch.step) == (halves.step, halves.watch.step)
    assert equal(straight.best, halves.best) and equal(straight.module, halves.module)
    assert straight.watch.figures == halves.watch.figures == {"score": 3.0, "scope": 1.0}


def test_a_training_that_was_killed_after_its_best_finds_it_again(tmp_path):
    straight = train(told(), tmp_path / "a", OPTIONS)
    train(told(), tmp_path / "b", OPTIONS)
    first = tmp_path / "b" / "checkpoints"
    assert [path.name for path in checkpoint.found(first)] == ["step-00000009", "step-00000012"]
    back = trainer(told(), tmp_path / "c", OPTIONS)
    back.restore(checkpoint.load(first / "step-00000009"))
    assert (back.watch.step, back.watch.waited) == (4, 2)
    assert run(back, back.step)["score"] == 9.0
    assert equal(straight.best, back.best)


def test_a_training_that_ended_early_does_not_go_on(tmp_path):
    train(told(), tmp_path, options(patience=2))
    back = trainer(told(), tmp_path, options(patience=2))
    back.restore(checkpoint.load(checkpoint.found(tmp_path / "checkpoints")[-1]))
    assert back.finished and run(back, back.step) == {"score": 3.0, "scope": 1.0}
    assert (back.step, int(back.best.steps)) == (8, 4)
    more = trainer(told(), tmp_path, options(patience=9))
    more.restore(checkpoint.load(checkpoint.found(tmp_path / "checkpoints")[-1]))
    assert not more.finished


def test_a_figure_that_does_not_exist_is_an_error_before_the_first_step(tmp_path):
    made = trainer(told(), tmp_path, options(watch="scor"))
    with pytest.raises(UnknownName, match=r"train\.watch.*'scor'.*Did you mean 'score'"):
        run(made)
    assert made.step == 0


def test_a_look_at_the_figures_changes_nothing(tmp_path):
    straight = train(told(), tmp_path / "a", options(keep="last", watch=None))
    watched = train(told(), tmp_path / "b", OPTIONS)
    assert torch.equal(straight.module[0].weight, watched.module[0].weight)


@pytest.mark.parametrize(
    ("name", "higher"),
    [
        ("psnr", True), ("psnr_25", True), ("SSIM", True), ("elbo", True), ("accuracy", True),
        ("negative_elbo", False), ("kl", False), ("mse", False), ("fid", False), ("loss", False),
    ],
)  # fmt: skip
def test_the_name_of_a_figure_tells_which_way_is_better(name, higher):
    assert higher_is_better(name) == higher
