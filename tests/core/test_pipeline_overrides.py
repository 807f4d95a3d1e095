"""`--set stage.option=value` and `--seed`."""

import pytest

from genloom import load_pipeline, pipeline
from genloom.errors import InvalidFile

CHAIN = """\
genloom: 1
stages:
  - load
  - resize: {width: 8}
  - save
  - grid
  - save: {id: sheet, quality: 50}
"""


@pytest.fixture
def told(catalog, tmp_path, empty_place):
    """Reads the chain with overrides; gives its stages by id."""

    def told(*overrides, text=CHAIN):
        path = tmp_path / "p.yaml"
        path.write_text(text)
        read = pipeline.load(path, catalog, overrides)
        assert read.overrides == overrides
        return {step.id: step.stage for step in read.steps}

    return told


def refusals(told, *overrides, text=CHAIN):
    with pytest.raises(InvalidFile) as caught:
        told(*overrides, text=text)
    return [str(problem) for problem in caught.value.problems]


def test_an_option_is_set_by_id_or_by_a_name_that_is_unique(told):
    stages = told("sheet.quality=7", "save.quality=8", "grid.columns=3", "load.recursive=false")
    assert stages["sheet"].quality == 7
    assert stages["save"].quality == 8
    assert stages["grid"].columns == 3
    assert stages["load"].recursive is False


def test_a_name_stands_for_the_only_stage_of_that_name_whatever_its_id(told):
    text = CHAIN.replace("resize: {", "resize: {id: small, ")
    assert told("resize.width=3", text=text)["small"].width == 3
    assert told("small.width=4", text=text)["small"].width == 4


def test_an_id_goes_before_a_name(told):
    text = CHAIN.replace("grid", "grid: {id: resize}").replace("resize: {w", "resize: {id: r, w")
    assert told("resize.columns=2", text=text)["resize"].columns == 2


def test_the_last_of_several_counts(told):
    assert told("save.quality=7", "save.quality=8")["save"].quality == 8


def test_an_override_may_mend_what_is_wrong_in_the_file(told):
    text = CHAIN.replace("{width: 8}", "{width: wrong}")
    assert told("resize.width=5", text=text)["resize"].width == 5


@pytest.mark.parametrize(
    ("value", "got"),
    [("null", None), ("~", None), ("", None), (" 5 ", 5)],
)
def test_values_are_read_as_in_a_file(told, value, got):
    assert told(f"grid.columns={value}")["grid"].columns == got


def test_spaces_around_the_parts_do_not_matter(told):
    assert told(" grid . columns = 3")["grid"].columns == 3


def test_a_value_may_hold_dots_and_equals_signs(told):
    assert told("save.to=a.b=c/{stem}")["save"].to == "a.b=c/{stem}"


@pytest.mark.parametrize(
    ("override", "message"),
    [
        ("quality=5", "not an override; expected stage.option=value"),
        ("save.quality", "not an override; expected stage.option=value"),
        (".quality=5", "not an override; expected stage.option=value"),
        ("save.=5", "not an override; expected stage.option=value"),
        ("", "not an override; expected stage.option=value"),
        ("seed=5", "not an override; expected stage.option=value. The seed is set with --seed"),
        ("sav.quality=5", "the pipeline has no stage 'sav'. Did you mean 'save'?"),
        ("save.qality=5", "the stage 'save' has no option 'qality'. Did you mean 'quality'?"),
        (
            "save.quality=0",
            "'save.quality' is not right; expected a whole number from 1 to 100, got 0",
        ),
        (
            "save.quality=high",
            "'save.quality' is not right; expected a whole number from 1 to 100, got",
        ),
        ("save.quality=[", "not valid YAML"),
        (
            "save.to=5",
            "'save.to' is not right; expected a text, got 5. Put it in quotes to make it a",
        ),
        ("save.id=five", "an id cannot be overridden. Set it in the file"),
        ("save.to=&a b", "anchors and aliases are not used"),
    ],
)
def test_a_wrong_override_is_told_as_it_was_written(told, override, message):
    (problem,) = refusals(told, override)
    assert problem.startswith(f"--set {override}: {message}")


def test_a_repeated_stage_goes_by_the_number_that_its_plan_shows(told):
    text = CHAIN.replace("id: sheet, ", "")
    assert "save-2" in told(text=text)
    assert told("save-2.quality=5", text=text)["save-2"].quality == 5
    (problem,) = refusals(told, "save-3.quality=5", text=text)
    assert problem.endswith("the pipeline has no stage 'save-3'. Did you mean 'save-2'?")


def test_a_name_of_several_stages_is_ambiguous(told):
    labelled = CHAIN.replace("- save\n", "- save: {id: first}\n")
    assert refusals(told, "save.quality=5", text=labelled) == [
        "--set save.quality=5: several stages are called 'save'; expected 'first' or 'sheet'"
    ]
    unlabelled = CHAIN.replace("id: sheet, ", "")
    assert refusals(told, "save.quality=5", text=unlabelled) == [
        "--set save.quality=5: several stages are called 'save'. "
        "Give each an id in the file: `save: {id: …}`"
    ]


