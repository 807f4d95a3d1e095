"""Every runtime at hand as one: whichever has the provider asked for, or the best that works."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path

from genloom.errors import GenloomError, MissingRequirement, ModelError, OutOfMemory
from genloom.runtime import Network, Runtime, Settings, not_at_hand

AUTOMATIC = ("cuda", "migraphx", "rocm", "coreml", "directml", "openvino", "cpu")
"""What `auto` tries, in this order. TensorRT compiles for minutes and is taken only by name."""


class Best(Runtime):
    """Several runtimes as one. Where two have a provider of one name, the first is taken.

    Args:
        runtimes: at least one.
        lacking: providers of runtimes that are not at hand, each with the error that says why.
    """

    name = "auto"

    def __init__(
        self, runtimes: Sequence[Runtime], lacking: Mapping[str, GenloomError] | None = None
    ) -> None:
        self._runtimes, self._lacking = list(runtimes), dict(lacking or {})

    def _owners(self) -> dict[str, Runtime]:
        owners: dict[str, Runtime] = {}
        for runtime in self._runtimes:
            for provider in runtime.providers():
                owners.setdefault(provider, runtime)
        return owners

    def _known(self) -> Iterator[str]:
        for runtime in self._runtimes:
            yield from runtime.extras

    def providers(self) -> tuple[str, ...]:
        """The providers of all of them; those that `auto` tries first, in its order."""
        owners = self._owners()
        known = [name for name in AUTOMATIC if name in owners]
        return (*known, *(name for name in owners if name not in known))

    def compile(self, graph: Path | bytes, settings: Settings) -> Network:
        """Compile for the provider asked for; `auto` takes the best one that really works."""
        owners, provider = self._owners(), settings.provider
        if provider not in ("auto", *owners):
            raise self._lacking.get(provider) or not_at_hand(
                provider, self.providers(), (*self._lacking, *self._known())
            )
        if len(self._runtimes) == 1:
            return self._runtimes[0].compile(graph, settings)
        if provider != "auto":
            return owners[provider].compile(graph, settings)
        if settings.options:
            raise GenloomError(
                "options of a provider need the name of one",
                got=", ".join(settings.options),
                hint=f"Say which: {' or '.join(f'`--provider {n}`' for n in self.providers())}",
            )
        *better, last = [name for name in self.providers() if name in AUTOMATIC] or [*owners]
        for name in better:
            try:
                return owners[name].compile(graph, settings.of(name))
            except OutOfMemory:  # what comes then, the engine decides, and says
                raise
            except (MissingRequirement, ModelError):  # not every runtime knows every operator
                continue
        return owners[last].compile(graph, settings.of(last))
