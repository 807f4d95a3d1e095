"""Networks that others trained: `genloom import`, and their family `image-to-image`."""

from __future__ import annotations

from genloom.backend import Backend
from genloom.hookspecs import hookimpl

genloom_api = 1


class ImageToImage(Backend):
    """Networks that give a picture for a picture: `network` takes `image`, gives `result`."""

    family = "image-to-image"


@hookimpl
def genloom_backends() -> list[type[Backend]]:
    """Bring the family."""
    return [ImageToImage]
