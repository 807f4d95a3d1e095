"""Options: one annotation gives the check, the words and the schema."""

import math
from dataclasses import dataclass, field
from pathlib import Path
from typing import Annotated, Any, Literal, Optional, Union

import pytest
from annotated_types import Ge, Gt, Interval, Le, Lt, MultipleOf
from hypothesis import given
from hypothesis import strategies as st

from genloom.options import ModelName, check, expectation, options_of, plain, schema_of, values_of


def owner_of(annotation):
    """A dataclass with the one option `it`."""
    return dataclass(frozen=True, kw_only=True)(
        type("Owner", (), {"__annotations__": {"it": annotation}, "__doc__": "Doc."})
    )


def taken(annotation, value):
    """The checked value, or None when it is refused."""
    good, problems = check(owner_of(annotation), {"it": value})
    assert bool(problems) != ("it" in good)
    return good.get("it", REFUSED)


REFUSED = object()
Auto = Union[Annotated[float, Ge(0), Le(100)], Literal["auto"]]  # noqa: UP007

TAKEN = [
    (bool, True, True),
    (int, -3, -3),
    (float, 0.5, 0.5),
    (float, 1, 1.0),
    (str, "", ""),
    (str, "1", "1"),
    (Literal["gif", "webp"], "webp", "webp"),
    (Literal[1, 2], 2, 2),
    (Optional[int], None, None),  # noqa: UP045
    (int | None, 3, 3),
    (Auto, "auto", "auto"),
    (Auto, 100, 100.0),
    (Annotated[float, Gt(0)], 1e-9, 1e-9),
    (Annotated[float, Lt(1)], 0.999, 0.999),
    (Annotated[float, Interval(ge=0, lt=1)], 0, 0.0),
    (Annotated[int, MultipleOf(8)], 16, 16),
    (tuple[int, float], [1, 2], (1, 2.0)),
    (tuple[int, ...], [], ()),
    (list[str], ["a", "b"], ["a", "b"]),
    (Path, "a/b.png", Path("a/b.png")),
    (Path | Literal["auto"], "auto", "auto"),
    (tuple[Path, ...], ["a", "b"], (Path("a"), Path("b"))),
    (Annotated[str, ModelName("encoder")], "fashion-vae", "fashion-vae"),
    (Annotated[str | None, ModelName()], None, None),
    (dict[str, float], {"a": 1}, {"a": 1.0}),
]


@pytest.mark.parametrize(("annotation", "value", "result"), TAKEN)
def test_what_fits_is_taken_as_the_field_wants_it(annotation, value, result):
    parsed = taken(annotation, value)
    assert parsed == result
    assert type(parsed) is type(result)


REFUSALS = [
    (bool, 1),
    (bool, "true"),
    (bool, "yes"),
    (bool, None),
    (int, "1"),
    (int, True),
    (int, 1.0),
    (int, 0.5),
    (float, "1"),
    (float, True),
    (float, math.nan),
    (float, math.inf),
    (float, -math.inf),
    (float, 10**400),
    (str, 1),
    (str, True),
    (str, None),
    (str, ["a"]),
    (Literal["gif", "webp"], "GIF"),
    (Literal["gif", "webp"], None),
    (Literal[1, 2], True),
    (Literal[1, 2], "1"),
    (Literal[1, 2], 3),
    (int | None, "null"),
    (Auto, "Auto"),
    (Auto, -1),
    (Auto, 100.5),
    (Auto, True),
    (Auto, math.nan),
    (Annotated[float, Gt(0)], 0),
    (Annotated[float, Lt(1)], 1),
    (Annotated[float, Interval(ge=0, lt=1)], 1),
    (Annotated[int, MultipleOf(8)], 12),
    (tuple[int, float], [1]),
    (tuple[int, float], [1, 2, 3]),
    (tuple[float, ...], [1, math.nan]),
    (tuple[int, ...], 1),
    (list[str], "ab"),
    (list[str], [1]),
    (list[float], [[1.0]]),
    (Path, 5),
    (Path, None),
    (Annotated[str, ModelName()], None),
    (dict[str, float], {"a": math.inf}),
]


@pytest.mark.parametrize(("annotation", "value"), REFUSALS)
def test_what_does_not_fit_is_refused_with_what_was_got(annotation, value):
    good, (problem,) = check(owner_of(annotation), {"it": value})
    assert good == {}
    assert problem.name == "it"
    assert problem.got is value
    assert problem.expected == expectation(annotation)


