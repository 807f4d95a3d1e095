"""Pipeline files that are wrong: every error at its place, all of them at once."""

from dataclasses import dataclass
from pathlib import Path
from typing import Annotated

import pytest
from annotated_types import Ge
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from genloom import GenloomError, Kind, Stage, hookimpl, pipeline, yamlfile
from genloom.errors import InvalidFile


@dataclass(frozen=True, kw_only=True)
class Picky(Stage):
    """Its own checks fail in several ways."""

    name, takes, gives = "picky", Kind.IMAGE, Kind.IMAGE
    how: str = ""
    mask: Path | None = None
    size: Annotated[int, Ge(1)] = 1

    def __post_init__(self):
        if self.how == "told":
            raise GenloomError("not like this", expected="that", got="this", hint="Try that")
        if self.how == "key":
            raise KeyError("oops")


@dataclass(frozen=True, kw_only=True)
class Nudge(Stage):
    """Does something to latents."""

    name, takes, gives = "nudge", Kind.LATENT, Kind.LATENT


@dataclass(frozen=True, kw_only=True)
class Listen(Stage):
    """Makes sound of pictures."""

    name, takes, gives = "listen", Kind.IMAGE, Kind("sound")


class Plugin:
    genloom_api = 1

    @hookimpl
    def genloom_stages(self):
        return [Picky, Listen, Nudge]


@pytest.fixture
def problems_of(catalog, tmp_path, empty_place):
    """The problems of a pipeline file, one line each, without the folder of the file."""
    catalog.register(Plugin(), "picky")

    def problems_of(text, overrides=(), **how):
        path = tmp_path / "p.yaml"
        path.write_text(text, encoding="utf-8")
        with pytest.raises(InvalidFile) as caught:
            pipeline.load(path, catalog, overrides, **how)
        return [str(problem).replace(f"{tmp_path}/", "") for problem in caught.value.problems]

    return problems_of


def stages(*lines):
    return "genloom: 1\nstages:\n" + "".join(f"  - {line}\n" for line in lines)


TOP = [
    ("", "p.yaml: not a pipeline; expected `genloom: 1` and a list of `stages`, got an empty file"),
    ("- load", "p.yaml:1:1: not a pipeline; expected `genloom: 1` and a list of `stages`, got"),
    ("stages: [load, save]", "p.yaml:1:1: the version of the format is missing; expected"),
    (
        "genloom: 2\nstages: [load, save]",
        "p.yaml:1:10: this version of the format is not known; expected `genloom: 1`, got 2",
    ),
    ("genloom: true\nstages: [load, save]", "p.yaml:1:10: this version of the format is not known"),
    ("genloom: '1'\nstages: [load, save]", "p.yaml:1:10: this version of the format is not known"),
    ("genloom: 1", "p.yaml:1:1: there are no stages; expected a list of stages"),
    ("genloom: 1\nstages:", "p.yaml:2:8: there are no stages; expected a list of stages"),
    ("genloom: 1\nstages: load", "p.yaml:2:9: there are no stages; expected a list of stages, got"),
    (
        "genloom: 1\nsed: 3\nstages: [load, save]",
        "p.yaml:2:1: unknown key 'sed'. Did you mean 'seed'?",
    ),
    (
        "genloom: 1\nname: 5\nstages: [load, save]",
        "p.yaml:2:7: 'name' is not right; expected a text",
    ),
    (
        "genloom: 1\ndescription: [a]\nstages: [load, save]",
        "p.yaml:2:14: 'description' is not right",
    ),
    ("genloom: 1\nseed: -1\nstages: [load, save]", "p.yaml:2:7: the seed is not usable; expected"),
    ("genloom: 1\nseed: true\nstages: [load, save]", "p.yaml:2:7: the seed is not usable"),
    ("genloom: 1\nseed: 1.0\nstages: [load, save]", "p.yaml:2:7: the seed is not usable"),
    ("genloom: 1\nseed: 9223372036854775808\nstages: [load, save]", "p.yaml:2:7: the seed is not"),
    ("genloom: 1\nseed:\nstages: [load, save]", "p.yaml:2:6: the seed is not usable; expected a"),
    ("genloom: [1\n", "p.yaml:2:1: not valid YAML"),
]


