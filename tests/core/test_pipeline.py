"""Pipeline files that are sound: what they become."""

import os
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated

import pytest

from genloom import Kind, ModelName, Stage, hookimpl, load_pipeline, pipeline, yamlfile
from genloom.card import CARD
from genloom.errors import GenloomError, InvalidFile, UnknownName


@dataclass(frozen=True, kw_only=True)
class Blend(Stage):
    """Blend with files."""

    name, takes, gives = "blend", Kind.IMAGE, Kind.IMAGE
    mask: Path | None = None
    others: tuple[Path, ...] = ()


@dataclass(frozen=True, kw_only=True)
class Judge(Stage):
    """Judge."""

    name, takes, gives = "judge", Kind.IMAGE, Kind.IMAGE
    model: Annotated[str | None, ModelName("network")] = None


class Blending:
    genloom_api = 1

    @hookimpl
    def genloom_stages(self):
        return [Blend, Judge]


@pytest.fixture
def read(catalog, tmp_path):
    """Reads a pipeline from the folder `tmp_path`, with these stages."""
    catalog.register(Blending(), "blending")

    def read(*stages, top="", **how):
        path = tmp_path / "mine.yaml"
        lines = "".join(f"  - {stage}\n" for stage in stages)
        path.write_text(f"genloom: 1\n{top}stages:\n{lines}")
        return pipeline.load(path, catalog, **how)

    return read


def options_of(read_pipeline):
    return {step.id: step.stage for step in read_pipeline.steps}


def test_stages_get_their_options_and_defaults(read):
    got = read("load: {recursive: false}", "resize: {width: 8}", "save:", top="seed: 7\n")
    load, resize, save = (step.stage for step in got.steps)
    assert load.recursive is False
    assert (resize.width, resize.height, resize.filter) == (8, None, "lanczos")
    assert save.format == "same"
    assert (got.name, got.seed, got.description) == ("mine", 7, "")


def test_name_description_and_seed_come_from_the_file(read):
    got = read("load", "save", top="name: yours\ndescription: It is.\nseed: 9223372036854775807\n")
    assert (got.name, got.description, got.seed) == ("yours", "It is.", 2**63 - 1)
    assert read("load", "save").seed == 0


def test_a_seed_that_is_given_stands_in_place_of_the_files(read):
    assert read("load", "save", top="seed: 7\n", seed=0).seed == 0


def test_repeated_stages_are_numbered_unless_they_have_ids(read):
    got = read("load", "save", "save", "grid: {id: save-3}", "save", "save: {id: last}")
    assert [step.id for step in got.steps] == ["load", "save", "save-2", "save-3", "save-4", "last"]


def test_sampling_and_decoding_use_the_model_of_the_latents_unless_they_say(read):
    got = read("load", "encode: {model: tiny-vae}", "sample: {count: 2}", "decode", "save")
    stages = options_of(got)
    assert stages["sample"].model == stages["decode"].model == "tiny-vae"
    assert list(got.bundles) == ["tiny-vae"]
    prior = read("sample: {model: tiny-vae}", "interpolate", "decode", "save")
    assert options_of(prior)["decode"].model == "tiny-vae"
    said = read("sample: {model: tiny-vae}", "decode: {model: tiny-vae}", "save")
    assert list(said.bundles) == ["tiny-vae"]


def test_a_model_is_found_beside_the_pipeline_file(read, tiny_bundles, tmp_path, empty_place):
    (tmp_path / "mine").symlink_to(tiny_bundles / "tiny-vae")
    assert (tmp_path / "mine" / CARD).is_file()
    got = read("sample: {model: ./mine}", "decode", "save")
    assert got.bundles["./mine"].card.name == "tiny-vae"


def test_paths_in_a_file_are_relative_to_it_and_those_of_set_to_the_working_folder(
    read, tmp_path, empty_place
):
    for place in (tmp_path, empty_place):
        (place / "m.png").touch()
    in_file = read("load", "blend: {mask: m.png, others: [m.png, m.png]}", "save")
    assert options_of(in_file)["blend"].mask == tmp_path / "m.png"
    assert options_of(in_file)["blend"].others == (tmp_path / "m.png",) * 2
    told = read("load", "blend: {mask: gone.png}", "save", overrides=["blend.mask=m.png"])
    assert options_of(told)["blend"].mask == Path("m.png")
    absolute = read("load", f"blend: {{mask: '{tmp_path / 'm.png'}'}}", "save")
    assert options_of(absolute)["blend"].mask == tmp_path / "m.png"


