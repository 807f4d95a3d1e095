"""The families `stylizer` and `adain`: their contracts, their networks' promises, their losses."""

import dataclasses
import importlib

import cv2
import numpy as np
import pytest
import torch
from lite import lite_package
from torch.nn import functional

import genloom
from genloom.errors import GenloomError
from genloom.testing import image_batch
from genloom_style import Adain, AdainConfig, Stylizer, StylizerConfig
from genloom_style.adaptive import AdaptiveNets, adapted, repeated
from genloom_style.adaptive_training import AdainTraining, structure_distance, style_distance
from genloom_style.content import blurred, content_loss, luminance
from genloom_style.network import StylingNet, Texture
from genloom_style.patterns import PATTERNS, random_look, random_pattern
from genloom_style.pictures import style_crops
from genloom_style.stages import adapted as adapted_arrays
from genloom_style.training import StylizerTraining
from genloom_train.data import generator
from genloom_train.export import Bundle, export
from genloom_train.features import features
from genloom_train.testing import OPTIONS, Blobs, check_backend, run, trainer
from genloom_train.training import Tensors

torch.set_num_threads(1)
SHAPE = (3, 40, 40)
TINY = {"width": 8, "blocks": 1, "discriminator_width": 4}
PERIOD = 16
ONE = {"tone": 10.0, "grain": 4, "period": PERIOD, **TINY}
ANY = {"patterns": 4, "tone": 10.0, "grain": 4, **TINY}


@pytest.fixture(scope="module")
def style(tmp_path_factory):
    """A small picture of vertical black and white stripes."""
    path = tmp_path_factory.mktemp("style") / "stripes.png"
    stripes = np.tile(np.repeat([0, 255], 4), 12).astype(np.uint8)
    cv2.imwrite(str(path), np.broadcast_to(stripes[None, :, None], (64, 96, 3)))
    return path


@pytest.mark.parametrize(
    "options",
    [{}, {"adversarial": 0.0, "texture": 1.0}, {"texture": 1.0, "content": 1.0, "colour": 1.0}],
    ids=["adversarial", "Gram matrices", "all losses"],
)
def test_a_stylizer_keeps_the_contract_of_a_family(style, tmp_path, options):
    config = StylizerConfig(style=style, **ONE, **options)
    falls = None if config.adversarial else "loss"
    card = check_backend(Stylizer, config, tmp_path, shape=SHAPE, falls=falls)
    assert set(card.parts) == {"network"}
    assert isinstance(card.receptive_field, int) and 30 < card.receptive_field < 80
    assert (card.size.multiple, card.size.stride) == (4, 16)
    assert card.parameters == sum(p.numel() for p in net(style).parameters())


def net(style):
    training = StylizerTraining(StylizerConfig(style=style, **ONE), SHAPE)
    return training.build().network


@pytest.mark.parametrize(
    "options", [{}, {"adversarial": 0.0, "texture": 1.0}], ids=["adversarial", "Gram matrices"]
)
def test_adain_keeps_the_contract_of_a_family(tmp_path, options):
    config = AdainConfig(**ANY, **options)
    card = check_backend(Adain, config, tmp_path, shape=SHAPE, falls=None)
    assert set(card.parts) == {"encoder", "decoder"}
    assert set(card.parts["decoder"].inputs) == {"latent", "style"}
    assert card.receptive_field == "global"


def test_adain_with_an_encoder_that_stays_as_it_is_keeps_the_contract(tmp_path, monkeypatch):
    lite_package(tmp_path / "site")
    monkeypatch.syspath_prepend(str(tmp_path / "site"))
    importlib.invalidate_caches()
    options = {"encoder": "efficientnet", "adversarial": 0.0, "texture": 1.0, "content": 0.5}
    config = AdainConfig(**ANY, **options)
    card = check_backend(Adain, config, tmp_path, shape=SHAPE, falls=None)
    assert card.size.multiple == 8 and card.parts["encoder"].outputs["latent"].axes[1] == 8
    made = trainer(AdainTraining(config, SHAPE), tmp_path / "run", OPTIONS)
    encoder = made.module.encoder
    fixed, mixed = encoder.seeing.stem.weight.clone(), encoder.mix.weight.clone()
    made.advance(Tensors.of(Blobs(SHAPE).batch(0, 4, 0)))
    assert torch.equal(encoder.seeing.stem.weight, fixed)
    assert not torch.equal(encoder.mix.weight, mixed)


