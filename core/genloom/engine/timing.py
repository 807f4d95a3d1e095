"""Where the time of a run goes: measured at every call of a stage and at every queue.

Two clocks at each call, the wall and the processor time of the thread; a call costs a few
microseconds more. What a runtime computes in threads of its own is in the wall time only.
"""

from __future__ import annotations

import dataclasses
import threading
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any

from genloom import machine
from genloom.engine.packet import Packet
from genloom.pipeline import Step

DECODE, COMPUTE, WRITE, COMMIT = "decode", "compute", "write", "commit"
"""The sides of a run: what its orchestrating thread can wait for."""

FILES, NETWORKS = "files", "compute"
"""The two pools of threads."""


@dataclass(frozen=True)
class StageTime:
    """What the calls of one stage took.

    Attributes:
        id: of the stage.
        side: `decode`, `compute` or `write`.
        items: how many went into its calls; those that failed together and were tried again one
            by one count twice.
        calls: how many calls.
        seconds: wall time in its calls, summed over threads.
        cpu: processor time of these threads; what a runtime's own threads compute is not in it.
        share: `seconds` of what its threads had: the run's wall time, times their number.
    """

    id: str
    side: str
    items: int
    calls: int
    seconds: float
    cpu: float
    share: float


@dataclass(frozen=True)
class QueueFill:
    """How full the queue was that feeds some stages, in the mean over time.

    Attributes:
        stages: ids of the stages that one call goes through.
        side: of these stages.
        pages: whether what is in the queue are groups of items, which a stage gathers.
        items: how many items were in the queue, in work or waiting to be taken; `most` may be.
        bytes: what they held; `budget` may be held.
        waited: seconds that the run waited for a result of these stages.
    """

    stages: tuple[str, ...]
    side: str
    pages: bool
    items: float
    most: int
    bytes: float
    budget: int
    waited: float


@dataclass(frozen=True)
class ThreadTime:
    """How busy a pool of threads was.

    Attributes:
        pool: `files`, which decode, write and sync, or `compute`.
        threads: how many there are.
        seconds: wall time in calls, summed over threads.
        share: of the run's wall time, times their number.
    """

    pool: str
    threads: int
    seconds: float
    share: float


@dataclass(frozen=True)
class Times:
    """Where the time of a run went.

    Attributes:
        seconds: wall time.
        cores: processors that this process may use.
        cpu: processor time of the whole process, all threads.
        committing: seconds that the run waited for files to be on disk.
        limit: the side that the run waited for most: `decode`, `compute`, `write` or `commit`;
            empty where it waited for nothing.
    """

    seconds: float = 0.0
    cores: int = 1
    cpu: float = 0.0
    committing: float = 0.0
    stages: tuple[StageTime, ...] = ()
    queues: tuple[QueueFill, ...] = ()
    threads: tuple[ThreadTime, ...] = ()

    @property
    def waited(self) -> dict[str, float]:
        """Seconds that the run waited for each side."""
        found = dict.fromkeys((DECODE, COMPUTE, WRITE), 0.0)
        for queue in self.queues:
            found[queue.side] += queue.waited
        return found | {COMMIT: self.committing}

    @property
    def limit(self) -> str:
        """See above."""
        waited = self.waited
        longest = max(waited, key=lambda side: waited[side])
        return longest if waited[longest] > 0 else ""

    def plain(self) -> dict[str, Any]:
        """As plain values, for JSON."""
        found = dataclasses.asdict(self)
        lists = {name: list(found[name]) for name in ("stages", "queues", "threads")}
        return {**found, **lists, "waited": self.waited, "limit": self.limit}


