"""The family `gan`: its contract, its games, its penalties, and its signs of health."""

import csv
import dataclasses
import io
import math

import numpy as np
import pytest
import torch
from rich.console import Console
from torch import nn

from genloom.errors import GenloomError
from genloom_gan import Gan, GanConfig
from genloom_gan.diversity import concerns, diversity, least_covered
from genloom_gan.losses import discriminator_loss, generator_loss, gradient_penalty
from genloom_gan.network import Adversaries
from genloom_gan.training import GanTraining, gradient_norm
from genloom_train import checkpoint
from genloom_train.metrics import Metrics
from genloom_train.progress import Progress
from genloom_train.testing import OPTIONS, Blobs, check_backend, equal, train, train_in_two, trainer
from genloom_train.training import Tensors, fixed

torch.set_num_threads(1)

SMALL = GanConfig(latent=3, widths=(6, 8), discriminator_widths=(4, 6))
SHAPE = (1, 12, 12)


def small(**changes):
    return dataclasses.replace(SMALL, **changes)


@pytest.mark.parametrize(
    ("config", "shape"),
    [
        (small(network="dense", loss="minimax"), (1, 11, 7)),
        (small(), (3, 16, 16)),
        (small(conditional=True, loss="hinge", spectral_norm=True), (1, 14, 10)),
        (small(network="dense", conditional=True, spectral_norm=True), (3, 8, 8)),
        (small(loss="wasserstein", critic_steps=3), (1, 13, 9)),
    ],
    ids=["dense, minimax", "dcgan, colour", "conditional, hinge", "conditional, dense",
         "wasserstein"],
)  # fmt: skip
def test_it_keeps_the_contract_of_a_family(config, shape, tmp_path):
    card = check_backend(Gan, config, tmp_path, shape=shape, falls=None)
    assert list(card.parts) == ["generator"]
    assert card.latent == (config.latent,)
    assert card.size.fixed == shape[1:]
    assert card.conditional == config.conditional
    generator = GanTraining(config, shape, Blobs.labels).build().generator
    assert card.parameters == sum(p.numel() for p in generator.parameters())


def test_a_resumed_training_has_the_same_weights_averages_and_optimisers(tmp_path):
    training = GanTraining(small(loss="wasserstein", critic_steps=2), SHAPE, Blobs.labels)
    straight = train(training, tmp_path / "a", OPTIONS)
    halves = train_in_two(training, tmp_path / "b", OPTIONS)
    assert equal(straight.module, halves.module)
    assert equal(straight.best, halves.best) and not equal(straight.best, straight.module)
    assert set(straight.optimisers) == {"generator", "discriminator"}
    for name, optimiser in straight.optimisers.items():
        one, _ = checkpoint.split_optimiser(optimiser)
        two, _ = checkpoint.split_optimiser(halves.optimisers[name])
        assert one.keys() == two.keys() and all(torch.equal(one[key], two[key]) for key in one)


@pytest.mark.parametrize("shape", [(1, 28, 28), (3, 32, 32), (3, 64, 64), (1, 33, 17)])
@pytest.mark.parametrize("network", ["dense", "convolutional"])
def test_the_networks_fit_pictures_of_any_size_and_colour(network, shape):
    module = Adversaries(GanConfig(network=network, latent=2, widths=(4, 4, 4)), shape)
    made = module.generator(torch.randn(2, 2))
    assert made.shape == (2, *shape)
    assert made.min() >= 0 and made.max() <= 1
    assert module.discriminator(made).shape == (2,)


def test_a_picture_too_small_for_the_levels_is_refused():
    with pytest.raises(GenloomError, match=r"widths.*at least 8×8.*4×9"):
        Adversaries(GanConfig(latent=2, widths=(4, 4, 4)), (1, 4, 9))


@pytest.mark.parametrize("network", ["dense", "convolutional"])
def test_a_trained_network_makes_the_same_picture_in_any_batch(network):
    torch.manual_seed(0)
    generator = Adversaries(small(network=network), SHAPE).generator
    for _ in range(3):
        generator.train()(torch.randn(16, 3))
    generator.eval()
    latent = torch.randn(7, 3)
    torch.testing.assert_close(generator(latent)[2:3], generator(latent[2:3]), rtol=0, atol=1e-6)


