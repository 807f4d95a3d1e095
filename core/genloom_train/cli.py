"""`genloom train`."""

from __future__ import annotations

import importlib.util
from collections.abc import Sequence
from pathlib import Path

import click

NEEDED = ("torch", "torchvision", "lightning_fabric", "onnx", "onnxscript")


@click.command()
@click.argument("recipe")
@click.option("-o", "--out", type=click.Path(path_type=Path), required=True, metavar="FOLDER",
              help="Folder for the bundle; several models may share one.")  # fmt: skip
@click.option("--resume", is_flag=True, help="Go on from the newest checkpoint.")
@click.option("--set", "overrides", multiple=True, metavar="SECTION.OPTION=VALUE",
              help="Change an option of the recipe; may be repeated.")  # fmt: skip
@click.option("--data", type=click.Path(path_type=Path), metavar="PATH",
              help="Folder of the data, before what the recipe says.")  # fmt: skip
@click.option("--device", type=click.Choice(["auto", "cpu", "cuda"]), default="auto",
              show_default=True, help="Where to train.")  # fmt: skip
@click.option("--devices", type=click.IntRange(min=1), default=1, show_default=True,
              help="GPUs, or processes on the CPU; each gets its part of a batch.")  # fmt: skip
@click.option("--threads", type=click.IntRange(min=0), default=0,
              help="Threads of torch on the CPU in each process; 0: torch chooses.")  # fmt: skip
@click.option("--seed", type=click.IntRange(min=0, max=2**31 - 1), default=None,
              help="The same as --set train.seed=SEED.")  # fmt: skip
def train(
    recipe: str,
    out: Path,
    resume: bool,
    overrides: tuple[str, ...],
    data: Path | None,
    device: str,
    devices: int,
    threads: int,
    seed: int | None,
) -> None:
    """Train RECIPE, a file or the name of one that ships, and export its bundle.

    FOLDER/NAME.training fills with checkpoints, sample grids, metrics.csv and TensorBoard files as
    training goes; at the end FOLDER/NAME is the bundle. Ctrl-C stops after the current step with a
    checkpoint, and --resume goes on from there.
    """
    require_extra()
    from genloom.cli.broken import load_catalog
    from genloom_train.recipe import find_recipe, read_recipe

    if seed is not None:
        overrides = (*overrides, f"train.seed={seed}")
    catalog = load_catalog()
    checked = read_recipe(find_recipe(recipe), catalog, overrides)
    from genloom_train import hall  # torch takes seconds to load; a wrong recipe need not wait
    from genloom_train.stopping import Interrupted

    request = hall.Request(
        out=out, resume=resume, device=device, devices=devices, threads=threads, data=data
    )
    try:
        card = hall.run(checked, catalog, request)
    except Interrupted as stopped:
        click.echo(f"Stopped after step {stopped.step}. Go on with --resume.", err=True)
        raise SystemExit(130) from None
    click.echo(f"{out / card.name}: {card.parameters} parameters; ONNX equals torch")
    for name, value in card.metrics.items():
        click.echo(f"  {name} {value:g}")
    click.echo(f"Try it: genloom models verify {out / card.name}")


def require_extra(packages: Sequence[str] = (), purpose: str = "training") -> None:
    """Check that the `train` extra is installed.

    Raises:
        MissingRequirement: with the command that installs it.
    """
    from genloom.errors import MissingRequirement

    for package in packages or NEEDED:
        if importlib.util.find_spec(package) is None:
            raise MissingRequirement.extra(package, "train", purpose)
