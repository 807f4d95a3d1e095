"""Checkpoints are whole or absent, and hold everything."""

import json

import pytest
import torch
from torch import nn

from genloom.errors import GenloomError
from genloom_train import checkpoint
from genloom_train.checkpoint import Checkpoint, found, load, save


def of_step(step):
    weights = {"a": torch.arange(6.0).reshape(2, 3).T, "b": torch.tensor(7)}
    return Checkpoint(step, {"weights": weights}, {"seconds": 1.5})


def test_saved_and_loaded_are_equal(tmp_path):
    back = load(save(of_step(3), tmp_path))
    assert (back.step, back.scalars) == (3, {"seconds": 1.5})
    for name, value in of_step(3).tensors["weights"].items():
        assert torch.equal(back.tensors["weights"][name], value)


def test_tensors_that_share_memory_can_be_saved(tmp_path):
    shared = torch.arange(4.0)
    path = save(Checkpoint(1, {"weights": {"a": shared, "b": shared[:2]}}), tmp_path)
    assert torch.equal(load(path).tensors["weights"]["b"], shared[:2])


def test_the_last_two_are_kept(tmp_path):
    for step in (5, 100, 20, 100_000_000):
        save(of_step(step), tmp_path)
    assert [path.name for path in found(tmp_path)] == ["step-00000100", "step-100000000"]
    assert len(list(tmp_path.iterdir())) == 2


def test_a_full_disk_leaves_the_checkpoints_before_it(tmp_path, monkeypatch):
    save(of_step(1), tmp_path)

    def full(*_):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(checkpoint, "save_file", full)
    with pytest.raises(GenloomError, match=r"No space left.*of step 1 is whole.*--resume"):
        save(of_step(2), tmp_path)
    assert [path.name for path in tmp_path.iterdir()] == ["step-00000001"]
    assert load(found(tmp_path)[-1]).step == 1


def test_a_full_disk_at_the_first_checkpoint_promises_none(tmp_path, monkeypatch):
    monkeypatch.setattr(checkpoint, "save_file", lambda *_: 1 / 0)
    with pytest.raises(GenloomError, match="no checkpoint yet: make room and begin again"):
        save(of_step(1), tmp_path)


def test_what_a_killed_process_left_is_no_checkpoint(tmp_path):
    save(of_step(1), tmp_path)
    (tmp_path / ".step-00000002.tmp").mkdir()
    assert [path.name for path in found(tmp_path)] == ["step-00000001"]
    save(of_step(2), tmp_path)
    assert load(found(tmp_path)[-1]).step == 2


def test_saving_a_step_again_replaces_it(tmp_path):
    save(of_step(1), tmp_path)
    path = save(Checkpoint(1, {"weights": {"c": torch.ones(1)}}, {}), tmp_path)
    assert list(load(path).tensors["weights"]) == ["c"]
    assert len(list(tmp_path.iterdir())) == 1


@pytest.mark.parametrize("name", ["state.json", "weights.safetensors"])
def test_a_damaged_checkpoint_is_named(name, tmp_path):
    path = save(of_step(1), tmp_path)
    (path / name).write_bytes(b"{")
    with pytest.raises(GenloomError, match="step-00000001"):
        load(path)


@pytest.mark.parametrize(
    "make",
    [
        lambda p: torch.optim.Adam(p, 1e-2),
        lambda p: torch.optim.AdamW(p, 1e-2, fused=True),
        lambda p: torch.optim.SGD(p, 1e-2, momentum=0.9),
    ],
    ids=["adam", "fused adamw", "sgd"],
)
def test_the_state_of_an_optimiser_survives_as_tensors_and_json(make, tmp_path):
    torch.manual_seed(0)
    one, two = nn.Linear(3, 2), nn.Linear(3, 2)
    first, second = make(one.parameters()), make(two.parameters())

    def step(module, optimiser):
        optimiser.zero_grad()
        module(torch.ones(4, 3)).square().sum().backward()
        optimiser.step()

    step(one, first)
    two.load_state_dict(one.state_dict())
    tensors, scalars = checkpoint.split_optimiser(first)
    back = load(save(Checkpoint(1, {"optimiser": tensors}, {"optimiser": scalars}), tmp_path))
    json.dumps(back.scalars)
    checkpoint.join_optimiser(second, back.tensors["optimiser"], back.scalars["optimiser"])
    step(one, first)
    step(two, second)
    assert torch.equal(one.weight, two.weight)
