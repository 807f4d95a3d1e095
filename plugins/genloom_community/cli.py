"""`genloom import`."""

from __future__ import annotations

import importlib.util
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import click

ONNX = ("onnx",)
TORCH = ("onnx", "onnxscript", "torch", "torchvision", "spandrel", "safetensors")


@click.command("import")
@click.argument("file", type=click.Path(path_type=Path))
@click.option("-o", "--out", type=click.Path(path_type=Path), required=True, metavar="FOLDER",
              help="The bundle: a folder that is made. Its name is the model's.")  # fmt: skip
@click.option("--name", metavar="NAME",
              help="Write FOLDER/NAME instead; FOLDER may hold several.")  # fmt: skip
@click.option("--licence", default="unknown", show_default=True, metavar="TEXT",
              help="Licence of the weights, for the card.")  # fmt: skip
@click.option("--summary", default="", metavar="TEXT", help="What it does, for the card.")
@click.option("--scale", type=click.IntRange(1, 16), metavar="N",
              help="Refuse the file unless it enlarges this many times.")  # fmt: skip
@click.option("--range", "range_", metavar="IN[:OUT]",
              help="Pixel values that an ONNX file takes and gives: 0-1, 0-255 or -1-1. Probed "
              "unless said.")  # fmt: skip
@click.option("--layout", type=click.Choice(["nchw", "nhwc"]),
              help="Order of an ONNX file's axes. Probed unless said.")  # fmt: skip
@click.option("--bgr", is_flag=True, help="An ONNX file takes and gives blue first.")
@click.option("--size", type=click.IntRange(16, 4096), metavar="N",
              help="Side in pixels, for weights that export only at one size. 256 unless "
              "said.")  # fmt: skip
@click.option("--overlap", type=click.IntRange(0, 2048), metavar="N",
              help="Cut large pictures into tiles that overlap by N pixels and blend them, though "
              "the network sees a picture whole. Unless said, a quarter of the side for a network "
              "of one size, else 0: never cut.")  # fmt: skip
@click.option("--force", is_flag=True, help="Replace an older bundle.")
def import_(file: Path, out: Path, name: str | None, range_: str | None, **options: Any) -> None:
    """Turn FILE, the weights of an image-to-image network, into a bundle.

    An .onnx file is probed for channels, pixel values, layout, scale and sizes. A .safetensors,
    .pth, .pt or .ckpt file is recognised by spandrel and exported. The result is compared with what
    it was made from, its receptive field is measured, and it is verified as `genloom models verify`
    does. Nothing in FILE is ever executed.
    """
    require(ONNX if file.suffix.lower() == ".onnx" else TORCH)
    from genloom_community.importing import import_file
    from genloom_community.request import Request

    folder = out if name is None else out / name
    request = Request(file=file, folder=folder, range=range_, **options)
    for line in import_file(request, lambda said: click.echo(f"  … {said}", err=True)):
        click.echo(line)


def require(packages: Sequence[str]) -> None:
    """Check that the packages are installed.

    Raises:
        MissingRequirement: with the command that installs them.
    """
    from genloom.errors import MissingRequirement

    for package in packages:
        if importlib.util.find_spec(package) is None:
            raise MissingRequirement.extra(package, "community", "importing this file")
