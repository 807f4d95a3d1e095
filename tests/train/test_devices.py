"""Several devices: one loss curve whatever their number, and no end without its reason."""

import csv
import os
import signal
import subprocess
import sys
import time

import pytest
import several
import torch
from click.testing import CliRunner
from lightning_fabric import Fabric

from genloom.card import Card
from genloom.errors import GenloomError, MissingRequirement
from genloom_train import checkpoint, devices
from genloom_train.cli import train
from genloom_train.data import Samples
from genloom_train.devices import Peers

PER_PART = ("train", "perplexity")

LONG = 600
"""Seconds: far more than it takes, on a machine with much else to do."""

SCRIPT = several.__file__


def start(scenario, folder):
    command = [sys.executable, SCRIPT, scenario, folder]
    return subprocess.Popen(
        command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, start_new_session=True
    )


def said_by(scenario, folder):
    output, errors = start(scenario, folder).communicate(timeout=LONG)
    return output + errors


@pytest.fixture(scope="module")
def trained(tmp_path_factory):
    """The same trainings by one process and by two."""
    folder = tmp_path_factory.mktemp("curves")
    said = said_by("curves", folder / "two")
    assert "Error" not in said, said
    several.train_all(Fabric(accelerator="cpu", devices=1), folder / "one")
    return folder


@pytest.fixture(scope="module")
def shipped(tmp_path_factory):
    """Families that ship, trained by one process and by two."""
    folder = tmp_path_factory.mktemp("shipped")
    said = said_by("families_that_ship", folder / "two")
    assert "Error" not in said, said
    several.train_shipped(Fabric(accelerator="cpu", devices=1), folder / "one")
    return folder


def weights(folder):
    return [torch.load(folder / f"weights-{rank}.pt") for rank in (0, 1)]


def same(one, two):
    return all(torch.equal(one[part][key], two[part][key]) for part in one for key in one[part])


@pytest.mark.parametrize("name", ["ae", "vqvae"])
def test_families_without_chance_in_their_steps_have_the_curve_of_one_process(name, shipped):
    """How many codes are in use is said of each part of a batch, so that is another figure."""
    names, one = rows(shipped / "one" / name)
    again, two = rows(shipped / "two" / name)
    assert names == again and len(set(one)) > 5
    told = [i for i, (_, split, what) in enumerate(names) if (split, what) != PER_PART]
    assert [two[i] for i in told] == pytest.approx([one[i] for i in told], rel=1e-3, abs=1e-5)


def test_the_codebook_of_two_processes_is_that_of_one(shipped):
    alone = torch.load(shipped / "one" / "vqvae" / "weights-0.pt")["module"]
    for each in weights(shipped / "two" / "vqvae"):
        for name in ("codebook.counts", "codebook.sums"):
            torch.testing.assert_close(each["module"][name], alone[name], rtol=1e-3, atol=1e-4)


@pytest.mark.parametrize("name", ["ae", "gan", "vqvae"])
def test_all_processes_hold_the_same_weights_of_a_family_that_ships(name, shipped):
    assert same(*weights(shipped / "two" / name))


@pytest.mark.parametrize("name", ["gan", "vqvae"])
def test_two_processes_go_on_exactly_with_a_family_that_ships(name, shipped):
    straight, halves = (weights(shipped / "two" / n)[1] for n in (name, f"{name} in halves"))
    assert same(straight, halves)
    assert rows(shipped / "two" / f"{name} in halves") == rows(shipped / "two" / name)


def rows(folder):
    with (folder / "metrics.csv").open(newline="") as file:
        found = list(csv.DictReader(file))
    return [(r["step"], r["split"], r["name"]) for r in found], [float(r["value"]) for r in found]


@pytest.mark.parametrize("name", ["blur", "duel", "kept"])
def test_two_processes_give_the_loss_curve_of_one(name, trained):
    names, one = rows(trained / "one" / name)
    again, two = rows(trained / "two" / name)
    assert names == again and len(set(one)) > 5
    assert two == pytest.approx(one, rel=1e-4, abs=1e-6)


@pytest.mark.parametrize("name", ["blur", "duel", "kept"])
def test_all_processes_hold_the_same_weights(name, trained):
    first, second = (torch.load(trained / "two" / name / f"weights-{rank}.pt") for rank in (0, 1))
    alone = torch.load(trained / "one" / name / "weights-0.pt")
    for part, weights in first.items():
        for key, value in weights.items():
            assert torch.equal(value, second[part][key]), key
            assert torch.allclose(value, alone[part][key], atol=1e-5), key


def test_two_processes_that_one_of_them_stops_go_on_exactly(trained):
    straight = torch.load(trained / "two" / "duel" / "weights-0.pt")
    for rank in (0, 1):
        halves = torch.load(trained / "two" / "halves" / f"weights-{rank}.pt")
        for part, weights in straight.items():
            assert all(torch.equal(value, halves[part][key]) for key, value in weights.items())
    assert rows(trained / "two" / "halves") == rows(trained / "two" / "duel")


def test_only_the_first_process_writes(trained):
    made = trained / "two" / "blur"
    assert [p.name for p in checkpoint.found(made / "checkpoints")] == ["step-00000008"]
    assert len(list((made / "tensorboard").iterdir())) == 1


