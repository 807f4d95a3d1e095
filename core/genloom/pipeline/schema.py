"""The JSON Schema of pipeline files."""

from __future__ import annotations

from typing import Any

from genloom import options
from genloom.catalog import Catalog
from genloom.pipeline.checked import FORMAT, MAX_SEED
from genloom.pipeline.entries import ID
from genloom.stage import Stage


def schema(catalog: Catalog) -> dict[str, Any]:
    """The JSON Schema of pipeline files, with the options of every stage of the catalog."""
    return {
        "$schema": "https://json-schema.org/draft/2020-12/schema",
        "title": "genloom pipeline",
        "type": "object",
        "required": ["genloom", "stages"],
        "additionalProperties": False,
        "properties": {
            "genloom": {"const": FORMAT, "description": "Version of the format."},
            "name": {"type": "string"},
            "description": {"type": "string"},
            "seed": {"type": "integer", "minimum": 0, "maximum": MAX_SEED, "default": 0},
            "stages": {
                "type": "array",
                "minItems": 1,
                "items": {"anyOf": [_stage_schema(s) for s in catalog.stages().values()]},
            },
        },
    }


def _stage_schema(stage: type[Stage]) -> dict[str, Any]:
    option_schema = options.schema_of(stage)
    option_schema["properties"]["id"] = {"type": "string", "pattern": ID.pattern}
    summary = (stage.__doc__ or "").strip().splitlines()[:1]
    bare = "required" not in option_schema  # whether the name alone says enough
    values = {"anyOf": [option_schema, {"type": "null"}]} if bare else option_schema
    named = {
        "type": "object",
        "required": [stage.name],
        "additionalProperties": False,
        "properties": {stage.name: values},
        "description": summary[0] if summary else "",
    }
    return {"anyOf": [named, {"const": stage.name}]} if bare else named
