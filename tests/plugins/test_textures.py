"""Fine textures without noise, which the estimator of noise levels learns to leave alone."""

import torch

from genloom_denoise import textures
from genloom_train.degradations import reduced

torch.set_num_threads(1)


def lively(side=64):
    """Four pictures: three smooth, the last one with texture everywhere."""
    torch.manual_seed(0)
    slope = torch.linspace(0.2, 0.8, side).expand(3, 3, side, side)
    rough = torch.rand(1, 3, side, side).round()
    return torch.cat([slope, rough])


def test_a_reduced_picture_goes_on_as_its_mirror_image(monkeypatch):
    clean = lively()[-1:]
    monkeypatch.setattr(textures, "_sharpened", lambda image: image)
    whole = textures.finer(clean, 8)
    small = reduced(clean, 8)[0]
    assert whole.shape == (3, 32, 32)
    torch.testing.assert_close(whole[:, :8, :8], small)
    torch.testing.assert_close(whole, whole.flip(1))
    torch.testing.assert_close(whole, whole.flip(2))


def test_reduced_to_half_it_fills_the_place_alone():
    assert textures.finer(lively(), 2).shape == (3, 32, 32)


def test_the_finest_of_a_few_is_taken():
    clean = lively()
    rough = [textures.finer(clean, 4).std(dim=2).mean() > 0.1 for _ in range(20)]
    assert sum(map(bool, rough)) > 10  # each of four pictures would be taken 5 times


def test_the_amplitudes_of_fields_fall_as_those_of_noise_do_not():
    torch.manual_seed(0)
    shares = []
    for _ in range(8):
        values = textures.field(3, 64, 64).mean(0)
        power = torch.fft.fft2(values - values.mean()).abs().square()
        shares.append(float(power[16:49, 16:49].mean() / power.mean()))
    assert max(shares) < 0.5  # of white noise it is 1


def test_fields_are_pictures_in_8_bits_nearly_of_one_colour():
    torch.manual_seed(0)
    one = textures.field(3, 48, 32)
    assert one.shape == (3, 48, 32) and one.min() >= 0 and one.max() <= 1
    torch.testing.assert_close(one * 255, (one * 255).round())
    assert torch.corrcoef(one.flatten(1)).min() > 0.8