@pytest.mark.parametrize("network", ["dense", "convolutional"])
def test_the_class_changes_the_picture_and_its_score(network):
    torch.manual_seed(0)
    module = Adversaries(small(network=network, conditional=True), SHAPE, classes=4)
    latent, labels = torch.randn(1, 3).repeat(4, 1), torch.eye(4)
    made = module.generator(latent, labels)
    assert torch.pdist(made.flatten(1)).min() > 0.01
    scores = module.discriminator(made[:1].repeat(4, 1, 1, 1), labels)
    assert len(scores.unique()) == 4
    halfway = module.generator(latent[:1], labels[:2].mean(0, keepdim=True))
    assert not torch.equal(halfway, made[:1])


def test_a_conditional_model_needs_classes():
    with pytest.raises(GenloomError, match=r"model\.conditional.*classes"):
        GanTraining(small(conditional=True), SHAPE, ())


def test_the_games_are_those_of_the_papers():
    real, fake = torch.tensor([2.0, 0.5]), torch.tensor([-0.5, 3.0])
    chance = torch.sigmoid
    cross = -(chance(real).log().mean() + (1 - chance(fake)).log().mean())
    found = {kind: discriminator_loss(kind, real, fake).item()
             for kind in ("minimax", "non-saturating", "hinge", "wasserstein")}  # fmt: skip
    assert found["minimax"] == pytest.approx(cross.item(), rel=1e-5) == found["non-saturating"]
    assert found["hinge"] == pytest.approx((0 + 0.5) / 2 + (0.5 + 4) / 2)
    assert found["wasserstein"] == pytest.approx(1.25 - 1.25)
    assert generator_loss("minimax", fake).item() == pytest.approx(
        (1 - chance(fake)).log().mean().item(), rel=1e-5
    )
    assert generator_loss("non-saturating", fake).item() == pytest.approx(
        -chance(fake).log().mean().item(), rel=1e-5
    )
    assert generator_loss("hinge", fake).item() == pytest.approx(-1.25)
    assert generator_loss("wasserstein", fake).item() == pytest.approx(-1.25)


def test_the_gradient_penalty_of_a_linear_critic_is_that_of_its_weights():
    weight = torch.tensor([[[0.0, 3.0], [4.0, 0.0]]], requires_grad=True)
    real, fake = torch.rand(2, 5, 1, 2, 2)
    penalty = gradient_penalty(lambda image: (image * weight).sum((1, 2, 3)), real, fake)
    assert penalty.item() == pytest.approx((5 - 1) ** 2)
    penalty.backward()
    # d/dw (|w| − 1)² = 2 (|w| − 1) w / |w|
    torch.testing.assert_close(weight.grad, 2 * 4 * weight.detach() / 5)


def test_the_gradient_penalty_looks_between_real_and_made_pictures():
    torch.manual_seed(0)
    seen = []

    def score(image):
        seen.append(image.detach())
        return 0.5 * image.square().sum((1, 2, 3))

    real, fake = torch.zeros(200, 1, 1, 1), torch.ones(200, 1, 1, 1)
    penalty = gradient_penalty(score, real, fake)
    between = seen[0].flatten()
    assert 0 <= between.min() < 0.1 and 0.9 < between.max() <= 1
    assert penalty.item() == pytest.approx((between - 1).square().mean().item(), rel=1e-5)


@pytest.mark.parametrize("penalty", [0.0, 10.0])
def test_the_penalty_is_part_of_the_discriminators_loss(penalty):
    torch.manual_seed(0)
    training = GanTraining(small(gradient_penalty=penalty), SHAPE)
    module = training.build()
    batch = Tensors.of(Blobs(SHAPE).held_out())
    torch.manual_seed(1)
    with_it = training.losses(module, batch)
    torch.manual_seed(1)
    without = GanTraining(small(), SHAPE).losses(module, batch)
    more = with_it["loss_discriminator"] - without["loss_discriminator"]
    assert more.item() == pytest.approx(penalty * with_it.get("penalty", torch.zeros(())).item())
    assert ("penalty" in with_it) == (penalty > 0)


def test_wasserstein_is_penalised_and_takes_five_critic_steps_unless_told_otherwise():
    assert (GanConfig(loss="wasserstein").penalty, GanConfig(loss="wasserstein").turns) == (10, 5)
    assert (GanConfig().penalty, GanConfig().turns) == (0, 1)
    told = GanConfig(loss="wasserstein", gradient_penalty=0, critic_steps=2)
    assert (told.penalty, told.turns) == (0, 2)


