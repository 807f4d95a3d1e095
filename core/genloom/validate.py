"""Check any file that people write, and give the schema of its kind."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from genloom import pipeline, yamlfile
from genloom.catalog import Catalog
from genloom.errors import GenloomError, InvalidFile, UnknownName

PIPELINE = "pipeline"


def validate_file(source: str, catalog: Catalog) -> str:
    """Check a pipeline or a file of another format, by path or name; returns its kind.

    Raises:
        InvalidFile: with every problem of the file.
    """
    path = _find(source, catalog)
    document = yamlfile.read(path)
    if isinstance(document.data, dict):
        for key in catalog.formats():
            if key in document.data:
                _check(key, document, catalog)
                return key
    pipeline.check(document, catalog, file=path)
    return PIPELINE


def _check(key: str, document: yamlfile.Document, catalog: Catalog) -> None:
    try:
        problems = catalog.formats()[key].check(document, catalog)
        if problems:
            raise InvalidFile(problems)
    except GenloomError:
        raise
    except (Exception, SystemExit) as error:
        raise catalog.refuse("format", key, error) from error


def _find(source: str, catalog: Catalog) -> Path:
    named = {name: path for name, (path, _) in pipeline.available(catalog).items()}
    for key, form in catalog.formats().items():
        try:
            named = {**form.named(), **named}
        except (Exception, SystemExit) as error:
            catalog.refuse("format", key, error)  # files of other formats are none the worse
    if Path(source).is_file() or source not in named:
        return pipeline.find(source, catalog)
    return named[source]


def schema_of_kind(kind: str, catalog: Catalog) -> dict[str, Any]:
    """The JSON Schema of a kind of file: `pipeline`, or a format a plugin brings."""
    formats = catalog.formats()
    if kind == PIPELINE:
        return pipeline.schema(catalog)
    if kind not in formats:
        raise UnknownName.of("kind of file", kind, [PIPELINE, *formats])
    try:
        found = formats[kind].schema(catalog)
        json.dumps(found)
    except GenloomError:
        raise
    except (Exception, SystemExit) as error:
        raise catalog.refuse("format", kind, error) from error
    return found
