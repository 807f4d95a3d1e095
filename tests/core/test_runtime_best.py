"""Several runtimes as one."""

import pytest

from genloom.errors import GenloomError, MissingRequirement
from genloom.runtime import Runtime, Settings
from genloom.runtime.best import Best


class Fake(Runtime):
    def __init__(self, *providers, broken=()):
        self._providers, self._broken = providers, broken

    def providers(self):
        return self._providers

    def compile(self, graph, settings):
        if settings.provider in self._broken:
            raise MissingRequirement(f"no {settings.provider}")
        return self, settings.provider


def test_auto_goes_down_the_list_whoever_has_the_provider():
    one, other = Fake("cuda", "cpu"), Fake("openvino")
    best = Best([one, other])
    assert best.providers() == ("cuda", "openvino", "cpu")
    assert best.compile(b"", Settings()) == (one, "cuda")
    broken = Fake("cuda", "cpu", broken=["cuda"])
    assert Best([broken, other]).compile(b"", Settings()) == (other, "openvino")
    nothing = Fake("openvino", broken=["openvino"])
    assert Best([broken, nothing]).compile(b"", Settings()) == (broken, "cpu")


def test_the_last_that_fails_says_why():
    best = Best([Fake("cpu", broken=["cpu"]), Fake("openvino", broken=["openvino"])])
    with pytest.raises(MissingRequirement, match="no cpu"):
        best.compile(b"", Settings())


def test_what_is_slow_to_compile_or_unknown_is_taken_by_name_only():
    best = Best([Fake("tensorrt", "cpu"), Fake("wild")])
    assert best.providers() == ("cpu", "tensorrt", "wild")
    assert best.compile(b"", Settings())[1] == "cpu"
    assert best.compile(b"", Settings(provider="wild"))[1] == "wild"


def test_one_runtime_decides_for_itself():
    alone = Fake("wild")
    assert Best([alone]).compile(b"", Settings()) == (alone, "auto")


def test_of_two_with_one_provider_the_first_is_taken():
    first, second = Fake("cpu"), Fake("cpu", "wild")
    assert Best([first, second]).compile(b"", Settings(provider="cpu")) == (first, "cpu")


def test_a_provider_that_none_has_is_refused_with_the_nearest():
    best = Best([Fake("cpu"), Fake("openvino")])
    with pytest.raises(MissingRequirement, match="Did you mean 'openvino'"):
        best.compile(b"", Settings(provider="openvin"))
    with pytest.raises(GenloomError, match=r"need the name of one.*--provider openvino"):
        best.compile(b"", Settings(options={"a": "1"}))
