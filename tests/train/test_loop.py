"""The loop: exact resume, averages, clipping, and what happens when training comes apart."""

import csv
import dataclasses
import sys
from pathlib import Path

import families
import pytest
import torch

from genloom.errors import GenloomError, MissingRequirement
from genloom_train import checkpoint, randomness
from genloom_train.loop import Interrupted
from genloom_train.options import TrainOptions
from genloom_train.testing import equal, run, train, train_in_two, trainer

SHAPE = (1, 8, 8)
OPTIONS = TrainOptions(
    steps=12, batch=4, learning_rate=1e-2, log_every=2, validate_every=5, sample_every=6,
    checkpoint_every=3,
)  # fmt: skip


def options(**changes):
    return dataclasses.replace(OPTIONS, **changes)


@pytest.mark.parametrize(
    ("family", "config"),
    [(families.Blur, None), (families.Alternating, None), (families.Duel, 0.2)],
    ids=["one optimiser", "two that alternate", "two, one more often"],
)
@pytest.mark.parametrize(
    "changes",
    [
        {},
        {"ema": 0.9, "clip": 0.1},
        {"optimiser": "adamw", "weight_decay": 0.1, "schedule": "constant", "warmup": 4},
        {"channels_last": True, "precision": "bf16-mixed", "schedule": "linear"},
        {"precision": "16-mixed", "clip": 0.1, "ema": 0.9, "schedule": "step"},
    ],
    ids=["plain", "average and clipping", "adamw", "bf16, channels last", "16 bits"],
)
def test_two_halves_equal_one_whole_bit_for_bit(family, config, changes, tmp_path):
    straight = train(family(config, SHAPE), tmp_path / "a", options(**changes))
    halves = train_in_two(family(config, SHAPE), tmp_path / "b", options(**changes))
    assert equal(straight.module, halves.module)
    assert equal(straight.best, halves.best)
    for name, optimiser in straight.optimisers.items():
        one, _ = checkpoint.split_optimiser(optimiser)
        two, _ = checkpoint.split_optimiser(halves.optimisers[name])
        assert one.keys() == two.keys() and all(torch.equal(one[key], two[key]) for key in one)


def test_a_resumed_training_writes_the_same_metrics(tmp_path):
    for folder, how in (("a", train), ("b", train_in_two)):
        how(families.Blur(None, SHAPE), tmp_path / folder, OPTIONS)

    def rows(folder):
        with (tmp_path / folder / "metrics.csv").open(newline="") as file:
            return [(r["step"], r["split"], r["name"], r["value"]) for r in csv.DictReader(file)]

    assert rows("a") == rows("b")
    assert {name for _, _, name, _ in rows("a")} == {"loss", "learning_rate", "mse"}


def test_samples_metrics_and_checkpoints_are_written_as_it_goes(tmp_path):
    train(families.Blur(None, SHAPE), tmp_path, OPTIONS)
    assert sorted(p.name for p in (tmp_path / "samples").iterdir()) == [
        "step-00000006.png", "step-00000012.png",
    ]  # fmt: skip
    assert [p.name for p in checkpoint.found(tmp_path / "checkpoints")] == [
        "step-00000009", "step-00000012",
    ]  # fmt: skip
    assert list((tmp_path / "tensorboard").iterdir())


@pytest.mark.parametrize("changes", [{}, {"ema": 0.9}])
def test_a_loss_that_is_not_finite_stops_and_ruins_nothing(changes, tmp_path):
    made = trainer(families.Exploding(None, SHAPE), tmp_path, options(**changes))
    with pytest.raises(GenloomError, match=r"came apart at step 6.*learning_rate"):
        run(made)
    saved = checkpoint.load(checkpoint.found(tmp_path / "checkpoints")[-1])
    assert saved.step == 3
    assert all(torch.isfinite(value).all() for value in saved.tensors["weights"].values())


@pytest.mark.parametrize("ruined", ["weights", "average", "optimiser-main"])
def test_what_is_not_finite_is_not_saved(ruined, tmp_path):
    made = trainer(families.Blur(None, SHAPE), tmp_path, options(ema=0.9))
    made.update("main", made.module(torch.rand(2, *SHAPE)).square().sum())
    weight = made.module[1].weight
    moments = made.optimisers["main"].state[weight]["exp_avg_sq"]
    tensors = {"weights": weight.data, "average": made.average[1].weight.data}
    tensors["optimiser-main"] = moments
    tensors[ruined].view(-1)[0] = float("inf")
    with pytest.raises(GenloomError, match=f"not all numbers of '{ruined}' are finite"):
        made.save()
    assert checkpoint.found(tmp_path / "checkpoints") == []


def test_a_stop_finishes_the_step_and_saves_it(tmp_path):
    made = trainer(families.Blur(None, SHAPE), tmp_path, OPTIONS)
    made.stopping.set()
    with pytest.raises(Interrupted, match="step 1"):
        run(made)
    assert checkpoint.load(checkpoint.found(tmp_path / "checkpoints")[-1]).step == 1


def test_a_failed_validation_leaves_no_thread_behind(tmp_path):
    import threading

    before = threading.active_count()
    made = trainer(families.Exploding(None, SHAPE), tmp_path, OPTIONS)
    with pytest.raises(GenloomError):
        run(made)
    assert threading.active_count() <= before + 1


def test_the_average_follows_the_weights(tmp_path):
    made = train(families.Blur(None, SHAPE), tmp_path, options(ema=0.9))
    average, weights = made.best[1].weight, made.module[1].weight
    assert not torch.equal(average, weights)
    assert (average - weights).abs().max() < 0.1
    assert not any(parameter.requires_grad for parameter in made.average.parameters())


