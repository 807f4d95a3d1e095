"""Denoisers that learn from pairs, from noisy pictures alone, or with guides; the renderer."""

import numpy as np
import pytest
import torch

from genloom.errors import GenloomError
from genloom.testing import FakeRun, fake_model
from genloom.types import Batch, Item
from genloom_denoise import Denoiser, DenoiserConfig
from genloom_denoise.neighbours import neighbours
from genloom_denoise.network import DenoisingUnet
from genloom_denoise.render import displayed, guides, random_scene, render
from genloom_denoise.rendered import Rendered
from genloom_denoise.stages import Denoise
from genloom_denoise.training import DenoiserTraining
from genloom_train.data import generator
from genloom_train.data.checks import check_dataset
from genloom_train.testing import Blobs, check_backend
from genloom_train.training import Tensors

torch.set_num_threads(1)
SMALL = {"widths": (8, 8), "blocks": 1}
CPU = torch.device("cpu")


def test_a_blind_network_keeps_the_contract(tmp_path):
    config = DenoiserConfig(**SMALL, blind=True)
    card = check_backend(Denoiser, config, tmp_path, shape=(3, 16, 16))
    assert set(card.parts["network"].inputs) == {"image"}


def test_a_network_that_learns_from_noisy_pictures_keeps_the_contract(tmp_path):
    config = DenoiserConfig(**SMALL, learn_from="noisy")
    check_backend(Denoiser, config, tmp_path, shape=(3, 16, 16))


@pytest.mark.parametrize("error", ["rms", "absolute"])
def test_clipped_noise_in_targets_shifts_what_is_best_for_rms_and_not_for_absolute(error):
    config = DenoiserConfig(**SMALL, blind=True, error=error)
    training = DenoiserTraining(config, (3, 64, 64))
    true = 0.02
    noise = torch.randn(2, 4, 3, 64, 64, generator=torch.Generator().manual_seed(1))
    noisy, target = (true + 0.1 * noise).clamp(0, 1)
    batch = Tensors(target, others={"noisy": noisy})

    def loss(value):
        return float(training.losses(lambda one: torch.full_like(one, value), batch)["loss"])

    best = min(np.linspace(0, 0.1, 51), key=loss)
    wanted = float(target.mean()) if error == "rms" else true
    assert abs(float(target.mean()) - true) > 0.02
    assert best == pytest.approx(wanted, abs=0.005)


class Guided(Blobs):
    """Blobs that bring a noisy version and guides."""

    def _with(self, samples):
        random = np.random.default_rng(0)
        noisy = samples.image + 0.1 * random.standard_normal(samples.image.shape)
        others = {
            "noisy": noisy.astype(np.float32).clip(0, 1),
            "albedo": samples.image,
            "normal": samples.image,
        }
        return type(samples)(samples.image, samples.label, others)

    def batch(self, step, size, seed):
        return self._with(super().batch(step, size, seed))

    def held_out(self, larger=False):
        return self._with(super().held_out())


def test_a_guided_network_keeps_the_contract(tmp_path, monkeypatch):
    monkeypatch.setattr("genloom_train.testing.Blobs", Guided)
    config = DenoiserConfig(**SMALL, blind=True, guides=("albedo", "normal"))
    card = check_backend(Denoiser, config, tmp_path, shape=(3, 16, 16))
    inputs = card.parts["network"].inputs
    assert list(inputs) == ["image", "albedo", "normal"]
    assert inputs["albedo"].default == 0 and inputs["albedo"].axes == inputs["image"].axes


def test_crops_that_do_not_halve_are_refused_before_training():
    config = DenoiserConfig(**SMALL, learn_from="noisy")
    with pytest.raises(GenloomError, match=r"multiple of 8"):
        DenoiserTraining(config, (3, 20, 24))
    with pytest.raises(GenloomError, match=r"knows no guides"):
        DenoiserTraining(DenoiserConfig(learn_from="noisy", guides=("albedo",)), (3, 96, 96))


@pytest.mark.parametrize("learn_from", ["clean", "noisy"])
def test_held_out_pictures_may_be_of_any_size(learn_from):
    training = DenoiserTraining(DenoiserConfig(**SMALL, learn_from=learn_from), (3, 16, 16))
    with torch.no_grad():
        figures = training.validate(training.build(), Blobs((3, 30, 21)).held_out(), CPU)
    assert all(np.isfinite(value) for value in figures.values())


def test_guides_that_the_data_lacks_are_told():
    training = DenoiserTraining(DenoiserConfig(**SMALL, guides=("albedo",)), (3, 16, 16))
    batch = Tensors.of(Blobs((3, 16, 16)).held_out())
    with pytest.raises(GenloomError, match=r"brings no 'albedo'"):
        training.losses(training.build(), batch)


def test_noisy_versions_that_the_data_brings_are_the_input_and_their_level_is_estimated():
    seen = []

    def network(image, level):
        seen.append((image, level))
        return image * 1

    training = DenoiserTraining(DenoiserConfig(**SMALL), (3, 64, 64))
    batch = Tensors.of(Guided((3, 64, 64)).held_out())
    training.losses(network, batch)
    assert torch.equal(seen[0][0], batch.others["noisy"])
    assert float(seen[0][1].mean()) == pytest.approx(0.1, rel=0.2)


