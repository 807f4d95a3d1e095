"""A runtime with little memory, models on it, and pictures for them."""

import numpy as np

from genloom import models
from genloom.engine.compiling import compiled
from genloom.engine.settings import RunSettings
from genloom.errors import OutOfMemory
from genloom.runtime import Network, Runtime, Settings
from genloom.runtime.ort import OnnxRuntime
from genloom.types import Batch, Item

LEVELS = np.array([0.25, 0.5, 0.75, 1, 0.1], np.float32)


class Scarce(Runtime):
    """ONNX Runtime, on providers whose memory holds so many values of a picture in a call."""

    name = "scarce"
    limits = {"gpu": 10_000, "cpu": 10**9}
    together = False
    loads = True

    def __init__(self):
        self.calls = []

    def providers(self):
        return tuple(self.limits)

    def compile(self, graph, settings):
        provider = "gpu" if settings.provider == "auto" else settings.provider
        if provider == "gpu" and not self.loads:
            raise OutOfMemory("no memory to load the graph")
        network = OnnxRuntime().compile(graph, Settings(provider="cpu", threads=1))
        return _Scarce(network, provider, self)


class _Scarce(Network):
    def __init__(self, network, provider, runtime):
        self.network, self.provider, self.runtime = network, provider, runtime
        self.inputs, self.outputs, self.types = network.inputs, network.outputs, network.types
        self.together = runtime.together

    def run(self, inputs):
        size = max(array.size for array in inputs.values())
        fits = size <= self.runtime.limits[self.provider]
        self.runtime.calls.append(
            (self.provider, max(map(np.shape, inputs.values()), key=len), fits)
        )
        if not fits:
            raise OutOfMemory(f"Failed to allocate memory for {size} values")
        return self.network.run(inputs)


def scarce(catalog, name="tiny-image", *, limits=None, together=False, loads=True, **given):
    runtime = Scarce()
    runtime.limits = {"gpu": 10_000, "cpu": 10**9} if limits is None else limits
    runtime.together, runtime.loads = together, loads
    given.setdefault("precision", "fp32")
    model = compiled(models.find(name, catalog), catalog, runtime, RunSettings(**given), 1)
    return model, runtime


def plenty(catalog, name="tiny-image", **given):
    return scarce(catalog, name, limits={"gpu": 10**9}, **given)[0]


def pictures(count, height, width, dtype=np.uint8, seed=0):
    random = np.random.default_rng(seed)
    if dtype == np.float32:
        pixels = random.random((count, height, width, 3), np.float32)
    else:
        pixels = random.integers(0, 256, (count, height, width, 3)).astype(dtype)
    return Batch.images([Item(key=f"k{n}", name=f"k{n}") for n in range(count)], pixels)


def image(model, batch, **said):
    return model.image("network", batch, noise_level=LEVELS[: len(batch)], **said).pixels
