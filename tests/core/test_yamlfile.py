"""YAML as plain data with lines and columns; anything else is one clear error."""

import json

import pytest
from hypothesis import assume, given
from hypothesis import strategies as st
from pydantic import BaseModel, ConfigDict

from genloom import limits, yamlfile
from genloom.errors import InvalidFile


def problem_of(text):
    """The one problem of a text, as it is printed."""
    with pytest.raises(InvalidFile) as caught:
        yamlfile.parse(text, "f.yaml")
    (problem,) = caught.value.problems
    return str(problem)


@pytest.mark.parametrize(
    ("text", "value"),
    [
        ("1", 1),
        ("-12", -12),
        ("+5", 5),
        ("007", 7),
        ("0o17", 15),
        ("0x1F", 31),
        ("0o18", "0o18"),
        ("0x", "0x"),
        ("1_000", "1_000"),
        ("12:30", "12:30"),
        ("1.5", 1.5),
        ("1.", 1.0),
        (".5", 0.5),
        ("1e-3", 0.001),
        ("1E5", 1e5),
        ("-2.5e+3", -2500.0),
        (".inf", float("inf")),
        ("-.inf", float("-inf")),
        ("+.INF", float("inf")),
        ("true", True),
        ("false", False),
        ("True", True),
        ("FALSE", False),
        ("tRue", "tRue"),
        ("yes", "yes"),
        ("no", "no"),
        ("on", "on"),
        ("off", "off"),
        ("y", "y"),
        ("null", None),
        ("~", None),
        ("", None),
        ("Null", None),
        ("nULL", "nULL"),
        ("2024-01-02", "2024-01-02"),
        ("'1'", "1"),
        ('"true"', "true"),
        ("=", "="),
        ("[1, a, [true]]", [1, "a", [True]]),
        ("{a: 1, b: }", {"a": 1, "b": None}),
        ("1: x", {"1": "x"}),
        ("<<: {a: 1}", {"<<": {"a": 1}}),
        ("|\n  two\n  lines\n", "two\nlines\n"),
    ],
)
def test_values_are_those_of_yaml_1_2(text, value):
    got = yamlfile.scalar(text)
    assert got == value
    assert type(got) is type(value)


def test_not_a_number_is_a_number_of_yaml():
    assert [str(yamlfile.scalar(text)) for text in (".nan", ".NaN", ".nAn")] == [
        "nan",
        "nan",
        ".nAn",
    ]


TEXT = """\
# a comment
genloom: 1
größe: [1, two]
stages:
  - load
  - denoise: {sigma: 25,
              strength: 0.5}
  - "save":
      format: png
"""


def test_every_key_and_value_has_its_line_and_column():
    document = yamlfile.parse(TEXT, "f.yaml")
    stages = ("stages",)
    assert document.keys[("genloom",)] == (2, 1)
    assert document.values[("genloom",)] == (2, 10)
    assert document.values[("größe", 1)] == (3, 12)
    assert document.values[(*stages, 0)] == (5, 5)
    assert document.keys[(*stages, 1, "denoise")] == (6, 5)
    assert document.values[(*stages, 1, "denoise")] == (6, 14)
    assert document.keys[(*stages, 1, "denoise", "strength")] == (7, 15)
    assert document.values[(*stages, 1, "denoise", "strength")] == (7, 25)
    assert document.keys[(*stages, 2, "save")] == (8, 5)
    assert document.values[(*stages, 2, "save", "format")] == (9, 15)
    assert document.data["stages"][2] == {"save": {"format": "png"}}


