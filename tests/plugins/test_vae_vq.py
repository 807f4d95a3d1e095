"""The family `vqvae`: its contract, its codebook, and what is exported of them."""

import copy

import numpy as np
import pytest
import torch

import genloom
from genloom.catalog import Catalog
from genloom.errors import GenloomError
from genloom.runtime import Settings, ort
from genloom_train.testing import Blobs, check_backend
from genloom_train.training import Tensors
from genloom_vae import VqVae, VqVaeConfig
from genloom_vae.vq_codebook import Codebook, near_ties, nearest, perplexity, straight_through
from genloom_vae.vq_network import EncoderGraph
from genloom_vae.vq_prior import CodePrior
from genloom_vae.vq_training import VqVaeTraining

torch.set_num_threads(1)

CPU = torch.device("cpu")
SHAPE = (1, 13, 10)
CONFIG = VqVaeConfig(
    widths=(8, 8), codes=12, embedding=4, prior_width=16, prior_layers=2, prior_heads=2
)


@pytest.fixture(scope="module")
def bundle(tmp_path_factory):
    """A tiny bundle: what the contract of a family leaves behind."""
    folder = tmp_path_factory.mktemp("vqvae")
    check_backend(VqVae, CONFIG, folder, shape=SHAPE)
    return folder / "tiny"


@pytest.fixture(scope="module")
def model(bundle):
    catalog = Catalog()
    catalog.register(ort)
    import genloom_vae

    catalog.register(genloom_vae)
    return genloom.open_model(bundle, provider="cpu", catalog=catalog)


def trained(steps=3, **options):
    """A network whose codebook has been filled."""
    torch.manual_seed(0)
    training = VqVaeTraining(VqVaeConfig(widths=(8, 8), codes=12, embedding=4, **options), SHAPE)
    module = training.build()
    for _ in range(steps):
        _, latent, _, codes = module(held_out().image)
        module.codebook.follow(latent, codes)
    return training, module


def held_out():
    return Tensors.of(Blobs(SHAPE).held_out())


def test_it_keeps_the_contract_of_a_family(model):
    card = model.card
    assert card.latent == (4, 4, 3)
    assert set(card.parts) == {"encoder", "decoder", "codebook", "prior"}
    assert card.parts["prior"].outputs["logits"].axes == ("batch", 12, 12)
    assert not card.conditional


def test_the_nearest_entry_is_found():
    entries, latent = torch.randn(9, 3), torch.randn(2, 3, 4, 5)
    points = latent.permute(0, 2, 3, 1).reshape(2, 20, 3)
    expected = torch.cdist(points, entries.expand(2, -1, -1)).argmin(2)
    assert torch.equal(nearest(entries, latent), expected)


def test_the_first_of_equally_near_entries_is_taken():
    entries = torch.tensor([[1.0], [-1.0], [1.0]])
    assert nearest(entries, torch.tensor([[[[2.0, 0.0, -2.0]]]])).tolist() == [[0, 0, 1]]


def test_gradients_pass_the_codebook_straight_through():
    latent = torch.randn(2, 3, 2, 2, requires_grad=True)
    quantised = torch.randn(2, 3, 2, 2)
    weight = torch.randn(2, 3, 2, 2)
    passed = straight_through(latent, quantised)
    torch.testing.assert_close(passed, quantised)
    (weight * passed).sum().backward()
    torch.testing.assert_close(latent.grad, weight)


def test_the_reconstructions_gradient_reaches_the_encoder_and_the_priors_does_not():
    _, module = trained()
    logits, _, _, codes = module(held_out().image)
    module.prior.cost(codes).mean().backward()
    assert all(p.grad is None for p in module.encoder.parameters())
    module.likelihood.cost(logits, held_out().image).mean().backward()
    assert all(p.grad is not None for p in module.encoder.parameters())
    assert not any(name.startswith("codebook") for name, _ in module.named_parameters())


def filled(codebook, entries):
    codebook.counts.fill_(2.0)
    codebook.sums.copy_(2 * torch.tensor(entries))
    return codebook


def test_the_codebook_follows_by_running_averages_as_worked_out_by_hand():
    codebook = filled(Codebook(2, 1, 0.75, 0.0), [[0.0], [10.0]])
    latent = torch.tensor([1.0, 3.0, 8.0, 2.0]).view(1, 1, 2, 2)
    codes = codebook.nearest(latent)
    assert codes.tolist() == [[0, 0, 1, 0]]
    codebook.follow(latent, codes)
    # N ← ¾·2 + ¼·n and m ← ¾·2e + ¼·Σz
    assert codebook.counts.tolist() == [1.5 + 0.25 * 3, 1.5 + 0.25]
    assert codebook.sums.flatten().tolist() == [0.25 * 6, 15 + 0.25 * 8]
    np.testing.assert_allclose(codebook.entries.flatten(), [1.5 / 2.25, 17 / 1.75], rtol=1e-6)


