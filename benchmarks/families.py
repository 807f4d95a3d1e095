"""Every generative bundle measured the same way, as one table in Markdown.

    python benchmarks/families.py --data fashion-mnist=FOLDER [--data folder=PHOTOGRAPHS]
                                  [--count N] [--card] [--json FILE] [MODEL…]

All bundles that ship, unless some are named, each on the held-out pictures of the data set of its
recipe. What `genloom eval` measures is explained in docs/evaluation.md; in brackets stands what
real pictures get against real ones. Distances are in the features of the judge, a classifier, or in
italics in those of a random network where no judge knows the data; either can be compared with its
like in this table and with nothing else. A bound in italics is the one of the training: the bundle
cannot tell it by itself. --card writes the figures onto the cards.
"""

import argparse
import json
from pathlib import Path

from genloom import models, options
from genloom.card import Card
from genloom.catalog import Catalog
from genloom.models import Bundle
from genloom_train.evaluation.evaluate import Request, evaluate
from genloom_train.evaluation.figures import Figures, shown, write_json, write_on_card
from genloom_train.recipe import Recipe, read_recipe, shipped_recipes

HEAD = (
    "model", "parameters", "trained for", "PSNR, dB", "SSIM", "−ELBO, nats", "−IWAE, nats", "FID",
    "KID · 1000", "precision", "recall", "classes covered", "class shares", "label obeyed",
    "ONNX − torch",
)  # fmt: skip


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("models", nargs="*", metavar="MODEL")
    parser.add_argument("--data", action="append", default=[], metavar="DATASET=FOLDER")
    parser.add_argument("--count", type=int, help="held-out pictures used at most")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--threads", type=int, default=0)
    parser.add_argument("--card", action="store_true", help="write the figures onto the cards")
    parser.add_argument("--json", type=Path, metavar="FILE")
    arguments = parser.parse_args()
    catalog = Catalog.load()
    rows, found = [], {}
    for bundle in bundles(arguments.models, catalog):
        recipe = recipe_of(bundle.card, catalog)
        figures = measure(bundle, recipe, arguments, catalog)
        found[bundle.card.name] = figures.plain()
        rows.append(row(bundle.card, recipe.dataset, figures))
        if arguments.card:
            write_on_card(bundle.folder, figures.for_card(recipe.dataset))
    print(markdown(rows))
    if arguments.json is not None:
        write_json(arguments.json, found)


def bundles(names: list[str], catalog: Catalog) -> list[Bundle]:
    """The bundles named, else all at hand that are generative."""
    if names:
        return [models.find(name, catalog) for name in names]
    at_hand = {entry.name: entry for entry in reversed(models.available(catalog))}
    opened = [
        Bundle.open(entry.folder, entry.origin) for entry in at_hand.values() if not entry.error
    ]
    return sorted(
        (bundle for bundle in opened if bundle.card.latent is not None),
        key=lambda bundle: (bundle.card.family, bundle.card.name),
    )


def recipe_of(card: Card, catalog: Catalog) -> Recipe:
    """The recipe that a bundle's card names: it says on which data, with which options."""
    recipes = shipped_recipes()
    name = Path(card.origin.recipe).stem
    if name not in recipes:
        raise SystemExit(f"{card.name}: its recipe '{card.origin.recipe}' does not ship")
    return read_recipe(recipes[name], catalog)


def measure(
    bundle: Bundle, recipe: Recipe, arguments: argparse.Namespace, catalog: Catalog
) -> Figures:
    """What `genloom eval` measures."""
    folders = dict(entry.split("=", 1) for entry in arguments.data)
    said = {
        name: value
        for name, value in options.values_of(recipe.data).items()
        if value is not None and name != "path"
    }
    request = {
        "model": str(bundle.folder),
        "dataset": recipe.dataset,
        "options": tuple(f"{name}={json.dumps(value)}" for name, value in said.items()),
        "data": Path(folders[recipe.dataset]) if recipe.dataset in folders else None,
        "count": arguments.count,
        "seed": arguments.seed,
        "threads": arguments.threads,
    }

    def say(text: str) -> None:
        print(f"<!-- {bundle.card.name}: {text} -->", flush=True)

    return evaluate(Request(**request), catalog, say)


def row(card: Card, dataset: str, figures: Figures) -> list[str]:
    def cell(name: str, scale: float = 1.0, floor: bool = False) -> str:
        figure = figures.get(name)
        if figure is None:
            return "–"
        beside = figure.floor if floor else None
        words = shown(scale * figure.value)
        return words if beside is None else f"{words} ({shown(scale * beside)})"

    def bound(name: str) -> str:
        stated = card.metrics.get(f"{dataset}/{name}")
        if figures.get(name) is None and stated is not None:
            return f"*{shown(stated)}*"
        return cell(name)

    def distance(name: str) -> str:
        """In the judge's features, else in those of a random network, and then in italics."""
        scale = 1000 if name == "kid" else 1
        if figures.get(f"{name}_random") is not None:
            return f"*{cell(f'{name}_random', scale, floor=True)}*"
        return cell(f"{name}_judge", scale, floor=True)

    return [
        card.name,
        f"{card.parameters:,}".replace(",", " "),
        duration(card.origin.seconds),
        cell("psnr"),
        cell("ssim"),
        bound("negative_elbo"),
        bound("negative_iwae_50"),
        *(distance(name) for name in ("fid", "kid", "precision", "recall")),
        cell("class_coverage"),
        shares(figures),
        cell("label_accuracy", floor=True),
        apart(card),
    ]


def shares(figures: Figures) -> str:
    """Smallest and largest share of a class among the samples, in per cent."""
    ends = [figures.get(f"class_share_{end}") for end in ("min", "max")]
    return "–" if None in ends else " to ".join(f"{100 * end.value:.1f}" for end in ends) + " %"


def apart(card: Card) -> str:
    """The largest difference between ONNX and torch, near ties aside."""
    found = card.metrics.get("onnx_difference")
    ties = card.metrics.get("onnx_ties", 0)
    words = "–" if found is None else f"{found:.1e}"
    return f"{words}, {ties:.0f} ties" if ties else words


def duration(seconds: float) -> str:
    return "–" if not seconds else f"{seconds / 60:.0f} min"


def markdown(rows: list[list[str]]) -> str:
    lines = [HEAD, ["---", *["---:"] * (len(HEAD) - 1)], *rows]
    return "\n".join(f"| {' | '.join(line)} |" for line in lines)


if __name__ == "__main__":
    main()
