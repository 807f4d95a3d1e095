"""From a recipe to a bundle: open the data, train or go on training, export."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import torch

from genloom.card import Card
from genloom.catalog import Catalog
from genloom.errors import OutputError
from genloom.machine import cores
from genloom_train import checkpoint
from genloom_train.beginning import bundle_to_begin_with
from genloom_train.checkpoint import Checkpoint
from genloom_train.data import Opening
from genloom_train.data.checks import check_fits, check_source
from genloom_train.devices import accelerator, check_split, fabric
from genloom_train.export import Bundle, export
from genloom_train.loop import Trainer
from genloom_train.metrics import Metrics
from genloom_train.origin import fields
from genloom_train.processes import run_together
from genloom_train.progress import Progress
from genloom_train.recipe import Recipe
from genloom_train.run_folder import (
    begin,
    check_same_data,
    checkpoint_to_resume,
    state_folder,
)
from genloom_train.stopping import Flag, stop_on_signals
from genloom_train.training import Training

NOTES = 10
"""Notes about the data that are shown; all of them are in the training's folder."""


@dataclass(frozen=True, kw_only=True)
class Request:
    """What the command line said besides the recipe.

    Attributes:
        out: folder of the bundle; what the training writes lies beside it, see `state_folder`.
        resume: go on from the newest checkpoint there.
        device: `auto`, `cpu` or `cuda`.
        devices: how many of them, each with a process of its own.
        threads: of torch on the CPU, in each process; 0 leaves the choice to torch.
        data: folder of the data, before what the recipe says.
    """

    out: Path
    resume: bool = False
    device: str = "auto"
    devices: int = 1
    threads: int = 0
    data: Path | None = None


def run(recipe: Recipe, catalog: Catalog, request: Request) -> Card:
    """Train a recipe and export its bundle to `request.out / recipe.export.name`.

    Raises:
        Interrupted: when it was asked to stop; a checkpoint is written.
        GenloomError: when the data, the folder or the training itself is not in order.
    """
    path = checkpoint_to_resume(recipe, request.out, request.resume)
    accelerator(request.device, request.devices)
    check_split(recipe.train.batch, request.devices)
    if request.devices > 1:
        run_together(request.devices, _one_of_several, recipe, request, path)
    else:
        trainer, saved = _trainer(recipe, catalog, request, path)
        with stop_on_signals(trainer.stopping):
            _train(trainer, saved, request.resume)
        _export(recipe, request, trainer)
    return Card.read(request.out / recipe.export.name)


def _one_of_several(stopping: Flag, recipe: Recipe, request: Request, path: Path | None) -> None:
    """What each of several processes does; only the first one writes."""
    trainer, saved = _trainer(recipe, Catalog.load(), request, path)
    trainer.stopping = stopping
    try:
        _train(trainer, saved, request.resume)
    finally:
        trainer.peers.part()
    if trainer.peers.first:
        _export(recipe, request, trainer)


def _trainer(
    recipe: Recipe, catalog: Catalog, request: Request, path: Path | None
) -> tuple[Trainer, Checkpoint | None]:
    """A trainer at the step to go on from, and the checkpoint that put it there."""
    if request.threads or request.devices > 1:
        torch.set_num_threads(request.threads or max(1, cores() // request.devices))
    saved = None if path is None else checkpoint.load(path)
    opening = Opening(root=request.data, base=recipe.path.parent, seed=recipe.train.seed)
    source = recipe.data.open(opening)
    check_source(source, recipe.dataset)
    training: Training = catalog.backend(recipe.family).training()(
        recipe.located_model(), source.shape, source.labels
    )
    check_fits(source, training.card().get("size"))
    joined = fabric(request.device, recipe.train.precision, request.devices)
    state = state_folder(recipe, request.out)
    start = None
    if recipe.train.start is not None and saved is None:
        start = bundle_to_begin_with(recipe.train.start, catalog, request.out, recipe.path.parent)
    trainer = Trainer(training, source, recipe.train, joined, state, start)
    if saved is not None:
        check_same_data(recipe, state, source)
        trainer.restore(saved)
    if trainer.peers.first:
        begin(recipe, state, source)
    return trainer, saved


def _train(trainer: Trainer, saved: Checkpoint | None, resume: bool) -> None:
    """Run the trainer; its first process shows and writes how it goes.

    Raises:
        OutputError: when the training's folder cannot be written.
    """
    if not trainer.peers.first:
        trainer.run(None, None)
        return
    try:
        metrics = Metrics(trainer.out, after=saved.step if saved else 0)
        try:
            with Progress(trainer.steps, trainer.step) as progress:
                _introduce(trainer, saved, progress)
                if resume and saved is None:
                    progress.say(f"nothing to go on from in {trainer.out}: beginning")
                trainer.run(metrics, progress)
        finally:
            metrics.close()
    except OSError as error:
        raise OutputError(
            f"the training's folder cannot be written ({error})",
            where=str(trainer.out),
            hint=checkpoint.after_room(trainer.out / "checkpoints"),
        ) from error


def _introduce(trainer: Trainer, saved: Checkpoint | None, progress: Progress) -> None:
    progress.say(f"data: {trainer.source.description}")
    notes = trainer.source.notes
    for note in notes[:NOTES]:
        progress.say(f"note: {note}")
    if len(notes) > NOTES:
        progress.say(f"note: and {len(notes) - NOTES} more, see {trainer.out / 'notes.txt'}")
    if trainer.watch:
        progress.say(str(trainer.watch))
    if trainer.peers.count > 1:
        progress.say(f"{trainer.peers.count} processes, each with its part of every batch")
    if saved is not None:
        progress.say(f"going on from step {saved.step}")


def _export(recipe: Recipe, request: Request, trainer: Trainer) -> None:
    bundle = Bundle(
        name=recipe.export.name,
        family=recipe.family,
        fields=fields(recipe, request, trainer),
        tensors=trainer.tensors(),
    )
    try:
        export(trainer.training, trainer.best, bundle, request.out)
    except OSError as error:
        raise OutputError(
            f"the bundle cannot be written ({error})",
            where=str(request.out / bundle.name),
            hint="The training is whole: make room, and --resume exports again",
        ) from error
