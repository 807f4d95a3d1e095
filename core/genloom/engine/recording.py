"""A sample of what goes into the networks and the files of a run, to be measured again alone."""

from __future__ import annotations

import random
import statistics
import threading
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any, Generic, TypeVar

import numpy as np

from genloom.engine.packet import Packet
from genloom.engine.timing import Meter
from genloom.pipeline import Step
from genloom.runtime import Network
from genloom.types import Array

T = TypeVar("T")

ON_PROCESSOR = ("cpu", "openvino", "xnnpack", "fake")
"""Providers that compute on the same cores as the codecs."""

MOST = 24
"""Calls of one network, or pictures of one stage, that are kept."""
BUDGET = 256 * 2**20
"""Bytes that they may hold, beyond the first."""
ENOUGH = 5.0
"""Seconds after which nothing is measured once more."""


def _as_it_is(value: T) -> T:
    return value


def _copied(inputs: dict[str, Array]) -> dict[str, Array]:
    """The same, keeping no larger picture alive that they are cut from."""
    return {name: np.array(array) for name, array in inputs.items()}


class Sample(Generic[T]):
    """A fair sample of what passes by, of bounded size (reservoir sampling, Vitter 1985).

    Attributes:
        kept: the sample.
        work: of all that passed; `kept_work` of what was kept.
        count: how many passed.
    """

    def __init__(self, most: int = MOST, budget: int = BUDGET) -> None:
        self._most, self._budget, self._random = most, budget, random.Random(0)
        self._kept: list[tuple[T, float]] = []
        self._largest = 1
        self.work, self.count = 0.0, 0

    @property
    def kept(self) -> list[T]:
        """The sample."""
        return [value for value, _ in self._kept]

    @property
    def scale(self) -> float:
        """How many times the work of the sample all of it was."""
        kept = sum(work for _, work in self._kept)
        return self.work / kept if kept else 0.0

    def offer(self, value: T, work: float, nbytes: int, keep: Callable[[T], T] = _as_it_is) -> None:
        """One more passes by; `keep` gives what to keep of it."""
        self.count += 1
        self.work += work
        self._largest = max(self._largest, nbytes)
        room = max(1, min(self._most, self._budget // self._largest))
        while len(self._kept) > room:
            self._kept.pop(self._random.randrange(len(self._kept)))
        if len(self._kept) < room:
            self._kept.append((keep(value), work))
        elif (place := self._random.randrange(self.count)) < room:
            self._kept[place] = (keep(value), work)


@dataclass(eq=False)
class Recorded:
    """A network of a run, and a sample of the calls to it.

    Attributes:
        model: its name in the pipeline.
        graph: the bytes that were compiled.
        network: what they were compiled to.
    """

    model: str
    graph: bytes
    network: Network
    calls: Sample[dict[str, Array]] = field(default_factory=Sample)


class Recording:
    """Records while `on`. Safe to use from several threads.

    Attributes:
        networks: those that were compiled.
        packets: by the id of a stage that opens or writes, a sample of what it was called for.
    """

    def __init__(self) -> None:
        self.on = False
        self.networks: list[Recorded] = []
        self.packets: dict[str, Sample[Packet]] = {}
        self._lock = threading.Lock()

    def watch(self, model: str, graph: bytes, network: Network) -> Network:
        """The same network, whose calls are recorded; for `plan.bind`."""
        recorded = Recorded(model, graph, network)
        with self._lock:
            self.networks.append(recorded)
        return _Watched(recorded, self)

    def meter(self, threads: Mapping[str, int]) -> Meter:
        """A meter that records, for `execute`."""
        return _Meter(threads, self)

    def called(self, recorded: Recorded, inputs: Mapping[str, Array]) -> None:
        """A network is called."""
        work = sum(array.size for array in inputs.values())
        nbytes = sum(array.nbytes for array in inputs.values())
        with self._lock:
            recorded.calls.offer(dict(inputs), work, nbytes, _copied)

    def stage(self, step: Step, packets: Sequence[Packet]) -> None:
        """A stage is called."""
        with self._lock:
            sample = self.packets.setdefault(step.id, Sample())
            for packet in packets:
                sample.offer(packet, 1.0, packet.nbytes)


class _Watched(Network):
    def __init__(self, recorded: Recorded, recording: Recording) -> None:
        self._recorded, self._recording, network = recorded, recording, recorded.network
        for name in Network.__annotations__:
            setattr(self, name, getattr(network, name))

    def run(self, inputs: Mapping[str, Array]) -> dict[str, Array]:
        if self._recording.on:
            self._recording.called(self._recorded, inputs)
        return self._recorded.network.run(inputs)


class _Meter(Meter):
    def __init__(self, threads: Mapping[str, int], recording: Recording) -> None:
        super().__init__(threads)
        self._recording = recording

    @contextmanager
    def call(self, step: Step, packets: Sequence[Packet], calls: int = 1) -> Iterator[None]:
        if self._recording.on and self.is_of_files(step):
            self._recording.stage(step, packets)
        with super().call(step, packets, calls):
            yield


@dataclass(frozen=True)
class Cost:
    """What some calls took: wall time of all together, and processor time of the process."""

    wall: float
    cpu: float

    def times(self, factor: float) -> Cost:
        """So many times as much."""
        return Cost(self.wall * factor, self.cpu * factor)

    def __add__(self, other: Cost) -> Cost:
        return Cost(self.wall + other.wall, self.cpu + other.cpu)


NO_COST = Cost(0.0, 0.0)


def measured(
    call: Callable[[Any], object], values: Sequence[Any], threads: int, rounds: int = 3
) -> Cost:
    """What calls on all values take in so many threads: the median of some rounds."""
    if not values:
        return NO_COST
    costs: list[Cost] = []
    began = time.perf_counter()
    with ThreadPoolExecutor(threads) as pool:
        while len(costs) < rounds and (not costs or time.perf_counter() - began < ENOUGH):
            wall, cpu = time.perf_counter(), time.process_time()
            for _ in pool.map(call, values):
                pass
            costs.append(Cost(time.perf_counter() - wall, time.process_time() - cpu))
    return Cost(
        statistics.median(one.wall for one in costs), statistics.median(one.cpu for one in costs)
    )