def test_the_error_that_explains_itself_is_the_one_that_is_raised(tmp_path):
    assert said_by("one_explains", tmp_path).startswith("GenloomError: the data is gone")


def test_an_error_of_one_process_comes_with_its_place_in_the_code(tmp_path):
    said = said_by("one_fails", tmp_path)
    assert said.startswith("ZeroDivisionError: on purpose") and "In process 2" in said
    assert "in one_fails" in said


def test_a_process_that_dies_takes_the_others_along(tmp_path):
    said = said_by("one_dies", tmp_path)
    assert said.startswith("GenloomError: process 2 of 3 died (SIGKILL") and "--resume" in said
    assert float(said.split()[-2]) < 60


@pytest.mark.parametrize("everyone", [True, False], ids=["Ctrl-C", "kill -TERM"])
def test_a_signal_lets_all_of_them_finish(everyone, tmp_path):
    process = start("until_stopped", tmp_path)
    while len(list(tmp_path.iterdir())) < 2:
        assert process.poll() is None
        time.sleep(0.01)
    if everyone:
        os.killpg(process.pid, signal.SIGINT)
    else:
        os.kill(process.pid, signal.SIGTERM)
    output, errors = process.communicate(timeout=LONG)
    assert output.startswith("Interrupted: stopped after step 7"), errors
    assert [(tmp_path / name).read_text() for name in "01"] == ["stopped", "stopped"]


def test_children_of_a_killed_parent_stop_by_themselves(tmp_path):
    process = start("until_stopped", tmp_path)
    while len(list(tmp_path.iterdir())) < 2:
        assert process.poll() is None
        time.sleep(0.01)
    process.kill()
    process.communicate(timeout=LONG)
    assert [(tmp_path / name).read_text() for name in "01"] == ["stopped", "stopped"]


VAE = """\
genloom: 1
recipe: vae
data: {dataset: dead-leaves, count: 3, size: 32, crop: 8}
model: {network: dense, latent: 2, widths: [8]}
train: {steps: 1000000, batch: 4, log_every: 1, seed: 3}
export: {name: tiny}
"""


def test_a_recipe_trains_on_two_devices_stops_at_ctrl_c_and_goes_on_with_one(tmp_path):
    recipe, out = tmp_path / "tiny.yaml", tmp_path / "run"
    recipe.write_text(VAE)
    code = "from genloom_train.cli import train; train()"
    words = [recipe, "-o", out, "--device", "cpu", "--devices", "2", "--threads", "1"]
    process = subprocess.Popen(
        [sys.executable, "-c", code, *words], stdout=subprocess.PIPE, stderr=subprocess.PIPE,
        text=True, start_new_session=True,
    )  # fmt: skip
    lines = []
    while not any("step 3/" in line for line in lines):
        lines.append(process.stdout.readline())
        assert process.poll() is None, process.stderr.read()
    os.killpg(process.pid, signal.SIGINT)
    _, errors = process.communicate(timeout=LONG)
    assert process.returncode == 130 and errors.startswith("Stopped after step"), errors
    assert "2 processes" in "".join(lines)
    step = checkpoint.load(checkpoint.found(out / "tiny.training" / "checkpoints")[-1]).step
    assert f"after step {step}." in errors
    more = ["--resume", "--set", f"train.steps={step + 2}"]
    result = CliRunner().invoke(train, [*map(str, words[:5]), *more], catch_exceptions=False)
    assert f"going on from step {step}" in result.output
    assert Card.read(out / "tiny").origin.steps == step + 2


def test_a_batch_that_cannot_be_split_is_refused_with_the_nearest_that_can():
    devices.check_split(12, 3)
    with pytest.raises(GenloomError, match=r"multiple of 3, got 100\. --set train\.batch=99"):
        devices.check_split(100, 3)
    with pytest.raises(GenloomError, match=r"--set train\.batch=4"):
        devices.check_split(2, 4)


def test_more_devices_than_there_are_is_an_error(monkeypatch):
    monkeypatch.setattr("torch.cuda.is_available", lambda: True)
    monkeypatch.setattr("torch.cuda.device_count", lambda: 2)
    assert devices.accelerator("auto", 2) == "cuda"
    with pytest.raises(MissingRequirement, match="--devices 2"):
        devices.accelerator("cuda", 3)
    assert devices.accelerator("cpu", 3) == "cpu"


class Told:
    """As much of Fabric as says which process this is."""

    def __init__(self, rank, count):
        self.global_rank, self.world_size = rank, count


def test_the_parts_of_a_batch_are_the_whole_batch():
    image = torch.arange(12.0).reshape(6, 1, 1, 2).numpy()
    batch = Samples(image, torch.arange(6).numpy())
    parts = [Peers(Told(rank, 3)).share(batch) for rank in range(3)]
    assert [part.label.tolist() for part in parts] == [[0, 1], [2, 3], [4, 5]]
    assert [part.image[0, 0, 0, 0] for part in parts] == [0, 4, 8]
    assert Peers(Told(0, 1)).share(batch) is batch
