"""A plugin for another version of the plugin API."""

from dataclasses import dataclass

from genloom import Batch, Kind, Run, Stage, hookimpl

genloom_api = 99


@dataclass(frozen=True, kw_only=True)
class Future(Stage):
    """Leave pictures alone."""

    name, takes, gives = "future", Kind.IMAGE, Kind.IMAGE

    def __call__(self, batch: Batch, run: Run) -> Batch:
        return batch


@hookimpl
def genloom_stages() -> list[type[Stage]]:
    return [Future]
