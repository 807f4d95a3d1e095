"""A picture is made again from its record, and whatever differs is said."""

import json
import re
import shutil
import sys
from dataclasses import dataclass
from pathlib import Path
from types import ModuleType

import numpy as np
import pytest
from click.testing import CliRunner
from PIL import Image

from genloom import Batch, Cardinality, Kind, Record, Run, Stage, hookimpl, load_pipeline, reproduce
from genloom.cli import main
from genloom.engine.cutting import SIDES
from genloom.errors import (
    GenloomError,
    ImageError,
    ModelError,
    OutputError,
    StageError,
    UnknownName,
)


@dataclass(frozen=True, kw_only=True)
class Twice(Stage):
    """Two of each picture, with noise of their own."""

    name, takes, gives = "twice", Kind.IMAGE, Kind.IMAGE
    cardinality = Cardinality.ONE_TO_MANY

    def __call__(self, batch: Batch, run: Run) -> Batch:
        items = [item.child(k) for item in batch.items for k in range(2)]
        data = np.repeat(batch.data, 2, axis=0)
        noise = np.stack([run.random(item).standard_normal(data.shape[1:]) for item in items])
        data = data + 0.05 * noise.astype(np.float32)
        return Batch.images(items, data.transpose(0, 2, 3, 1))


@dataclass(frozen=True, kw_only=True)
class Toned(Stage):
    """As bright as a file is long; fails on one that is not there any more."""

    name, takes, gives = "toned", Kind.IMAGE, Kind.IMAGE
    by: Path | None = None
    by_all: tuple[Path, ...] = ()

    def __call__(self, batch: Batch, run: Run) -> Batch:
        if self.by is None:
            raise RuntimeError("told to fail")
        return batch.with_data(batch.data * 0 + 0.01 * len(run.file(self.by)))


@pytest.fixture
def catalog(catalog, tmp_path, monkeypatch):
    source = tmp_path / "twos.py"
    source.write_text("genloom_api = 1\n")
    plugin = ModuleType("twos")
    plugin.__file__ = str(source)
    plugin.genloom_api = 1
    plugin.genloom_stages = hookimpl(specname="genloom_stages")(lambda: [Twice, Toned])
    monkeypatch.setitem(sys.modules, "twos", plugin)
    assert catalog.register(plugin).error == ""
    monkeypatch.chdir(tmp_path)
    return catalog


@pytest.fixture
def go(catalog, tmp_path):
    """Runs stages over the folder `in` or other inputs; gives the files by name."""
    (tmp_path / "in/sub").mkdir(parents=True)
    pixels = np.random.default_rng(0).integers(0, 200, (2, 12, 16, 4), np.uint8)
    Image.fromarray(pixels[0, ..., :3]).save(tmp_path / "in/a.png")
    Image.fromarray(pixels[1]).save(tmp_path / "in/sub/b.png")

    def go(*stages, inputs=None):
        (tmp_path / "p.yaml").write_text(json.dumps({"genloom": 1, "stages": list(stages)}))
        loaded = load_pipeline(tmp_path / "p.yaml", catalog=catalog, seed=5)
        given = [tmp_path / "in"] if inputs is None else inputs
        report = loaded.run(given, tmp_path / "out", provider="cpu")
        assert report.failures == []
        found = [path for path in (tmp_path / "out").rglob("*.*") if path.is_file()]
        return {path.name: path for path in found if ".genloom" not in path.parts}

    return go


@pytest.fixture
def again(catalog, tmp_path):
    """Makes a picture again into the folder `again`, from inputs in `in` unless said."""

    def again(path, *inputs, out="again"):
        return reproduce(path, tmp_path / out, inputs or [tmp_path / "in"], catalog=catalog)

    return again


DENOISE = {"denoise": {"model": "tiny-image"}}
CHAINS = {
    "plain": ("load", "save"),
    "noise and network": ("load", "noise", DENOISE, "save"),
    "children": ("load", "twice", {"twice": {"id": "more"}}, "noise", "save"),
    "sidecar": ("load", "noise", {"save": {"provenance": "sidecar"}}),
    "lossy": ("load", "noise", {"save": {"format": "jpg", "quality": 60}}),
    "webp": ("load", "noise", {"save": {"format": "webp", "to": "x/{stem}"}}),
    "tiff": ("load", DENOISE, {"save": {"format": "tiff"}}),
    "saved between": ("load", {"save": {"id": "first", "to": "f-{stem}"}}, "noise", "save"),
    "compared": ("load", "noise", "compare", "save"),
    "latents": (
        "load",
        {"encode": {"model": "tiny-vae"}},
        {"sample": {"count": 3}},
        "decode",
        "save",
    ),
}


