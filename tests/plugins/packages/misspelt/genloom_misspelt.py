"""A plugin with a misspelt hook."""

from dataclasses import dataclass

from genloom import Batch, Kind, Run, Stage, hookimpl

genloom_api = 1


@dataclass(frozen=True, kw_only=True)
class Lost(Stage):
    """Leave pictures alone."""

    name, takes, gives = "lost", Kind.IMAGE, Kind.IMAGE

    def __call__(self, batch: Batch, run: Run) -> Batch:
        return batch


@hookimpl
def genloom_stagse() -> list[type[Stage]]:
    return [Lost]