def test_a_new_codebook_is_filled_with_what_the_encoder_gives():
    codebook = Codebook(5, 2, 0.99, 0.02)
    torch.manual_seed(1)
    latent = torch.randn(4, 2, 3, 3)
    codebook.follow(latent, codebook.nearest(latent))
    points = latent.permute(0, 2, 3, 1).reshape(-1, 2)
    distances = (codebook.entries[:, None] - points).abs().amax(2).min(1).values
    assert (distances[1:] < 1e-5).all()  # all empty entries chose the first, which is the mean
    torch.testing.assert_close(codebook.entries[0], points.mean(0))
    assert len(codebook.entries.unique(dim=0)) == 5


def test_more_empty_entries_than_outputs_are_filled_too():
    codebook = Codebook(7, 1, 0.99, 0.02)
    latent = torch.tensor([1.0, 2.0]).view(1, 1, 1, 2)
    codebook.follow(latent, codebook.nearest(latent))
    assert set(codebook.entries.flatten()[1:].round(decimals=4).tolist()) <= {1.0, 2.0}


def test_restarts_go_where_the_error_is():
    """Nine tenths of the places are background, which the first entry serves."""
    codebook = filled(Codebook(8, 1, 0.5, 0.02), [[0.0], *[[900.0]] * 7])
    codebook.counts[1:] *= 0.01
    codebook.sums[1:] *= 0.01
    latent = torch.zeros(1, 1, 10, 20)
    latent[0, 0, 0] = torch.linspace(3, 5, 20)
    torch.manual_seed(0)
    codebook.follow(latent, codebook.nearest(latent))
    assert ((codebook.entries[1:] > 2.9) & (codebook.entries[1:] < 5.1)).all()


def test_a_dead_entry_is_restarted_on_an_output_of_the_encoder_by_the_seed():
    made = {}
    for name, seed in (("one", 3), ("same", 3), ("other", 4)):
        codebook = filled(Codebook(3, 1, 0.5, 0.02), [[0.0], [10.0], [500.0]])
        codebook.counts[2] *= 0.01
        codebook.sums[2] *= 0.01
        latent = torch.linspace(-1, 11, 400).view(1, 1, 20, 20)
        torch.manual_seed(seed)
        codebook.follow(latent, codebook.nearest(latent))
        made[name] = codebook.entries.flatten()
        assert (latent - made[name][2]).abs().min() < 1e-4
        assert made[name][0] != 500 and made[name][1] != 500
        assert codebook.counts[2].item() == pytest.approx(2 * 0.02 * 400 / 3)
    assert torch.equal(made["one"], made["same"])
    assert made["one"][2] != made["other"][2]


def test_an_entry_that_is_used_now_and_then_is_left_alone():
    codebook = filled(Codebook(2, 1, 0.99, 0.02), [[0.0], [10.0]])
    latent = torch.zeros(1, 1, 2, 2)
    codebook.follow(latent, codebook.nearest(latent))
    assert codebook.entries.flatten().tolist() == pytest.approx([0.0, 10.0])


@pytest.mark.parametrize(("decay", "calls"), [(0.0, 5), (0.5, 200), (0.99, 3500)])
def test_without_restarts_an_entry_that_nothing_chooses_stays_where_it_is(decay, calls):
    codebook = filled(Codebook(2, 1, decay, 0.0), [[0.0], [10.0]])
    latent = torch.ones(1, 1, 2, 2)
    for _ in range(calls):
        codebook.follow(latent, torch.zeros(1, 4, dtype=torch.int64))
    assert codebook.entries.flatten().tolist() == pytest.approx([1.0, 10.0], rel=1e-3)
    codebook.follow(12 * latent, torch.ones(1, 4, dtype=torch.int64))
    assert codebook.entries[1].item() == pytest.approx(12.0, rel=1e-3)


def test_without_restarts_a_new_codebook_is_filled_all_the_same():
    codebook = Codebook(5, 2, 0.99, 0.0)
    torch.manual_seed(1)
    latent = torch.randn(4, 2, 3, 3)
    codebook.follow(latent, codebook.nearest(latent))
    assert len(codebook.entries.unique(dim=0)) == 5 and codebook.counts.min() > 0


def test_a_step_moves_the_codebook_and_both_networks():
    training, module = trained()
    before = copy.deepcopy(module.state_dict())
    from genloom_train.options import TrainOptions

    optimisers = training.optimisers(module, TrainOptions(steps=1))

    class Turn:
        step, steps, peers = 0, 1, None

        def update(self, name, loss):
            optimisers[name].zero_grad()
            loss.backward()
            optimisers[name].step()

    training.step(module, held_out(), Turn())
    after = module.state_dict()
    for part in ("encoder.0.weight", "decoder.0.weight", "codebook.sums", "prior.head.weight"):
        assert not torch.equal(before[part], after[part]), f"{part} did not move"