@pytest.mark.parametrize(("text", "message"), TOP)
def test_the_top_of_a_file_is_checked(problems_of, text, message):
    (problem,) = problems_of(text)
    assert problem.startswith(message)


ENTRIES = [
    ("5", "4:5: not a stage; expected `- name` or `- name: {option: value}`, got 5"),
    ("", "4:4: not a stage"),
    ("[load]", "4:5: not a stage"),
    ("{}", "4:5: not a stage"),
    ("{crop: {aspect: 1}, width: 5}", "4:5: not a stage"),
    (
        "crop: 5",
        "4:11: the options of 'crop' are not right; expected `- crop: {option: value}`, got 5",
    ),
    ("crop: [aspect]", "4:11: the options of 'crop' are not right"),
    ("cropp: {aspect: 1.0}", "4:5: unknown stage 'cropp'. Did you mean 'crop'?"),
    ("cropp", "4:5: unknown stage 'cropp'. Did you mean 'crop'?"),
    (
        "crop: {aspct: 1.0, aspect: 2}",
        "4:12: the stage 'crop' has no option 'aspct'. Did you mean 'asp",
    ),
    (
        "crop: {aspect: wide}",
        "4:20: 'crop.aspect' is not right; expected a number above 0.01 and at mos",
    ),
    ("crop: {aspect: 0}", "4:20: 'crop.aspect' is not right"),
    ("crop: {aspect: .nan}", "4:20: 'crop.aspect' is not right"),
    (
        "crop: {width: 0}",
        "4:19: 'crop.width' is not right; expected a whole number from 1 to 100000 or",
    ),
    ("crop: {width: 1.5}", "4:19: 'crop.width' is not right"),
    (
        "crop: {width: 5, anchor: middle}",
        "4:30: 'crop.anchor' is not right; expected 'centre', 'top',",
    ),
    ("crop", "4:5: crop needs width and/or height, or aspect"),
    (
        "crop: {id: 5x, width: 5}",
        "4:16: not usable as an id; expected letters, digits, - and _, a lett",
    ),
    ("crop: {id: , width: 5}", "4:15: not usable as an id"),
    ("crop: {id: load, width: 5}", None),
    (
        "picky: {how: 5}",
        "4:18: 'picky.how' is not right; expected a text, got 5. Put it in quotes to m",
    ),
    ("picky: {how: told}", "4:5: not like this; expected that, got this. Try that"),
    ("picky: {how: key}", "4:5: the stage 'picky' failed on its options (KeyError: 'oops')"),
    (
        "picky: {mask: p.yml}",
        "4:19: 'picky.mask' names a file that is not there; got p.yml. Did you me",
    ),
    (
        "picky: {mask: gone/x.png}",
        "4:19: 'picky.mask' names a file that is not there; got gone/x.png",
    ),
    ("save: {to: '../{stem}'}", "4:5: the pattern '../{stem}' leads out of the output folder"),
]


@pytest.mark.parametrize(("entry", "message"), ENTRIES)
def test_an_entry_is_checked_at_its_place(problems_of, catalog, tmp_path, entry, message):
    text = stages("load", entry, "save")
    if message is None:
        assert pipeline.check(yamlfile.parse(text), catalog)
        return
    (problem,) = problems_of(text)
    assert problem.startswith(f"p.yaml:{message}")


def test_a_required_option_that_is_missing_is_told_at_the_stage(problems_of):
    assert problems_of(stages("load", "encode", "decode", "save")) == [
        "p.yaml:4:5: the option 'encode.model' is missing; expected the name or path of a model"
    ]


def test_an_id_that_is_used_twice_is_told_where_it_is_used_again(problems_of):
    assert problems_of(stages("load", "save: {id: a}", "save: {id: a}")) == [
        "p.yaml:5:16: the id 'a' is used twice"
    ]