WORDS = [
    (bool, "true or false"),
    (int, "a whole number"),
    (float, "a number"),
    (str, "a text"),
    (Path, "a path"),
    (Literal["gif"], "'gif'"),
    (Literal["gif", "webp"], "'gif' or 'webp'"),
    (Literal["a", "b", 3], "'a', 'b' or 3"),
    (Literal["a", "b"] | None, "'a', 'b' or null"),
    (int | None, "a whole number or null"),
    (Auto, "a number from 0 to 100 or 'auto'"),
    (Annotated[int, Ge(1)], "a whole number of at least 1"),
    (Annotated[int, Le(9)], "a whole number of at most 9"),
    (Annotated[float, Gt(0)], "a number above 0"),
    (Annotated[float, Lt(1)], "a number below 1"),
    (Annotated[float, Gt(0), Le(64)], "a number above 0 and at most 64"),
    (Annotated[float, Gt(0), Le(64)] | None, "a number above 0 and at most 64, or null"),
    (Annotated[float, Interval(ge=0, lt=1)], "a number of at least 0 and below 1"),
    (Annotated[int, Ge(8), Le(64), MultipleOf(8)], "a whole number from 8 to 64, a multiple of 8"),
    (tuple[int, int], "a list of 2, each a whole number"),
    (tuple[int, str], "a list of 2: a whole number and a text"),
    (tuple[Annotated[float, Ge(0)], ...], "a list, each a number of at least 0"),
    (list[str], "a list, each a text"),
    (dict[str, int], "a mapping"),
    (Annotated[str, ModelName()], "the name or path of a model"),
    (Annotated[str | None, ModelName()], "the name or path of a model or null"),
]


@pytest.mark.parametrize(("annotation", "words"), WORDS)
def test_what_is_expected_reads_as_english(annotation, words):
    assert expectation(annotation) == words


@dataclass(frozen=True, kw_only=True)
class Base:
    """A base.

    Args:
        size: how large,
            in pixels.
    """

    size: Annotated[int, Ge(1)] = 8


@dataclass(frozen=True, kw_only=True)
class Derived(Base):
    """Derived.

    Args:
        model: which model.
        mask: a file.
        weights: several numbers: one each.

    Raises:
        nothing: at all.
    """

    model: Annotated[str, ModelName("encoder", "decoder")]
    mask: Path | None = None
    masks: tuple[Path, ...] = ()
    weights: tuple[float, ...] = field(default_factory=lambda: (1.0, 2.0))


def test_options_come_in_the_order_of_the_fields_with_defaults_and_descriptions():
    options = options_of(Derived)
    assert list(options) == ["size", "model", "mask", "masks", "weights"]
    assert options["size"].description == "how large, in pixels."
    assert options["weights"].description == "several numbers: one each."
    assert options["masks"].description == ""
    assert [name for name, option in options.items() if option.required] == ["model"]
    assert options["weights"].default == (1.0, 2.0)


def test_options_know_which_of_them_name_models_and_files():
    options = options_of(Derived)
    assert options["model"].model == ModelName("encoder", "decoder")
    assert options["size"].model is None
    assert [name for name, option in options.items() if option.is_path] == ["mask", "masks"]
    wrapped = options_of(owner_of(Annotated[str, ModelName("a")] | None))
    assert wrapped["it"].model == ModelName("a")


def test_of_the_parts_a_stage_asks_for_the_first_that_a_model_has_is_meant():
    mark = ModelName("encoder", "decoder|generator")
    assert mark.match(["decoder", "generator"]) == {"encoder": None, "decoder|generator": "decoder"}
    assert mark.match(["generator"])["decoder|generator"] == "generator"
    assert mark.match(["network"])["decoder|generator"] is None


def test_every_problem_is_found_at_once():
    good, problems = check(Derived, {"sise": 1, "size": 0, "mask": "m.png"})
    assert good == {"mask": Path("m.png")}
    assert {(p.name, p.unknown, p.missing) for p in problems} == {
        ("sise", True, False),
        ("size", False, False),
        ("model", False, True),
    }


