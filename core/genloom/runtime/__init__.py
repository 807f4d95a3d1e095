"""Runtimes compile ONNX graphs for a provider and run arrays through them."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path
from types import MappingProxyType
from typing import ClassVar

from genloom.types import Array


@dataclass(frozen=True, kw_only=True)
class Settings:
    """How graphs are to be compiled.

    Attributes:
        provider: `auto`, or the short name of one provider (`cpu`, `cuda`, `tensorrt` …).
        options: options of that provider, as its own documentation names them.
        threads: threads for one call; 0 leaves the choice to the runtime.
        calls: how many calls run at a time, at the most.
    """

    provider: str = "auto"
    options: Mapping[str, str] = field(default_factory=dict)
    threads: int = 0
    calls: int = 1

    def of(self, provider: str) -> Settings:
        """The same for one provider."""
        return replace(self, provider=provider)


class Network(ABC):
    """A compiled graph. May be called from several threads at once.

    Attributes:
        provider: short name of the provider that really took it.
        inputs: shape of each input port, names for free axes.
        outputs: the same for the output ports.
        types: element type of each port by numpy's name for it (`float32`), as far as it is known.
    """

    provider: str
    inputs: dict[str, tuple[int | str, ...]]
    outputs: dict[str, tuple[int | str, ...]]
    types: Mapping[str, str] = MappingProxyType({})

    @abstractmethod
    def run(self, inputs: Mapping[str, Array]) -> dict[str, Array]:
        """Run the graph.

        Raises:
            ModelError: when a port is missing, unknown, or has the wrong shape or type.
        """


class Runtime(ABC):
    """A library that runs graphs."""

    name: ClassVar[str]

    @abstractmethod
    def providers(self) -> tuple[str, ...]:
        """Short names of the providers at hand, best first; empty when the library is missing."""

    @abstractmethod
    def compile(self, graph: Path | bytes, settings: Settings) -> Network:
        """Compile a graph.

        Raises:
            MissingRequirement: when the provider asked for is not at hand, or did not take the
                graph.
            GenloomError: when the provider has no such option.
            ModelError: when the graph itself is damaged.
        """