def test_style_and_structure_each_see_their_own():
    torch.manual_seed(0)
    maps = [torch.rand(2, 6, 16, 16) for _ in range(4)]
    places = torch.randperm(256)
    shuffled = [one.flatten(2)[..., places].reshape(one.shape) for one in maps]
    louder = [3 * one + 1 for one in maps]
    assert style_distance(maps, maps) < 2e-3 and style_distance(shuffled, maps) < 2e-3
    assert structure_distance(louder, maps) < 0.01 * style_distance(louder, maps)
    assert structure_distance(shuffled, maps) > 1


def test_the_decoder_is_told_the_style_at_every_depth():
    """Maps with another mean and deviation, and nothing else, make another picture throughout."""
    torch.manual_seed(0)
    module = AdaptiveNets(AdainConfig(adversarial=0.0, **TINY)).eval()
    block = module.decoder.body[0]
    x, one, other = torch.rand(1, 8, 6, 6), torch.zeros(1, 8), torch.ones(1, 8)
    same, changed = (block(x, style) - x for style in (one, other))
    assert not torch.allclose(same, changed)
    mean, deviation = changed.mean((2, 3)), changed.std((2, 3), correction=0)
    torch.testing.assert_close(mean, block.after.shift(other), atol=1e-4, rtol=1e-4)
    torch.testing.assert_close(deviation, block.after.scale(other).abs(), atol=1e-3, rtol=1e-2)


def test_the_decoder_draws_the_style_s_own_detail_where_the_picture_is_even():
    """It repeats with the detail, and without detail there is nothing to see."""
    torch.manual_seed(0)
    decoder = AdaptiveNets(AdainConfig(adversarial=0.0, **TINY)).eval().decoder
    latent, own = torch.ones(2, 8, 24, 32), torch.rand(2, 3, 20, 20) - 0.5
    with torch.no_grad():
        made, plain = (decoder(latent, one)[:, :, 24:-24, 24:-24] for one in (own, 0 * own))
    assert plain.std((2, 3)).max() < 0.1 * made.std((2, 3)).min()
    torch.testing.assert_close(made[..., 20:], made[..., :-20], atol=1e-4, rtol=1e-4)
    assert not torch.allclose(made[0], made[1], atol=1e-2)


def test_details_side_by_side_begin_at_the_upper_left_corner():
    found = repeated(torch.arange(16.0).reshape(1, 1, 4, 4), 8, 10)
    assert found.shape == (1, 1, 8, 10)
    assert found[0, 0, 0].tolist() == [0, 1, 2, 3, 0, 1, 2, 3, 0, 1]
    assert torch.equal(found[:, :, :4], found[:, :, 4:])


@pytest.mark.parametrize(
    ("crop", "options", "least"),
    [
        (64, {"grain": 64}, 128),
        (124, {"grain": 64}, 128),
        (8, {}, 20),
        (16, {}, 20),
        (12, {"adversarial": 0.0, "texture": 1.0}, 16),
    ],
)
def test_crops_too_small_to_judge_paintings_by_are_refused_before_training(
    style, crop, options, least
):
    said = f"'data.crop' of at least {least}, got {crop}×{crop}"
    with pytest.raises(GenloomError, match=said):
        StylizerTraining(StylizerConfig(style=style, **{**ONE, **options}), (3, crop, crop))
    with pytest.raises(GenloomError, match=said):
        AdainTraining(AdainConfig(**{**ANY, **options}), (3, crop, crop))


@pytest.mark.parametrize(
    ("crop", "options"),
    [(20, {}), (32, {"grain": 16}), (16, {"adversarial": 0.0, "texture": 1.0, "content": 1.0})],
)
def test_the_smallest_crops_that_are_taken_can_be_learned_from(style, tmp_path, crop, options):
    for training in (
        StylizerTraining(StylizerConfig(style=style, **{**ONE, **options}), (3, crop, crop)),
        AdainTraining(AdainConfig(**{**ANY, **options}), (3, crop, crop)),
    ):
        made = trainer(training, tmp_path / type(training).__name__, OPTIONS)
        report = made.advance(Tensors(torch.rand(4, 3, crop, crop)))
        assert all(torch.isfinite(value) for value in report.values())


