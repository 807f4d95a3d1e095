"""Ordered streams with bounded queues."""

import threading
import time
import weakref
from concurrent.futures import Future, ThreadPoolExecutor

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from genloom.engine import flow


@pytest.fixture
def pool():
    with ThreadPoolExecutor(4) as threads:
        yield threads


def run_ordered(pool, call, stream, *, budget=100, most=8, cost=lambda _: 1):
    stream = ([element] for element in stream)
    return flat(flow.ordered(pool, each(call), stream, budget=budget, most=most, **how(cost)))


def each(call):
    return lambda elements: [call(element) for element in elements]


def flat(handfuls):
    return [result for handful in handfuls for result in handful]


def how(cost=lambda _: 1, result_cost=lambda _: 1, workers=4):
    return {"cost": cost, "result_cost": result_cost, "workers": workers}


def test_results_come_in_the_order_of_the_elements_although_work_ends_in_another(pool):
    def call(number):
        time.sleep(0.01 if number % 3 == 0 else 0)
        return number * 2

    assert run_ordered(pool, call, range(30)) == [2 * n for n in range(30)]


def test_bytes_in_flight_stay_below_the_budget(pool):
    lock, held, most_held = threading.Lock(), [0], [0]

    def source():
        for number in range(40):
            with lock:
                held[0] += 10
                most_held[0] = max(most_held[0], held[0])
            yield [number]

    sizes = how(lambda _: 10, lambda _: 10)
    for results in flow.ordered(pool, list, source(), budget=50, most=1000, **sizes):
        with lock:
            held[0] -= 10 * len(results)
    # one more than the budget holds: the element that waits to be let in
    assert most_held[0] <= 60


@pytest.mark.parametrize("grown", [1, 10, 100])
def test_results_that_nobody_took_yet_count_with_what_they_hold(pool, grown):
    lock, held, most_held = threading.Lock(), [0], [0]

    def call(number):
        with lock:
            held[0] += grown
            most_held[0] = max(most_held[0], held[0])
        return number

    sizes, numbers = how(lambda _: 1, lambda _: grown), ([n] for n in range(300))
    for results in flow.ordered(pool, each(call), numbers, budget=100, most=1000, **sizes):
        time.sleep(0.001)
        with lock:
            held[0] -= grown * len(results)
    # what fits the budget, and one call for each worker whatever comes of it
    assert most_held[0] <= 100 + 5 * grown


def test_what_went_into_a_call_is_let_go_when_the_call_has_ended(pool):
    class Thing:
        pass

    alive = weakref.WeakSet()

    def things():
        for _ in range(20):
            thing = Thing()
            alive.add(thing)
            yield [thing]

    results = flow.ordered(pool, each(lambda _: 1), things(), budget=100, most=8, **how())
    taken = next(results)
    time.sleep(0.1)
    taken += next(results)
    assert len(alive) < 8
    assert sum(flat(results)) + len(taken) == 20


def test_an_element_above_the_budget_passes_alone(pool):
    assert run_ordered(pool, lambda n: n, [1, 2, 3], budget=5, cost=lambda _: 1000) == [1, 2, 3]


def test_calls_overlap(pool):
    barrier = threading.Barrier(3, timeout=10)
    assert run_ordered(pool, lambda n: barrier.wait() >= 0, range(3)) == [True] * 3


def test_an_error_reaches_the_reader_and_waiting_work_is_dropped():
    started = []
    with ThreadPoolExecutor(1) as one:

        def call(number):
            started.append(number)
            time.sleep(0.01)
            raise ValueError(number)

        with pytest.raises(ValueError, match="0"):
            run_ordered(one, call, range(100), budget=1000, most=50)
    assert len(started) < 50


def test_results_that_are_there_come_before_the_error_of_a_later_call():
    with ThreadPoolExecutor(1) as one:

        def call(numbers):
            if 20 in numbers:
                raise ValueError("20")
            return list(numbers)

        found = []
        stream = flow.ordered(
            one, call, [list(range(32))],
            cost=lambda _: 4000, result_cost=lambda _: 10, budget=10**6, most=64, workers=2,
        )  # fmt: skip
        with pytest.raises(ValueError, match="20"):
            for some in stream:
                found += some
    assert found == list(range(flow.HANDFUL))


def test_nothing_gives_nothing(pool):
    assert run_ordered(pool, lambda n: n, []) == []


@settings(deadline=None, max_examples=60)
@given(
    keys=st.lists(st.integers(0, 3), max_size=60),
    size=st.integers(1, 7),
    budget=st.integers(1, 40),
    most=st.integers(1, 20),
    together=st.integers(1, 9),
    waits=st.booleans(),
)
def test_groups_have_one_key_and_a_bounded_size_and_order_is_kept(
    keys, size, budget, most, together, waits
):
    groups = []

    def call(elements):
        groups.append([key for key, _ in elements])
        return [index for _, index in elements]

    with ThreadPoolExecutor(3) as threads:
        elements = [(key, index) for index, key in enumerate(keys)]
        results = flat(
            flow.grouped(
                threads,
                call,
                [elements[start : start + together] for start in range(0, len(keys), together)],
                key=lambda element, _: element[0],
                **how(),
                full=lambda count, _: count >= size,
                budget=budget,
                most=most,
                waits=waits,
            )
        )
    assert results == list(range(len(keys)))
    assert all(len(set(group)) == 1 and len(group) <= size for group in groups)
    assert sum(map(len, groups)) == len(keys)


@pytest.mark.parametrize(
    ("handfuls", "calls"),
    [
        ([[1, 2, 3]], [[1, 2, 3]]),
        ([[1, 2], [3]], [[1, 2], [3]]),
        ([[1, flow.SMALL, 3]], [[1, 3], [flow.SMALL]]),
        ([[0, 0, 5]], [[0], [0], [5]]),
        ([[flow.SMALL - 1] * 3], [[flow.SMALL - 1] * 2, [flow.SMALL - 1]]),
        ([[1] * (flow.HANDFUL + 1)], [[1] * flow.HANDFUL, [1]]),
    ],
)
def test_small_elements_of_a_handful_share_a_call_and_large_and_unknown_ones_do_not(
    handfuls, calls
):
    """An element is the bytes that it takes."""
    submitted = []

    class Pool:
        def submit(self, call, elements):
            submitted.append(list(elements))
            future = Future()
            future.set_result(call(elements))
            return future

    results = flow.ordered(
        Pool(), list, handfuls, budget=2**30, most=100, **how(lambda n: n, lambda n: n)
    )
    assert flat(results) == [n for handful in handfuls for n in handful]
    assert sorted(submitted) == sorted(calls)


def test_a_handful_is_not_kept_waiting_for_the_next(pool):
    done = threading.Event()

    def source():
        yield [1, 2]
        assert done.wait(10), "the first handful is worked on before the second is there"
        yield [3]

    def call(number):
        done.set()
        return number

    assert flat(flow.ordered(pool, each(call), source(), budget=100, most=8, **how())) == [1, 2, 3]
