"""The spine: loading, the latent stages, plain post-processing and saving, as one plugin."""

from __future__ import annotations

from pathlib import Path

from genloom.hookspecs import hookimpl
from genloom.stage import Stage
from genloom.stages.animate import Animate
from genloom.stages.compare import Compare
from genloom.stages.geometry import Crop, Resize
from genloom.stages.latent import Decode, Encode, Interpolate, Sample
from genloom.stages.load import Load
from genloom.stages.save import Save
from genloom.stages.sheet import Grid
from genloom.stages.travel import Shift, Traverse, Walk

genloom_api = 1


@hookimpl
def genloom_stages() -> list[type[Stage]]:
    """Bring the spine."""
    return [
        Load,
        Encode,
        Sample,
        Interpolate,
        Walk,
        Traverse,
        Shift,
        Decode,
        Resize,
        Crop,
        Grid,
        Compare,
        Animate,
        Save,
    ]


@hookimpl
def genloom_pipelines() -> list[Path]:
    """The pipelines that ship: inside the package in a wheel, at the top of a clone."""
    package = Path(__file__).parents[1]
    shipped = package / "pipelines"
    return [shipped if shipped.is_dir() else package.parents[1] / "pipelines"]
