"""What outputs say of how they were made: enough to make them again, and nothing private."""

import hashlib
import json
import os
import shutil
import sys
from dataclasses import dataclass
from pathlib import Path
from types import ModuleType

import numpy as np
import pytest
from PIL import Image

import genloom
from genloom import Batch, Cardinality, Kind, Record, Run, Stage, hookimpl, imaging, load_pipeline
from genloom.errors import GenloomError
from genloom.testing import FakeRun, image_batch

FORMATS = ["png", "jpg", "webp", "tiff"]


@dataclass(frozen=True, kw_only=True)
class Lighten(Stage):
    """Adds a text's length, or a file's."""

    name, takes, gives = "lighten", Kind.IMAGE, Kind.IMAGE
    by: Path | None = None
    like: str = ""

    def __call__(self, batch: Batch, run: Run) -> Batch:
        count = len(self.by.read_bytes()) if self.by else 0
        return batch.with_data(batch.data * 0.5 + 0.01 * count)


@dataclass(frozen=True, kw_only=True)
class Speckle(Stage):
    """Two of each picture, with noise of their own."""

    name, takes, gives = "speckle", Kind.IMAGE, Kind.IMAGE
    cardinality = Cardinality.ONE_TO_MANY

    def __call__(self, batch: Batch, run: Run) -> Batch:
        items = [item.child(k) for item in batch.items for k in range(2)]
        data = np.repeat(batch.data, 2, axis=0)
        noise = np.stack([run.random(item).standard_normal(data.shape[1:]) for item in items])
        data = data + 0.05 * noise.astype(np.float32)
        return Batch.images(items, data.transpose(0, 2, 3, 1))


@dataclass(frozen=True, kw_only=True)
class Nosy(Stage):
    """Asks how its pictures were made without writing any."""

    name, takes, gives = "nosy", Kind.IMAGE, Kind.IMAGE

    def __call__(self, batch: Batch, run: Run) -> Batch:
        run.record(batch.items[0])
        return batch


@pytest.fixture
def catalog(catalog, tmp_path, monkeypatch):
    """With a plugin of a file of its own."""
    source = tmp_path / "lightening.py"
    source.write_text("genloom_api = 1\n")
    plugin = ModuleType("lightening")
    plugin.__file__ = str(source)
    plugin.genloom_api = 1
    plugin.genloom_stages = hookimpl(specname="genloom_stages")(lambda: [Lighten, Speckle, Nosy])
    monkeypatch.setitem(sys.modules, "lightening", plugin)
    assert catalog.register(plugin).error == ""
    return catalog


@pytest.fixture
def go(catalog, tmp_path):
    """Runs stages over what the folder `in` holds; gives the outputs by name."""
    (tmp_path / "in/sub").mkdir(parents=True)
    pixels = np.random.default_rng(0).integers(0, 200, (2, 12, 16, 3), np.uint8)
    Image.fromarray(pixels[0]).save(tmp_path / "in/a.png")
    Image.fromarray(pixels[1]).save(tmp_path / "in/sub/b.png")

    def go(*stages, out="out", inputs=None, **settings):
        document = {"genloom": 1, "name": "p", "stages": list(stages)}
        (tmp_path / "p.yaml").write_text(json.dumps(document))
        loaded = load_pipeline(tmp_path / "p.yaml", catalog=catalog)
        given = [tmp_path / "in"] if inputs is None else inputs
        report = loaded.run(given, tmp_path / out, provider="cpu", **settings)
        assert report.failures == []
        files = sorted((tmp_path / out).rglob("*"))
        return {
            path.relative_to(tmp_path / out).as_posix(): path
            for path in files
            if path.is_file() and ".genloom" not in path.parts
        }

    return go


def test_a_record_says_what_made_the_picture(go, tmp_path, catalog):
    files = go("load", {"denoise": {"model": "tiny-image", "sigma": 9}}, {"save": {"id": "last"}})
    record = Record.read(files["sub/b.png"])
    assert (record.genloom, record.pipeline, record.seed) == (genloom.__version__, "p", 0)
    assert [(stage.id, stage.stage) for stage in record.stages] == [
        ("load", "load"),
        ("denoise", "denoise"),
        ("last", "save"),
    ]
    assert record.stages[1].options["sigma"] == 9
    assert record.stages[1].options["strength"] == 1.0
    assert record.stages[2].options["quality"] == 95
    ((name, digest, provider),) = [(m.name, m.digest, m.provider) for m in record.models]
    assert (name, len(digest), provider) == ("tiny-image", 64, "cpu")
    data = (tmp_path / "in/sub/b.png").read_bytes()
    assert record.input.sha256 == hashlib.sha256(data).hexdigest()
    assert record.input.size == len(data)
    assert (record.key, record.child, record.input.count) == ("", "", 1)


