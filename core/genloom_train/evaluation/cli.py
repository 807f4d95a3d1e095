"""`genloom eval` and `genloom latents`."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar

import click
from click.core import ParameterSource

if TYPE_CHECKING:
    from genloom.catalog import Catalog

GENERATIVE = ("only", "features", "draws", "judge")
RESTORATION = ("degradation", "sigma", "quality", "crop", "border", "ensemble", "sheets")
"""Options of `genloom eval` for one kind of model only."""
KEEPING, REDUCING = ("noise", "photographic", "jpeg"), ("bicubic", "blind")
"""As in `genloom_train.evaluation.spoiling`, which needs torch."""

F = TypeVar("F", bound=Callable[..., Any])
FILE = click.Path(path_type=Path, dir_okay=False)


def _shared(command: F) -> F:
    """The arguments and options that both commands share."""
    for decorate in reversed(
        [
            click.argument("model"),
            click.option("--data", type=click.Path(path_type=Path), metavar="PATH",
                         help="Folder of the data."),
            click.option("--set", "options", multiple=True, metavar="OPTION=VALUE",
                         help="An option of the data set; may be repeated."),
            click.option("--judge", metavar="MODEL",
                         help="Classifier that judges; the one at hand that knows the data "
                         "unless named."),
            click.option("--seed", type=click.IntRange(0), default=0, show_default=True,
                         help="Of the choice of pictures and of every draw."),
            click.option("--threads", type=click.IntRange(0), default=0,
                         help="Threads of the runtime; 0 leaves the choice to it."),
            click.option("--json", "as_json", is_flag=True, help="Print JSON."),
        ]
    ):  # fmt: skip
        command = decorate(command)
    return command


@click.command("eval")
@_shared
@click.option("--dataset", metavar="NAME",
              help="Data set whose held-out pictures are used; restoration: without one, every "
              "picture below --data.")  # fmt: skip
@click.option("--count", type=click.IntRange(2), metavar="N",
              help="Pictures used at most; all of them unless said.")  # fmt: skip
@click.option("-o", "--out", type=FILE, metavar="FILE", help="Write the figures as JSON.")
@click.option("--card", is_flag=True, help="Write the figures onto the model's card.")
@click.option("--only", multiple=True,
              type=click.Choice(["reconstruction", "likelihood", "samples"]),
              help="Generative models: measure only this; may be repeated.")  # fmt: skip
@click.option("--features", type=click.Choice(["judge", "inception", "random"]), default="judge",
              show_default=True, help="Generative models: what distances are measured in; random, "
              "where no judge knows the data.")  # fmt: skip
@click.option("--draws", type=click.IntRange(1, 5000), default=50, show_default=True,
              help="Generative models: k of the importance-weighted bound.")  # fmt: skip
@click.option("--degradation", type=click.Choice([*KEEPING, *REDUCING]),
              help="Restoration: how pictures are made worse. Noise unless said, or bicubic "
              "reduction for a network that enlarges.")  # fmt: skip
@click.option("--sigma", type=click.FloatRange(0, 100, min_open=True), multiple=True,
              help="Restoration: noise level in 8-bit units; may be repeated. 15, 25 and 50 "
              "unless said.")  # fmt: skip
@click.option(
    "--quality",
    type=click.IntRange(1, 100),
    multiple=True,
    help="Restoration: of JPEG; may be repeated. 20, 40 and 60 unless said.",
)
@click.option(
    "--crop",
    type=click.IntRange(16),
    metavar="N",
    help="Restoration: only the middle of each picture, N pixels in height and width.",
)
@click.option("--border", type=click.IntRange(0), metavar="N",
              help="Restoration: pixels that are not looked at on each side. 0 unless said, or "
              "the scale of a network that enlarges.")  # fmt: skip
@click.option("--ensemble", type=click.Choice(["1", "2", "4", "8"]), default="1",
              show_default=True, help="Restoration: of how many ways to turn and mirror a picture "
              "the mean is taken.")  # fmt: skip
@click.option("--sheets", type=click.Path(path_type=Path, file_okay=False), metavar="FOLDER",
              help="Restoration: write a sheet of each picture, with parts of it as each method "
              "restores them.")  # fmt: skip
def evaluate(out: Path | None, card: bool, as_json: bool, **request: Any) -> None:
    """Measure how good MODEL, a name or a path, is on pictures that no training saw.

    Generative models, on the held-out pictures of --dataset: PSNR and SSIM of what they
    reconstruct, ELBO and IWAE of variational ones; of their samples FID, KID, precision, recall,
    and what a judge takes them for. Beside each figure stands what real pictures get against real
    ones.

    Restoration, on the pictures below --data (the demo's photographs unless said): PSNR, SSIM and
    more of pictures made worse and restored, beside methods without a network.
    """
    _require()
    from genloom import models
    from genloom.catalog import Catalog
    from genloom_train.evaluation import figures

    catalog = Catalog.load()
    _check_writable(out)
    bundle = models.find(request["model"], catalog)
    restores = "network" in bundle.card.parts
    _check_fitting(bundle.card.name, restores)
    found, metrics = (_restoration if restores else _generative)(request, catalog)
    click.echo(json.dumps(found.plain(), indent=1) if as_json else found.table())
    if out is not None:
        figures.write_json(out, found.plain())
    if card:
        figures.write_on_card(bundle.folder, metrics)
        _say(f"written onto {bundle.folder / 'model.yaml'}")


def _generative(request: dict[str, Any], catalog: Catalog) -> tuple[Any, dict[str, float]]:
    from genloom_train.evaluation.evaluate import Request
    from genloom_train.evaluation.evaluate import evaluate as measure

    kept = {name: value for name, value in request.items() if name not in RESTORATION}
    found = measure(Request(**kept), catalog, _say)
    return found, found.for_card(kept["dataset"])


def _restoration(request: dict[str, Any], catalog: Catalog) -> tuple[Any, dict[str, float]]:
    from genloom_train.evaluation.restoration import RestorationRequest, measure

    kept = {name: value for name, value in request.items() if name not in GENERATIVE}
    kept["ensemble"] = int(kept["ensemble"])
    found = measure(RestorationRequest(**kept), catalog, _say)
    return found, found.for_card()


def _check_fitting(name: str, restores: bool) -> None:
    """Refuse options that say nothing about a model of this kind, and a missing data set."""
    from genloom.errors import GenloomError

    context = click.get_current_context()
    for option in GENERATIVE if restores else RESTORATION:
        if context.get_parameter_source(option) is ParameterSource.COMMANDLINE:
            raise GenloomError(
                f"'--{option}' says nothing about '{name}', a "
                + ("network that restores pictures" if restores else "generative model")
            )
    if not restores and context.params["dataset"] is None:
        raise click.MissingParameter(
            "a generative model is measured on the held-out pictures of a data set",
            ctx=context, param_hint="'--dataset'", param_type="option",
        )  # fmt: skip


@click.command()
@_shared
@click.option("--dataset", required=True, metavar="NAME",
              help="Data set whose held-out pictures are used.")  # fmt: skip
@click.option("-o", "--out", type=FILE, required=True, metavar="FILE", help="The map, a PNG.")
@click.option("--compare", multiple=True, metavar="MODEL",
              help="Another model beside it, on the same pictures; may be repeated.")  # fmt: skip
@click.option("--method", type=click.Choice(["auto", "pca", "tsne"]), default="auto",
              show_default=True,
              help="How more than two dimensions come onto paper; auto: two as they are, "
              "else PCA.")  # fmt: skip
@click.option("--count", type=click.IntRange(16), default=4000, show_default=True, metavar="N",
              help="Held-out pictures used at most.")  # fmt: skip
def latents(model: str, compare: tuple[str, ...], out: Path, as_json: bool, **request: Any) -> None:
    """Draw the latent space of MODEL: encoded pictures, coloured by their labels.

    Below the map stand pictures drawn from N(0, I), from the model's own prior where that is
    another, and numbers: the distance of the codes from N(0, I), how many samples a judge
    recognises, how smooth walks between pictures are.
    """
    _require()
    from genloom.catalog import Catalog
    from genloom_train.evaluation.drawing import draw
    from genloom_train.evaluation.maps import MapRequest, panels

    _check_writable(out)
    made = panels(MapRequest(models=(model, *compare), **request), Catalog.load(), _say)
    draw(made, out)
    if as_json:
        click.echo(json.dumps([panel.figures.plain() for panel in made], indent=1))
        return
    for panel in made:
        click.echo(f"{panel.name}\n{panel.figures.table()}\n")


def _say(text: str) -> None:
    click.echo(text, err=True)


def _require() -> None:
    from genloom_train.cli import require_extra

    require_extra(("torch", "torchmetrics", "torch_fidelity", "sklearn", "matplotlib"), "measuring")


def _check_writable(out: Path | None) -> None:
    """Refuse a file whose folder is not there before anything is computed."""
    from genloom.errors import OutputError

    if out is not None and not out.absolute().parent.is_dir():
        raise OutputError("the folder of the file is not there", where=str(out))
