"""Tests that coverage does not watch."""

import pytest

ROOMS = {"train", "plugins"}
"""Folders of tests that add nothing to the gate, which is on the engine: it is tested by itself and
in whole pipelines. Being watched makes torch half as slow again."""


@pytest.hookimpl(hookwrapper=True)
def pytest_runtest_protocol(item):
    """For the conftest of all rooms: no coverage in some of them, fixtures included.

    Not for the conftest of a room: pytest calls this hook of every conftest for every test. In a
    process of pytest-xdist two watches run, one in the other: what stops one starts the other.
    """
    stopped = []
    if item.config.pluginmanager.hasplugin("_cov") and item.path.parent.name in ROOMS:
        from coverage import Coverage

        while watch := Coverage.current():
            watch.stop()
            stopped.append(watch)
    yield
    for watch in reversed(stopped):
        watch.start()