def test_a_problem_stands_at_its_value_at_its_key_or_at_what_encloses_it():
    document = yamlfile.parse(TEXT, "f.yaml")
    where = ("stages", 1, "denoise", "sigma")
    assert str(document.problem(where, "x")) == "f.yaml:6:22: x"
    assert str(document.problem(where, "x", at_key=True)) == "f.yaml:6:15: x"
    assert str(document.problem((*where[:3], "gone"), "x")) == "f.yaml:6:14: x"
    assert str(document.problem(("gone", 5, "x"), "x")) == "f.yaml:2:1: x"
    empty = yamlfile.parse("", "f.yaml")
    assert str(empty.problem(("gone",), "x")) == "f.yaml: x"


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("a: 1\nb: 2\na: 3", "f.yaml:3:1: 'a' is given twice"),
        ("x: {a: 1, a: 2}", "f.yaml:1:11: 'a' is given twice"),
        ("1: a\n'1': b", "f.yaml:2:1: '1' is given twice"),
        ("a: &here 1", "f.yaml:1:4: anchors and aliases are not used"),
        ("a: [1, *here]", "f.yaml:1:8: anchors and aliases are not used"),
        ("&a : 1", "f.yaml:1:1: anchors and aliases are not used"),
        ("a: !!python/name:os.system x", "f.yaml:1:4: tags such as '!!python/name:os.system'"),
        ("a: !!int x", "f.yaml:1:4: tags such as '!!int'"),
        ("a: !mine [1]", "f.yaml:1:4: tags such as '!mine'"),
        ("!!set {a}", "f.yaml:1:1: tags such as '!!set'"),
        ("!!str a: 1", "f.yaml:1:1: tags such as '!!str'"),
        ("? [a]\n: 1", "f.yaml:1:3: a key must be a plain word"),
        ("a: [1", "f.yaml:1:6: not valid YAML: while parsing a flow sequence, expected ','"),
        ("a: b: c", "f.yaml:1:5: not valid YAML: mapping values are not allowed here"),
        ("a:\n\t- b", "f.yaml:2:1: not valid YAML"),
        ("a: '", "f.yaml:1:5: not valid YAML: while scanning a quoted scalar"),
        ("a: 1\n---\nb: 2", "f.yaml:2:1: not valid YAML: expected a single document"),
        ("a: 1\nb: x\x07", "f.yaml:2:5: not valid YAML: the character U+0007 is not allowed"),
        ("\x00", "f.yaml:1:1: not valid YAML: the character U+0000 is not allowed"),
        ('a: "\\UFFFFFFFF"', "f.yaml: not valid YAML: no such character"),
        ('a: "\\ud800"', "f.yaml:1:4: half a character is not a text"),
        ("%YAML 9.9\n---\na: 1", "f.yaml:1:1: not valid YAML"),
    ],
)
def test_what_is_not_plain_yaml_is_refused_at_its_place(text, message):
    assert problem_of(text).startswith(message)


def test_all_repeated_keys_are_told_at_once():
    with pytest.raises(InvalidFile) as caught:
        yamlfile.parse("a: 1\na: 2\nb: {c: 1, c: 2}")
    assert len(caught.value.problems) == 2


@pytest.mark.parametrize("opening", ["[", "{a: ", "- ", "a:\n "])
def test_deep_nesting_is_refused_before_it_costs_anything(opening):
    text = opening * 100_000
    if opening == "a:\n ":
        text = "\n".join(" " * n + "a:" for n in range(500))
    assert "nested too deeply" in problem_of(text)


def test_nesting_as_deep_as_allowed_is_read():
    depth = limits.MAX_YAML_DEPTH
    data = yamlfile.parse("[" * depth + "]" * depth).data
    for _ in range(depth - 1):
        (data,) = data
    assert data == []


def read(tmp_path, content):
    path = tmp_path / "f.yaml"
    path.write_bytes(content)
    return yamlfile.read(path)


def test_files_are_read_with_and_without_a_byte_order_mark_and_with_any_line_ends(tmp_path):
    for content in (b"a: 1\nb: 2", b"\xef\xbb\xbfa: 1\nb: 2", b"a: 1\r\nb: 2\r\n"):
        document = read(tmp_path, content)
        assert document.data == {"a": 1, "b": 2}
        assert document.keys == {("a",): (1, 1), ("b",): (2, 1)}


@pytest.mark.parametrize("content", [b"", b"\n", b"# only a comment\n", b"\xef\xbb\xbf"])
def test_an_empty_file_is_nothing(tmp_path, content):
    assert read(tmp_path, content).data is None


def test_a_file_that_is_no_text_is_refused_by_name(tmp_path):
    with pytest.raises(InvalidFile, match=r"f\.yaml: not a text file; expected UTF-8"):
        read(tmp_path, b"a: \xff\xfe")
    with pytest.raises(InvalidFile, match="not a text file"):
        read(tmp_path, "a: 1".encode("utf-16"))


def test_a_huge_file_is_refused_unread(tmp_path):
    with pytest.raises(InvalidFile, match="too large; expected at most 1000000"):
        read(tmp_path, b"#" * (limits.MAX_YAML_BYTES + 1))