@pytest.mark.parametrize("chain", CHAINS.values(), ids=CHAINS)
def test_every_output_of_a_run_is_made_again_alike(go, again, tmp_path, chain):
    files = {name: path for name, path in go(*chain).items() if path.suffix != ".json"}
    assert len(files) >= 2
    for name, path in files.items():
        made = again(path)
        assert (made.difference, made.notes) == (0, ())
        assert made.path.name == name
        assert made.path.read_bytes() == path.read_bytes()
    assert len(list((tmp_path / "again").rglob("*.*"))) == len(files)


def test_samples_are_made_again_one_by_one(go, again):
    files = go({"sample": {"model": "tiny-vae", "count": 4}}, "decode", "save", inputs=())
    made = again(files["sample-000002.png"])
    assert (made.path.name, made.difference) == ("sample-000002.png", 0)
    other = Image.open(files["sample-000001.png"])
    assert (np.asarray(Image.open(made.path)) != np.asarray(other)).any()


def test_guides_are_found_with_their_picture(go, again, tmp_path):
    Image.new("RGB", (16, 12), "red").save(tmp_path / "in/a.albedo.png")
    load = {"load": {"guides": {"albedo": "{stem}.albedo.png"}}}
    files = go(load, "noise", "save")
    assert again(files["a.png"]).difference == 0
    Image.new("RGB", (16, 12), "blue").save(tmp_path / "in/a.albedo.png")
    with pytest.raises(GenloomError, match="what the picture was made of is not there"):
        again(files["a.png"], out="other")


def test_the_input_is_found_by_what_it_holds_wherever_it_lies(go, again, tmp_path):
    files = go("load", "noise", "save")
    (tmp_path / "moved/deep").mkdir(parents=True)
    shutil.copy(tmp_path / "in/sub/b.png", tmp_path / "moved/deep/other.png")
    made = again(files["b.png"], tmp_path / "in/a.png", tmp_path / "moved")
    assert (made.path.name, made.difference) == ("other.png", 0)


def test_an_input_that_is_not_there_is_told_by_its_hash(go, again, tmp_path, catalog):
    files = go("load", "save")
    sha256 = Record.read(files["a.png"]).input.sha256
    with pytest.raises(GenloomError, match=rf"SHA-256 {sha256}, got none among .*--input"):
        again(files["a.png"], tmp_path / "in/sub")
    with pytest.raises(GenloomError, match="got no input"):
        reproduce(files["a.png"], tmp_path / "again", catalog=catalog)
    assert not (tmp_path / "again").exists()


def test_files_of_options_are_found_by_their_hash(go, again, tmp_path):
    (tmp_path / "tone.bin").write_bytes(b"1234567")
    tone = str(tmp_path / "tone.bin")
    files = go("load", {"toned": {"by": tone, "by_all": [tone]}}, "save")
    (tmp_path / "tone.bin").rename(tmp_path / "in/renamed.bin")
    assert again(files["a.png"]).difference == 0
    (tmp_path / "in/renamed.bin").write_bytes(b"else")
    with pytest.raises(GenloomError, match=r"the file 'tone\.bin', which an option names, is not"):
        again(files["a.png"], out="other")


def test_an_edited_picture_is_not_equal(go, again, tmp_path):
    path = go("load", "save")["a.png"]
    record = (path.read_bytes()[33:]).partition(b"IDAT")[0][:-4]
    pixels = np.asarray(Image.open(path)).copy()
    for name, change, difference in (("one", 1, 1), ("two", 2, 2)):
        pixels[3, 3, 1] += change
        Image.fromarray(pixels).save(tmp_path / f"{name}.png")
        pixels[3, 3, 1] -= change
        data = (tmp_path / f"{name}.png").read_bytes()
        (tmp_path / f"{name}.png").write_bytes(data[:33] + record + data[33:])
        made = again(tmp_path / f"{name}.png", out=name)
        assert made.difference == pytest.approx(difference)
        assert made.equal == (difference == 1)
    Image.fromarray(pixels[1:]).save(tmp_path / "small.png")
    data = (tmp_path / "small.png").read_bytes()
    (tmp_path / "small.png").write_bytes(data[:33] + record + data[33:])
    small = again(tmp_path / "small.png", out="small")
    assert (small.difference, small.equal) == (None, False)


def test_another_model_of_the_name_is_refused_with_both_digests(go, again, tmp_path, tiny_bundles):
    path = go("load", DENOISE, "save")["a.png"]
    (tmp_path / "models").mkdir()
    shutil.copytree(tiny_bundles / "tiny-image", tmp_path / "models/tiny-image")
    card = tmp_path / "models/tiny-image/model.yaml"
    card.write_text(card.read_text().replace("receptive_field: 3", "receptive_field: 5"))
    digest = Record.read(path).models[0].digest
    with pytest.raises(ModelError, match=rf"'tiny-image' is another one .*{digest[:12]}.*, got "):
        again(path)


