"""Ordered streams: work goes to threads, results come back in order, bytes in flight are bounded.

Every function here is a generator that is pulled from the end of the chain. Pulling tops up the
queue of each stage, so decoding, computing and writing overlap while one thread only orchestrates.

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


@dataclass(eq=False)
class _Group(Generic[T, R]):
    """Elements that are worked on in one call.

    Attributes:
        sizes: bytes that each of them holds, and then its result, if that is larger.
        cost: the sum of `sizes`.
        weighed: whether the call has ended and `sizes` tells of its results.
    """

    elements: list[T] = field(default_factory=list)
    sizes: list[int] = field(default_factory=list)
    cost: int = 0
    future: Future[list[R]] | None = None
    weighed: bool = False


def ordered(
    pool: Executor,
    call: Callable[[T], R],
    stream: Iterable[T],
    *,
    cost: Callable[[T], int],
    result_cost: Callable[[R], int],
    budget: int,
    most: int,
    workers: int,
    lane: Lane | None = None,
) -> Iterator[R]:
    """`call` on each element, in threads; results in the order of the elements.

    At most `most` elements and, beyond the first, `budget` bytes are in flight. `lane` measures.
    """
    return grouped(
        pool,
        lambda elements: [call(element) for element in elements],
        stream,
        key=lambda _: None,
        cost=cost,
        result_cost=result_cost,
        full=lambda count, _: count >= 1,
        budget=budget,
        most=most,
        workers=workers,
        lane=lane,
    )


def grouped(
    pool: Executor,
    call: Callable[[list[T]], list[R]],
    stream: Iterable[T],
    *,
    key: Callable[[T], Any],
    cost: Callable[[T], int],
    result_cost: Callable[[R], int],
    full: Callable[[int, int], bool],
    budget: int,
    most: int,
    workers: int,
    lane: Lane | None = None,
) -> Iterator[R]:
    """`call` on groups of elements with one key, in threads; one result for each, in order.

    A group is closed when it is `full(count, bytes)`, when its first element is next in line, or
    when the stream ends; it is sent off when what it and those before it hold fits the budget.
    `workers` calls may run whatever their results hold, as long as what waits is in budget.
    """
    queue = _Queue(pool, call, result_cost, budget, workers, lane)
    open_groups: dict[Any, _Group[T, R]] = {}

    def next_result() -> R:
        for name in [name for name, group in open_groups.items() if group is queue.first]:
            queue.close(open_groups.pop(name))
        return queue.next_result()

    try:
        for element in stream:
            size = cost(element)
            while queue.is_ready or (
                len(queue) and (queue.held() + size > budget or len(queue) >= most)
            ):
                yield next_result()
            group = open_groups.setdefault(key(element), _Group())
            queue.add(group, element, size)
            if full(len(group.elements), group.cost):
                queue.close(open_groups.pop(key(element)))
        while open_groups:
            queue.close(open_groups.pop(next(iter(open_groups))))
        while len(queue):
            yield next_result()
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
        self._tell()

    def close(self, group: _Group[T, R]) -> None:
        """No more elements join the group; it is sent off as soon as it fits."""
        self._closed.append(group)
        self._send()

    def next_result(self) -> R:
        """Wait for the result that is next in line."""
        group, index = self._elements.popleft()
        while group.future is None:
            self._send_first()
        result = self._waited(group.future)[index]
        self._weigh()
        self._weigh_one(group.future)  # its thread may not have told yet
        self._held -= group.sizes[index]
        self._tell()
        self._send()
        return result

    def _waited(self, future: Future[list[R]]) -> list[R]:
        if self._lane is None or future.done():
            return future.result()
        began = time.perf_counter()
        try:
            return future.result()
        finally:
            self._lane.waited += time.perf_counter() - began

    def _tell(self) -> None:
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
        results = [self._result_cost(result) for result in future.result()]
        group.sizes = [max(pair) for pair in zip(group.sizes, results, strict=True)]
        group.cost = sum(group.sizes)
        self._held += group.cost - before
        self._largest = max(self._largest, *results)
        if any(results):  # failures say nothing
            self._growth = max(self._growth, 1.0, sum(results) / before if before else 1.0)


def _free(group: _Group[Any, Any]) -> int:
    """How many elements there are in a group whose bytes nobody knows."""
    return 0 if group.cost else len(group.sizes)