def test_values_come_back_as_plain_data():
    made = Derived(model="m", mask=Path("a") / "b", masks=(Path("c"),))
    assert values_of(made) == {
        "size": 8,
        "model": "m",
        "mask": "a/b",
        "masks": ["c"],
        "weights": [1.0, 2.0],
    }
    again, problems = check(Derived, values_of(made))
    assert problems == []
    assert Derived(**again) == made
    assert plain({"a": (Path("x"), [1])}) == {"a": ["x", [1]]}


def test_the_schema_has_ranges_defaults_and_descriptions_and_refuses_unknown_keys():
    schema = schema_of(Derived)
    assert schema["type"] == "object"
    assert schema["additionalProperties"] is False
    assert schema["required"] == ["model"]
    assert schema["properties"]["size"] == {
        "type": "integer",
        "minimum": 1,
        "default": 8,
        "description": "how large, in pixels.",
    }
    assert "default" not in schema["properties"]["model"]
    assert schema["properties"]["weights"]["default"] == [1.0, 2.0]
    assert "required" not in schema_of(Base)


TYPES: dict[str, Any] = {
    "boolean": bool,
    "integer": int,
    "number": (int, float),
    "string": str,
    "null": type(None),
    "array": list,
    "object": dict,
}


def allows(schema, value):
    """The part of JSON Schema that options need; unknown words are an error."""
    known = {"type", "anyOf", "const", "enum", "minimum", "maximum", "exclusiveMinimum",
             "exclusiveMaximum", "multipleOf", "items", "prefixItems", "minItems", "maxItems",
             "format", "additionalProperties"}  # fmt: skip
    assert set(schema) <= known, set(schema) - known
    number = isinstance(value, int | float) and not isinstance(value, bool)
    same = [value == one and isinstance(value, bool) == isinstance(one, bool)
            for one in schema.get("enum", [schema.get("const", value)])]  # fmt: skip
    holds = [
        any(allows(part, value) for part in schema["anyOf"]) if "anyOf" in schema else True,
        any(same),
        "type" not in schema or (
            isinstance(value, TYPES[schema["type"]])
            and (schema["type"] == "boolean" or not isinstance(value, bool))
        ),
    ]  # fmt: skip
    if number:
        holds += [
            value >= schema.get("minimum", value),
            value <= schema.get("maximum", value),
            value > schema.get("exclusiveMinimum", -math.inf),
            value < schema.get("exclusiveMaximum", math.inf),
            value % schema.get("multipleOf", 1 if isinstance(value, int) else value or 1) == 0,
        ]
    if isinstance(value, list):
        ends = schema.get("prefixItems", [])
        holds += [allows(part, one) for part, one in zip(ends, value, strict=False)]
        rest = value[len(ends) :]
        holds += [allows(schema["items"], one) for one in rest if "items" in schema]
        holds += [schema.get("minItems", 0) <= len(value) <= schema.get("maxItems", 1e9)]
    if isinstance(value, dict) and isinstance(schema.get("additionalProperties"), dict):
        holds += [allows(schema["additionalProperties"], one) for one in value.values()]
    return all(holds)


def schema_of_it(annotation):
    return schema_of(owner_of(annotation))["properties"]["it"]


FINITE = [case[:2] for case in TAKEN] + [
    case
    for case in REFUSALS
    # JSON knows no infinity, and takes 1.0 for an integer and for the constant 1.
    if "inf" not in str(case[1]) and "nan" not in str(case[1])
    if case[1] != 10**400 and (type(case[1]), case[1]) != (float, 1.0)
]


@pytest.mark.parametrize(("annotation", "value"), FINITE)
def test_the_schema_takes_and_refuses_what_the_check_does(annotation, value):
    allowed = allows(schema_of_it(annotation), value)
    assert allowed == (taken(annotation, value) is not REFUSED)


VALUES = st.recursive(
    st.none() | st.booleans() | st.integers(-200, 200) | st.sampled_from([0.5, 99.9, -0.1])
    | st.sampled_from(["auto", "gif", "webp", "", "1"]),
    lambda inner: st.lists(inner, max_size=3),
    max_leaves=4,
)  # fmt: skip


@given(st.sampled_from([annotation for annotation, _ in WORDS]), VALUES)
def test_schema_and_check_agree_on_any_value(annotation, value):
    allowed = allows(schema_of_it(annotation), value)
    assert allowed == (taken(annotation, value) is not REFUSED)
