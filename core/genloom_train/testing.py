"""What authors of model families test with: one contract that every family keeps.

    from genloom_train.testing import check_backend

    def test_it_keeps_the_contract_of_a_family(tmp_path):
        check_backend(Vae, VaeConfig(latent=2, widths=(8,)), tmp_path, shape=(1, 12, 12))

Nothing here needs pytest; a broken promise is an AssertionError that says which.
"""

from __future__ import annotations

import contextlib
import dataclasses
import io
from pathlib import Path
from typing import Any

import numpy as np
import torch
from lightning_fabric import Fabric
from rich.console import Console
from torch import nn

import genloom
from genloom import hookimpl
from genloom.backend import Backend
from genloom.card import Card
from genloom.catalog import Catalog
from genloom.runtime import ort
from genloom.types import Floats
from genloom_train import checkpoint
from genloom_train.data import Samples, Source, epoch_indices, generator
from genloom_train.export import Bundle, export
from genloom_train.loop import Interrupted, Trainer, seed_step
from genloom_train.metrics import Metrics
from genloom_train.onnx_graph import check_parity
from genloom_train.options import TrainOptions
from genloom_train.progress import Progress
from genloom_train.training import Shape, Tensors, Training

OPTIONS = TrainOptions(steps=24, batch=8, learning_rate=2e-3, ema=0.9, clip=100.0)


class Blobs(Source):
    """Smooth random pictures with two labels: something to learn, and nothing to download."""

    labels = ("dark", "light")
    description = "synthetic blobs"

    def __init__(self, shape: Shape, count: int = 48) -> None:
        self.shape, self.count = shape, count
        self._label = np.arange(count) % 2
        self._image = np.stack([_blob(shape, index) for index in range(count)])

    def batch(self, step: int, size: int, seed: int) -> Samples:
        """Batch number `step`."""
        chosen = epoch_indices(self.count, step, size, seed)
        return Samples(self._image[chosen], self._label[chosen])

    def held_out(self, larger: bool = False) -> Samples:
        """The first sixteen."""
        return Samples(self._image[:16], self._label[:16])


def _blob(shape: Shape, index: int) -> Floats:
    random = generator("blob", index)
    rows, columns = (np.linspace(-1, 1, side) for side in shape[1:])
    y, x = random.uniform(-0.5, 0.5, (2, shape[0], 1, 1))
    distance = (rows[:, None] - y) ** 2 + (columns - x) ** 2
    picture: Floats = (np.exp(-4 * distance) * (0.5 + 0.5 * (index % 2))).astype(np.float32)
    return picture


def check_backend(
    backend: type[Backend],
    config: Any,
    folder: Path,
    *,
    shape: Shape = (1, 28, 28),
    options: TrainOptions = OPTIONS,
    falls: str | None = "loss",
) -> Card:
    """Train a tiny model of a family, export it and use it; give its card.

    Args:
        backend: the family.
        config: an instance of `backend.config` that makes a network of a few thousand weights.
        folder: an empty folder to work in.
        shape: channels, height and width of the training pictures.
        options: of the training; `steps` is taken in one go and in two halves.
        falls: which of `Training.losses` must fall; None where none does, as in a GAN.

    Raises:
        AssertionError: when a promise is broken.
        GenloomError: when ONNX and torch differ, or something cannot be exported.
    """
    training = backend().training()(config, shape, Blobs.labels)
    assert isinstance(training, Training), f"{backend.__name__}.training() is no Training"
    straight = train(training, folder / "straight", options)
    same = train(training, folder / "same", options)
    assert equal(straight.best, same.best), "the same seed gave other weights"
    other = train(training, folder / "other", dataclasses.replace(options, seed=options.seed + 1))
    assert not equal(straight.best, other.best), "another seed gave the same weights"
    resumed = train_in_two(training, folder / "resumed", options)
    assert equal(straight.module, resumed.module), "a resumed training gave other weights"
    assert equal(straight.best, resumed.best), "a resumed training gave another average"
    if falls is not None:
        _check_falls(training, straight, falls)
    return _check_bundle(backend, straight, folder)


def trainer(training: Training, folder: Path, options: TrainOptions) -> Trainer:
    """A trainer on `Blobs`, on the CPU."""
    folder.mkdir(parents=True, exist_ok=True)
    return Trainer(
        training, Blobs(training.shape), options, Fabric(accelerator="cpu", devices=1), folder
    )


