"""Feature maps for perceptual losses."""

import pytest
import torch

from genloom.errors import MissingRequirement
from genloom_train.features import features, perceptual_distance


def test_random_filters_are_the_same_every_time_and_leave_the_generator_alone():
    torch.manual_seed(1)
    first = torch.rand(2)
    torch.manual_seed(1)
    one, two = features("random"), features("random")
    assert torch.equal(torch.rand(2), first)
    image = torch.rand(2, 3, 64, 48)
    maps = one(image)
    assert [tuple(m.shape[1:]) for m in maps] == [(64, 58, 42), (64, 26, 18), (64, 10, 6)]
    assert all(torch.equal(a, b) for a, b in zip(maps, two(image), strict=True))


def test_distance_grows_with_blur_and_noise_and_is_zero_between_equals():
    torch.manual_seed(0)
    module, image = features("random"), torch.rand(1, 3, 64, 64)
    little, much = image + 0.02 * torch.randn_like(image), image + 0.2 * torch.randn_like(image)
    assert perceptual_distance(module, image, image) == 0
    assert perceptual_distance(module, little, image) < perceptual_distance(module, much, image)


def test_gradients_reach_the_picture_and_no_filter():
    module, image = features("random"), torch.rand(1, 1, 32, 32, requires_grad=True)
    perceptual_distance(module, image, torch.rand(1, 1, 32, 32)).backward()
    assert image.grad is not None and image.grad.abs().sum() > 0
    assert not list(module.parameters())


def test_vgg_without_weights_says_what_is_missing(monkeypatch, tmp_path):
    monkeypatch.setattr(torch.hub, "get_dir", lambda: str(tmp_path))
    with pytest.raises(MissingRequirement, match=r"vgg19-dcbb9e9d\.pth"):
        features("vgg19")


def test_vgg_is_used_where_its_weights_are(monkeypatch, tmp_path):
    from torchvision.models import vgg19

    (tmp_path / "checkpoints").mkdir()
    torch.save(vgg19().state_dict(), tmp_path / "checkpoints" / "vgg19-dcbb9e9d.pth")
    monkeypatch.setattr(torch.hub, "get_dir", lambda: str(tmp_path))
    maps = features("vgg19")(torch.rand(1, 1, 32, 32))
    assert [tuple(m.shape[1:]) for m in maps] == [
        (64, 32, 32), (128, 16, 16), (256, 8, 8), (512, 4, 4), (512, 2, 2),
    ]  # fmt: skip
