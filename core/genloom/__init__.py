"""genloom: declarative pipelines for generative image models.

Everything public stands in this one flat namespace and is loaded when it is first used, so that
`import genloom` costs nothing.
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from genloom.api import LoadedPipeline as LoadedPipeline
    from genloom.api import OpenModel as OpenModel
    from genloom.api import load_pipeline as load_pipeline
    from genloom.api import open_model as open_model
    from genloom.api import retry as retry
    from genloom.api import status as status
    from genloom.api import verify_model as verify_model
    from genloom.backend import Backend as Backend
    from genloom.card import Card as Card
    from genloom.catalog import Catalog as Catalog
    from genloom.engine.plan import Plan as Plan
    from genloom.engine.report import Report as Report
    from genloom.engine.reproduce import reproduce as reproduce
    from genloom.engine.settings import RunSettings as RunSettings
    from genloom.errors import GenloomError as GenloomError
    from genloom.hookspecs import hookimpl as hookimpl
    from genloom.options import ModelName as ModelName
    from genloom.record import Record as Record
    from genloom.runtime import Runtime as Runtime
    from genloom.stage import Cardinality as Cardinality
    from genloom.stage import Inputs as Inputs
    from genloom.stage import Model as Model
    from genloom.stage import Run as Run
    from genloom.stage import Stage as Stage
    from genloom.types import Batch as Batch
    from genloom.types import ImageInfo as ImageInfo
    from genloom.types import Item as Item
    from genloom.types import Kind as Kind

_HOMES = {
    "Backend": "backend",
    "Batch": "types",
    "Card": "card",
    "Cardinality": "stage",
    "Catalog": "catalog",
    "GenloomError": "errors",
    "ImageInfo": "types",
    "Inputs": "stage",
    "Item": "types",
    "Kind": "types",
    "LoadedPipeline": "api",
    "Model": "stage",
    "ModelName": "options",
    "OpenModel": "api",
    "Plan": "engine.plan",
    "Record": "record",
    "Report": "engine.report",
    "Run": "stage",
    "RunSettings": "engine.settings",
    "Runtime": "runtime",
    "Stage": "stage",
    "hookimpl": "hookspecs",
    "load_pipeline": "api",
    "open_model": "api",
    "reproduce": "engine.reproduce",
    "retry": "api",
    "status": "api",
    "verify_model": "api",
}

__all__ = sorted(_HOMES)
__version__ = "0.1.0"


def __getattr__(name: str) -> Any:
    if name not in _HOMES:
        raise AttributeError(f"module 'genloom' has no attribute '{name}'")
    value = getattr(import_module(f"genloom.{_HOMES[name]}"), name)
    globals()[name] = value
    return value


def __dir__() -> list[str]:
    return sorted([*globals(), *_HOMES])