def test_spectral_normalisation_bounds_every_layer_and_the_whole(tmp_path):
    config = small(network="dense", spectral_norm=True)
    made = trainer(GanTraining(config, SHAPE), tmp_path, OPTIONS)
    critic = made.module.discriminator
    layers = [module for module in critic.modules() if isinstance(module, nn.Linear)]
    with torch.no_grad():
        for layer in layers:
            layer.parametrizations.weight.original.mul_(30)
    batch = Tensors.of(made.source.batch(0, 8, 0))
    for _ in range(12):
        made.advance(batch)
    critic.eval()
    assert len(layers) == 3
    for layer in layers:
        assert torch.linalg.matrix_norm(layer.weight.detach(), 2) == pytest.approx(1, abs=0.02)
    one, two = torch.rand(2, 50, *SHAPE)
    # Pixels are stretched to [-1, 1] first; leaky ReLUs shorten distances.
    far = 2 * (one - two).flatten(1).norm(dim=1)
    assert ((critic(one) - critic(two)).abs() <= 1.1 * far).all()


def test_without_spectral_normalisation_nothing_is_bounded():
    module = Adversaries(small(network="dense"), SHAPE).discriminator
    assert not any("parametrizations" in name for name, _ in module.named_parameters())


def test_each_player_is_updated_in_its_turn_only(tmp_path):
    training = GanTraining(small(critic_steps=3), SHAPE)
    made = trainer(training, tmp_path, OPTIONS)
    batch = Tensors.of(made.source.batch(0, 8, 0))
    changed = []
    for _ in range(6):
        before = {name: value.clone() for name, value in made.module.named_parameters()}
        report = made.advance(batch)
        after = dict(made.module.named_parameters())
        moved = {n.split(".")[0] for n in after if not torch.equal(before[n], after[n])}
        assert ("loss_generator" in report) == ("generator" in moved)
        changed.append(moved)
    one, both = {"discriminator"}, {"discriminator", "generator"}
    assert changed == [one, one, both, one, one, both]


def test_the_generators_turn_leaves_no_gradient_in_the_discriminator():
    module = Adversaries(SMALL, SHAPE)
    with fixed(module.discriminator):
        module.discriminator(module.generator(torch.randn(2, 3))).sum().backward()
    assert all(p.grad is None and p.requires_grad for p in module.discriminator.parameters())
    assert all(p.grad is not None for p in module.generator.parameters())


def test_rates_and_betas_reach_the_optimisers():
    training = GanTraining(small(discriminator_rate=0.25, betas=(0.0, 0.9)), SHAPE)
    made = training.optimisers(training.build(), OPTIONS)
    assert made["generator"].defaults["betas"] == (0.0, 0.9)
    assert made["discriminator"].defaults["betas"] == (0.0, 0.9)
    assert made["discriminator"].defaults["lr"] == 0.25 * made["generator"].defaults["lr"]


def test_metrics_show_losses_accuracies_and_gradients_of_both(tmp_path):
    options = dataclasses.replace(OPTIONS, steps=6, log_every=2)
    train(GanTraining(SMALL, SHAPE, Blobs.labels), tmp_path, options)
    with (tmp_path / "metrics.csv").open(newline="") as file:
        rows = list(csv.DictReader(file))
    assert {row["name"] for row in rows if row["split"] == "train" and row["step"] == "4"} == {
        "loss_discriminator", "loss_generator", "accuracy_real", "accuracy_made",
        "gradient_discriminator", "gradient_generator", "learning_rate",
    }  # fmt: skip
    assert {row["name"] for row in rows if row["split"] == "held-out"} == {
        "diversity", "nearest", "least_covered",
    }  # fmt: skip
    assert all(math.isfinite(float(row["value"])) for row in rows)


def test_the_gradient_norm_is_the_length_of_all_gradients_together():
    layer = nn.Linear(2, 1)
    layer(torch.tensor([[3.0, 4.0]])).sum().backward()
    assert gradient_norm(layer).item() == pytest.approx(math.sqrt(9 + 16 + 1))


def test_accuracies_count_who_is_told_right():
    training = GanTraining(small(latent=1), SHAPE)
    module = training.build()
    module.discriminator.forward = lambda image, label=None: image.mean((1, 2, 3)) - 0.5
    module.generator.forward = lambda latent, label=None: torch.full((len(latent), *SHAPE), 0.1)
    image = torch.tensor([0.0, 0.9, 0.8, 0.7]).view(4, 1, 1, 1).expand(4, *SHAPE)
    report = training.losses(module, Tensors(image))
    assert (report["accuracy_real"].item(), report["accuracy_made"].item()) == (0.75, 1.0)


