"""What the training hall brings as a plugin: data sets, and the file format of recipes."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from genloom.hookspecs import hookimpl
from genloom.yamlfile import Document, Format

genloom_api = 1


def _check(document: Document, catalog: Any) -> list[Any]:
    from genloom_train.recipe import problems_of

    return list(problems_of(document, catalog))


def _schema(catalog: Any) -> dict[str, Any]:
    from genloom_train.recipe_check import schema

    return schema(catalog)


def _named() -> Mapping[str, Path]:
    from genloom_train.recipe import shipped_recipes

    return shipped_recipes()


@hookimpl
def genloom_datasets() -> Mapping[str, Any]:
    """Bring the data sets."""
    from genloom_train.data.arrays import Arrays
    from genloom_train.data.dead_leaves import DeadLeaves
    from genloom_train.data.digits import Digits
    from genloom_train.data.fashion_mnist import FashionMnist
    from genloom_train.data.folder import Folder
    from genloom_train.data.idx import Idx, Mnist
    from genloom_train.data.pairs import Pairs
    from genloom_train.data.synthetic import Synthetic

    return {
        "arrays": Arrays,
        "dead-leaves": DeadLeaves,
        "digits": Digits,
        "fashion-mnist": FashionMnist,
        "folder": Folder,
        "idx": Idx,
        "mnist": Mnist,
        "pairs": Pairs,
        "synthetic": Synthetic,
    }


@hookimpl
def genloom_formats() -> list[Format]:
    """Bring recipes to `genloom validate` and `genloom schema`."""
    return [Format(key="recipe", check=_check, schema=_schema, named=_named)]
