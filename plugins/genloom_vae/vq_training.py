"""How vector-quantised autoencoders are trained, with their prior, in one run."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn
from torch.optim import Optimizer

from genloom.card import Port, SizeRule
from genloom.errors import GenloomError
from genloom.types import Array
from genloom_train.data import Samples, Source
from genloom_train.latents import class_means, latents_of
from genloom_train.networks import pyramid
from genloom_train.options import TrainOptions
from genloom_train.training import Graph, Shape, Tensors, Training, Turn, optimiser
from genloom_vae.options import VqVaeConfig
from genloom_vae.preview import ROW, sheet
from genloom_vae.vq_codebook import perplexity
from genloom_vae.vq_network import CodebookGraph, DecoderGraph, EncoderGraph, VqVae
from genloom_vae.vq_sampling import Codes, draw

CHUNK = 500


class VqVaeTraining(Training):
    """Reconstruction + commitment for the autoencoder; −log P(codes) for the prior.

    The codebook is learned by running averages (van den Oord et al. 2017). No gradient of the
    prior's loss reaches the autoencoder: codes are whole numbers.
    """

    config: VqVaeConfig

    def __init__(self, config: VqVaeConfig, shape: Shape, labels: Sequence[str] = ()) -> None:
        super().__init__(config, shape, labels)
        if config.prior_width % config.prior_heads:
            raise GenloomError(
                "the prior's heads share its width evenly",
                expected=f"model.prior_width to be a multiple of {config.prior_heads}",
                got=str(config.prior_width),
            )

    def build(self) -> nn.Module:
        """A fresh network."""
        return VqVae(self.config, self.shape)

    def optimisers(self, module: nn.Module, options: TrainOptions) -> dict[str, Optimizer]:
        """One for the autoencoder, one for the prior."""
        model = _model(module)
        autoencoder = nn.ModuleList([model.encoder, model.decoder, model.likelihood])
        return {"main": optimiser(autoencoder, options), "prior": optimiser(model.prior, options)}

    def losses(self, module: nn.Module, batch: Tensors) -> dict[str, Tensor]:
        """What both optimisers minimise, together."""
        losses, _, codes = self._autoencoder(module, batch.image)
        prior = _model(module).prior.cost(codes).mean()
        return {**losses, "loss": losses["loss"] + prior, "prior": prior.detach()}

    def step(self, module: nn.Module, batch: Tensors, turn: Turn) -> dict[str, Tensor]:
        """The autoencoder, the codebook, the prior."""
        model = _model(module)
        losses, latent, codes = self._autoencoder(model, batch.image)
        turn.update("main", losses["loss"])
        model.codebook.follow(latent, codes, turn.peers)
        prior = model.prior.cost(codes).mean()
        turn.update("prior", prior)
        return {**losses, "prior": prior.detach()}

    def _autoencoder(
        self, module: nn.Module, image: Tensor
    ) -> tuple[dict[str, Tensor], Tensor, Tensor]:
        """The losses of a batch; the encoder's output; its codes."""
        logits, latent, quantised, codes = module(image)
        reconstruction = _model(module).likelihood.cost(logits, image).mean()
        distance = (latent - quantised.detach()).square().flatten(1).sum(1).mean()
        losses = {
            "loss": reconstruction + self.config.commitment * distance,
            "reconstruction": reconstruction.detach(),
            "commitment": distance.detach(),
            "perplexity": perplexity(codes, self.config.codes),
        }
        return losses, latent.detach(), codes

    def validate(
        self, module: nn.Module, samples: Samples, device: torch.device
    ) -> dict[str, float]:
        """−ELBO and its two terms in nats, and how many entries are in use.

        The posterior is one code at each place, so the KL term is −log P(codes) of the prior.
        """
        model, terms, codes = _model(module), [], []
        for chunk in samples.chunks(CHUNK):
            image = Tensors.of(chunk, device).image
            logits, _, _, chosen = model(image)
            terms.append(torch.stack([model.likelihood.cost(logits, image),
                                      model.prior.cost(chosen)]).double())  # fmt: skip
            codes.append(chosen)
        reconstruction, divergence = torch.cat(terms, 1).mean(1).tolist()
        every = torch.cat(codes)
        return {
            "negative_elbo": reconstruction + divergence,
            "reconstruction": reconstruction,
            "kl": divergence,
            "perplexity": float(perplexity(every, self.config.codes)),
            "codes_used": float(torch.unique(every).numel()),
        }

    def preview(self, module: nn.Module, batch: Tensors) -> tuple[Tensor, int]:
        """Rows of held-out pictures, their reconstructions, and samples from the prior."""
        model, image = _model(module), batch.image[: 2 * ROW]
        uniform = torch.rand(4 * ROW, model.size[0] * model.size[1]).double().numpy()

        def logits(codes: Codes) -> Array:
            found: Array = model.prior(torch.from_numpy(codes).to(image.device)).cpu().numpy()
            return found

        codes = torch.from_numpy(draw(logits, uniform, 1.0, 1.0)).to(image.device)
        drawn = model.decoder(model.codebook.look_up(codes, model.size))
        mean = model.likelihood.mean
        return sheet(image, mean(model(image)[0]), mean(drawn))

    def graphs(self, module: nn.Module) -> dict[str, Graph]:
        """`encoder`, `decoder`, `codebook` and `prior`, free in the batch."""
        model = _model(module)
        length = int(np.prod(model.size))
        image = Port(axes=("batch", *self.shape), range=(0.0, 1.0))
        latent = Port(axes=("batch", self.config.embedding, *model.size))
        codes = Port(axes=("batch", length), dtype="int64", range=(0.0, self.config.codes - 1.0))
        logits = Port(axes=("batch", length, self.config.codes))
        encoder, decoder = EncoderGraph(model), DecoderGraph(model)
        return {
            "encoder": Graph(
                module=encoder,
                inputs={"image": image},
                outputs={"latent": latent},
                ties=encoder.ties,
            ),
            "decoder": Graph(
                module=decoder,
                inputs={"latent": latent},
                outputs={"image": image},
                ties=decoder.ties,
            ),
            "codebook": Graph(
                module=CodebookGraph(model), inputs={"codes": codes}, outputs={"latent": latent}
            ),
            "prior": Graph(module=model.prior, inputs={"codes": codes}, outputs={"logits": logits}),
        }

    def card(self) -> dict[str, Any]:
        """The latent's shape and the one size of pictures."""
        size = pyramid(self.shape, len(self.config.widths))[-1]
        return {
            "latent": (self.config.embedding, *size),
            "size": SizeRule(fixed=self.shape[1:]),
        }

    def tensors(self, module: nn.Module, source: Source, device: torch.device) -> dict[str, Array]:
        """`class_means` where the data has labels, of the encoder's output before it is quantised.

        And `likelihood_sigma`, where it was learned.
        """
        model = _model(module)
        latents, labels = latents_of(model.encode, source, device)
        return {**class_means(latents, labels, len(self.labels)), **model.likelihood.tensors()}


def _model(module: nn.Module) -> VqVae:
    assert isinstance(module, VqVae)
    return module
