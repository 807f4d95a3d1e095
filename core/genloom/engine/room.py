"""How much goes into one call of a network: halved whenever memory runs out, and remembered."""

from __future__ import annotations

import threading
from collections.abc import Callable, Mapping
from math import prod
from typing import TypeVar

from genloom.card import Part
from genloom.engine import shapes
from genloom.errors import OutOfMemory
from genloom.runtime.pixels import IMAGE
from genloom.types import Array

T = TypeVar("T")


class Room:
    """How much one part of a model takes in one call. Safe to use from several threads.

    Attributes:
        most: values that one call may take, all items together; None until memory ran out once.
        failures: what it ran out of memory on, in words, from the first on.
        alone: whether it takes one item at a time anyway.
    """

    def __init__(self, *, alone: bool = False) -> None:
        self.most: int | None = None
        self.failures: list[str] = []
        self.alone = alone
        self._closed: int | None = None
        self._lonely: int | None = None
        self._lock = threading.Lock()

    def items(self, each: int, count: int) -> int:
        """How many of `count` items go into one call, each of so many values; one at the least."""
        if self.alone:
            return 1
        return count if self.most is None else max(1, min(count, self.most // each))

    def each(self, channels: int) -> int | None:
        """How many pixels one item may have; None while memory never ran out."""
        return None if self.most is None else self.most // channels

    def ran_out(self, items: int, each: int, what: str) -> None:
        """Halve what a call takes, after one that ran out of memory.

        By half of what that call took, not of what is allowed now: calls of several threads that
        fail together count once.
        """
        half = items * each // 2
        with self._lock:
            if self.most is None or half < self.most:
                self.most = half
                self.failures.append(f"{items} × {what}")

    def close(self, each: int) -> None:
        """Take no items any more that cannot be cut below so many values."""
        with self._lock:
            self._closed = each if self._closed is None else min(each, self._closed)

    def closed(self, each: int) -> bool:
        """Whether an item that cannot be cut below so many values is hopeless here."""
        return self._closed is not None and each >= self._closed

    def keep_for_one(self, each: int) -> None:
        """Compute no items of so many values any more while other large calls run."""
        self._lonely = each if self._lonely is None else min(each, self._lonely)

    def is_for_one(self, each: int) -> bool:
        """Whether an item of so many values has room only while no other large call runs."""
        return self._lonely is not None and each >= self._lonely


def pieces(
    room: Room,
    count: int,
    each: int,
    what: str,
    call: Callable[[slice], T],
    *,
    few_shapes: bool = False,
) -> list[T]:
    """Call with all of `count` items, in as few calls as there is room for; a result of each call.

    Every call that fails halves the next one, so there are few; one that fails with a single item
    is the last.

    Args:
        room: what was learned so far, and learns more.
        count: number of items.
        each: values of one.
        what: one item in words.
        call: is given which items it is to take.
        few_shapes: whether the sizes of calls are to be few.

    Raises:
        OutOfMemory: when there is no room for one item.
    """
    done: list[T] = []
    first = 0
    while first < count:
        items = room.items(each, count - first)
        items = shapes.at_most(items) if few_shapes else items
        try:
            done.append(call(slice(first, first + items)))
        except (OutOfMemory, MemoryError) as error:
            room.ran_out(items, each, what)
            if items == 1:
                raise as_ours(error) from None
        else:
            first += items
    return done


def as_ours(error: OutOfMemory | MemoryError) -> OutOfMemory:
    """The error as runtimes raise it."""
    return error if isinstance(error, OutOfMemory) else OutOfMemory(f"no memory ({error})")


def items_of(part: Part | None, inputs: Mapping[str, Array]) -> int:
    """How many items the inputs of a part hold; 1 where they cannot be told apart."""
    if part is None:
        return 1
    axes = [port.axes for port in (*part.inputs.values(), *part.outputs.values())]
    first = {one[0] if one else 0 for one in axes}
    counts = {len(array) if array.ndim else 0 for array in inputs.values()}
    if len(first) == len(counts) == 1 and isinstance(next(iter(first)), str):
        return max(1, next(iter(counts)))
    return 1


def of_items(inputs: Mapping[str, Array], which: slice, count: int) -> dict[str, Array]:
    """The inputs of some items; what holds one value for all of them goes along."""
    return {
        name: array[which] if array.ndim and len(array) == count else array
        for name, array in inputs.items()
    }


def shape_of(inputs: Mapping[str, Array], count: int) -> tuple[int, ...]:
    """Shape of one item: of its picture, or of the largest of its arrays."""
    for name in ("image", IMAGE):
        if name in inputs:
            return inputs[name].shape[1:]
    shapes = [array.shape[1:] if len(array) == count else array.shape for array in inputs.values()]
    return max(shapes, key=prod, default=())
