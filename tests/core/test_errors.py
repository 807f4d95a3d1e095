"""What messages say, and the exit codes that errors end a command with."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from genloom import errors
from genloom.errors import (
    GenloomError,
    InvalidFile,
    MissingRequirement,
    Problem,
    UnknownName,
    counted,
    did_you_mean,
    nearest,
    shown,
)


@pytest.mark.parametrize(
    ("said", "text"),
    [
        ({}, "it broke"),
        ({"where": "a.yaml:1:2"}, "a.yaml:1:2: it broke"),
        ({"expected": "two"}, "it broke; expected two"),
        ({"got": "one"}, "it broke; got one"),
        ({"expected": "two", "got": "one"}, "it broke; expected two, got one"),
        ({"got": "one", "hint": "Try two"}, "it broke; got one. Try two"),
    ],
)
def test_an_error_says_where_what_expected_got_and_what_to_do(said, text):
    error = GenloomError("it broke", **said)
    assert str(error) == text
    assert error.args == (text,)


@pytest.mark.parametrize(
    ("name", "code"),
    [
        ("GenloomError", 2),
        ("InvalidFile", 2),
        ("UnknownName", 2),
        ("ModelError", 2),
        ("OptionError", 2),
        ("OutputError", 2),
        ("ImageError", 1),
        ("StageError", 1),
        ("PluginError", 3),
        ("MissingRequirement", 3),
    ],
)
def test_each_error_has_the_exit_code_that_the_tree_of_errors_draws(name, code):
    kind = getattr(errors, name)
    assert issubclass(kind, GenloomError)
    assert kind.exit_code == code
    (line,) = [line for line in errors.__doc__.splitlines() if f" {name} " in line]
    assert f" {code} " in line


def test_problems_of_a_file_are_told_together_in_the_order_of_the_file():
    problems = [
        Problem("third", "b.yaml", 1, 1),
        Problem("second", "a.yaml", 10, 1),
        Problem("first", "a.yaml", 9, 3),
        Problem("nought", "a.yaml"),
    ]
    error = InvalidFile(problems)
    assert [problem.what for problem in error.problems] == ["nought", "first", "second", "third"]
    assert str(error).splitlines() == [
        "a.yaml: nought",
        "a.yaml:9:3: first",
        "a.yaml:10:1: second",
        "b.yaml:1:1: third",
    ]


@pytest.mark.parametrize(
    ("name", "known", "hint"),
    [
        ("encod", ["encode", "decode"], "Did you mean 'encode'?"),
        ("ENCODE", ["encode"], "Did you mean 'encode'?"),
        ("fashion-vea", ["Fashion-VAE", "denoise"], "Did you mean 'Fashion-VAE'?"),
        ("xyz", ["b", "a"], "There are: a, b"),
        ("xyz", [], "There are none."),
        ("xyz", [f"n{n:02d}" for n in range(40)], "n37, n38, n39"),
        ("xyz", [f"n{n:02d}" for n in range(41)], "n38, n39, …"),
    ],
)
def test_the_hint_names_the_nearest_or_else_all(name, known, hint):
    assert did_you_mean(name, known).endswith(hint)


@pytest.mark.parametrize(("count", "words"), [(0, "no cats"), (1, "1 cat"), (2, "2 cats")])
def test_a_number_of_things_is_told_in_words(count, words):
    assert counted(count, "cat") == words


def test_the_nearest_name_is_empty_when_nothing_is_near():
    assert (nearest("encod", ["decode", "Encode"]), nearest("xyz", ["encode"])) == ("Encode", "")


@given(st.text(), st.lists(st.text()))
def test_a_hint_can_be_given_for_any_name(name, known):
    assert did_you_mean(name, known)


def test_an_unknown_name_says_its_noun_and_the_nearest():
    error = UnknownName.of("stage", "lod", ["load", "save"])
    assert str(error) == "unknown stage 'lod'. Did you mean 'load'?"


def test_a_missing_extra_says_the_command_that_installs_it():
    error = MissingRequirement.extra("torch", "train", "training")
    assert "training needs the package 'torch'" in str(error)
    assert str(error).endswith("python -m pip install 'genloom[train]'")


@pytest.mark.parametrize(
    ("value", "text"),
    [
        ("a text", "'a text'"),
        (True, "true"),
        (None, "null"),
        (0.5, "0.5"),
        ([1, "ü"], '[1, "ü"]'),
        ("a\n b", "'a b'"),
        (float("nan"), "NaN"),
    ],
)
def test_a_value_is_shown_as_people_write_it(value, text):
    assert shown(value) == text


def test_a_long_value_is_shown_in_part():
    assert len(shown("x" * 1000)) == 80
    assert shown(list(range(1000))).endswith("…")
