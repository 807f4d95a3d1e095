"""How a network learns one style: from a picture of it, and photographs to paint."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor, nn
from torch.optim import Optimizer

from genloom.card import Port, SizeRule
from genloom_style import StylizerConfig
from genloom_style.content import check_crop, content_loss
from genloom_style.discriminators import told_apart
from genloom_style.network import MULTIPLE, Stylizers
from genloom_style.pictures import style_crops, style_picture
from genloom_style.seams import detail, overlap, seamless
from genloom_train.data import Samples
from genloom_train.features import features, gram, gram_distance
from genloom_train.options import TrainOptions
from genloom_train.training import Graph, Shape, Tensors, Training, Turn, fixed, optimiser, whole

CHUNK = 4
PREVIEW_PICTURES = 4
BETAS = (0.5, 0.99)


class StylizerTraining(Training):
    """Minimises how far pictures are from the style, and from what they show.

    The style is compared in Gram matrices of feature maps (Johnson et al. 2016, section 3.2), and
    by a discriminator of patches (Li & Wand 2016), each with its weight.
    """

    config: StylizerConfig
    any_size = True

    def __init__(self, config: StylizerConfig, shape: Shape, labels: Sequence[str] = ()) -> None:
        super().__init__(config, shape, labels)
        check_crop(shape, config)
        least = max(2 * overlap(config.period), *shape[1:])
        self._style = style_picture(config.style, config.style_size, shape[0], least)
        self._features = features(config.features)
        self._grams = [gram(maps) for maps in self._features(self._style)]

    def build(self) -> nn.Module:
        """Fresh networks."""
        period = self.config.period
        square = seamless(self._style.numpy(), period)
        texture = detail(square, max(1, overlap(period) // 2), "wrap")
        return Stylizers(self.config, torch.from_numpy(texture))

    def optimisers(self, module: nn.Module, options: TrainOptions) -> dict[str, Optimizer]:
        """One for the network, and one for the discriminator."""
        assert isinstance(module, Stylizers)
        found = {"main": optimiser(module.network, options, betas=BETAS)}
        if module.discriminator is not None:
            rate = self.config.discriminator_rate
            found["discriminator"] = optimiser(module.discriminator, options, rate, BETAS)
        return found

    def losses(self, module: nn.Module, batch: Tensors) -> dict[str, Tensor]:
        """The network's."""
        assert isinstance(module, Stylizers)
        return self._losses(module, batch.image, module.network(batch.image).float())

    def step(self, module: nn.Module, batch: Tensors, turn: Turn) -> dict[str, Tensor]:
        """One update of the network and, where there is one, one of the discriminator."""
        assert isinstance(module, Stylizers)
        made = module.network(batch.image).float()
        report: dict[str, Tensor] = {}
        if module.discriminator is not None:
            style = style_crops(self._style.to(made.device), len(batch), batch.image.shape[2])
            real, fake = module.discriminator(torch.cat([style, made.detach()])).float().chunk(2)
            loss, report = told_apart(real, fake)
            turn.update("discriminator", loss)
        with fixed(module.discriminator or nn.Identity()):
            losses = self._losses(module, batch.image, made)
            turn.update("main", losses["loss"])
        return {**losses, **report}

    def _losses(self, module: Stylizers, image: Tensor, made: Tensor) -> dict[str, Tensor]:
        config = self.config
        loss, report = content_loss(self._features.to(made.device), made, image, config)
        if config.texture:
            texture = self._texture(made)
            loss = loss + config.texture * texture
            report["texture"] = texture.detach()
        if module.discriminator is not None:
            fooled = -module.discriminator(made).float().mean()
            loss = loss + config.adversarial * fooled
            report["adversarial"] = fooled.detach()
        return {"loss": loss, **report}

    def _texture(self, made: Tensor) -> Tensor:
        grams = [one.to(made.device) for one in self._grams]
        return gram_distance(self._features.to(made.device)(made), grams)

    def validate(
        self, module: nn.Module, samples: Samples, device: torch.device
    ) -> dict[str, float]:
        """How far paintings are from the style, and from the pictures in light and colour."""
        assert isinstance(module, Stylizers)
        found: dict[str, list[Tensor]] = {}
        for chunk in samples.chunks(CHUNK):
            image = whole(Tensors.of(chunk, device).image, MULTIPLE)
            made = module.network(image).float().clamp(0, 1)
            _, figures = content_loss(self._features.to(device), made, image, self.config)
            for name, value in {**figures, "texture": self._texture(made)}.items():
                found.setdefault(name, []).append(value)
        return {name: float(torch.stack(values).mean()) for name, values in found.items()}

    def preview(self, module: nn.Module, batch: Tensors) -> tuple[Tensor, int]:
        """A few pictures, each beside its painting."""
        assert isinstance(module, Stylizers)
        image = whole(batch.image[:PREVIEW_PICTURES], MULTIPLE)
        return torch.stack([image, module.network(image)], dim=1).flatten(0, 1), 4

    def graphs(self, module: nn.Module) -> dict[str, Graph]:
        """`network`, free in batch, height and width."""
        assert isinstance(module, Stylizers)
        port = Port(axes=("batch", self.shape[0], "height", "width"), range=(0.0, 1.0))
        graph = Graph(module=module.network, inputs={"image": port}, outputs={"result": port})
        return {"network": graph}

    def card(self) -> dict[str, Any]:
        """The rule of sizes: tiles begin where the texture does."""
        size = SizeRule(multiple=MULTIPLE, minimum=MULTIPLE, stride=self.config.period)
        return {"size": size}
