"""A plugin that claims genloom's own stage `load`."""

from dataclasses import dataclass

from genloom import Batch, Kind, Run, Stage, hookimpl

genloom_api = 1


@dataclass(frozen=True, kw_only=True)
class Load(Stage):
    """Leave pictures alone."""

    name, takes, gives = "load", Kind.IMAGE, Kind.IMAGE

    def __call__(self, batch: Batch, run: Run) -> Batch:
        return batch


@hookimpl
def genloom_stages() -> list[type[Stage]]:
    return [Load]
