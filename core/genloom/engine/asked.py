"""The command of a run as it was given: kept in the journal, to be looked at and run again."""

from __future__ import annotations

import contextlib
import dataclasses
import os
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from genloom import pipeline
from genloom.catalog import Catalog
from genloom.engine.plan import Plan
from genloom.engine.settings import RunSettings
from genloom.errors import GenloomError
from genloom.pipeline import Pipeline
from genloom.stage import Inputs


@dataclass(frozen=True, kw_only=True)
class Asked:
    """The command of a run.

    Attributes:
        pipeline: name or path, as it was given.
        overrides: the `--set` values; `seed` is the one that was used.
        inputs: as they were given.
        folder: the working folder, as a path from OUT; all relative paths start there, and names
            of the project's own pipelines and models are looked up there.
        settings: those of `RunSettings`.
    """

    pipeline: str
    overrides: tuple[str, ...]
    seed: int
    inputs: tuple[str, ...]
    folder: str
    settings: Mapping[str, Any]

    @classmethod
    def of(cls, plan: Plan) -> Asked:
        """What the plan's maker asked for."""
        try:
            folder = os.path.relpath(os.getcwd(), os.path.realpath(plan.out))
        except ValueError:  # on another drive
            folder = os.getcwd()
        return cls(
            pipeline=plan.pipeline.source,
            overrides=plan.pipeline.overrides,
            seed=plan.pipeline.seed,
            inputs=plan.inputs.paths,
            folder=Path(folder).as_posix(),
            settings=dataclasses.asdict(plan.settings),
        )

    @classmethod
    def read(cls, plain: Mapping[str, Any]) -> Asked:
        """What `dataclasses.asdict` made plain values of."""
        texts = {name: tuple(plain[name]) for name in ("overrides", "inputs")}
        return cls(**{**plain, **texts})

    @contextlib.contextmanager
    def there(self, out: Path) -> Iterator[Path]:
        """Work in the folder the run was started from; gives OUT as an absolute path.

        The working folder belongs to the whole process, so no other thread should rely on it.

        Raises:
            GenloomError: when that folder is not there any more.
        """
        real = os.path.realpath(out)
        folder = os.path.normpath(os.path.join(real, self.folder))
        if not os.path.isdir(folder):
            raise GenloomError(
                "the folder that the run was started from is not there", where=folder
            )
        with contextlib.chdir(folder):
            yield Path(real)

    def load(self, catalog: Catalog) -> Pipeline:
        """The pipeline, read again.

        Raises:
            GenloomError: when its file is gone or not right any more.
        """
        if not self.pipeline:
            raise GenloomError("the pipeline of this run was not read from a file")
        return pipeline.load(self.pipeline, catalog, self.overrides, self.seed)

    def unbound(self, catalog: Catalog, out: Path) -> Plan:
        """The plan, without models and runtime: enough to compare it with a journal.

        It covers the whole run, whatever shard was asked for.
        """
        settings = RunSettings(**{**self.settings, "shard": "", "force": False})
        return Plan(
            pipeline=self.load(catalog),
            catalog=catalog,
            inputs=Inputs(self.inputs, out),
            settings=settings,
            workers=1,
            threads=1,
            models={},
            providers={},
        )
