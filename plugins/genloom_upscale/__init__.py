"""Image-to-image networks in a pipeline: stages `upscale` and `apply`."""

from __future__ import annotations

from genloom.hookspecs import hookimpl
from genloom.stage import Stage
from genloom_upscale.stages import Apply, Upscale

genloom_api = 1


@hookimpl
def genloom_stages() -> list[type[Stage]]:
    """Bring the stages."""
    return [Apply, Upscale]