def sidecar(tmp_path, path, **changes):
    """The picture of a record with other values, the record beside it."""
    values = json.loads(Record.read(path).text()) | changes
    Image.open(path).save(tmp_path / "changed.png", pnginfo=None)
    (tmp_path / "changed.png.json").write_text(json.dumps(values))
    return tmp_path / "changed.png"


def test_other_versions_are_noted(go, again, tmp_path, catalog):
    path = go("load", "twice", "save")["a-001.png"]
    plugins = [{"name": "twos", "version": "7"}, {"name": "gone", "version": "1"}]
    changed = sidecar(tmp_path, path, genloom="0.0.1", plugins=plugins)
    made = again(changed)
    assert made.difference == 0
    assert [note.partition("with ")[2] for note in made.notes] == [
        "genloom 0.0.1; this is 0.1.0",
        "the plugin twos 7; this is ",
        "the plugin gone 1, which is not installed",
    ]
    (tmp_path / "twos.py").write_text("genloom_api = 1  # changed\n")
    (note,) = again(path, out="third").notes
    assert note.endswith("changed since")


def test_another_provider_is_noted(go, again, tmp_path):
    path = go("load", DENOISE, "save")["a.png"]
    models = [{**Record.read(path).models[0].model_dump(), "provider": "gone"}]
    (note,) = again(sidecar(tmp_path, path, models=models)).notes
    assert "then 'tiny-image' was on gone" in note


@pytest.mark.parametrize(
    ("changes", "error", "said"),
    [
        ({"stages": []}, GenloomError, "stages"),
        ({"stages": [{"id": "a", "stage": "nope", "options": {}}]}, UnknownName, "nope"),
        ({"stages": [{"id": "l", "stage": "load", "options": {"x": 1}}]}, GenloomError, "'x'"),
        ({"models": [{"name": "../m", "digest": ""}]}, GenloomError, "by a path"),
        ({"models": [{"name": "m", "digest": ""}]}, UnknownName, "'m'"),
        ({"child": "#9"}, GenloomError, "does not make this picture again"),
        ({"seed": -1}, GenloomError, "seed"),
    ],
)
def test_a_record_that_does_not_hold_is_an_error(go, again, tmp_path, changes, error, said):
    path = go("load", DENOISE, "save")["a.png"]
    with pytest.raises(error, match=said):
        again(sidecar(tmp_path, path, **changes))


def test_each_model_cuts_into_the_tiles_of_then(go, again, tmp_path):
    path = go("load", DENOISE, "save")["a.png"]
    model = Record.read(path).models[0].model_dump()
    assert model["tile"] == SIDES[0]
    with pytest.raises(GenloomError, match="the setting 'tile' is not right"):
        again(sidecar(tmp_path, path, models=[{**model, "tile": 1}]))
    made = again(sidecar(tmp_path, path, models=[{**model, "tile": 32}]))
    assert made.equal and Record.read(made.path).models[0].tile == 32


def test_a_child_that_no_stage_makes_is_an_error(go, again, tmp_path):
    path = go("load", "twice", "noise", "save")["a-001.png"]
    with pytest.raises(GenloomError, match=r"expected a result '0/a\.png#2', got none"):
        again(sidecar(tmp_path, path, child="#2"))


def test_an_option_that_names_a_file_must_say_its_hash(go, again, tmp_path):
    (tmp_path / "tone.bin").write_bytes(b"1234567")
    path = go("load", {"toned": {"by": str(tmp_path / "tone.bin")}}, "save")["a.png"]
    stages = json.loads(Record.read(path).text())["stages"]
    stages[1]["options"]["by"] = "/etc/hostname"
    with pytest.raises(GenloomError, match="which an option names, is not there"):
        again(sidecar(tmp_path, path, stages=stages))
    stages[1]["options"]["by"] = None
    with pytest.raises(StageError, match="told to fail"):
        again(sidecar(tmp_path, path, stages=stages))


@pytest.mark.parametrize("last", ["save", "animate"])
def test_a_picture_of_many_is_refused(go, again, last):
    chain = ("load", {"crop": {"width": 8, "height": 8}}, "grid", "save")
    files = go(*(chain if last == "save" else (*chain[:2], {"animate": {"format": "apng"}})))
    (path,) = [path for path in files.values() if path.suffix == ".png"]
    with pytest.raises(GenloomError, match=r"made of several cannot be made again.* made of 2"):
        again(path)


