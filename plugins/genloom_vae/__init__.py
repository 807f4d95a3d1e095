"""Variational autoencoders (Kingma & Welling 2014), the vector-quantised one among them."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from genloom.backend import Backend
from genloom.hookspecs import hookimpl
from genloom_vae.options import VaeConfig, VqVaeConfig
from genloom_vae.vq_backend import VqVae

__all__ = ["Vae", "VaeConfig", "VqVae", "VqVaeConfig"]

genloom_api = 1


class Vae(Backend):
    """Variational autoencoders: `encoder` image → mean, log_variance; `decoder` latent → image.

    A conditional one has `label` among the outputs of the one and the inputs of the other.
    """

    family = "vae"
    config = VaeConfig

    def training(self) -> Any:
        """The training side; imports torch."""
        from genloom_vae.training import VaeTraining

        return VaeTraining


@hookimpl
def genloom_backends() -> list[type[Backend]]:
    """Bring the families `vae` and `vqvae`."""
    return [Vae, VqVae]


@hookimpl
def genloom_models() -> list[Path]:
    """Bring the bundles beside this file."""
    return [Path(__file__).parent / "models"]
