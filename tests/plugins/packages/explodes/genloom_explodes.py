"""A plugin whose stage raises while it runs."""

from dataclasses import dataclass

from genloom import Batch, Kind, Run, Stage, hookimpl

genloom_api = 1


@dataclass(frozen=True, kw_only=True)
class Explode(Stage):
    """Leave pictures alone."""

    name, takes, gives = "explode", Kind.IMAGE, Kind.IMAGE

    def __call__(self, batch: Batch, run: Run) -> Batch:
        raise RuntimeError("the stage fell over")


@hookimpl
def genloom_stages() -> list[type[Stage]]:
    return [Explode]