def train(training: Training, folder: Path, options: TrainOptions) -> Trainer:
    """Train to the last step."""
    made = trainer(training, folder, options)
    run(made)
    return made


def run(made: Trainer, after: int = 0) -> dict[str, float]:
    """Run a trainer without showing progress; metrics go to its folder."""
    metrics = Metrics(made.out, after=after)
    try:
        return made.run(metrics, Progress(made.steps, made.step, Console(file=io.StringIO())))
    finally:
        metrics.close()


def train_in_two(training: Training, folder: Path, options: TrainOptions) -> Trainer:
    """Train half of the steps, stop, and go on in a new trainer from the checkpoint."""
    first = trainer(training, folder, options)
    advance = first.advance

    def advance_and_stop(batch: Tensors) -> Any:
        losses = advance(batch)
        if first.step == first.steps // 2:
            first.stopping.set()
        return losses

    first.advance = advance_and_stop  # type: ignore[method-assign]
    with contextlib.suppress(Interrupted):
        run(first)
    second = trainer(training, folder, options)
    second.restore(checkpoint.load(checkpoint.found(folder / "checkpoints")[-1]))
    assert second.step == second.steps // 2, "the checkpoint is not of the step it stopped at"
    run(second, second.step)
    return second


def equal(one: nn.Module, two: nn.Module) -> bool:
    """Whether two modules have the same weights and buffers, bit for bit."""
    first, second = one.state_dict(), two.state_dict()
    return first.keys() == second.keys() and all(
        torch.equal(first[name], second[name]) for name in first
    )


def _check_falls(training: Training, trained: Trainer, name: str) -> None:
    """A loss is lower after training than before, on one batch with the same random numbers."""
    batch = Tensors.of(trained.source.batch(0, 32, 0))
    values = []
    for module in (trainer(training, trained.out, trained.options).module, trained.module):
        seed_step(0, "falls")
        values.append(float(training.losses(module.eval(), batch)[name].detach()))
    assert values[1] < values[0], f"'{name}' did not fall: {values[0]:.4g} to {values[1]:.4g}"


def _check_bundle(backend: type[Backend], trained: Trainer, folder: Path) -> Card:
    """The exported bundle is whole, equals torch, and does what its kind of model does."""
    training, module = trained.training, trained.best
    bundle = Bundle(name="tiny", family=backend.family, tensors=trained.tensors())
    card = export(training, module, bundle, folder)
    place = folder / "tiny"
    files = {part.file for part in card.parts.values()} | {"model.yaml"}
    files |= {card.tensors.file} if card.tensors is not None else set()
    assert {path.name for path in place.iterdir()} == files, "the bundle holds other files"
    for part, graph in training.graphs(module.cpu().eval()).items():
        check_parity(part, graph, (place / f"{part}.onnx").read_bytes(), card.size.multiple)
    model = genloom.open_model(place, provider="cpu", catalog=_catalog(backend))
    pictures = np.ascontiguousarray(
        Blobs(training.shape).held_out().image[:3].transpose(0, 2, 3, 1)
    )
    if "network" in card.parts:
        ports: dict[str, Any] = {
            name: 0.1 for name in card.parts["network"].inputs if name != "image"
        }
        again = model(pictures, **ports)
        scale = card.scale
        right = (3, scale * pictures.shape[1], scale * pictures.shape[2], pictures.shape[3])
        assert again.shape == right, f"image to image gave shape {again.shape}"
    if {"encoder", "decoder"} <= set(card.parts):
        assert model(pictures).shape == pictures.shape, "encode and decode gave another shape"
    if card.latent is not None and {"decoder", "generator"} & set(card.parts):
        one, two = model.sample(2, seed=3), model.sample(2, seed=3)
        assert np.array_equal(one, two), "the same seed gave other samples"
        if card.conditional:
            first, last = (
                model.sample(2, seed=3, label=label) for label in (0, -1 + len(card.labels))
            )
            assert not np.array_equal(first, last), "another class gave the same samples"
    return card


def _catalog(backend: type[Backend]) -> Catalog:
    catalog = Catalog()
    catalog.register(ort)
    catalog.register(_Family(backend), "tested")
    return catalog


class _Family:
    """A plugin that brings one family."""

    genloom_api = 1

    def __init__(self, backend: type[Backend]) -> None:
        self._backend = backend

    @hookimpl
    def genloom_backends(self) -> list[type[Backend]]:
        """Bring it."""
        return [self._backend]
