"""A run without an engine, and models without a runtime."""

from __future__ import annotations

import hashlib
import shutil
import tempfile
import weakref
from collections.abc import Callable, Hashable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from functools import cached_property
from pathlib import Path
from typing import TypeVar

import numpy as np

from genloom import __version__
from genloom.backend import Backend
from genloom.card import Card, Part, Port, SizeRule
from genloom.engine.model import CompiledModel
from genloom.engine.networks import Form, Networks
from genloom.engine.stagerun import Once, result_name
from genloom.errors import ModelError, StageError, UnknownName
from genloom.models import Bundle
from genloom.record import SIDECAR, Record
from genloom.runtime import Network, Runtime, Settings
from genloom.stage import Model
from genloom.types import Array, Item, random_state

T = TypeVar("T")

Function = Callable[..., Mapping[str, Array]]
"""Computes a graph: input ports as keywords, output ports by name."""


class FakeRun:
    """What a stage may ask of the engine: `genloom.Run`, for tests.

    Args:
        models: models by the name that options call them.
        seed: the pipeline's seed.
        stage: id of the stage, which its random numbers depend on.
        folder: where finished files go; a temporary folder unless said.
        ends: whether what the stage gives goes straight into files of 8 bits.

    Attributes:
        files: what was written, under its final name, in order.
    """

    def __init__(
        self,
        models: Mapping[str, Model] | None = None,
        *,
        seed: int = 0,
        stage: str = "stage",
        folder: Path | None = None,
        ends: bool = False,
    ) -> None:
        self.models: dict[str, Model] = dict(models or {})
        self.stage, self._seed, self._folder, self.ends = stage, seed, folder, ends
        self.files: list[Path] = []
        self._once = Once()

    @property
    def seed(self) -> int:
        """The pipeline's seed."""
        return self._seed

    @cached_property
    def folder(self) -> Path:
        """Where finished files go."""
        if self._folder is not None:
            return self._folder
        made = Path(tempfile.mkdtemp(prefix="genloom-test-"))
        weakref.finalize(self, shutil.rmtree, made, ignore_errors=True)
        return made

    def random(self, item: Item) -> np.random.RandomState:
        """The item's own random numbers, exactly as in a real run."""
        return random_state(self._seed, self.stage, item.key)

    def model(self, name: str) -> Model:
        """The model that an option names."""
        if name not in self.models:
            raise UnknownName.of("model", name, self.models)
        return self.models[name]

    def record(self, item: Item) -> str:
        """A record that says only the seed, and the item by its key."""
        record = Record(
            record=1, genloom=__version__, pipeline="fake", seed=self._seed, stages=(), key=item.key
        )
        return record.text()

    def file(self, path: Path) -> bytes:
        """The bytes of a file that an option names."""
        return path.read_bytes()

    def once(self, key: Hashable, make: Callable[[], T]) -> T:
        """What `make` gives, made once for each key."""
        return self._once(key, make)

    @contextmanager
    def output(self, item: Item, ending: str, pattern: str = "{folder}/{stem}") -> Iterator[Path]:
        """A file to write into; it gets its name when the block ended well."""
        final = self.folder / f"{result_name(item, pattern)}{ending}"
        final.parent.mkdir(parents=True, exist_ok=True)
        temporary = final.with_name(f".tmp-{final.name}")
        try:
            yield temporary
            if not temporary.exists():
                raise StageError("it asked for an output file but wrote none", where=self.stage)
            temporary.replace(final)
            sidecar = temporary.with_name(f"{temporary.name}{SIDECAR}")
            if sidecar.exists():
                sidecar.replace(final.with_name(f"{final.name}{SIDECAR}"))
        finally:
            temporary.unlink(missing_ok=True)
        self.files.append(final)


class FakeNetwork(Network):
    """A numpy function in the place of a compiled graph."""

    provider = "fake"

    def __init__(self, function: Function) -> None:
        self.function = function
        self.inputs, self.outputs = {}, {}

    def run(self, inputs: Mapping[str, Array]) -> dict[str, Array]:
        """Call the function."""
        return {name: np.asarray(value) for name, value in self.function(**inputs).items()}


def identity(image: Array, **ports: Array) -> Mapping[str, Array]:
    """A network that gives back the pictures it is given."""
    return {"result": image}


