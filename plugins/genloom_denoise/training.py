"""How denoisers are trained: on clean pictures, on pairs of noisy ones, or on noisy ones alone."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor, nn

from genloom.card import Port, SizeRule
from genloom.errors import GenloomError
from genloom_denoise import DenoiserConfig
from genloom_denoise.estimate import estimate_sigma
from genloom_denoise.neighbours import neighbours
from genloom_denoise.network import DenoisingUnet
from genloom_train.data import Samples
from genloom_train.degradations import as_in_a_file, gaussian_noise, photographic_noise
from genloom_train.metrics import psnr
from genloom_train.training import Graph, Shape, Tensors, Training, check_multiple, whole

SIGMAS = (15, 25, 50)
"""Noise of the validation, in 8-bit units."""
PREVIEW_SIGMA, PREVIEW_PICTURES = 25, 4
CHUNK = 8
MISTAKE = 0.25
"""How wrong the noise level of photographic noise may be told, which has to be estimated in use."""
FLOOR = 1e-6
"""Added to squared errors (on [0, 1]) before the root, whose slope at 0 is infinite."""
LEFT_OUT = 0.1
"""How often a guide is left out in training, so that a network can do without."""
GAMMA = 2.0
"""Weight of the second term of Neighbor2Neighbor's loss (Huang et al. 2021, section 4.1)."""

NOISY = "noisy"
"""What a data set calls the noisy versions of its pictures."""


