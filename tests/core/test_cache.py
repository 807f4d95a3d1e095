"""Compiled graphs kept on disk: whole or not at all, bounded, and never in the way."""

import os
import sys

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from genloom.engine import tuned
from genloom.runtime import cache


@pytest.fixture
def place(tmp_path, monkeypatch):
    monkeypatch.setenv("GENLOOM_CACHE", str(tmp_path))
    return tmp_path / "graphs"


def test_what_was_kept_is_found_and_nothing_else(place):
    assert cache.get("a") is None
    cache.put("a", b"one")
    cache.put("b", b"")
    cache.put("a", b"two")
    assert cache.get("a") == b"two" and cache.get("b") == b"" and cache.get("c") is None
    assert sorted(path.name for path in place.iterdir()) == ["a.graph", "b.graph"]


@settings(suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(data=st.binary(max_size=200), cut=st.integers(0, 300), other=st.integers(1, 255))
def test_a_file_that_is_not_whole_is_as_good_as_none(place, data, cut, other):
    cache.put("a", data)
    path = place / "a.graph"
    whole = path.read_bytes()
    path.write_bytes(whole[:cut])
    assert cache.get("a") == (data if cut >= len(whole) else None)
    at = cut % len(whole)
    path.write_bytes(whole[:at] + bytes([whole[at] ^ other]) + whole[at + 1 :])
    assert cache.get("a") is None
    cache.put("a", data)
    assert cache.get("a") == data


@pytest.mark.skipif(not hasattr(os, "mkfifo"), reason="no pipes here")
def test_a_pipe_in_the_place_of_a_file_keeps_nobody_waiting(place):
    place.mkdir(exist_ok=True, parents=True)
    os.mkfifo(place / "a.graph")
    assert cache.get("a") is None


def test_the_folder_is_bounded_and_what_was_used_longest_ago_goes_first(place):
    for age, name in enumerate(["new", "used", "old"]):
        cache.put(name, bytes(1000))
        os.utime(place / f"{name}.graph", (1000 - age, 1000 - age))
    left = place / ".tmp-of-a-killed-process"
    left.write_bytes(bytes(1000))
    os.utime(left, (1, 1))
    foreign = place / "notes.txt"
    foreign.write_text("mine")
    assert cache.get("used") is not None
    cache.put("more", bytes(1000), most=3500)
    assert {path.name for path in place.iterdir()} == {
        "new.graph",
        "used.graph",
        "more.graph",
        "notes.txt",
    }
    cache.put("huge", bytes(5000), most=3500)
    assert cache.get("huge") is None and cache.get("more") is not None


def test_it_can_be_turned_off_and_a_folder_that_cannot_be_written_does_no_harm(
    tmp_path, monkeypatch
):
    monkeypatch.setenv("GENLOOM_CACHE", "Off")
    assert cache.folder() is None
    cache.put("a", b"one")
    assert cache.get("a") is None
    file = tmp_path / "file"
    file.write_text("no folder")
    monkeypatch.setenv("GENLOOM_CACHE", str(file))
    cache.put("a", b"one")
    assert cache.get("a") is None and file.read_text() == "no folder"


@pytest.mark.skipif(not sys.platform.startswith("linux"), reason="named by another variable")
def test_it_lies_where_the_system_keeps_caches(tmp_path, monkeypatch):
    monkeypatch.delenv("GENLOOM_CACHE")
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    assert cache.folder() == tmp_path / "genloom" / "graphs"


def test_what_was_tuned_lies_in_the_folder_that_is_named_too(tmp_path, monkeypatch):
    monkeypatch.setenv("GENLOOM_CACHE", str(tmp_path))
    assert (cache.folder(), tuned.file()) == (tmp_path / "graphs", tmp_path / "tuned.json")
    monkeypatch.setenv("GENLOOM_CACHE", "off")
    assert cache.folder() is None and tuned.file().name == "tuned.json"
    assert tmp_path not in tuned.file().parents


def test_a_key_depends_on_all_of_its_facts_and_on_where_each_ends():
    facts = {"runtime": "one 1", "device": "CPU"}
    keys = {
        cache.key(b"graph", facts),
        cache.key(b"grapi", facts),
        cache.key(b"graph", {**facts, "runtime": "one 2"}),
        cache.key(b"graph", {"runtime": "one 1"}),
        cache.key(b"graph", {"runtim": "eone 1", "device": "CPU"}),
    }
    assert len(keys) == 5
    assert cache.key(b"graph", dict(reversed(facts.items()))) in keys