def test_grey_pictures_are_learned_from_too(style, tmp_path):
    for training in (
        StylizerTraining(StylizerConfig(style=style, **ONE), (1, 40, 40)),
        AdainTraining(AdainConfig(**ANY), (1, 40, 40)),
    ):
        made = trainer(training, tmp_path / type(training).__name__, OPTIONS)
        report = made.advance(Tensors.of(made.source.batch(0, 4, 0)))
        assert torch.isfinite(report["loss"])


def test_tiles_of_a_large_picture_are_those_of_the_whole(style, tmp_path):
    training = StylizerTraining(StylizerConfig(style=style, **ONE), SHAPE)
    torch.manual_seed(0)
    module = training.build()
    torch.nn.init.normal_(module.network.tail.weight, std=0.2)
    export(training, module, Bundle(name="tiny", family="stylizer"), tmp_path)
    picture = image_batch(1, size=(250, 331)).pixels[0].astype(np.float32) / 255
    whole, tiled = (
        genloom.open_model(tmp_path / "tiny", tile=tile, provider="cpu")(picture)
        for tile in (1024, 128)
    )
    assert np.abs(whole - picture).mean() > 0.05
    np.testing.assert_allclose(tiled, whole, atol=1e-5)


def test_a_fresh_stylizer_begins_near_the_light_of_the_picture(style):
    torch.manual_seed(0)
    image = torch.rand(1, 3, 24, 32)
    change = net(style).eval()(image) - luminance(image)
    assert change.abs().mean() < 0.2 and change.std((2, 3)).max() < 0.05


def test_a_painting_has_no_frame(style):
    """At its borders it is much what it would be if the picture went on."""
    torch.manual_seed(0)
    made = net(style).eval()
    torch.nn.init.normal_(made.tail.weight, std=0.2)
    image = torch.rand(1, 3, 24, 32)
    whole = made(functional.pad(image, (PERIOD,) * 4, mode="replicate"))
    inner = whole[:, :, PERIOD:-PERIOD, PERIOD:-PERIOD]
    torch.testing.assert_close(made(image), inner, atol=1e-3 * inner.std().item(), rtol=0)


def test_the_texture_repeats_and_begins_anywhere_in_training():
    texture = Texture(torch.arange(16.0).reshape(1, 1, 4, 4), 1).eval()
    found = texture(torch.zeros(2, 3, 8, 10))
    assert found.shape == (2, 1, 8, 10)
    assert found[0, 0, 0].tolist() == [0, 1, 2, 3, 0, 1, 2, 3, 0, 1]
    assert torch.equal(found[:, :, :4], found[:, :, 4:])
    torch.manual_seed(0)
    starts = texture.train()(torch.zeros(60, 1, 1, 1)).detach()
    assert starts.shape == (60, 1, 1, 1) and len(starts.unique()) > 8


def test_the_statistics_of_the_style_are_taken_on_whole_maps():
    torch.manual_seed(0)
    content, style = torch.rand(2, 3, 8, 9), 5 * torch.rand(2, 3, 4, 6) - 7
    made = adapted(content, style)
    torch.testing.assert_close(made.mean((2, 3)), style.mean((2, 3)), atol=1e-4, rtol=1e-4)
    spread = {"dim": (2, 3), "correction": 0}
    torch.testing.assert_close(made.std(**spread), style.std(**spread), atol=1e-4, rtol=1e-3)
    maps = style[:1].numpy()
    statistics = (maps.mean((2, 3), keepdims=True), maps.std((2, 3), keepdims=True))
    arrays = adapted_arrays(content[:1].numpy(), *statistics)
    np.testing.assert_allclose(arrays, made[:1].numpy(), atol=1e-3)


def test_even_maps_leave_finite_gradients():
    content = torch.full((1, 2, 4, 4), 0.5, requires_grad=True)
    adapted(content, torch.rand(1, 2, 4, 4)).sum().backward()
    assert torch.isfinite(content.grad).all()


