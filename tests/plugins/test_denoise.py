"""The family `denoiser`: its contract, its arithmetic, and its network's promises."""

import numpy as np
import pytest
import torch

from genloom_denoise import Denoiser, DenoiserConfig
from genloom_denoise.network import DenoisingUnet
from genloom_denoise.training import DenoiserTraining
from genloom_train.degradations import as_in_a_file, gaussian_noise
from genloom_train.testing import Blobs, check_backend
from genloom_train.training import Tensors

torch.set_num_threads(1)

TINY = DenoiserConfig(widths=(8, 8), blocks=1)


def test_it_keeps_the_contract_of_a_family(tmp_path):
    card = check_backend(Denoiser, TINY, tmp_path, shape=(3, 16, 16))
    assert card.size.multiple == 4
    assert card.channels == 3
    assert isinstance(card.receptive_field, int) and 20 < card.receptive_field < 80


def test_it_can_be_grey(tmp_path):
    module = DenoisingUnet(TINY, channels=1)
    assert module(torch.rand(2, 1, 8, 12), torch.tensor([0.1, 0.2])).shape == (2, 1, 8, 12)


def test_without_noise_the_picture_passes_unchanged():
    picture = torch.rand(1, 3, 16, 16)
    assert torch.equal(DenoisingUnet(TINY)(picture, torch.zeros(1)), picture)


def test_each_picture_of_a_batch_is_treated_by_its_own_level():
    network, pictures = DenoisingUnet(TINY).eval(), torch.rand(2, 3, 16, 16)
    levels = torch.tensor([0.05, 0.2])
    with torch.no_grad():
        together = network(pictures, levels)
        for index in range(2):
            alone = network(pictures[index : index + 1], levels[index : index + 1])
            torch.testing.assert_close(together[index : index + 1], alone)


def test_noise_has_the_deviation_it_was_asked_for():
    torch.manual_seed(0)
    level = torch.tensor([0.1, 0.2])
    noise = gaussian_noise(torch.zeros(2, 3, 64, 64), level)
    assert noise.flatten(1).std(1).numpy() == pytest.approx([0.1, 0.2], rel=0.05)


def test_a_file_holds_whole_values_from_0_to_255():
    values = as_in_a_file(torch.tensor([-0.3, 0.5001, 1.7])) * 255
    assert values.tolist() == [0.0, 128.0, 255.0]


@pytest.mark.parametrize("clipped", [0.0, 1.0])
def test_clipping_is_an_option_of_training(clipped, monkeypatch):
    training = DenoiserTraining(DenoiserConfig(widths=(8,), blocks=1, clipped=clipped), (3, 16, 16))
    seen = []

    def network(image, level):
        seen.append(image)
        return image * 1

    training.losses(network, Tensors.of(Blobs((3, 16, 16)).held_out()))
    inside = bool(((seen[0] >= 0) & (seen[0] <= 1)).all())
    assert inside == (clipped == 1.0)


def test_validation_says_how_noisy_the_input_was():
    training = DenoiserTraining(TINY, (3, 16, 16))
    figures = training.validate(
        lambda image, level: image, Blobs((3, 16, 16)).held_out(), torch.device("cpu")
    )
    for sigma in (15, 25, 50):
        assert figures[f"psnr_{sigma}"] == figures[f"psnr_noisy_{sigma}"]
        assert figures[f"psnr_{sigma}"] == pytest.approx(20 * np.log10(255 / sigma), abs=3)


def test_photographic_noise_is_a_share_of_the_pictures_and_its_level_is_measured():
    config = DenoiserConfig(widths=(8,), blocks=1, clipped=0, photographic=1.0)
    training, seen = DenoiserTraining(config, (3, 16, 16)), []

    def network(image, level):
        seen.append((image, level))
        return image * 1

    batch = Tensors.of(Blobs((3, 16, 16)).held_out())
    training.losses(network, batch)
    image, level = seen[0]
    torch.testing.assert_close(image, as_in_a_file(image))
    error = (image - batch.image).square().flatten(1).mean(1).sqrt()
    assert ((level >= 0.75 * error - 1e-6) & (level <= 1.25 * error + 1e-6)).all()
