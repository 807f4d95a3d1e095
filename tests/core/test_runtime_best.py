"""Several runtimes as one."""

import pytest

from genloom.errors import GenloomError, MissingRequirement, ModelError
from genloom.runtime import Runtime, Settings
from genloom.runtime.best import Best

pytestmark = pytest.mark.usefixtures("as_shipped")


class Fake(Runtime):
    def __init__(self, *providers, broken=(), why=MissingRequirement, knows=()):
        self._providers, self._broken, self._why = providers, broken, why
        self.extras = dict.fromkeys(knows, "")

    def providers(self):
        return self._providers

    def compile(self, graph, settings):
        if settings.provider in self._broken:
            raise self._why(f"no {settings.provider}")
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


def test_auto_goes_on_where_a_runtime_does_not_take_the_graph():
    picky = Fake("openvino", broken=["openvino"], why=ModelError)
    able = Fake("cpu")
    assert Best([picky, able]).compile(b"", Settings()) == (able, "cpu")
    with pytest.raises(ModelError, match="no openvino"):
        Best([picky, able]).compile(b"", Settings(provider="openvino"))
    unable = Fake("cpu", broken=["cpu"], why=ModelError)
    with pytest.raises(ModelError, match="no cpu"):
        Best([picky, unable]).compile(b"", Settings())


def test_a_provider_of_a_runtime_that_is_not_at_hand_says_what_it_lacks():
    lacking = {"wild": MissingRequirement("it needs a package")}
    for runtimes in ([Fake("cpu")], [Fake("cpu"), Fake("openvino")]):
        with pytest.raises(MissingRequirement, match="it needs a package"):
            Best(runtimes, lacking).compile(b"", Settings(provider="wild"))
        with pytest.raises(MissingRequirement, match="'wild' is not at hand either"):
            Best(runtimes, lacking).compile(b"", Settings(provider="wilde"))
    at_hand = Fake("wild")
    assert Best([at_hand, Fake("cpu")], lacking).compile(b"", Settings(provider="wild")) == (
        at_hand,
        "wild",
    )


def test_a_provider_that_a_runtime_knows_but_has_not_is_named_as_such():
    best = Best([Fake("cpu", knows=["cpu", "rocm"]), Fake("openvino")])
    with pytest.raises(MissingRequirement, match="'rocm' is not at hand either; `genloom doctor`"):
        best.compile(b"", Settings(provider="rokm"))
    with pytest.raises(MissingRequirement, match=r"'xyz' is not at hand; .*`genloom doctor` says"):
        best.compile(b"", Settings(provider="xyz"))