def test_what_is_resolved_depends_on_values_and_not_on_how_they_are_written(read):
    one = read("load", "resize: {width: 8, filter: lanczos}", "save", top="name: a\n")
    two = read("load:", "resize: {filter: lanczos, width: 8}", "save: {format: same}")
    three = read("load", "resize: {width: 9}", "save", overrides=["resize.width=8"], seed=0)
    assert one.resolved() == two.resolved() == three.resolved()
    assert one.resolved() != read("load", "resize: {width: 9}", "save").resolved()
    assert one.resolved() != read("load", "resize: {width: 8}", "save", seed=1).resolved()
    assert one.resolved()["stages"][2] == {
        "id": "save",
        "stage": "save",
        "options": {
            "format": "same",
            "quality": 95,
            "palette": True,
            "provenance": "file",
            "to": "{folder}/{stem}",
        },
    }


def test_what_is_resolved_holds_the_digests_of_models(read):
    got = read("sample: {model: tiny-vae}", "decode", "save").resolved()
    assert list(got["models"]) == ["tiny-vae"]
    assert len(got["models"]["tiny-vae"]) == 64


def test_a_pipeline_runs_by_name_or_by_path(read, catalog, tmp_path, empty_place):
    read("load", "save")
    assert pipeline.find("denoise", catalog).name == "denoise.yaml"
    assert pipeline.find(tmp_path / "mine.yaml", catalog) == tmp_path / "mine.yaml"
    (empty_place / "pipelines").mkdir()
    own = empty_place / "pipelines" / "denoise.yaml"
    own.write_text("genloom: 1\nname: own\nstages: [load, save]\n")
    assert pipeline.load("denoise", catalog).name == "own"
    assert load_pipeline("denoise", catalog=catalog).pipeline.name == "own"


def test_a_pipeline_that_is_not_there_is_told_with_the_nearest(
    catalog, read, tmp_path, empty_place
):
    read("load", "save")
    with pytest.raises(UnknownName, match=r"unknown pipeline 'denois'. Did you mean 'denoise'\?"):
        pipeline.load("denois", catalog)
    with pytest.raises(
        GenloomError, match=r"no pipeline file '.*min.yaml'. Did you mean 'mine.yaml'"
    ):
        pipeline.load(tmp_path / "min.yaml", catalog)
    with pytest.raises(GenloomError, match=r"there is no pipeline file 'gone/mine.yaml'$"):
        pipeline.load("gone/mine.yaml", catalog)
    with pytest.raises(
        GenloomError, match=r"is not a pipeline file; .* got a folder. In it: .*mine.yaml$"
    ):
        pipeline.load(tmp_path, catalog)


@pytest.mark.skipif(not hasattr(os, "mkfifo"), reason="this system has no named pipes")
def test_a_pipe_is_no_pipeline_file_and_is_not_waited_for(catalog, tmp_path):
    os.mkfifo(tmp_path / "p.yaml")
    with pytest.raises(GenloomError, match=r"not a pipeline file; .* got a pipe"):
        pipeline.load(tmp_path / "p.yaml", catalog)


def test_every_pipeline_that_ships_is_available(catalog, empty_place):
    shipped = {"denoise", "interpolate", "reconstruct", "sample", "variations"}
    assert shipped <= set(pipeline.available(catalog))


def test_a_text_is_a_pipeline_too(catalog):
    document = yamlfile.parse("genloom: 1\nstages: [load, save]")
    got = pipeline.check(document, catalog)
    assert (got.name, got.file) == ("pipeline", None)


def test_a_stage_of_a_plugin_may_have_an_optional_model_of_its_own(catalog, tmp_path):
    catalog.register(Blending(), "blending")
    document = yamlfile.parse("genloom: 1\nstages: [load, judge, save]")
    assert pipeline.check(document, catalog).bundles == {}
    document = yamlfile.parse("genloom: 1\nstages: [load, judge: {model: tiny-vae}, save]")
    with pytest.raises(InvalidFile, match="expected a model with the part 'network', got encoder"):
        pipeline.check(document, catalog)