def test_a_record_is_the_same_text_again_and_in_a_fixed_order(go):
    files = go("load", "save")
    text = imaging.read_record(files["a.png"])
    assert Record.parse(text).text() == text
    assert list(json.loads(text))[:5] == ["record", "genloom", "pipeline", "seed", "stages"]
    assert text.isascii()


def test_only_what_random_numbers_need_is_told_of_the_path(go):
    plain = Record.read(go("load", "save")["sub/b.png"])
    assert (plain.key, plain.child) == ("", "")
    files = go("load", "noise", "speckle", "save", out="noisy")
    noisy = Record.read(files["sub/b-001.png"])
    assert (noisy.key, noisy.child) == ("0/sub/b.png", "#1")
    files = go("load", "speckle", {"crop": {"width": 4}}, "save", out="children")
    assert Record.read(files["a-000.png"]).key == "0/a.png"


@pytest.mark.parametrize("format", FORMATS)
def test_two_runs_write_the_same_bytes_however_they_are_batched(go, format):
    stages = ("load", "noise", {"denoise": {"model": "tiny-image"}}, {"save": {"format": format}})
    one = go(*stages, workers=1, batch=1)
    other = go(*stages, out="other", workers=3, batch=2)
    assert [path.read_bytes() for path in one.values()] == [
        path.read_bytes() for path in other.values()
    ]


def test_a_sample_says_its_number_and_a_sheet_how_many_it_is_of(go):
    sample = {"sample": {"model": "tiny-vae", "count": 3}}
    stages = (sample, "decode", "save", "grid", {"save": {"id": "sheet"}})
    files = go(*stages, inputs=())
    record = Record.read(files["sample-000002.png"])
    assert (record.key, record.input) == ("sample-000002", None)
    assert [stage.id for stage in record.stages] == ["sample", "decode", "save"]
    sheet = Record.read(files["grid.png"])
    assert (sheet.key, sheet.input.count, sheet.input.sha256) == ("", 3, "")
    files = go("load", "grid", "save", out="sheets")
    sheet = Record.read(files["grid.png"])
    assert (sheet.input.count, len(sheet.input.sha256)) == (2, 64)


def test_plugins_that_are_not_genlooms_own_are_named_with_a_hash(go, tmp_path):
    first = Record.read(go("load", "lighten", "save")["a.png"])
    ((name, sha256),) = [(plugin.name, plugin.sha256) for plugin in first.plugins]
    assert (name, len(sha256)) == ("lightening", 64)
    (tmp_path / "lightening.py").write_text("genloom_api = 1  # changed\n")
    again = Record.read(go("load", "lighten", "save", out="again")["a.png"])
    assert again.plugins[0].sha256 != sha256
    files = go("load", {"denoise": {"model": "tiny-image"}}, "save", out="family")
    assert [plugin.name for plugin in Record.read(files["a.png"]).plugins] == ["tiny"]


def test_files_models_and_places_are_told_by_name_alone(go, tmp_path, tiny_bundles):
    (tmp_path / "secret-place").mkdir()
    tone = tmp_path / "secret-place/tone.bin"
    tone.write_bytes(b"12345")
    shutil.copytree(tiny_bundles / "tiny-image", tmp_path / "secret-place/mine")
    model = str(tmp_path / "secret-place/mine")
    lighten = {"lighten": {"by": str(tone), "like": f"{tmp_path}/secret-place/other.txt"}}
    files = go("load", lighten, {"denoise": {"model": model}}, "save")
    text = imaging.read_record(files["a.png"])
    record = Record.parse(text)
    sha256 = hashlib.sha256(b"12345").hexdigest()
    assert record.stages[1].options["by"] == {"file": "tone.bin", "sha256": sha256}
    assert record.stages[1].options["like"] == "other.txt"
    assert record.stages[2].options["model"] == record.models[0].name == "mine"
    assert "secret-place" not in text


@pytest.mark.parametrize("home", ["/", "/root", "/home/me", ""])
@pytest.mark.parametrize(
    ("text", "told"),
    [
        ("{folder}/root/{stem}", "{folder}/root/{stem}"),
        ("a/home/me/b", "a/home/me/b"),
        ("/home/me/b.txt", "b.txt"),
        ("C:\\Users\\me\\b.txt", "b.txt"),
        ("~/b.txt", "b.txt"),
        ("~5", "~5"),
    ],
)
def test_only_places_on_the_machine_are_cut(monkeypatch, home, text, told):
    from genloom.engine.provenance import _public

    monkeypatch.setenv("HOME", home)
    assert _public({"one": [text]}) == {"one": [told]}


