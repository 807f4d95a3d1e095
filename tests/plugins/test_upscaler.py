"""The family `upscaler`: its contract, its networks' promises, its losses."""

import numpy as np
import pytest
import torch

from genloom.errors import GenloomError
from genloom.models import Bundle
from genloom_train.beginning import begin_with
from genloom_train.export import Bundle as Exported
from genloom_train.export import export
from genloom_train.onnx_graph import to_onnx
from genloom_train.testing import OPTIONS, Blobs, check_backend, run, trainer
from genloom_train.training import Tensors
from genloom_upscale import Upscaler, UpscalerConfig
from genloom_upscale.network import UpscalingNet, steady
from genloom_upscale.patterns import checkerboard, dotted, stray
from genloom_upscale.training import STRIDE, UpscalerTraining, moved

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


def test_it_keeps_the_contract_with_convolutions_at_the_large_size(tmp_path):
    config = UpscalerConfig(scale=2, finish=4, steady=True, **TINY)
    card = check_backend(Upscaler, config, tmp_path, shape=SHAPE, falls="pixel")
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


@pytest.mark.parametrize(("network", "finish"), [("residual", 0), ("residual", 4), ("compact", 0)])
@pytest.mark.parametrize("scale", [2, 3, 4])
def test_a_steady_network_draws_no_dots_along_a_straight_edge(network, finish, scale):
    torch.manual_seed(1)
    config = UpscalerConfig(scale=scale, network=network, finish=finish, steady=True, **TINY)
    module = UpscalingNet(config)
    if module.finish is not None:
        torch.nn.init.normal_(module.finish.result.weight, std=0.1)
    torch.nn.init.normal_(module.tail.weight)
    torch.nn.init.normal_(module.tail.bias)
    edge = torch.rand(1, 3, 1, 32).expand(1, 3, 32, 32)  # every row the same
    middle = slice(12 * scale, 20 * scale)  # away from the borders, which convolutions see

    def unrest() -> tuple[float, float]:
        with torch.no_grad():
            rows = module(edge)[:, :, middle]
            columns = module(edge.transpose(2, 3))[..., middle]
        return float(rows.std(2).max()), float(columns.std(3).max())

    assert min(unrest()) > 0.1
    module.settle()
    assert max(unrest()) < 1e-5
    settled = module.tail.weight.clone()
    assert settled.std() > 0.5
    module.settle()
    torch.testing.assert_close(module.tail.weight, settled)


def test_training_keeps_a_steady_network_steady(tmp_path):
    config = UpscalerConfig(**TINY, steady=True, adversarial=0.1, discriminator_width=4)
    made = trainer(UpscalerTraining(config, SHAPE), tmp_path, OPTIONS)
    torch.nn.init.normal_(made.module.network.tail.weight)
    made.advance(Tensors.of(made.source.batch(0, 4, 0)))
    tail = made.module.network.tail.weight.detach()
    torch.testing.assert_close(steady(tail, config.scale), tail)
    assert tail.std() > 0.5


def test_convolutions_at_the_large_size_begin_by_changing_nothing(tmp_path):
    plain, finished = (UpscalerConfig(**TINY, finish=width) for width in (0, 4))
    training = UpscalerTraining(plain, SHAPE)
    first = training.build()
    torch.nn.init.normal_(first.network.tail.weight, std=0.1)
    torch.nn.init.normal_(first.network.tail.bias, std=0.1)
    export(training, first, Exported(name="first", family="upscaler"), tmp_path)
    begun = UpscalerTraining(finished, SHAPE)
    second = begun.build()
    begin_with(begun, second, Bundle.open(tmp_path / "first"))
    image = torch.rand(1, 3, 9, 12)
    with torch.no_grad():
        torch.testing.assert_close(second.network(image), first.network(image))
    assert second.network.finish.middle.weight.any(), "it could never learn"
    for parameter in second.network.finish.result.parameters():
        torch.nn.init.normal_(parameter, std=0.1)
    export(begun, second, Exported(name="second", family="upscaler"), tmp_path)
    again = begun.build()
    begin_with(begun, again, Bundle.open(tmp_path / "second"))
    with torch.no_grad():
        torch.testing.assert_close(again.network(image), second.network(image))


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