def test_nothing_else_is_overwritten(go, again, tmp_path):
    path = go("load", "save")["a.png"]
    before = path.read_bytes()
    assert again(path, out="out").path == path  # the same bytes
    assert path.read_bytes() == before
    (tmp_path / "again").mkdir()
    (tmp_path / "again/a.png").write_bytes(b"mine")
    with pytest.raises(OutputError, match="another file stands"):
        again(path)
    assert (tmp_path / "again/a.png").read_bytes() == b"mine"
    assert [path.name for path in (tmp_path / "again").iterdir()] == ["a.png"]


def test_what_is_no_picture_is_an_error(again, tmp_path):
    (tmp_path / "a.txt").write_text("hello")
    with pytest.raises(ImageError, match="not a picture"):
        again(tmp_path / "a.txt")


# The command line.


@pytest.fixture
def call(catalog, monkeypatch):
    monkeypatch.setattr("genloom.catalog.Catalog.load", lambda: catalog)

    def call(*arguments):
        return CliRunner().invoke(main, [str(argument) for argument in arguments])

    return call


def test_inspect_prints_a_record_for_people_and_programs(go, call):
    path = go("load", "noise", "twice", DENOISE, "save")["b-001.png"]
    result = call("inspect", path)
    assert result.exit_code == 0
    for said in ("p (seed 5)", "sigma=25.0", "tiny-image on cpu", "twos", "0/sub/b.png#1"):
        assert said in result.output
    values = json.loads(call("inspect", path, "--json").output)
    assert values == json.loads(Record.read(path).text())
    sidecar = go("load", {"save": {"provenance": "sidecar"}})["a.png.json"]
    assert call("inspect", sidecar).output == call("inspect", sidecar.with_suffix("")).output


def test_inspect_says_where_there_is_nothing(go, call, tmp_path):
    result = call("inspect", tmp_path / "in/a.png")
    assert (result.exit_code, result.output.count("\n")) == (2, 1)
    assert "nothing says how the picture was made" in result.output


def test_inspect_prints_nothing_that_steers_a_terminal(go, call, tmp_path):
    path = go("load", "save")["a.png"]
    changed = sidecar(tmp_path, path, pipeline="\x1b[2Jp", key="\x07\u202e")
    output = call("inspect", changed).output
    assert "[2Jp" in output
    assert not {"\x1b", "\x07", "\u202e"} & set(output)


def test_reproduce_says_what_it_found_and_ends_with_it(go, call, tmp_path):
    path = go("load", "noise", "save")["a.png"]
    result = call("reproduce", path, "-o", tmp_path / "again", "--input", tmp_path / "in")
    assert (result.exit_code, result.output) == (
        0,
        f"{tmp_path / 'again/a.png'}: every pixel equal\n",
    )
    pixels = np.asarray(Image.open(path)).copy()
    pixels[0] //= 2
    Image.fromarray(pixels).save(tmp_path / "edited.png")
    (tmp_path / "edited.png.json").write_text(Record.read(path).text())
    result = call("reproduce", tmp_path / "edited.png", "-o", tmp_path / "b", "--input", "in")
    assert result.exit_code == 1
    assert re.search(r"not equal; the largest difference is \d+ of 255", result.output)
    Image.fromarray(pixels[1:]).save(tmp_path / "edited.png")
    result = call("reproduce", tmp_path / "edited.png", "-o", tmp_path / "b", "--input", "in")
    assert (result.exit_code, "another size" in result.output) == (1, True)
    result = call("reproduce", path, "-o", tmp_path / "c")
    assert (result.exit_code, "--input" in result.output) == (2, True)


@pytest.mark.parametrize("command", ["inspect", "reproduce"])
def test_what_cannot_be_read_is_not_said_to_differ(go, call, tmp_path, command):
    (tmp_path / "text.png").write_text("no picture")
    more = ("-o", tmp_path / "again") if command == "reproduce" else ()
    result = call(command, tmp_path / "text.png", *more)
    assert (result.exit_code, "not a picture" in result.output) == (2, True)


def test_a_stage_that_fails_is_no_difference(go, call, tmp_path):
    (tmp_path / "tone.bin").write_bytes(b"long")
    path = go("load", {"toned": {"by": str(tmp_path / "tone.bin")}}, "save")["a.png"]
    record = json.loads(Record.read(path).text())
    record["stages"][1]["options"] = {}
    failing = tmp_path / "failing.png"
    failing.write_bytes((tmp_path / "in/a.png").read_bytes())
    failing.with_name("failing.png.json").write_text(json.dumps(record))
    result = call("reproduce", failing, "-o", tmp_path / "again", "--input", tmp_path / "in")
    assert (result.exit_code, "told to fail" in result.output) == (2, True)