def test_a_model_that_an_override_names_is_told_there(told):
    text = "genloom: 1\nstages:\n- sample: {model: tiny-vae}\n- decode\n- save\n"
    assert told("sample.model=tiny-vae", text=text)["decode"].model == "tiny-vae"
    (problem,) = refusals(told, "sample.model=tiny-vea", text=text)
    assert (
        problem == "--set sample.model=tiny-vea: unknown model 'tiny-vea'. Did you mean 'tiny-vae'?"
    )


def test_a_model_path_in_an_override_is_relative_to_the_working_folder(
    told, tiny_bundles, tmp_path, empty_place
):
    text = "genloom: 1\nstages:\n- sample: {model: tiny-vae}\n- decode\n- save\n"
    (tmp_path / "there").symlink_to(tiny_bundles / "tiny-vae")
    (problem,) = refusals(told, "sample.model=./there", text=text)
    assert "unknown model './there'" in problem
    (empty_place / "there").symlink_to(tiny_bundles / "tiny-vae")
    assert told("sample.model=./there", text=text)["sample"].model == "./there"


def test_overrides_may_be_given_as_values_in_python(catalog, tmp_path):
    path = tmp_path / "p.yaml"
    path.write_text(CHAIN)
    values = {"resize.width": None, "resize.scale": 0.5, "save.to": "größe-😀-{stem}: #1"}
    loaded = load_pipeline(path, values, catalog=catalog, seed=3).pipeline
    resize, save = loaded.steps[1].stage, loaded.steps[2].stage
    assert (resize.width, resize.scale, save.to) == (None, 0.5, values["save.to"])
    assert loaded.seed == 3


@pytest.mark.parametrize("seed", [-1, 2**63])
def test_a_seed_out_of_range_is_refused(catalog, tmp_path, seed):
    path = tmp_path / "p.yaml"
    path.write_text(CHAIN)
    with pytest.raises(InvalidFile, match=rf"--seed {seed}: the seed is not usable; expected"):
        pipeline.load(path, catalog, seed=seed)


@pytest.mark.parametrize(
    ("override", "message"),
    [
        ("save.format=heic", "heic is written by the package"),
        ("save.to=../{stem}", "the pattern '../{stem}' leads out of the output folder"),
        ("load.guides={normal: a.png}", "the guide 'normal' needs a path"),
        ("resize.scale=2", "resize needs"),
    ],
)
def test_what_a_stage_itself_refuses_is_told_where_it_was_set(told, override, message, monkeypatch):
    monkeypatch.setattr("genloom.imaging.can_write", lambda ending: ending != ".heic")
    (problem,) = refusals(told, override)
    assert problem.startswith(f"--set {override}: {message}")


def test_an_override_that_changes_nothing_is_not_blamed_for_what_the_file_says(told, tmp_path):
    text = CHAIN.replace("- save\n", "- save: {to: ../here}\n")
    (problem,) = refusals(told, "save.quality=5", text=text)
    assert problem.startswith(f"{tmp_path / 'p.yaml'}:5:5: the pattern '../here'")
    (problem,) = refusals(told, "save.quality=5", "save.to=../there", text=text)
    assert problem.startswith("--set save.to=../there: the pattern '../there'")


def test_of_several_overrides_that_do_not_go_together_the_last_is_told(told):
    (problem,) = refusals(
        told, "grid.columns=2", "resize.width=null", "resize.scale=2", "resize.height=3"
    )
    assert problem.startswith("--set resize.height=3: resize needs")


SAMPLE = "genloom: 1\nstages:\n- sample: {model: tiny-cvae, label: bag}\n- decode\n- save\n"


@pytest.mark.parametrize(
    ("overrides", "place", "message"),
    [
        (["sample.label=bga"], "--set sample.label=bga", "unknown class 'bga'. Did you mean"),
        (["sample.model=tiny-vae"], "--set sample.model=tiny-vae", "the model 'tiny-vae' knows no"),
        (
            ["sample.model=tiny-vae", "sample.label=boot"],
            "--set sample.label=boot",
            "the model 'tiny-vae' knows no classes",
        ),
        (["sample.count=2"], "p.yaml:3:37", "unknown class 'bga'"),
    ],
)
def test_options_that_do_not_go_with_the_model_are_told_where_they_were_set(
    told, overrides, place, message
):
    text = SAMPLE if "p.yaml" not in place else SAMPLE.replace("bag", "bga")
    (problem,) = refusals(told, *overrides, text=text)
    assert f"{place}: {message}" in problem


def test_a_model_that_an_override_takes_away_is_told_there(told):
    (problem,) = refusals(told, "sample.model=null", "sample.label=null", text=SAMPLE)
    assert problem.startswith("--set sample.model=null: 'sample.model' is missing")
