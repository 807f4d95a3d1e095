"""Every hook a plugin can implement, on one screen.

A plugin is a module named in the entry-point group `genloom`. It implements any of these
functions, marked with `genloom.hookimpl`, and states the version of this page that it was made
for: `genloom_api = 1`.
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pluggy

if TYPE_CHECKING:
    from genloom.backend import Backend
    from genloom.runtime import Runtime
    from genloom.stage import Stage
    from genloom.types import Item, Kind
    from genloom.yamlfile import Format

API_VERSION = 1

hookspec = pluggy.HookspecMarker("genloom")
hookimpl = pluggy.HookimplMarker("genloom")


@hookspec
def genloom_stages() -> list[type[Stage]]:  # type: ignore[empty-body]
    """Stages, as frozen dataclasses derived from `genloom.Stage`."""


@hookspec
def genloom_kinds() -> list[Kind]:  # type: ignore[empty-body]
    """Kinds of batches besides `nothing`, `image` and `latent`."""


@hookspec
def genloom_backends() -> list[type[Backend]]:  # type: ignore[empty-body]
    """Families of models."""


@hookspec
def genloom_runtimes() -> list[type[Runtime]]:  # type: ignore[empty-body]
    """Runtimes that compile and run graphs."""


@hookspec
def genloom_models() -> list[Path]:  # type: ignore[empty-body]
    """Folders whose sub-folders are model bundles."""


@hookspec
def genloom_pipelines() -> list[Path]:  # type: ignore[empty-body]
    """Folders of pipeline files, which then run by name."""


@hookspec
def genloom_datasets() -> Mapping[str, Any]:  # type: ignore[empty-body]
    """Data sets for training by name; each a class as `genloom_train.data.Dataset` describes."""


@hookspec
def genloom_formats() -> list[Format]:  # type: ignore[empty-body]
    """Files people write besides pipelines, for `genloom validate` and `genloom schema`."""


@hookspec
def genloom_before_run(plan: Any) -> None:
    """A run is about to start."""


@hookspec
def genloom_after_item(item: Item, files: list[Path]) -> None:
    """An item is done and its files have their final names."""


@hookspec
def genloom_item_failed(item: Item, reason: str) -> None:
    """An item failed and was recorded."""


@hookspec
def genloom_after_run(report: Any) -> None:
    """A run has ended, whatever its outcome."""
