"""Feature maps for perceptual losses."""

import pytest
import torch

from genloom.errors import GenloomError, MissingRequirement
from genloom_train.features import features, gram, gram_distance, perceptual_distance


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


def test_gram_matrices_are_means_over_places_and_pictures():
    torch.manual_seed(0)
    maps = torch.rand(2, 3, 4, 5)
    right = torch.einsum("nihw,njhw->ij", maps, maps) / (2 * 4 * 5)
    torch.testing.assert_close(gram(maps), right)
    torch.testing.assert_close(gram(torch.cat([maps, maps])), right)


def test_gram_distance_sees_texture_and_not_where_it_is():
    torch.manual_seed(0)
    seen = features("random")
    stripes = torch.zeros(1, 3, 96, 96)
    stripes[..., ::8], stripes[..., 1::8] = 1.0, 1.0
    style = [gram(maps) for maps in seen(stripes)]
    moved, turned = stripes.roll(4, 3), stripes.mT
    assert gram_distance(seen(stripes), style) == 0
    assert gram_distance(seen(moved), style) < 0.1 * gram_distance(seen(turned), style)


def test_gram_distance_compares_the_scales_that_both_have():
    torch.manual_seed(0)
    seen = features("random")
    small, large = torch.rand(1, 3, 40, 40), torch.rand(1, 3, 96, 96)
    assert len(seen(small)) == 3
    assert 0 < gram_distance(seen(small), [gram(maps) for maps in seen(large)]) < 0.4


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


def test_weights_of_vgg_that_are_none_are_refused(monkeypatch, tmp_path):
    monkeypatch.setattr(torch.hub, "get_dir", lambda: str(tmp_path))
    (tmp_path / "checkpoints").mkdir()
    (tmp_path / "checkpoints" / "vgg19-dcbb9e9d.pth").write_bytes(b"no weights")
    with pytest.raises(GenloomError, match="cannot be used"):
        features("vgg19")
