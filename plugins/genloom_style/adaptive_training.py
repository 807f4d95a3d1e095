"""How networks learn to take any style: pairs of a photograph and a picture of a style."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor, nn
from torch.optim import Optimizer

from genloom.card import Port, SizeRule
from genloom_style import AdainConfig
from genloom_style.adaptive import AdaptiveNets, adapted, deviation, mean
from genloom_style.content import DEEP, check_crop, light_loss, luminance
from genloom_style.discriminators import told_apart
from genloom_style.patterns import random_pattern
from genloom_style.pictures import folder_of_styles, style_crops
from genloom_style.stages import MULTIPLE, fine, repeating
from genloom_style.training import BETAS, CHUNK
from genloom_train.data import Samples, generator
from genloom_train.features import features, grams
from genloom_train.options import TrainOptions
from genloom_train.training import Graph, Shape, Tensors, Training, Turn, fixed, optimiser, whole

PATTERN = 256
"""Height and width of generated styles."""
SHOWN = 4
FLAT = 0.01
"""Added to deviations of feature maps, so that what is even is not blown up."""


class AdainTraining(Training):
    """Minimises how far paintings are from their styles, and from what their photographs show.

    Both networks are trained, unlike in the paper, whose encoder is VGG19. Whether a painting has
    the style of a picture is said by Gram matrices, or by a discriminator that sees both.
    """

    config: AdainConfig
    any_size = True

    def __init__(self, config: AdainConfig, shape: Shape, labels: Sequence[str] = ()) -> None:
        super().__init__(config, shape, labels)
        check_crop(shape, config)
        self._features = features(config.features)
        self._styles = self._pictures(max(shape[1:]))

    def _pictures(self, least: int) -> list[Tensor]:
        """The styles to learn from, 1×C×H×W each."""
        channels = self.shape[0]
        if self.config.styles is not None:
            return folder_of_styles(self.config.styles, channels, least)
        numbers = range(self.config.patterns)
        size = max(PATTERN, least)
        drawn = [random_pattern(size, generator("style", number)) for number in numbers]
        images = [torch.from_numpy(one.transpose(2, 0, 1)[None].copy()) for one in drawn]
        return [one.mean(1, keepdim=True) if channels == 1 else one for one in images]

    def build(self) -> nn.Module:
        """Fresh networks."""
        return AdaptiveNets(self.config, self.shape[0])

    def optimisers(self, module: nn.Module, options: TrainOptions) -> dict[str, Optimizer]:
        """One for encoder and decoder, and one for the discriminator."""
        assert isinstance(module, AdaptiveNets)
        painting = nn.ModuleList([module.encoder, module.decoder])
        found = {"main": optimiser(painting, options, betas=BETAS)}
        if module.discriminator is not None:
            rate = self.config.discriminator_rate
            found["discriminator"] = optimiser(module.discriminator, options, rate, BETAS)
        return found

    def losses(self, module: nn.Module, batch: Tensors) -> dict[str, Tensor]:
        """Those of encoder and decoder."""
        assert isinstance(module, AdaptiveNets)
        style, _ = self._drawn(batch.image)
        made = module(batch.image, style, own_detail(style)).float()
        return self._losses(module, batch.image, made, style)

    def step(self, module: nn.Module, batch: Tensors, turn: Turn) -> dict[str, Tensor]:
        """One update of encoder and decoder and, where there is one, of the discriminator.

        It is shown a part of the style and another one (real), a painting, and a part of another
        style: so it looks at whether they go together.
        """
        assert isinstance(module, AdaptiveNets)
        style, other = self._drawn(batch.image)
        made = module(batch.image, style, own_detail(style)).float()
        report: dict[str, Tensor] = {}
        if module.discriminator is not None:
            shown = torch.cat([other, made.detach(), other.roll(1, 0)])
            scores = module.discriminator(shown, style).float()
            real, fake = scores[: len(batch)], scores[len(batch) :]
            loss, report = told_apart(real, fake)
            turn.update("discriminator", loss)
        with fixed(module.discriminator or nn.Identity()):
            losses = self._losses(module, batch.image, made, style)
            turn.update("main", losses["loss"])
        return {**losses, **report}

    def _drawn(self, image: Tensor) -> tuple[Tensor, Tensor]:
        """A style for each picture, and another part of the same style: both N×C×H×W.

        That of the first is its own, where there is a weight for what then comes out.
        """
        found = []
        for number in range(len(image)):
            if number == 0 and self.config.identity:
                picture = image[:1]
            elif torch.rand(()) < self.config.photographs:
                picture = image[number - 1][None]
            else:
                chosen = int(torch.randint(len(self._styles), ()))
                picture = self._styles[chosen].to(image.device)
            found.append(style_crops(picture, 2, image.shape[2]))
        one, other = torch.stack(found).unbind(1)
        return one, other

    def _losses(
        self, module: AdaptiveNets, image: Tensor, made: Tensor, style: Tensor
    ) -> dict[str, Tensor]:
        config = self.config
        loss, report = self._content(made, image)
        if config.texture or config.content:
            seen = self._features.to(made.device)
            found = seen(made)
            with torch.no_grad():
                wanted, shown = seen(style), seen(luminance(image))
            texture, structure = style_distance(found, wanted), structure_distance(found, shown)
            loss = loss + config.texture * texture + config.content * structure
            report |= {"texture": texture.detach(), "content": structure.detach()}
        if config.identity:
            identity = (made[0] - image[0]).abs().mean()
            loss = loss + config.identity * identity
            report["identity"] = identity.detach()
        if config.palette:
            palette = palette_distance(made, style)
            loss = loss + config.palette * palette
            report["palette"] = palette.detach()
        if module.discriminator is not None:
            fooled = -module.discriminator(made, style).float().mean()
            loss = loss + config.adversarial * fooled
            report["adversarial"] = fooled.detach()
        return {"loss": loss, **report}

    def _content(self, made: Tensor, image: Tensor) -> tuple[Tensor, dict[str, Tensor]]:
        """How far paintings are from the light and colours of photographs with another contrast."""
        return light_loss(adapted(made, image), image, self.config)

    def validate(
        self, module: nn.Module, samples: Samples, device: torch.device
    ) -> dict[str, float]:
        """How far paintings are from their styles, and from the pictures in light and colour."""
        assert isinstance(module, AdaptiveNets)
        found: dict[str, list[Tensor]] = {}
        for chunk in samples.chunks(CHUNK):
            image = whole(Tensors.of(chunk, device).image, MULTIPLE)
            style = self._shown(image)
            made = module(image, style, without_seams(style)).float().clamp(0, 1)
            _, figures = self._content(made, image)
            seen = self._features.to(device)
            maps = seen(made)
            figures["texture"] = style_distance(maps, seen(style))
            figures["content"] = structure_distance(maps, seen(luminance(image)))
            for name, value in figures.items():
                found.setdefault(name, []).append(value)
        return {name: float(torch.stack(values).mean()) for name, values in found.items()}

    def _shown(self, image: Tensor) -> Tensor:
        """The first styles, one for each picture."""
        side = self.shape[1]
        chosen = [
            self._styles[n % len(self._styles)][:, :, :side, :side] for n in range(len(image))
        ]
        return torch.cat(chosen).to(image.device)

    def preview(self, module: nn.Module, batch: Tensors) -> tuple[Tensor, int]:
        """A few pictures, and below each its style and its painting."""
        assert isinstance(module, AdaptiveNets)
        image = whole(batch.image[:SHOWN], MULTIPLE)
        style = self._shown(image)
        large = nn.functional.interpolate(style, image.shape[2:], mode="nearest")
        made = module(image, style, without_seams(style))
        return torch.cat([image, large, made]), len(image)

    def graphs(self, module: nn.Module) -> dict[str, Graph]:
        """`encoder` and `decoder`, free in batch, height and width."""
        assert isinstance(module, AdaptiveNets)
        image = Port(axes=("batch", self.shape[0], "height", "width"), range=(0.0, 1.0))
        latent = Port(axes=("batch", self.config.width, "rows", "columns"))
        own = Port(axes=("batch", self.shape[0], "side", "side"), range=(-1.0, 1.0))
        return {
            "encoder": Graph(
                module=module.encoder, inputs={"image": image}, outputs={"latent": latent}
            ),
            "decoder": Graph(
                module=module.decoder,
                inputs={"latent": latent, "style": own},
                outputs={"image": image},
            ),
        }

    def card(self) -> dict[str, Any]:
        """The rule of sizes."""
        return {"size": SizeRule(multiple=MULTIPLE, minimum=MULTIPLE)}


def own_detail(style: Tensor) -> Tensor:
    """The detail of pictures N×C×H×W, for paintings that are no larger: it need not repeat."""
    return torch.from_numpy(fine(style.cpu().numpy())).to(style.device)


def without_seams(style: Tensor) -> Tensor:
    """The detail of pictures N×C×H×W as squares that repeat, N×C×P×P."""
    made = [torch.from_numpy(repeating(one[None].cpu().numpy())) for one in style]
    return torch.cat(made).to(style.device)


def palette_distance(made: Tensor, style: Tensor) -> Tensor:
    """How far pictures are from their styles in the mean and deviation of each colour.

    So too in those of the differences of colours, or grey would do for colours that change.
    """
    one, other = (torch.cat([image, image - image.roll(1, 1)], 1) for image in (made, style))
    return (mean(one) - mean(other)).abs().mean() + (deviation(one) - deviation(other)).abs().mean()


def style_distance(made: Sequence[Tensor], style: Sequence[Tensor]) -> Tensor:
    """How far Gram matrices of pictures are from their styles', as a share of the styles' size.

    Args:
        made: feature maps of pictures, N×C×H×W each.
        style: those of the style of each.
    """
    losses = []
    for one, other in zip(made, style, strict=False):
        right = grams(other)
        far = (grams(one) - right).square().sum((1, 2)) / right.square().sum((1, 2)).add(1e-12)
        losses.append(far.add(1e-6).sqrt().mean())
    return torch.stack(losses).mean()


def structure_distance(made: Sequence[Tensor], image: Sequence[Tensor]) -> Tensor:
    """Mean square difference of a coarse map, each channel with mean 0 and deviation 1.

    So another light, contrast or colour of the whole picture costs little.
    """
    one, other = (maps[:DEEP][-1].float() for maps in (made, image))
    return (unit(one) - unit(other)).square().mean()


def unit(maps: Tensor) -> Tensor:
    """N×C×H×W with mean 0 and deviation 1 in each channel."""
    return (maps - mean(maps)) / (deviation(maps) + FLAT)
