"""What tests of tuning share: answers that were never measured, and a runtime to choose on."""

from __future__ import annotations

import threading

from genloom.engine import tuned
from genloom.engine.tuned import Answer
from genloom.errors import MissingRequirement
from genloom.testing import FakeRuntime


def answer(**changes):
    given = {"provider": "cpu", "precision": "fp32", "workers": 3, "tile": 512, "batch": 16}
    return Answer(**{**given, "pixels": 4096, "pace": 0.5, **changes})


def keep(loaded, name="tiny-image", **changes):
    """Keep an answer for a model as if it had been measured here."""
    here = tuned.place(loaded.catalog)
    tuned.remember(name, loaded.pipeline.bundles[name], here, answer(**changes))


class Many(FakeRuntime):
    """Providers that are slow, fast, fast and wrong in a lower precision, and broken."""

    name = "many"
    seconds, lock = 0.0, threading.Lock()

    def providers(self):
        return ("plain", "fast", "wrong", "broken")

    def compile(self, graph, settings):
        provider = "plain" if settings.provider == "auto" else settings.provider
        if provider == "broken":
            raise MissingRequirement("the provider 'broken' did not take the graph")
        network = super().compile(graph, settings)
        network.provider, lower = provider, provider == "wrong" and settings.precision == "auto"
        network.precision = "fp16" if lower else "fp32"

        def function(image):
            with Many.lock:
                Many.seconds += 0.001 if provider == "fast" or lower else 0.01
            return {"result": 1 - image if lower else image}

        network.function = function
        return network
