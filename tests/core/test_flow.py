"""Ordered streams with bounded queues."""

import threading
import time
import weakref
from concurrent.futures import ThreadPoolExecutor

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from genloom.engine import flow


@pytest.fixture
def pool():
    with ThreadPoolExecutor(4) as threads:
        yield threads


def run_ordered(pool, call, stream, *, budget=100, most=8, cost=lambda _: 1):
    return list(flow.ordered(pool, call, stream, budget=budget, most=most, **how(cost)))


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
            yield number

    sizes = how(lambda _: 10, lambda _: 10)
    for _ in flow.ordered(pool, lambda n: n, source(), budget=50, most=1000, **sizes):
        with lock:
            held[0] -= 10
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

    sizes = how(lambda _: 1, lambda _: grown)
    for _ in flow.ordered(pool, call, range(300), budget=100, most=1000, **sizes):
        time.sleep(0.001)
        with lock:
            held[0] -= grown
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
            yield thing

    results = flow.ordered(pool, lambda _: 1, things(), budget=100, most=8, **how())
    next(results)
    time.sleep(0.1)
    next(results)
    assert len(alive) < 8
    assert sum(results) == 18


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


def test_nothing_gives_nothing(pool):
    assert run_ordered(pool, lambda n: n, []) == []


@settings(deadline=None, max_examples=60)
@given(
    keys=st.lists(st.integers(0, 3), max_size=60),
    size=st.integers(1, 7),
    budget=st.integers(1, 40),
    most=st.integers(1, 20),
)
def test_groups_have_one_key_and_a_bounded_size_and_order_is_kept(keys, size, budget, most):
    groups = []

    def call(elements):
        groups.append([key for key, _ in elements])
        return [index for _, index in elements]

    with ThreadPoolExecutor(3) as threads:
        results = list(
            flow.grouped(
                threads,
                call,
                [(key, index) for index, key in enumerate(keys)],
                key=lambda element: element[0],
                **how(),
                full=lambda count, _: count >= size,
                budget=budget,
                most=most,
            )
        )
    assert results == list(range(len(keys)))
    assert all(len(set(group)) == 1 and len(group) <= size for group in groups)
    assert sum(map(len, groups)) == len(keys)