def test_a_home_within_a_text_is_a_place(monkeypatch):
    from genloom.engine.provenance import _public

    monkeypatch.setenv("HOME", "/home/me")
    assert _public("see file:///home/me/a.txt") == "a.txt"
    assert _public("file:///home/mena/a.txt") == "file:///home/mena/a.txt"


@pytest.mark.parametrize("format", [*FORMATS, "bmp"])
def test_a_sidecar_stands_beside_its_picture_and_the_picture_is_silent(go, format):
    files = go("load", {"save": {"format": format, "provenance": "sidecar"}})
    assert len(files) == 4
    for name in (f"a.{format}", f"sub/b.{format}"):
        assert imaging.read_record(files[name]) == ""
        assert Record.read(files[name]) == Record.read(files[f"{name}.json"])


def test_a_sidecar_shares_the_name_that_its_picture_ended_up_with(go, tmp_path):
    Image.new("RGB", (4, 4)).save(tmp_path / "in/a.jpg")
    Image.new("RGB", (4, 4)).save(tmp_path / "in/A.png")
    stages = ("load", {"save": {"format": "png", "provenance": "sidecar", "to": "{stem}"}})
    files = go(*stages)
    pictures = {name for name in files if name.endswith(".png")}
    assert len(pictures) == 4
    assert {f"{name}.json" for name in pictures} == set(files) - pictures
    assert go(*stages) == files


def test_a_sidecar_goes_only_where_its_picture_went(tmp_path, monkeypatch):
    (tmp_path / "in").mkdir()
    Image.new("RGB", (4, 4)).save(tmp_path / "in/a.png")
    original = os.replace

    def full(source, target):
        if str(target).endswith("a.png"):
            raise OSError(28, "No space left on device")
        original(source, target)

    monkeypatch.setattr(os, "replace", full)
    (tmp_path / "p.yaml").write_text(
        "genloom: 1\nname: p\nstages: [load, save: {provenance: sidecar}]\n"
    )
    report = genloom.load_pipeline(tmp_path / "p.yaml").run(tmp_path / "in", tmp_path / "out")
    assert report.failed == 1
    assert [path.name for path in (tmp_path / "out").iterdir()] == [".genloom"]


def test_a_sidecar_that_is_gone_is_made_again(go, tmp_path):
    stages = ("load", {"save": {"provenance": "sidecar"}})
    files = go(*stages)
    text = files["a.png.json"].read_text()
    files["a.png.json"].unlink()
    assert go(*stages)["a.png.json"].read_text() == text


def test_off_is_silent(go):
    files = go("load", {"save": {"provenance": "off"}})
    assert len(files) == 2
    assert imaging.read_record(files["a.png"]) == ""
    with pytest.raises(GenloomError, match=r"nothing says .* or in a\.png\.json beside it"):
        Record.read(files["a.png"])


@pytest.mark.parametrize("format", ["webp", "apng", "gif"])
@pytest.mark.parametrize("provenance", ["file", "sidecar", "off"])
def test_animations_say_how_they_were_made(go, tmp_path, format, provenance):
    Image.new("RGB", (16, 12)).save(tmp_path / "in/c.png")
    files = go("load", {"animate": {"format": format, "provenance": provenance}})
    (path,) = [path for path in files.values() if path.suffix != ".json"]
    with Image.open(path) as image:
        assert image.n_frames == 3
    assert bool(imaging.read_record(path)) == (provenance == "file")
    assert len(files) == 1 + (provenance == "sidecar")
    if provenance == "sidecar":
        assert Record.read(path).input.count == 3


@pytest.mark.parametrize("provenance", ["file", "sidecar", "off"])
def test_formats_that_cannot_say_it_are_named_once_with_what_to_do(tmp_path, provenance):
    (tmp_path / "in").mkdir()
    for name in ("a.gif", "b.bmp", "c.bmp", "d.pgm", "e.png", "f.jpg"):
        Image.new("L", (4, 4)).save(tmp_path / "in" / name)
    (tmp_path / "p.yaml").write_text("genloom: 1\nname: p\nstages: [load, save]\n")
    pipeline = genloom.load_pipeline(tmp_path / "p.yaml", {"save.provenance": provenance})
    report = pipeline.run(tmp_path / "in", tmp_path / "out")
    notes = {note: pictures for note, pictures in report.notes.items() if "how it was" in note}
    if provenance != "file":
        assert notes == {}
        return
    told = {note.split(" file ")[0]: len(pictures) for note, pictures in notes.items()}
    assert told == {"a BMP": 2, "a PPM": 1}
    assert all("`provenance: sidecar`" in note for note in notes)