class DenoiserTraining(Training):
    """Minimises the root-mean-square error of each crop, averaged over the crops.

    The root weighs weak and strong noise more evenly than the squared error does, as the
    peak signal-to-noise ratio, its logarithm, would. Where the data set brings noisy versions of
    its pictures, these are the input and no noise is added. The target may be noisy too, if its
    noise is another: the best guess at it is still the clean picture (Noise2Noise, Lehtinen et al.
    2018).
    """

    config: DenoiserConfig
    any_size = True

    def __init__(self, config: DenoiserConfig, shape: Shape, labels: Sequence[str] = ()) -> None:
        super().__init__(config, shape, labels)
        if isinstance(config.blocks, tuple) and len(config.blocks) != len(config.widths):
            raise GenloomError(
                "there are not as many numbers of blocks as levels",
                expected=f"'model.blocks': one number, or {len(config.widths)}",
                got=str(len(config.blocks)),
            )
        alone = config.learn_from == "noisy"
        if alone and config.guides:
            raise GenloomError(
                "'model.learn_from: noisy' knows no guides",
                hint="Learn from pairs of noisy pictures, or leave 'model.guides' out",
            )
        if alone:
            what = "neighbours are taken of half the crop, which the network does not take then"
            check_multiple(shape, self._multiple, what)

    @property
    def _multiple(self) -> int:
        """What height and width of a picture to learn from are multiples of."""
        halved = 2 if self.config.learn_from == "noisy" else 1
        return int(2 ** len(self.config.widths)) * halved

    def build(self) -> nn.Module:
        """A fresh network."""
        return DenoisingUnet(self.config, self.shape[0])

    def losses(self, module: nn.Module, batch: Tensors) -> dict[str, Tensor]:
        """What is minimised, and the PSNR in dB against the target."""
        if self.config.learn_from == "noisy":
            return self._alone(module, batch)
        noisy, level = self._spoilt(batch)
        result = module(noisy, *level, *self._guides(batch, LEFT_OUT)).float()
        mean = psnr(result.detach(), batch.image).mean()
        difference = result - batch.image
        absolute = self.config.error == "absolute"
        loss = difference.abs().mean() if absolute else _error(difference)
        return {"loss": loss, "psnr": mean}

    def _alone(self, module: nn.Module, batch: Tensors) -> dict[str, Tensor]:
        """Neighbor2Neighbor: of two neighbours in a noisy picture each is a target for the other.

        Huang et al. 2021, equation 6: their difference is what they differ by in the whole
        picture's own result, which the second term takes off.
        """
        level = self._levels(batch.image)
        with torch.no_grad():
            denoised = module(batch.image, *level).float()
        (one, two), (of_one, of_two) = neighbours(batch.image, denoised)
        result = module(one, *level).float()
        apart = result - two
        loss = _error(apart) + GAMMA * _error(apart - (of_one - of_two))
        return {"loss": loss, "psnr": psnr(result.detach(), two).mean()}

    def _spoilt(self, batch: Tensors) -> tuple[Tensor, Sequence[Tensor]]:
        """Noisy pictures, and what the network is told of their noise."""
        config, clean = self.config, batch.image
        if NOISY in batch.others:
            return batch.others[NOISY], self._levels(batch.others[NOISY])
        count, device = len(clean), clean.device
        level = torch.rand(count, device=device) ** config.weak * (config.sigma / 255)
        noisy = gaussian_noise(clean, level)
        clipped = torch.rand(count, 1, 1, 1, device=device) < config.clipped
        noisy = torch.where(clipped, as_in_a_file(noisy), noisy)
        chosen = (torch.rand(count, device=device) < config.photographic).nonzero()[:, 0]
        if len(chosen):
            noisy[chosen] = photographic_noise(clean[chosen], level[chosen])
            error = (noisy[chosen] - clean[chosen]).square().flatten(1).mean(1).sqrt()
            level[chosen] = error * (1 + MISTAKE * (2 * torch.rand_like(error) - 1))
        return noisy, () if config.blind else (level,)

    def _levels(self, noisy: Tensor) -> Sequence[Tensor]:
        """The noise level as it would be estimated in use, unless the network is blind."""
        if self.config.blind:
            return ()
        sigmas = [estimate_sigma(picture) for picture in noisy.cpu().numpy()]
        return (torch.tensor(sigmas, device=noisy.device) / 255,)

    def _guides(self, batch: Tensors, left_out: float = 0.0) -> list[Tensor]:
        """The guides in the order of the network's inputs; some left out, which then are black."""
        missing = [name for name in self.config.guides if name not in batch.others]
        if missing:
            raise GenloomError(
                f"the data set brings no '{missing[0]}'",
                expected=f"pictures called {', '.join(self.config.guides)}",
                got=", ".join(batch.others) or "none besides the pictures themselves",
                hint="Take them off model.guides, or take another data set, as `rendered`",
            )
        count = len(batch)
        kept = torch.rand(len(self.config.guides), count, 1, 1, 1) >= left_out
        guides = [batch.others[name] for name in self.config.guides]
        return [g * k.to(g.device) for g, k in zip(guides, kept, strict=True)]

    def validate(
        self, module: nn.Module, samples: Samples, device: torch.device
    ) -> dict[str, float]:
        """Mean PSNR in dB, of the noisy input and of the result.

        Of noisy versions that the data set brings, else at three levels of noise clipped to 8 bits.
        A network that learns from noisy pictures alone has no clean ones to compare with: its loss.
        """
        chunks = [self._fitting(Tensors.of(chunk, device)) for chunk in samples.chunks(CHUNK)]
        if self.config.learn_from == "noisy":
            losses = [self._alone(module, chunk)["loss"] for chunk in chunks]
            return {"loss": float(torch.stack(losses).mean())}
        if NOISY not in samples.others:
            return {
                f"{name}_{sigma}": value
                for sigma in SIGMAS
                for name, value in self._compared(module, chunks, sigma).items()
            }
        figures = self._compared(module, chunks)
        if self.config.guides:
            alone = self._compared(module, chunks, guided=False)
            figures["psnr_without_guides"] = alone["psnr"]
        return figures

    def _fitting(self, batch: Tensors) -> Tensors:
        """Without the rows and columns that are too many for the network."""
        others = {name: whole(values, self._multiple) for name, values in batch.others.items()}
        return Tensors(whole(batch.image, self._multiple), batch.label, others)

    def _compared(
        self,
        module: nn.Module,
        chunks: Sequence[Tensors],
        sigma: int | None = None,
        guided: bool = True,
    ) -> dict[str, float]:
        before, after = [], []
        for chunk in chunks:
            if sigma is None:
                noisy = chunk.others[NOISY]
                level = self._levels(noisy)
            else:
                told = torch.full((len(chunk),), sigma / 255, device=chunk.image.device)
                noisy = as_in_a_file(gaussian_noise(chunk.image, told))
                level = () if self.config.blind else (told,)
            guides = self._guides(chunk, 0.0 if guided else 1.0)
            result = module(noisy, *level, *guides).clamp(0, 1)
            before.append(psnr(noisy, chunk.image))
            after.append(psnr(result, chunk.image))
        return {
            "psnr_noisy": float(torch.cat(before).mean()),
            "psnr": float(torch.cat(after).mean()),
        }

    def preview(self, module: nn.Module, batch: Tensors) -> tuple[Tensor, int]:
        """A row for each of a few pictures: target, noisy, denoised, guides."""
        few = {name: values[:PREVIEW_PICTURES] for name, values in batch.others.items()}
        shown = self._fitting(Tensors(batch.image[:PREVIEW_PICTURES], others=few))
        clean, guides = shown.image, self._guides(shown)
        if NOISY in shown.others:
            noisy = shown.others[NOISY]
        elif self.config.learn_from == "noisy":
            noisy = clean
        else:
            told = torch.full((len(clean),), PREVIEW_SIGMA / 255, device=clean.device)
            noisy = as_in_a_file(gaussian_noise(clean, told))
        result = module(noisy, *self._levels(noisy), *guides)
        rows = [clean, noisy, result, *(guides if self.shape[0] == 3 else [])]
        return torch.stack(rows, dim=1).flatten(0, 1), len(rows)

    def graphs(self, module: nn.Module) -> dict[str, Graph]:
        """`network`, free in batch, height and width."""
        image = Port(axes=("batch", self.shape[0], "height", "width"), range=(0.0, 1.0))
        inputs: dict[str, Port] = {"image": image}
        if not self.config.blind:
            inputs["noise_level"] = Port(axes=("batch",), range=(0.0, self.config.sigma / 255))
        guide = Port(axes=("batch", 3, "height", "width"), range=(0.0, 1.0), default=0.0)
        inputs |= dict.fromkeys(self.config.guides, guide)
        return {"network": Graph(module=module, inputs=inputs, outputs={"result": image})}

    def card(self) -> dict[str, Any]:
        """The size rule."""
        multiple = 2 ** len(self.config.widths)
        return {"size": SizeRule(multiple=multiple, minimum=multiple)}


def _error(difference: Tensor) -> Tensor:
    """Root mean square of each picture, averaged over the pictures."""
    return (difference.square().flatten(1).mean(1) + FLOOR).sqrt().mean()
