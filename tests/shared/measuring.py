"""Tests that coverage does not watch."""

import pytest


@pytest.hookimpl(hookwrapper=True)
def pytest_runtest_protocol(item):
    """For a conftest: no coverage in its folder, fixtures included.

    The gate is on the engine, which is tested by itself and in whole pipelines. Tests of networks
    and trainings add nothing to it, and being watched makes torch half as slow again.
    """
    plugin = item.config.pluginmanager.getplugin("_cov")
    controller = plugin.cov_controller if plugin else None
    if controller:
        controller.pause()
    yield
    if controller:
        controller.resume()
