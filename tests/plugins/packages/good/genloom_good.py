"""A plugin that works: the stage `negative`."""

from dataclasses import dataclass

from genloom import Batch, Kind, Run, Stage, hookimpl

genloom_api = 1


@dataclass(frozen=True, kw_only=True)
class Negative(Stage):
    """Turn pictures into their negative."""

    name, takes, gives = "negative", Kind.IMAGE, Kind.IMAGE

    def __call__(self, batch: Batch, run: Run) -> Batch:
        return batch.with_data(1 - batch.data)


@hookimpl
def genloom_stages() -> list[type[Stage]]:
    return [Negative]
