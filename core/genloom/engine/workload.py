"""The work of a model on the pictures of a sample: compiled and computed as a setting says."""

from __future__ import annotations

import itertools
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, replace
from functools import partial

from genloom import machine
from genloom.engine.contest import Way
from genloom.engine.model import CompiledModel
from genloom.engine.samples import Load, Tensors
from genloom.engine.watching import apart
from genloom.runtime import EXACT, INT8, Network, Runtime, Settings

COMPARED = 2
"""Calls of each graph whose results are compared with those of fp32."""

Job = tuple[Load, Sequence[Tensors]]
"""Calls of the graph of a load."""


@dataclass(frozen=True)
class Setting:
    """How graphs are compiled, and how many calls are made at a time."""

    provider: str
    precision: str
    workers: int

    @property
    def threads(self) -> int:
        """Of each call, so that all cores are used."""
        return max(1, machine.cores() // self.workers)


class Workload:
    """All graphs of a model that a sample used, with their calls."""

    def __init__(self, model: CompiledModel, loads: Sequence[Load], runtime: Runtime) -> None:
        self.loads = tuple(loads)
        self._model, self._runtime = model, runtime
        self._networks: dict[Setting, list[Network]] = {}

    def pictures(self) -> Load | None:
        """The first load whose graph takes pictures."""
        return next((one for one in self.loads if one.takes_pictures), None)

    def compiled(self, setting: Setting) -> list[Network]:
        """The networks of all loads, compiled once for each setting."""
        if setting not in self._networks:
            self._networks[setting] = self._compile(setting)
        return self._networks[setting]

    def settled(self, setting: Setting) -> Setting:
        """The setting with the precision that its networks, compiled for it, really compute in."""
        networks = self._compile(setting)
        precision = next((n.precision for n in networks if n.precision != EXACT), EXACT)
        found = replace(setting, precision=precision)
        self._networks.setdefault(found, networks)
        return found

    def run_once(self, setting: Setting) -> None:
        """Compute the first call of each load."""
        for network, load in zip(self.compiled(setting), self.loads, strict=True):
            network.run(load.calls[0])

    def apart(self, setting: Setting) -> float:
        """Peak signal-to-noise ratio in dB between the results of a setting and of fp32."""
        exact = self.compiled(replace(setting, precision=EXACT))
        networks = zip(self.compiled(setting), exact, self.loads, strict=True)
        return min(
            apart(fast.run(call), true.run(call))
            for fast, true, load in networks
            for call in load.calls[:COMPARED]
        )

    def way(self, name: str, setting: Setting) -> Way:
        """All calls of the sample, as many at a time as the setting says."""
        self.compiled(setting)
        jobs = [
            (load, _repeated(load.calls[: setting.workers], setting.workers)) for load in self.loads
        ]
        work = sum(load.work * len(calls) for load, calls in jobs)
        return Way(name, partial(self.together, jobs, setting), work)

    def together(self, jobs: Sequence[Job], setting: Setting) -> None:
        """Compute jobs one after the other, as many calls at a time as the setting says."""
        networks = dict(zip(map(id, self.loads), self.compiled(setting), strict=True))
        with ThreadPoolExecutor(setting.workers) as pool:
            for load, calls in jobs:
                for _ in pool.map(networks[id(load)].run, calls):
                    pass

    def _compile(self, setting: Setting) -> list[Network]:
        chosen = Settings(
            provider=setting.provider,
            threads=setting.threads,
            calls=setting.workers,
            precision=setting.precision,
        )
        if setting.precision != INT8:
            return [self._runtime.compile(load.graph, chosen) for load in self.loads]
        exact = replace(chosen, precision=EXACT)
        return [
            self._runtime.compile(int8, chosen) if int8 else self._runtime.compile(one.graph, exact)
            for one, int8 in ((one, self._model.networks.int8_of(one.graph)) for one in self.loads)
        ]


def _repeated(calls: Sequence[Tensors], workers: int) -> list[Tensors]:
    """The calls, as often as keeps every worker busy to the end."""
    count = -(-len(calls) // workers) * workers
    return list(itertools.islice(itertools.cycle(calls), count))