CHAINS = [
    (
        ["save"],
        (
            "3:5: the stage 'save' does not fit here; expected image before it, got nothing. "
            "`load` gives image"
        ),
    ),
    (
        ["load", "decode: {model: tiny-vae}", "save"],
        (
            "4:5: the stage 'decode' does not fit here; expected latent before it, got image from"
            " 'load'. `encode` turns image into latent"
        ),
    ),
    (
        ["sample: {model: tiny-vae}", "save"],
        (
            "4:5: the stage 'save' does not fit here; expected image before it, got latent from "
            "'sample'. `decode` turns latent into image"
        ),
    ),
    (
        ["load", "sample: {model: tiny-vae}", "decode", "save"],
        (
            "4:5: the stage 'sample' does not fit here; expected latent before it, got image from"
            " 'load'. `encode` turns image into latent"
        ),
    ),
    (
        ["load", "listen", "save"],
        (
            "5:5: the stage 'save' does not fit here; expected image before it, got sound from "
            "'listen'"
        ),
    ),
    (["load", "load", "save"], "4:5: the stage 'load' can only come first"),
    (
        ["load", "animate", "save"],
        (
            "5:5: nothing is left for the stage 'save' to work on; expected image before it, got "
            "'animate', which hands nothing on"
        ),
    ),
    (
        ["load", "animate", "sample: {model: tiny-vae}", "decode", "save"],
        (
            "5:5: nothing is left for the stage 'sample' to work on; expected latent before it, "
            "got 'animate', which hands nothing on"
        ),
    ),
    (
        ["load", "resize: {scale: 2}"],
        (
            "4:5: the pipeline ends without writing anything; expected a stage that writes, such "
            "as `save` or `animate`"
        ),
    ),
    (
        ["load", "save", "grid"],
        (
            "5:5: what the stage 'grid' makes is not written; expected a stage that writes after "
            "it, such as `save`"
        ),
    ),
]


@pytest.mark.parametrize(("chain", "message"), CHAINS)
def test_stages_that_do_not_fit_are_told_with_what_would(problems_of, chain, message):
    assert problems_of(stages(*chain)) == [f"p.yaml:{message}"]


def test_what_stands_beside_an_unknown_stage_is_not_judged(problems_of):
    assert problems_of(stages("load", "encod: {model: tiny-vae}", "decode", "save")) == [
        "p.yaml:4:5: unknown stage 'encod'. Did you mean 'encode'?"
    ]


MODELS = [
    (
        ["sample: {model: tiny-vea}", "decode", "save"],
        "3:21: unknown model 'tiny-vea'. Did you mean 'tiny-vae'?",
    ),
    (
        ["sample", "decode", "save"],
        "3:5: 'sample.model' is missing; expected the name or path of a model",
    ),
    (
        ["load", "encode: {model: tiny-image}", "decode", "save"],
        (
            "4:21: the model 'tiny-image' does not do what this stage needs; expected a model "
            "with the part 'encoder', got network"
        ),
    ),
    (
        ["sample: {model: tiny-image}", "decode", "save"],
        (
            "3:21: the model 'tiny-image' does not do what this stage needs; expected a model "
            "with the part 'decoder' or 'generator', got network"
        ),
    ),
    (
        ["load", "encode: {model: tiny-vae}", "decode: {model: fashion-vae}", "save"],
        ("5:21: latents of one model mean nothing to another; expected tiny-vae, got fashion-vae"),
    ),
    (
        [
            "load",
            "encode: {model: tiny-vae}",
            "sample: {model: fashion-vae}",
            "decode: {model: tiny-vae}",
            "save",
        ],
        ("5:21: latents of one model mean nothing to another; expected tiny-vae, got fashion-vae"),
    ),
]


@pytest.mark.parametrize(("chain", "message"), MODELS)
def test_models_that_are_missing_or_do_not_fit_are_told(problems_of, chain, message):
    problems = problems_of(stages(*chain))
    assert problems[0] == f"p.yaml:{message}"
    assert len(problems) == 1 or "sample: {model: fashion-vae}" in chain


PLAIN = (
    "the stage 'sample' has no posterior to work on; expected latents that come straight from a "
    "variational model's encoder, got plain latents"
)


@pytest.mark.parametrize(
    "before",
    [
        ["sample: {model: tiny-vae, count: 2}"],
        ["load", "encode: {model: tiny-vae}", "sample: {id: first}"],
        ["load", "encode: {model: tiny-vae}", "interpolate"],
        ["load", "encode: {model: ./plain}"],
    ],
)
def test_sampling_needs_a_posterior_before_it(problems_of, tmp_path, tiny_bundles, before):
    text = (tiny_bundles / "tiny-vae/model.yaml").read_text()
    (tmp_path / "plain").mkdir()
    card = yamlfile.parse(text).data
    del card["parts"]["encoder"]["outputs"]["log_variance"]
    (tmp_path / "plain/model.yaml").write_text(yamlfile.dump(card))
    line = 3 + len(before)
    problems = problems_of(stages(*before, "sample: {count: 2}", "decode", "save"))
    assert problems == [f"p.yaml:{line}:5: {PLAIN}"]


