"""Ordered streams: work goes to threads, results come back in order, bytes in flight are bounded.

Every function here is a generator that is pulled from the end of the chain. Pulling tops up the
queue of each stage, so decoding, computing and writing overlap while one thread only orchestrates.

Elements come, and results go, by the handful: what is there at one time. Small neighbours in a
handful share a call, and nothing ever waits for company that is still to come.

What is in flight counts with the larger of what went into its call and what came out of it. How
large results get is learned as they come; calls beyond one for each worker are begun only when
their results are expected to fit.
"""

from __future__ import annotations

import time
from collections import deque
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import Executor, Future
from dataclasses import dataclass, field
from typing import Any, Generic, TypeVar

from genloom.engine.timing import Lane

T = TypeVar("T")
R = TypeVar("R")

HANDFUL = 16
SMALL = 2**16
"""Elements and bytes that a handful holds at the most."""


@dataclass(eq=False)
class _Group(Generic[T, R]):
    """Elements that are worked on in one call.

    Attributes:
        sizes: bytes that each of them holds, and then its result, if that is larger.
        cost: the sum of `sizes`.
        weighed: whether the call has ended and `sizes` tells of its results.
        results: of a call that has ended well.
    """

    elements: list[T] = field(default_factory=list)
    sizes: list[int] = field(default_factory=list)
    cost: int = 0
    future: Future[list[R]] | None = None
    weighed: bool = False
    results: list[R] = field(default_factory=list)


def ordered(
    pool: Executor,
    call: Callable[[list[T]], list[R]],
    stream: Iterable[Iterable[T]],
    *,
    cost: Callable[[T], int],
    result_cost: Callable[[R], int],
    budget: int,
    most: int,
    workers: int,
    lane: Lane | None = None,
) -> Iterator[list[R]]:
    """`call` on each element or on small ones together, in threads; one result for each, in order.

    At most `most` elements and, beyond the first, `budget` bytes are in flight. What is of unknown
    cost, 0, has a call to itself. `lane` measures.
    """
    return grouped(
        pool,
        call,
        stream,
        key=lambda _, size: None if 0 < size < SMALL else object(),
        cost=cost,
        result_cost=result_cost,
        full=lambda count, nbytes: count >= HANDFUL or not 0 < nbytes < SMALL,
        budget=budget,
        most=most,
        workers=workers,
        waits=False,
        lane=lane,
    )


def grouped(
    pool: Executor,
    call: Callable[[list[T]], list[R]],
    stream: Iterable[Iterable[T]],
    *,
    key: Callable[[T, int], Any],
    cost: Callable[[T], int],
    result_cost: Callable[[R], int],
    full: Callable[[int, int], bool],
    budget: int,
    most: int,
    workers: int,
    waits: bool = True,
    lane: Lane | None = None,
) -> Iterator[list[R]]:
    """`call` on groups of elements with one key, in threads; one result for each, in order.

    A group is closed when it is `full(count, bytes)`, when its first element is next in line, when
    the stream ends or, unless it `waits`, the handful; it is sent off when what it and those before
    it hold fits the budget. `workers` calls may run whatever their results hold, as long as what
    waits is in budget. The key is made of an element and its bytes.
    """
    queue = _Queue(pool, call, result_cost, budget, workers, lane)
    open_groups: dict[Any, _Group[T, R]] = {}

    def close(names: Iterable[Any]) -> None:
        for name in list(names):
            queue.close(open_groups.pop(name))

    def taken() -> list[R]:
        close(name for name, group in open_groups.items() if group is queue.first)
        return queue.take()

    try:
        for handful in stream:
            for element in handful:
                size = cost(element)
                while len(queue) and (queue.held() + size > budget or len(queue) >= most):
                    yield taken()
                name = key(element, size)
                group = open_groups.get(name)
                if group is None:
                    group = open_groups[name] = _Group()
                queue.add(group, element, size)
                if full(len(group.elements), group.cost):
                    close([name])
            if not waits:
                close(open_groups)
            queue.tell()
            while queue.is_ready:
                yield taken()
        close(open_groups)
        while len(queue):
            yield taken()
    finally:
        queue.cancel()


