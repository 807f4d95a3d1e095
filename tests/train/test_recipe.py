"""Recipes: every mistake at its line and column, and the recipes that ship."""

import math
from dataclasses import dataclass
from pathlib import Path

import pytest

from genloom import yamlfile
from genloom.backend import Backend
from genloom.catalog import Catalog
from genloom.errors import GenloomError, InvalidFile, UnknownName
from genloom_train import plugin, recipe_check
from genloom_train.options import TrainOptions
from genloom_train.recipe import find_recipe, read_recipe, shipped_recipes

GOOD = """\
genloom: 1
recipe: vae
data: {dataset: dead-leaves, count: 4, size: 32, crop: 16}
model: {latent: 3}
train: {steps: 10, batch: 4}
export: {name: tiny}
"""


@pytest.fixture(scope="module")
def catalog():
    import genloom_ae
    import genloom_classifier
    import genloom_denoise
    import genloom_gan
    import genloom_style
    import genloom_upscale
    import genloom_vae

    catalog = Catalog()
    for module in (
        plugin,
        genloom_ae,
        genloom_classifier,
        genloom_gan,
        genloom_vae,
        genloom_denoise,
        genloom_style,
        genloom_upscale,
    ):
        assert not catalog.register(module).error
    return catalog


def read(text, catalog, tmp_path, *overrides):
    path = tmp_path / "recipe.yaml"
    path.write_text(text)
    return read_recipe(path, catalog, overrides)


def problems(text, catalog, tmp_path, *overrides):
    with pytest.raises(InvalidFile) as caught:
        read(text, catalog, tmp_path, *overrides)
    return caught.value.problems


def test_a_recipe_is_read_into_its_options(catalog, tmp_path):
    found = read(GOOD, catalog, tmp_path)
    assert (found.family, found.model.latent, found.train.steps) == ("vae", 3, 10)
    assert found.data.crop == 16
    assert len(found.sha256) == 64


def test_a_good_recipe_with_everything_at_its_default_has_no_problem(catalog):
    document = yamlfile.parse(GOOD)
    assert plugin.genloom_formats()[0].check(document, catalog) == []


def test_all_problems_are_found_at_once_each_at_its_place(catalog, tmp_path):
    text = """\
genloom: 1
recipe: vae
data: {dataset: dead-leafs}
model:
  latents: 3
  beta: -1
train: {steps: ten}
exports: {name: tiny}
export: {name: "../tiny"}
"""
    found = {(p.line, p.column): p for p in problems(text, catalog, tmp_path)}
    assert set(found) == {(3, 17), (5, 3), (6, 9), (7, 16), (8, 1), (9, 16)}
    assert "Did you mean 'dead-leaves'?" in str(found[3, 17])
    assert "Did you mean 'latent'?" in str(found[5, 3])
    assert "from 0 to 1000" in str(found[6, 9])
    assert "Did you mean 'export'?" in str(found[8, 1])


@pytest.mark.parametrize(
    ("before", "after", "said"),
    [
        ("recipe: vae", "recipe: vea", "Did you mean 'vae'?"),
        ("recipe: vae\n", "", "'recipe' is missing"),
        ("genloom: 1", "genloom: 2", "version"),
        ("export: {name: tiny}", "", "'export.name' is missing"),
        ("steps: 10, ", "", "either 'steps' or 'epochs'"),
        ("steps: 10, ", "steps: 10, epochs: 2, ", "either 'steps' or 'epochs'"),
        ("batch: 4}", "batch: 4, keep: best}", "'train.keep' goes by a figure"),
        ("batch: 4}", "batch: 4, patience: 3}", "'train.patience' goes by a figure"),
        ("batch: 4}", "batch: 4, watch: kl}", "a figure that nothing goes by"),
        ("batch: 4}", "batch: 4, watch: kl, keep: bets}", "expected 'last' or 'best'"),
        ("model: {latent: 3}", "model: 3", "'model' is a mapping"),
        ("dataset: dead-leaves, ", "", "'data.dataset' is missing"),
    ],
)
def test_a_mistake_is_named(before, after, said, catalog, tmp_path):
    assert before in GOOD
    found = problems(GOOD.replace(before, after), catalog, tmp_path)
    assert any(said in str(problem) for problem in found), [str(p) for p in found]


def test_a_file_that_is_no_mapping_is_refused(catalog, tmp_path):
    assert "mapping" in str(problems("- 1\n", catalog, tmp_path)[0])


def test_overrides_change_options_and_are_checked(catalog, tmp_path):
    found = read(GOOD, catalog, tmp_path, "train.steps=3", "model.widths=[4, 8]")
    assert (found.train.steps, found.model.widths) == (3, (4, 8))
    bad = problems(GOOD, catalog, tmp_path, "train.stepps=3", "model.latent=none")
    assert {p.file for p in bad} == {"--set train.stepps=3", "--set model.latent=none"}


