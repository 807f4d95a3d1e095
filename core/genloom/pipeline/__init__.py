"""Pipeline files: YAML → a checked pipeline, with every error of a file at its line and column."""

from genloom.pipeline.checked import FORMAT, MAX_SEED, Pipeline, Step, model_options
from genloom.pipeline.finding import PROJECT_FOLDER, available, find
from genloom.pipeline.reading import check, load
from genloom.pipeline.schema import schema

__all__ = [
    "FORMAT",
    "MAX_SEED",
    "PROJECT_FOLDER",
    "Pipeline",
    "Step",
    "available",
    "check",
    "find",
    "load",
    "model_options",
    "schema",
]
