"""Runtimes compile ONNX graphs for a provider and run arrays through them."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from importlib import metadata
from pathlib import Path
from types import MappingProxyType
from typing import ClassVar

from genloom.errors import MissingRequirement, ModelError, nearest
from genloom.types import Array

EXACT = "fp32"
"""The precision that all others are compared with."""

INT8 = "int8"
"""The precision that needs a graph of its own, with layers in 8-bit integers; see `quantizing`."""

CPU = "cpu"
"""The provider that computes in the machine's own memory."""


@dataclass(frozen=True, kw_only=True)
class Settings:
    """How graphs are to be compiled.

    Attributes:
        provider: `auto`, or the short name of one provider (`cpu`, `cuda`, `tensorrt` …).
        options: options of that provider, as its own documentation names them.
        threads: threads for one call; 0 leaves the choice to the runtime.
        calls: how many calls run at a time, at the most.
        precision: `fp32`, or the name of a lower precision; `auto` leaves the choice to the
            runtime, which takes the fastest that the provider computes in. Ports keep their types.
            Whether the results will do is not the runtime's concern: the engine compares them.
            `int8` says that the graph is a quantised one; it is never chosen by `auto`. A runtime
            that computes its layers in integers says `int8` of the network, any other `fp32`.
    """

    provider: str = "auto"
    options: Mapping[str, str] = field(default_factory=dict)
    threads: int = 0
    calls: int = 1
    precision: str = EXACT

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
        precision: what it computes in; fp32 unless it says otherwise.
        together: whether several tiles in one call are faster than one after the other, as they are
            on a GPU that a single tile does not fill.
        few_shapes: whether inputs of a new shape cost much the first time, since the provider
            compiles or searches for each: pictures of many sizes are then cut into few shapes.
        note: what the user should know of how it was compiled; empty where there is nothing.
    """

    provider: str
    inputs: dict[str, tuple[int | str, ...]]
    outputs: dict[str, tuple[int | str, ...]]
    types: Mapping[str, str] = MappingProxyType({})
    precision: str = EXACT
    together: bool = False
    few_shapes: bool = False
    note: str = ""

    def check_ports(self, inputs: Mapping[str, Array]) -> None:
        """Whether these are the inputs of the graph, no more and no fewer.

        Raises:
            ModelError: when they are not.
        """
        if set(inputs) != set(self.inputs):
            raise ModelError(
                "the ports of the graph were not met",
                expected=", ".join(self.inputs),
                got=", ".join(inputs),
            )

    @abstractmethod
    def run(self, inputs: Mapping[str, Array]) -> dict[str, Array]:
        """Run the graph.

        Raises:
            ModelError: when a port is missing, unknown, or has the wrong shape or type.
            OutOfMemory: when there is not enough memory; see `genloom.runtime.memory.ran_out`.
        """


class Runtime(ABC):
    """A library that runs graphs.

    Class attributes:
        name: how settings call it; for genloom's own, the package that it needs.
        extras: every provider it may have, at hand or not, each with the extra of genloom that
            brings it, or an empty text.
    """

    name: ClassVar[str]
    extras: ClassVar[Mapping[str, str]] = MappingProxyType({})

    @classmethod
    def missing(cls, purpose: str, provider: str = "") -> MissingRequirement:
        """The error that says how to install what a provider needs, or the first of them."""
        extra = cls.extras.get(provider) or next((e for e in cls.extras.values() if e), "")
        if extra:
            return MissingRequirement.extra(cls.name, extra, purpose)
        return MissingRequirement(
            f"{purpose} needs the library of the runtime '{cls.name}', which is not installed",
            hint="`genloom plugins show` says which package brings the runtime",
        )

    def versions(self) -> tuple[str, ...]:
        """Name and version of the library, of each build of it where there are several.

        Unless overridden, those of the installed package that has the runtime's name.
        """
        try:
            return (f"{self.name} {metadata.version(self.name)}",)
        except metadata.PackageNotFoundError:
            return ()

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
            OutOfMemory: when the device has no room for it.
        """


def not_at_hand(
    provider: str, at_hand: Sequence[str], known: Iterable[str] = ()
) -> MissingRequirement:
    """The error for a provider that cannot be used, with the one that was probably meant.

    Args:
        provider: as it was asked for.
        at_hand: those that can be used.
        known: those that genloom has heard of.
    """
    hint = "`genloom doctor` says what is missing"
    meant = nearest(provider, ("auto", *at_hand, *known))
    if meant in ("auto", *at_hand):
        hint = f"Did you mean '{meant}'?"
    elif meant not in ("", provider):
        hint = f"'{meant}' is not at hand either; {hint}"
    return MissingRequirement(
        f"the provider '{provider}' is not at hand",
        expected=" or ".join(("auto", *at_hand)),
        hint=hint,
    )