def test_only_stages_that_write_are_told(go, tmp_path, catalog):
    (tmp_path / "n.yaml").write_text("genloom: 1\nstages: [load, nosy, save]\n")
    report = load_pipeline(tmp_path / "n.yaml", catalog=catalog).run(
        tmp_path / "in", tmp_path / "nosy"
    )
    assert "only a stage that writes" in report.failures[0].reason


def test_a_fake_run_gives_a_record_too(tmp_path):
    from genloom.stages.save import Save

    run = FakeRun(seed=4, folder=tmp_path)
    Save(format="png", provenance="sidecar")(image_batch(1), run)
    assert Record.read(run.files[0]).seed == 4
    assert len(list(tmp_path.iterdir())) == 2


# Nothing private.

GPS_XMP = (
    b'<x:xmpmeta xmlns:x="adobe:ns:meta/">'
    b'<rdf:RDF xmlns:rdf="http://www.w3.org/1999/02/22-rdf-syntax-ns#"><rdf:Description'
    b' rdf:about="" xmlns:exif="http://ns.adobe.com/exif/1.0/" exif:GPSLatitude="48,8N"/>'
    b"</rdf:RDF></x:xmpmeta>"
)


@pytest.fixture
def photo(tmp_path):
    """A photograph with a place in its EXIF and in its XMP."""
    exif = Image.Exif()
    exif[0x8825] = {1: "N", 2: (48.0, 8.0, 27.123)}
    path = tmp_path / "place.jpg"
    Image.new("RGB", (16, 12), "teal").save(path, exif=exif, xmp=GPS_XMP)
    return path


def tells_place(path):
    with Image.open(path) as image:
        gps = image.getexif().get_ifd(0x8825)
    return bool(gps) or b"GPSLatitude" in path.read_bytes()


@pytest.mark.parametrize("format", [*FORMATS, "bmp"])
def test_a_place_is_told_only_by_the_exif_that_is_carried(go, photo, format):
    carried = go("load", {"save": {"format": format}}, inputs=[photo], out="kept")
    assert tells_place(carried[f"place.{format}"]) == (format != "bmp")
    sheet = go("load", "compare", {"save": {"format": format}}, inputs=[photo], out="sheets")
    assert not tells_place(sheet[f"place.{format}"])


@pytest.mark.parametrize("provenance", ["file", "sidecar"])
def test_no_output_tells_where_it_was_made_or_by_whom(
    go, photo, tmp_path, tiny_bundles, monkeypatch, provenance
):
    home = tmp_path / "homes/quiddity"
    monkeypatch.setenv("HOME", str(home))
    monkeypatch.setenv("USER", "quiddity")
    shutil.copytree(tmp_path / "in", home / "pictures")
    shutil.copytree(tiny_bundles / "tiny-image", home / "models/blur")
    shutil.copy(photo, home / "pictures/place.jpg")
    (home / "tone.bin").write_bytes(b"12")
    unused = str(home / "models/estimator")
    monkeypatch.chdir(home)
    before = (
        {"load": {"guides": {"albedo": f"{home}/{{stem}}.albedo.png"}}},
        {"lighten": {"by": str(home / "tone.bin"), "like": "~/x"}},
        "noise",
        {"denoise": {"model": str(home / "models/blur"), "sigma": 9, "estimator": unused}},
    )
    endings = [{"save": {"format": format}} for format in [*FORMATS, "bmp", "same"]]
    endings += [{"animate": {"format": format}} for format in ("webp", "apng", "gif")]
    for number, ending in enumerate(endings):
        ((name, options),) = ending.items()
        crop = {"crop": {"width": 16, "height": 12}}
        last = {name: {**options, "provenance": provenance}}
        out = f"homes/quiddity/out{number}"
        files = go(*before, crop, last, inputs=[home / "pictures"], out=out)
        assert files
        for path in files.values():
            data = path.read_bytes()
            for private in ("quiddity", str(tmp_path), str(home), "pictures", "models/"):
                assert private.encode() not in data, (path, private)


# Records that come from elsewhere.


@pytest.mark.parametrize(
    "text",
    [
        "{",
        "[]",
        "{}",
        '{"record":2,"genloom":"9","pipeline":"p","seed":0,"stages":[]}',
        '{"record":1,"genloom":"9","pipeline":"p","seed":"0","stages":[]}',
        "[" * 100_000,
        " " * 1_000_001,
        "\0",
    ],
)
def test_what_is_no_record_is_told_and_does_no_harm(text):
    with pytest.raises(GenloomError, match="record"):
        Record.parse(text)


def test_what_a_later_version_adds_is_left_out():
    text = '{"record":1,"genloom":"9","pipeline":"p","seed":0,"stages":[],"more":[1]}'
    assert "more" not in Record.parse(text).text()