def test_what_a_plugin_does_to_latents_is_not_judged(catalog):
    catalog.register(Plugin(), "picky")
    chain = ["load", "encode: {model: tiny-vae}", "nudge", "sample", "decode", "save"]
    assert len(pipeline.check(yamlfile.parse(stages(*chain)), catalog).steps) == 6


def test_latents_may_be_made_anew_by_another_model_after_they_were_decoded(catalog):
    chain = ["sample: {model: tiny-vae}", "decode", "encode: {model: tiny-vae}", "decode", "save"]
    assert len(pipeline.check(yamlfile.parse(stages(*chain)), catalog).steps) == 5


def test_a_damaged_card_is_told_with_its_own_lines(problems_of, tmp_path):
    (tmp_path / "bad").mkdir()
    (tmp_path / "bad" / "model.yaml").write_text("genloom: 1\nname: bad\n")
    problems = problems_of(stages("sample: {model: ./bad}", "decode", "save"))
    assert "bad/model.yaml:1:1: 'family' is missing" in problems


def test_a_model_of_a_family_that_nobody_brings_is_told(problems_of, tmp_path, tiny_bundles):
    text = (tiny_bundles / "tiny-vae" / "model.yaml").read_text()
    (tmp_path / "odd").mkdir()
    (tmp_path / "odd" / "model.yaml").write_text(
        text.replace("family: tiny-vae", "family: tiny-vea")
    )
    (problem,) = problems_of(stages("sample: {model: ./odd}", "decode", "save"))
    assert problem == (
        "p.yaml:3:21: no plugin brings the family 'tiny-vea' of the model 'tiny-vae'. "
        "Did you mean 'tiny-vae'?"
    )


EVERYTHING = """\
genloom: 3
sed: 5
seed: many
stages:
  - lod
  - resize: {wdth: 5, filter: best}
  - encode
  - sample: {count: 0}
  - decode: {model: gone}
  - crop: {width: 5, aspect: 1}
  - save: {quality: 101}
  - load
"""


def test_all_errors_of_a_file_are_told_at_once_in_its_order(problems_of):
    problems = problems_of(EVERYTHING, ["sav.quality=5"])
    assert [problem.split(": ", 1)[0] for problem in problems] == [
        "--set sav.quality=5",
        "p.yaml:1:10",
        "p.yaml:2:1",
        "p.yaml:3:7",
        "p.yaml:5:5",
        "p.yaml:6:14",
        "p.yaml:6:31",
        "p.yaml:7:5",
        "p.yaml:8:21",
        "p.yaml:9:21",
        "p.yaml:10:5",
        "p.yaml:11:21",
        "p.yaml:12:5",
    ]


def test_a_wrong_option_does_not_hide_that_stages_do_not_fit(problems_of):
    problems = problems_of(
        stages("load", "resize: {width: x}", "decode: {model: tiny-vae}", "save")
    )
    assert [problem.split(";")[0] for problem in problems] == [
        "p.yaml:4:21: 'resize.width' is not right",
        "p.yaml:5:5: the stage 'decode' does not fit here",
    ]


VALUES = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=5)
    | st.sampled_from(["load", "save", "crop", "encode", "id", "width"]),
    lambda inner: st.lists(inner, max_size=3)
    | st.dictionaries(st.text(max_size=3) | st.sampled_from(
        ["genloom", "stages", "seed", "load", "save", "crop", "width", "id", "model"]), inner,
        max_size=3),
    max_leaves=12,
)  # fmt: skip


@settings(suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(VALUES, st.lists(VALUES, max_size=4), st.lists(st.text(max_size=12), max_size=2))
def test_no_data_raises_anything_but_invalid_file(catalog, data, entries, overrides):
    for tried in (data, {"genloom": 1, "stages": entries}):
        document = yamlfile.Document("p.yaml", tried, {}, {})
        try:
            pipeline.check(document, catalog, overrides)
        except InvalidFile as error:
            assert str(error)