def test_validation_of_guided_networks_says_what_the_guides_are_worth():
    config = DenoiserConfig(**SMALL, blind=True, guides=("albedo",))
    training = DenoiserTraining(config, (3, 16, 16))

    def network(image, albedo):
        return torch.where(albedo.sum() > 0, albedo, image)

    figures = training.validate(network, Guided((3, 16, 16)).held_out(), CPU)
    assert figures["psnr"] > 100
    assert figures["psnr_without_guides"] == figures["psnr_noisy"] < 30


def test_textures_of_the_albedo_pass_by_a_product():
    config = DenoiserConfig(**SMALL, blind=True, guides=("albedo",))
    network = DenoisingUnet(config)
    with torch.no_grad():
        network.tail.weight.zero_()
        network.tail.bias.copy_(torch.cat([torch.zeros(12), torch.full((12,), -1.0)]))
        image, albedo = torch.rand(2, 1, 3, 16, 16)
        torch.testing.assert_close(network(image, albedo), image + albedo)


def test_neighbours_are_neighbours_and_the_same_of_both_pictures():
    torch.manual_seed(0)
    place = torch.arange(8 * 6).reshape(1, 1, 8, 6).float()
    (one, two), (three, four) = neighbours(place, place + 100)
    assert one.shape == (1, 1, 4, 3)
    assert set((one - two).abs().flatten().tolist()) <= {1.0, 6.0}
    assert torch.equal(three, one + 100) and torch.equal(four, two + 100)
    rows, columns = one // 6, one % 6
    assert torch.equal(rows // 2, torch.arange(4.0)[None, None, :, None].expand_as(one))
    assert torch.equal(columns // 2, torch.arange(3.0)[None, None, None].expand_as(one))
    assert neighbours(torch.rand(2, 3, 7, 5))[0][0].shape == (2, 3, 3, 2)


def test_more_paths_are_less_noisy_and_agree_in_the_mean():
    scene = random_scene(generator("test", 1))
    random = generator("paths", 0)
    few, more, many = (render(scene, 16, paths, random) for paths in (2, 32, 256))
    assert few.shape == (16, 16, 3) and few.min() >= 0
    error_few, error_more = (float(((x - many) ** 2).mean()) for x in (few, more))
    assert error_more < 0.3 * error_few
    assert float(more.mean()) == pytest.approx(float(many.mean()), rel=0.05)


def test_guides_show_colours_without_light_and_normals_of_length_one():
    scene = random_scene(generator("test", 2))
    albedo, normal = guides(scene, 16, generator("guides", 0))
    assert albedo.min() >= 0 and albedo.max() <= 1
    lengths = np.linalg.norm(normal, axis=2)
    assert lengths.max() < 1.001
    assert np.median(lengths) > 0.99


def test_a_floor_under_a_lamp_is_as_light_as_physics_says():
    """One unoccluded point: a matt floor sends back albedo · L · r² cos θ / d² of a small lamp."""
    scene = random_scene(generator("test", 3))
    empty = type(scene)(
        balls=np.zeros((0, 4), np.float32),
        boxes=np.zeros((0, 6), np.float32),
        textures=(type(scene.textures[0])("plain", np.full(3, 0.5, np.float32),
                                          np.zeros(3, np.float32), 1.0),),
        lamp=np.array([0, 3, 0, 0.1], np.float32),
        light=np.full(3, 100, np.float32),
        sky=np.zeros(3, np.float32),
        eye=np.array([0, 2, 0], np.float32),
        axes=np.array([[1, 0, 0], [0, 0, 1], [0, -1, 0]], np.float32),
    )  # fmt: skip
    middle = render(empty, 9, 64, generator("paths", 1))[4, 4]
    assert middle == pytest.approx(0.5 * 100 * 0.1**2 / 3**2, rel=0.02)


def test_radiance_is_shown_between_black_and_white():
    shown = displayed(np.array([0.0, 0.5, 1.0, 1e6], np.float32))
    assert shown[0] == 0 and shown[-1] == pytest.approx(1, abs=1e-3)
    assert (np.diff(shown) > 0).all()


def test_rendered_scenes_keep_the_contract_of_a_data_set():
    source = check_dataset(Rendered(count=3, size=24, crop=16, paths=4))
    batch = source.batch(0, 4, 0)
    assert set(batch.others) == {"noisy", "albedo", "normal"}
    assert batch.image.shape == batch.others["normal"].shape == (4, 3, 16, 16)
    assert source.held_out(larger=True).image.shape == (1, 3, 24, 24)


def test_the_stage_gives_guides_to_the_network_and_takes_them_off_the_result():
    def network(image, albedo):
        return image + albedo

    model = fake_model(network, guides=("albedo",))
    items = [
        Item(key="a", name="a", guides={"albedo": np.full((12, 10, 3), 51, np.uint8)}),
        Item(key="b", name="b"),
    ]
    batch = Batch.images(items, np.full((2, 12, 10, 3), 0.5, np.float32))
    result = Denoise(model="m")(batch, FakeRun({"m": model}))
    np.testing.assert_allclose(result.pixels[0], 0.7, atol=1e-6)
    np.testing.assert_allclose(result.pixels[1], 0.5, atol=1e-6)
    assert not result.items[0].guides