def test_content_is_light_and_colour_without_what_is_finer_than_the_grain():
    config = StylizerConfig(style="any", tone=1.0, colour=1.0, content=1.0, grain=8)
    image, seen = torch.full((1, 3, 64, 64), 0.5), features("random")
    lines = image.clone()
    lines[..., ::2], lines[..., 1::2] = 0.0, 1.0
    red = image + torch.tensor([0.3, 0.0, -0.3])[:, None, None]
    (_, same), (_, fine), (_, dark), (_, coloured) = (
        content_loss(seen, made, image, config) for made in (image, lines, image - 0.2, red)
    )
    assert set(same) == {"tone", "colour", "content"} and max(same.values()) == 0
    assert fine["tone"] < 1e-6
    assert float(dark["tone"]) == pytest.approx(0.2, abs=1e-5) and dark["colour"] < 1e-6
    assert coloured["colour"] > 0.1 and coloured["tone"] < 0.06
    assert blurred(image, 8).shape[2:] == (13, 13)


def test_crops_of_a_style_are_turned_and_mirrored():
    torch.manual_seed(0)
    picture = torch.arange(9.0).reshape(1, 1, 3, 3).expand(-1, 3, -1, -1)
    found = style_crops(picture, 100, 3)
    assert found.shape == (100, 3, 3, 3)
    assert len({tuple(one[0].flatten().tolist()) for one in found}) == 8


@pytest.mark.parametrize("name", sorted(PATTERNS))
def test_a_pattern_is_drawn_the_same_again_and_has_its_palette(name):
    look = random_look(generator("look", name))
    one, two = (PATTERNS[name](64, look, generator("draw", name)) for _ in range(2))
    other = PATTERNS[name](64, look, generator("draw", name, "other"))
    assert one.shape == (64, 64, 3) and one.dtype == np.float32
    assert one.min() >= 0 and one.max() <= 1 and one.std() > 0.02
    assert np.array_equal(one, two) and not np.array_equal(one, other)


def test_random_patterns_differ():
    drawn = [random_pattern(48, generator("pattern", number)) for number in range(12)]
    assert len({one.tobytes() for one in drawn}) == 12


def test_styles_may_be_a_folder_of_pictures(tmp_path, style):
    folder = tmp_path / "styles"
    folder.mkdir()
    (folder / "a.png").write_bytes(style.read_bytes())
    (folder / "broken.png").write_bytes(b"nothing")
    training = AdainTraining(AdainConfig(styles=folder, **ANY), SHAPE)
    assert [tuple(one.shape) for one in training._styles] == [(1, 3, 64, 96)]
    with pytest.raises(GenloomError, match=r"80×80 pixels.*got 2 picture files"):
        AdainTraining(AdainConfig(styles=folder, **ANY), (3, 80, 80))


def test_a_style_that_cannot_be_learned_from_is_named(tmp_path, style):
    with pytest.raises(GenloomError, match=r"nowhere\.png: .*no such file"):
        StylizerTraining(StylizerConfig(style=tmp_path / "nowhere.png", **ONE), SHAPE)
    (tmp_path / "text.png").write_text("no picture")
    with pytest.raises(GenloomError, match="no picture, or broken"):
        StylizerTraining(StylizerConfig(style=tmp_path / "text.png", **ONE), SHAPE)
    with pytest.raises(GenloomError, match=r"at least 80 pixels.*got 96×64"):
        StylizerTraining(StylizerConfig(style=style, **ONE), (3, 80, 80))


def test_a_trained_stylizer_is_nearer_to_its_style(style, tmp_path):
    config = StylizerConfig(style=style, texture=1.0, adversarial=0.0, **{**ONE, "tone": 0.1})
    options = dataclasses.replace(OPTIONS, steps=60, learning_rate=1e-2)
    made = trainer(StylizerTraining(config, SHAPE), tmp_path, options)
    before = made.validate()["texture"]
    assert run(made)["texture"] < 0.97 * before


def test_the_discriminator_learns_which_style_goes_with_which(tmp_path):
    """A step shows it parts of the right style and of others; its loss must fall with training."""
    made = trainer(AdainTraining(AdainConfig(**ANY), SHAPE), tmp_path, OPTIONS)
    reports = [made.advance(Tensors.of(Blobs(SHAPE).batch(n, 4, 0))) for n in range(2)]
    assert {"loss_discriminator", "accuracy_real", "accuracy_made"} <= set(reports[0])
    with torch.no_grad():
        torch.manual_seed(0)
        one, other = made.training._drawn(torch.rand(6, *SHAPE))
    assert one.shape == other.shape == (6, *SHAPE) and not torch.equal(one, other)


def test_untrained_networks_export_what_stylize_needs(style):
    training = StylizerTraining(StylizerConfig(style=style, **ONE), SHAPE)
    assert isinstance(training.build().network, StylingNet)