def test_a_critics_scores_are_compared_with_their_mean():
    training = GanTraining(small(latent=1, loss="wasserstein", gradient_penalty=0), SHAPE)
    module = training.build()
    module.discriminator.forward = lambda image, label=None: image.mean((1, 2, 3)) + 100
    module.generator.forward = lambda latent, label=None: torch.full((len(latent), *SHAPE), 0.1)
    report = training.losses(module, Tensors(torch.full((4, *SHAPE), 0.9)))
    assert (report["accuracy_real"].item(), report["accuracy_made"].item()) == (1.0, 1.0)


def pictures(count=40, seed=0):
    return torch.from_numpy(np.random.default_rng(seed).random((count, 1, 4, 4), np.float32))


def test_real_pictures_are_as_varied_as_real_pictures():
    image = pictures()
    assert diversity(image, image) == pytest.approx({"diversity": 1, "nearest": 1})
    assert concerns(diversity(pictures(seed=1), image)) == []


def test_equal_pictures_have_no_diversity():
    figures = diversity(torch.full((40, 1, 4, 4), 0.3), pictures())
    assert max(figures.values()) < 0.01
    (said,) = concerns(figures)
    assert "alike" in said and "collapsed" in said


def test_a_few_different_pictures_again_and_again_are_noticed_too():
    image = pictures()
    figures = diversity(image[:4].repeat(10, 1, 1, 1), image)
    assert figures["diversity"] > 0.6
    assert figures["nearest"] < 0.01
    assert len(concerns(figures)) == 1


def test_a_class_that_is_not_made_is_noticed():
    label = torch.arange(40) % 4
    real = 0.1 * pictures() + label.view(-1, 1, 1, 1) / 4
    assert least_covered(real, real, label) == 1
    without = torch.where((label == 2).view(-1, 1, 1, 1), real.roll(1, 0), real)
    assert least_covered(without, real, label) == 0
    (said,) = concerns({"diversity": 1, "nearest": 1, "least_covered": 0.0})
    assert "class" in said


def lines(training, folder, source=None):
    """What a short training says."""
    made = trainer(training, folder, dataclasses.replace(OPTIONS, steps=2))
    made.source = source or made.source
    said = io.StringIO()
    metrics = Metrics(folder)
    made.run(metrics, Progress(2, 0, Console(file=said, width=1000)))
    metrics.close()
    return [line for line in said.getvalue().splitlines() if "warning" in line]


class Constant(GanTraining):
    """Its generator has forgotten its input."""

    def build(self):
        module = super().build()
        with torch.no_grad():
            module.generator.body[0].weight.zero_()
        module.generator.body[0].weight.requires_grad_(False)
        return module


def test_a_generator_that_makes_one_picture_is_warned_of(tmp_path):
    (said,) = [line for line in lines(Constant(SMALL, SHAPE), tmp_path) if "alike" in line]
    assert said.startswith("warning: ") and "collapsed" in said


class Single(Blobs):
    """A single picture is held out, without a label."""

    def held_out(self, larger=False):
        return next(super().held_out().chunks(1))


def test_too_few_held_out_pictures_are_said_so(tmp_path):
    (said,) = lines(GanTraining(SMALL, SHAPE), tmp_path, Single(SHAPE))
    assert "held-out" in said


def test_previews_show_the_same_latents_each_time_and_a_row_for_each_class(tmp_path):
    made = trainer(GanTraining(small(conditional=True), SHAPE, Blobs.labels), tmp_path, OPTIONS)
    batch = Tensors.of(made.held_out())
    torch.manual_seed(0)
    image, row = made.training.preview(made.module.eval(), batch)
    torch.manual_seed(0)
    again, _ = made.training.preview(made.module, batch)
    assert torch.equal(image, again)
    assert (len(image), row) == (2 * 8, 8)
    torch.manual_seed(0)
    latent = torch.randn(8, 3)
    dark = torch.tensor([[1.0, 0.0]]).repeat(8, 1)
    torch.testing.assert_close(image[:8], made.module.generator(latent, dark))
    plain = GanTraining(SMALL, SHAPE)
    assert plain.preview(plain.build(), batch)[0].shape == (64, *SHAPE)