@pytest.mark.parametrize("words", ["steps=3", "train.steps", "training.steps=3", "train.=3"])
def test_an_override_that_names_no_option_is_refused(words, catalog, tmp_path):
    with pytest.raises(GenloomError, match="--set"):
        read(GOOD, catalog, tmp_path, words)


def test_the_digest_is_of_the_text_and_not_of_overrides(catalog, tmp_path):
    plain, changed = read(GOOD, catalog, tmp_path), read(GOOD, catalog, tmp_path, "train.steps=3")
    assert plain.sha256 == changed.sha256
    assert changed.resolved()["train"]["steps"] == 3


@dataclass(frozen=True, kw_only=True)
class Named:
    """Options that name files."""

    style: Path
    other: Path | None = None
    width: int = 3


class Namer(Backend):
    """A family whose options name files."""

    family, config = "namer", Named


@pytest.mark.parametrize(
    ("overrides", "style", "other"),
    [
        ((), "recipes/styles/a.jpg", None),
        (("model.style=b.jpg", "model.width=4"), "b.jpg", None),
        (("model.other=b.jpg",), "recipes/styles/a.jpg", "b.jpg"),
    ],
)
def test_paths_start_from_the_recipe_and_on_the_command_line_from_here(
    overrides, style, other, catalog, tmp_path, monkeypatch
):
    monkeypatch.chdir(tmp_path)
    Path("recipes").mkdir()
    text = GOOD.replace("recipe: vae", "recipe: namer")
    Path("recipes/r.yaml").write_text(text.replace("latent: 3", "style: styles/a.jpg"))
    monkeypatch.setattr(catalog, "families", lambda: {"namer": Namer})
    found = read_recipe(Path("recipes/r.yaml"), catalog, overrides)
    located = found.located_model()
    assert located.style == Path(style)
    assert located.other == (None if other is None else Path(other))
    told = "b.jpg" if "model.style=b.jpg" in overrides else "styles/a.jpg"
    assert found.resolved()["model"]["style"] == told


def test_epochs_are_counted_in_passes_over_the_data():
    assert TrainOptions(epochs=1.5, batch=10).steps_for(101) == math.ceil(15.15)


def test_the_learning_rate_warms_up_and_falls_to_zero():
    options = TrainOptions(steps=100, warmup=10)
    rates = [options.rate(step, 100) for step in range(100)]
    assert rates[0] == pytest.approx(0.1)
    assert max(rates) == pytest.approx(1, abs=0.05)
    assert rates[10:] == sorted(rates[10:], reverse=True)
    assert options.rate(100, 100) == pytest.approx(0)
    assert TrainOptions(steps=100, schedule="constant").rate(99, 100) == 1


def test_linear_and_step_schedules_fall_as_they_say():
    linear = TrainOptions(steps=8, schedule="linear")
    assert [linear.rate(step, 8) for step in (0, 2, 8)] == [1, 0.75, 0]
    stairs = TrainOptions(steps=8, schedule="step", warmup=2)
    assert [stairs.rate(step, 8) for step in (0, 3, 4, 5, 6, 7)] == [0.5, 1, 0.1, 0.1, 0.01, 0.01]


@pytest.mark.parametrize("name", sorted(shipped_recipes()))
def test_shipped_recipes_are_right_and_named_after_their_bundle(name, catalog):
    found = read_recipe(find_recipe(name), catalog)
    assert found.export.name == name
    assert f"#   genloom train {name} -o models" in found.text


def test_an_unknown_recipe_names_the_nearest():
    with pytest.raises(UnknownName, match="fashion-vae"):
        find_recipe("fasion-vae")


def test_the_schema_knows_every_family_and_data_set(catalog):
    schema = recipe_check.schema(catalog)
    assert schema["properties"]["recipe"]["enum"] == [
        "adain",
        "ae",
        "classifier",
        "denoiser",
        "gan",
        "noise-level",
        "stylizer",
        "upscaler",
        "vae",
        "vqvae",
    ]
    names = {e["properties"]["dataset"]["const"] for e in schema["properties"]["data"]["oneOf"]}
    assert names == {
        "arrays", "dead-leaves", "digits", "fashion-mnist", "folder", "idx", "mnist", "pairs",
        "rendered", "synthetic",
    }  # fmt: skip
    assert schema == plugin.genloom_formats()[0].schema(catalog)


def test_the_plugin_imports_no_torch():
    import subprocess
    import sys

    code = "import sys, genloom_train.plugin as p, genloom_vae, genloom_denoise; "
    code += "p.genloom_datasets(); sys.exit('torch' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code], cwd=Path.cwd()).returncode == 0