def test_a_file_that_is_not_there_or_no_file_is_refused(tmp_path):
    with pytest.raises(InvalidFile, match="cannot be read"):
        yamlfile.read(tmp_path / "gone.yaml")
    with pytest.raises(InvalidFile, match="cannot be read"):
        yamlfile.read(tmp_path)


YAMLISH = st.text(st.sampled_from("ab1.:-#?&*!|>'\"%@`{}[], \n\t\\uUx0d8~\ufeff\ud800é😀\x00\x85"))


@given(st.one_of(st.text(), YAMLISH))
def test_no_text_raises_anything_but_invalid_file(text):
    try:
        yamlfile.parse(text)
    except InvalidFile as error:
        assert all(str(problem) for problem in error.problems)


@given(st.binary())
def test_no_bytes_raise_anything_but_invalid_file(tmp_path_factory, content):
    path = tmp_path_factory.mktemp("any") / "f.yaml"
    path.write_bytes(content)
    try:
        yamlfile.read(path)
    except InvalidFile as error:
        assert str(path) in str(error)


TEXTS = st.text(st.characters(exclude_categories=["Cs"]))
DATA = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False) | TEXTS,
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(TEXTS, inner, max_size=3),
    max_leaves=8,
)
TRICKY = ["1e3", "09", "yes", "1:30", "~", "null", "0x1f", "1_0", ".5", "2024-01-02", "-", "<<", ""]


@given(DATA | st.sampled_from(TRICKY) | st.dictionaries(st.sampled_from(TRICKY), TEXTS))
def test_what_is_dumped_is_read_back_as_it_was(data):
    assert yamlfile.parse(yamlfile.dump(data)).data == data


KEY = 1024
"""YAML reads a key on one line up to this many characters; JSON knows no such limit."""


def keys_of(data):
    if isinstance(data, dict):
        return [*data, *(key for value in data.values() for key in keys_of(value))]
    return [key for value in data for key in keys_of(value)] if isinstance(data, list) else []


@given(DATA)
def test_json_is_read_as_yaml(data):
    assume(all(len(json.dumps(key)) < KEY for key in keys_of(data)))
    try:
        text = json.dumps(data, allow_nan=False)
    except ValueError:  # JSON knows no infinity
        return
    assert yamlfile.scalar(text) == data


class Wheel(BaseModel):
    model_config = ConfigDict(extra="forbid")
    radius: float = 1.0
    spokes: int


class Cart(BaseModel):
    model_config = ConfigDict(extra="forbid")
    name: str
    wheels: dict[str, Wheel] = {}
    spare: Wheel | None = None
    load: int | str = 0
    sizes: tuple[int, int] = (1, 2)


CART = """\
nmae: cart
wheels:
  front: {radius: wide, spokes: 8}
  back: {spoke: 8}
spare: 5
load: [1]
sizes: [1]
"""


def test_every_problem_of_a_model_is_told_at_its_place_with_the_nearest_key():
    with pytest.raises(InvalidFile) as caught:
        yamlfile.validated(yamlfile.parse(CART, "f.yaml"), Cart)
    assert str(caught.value).splitlines() == [
        "f.yaml:1:1: 'name' is missing",
        "f.yaml:1:1: unknown key 'nmae'. Did you mean 'name'?",
        "f.yaml:3:19: 'wheels.front.radius' is not right; expected a number, got 'wide'",
        "f.yaml:4:9: 'wheels.back.spokes' is missing",
        "f.yaml:4:10: unknown key 'spoke'. Did you mean 'spokes'?",
        "f.yaml:5:8: 'spare' is not right; expected a mapping of keys to values, got 5",
        "f.yaml:6:7: 'load' is not right; expected a whole number, got [1]",
        "f.yaml:7:8: 'sizes.1' is missing",
    ]


def test_a_sound_document_becomes_the_model():
    cart = yamlfile.validated(yamlfile.parse("name: x\nspare: {spokes: 3}"), Cart)
    assert cart == Cart(name="x", spare=Wheel(spokes=3))


@pytest.mark.parametrize(("text", "got"), [("", "nothing"), ("5", "5"), ("[a]", '["a"]')])
def test_a_document_that_is_no_mapping_is_refused_as_a_whole(text, got):
    with pytest.raises(InvalidFile, match="the file is not right") as caught:
        yamlfile.validated(yamlfile.parse(text, "f.yaml"), Cart)
    assert str(caught.value).endswith(f"expected a mapping of keys to values, got {got}")
