"""The schema of pipeline files, and checking any file that people write."""

import json

import pytest

from genloom import hookimpl
from genloom.errors import InvalidFile, PluginError, Problem, UnknownName
from genloom.pipeline import FORMAT, MAX_SEED, schema
from genloom.validate import PIPELINE, schema_of_kind, validate_file
from genloom.yamlfile import Format

PIPELINE_TEXT = "genloom: 1\nstages: [load, save]\n"


def stage_schemas(catalog):
    """For each stage: the schema of its options, and whether its bare name is an entry too."""
    found = {}
    for entry in schema(catalog)["properties"]["stages"]["items"]["anyOf"]:
        named = entry.get("anyOf", [entry])[0]
        ((name, values),) = named["properties"].items()
        options = values.get("anyOf", [values])[0]
        found[name] = (options, {"const": name} in entry.get("anyOf", []))
    return found


def test_the_schema_is_plain_json_with_the_top_level_keys(catalog):
    made = json.loads(json.dumps(schema(catalog), allow_nan=False))
    assert made["$schema"].startswith("https://json-schema.org/draft/2020-12")
    assert made["additionalProperties"] is False
    assert made["required"] == ["genloom", "stages"]
    assert made["properties"]["genloom"]["const"] == FORMAT
    assert made["properties"]["seed"]["maximum"] == MAX_SEED
    assert set(made["properties"]) == {"genloom", "name", "description", "seed", "stages"}


def test_the_schema_has_every_stage_with_its_options_and_an_id(catalog):
    found = stage_schemas(catalog)
    assert set(found) == set(catalog.stages())
    options, bare = found["save"]
    assert set(options["properties"]) == {
        *("format", "quality", "palette", "provenance", "to", "id")
    }
    assert options["properties"]["quality"]["maximum"] == 100
    assert options["additionalProperties"] is False
    assert bare


def test_every_option_of_the_spine_is_described(catalog):
    for name, (options, _) in stage_schemas(catalog).items():
        if not catalog.stage_owner(name).builtin:
            continue
        for option, said in options["properties"].items():
            assert option == "id" or said.get("description"), f"{name}.{option}"


def test_a_stage_that_needs_an_option_cannot_stand_alone(catalog):
    options, bare = stage_schemas(catalog)["encode"]
    assert options["required"] == ["model"]
    assert not bare


@pytest.fixture
def with_format(catalog, tmp_path):
    """The catalog with a kind of file that is known by its key `score`."""

    def check(document, catalog):
        wrong = document.data["score"] != 1
        return [document.problem(("score",), "not right", expected="1")] if wrong else []

    (tmp_path / "named.yaml").write_text("score: 1\n")
    named = {"sonata": tmp_path / "named.yaml", "denoise": tmp_path / "gone.yaml"}
    made = Format("score", check, lambda catalog: {"title": "score"}, lambda: named)

    class Scores:
        genloom_api = 1

        @hookimpl
        def genloom_formats(self):
            return [made]

    plugin = Scores()
    assert catalog.register(plugin, "scores").error == ""
    return catalog


def test_a_file_is_checked_as_what_its_keys_say(with_format, tmp_path):
    path = tmp_path / "f.yaml"
    path.write_text(PIPELINE_TEXT)
    assert validate_file(str(path), with_format) == PIPELINE
    path.write_text("score: 1\n")
    assert validate_file(str(path), with_format) == "score"
    path.write_text("# none\nscore: 2\n")
    with pytest.raises(InvalidFile) as caught:
        validate_file(str(path), with_format)
    assert caught.value.problems == (Problem("not right", str(path), 2, 8, expected="1"),)


def test_a_file_of_any_kind_is_checked_by_name_and_pipelines_go_first(with_format, empty_place):
    assert validate_file("sonata", with_format) == "score"
    own = empty_place / "pipelines" / "denoise.yaml"
    own.parent.mkdir()
    own.write_text(PIPELINE_TEXT)
    assert validate_file("denoise", with_format) == PIPELINE


def test_a_name_that_nobody_brings_is_told_with_the_nearest(catalog, empty_place):
    with pytest.raises(UnknownName, match="Did you mean 'denoise'"):
        validate_file("denoisy", catalog)


@pytest.mark.parametrize("text", ["", "5", "[score]", "skore: 1"])
def test_what_is_no_known_kind_is_checked_as_a_pipeline(with_format, tmp_path, text):
    path = tmp_path / "f.yaml"
    path.write_text(text)
    with pytest.raises(InvalidFile):
        validate_file(str(path), with_format)


def test_each_kind_of_file_has_its_schema(with_format):
    assert schema_of_kind(PIPELINE, with_format)["title"] == "genloom pipeline"
    assert schema_of_kind("score", with_format) == {"title": "score"}
    with pytest.raises(UnknownName, match=r"unknown kind of file 'skore'. Did you mean 'score'"):
        schema_of_kind("skore", with_format)


def test_a_format_that_falls_over_is_blamed_on_its_plugin_and_harms_no_other(catalog, tmp_path):
    def stumbles(*arguments):
        raise RuntimeError("fell over")

    class Songs:
        genloom_api = 1

        @hookimpl
        def genloom_formats(self):
            return [Format("song", stumbles, stumbles, stumbles)]

    plugin = catalog.register(Songs(), "songs")
    assert validate_file("denoise", catalog) == PIPELINE
    assert plugin.error == "its format 'song' failed: RuntimeError: fell over"
    path = tmp_path / "f.yaml"
    path.write_text("song: 1\n")
    with pytest.raises(PluginError, match=r"songs .*its format 'song' failed"):
        validate_file(str(path), catalog)
    with pytest.raises(PluginError, match=r"songs .*its format 'song' failed"):
        schema_of_kind("song", catalog)