def test_bfloat16_changes_the_loss_little_and_no_code_is_chosen_in_it():
    training, module = trained()
    exact = training.losses(module, held_out())["loss"]
    with torch.autocast("cpu", torch.bfloat16):
        _, latent, quantised, codes = module(held_out().image)
        rough = training.losses(module, held_out())["loss"]
    assert latent.dtype == quantised.dtype == rough.dtype == torch.float32
    assert torch.equal(codes, module.codebook.nearest(latent))
    torch.testing.assert_close(rough, exact, rtol=0.02, atol=0)


def test_all_entries_come_into_use():
    _, module = trained(steps=30)
    codes = module(held_out().image)[3]
    assert perplexity(codes, 12) > 6
    assert perplexity(torch.tensor([0, 1, 2, 3]), 12).item() == pytest.approx(4.0)
    assert perplexity(torch.tensor([5, 5]), 12).item() == pytest.approx(1.0)


def test_the_prior_sees_only_what_comes_before():
    torch.manual_seed(0)
    prior = CodePrior(CONFIG, 6)
    codes = torch.randint(0, 12, (1, 6))
    for place in range(6):
        other = codes.clone()
        other[0, place] = (other[0, place] + 1) % 12
        changed = (prior(other) - prior(codes)).abs().amax(2)[0] > 1e-7
        assert not changed[: place + 1].any()
        assert changed[place + 1 :].all()


def test_the_prior_is_a_distribution_over_all_sequences():
    config = VqVaeConfig(codes=3, prior_width=8, prior_layers=1, prior_heads=2)
    torch.manual_seed(0)
    prior = CodePrior(config, 4)
    every = torch.cartesian_prod(*[torch.arange(3)] * 4)
    assert (-prior.cost(every)).exp().sum().item() == pytest.approx(1.0, abs=1e-5)


def test_validation_is_the_elbo_and_says_how_many_entries_are_used():
    training, module = trained()
    with torch.no_grad():
        figures = training.validate(module.eval(), Blobs(SHAPE).held_out(), CPU)
    assert figures["negative_elbo"] == pytest.approx(figures["reconstruction"] + figures["kl"])
    assert 1 <= figures["perplexity"] <= figures["codes_used"] <= 12


def test_the_preview_shows_pictures_reconstructions_and_samples():
    training, module = trained()
    with torch.no_grad():
        pictures, row = training.preview(module.eval(), held_out())
    assert (pictures.shape, row) == ((16 + 16 + 32, *SHAPE), 8)
    assert not torch.equal(pictures[32], pictures[33])


def test_heads_that_do_not_share_the_width_evenly_are_refused():
    with pytest.raises(GenloomError, match="multiple of 3"):
        VqVaeTraining(VqVaeConfig(prior_width=16, prior_heads=3), SHAPE)


def test_latents_between_entries_are_decoded_by_the_nearest(model):
    latent = model.encode(Blobs(SHAPE).held_out().image[:2].transpose(0, 2, 3, 1))
    assert latent.shape == (2, 4, 4, 3)
    nudged = latent + np.float32(1e-5)
    np.testing.assert_array_equal(model.decode(latent), model.decode(nudged))


def test_samples_do_not_depend_on_how_many_are_drawn(model):
    many = model.sample(20, seed=5)
    np.testing.assert_array_equal(many[:3], model.sample(3, seed=5))
    assert len(np.unique(many.reshape(20, -1), axis=0)) > 10


def test_codes_that_onnx_and_torch_choose_differently_are_ties(bundle):
    torch.manual_seed(0)
    training = VqVaeTraining(CONFIG, SHAPE)
    module = training.build().eval()
    image = torch.rand(64, *SHAPE)
    with torch.no_grad():
        for _ in range(3):
            _, latent, _, codes = module(image)
            module.codebook.follow(latent, codes)
        from genloom_train.onnx_graph import to_onnx

        graph = training.graphs(module)["encoder"]
        data = to_onnx("encoder", graph).SerializeToString()
        network = ort.OnnxRuntime().compile(data, Settings(provider="cpu"))
        found = torch.from_numpy(network.run({"image": image.numpy()})["latent"])
        right = EncoderGraph(module)(image)
        apart = (found - right).abs().amax(1) > 1e-4
        points = module.encode(image).permute(0, 2, 3, 1)[apart]
        one, two = (
            (points - each.permute(0, 2, 3, 1)[apart]).square().sum(1) for each in (found, right)
        )
    assert apart.float().mean() < 0.01
    torch.testing.assert_close(one, two, atol=1e-4, rtol=0)
    assert not (apart.flatten(1).any(1) & ~graph.ties(image)).any()


def test_a_near_tie_is_recognised_and_a_clear_choice_is_not():
    entries = torch.tensor([[0.0, 0.0], [1.0, 0.0], [0.0, 3.0]])
    latent = torch.tensor([[0.5, 0.2], [0.4, 0.2], [0.5000001, 0.0]])[:, :, None, None]
    assert near_ties(entries, latent).tolist() == [True, False, True]