class _Queue(Generic[T, R]):
    """Elements in line, in groups: first open, then closed, then sent off, then weighed."""

    def __init__(
        self,
        pool: Executor,
        call: Callable[[list[T]], list[R]],
        result_cost: Callable[[R], int],
        budget: int,
        workers: int,
        lane: Lane | None = None,
    ) -> None:
        self._pool, self._call, self._result_cost = pool, call, result_cost
        self._budget, self._workers = budget, workers
        self._elements: deque[tuple[_Group[T, R], int]] = deque()
        self._closed: deque[_Group[T, R]] = deque()
        self._sent: dict[Future[list[R]], _Group[T, R]] = {}
        self._sent_cost = self._sent_free = 0  # bytes in these; elements whose bytes nobody knows
        self._ended: deque[Future[list[R]]] = deque()  # told by the threads that did the work
        self._held, self._lane = 0, lane
        self._growth = 0.0  # bytes of results for each byte of elements, at the most so far
        self._largest = 0  # bytes of one result, at the most so far

    def __len__(self) -> int:
        return len(self._elements)

    @property
    def first(self) -> _Group[T, R]:
        """The group whose result is next in line."""
        return self._elements[0][0]

    @property
    def is_ready(self) -> bool:
        """Whether a result can be had without waiting."""
        self._weigh()
        return bool(self._elements) and self.first.weighed

    @property
    def _has_results(self) -> bool:
        """Whether a result can be had without waiting and without an error."""
        return self.is_ready and bool(self.first.results)

    def held(self) -> int:
        """Bytes of elements and of results that nobody has taken yet."""
        self._weigh()
        return self._held

    def add(self, group: _Group[T, R], element: T, size: int) -> None:
        """Put an element in line, as part of a group."""
        group.elements.append(element)
        group.sizes.append(size)
        group.cost += size
        self._elements.append((group, len(group.elements) - 1))
        self._held += size

    def close(self, group: _Group[T, R]) -> None:
        """No more elements join the group; it is sent off as soon as it fits."""
        self._closed.append(group)
        self._send()

    def take(self) -> list[R]:
        """Wait for the result that is next in line; small ones behind it come along."""
        taken: list[R] = []
        room = min(SMALL, self._budget // HANDFUL)  # what is taken counts no more
        while not taken or (self._has_results and self._next_size() <= room):
            group, index = self._elements.popleft()
            if not group.weighed or not group.results:
                self._wait_for(group)
            taken.append(group.results[index])
            self._held -= group.sizes[index]
            room -= group.sizes[index]
        self.tell()
        self._send()
        return taken

    def _next_size(self) -> int:
        group, index = self._elements[0]
        return group.sizes[index]

    def _wait_for(self, group: _Group[T, R]) -> None:
        """Wait for the results of a group, or raise what its call raised."""
        while group.future is None:
            self._send_first()
        began, waits = time.perf_counter(), not group.future.done()
        try:
            group.future.result()
        finally:
            if self._lane is not None and waits:
                self._lane.waited += time.perf_counter() - began
        self._weigh()
        self._weigh_one(group.future)  # its thread may not have told yet

    def tell(self) -> None:
        """Let the lane know what is in line; when a handful is, not at each of its elements."""
        if self._lane is not None:
            self._lane.holds(len(self._elements), self._held)

    def cancel(self) -> None:
        """Drop what has not begun."""
        for future in list(self._sent):
            future.cancel()

    def _send(self) -> None:
        if not self._closed:
            return
        self._weigh()
        while self._closed and self._fits(self._closed[0]):
            self._send_first()

    def _fits(self, group: _Group[T, R]) -> bool:
        alone = self._held == group.cost
        if alone or (len(self._sent) < self._workers and self._held <= self._budget):
            return True
        # What calls will hold once their results are there, as far as can be told.
        cost, free = self._sent_cost + group.cost, self._sent_free + _free(group)
        growing = int(cost * (self._growth - 1)) + free * self._largest
        return self._growth > 0 and self._held + growing <= self._budget

    def _send_first(self) -> None:
        group = self._closed.popleft()
        group.future = self._pool.submit(self._call, group.elements)
        self._sent[group.future] = group
        self._sent_cost += group.cost
        self._sent_free += _free(group)
        group.future.add_done_callback(self._ended.append)

    def _weigh(self) -> None:
        """Weigh the calls that have ended."""
        while self._ended:
            self._weigh_one(self._ended.popleft())

    def _weigh_one(self, future: Future[list[R]]) -> None:
        """Let go of what went into a call that has ended, and count what came out of it."""
        group = self._sent.pop(future, None)
        if group is None:  # it is weighed already
            return
        group.weighed, before = True, group.cost
        self._sent_cost -= before
        self._sent_free -= _free(group)
        group.elements.clear()
        if future.cancelled() or future.exception() is not None:
            return
        group.results = future.result()
        results = [self._result_cost(result) for result in group.results]
        group.sizes = [max(pair) for pair in zip(group.sizes, results, strict=True)]
        group.cost = sum(group.sizes)
        self._held += group.cost - before
        self._largest = max(self._largest, *results)
        if any(results):  # failures say nothing
            self._growth = max(self._growth, 1.0, sum(results) / before if before else 1.0)


def _free(group: _Group[Any, Any]) -> int:
    """How many elements there are in a group whose bytes nobody knows."""
    return 0 if group.cost else len(group.sizes)
