"""The bundles that ship are those that the recipes beside them make."""

import hashlib
from pathlib import Path

import pytest

from genloom.card import Card

ROOT = Path(__file__).parents[2]
BUNDLES = sorted((ROOT / "plugins").glob("*/models/*"))


@pytest.mark.parametrize("folder", BUNDLES, ids=lambda folder: folder.name)
def test_a_bundle_names_the_recipe_that_made_it_as_it_stands(folder):
    card = Card.read(folder)
    recipe = ROOT / "pipelines" / "train" / card.origin.recipe
    assert card.origin.recipe_sha256 == hashlib.sha256(recipe.read_bytes()).hexdigest()
    assert card.origin.command.startswith(f"genloom train {card.name} ")


@pytest.mark.parametrize("folder", BUNDLES, ids=lambda folder: folder.name)
def test_a_bundle_is_small_and_says_what_it_is(folder):
    card = Card.read(folder)
    most = 2_000_000 if card.latent is not None else 4_000_000
    assert sum(path.stat().st_size for path in folder.iterdir()) < most
    assert card.summary and card.licence and card.metrics and card.origin.data
