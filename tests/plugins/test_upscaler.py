"""The family `upscaler`: its contract, its networks' promises, its losses."""

import numpy as np
import pytest
import torch

from genloom.errors import GenloomError
from genloom_train.onnx_graph import to_onnx
from genloom_train.testing import OPTIONS, Blobs, check_backend, run, trainer
from genloom_train.training import Tensors
from genloom_upscale import Upscaler, UpscalerConfig
from genloom_upscale.network import UpscalingNet
from genloom_upscale.training import UpscalerTraining, checkerboard

torch.set_num_threads(1)
TINY = {"width": 8, "blocks": 2}
SHAPE = (3, 24, 24)


@pytest.mark.parametrize(
    ("scale", "network", "degradation"),
    [(2, "residual", "bicubic"), (3, "compact", "bicubic"), (4, "residual", "blind")],
)
def test_it_keeps_the_contract_of_a_family(tmp_path, scale, network, degradation):
    config = UpscalerConfig(scale=scale, network=network, degradation=degradation, **TINY)
    card = check_backend(Upscaler, config, tmp_path, shape=SHAPE, falls="pixel")
    assert card.scale == scale
    assert isinstance(card.receptive_field, int) and 5 < card.receptive_field < 20


@pytest.mark.parametrize("relativistic", [True, False])
def test_it_keeps_the_contract_with_a_discriminator(tmp_path, relativistic):
    config = UpscalerConfig(
        **TINY,
        adversarial=0.01,
        perceptual=0.1,
        relativistic=relativistic,
        discriminator_width=4,
    )
    card = check_backend(Upscaler, config, tmp_path, shape=(3, 32, 32), falls=None)
    assert set(card.parts) == {"network"}
    assert card.parameters == sum(p.numel() for p in UpscalingNet(config).parameters())


@pytest.mark.parametrize("network", ["residual", "compact"])
@pytest.mark.parametrize("scale", [2, 3, 4])
def test_an_untrained_network_enlarges_plainly(network, scale):
    module = UpscalingNet(UpscalerConfig(scale=scale, network=network, **TINY), channels=1)
    flat = torch.full((1, 1, 5, 7), 0.3)
    torch.testing.assert_close(module(flat), torch.full((1, 1, 5 * scale, 7 * scale), 0.3))


def test_crops_must_be_divisible_by_the_scale():
    with pytest.raises(GenloomError, match=r"multiple of 3"):
        UpscalerTraining(UpscalerConfig(scale=3), (3, 32, 32))


def test_validation_stands_beside_bicubic_enlargement():
    training = UpscalerTraining(UpscalerConfig(scale=4, **TINY), SHAPE)
    with torch.no_grad():
        figures = training.validate(training.build(), Blobs(SHAPE).held_out(), torch.device("cpu"))
    assert figures["psnr_bicubic"] > figures["psnr"] > 25


@pytest.mark.parametrize("relativistic", [True, False])
def test_the_discriminator_learns_to_tell_and_the_network_to_fool(relativistic):
    config = UpscalerConfig(**TINY, adversarial=1.0, relativistic=relativistic)
    training = UpscalerTraining(config, SHAPE)
    good, bad = torch.full((4, 1, 2, 2), 3.0), torch.full((4, 1, 2, 2), -3.0)
    assert training._judged(good, bad) < training._judged(bad, good)
    assert training._fooled(good, good) < training._fooled(good, bad)


def test_a_checkerboard_is_what_repeats_and_nothing_else():
    generator = torch.Generator().manual_seed(0)
    noise = 0.1 * torch.randn(1, 3, 64, 64, generator=generator)
    grid = 0.1 * torch.randn(1, 3, 4, 4, generator=generator).repeat(1, 1, 16, 16)
    flat = torch.full((1, 3, 64, 64), 0.3)
    slope = torch.linspace(0, 0.01, 64).expand(1, 3, 64, 64)
    assert checkerboard(flat, 4) < 1e-6
    assert checkerboard(grid, 4) == pytest.approx(
        float((grid - grid.mean((2, 3), True)).abs().mean())
    )
    assert checkerboard(noise, 4) < checkerboard(grid, 4) / 4
    assert checkerboard(slope, 4) < 1e-3


def test_a_step_reports_both_players(tmp_path):
    config = UpscalerConfig(
        **TINY, adversarial=0.1, perceptual=1.0, checkerboard=1.0, discriminator_width=4
    )
    made = trainer(UpscalerTraining(config, SHAPE), tmp_path, OPTIONS)
    report = made.advance(Tensors.of(made.source.batch(0, 4, 0)))
    names = ("loss", "pixel", "perceptual", "checkerboard", "adversarial", "loss_discriminator")
    assert set(names) <= set(report)
    assert all(np.isfinite(float(value.detach())) for value in report.values())


def test_training_with_a_discriminator_stays_near_the_picture(tmp_path):
    config = UpscalerConfig(**TINY, adversarial=0.01, perceptual=0.1, discriminator_width=4)
    made = trainer(UpscalerTraining(config, SHAPE), tmp_path, OPTIONS)
    before = made.validate()["psnr"]
    assert run(made)["psnr"] > before - 3


def test_the_graph_says_which_axes_are_longer(tmp_path):
    training = UpscalerTraining(UpscalerConfig(**TINY), SHAPE)
    model = to_onnx("network", training.graphs(training.build())["network"])
    axes = [
        [d.dim_param for d in value.type.tensor_type.shape.dim]
        for value in (model.graph.input[0], model.graph.output[0])
    ]
    assert axes == [["batch", "", "height", "width"], ["batch", "", "height_out", "width_out"]]
