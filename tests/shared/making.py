"""What tests of several files make: plugins, pipelines, pictures."""

from __future__ import annotations

from types import ModuleType

import numpy as np
from PIL import Image

from genloom import Backend, Catalog, hookimpl, load_pipeline
from genloom.card import Port
from genloom.testing import FakeRuntime, fake_bundle

FREE = Port(axes=("n", 3, "h", "w"))
"""Colour pictures of any number and size."""


class Fake(Backend):
    family = "fake"


def plugin_with(api=1, **answers):
    """A plugin module whose hooks give the answers, or call them when they are functions.

    Hooks go by their names without `genloom_`.
    """
    module = ModuleType("made")
    if api is not None:
        module.genloom_api = api
    for hook, answer in answers.items():
        module.__dict__[f"genloom_{hook}"] = hookimpl(_hook(answer))
    return module


def _hook(answer):
    def hook():
        return answer() if callable(answer) else answer

    return hook


def fake_catalog(folder, runtime=FakeRuntime):
    """The installed plugins, a runtime, and a bundle `fake` in the folder that runs on it."""
    fake_bundle(folder, "fake")
    catalog = Catalog.load()
    plugin = plugin_with(backends=[Fake], models=[folder], runtimes=[runtime])
    assert catalog.register(plugin, "fakes").error == ""
    return catalog


def chain(folder, *stages, **how):
    """The pipeline of stages given as YAML lines, in the file `chain.yaml` of a folder."""
    lines = "".join(f"  - {stage}\n" for stage in stages)
    (folder / "chain.yaml").write_text(f"genloom: 1\nstages:\n{lines}")
    return load_pipeline(folder / "chain.yaml", **how)


def five_pictures(folder):
    """PNG files `p0` to `p4` of two sizes, each of another grey."""
    folder.mkdir()
    for index in range(5):
        pixels = np.full((16, 16 + 2 * (index % 2), 3), 40 * index, np.uint8)
        Image.fromarray(pixels).save(folder / f"p{index}.png")
