"""Training that begins with a bundle."""

from pathlib import Path

import pytest
import torch
from lightning_fabric import Fabric

from genloom.errors import GenloomError
from genloom.models import Bundle
from genloom_denoise import DenoiserConfig
from genloom_denoise.training import DenoiserTraining
from genloom_train import checkpoint
from genloom_train.export import Bundle as Exported
from genloom_train.export import export
from genloom_train.loop import Trainer
from genloom_train.testing import OPTIONS, Blobs

SHAPE = (3, 16, 16)


def begun(folder: Path, config: DenoiserConfig, start: Bundle | None) -> Trainer:
    fabric = Fabric(accelerator="cpu", devices=1)
    return Trainer(
        DenoiserTraining(config, SHAPE), Blobs(SHAPE), OPTIONS, fabric, folder, start=start
    )


@pytest.fixture(scope="module")
def made(tmp_path_factory):
    folder = tmp_path_factory.mktemp("made")
    config = DenoiserConfig(widths=(8, 8), blocks=1)
    module = DenoiserTraining(config, SHAPE).build()
    export(DenoiserTraining(config, SHAPE), module, Exported(name="d", family="denoiser"), folder)
    return module, Bundle.open(folder / "d"), config


def test_it_has_the_weights_of_the_bundle_and_so_has_its_average(made, tmp_path):
    module, bundle, config = made
    trainer = begun(tmp_path, config, bundle)
    assert trainer.began == f"d {bundle.digest}"
    trainer.save()
    again = begun(tmp_path, config, None)
    again.restore(checkpoint.load(checkpoint.found(tmp_path / "checkpoints")[-1]))
    assert again.began == trainer.began
    for name, value in module.state_dict().items():
        assert torch.equal(trainer.module.state_dict()[name], value)
        assert torch.equal(trainer.smooth.state_dict()[name], value)


def test_another_network_is_refused_with_what_does_not_fit(made, tmp_path):
    _, bundle, _ = made
    with pytest.raises(GenloomError, match="another shape") as caught:
        begun(tmp_path, DenoiserConfig(widths=(8, 12), blocks=1), bundle)
    assert "model:" in str(caught.value)