def encoder(image: Array) -> Mapping[str, Array]:
    """An encoder: the mean of each 2×2 pixels, with log σ² = −2."""
    count, channels, height, width = image.shape
    blocks = image.reshape(count, channels, height // 2, 2, width // 2, 2)
    mean = blocks.mean(axis=(3, 5), dtype=np.float32)
    return {"mean": mean, "log_variance": np.full_like(mean, -2)}


def decoder(latent: Array) -> Mapping[str, Array]:
    """A decoder: each number of a latent as 2×2 pixels."""
    return {"image": latent.repeat(2, axis=2).repeat(2, axis=3)}


class FakeRuntime(Runtime):
    """A runtime of numpy functions: a "graph" is a text that begins with its function's name.

    With `fake_bundle` and a plugin that brings both, whole pipelines run: `….run(runtime="fake")`.
    """

    name = "fake"

    def __init__(self, functions: Mapping[str, Function] | None = None) -> None:
        own = {"network": identity, "encoder": encoder, "decoder": decoder}
        self.functions: dict[str, Function] = {**own, **(functions or {})}

    def providers(self) -> tuple[str, ...]:
        """One, called `fake`."""
        return ("fake",)

    def compile(self, graph: Path | bytes, settings: Settings) -> FakeNetwork:
        """The function that the graph names."""
        data = graph if isinstance(graph, bytes) else graph.read_bytes()
        function = self.functions.get(data.decode("utf-8", "replace").partition(" ")[0])
        if function is None:
            raise ModelError("this is not a graph of the fake runtime", got=repr(data[:40]))
        return FakeNetwork(function)


class _Memory(Bundle):
    """A bundle without files."""

    def graph(self, part: str) -> bytes:
        if part not in self.card.parts:
            super().graph(part)  # raises
        return _graph(self.card.name, self.card.channels, part)


class FakeModel(CompiledModel):
    """A model of numpy functions behind the real engine; made by `fake_model`.

    Attributes:
        calls: every call of a graph: the part, and its input arrays by port.
    """

    def __init__(self, card: Card, backend: Backend, runtime: FakeRuntime) -> None:
        bundle = _Memory(Path(card.name), card)
        super().__init__(bundle, backend, lambda graph, _: runtime.compile(graph, Settings()))
        self.calls: list[tuple[str, dict[str, Array]]] = []

    def _called(
        self, networks: Networks, part: str, form: Form, inputs: Mapping[str, Array]
    ) -> dict[str, Array]:
        self.calls.append((part, dict(inputs)))
        return super()._called(networks, part, form, inputs)


def fake_model(
    network: Callable[..., Array] | None = None,
    *,
    name: str = "fake",
    channels: int = 3,
    scale: int = 1,
    ports: Sequence[str] = (),
    guides: Sequence[str] = (),
    backend: Backend | None = None,
) -> FakeModel:
    """A model with the parts `network`, `encoder` and `decoder`.

    Args:
        network: takes `image` (N×C×H×W, float32) and other ports as keywords, gives the next
            image; gives it back unless said.
        name: its name.
        channels: 1 for a grey model, 3 for colour.
        scale: output size over input size of the network.
        ports: inputs of the network besides `image`, one number for each picture.
        guides: inputs that are pictures too.
        backend: what its family means; the plain one of `genloom.Backend` unless said.
    """
    functions: dict[str, Function] = {}
    if network is not None:
        functions["network"] = lambda **inputs: {"result": network(**inputs)}
    card = _card(name, channels, scale, ports, guides)
    return FakeModel(card, backend or Backend(), FakeRuntime(functions))


def fake_bundle(folder: Path, name: str = "fake", *, channels: int = 3) -> Bundle:
    """Write the bundle `folder / name` for `FakeRuntime`; its family is `fake`."""
    card = _card(name, channels, 1, (), ())
    (folder / name).mkdir(parents=True)
    for part in card.parts:
        (folder / name / f"{part}.onnx").write_bytes(_graph(name, channels, part))
    card.write(folder / name)
    return Bundle.open(folder / name)


def _card(
    name: str, channels: int, scale: int, ports: Sequence[str], guides: Sequence[str]
) -> Card:
    picture = Port(axes=("batch", channels, "height", "width"))
    latent = Port(axes=("batch", channels, "rows", "columns"))
    others = {port: Port(axes=("batch",), default=0.0) for port in ports}
    others |= {guide: picture.model_copy(update={"default": 0.0}) for guide in guides}
    graphs = {
        "network": ({"image": picture, **others}, {"result": picture}),
        "encoder": ({"image": picture}, {"mean": latent, "log_variance": latent}),
        "decoder": ({"latent": latent}, {"image": picture}),
    }
    return Card(
        name=name,
        family="fake",
        channels=channels,  # type: ignore[arg-type]
        size=SizeRule(multiple=2),
        scale=scale,
        receptive_field=1,
        latent=(channels, 4, 4),
        parts={
            part: Part(
                file=f"{part}.onnx",
                sha256=hashlib.sha256(_graph(name, channels, part)).hexdigest(),
                opset=1,
                inputs=inputs,
                outputs=outputs,
            )
            for part, (inputs, outputs) in graphs.items()
        },
    )


def _graph(model: str, channels: int, part: str) -> bytes:
    """Differs from model to model, so that their digests do."""
    return f"{part} of {model}, {channels} channels".encode()