@pytest.mark.parametrize(("down", "right"), [(0, 1), (1, 0), (1, 1), (1, -1)])
def test_dots_along_a_line_are_seen_where_the_true_picture_has_none(down, right):
    truth = torch.full((1, 3, 64, 64), 0.3)
    line, dots = truth.clone(), truth.clone()
    for step in range(64):
        at = (step if down else 30, (step * right if right >= 0 else 63 - step) if right else 30)
        line[..., at[0], at[1]] += 0.2
        if step % 4 == 0:
            dots[..., at[0], at[1]] += 0.2
    assert dotted(dots, truth, 4) > 1e-4
    assert dotted(dots, dots, 4) == 0
    if not (down and right):  # along a row or a column a line that does not change is no dots
        assert dotted(line, truth, 4) == 0


def test_neither_an_edge_nor_texture_is_dots():
    truth = torch.full((1, 1, 64, 64), 0.3)
    edge = truth.clone()
    edge[..., 30:] = 0.9
    generator = torch.Generator().manual_seed(0)
    one, other = (0.1 * torch.randn(1, 1, 64, 64, generator=generator) for _ in range(2))
    grid = truth.clone()
    grid[..., ::4, ::4] += 0.2
    assert dotted(edge, truth, 4) == 0
    assert dotted(truth + one, truth + other, 4) < 0.05 * dotted(grid, truth, 4)


def test_dots_have_a_gradient_that_removes_them():
    truth = torch.full((1, 1, 64, 64), 0.3)
    dots = truth.clone()
    dots[..., ::4, 30] += 0.2
    made = dots.clone().requires_grad_()
    dotted(made, truth, 4).backward()
    weaker = dots - 0.1 * made.grad / made.grad.abs().max()
    assert dotted(weaker, truth, 4) < dotted(dots, truth, 4)


def test_stray_is_detail_where_the_true_picture_has_none_near():
    generator = torch.Generator().manual_seed(0)
    truth = torch.full((1, 1, 48, 48), 0.3)
    truth[..., 24:] = 0.9
    ghost, moved_edge = truth.clone(), truth.clone()
    ghost[..., 12] += 0.02
    moved_edge[..., 24] = 0.3
    busy = truth + 0.1 * torch.randn(truth.shape, generator=generator)
    assert stray(truth, truth) == 0
    assert stray(moved_edge, truth) == 0
    assert stray(ghost, truth) > 1e-4
    assert stray(ghost, busy) < 0.1 * stray(ghost, truth)
    assert stray(truth, busy) == 0


def test_what_looks_in_strides_sees_every_phase():
    one = torch.arange(32 * 32.0).view(1, 1, 32, 32)
    seen = set()
    for seed in range(200):
        torch.manual_seed(seed)
        a, b = moved(one, -one)
        assert a.shape == (1, 1, 32 - STRIDE, 32 - STRIDE)
        torch.testing.assert_close(a, -b)
        seen.add((int(a[0, 0, 0, 0]) % 32, int(a[0, 0, 0, 0]) // 32))
    assert {x for x, _ in seen} == {y for _, y in seen} == set(range(STRIDE))


def test_a_step_reports_both_players(tmp_path):
    config = UpscalerConfig(
        **TINY,
        adversarial=0.1,
        perceptual=1.0,
        checkerboard=1.0,
        dotted=1.0,
        stray=1.0,
        discriminator_width=4,
    )
    made = trainer(UpscalerTraining(config, SHAPE), tmp_path, OPTIONS)
    report = made.advance(Tensors.of(made.source.batch(0, 4, 0)))
    names = {"loss", "pixel", "perceptual", "checkerboard", "dotted", "stray", "adversarial"}
    names |= {"loss_discriminator", "accuracy_real", "accuracy_made"}
    assert names <= set(report)
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