@dataclass
class Lane:
    """The measured queue before stages that one call goes through. One thread tells it.

    Attributes:
        pool: the threads that the calls run in.
    """

    stages: tuple[str, ...]
    side: str
    pool: str
    budget: int
    most: int
    pages: bool = False
    waited: float = 0.0
    _items: float = 0.0
    _bytes: float = 0.0
    _seconds: float = 0.0
    _last: tuple[float, int, int] | None = None

    def holds(self, items: int, nbytes: int) -> None:
        """From now on so many items are in the queue, and what they hold."""
        now = time.perf_counter()
        if self._last is not None:
            since, before, held = self._last
            self._items += before * (now - since)
            self._bytes += held * (now - since)
            self._seconds += now - since
        self._last = (now, items, nbytes)

    def fill(self) -> QueueFill:
        """The means up to now."""
        seconds = self._seconds or 1.0
        items, held = self._items / seconds, self._bytes / seconds
        return QueueFill(
            stages=self.stages,
            side=self.side,
            pages=self.pages,
            items=items,
            most=self.most,
            bytes=held,
            budget=self.budget,
            waited=self.waited,
        )


@dataclass
class _Sum:
    items: int = 0
    calls: int = 0
    seconds: float = 0.0
    cpu: float = 0.0


@dataclass
class Meter:
    """Measures a run. Safe to use from several threads.

    Args:
        threads: how many each pool has.
    """

    threads: Mapping[str, int] = field(default_factory=dict)

    def __post_init__(self) -> None:
        self._lock = threading.Lock()
        self._stages: dict[str, _Sum] = {}
        self._pools: dict[str, float] = dict.fromkeys(self.threads, 0.0)
        self._lanes: dict[tuple[tuple[str, ...], bool], Lane] = {}
        self._committing = 0.0
        self._began, self._cpu = time.perf_counter(), time.process_time()

    @contextmanager
    def call(self, step: Step, packets: Sequence[Packet], calls: int = 1) -> Iterator[None]:
        """One call of a stage, or some that follow each other."""
        wall, cpu = time.perf_counter(), time.thread_time()
        try:
            yield
        finally:
            cpu, wall = time.thread_time() - cpu, time.perf_counter() - wall
            with self._lock:
                found = self._stages.setdefault(step.id, _Sum())
                found.items += len(packets)
                found.calls += calls
                found.seconds += wall
                found.cpu += cpu

    @contextmanager
    def busy(self, pool: str) -> Iterator[None]:
        """A thread of a pool at work."""
        began = time.perf_counter()
        try:
            yield
        finally:
            seconds = time.perf_counter() - began
            with self._lock:
                self._pools[pool] = self._pools.get(pool, 0.0) + seconds

    @contextmanager
    def committing(self) -> Iterator[None]:
        """The run waits for files to be on disk."""
        began = time.perf_counter()
        try:
            yield
        finally:
            self._committing += time.perf_counter() - began

    def lane(
        self,
        steps: Sequence[Step],
        side: str,
        pool: str,
        *,
        budget: int,
        most: int,
        pages: bool = False,
    ) -> Lane:
        """The queue before some stages; the same one where they are gone through again."""
        stages = tuple(step.id for step in steps)
        lane = Lane(stages, side, pool, budget, most, pages)
        return self._lanes.setdefault((stages, pages), lane)

    def is_of_files(self, step: Step) -> bool:
        """Whether a stage decodes or writes, in threads of its own."""
        lanes = self._lanes.values()
        return any(lane.pool == FILES and step.id in lane.stages for lane in lanes)

    def times(self) -> Times:
        """What was measured up to now; to be asked when no call is running any more."""
        seconds = time.perf_counter() - self._began
        return Times(
            seconds=seconds,
            cores=machine.cores(),
            cpu=time.process_time() - self._cpu,
            committing=self._committing,
            stages=tuple(self._stage_times(seconds)),
            queues=tuple(lane.fill() for lane in self._lanes.values()),
            threads=tuple(
                ThreadTime(pool, count, self._pools[pool], self._pools[pool] / (seconds * count))
                for pool, count in self.threads.items()
            ),
        )

    def _stage_times(self, seconds: float) -> Iterator[StageTime]:
        for lane in self._lanes.values():
            for stage in () if lane.pages else lane.stages:
                one = self._stages.get(stage, _Sum())
                share = one.seconds / (seconds * self.threads.get(lane.pool, 1))
                yield StageTime(stage, lane.side, one.items, one.calls, one.seconds, one.cpu, share)
