"""Training that begins with a bundle."""

from pathlib import Path

import pytest
import torch
from lightning_fabric import Fabric

from genloom.catalog import Catalog
from genloom.errors import GenloomError, UnknownName
from genloom.models import Bundle
from genloom_denoise import DenoiserConfig
from genloom_denoise.training import DenoiserTraining
from genloom_train import checkpoint
from genloom_train.beginning import bundle_to_begin_with
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


def test_a_deeper_network_begins_where_the_bundle_stands(made, tmp_path):
    module, bundle, _ = made
    trainer = begun(tmp_path, DenoiserConfig(widths=(8, 8), blocks=(3, 1)), bundle)
    pictures, levels = torch.rand(2, *SHAPE), torch.tensor([0.05, 0.2])
    with torch.no_grad():
        torch.testing.assert_close(
            trainer.module(pictures, levels), module(pictures, levels), atol=1e-6, rtol=0
        )
    added = trainer.module.encoders[0][2]
    assert added.first.weight.any(), "it could never learn"


def test_biases_that_are_equal_are_found_though_the_graph_holds_one_of_them(tmp_path):
    config = DenoiserConfig(widths=(8, 8), blocks=2)
    module = DenoiserTraining(config, SHAPE).build()
    with torch.no_grad():
        for block in module.encoders[0]:
            block.second.bias.fill_(0.25)
    about = Exported(name="d", family="denoiser")
    export(DenoiserTraining(config, SHAPE), module, about, tmp_path / "made")
    trainer = begun(tmp_path, config, Bundle.open(tmp_path / "made" / "d"))
    for name, value in module.state_dict().items():
        assert torch.equal(trainer.module.state_dict()[name], value)


def test_the_bundle_is_looked_for_where_this_training_puts_its_own(made, tmp_path):
    _, bundle, _ = made
    found = bundle_to_begin_with("d", Catalog.load(), bundle.folder.parent, tmp_path)
    assert found.digest == bundle.digest


def test_of_one_that_is_not_there_the_recipe_that_makes_it_is_named(tmp_path):
    with pytest.raises(UnknownName, match="genloom train denoise-photo-base -o"):
        bundle_to_begin_with("denoise-photo-base", Catalog.load(), tmp_path, tmp_path)
    with pytest.raises(UnknownName, match="unknown model 'denoise-phoot'"):
        bundle_to_begin_with("denoise-phoot", Catalog.load(), tmp_path, tmp_path)