def test_each_optimiser_keeps_its_own_rate(tmp_path):
    made = train(families.Alternating(None, SHAPE), tmp_path, options(schedule="constant"))
    rates = {name: o.param_groups[0]["lr"] for name, o in made.optimisers.items()}
    assert rates == {"one": 1e-2, "two": 5e-3}


def test_clipping_bounds_the_gradient(tmp_path):
    made = trainer(families.Blur(None, SHAPE), tmp_path, options(clip=1e-3))
    made.update("main", 100 * made.module(torch.rand(2, *SHAPE)).square().sum())
    gradients = [parameter.grad.flatten() for parameter in made.module.parameters()]
    assert torch.cat(gradients).norm() == pytest.approx(1e-3, rel=1e-3)


def test_clipping_looks_at_the_gradients_of_the_optimiser_that_moves_and_at_no_others(tmp_path):
    made = trainer(families.Duel(0.2, SHAPE), tmp_path, options(clip=1.0))
    generator, critic = made.module["generator"], made.module["critic"]
    image = torch.rand(2, *SHAPE)
    made.update("critic", 100 * critic(image).square().sum())
    huge = [1e3 * torch.ones_like(weight) for weight in critic.parameters()]
    for weight, gradient in zip(critic.parameters(), huge, strict=True):
        weight.grad = gradient.clone()
    made.update("generator", 1e-2 * generator(image).mean())
    norm = torch.cat([weight.grad.flatten() for weight in generator.parameters()]).norm()
    assert 1e-3 < norm < 2e-2
    for weight, gradient in zip(critic.parameters(), huge, strict=True):
        assert torch.equal(weight.grad, gradient)


@pytest.mark.parametrize("step", [6, 9])
@pytest.mark.parametrize("name", ["weights", "optimiser-two", "state"])
def test_a_disk_that_fills_leaves_the_checkpoint_before_and_training_goes_on_from_it(
    name, step, tmp_path, monkeypatch
):
    family = families.Alternating(None, SHAPE)
    straight = train(family, tmp_path / "straight", OPTIONS)
    full = OSError(28, "No space left on device")
    save_file, write_text = checkpoint.save_file, Path.write_text

    def filled(path):
        return path.stem == name and path.parent.name == f".step-{step:08d}.tmp"

    def save(tensors, path):
        save_file(tensors, path)
        if filled(path):
            path.write_bytes(path.read_bytes()[:-9])
            raise full

    def write(path, *arguments, **options):
        if filled(path):
            raise full
        return write_text(path, *arguments, **options)

    made = trainer(family, tmp_path / "full", OPTIONS)
    with monkeypatch.context() as patch:
        patch.setattr(checkpoint, "save_file", save)
        patch.setattr(Path, "write_text", write)
        with pytest.raises(GenloomError, match=rf"step {step} could not.*No space left.*--resume"):
            run(made)
    folder = tmp_path / "full" / "checkpoints"
    newest = checkpoint.found(folder)[-1]
    assert newest.name == f"step-{step - 3:08d}"
    assert not [path for path in folder.iterdir() if path.name.startswith(".")]
    back = trainer(family, tmp_path / "full", OPTIONS)
    back.restore(checkpoint.load(newest))
    run(back, back.step)
    assert equal(straight.module, back.module)


def test_what_computes_is_compiled_and_what_is_exported_is_not(tmp_path, monkeypatch):
    compile = torch.nn.Module.compile
    monkeypatch.setenv("CXX", sys.executable)
    monkeypatch.setattr(torch.nn.Module, "compile", lambda part: compile(part, backend="eager"))
    changes = dict(compile=True, steps=2, ema=0.9, keep="best", watch="mse")
    made = train(families.Blur(0.0, SHAPE), tmp_path / "a", options(**changes))
    assert made.module._compiled_call_impl
    assert not any(part._compiled_call_impl for part in made.best.modules())
    changes["compile"] = False
    plain = train(families.Blur(0.0, SHAPE), tmp_path / "b", options(**changes))
    for one, two in zip(made.best.parameters(), plain.best.parameters(), strict=True):
        assert torch.allclose(one, two, atol=1e-5)


def test_of_a_container_the_parts_are_compiled(tmp_path, monkeypatch):
    compiled = []
    monkeypatch.setenv("CXX", sys.executable)
    monkeypatch.setattr(torch.nn.Module, "compile", lambda part: compiled.append(part))
    made = trainer(families.Duel(0.0, SHAPE), tmp_path, options(compile=True))
    assert compiled == [made.module["generator"], made.module["critic"]]


def test_compiling_without_a_compiler_is_an_error_that_says_so(tmp_path, monkeypatch):
    monkeypatch.setenv("CXX", "no-such-compiler")
    with pytest.raises(MissingRequirement, match=r"C\+\+ compiler.*train\.compile=false"):
        trainer(families.Blur(None, SHAPE), tmp_path, options(compile=True))


@pytest.mark.parametrize("devices", [False, True])
def test_a_step_draws_the_same_numbers_with_and_without_other_devices(devices, monkeypatch):
    monkeypatch.setattr(torch.accelerator, "is_available", lambda: devices)
    seeds = randomness._seed.__wrapped__()
    assert (seeds == torch.manual_seed) == devices
    monkeypatch.setattr(randomness, "_seed", lambda: torch.manual_seed)
    randomness.seed_step(3, 7)
    expected = torch.rand(4)
    monkeypatch.setattr(randomness, "_seed", lambda: seeds)
    randomness.seed_step(3, 7)
    assert torch.equal(torch.rand(4), expected)
