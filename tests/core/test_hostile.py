"""Hostile files: pictures, pipelines, cards and bundles that were made, or mutated, to do harm.

What fuzzing found stands here by name, with the smallest input that showed it.
"""

from __future__ import annotations

import hashlib
import importlib.util
import os
import shutil
import struct
import subprocess
import sys
import time
import zlib
from contextlib import suppress
from pathlib import Path

import numpy as np
import pytest
from click.testing import CliRunner
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from PIL import Image

from genloom import imaging, limits, load_pipeline, machine, pipeline, scratch, yamlfile
from genloom.card import CARD, Card, Port, SizeRule
from genloom.cli import main
from genloom.engine.compiling import runtime_named
from genloom.engine.cutting import Cutting
from genloom.engine.journal import Journal
from genloom.engine.shards import WHOLE, Shard
from genloom.engine.verify import verify
from genloom.errors import GenloomError, ImageError, InvalidFile, ModelError, OutputError
from genloom.imaging import guard, png_chunks
from genloom.imaging.deep import with_directory
from genloom.listing import PART
from genloom.models import Bundle
from genloom.runtime import Settings, proto
from genloom.stage import Inputs
from genloom.stages.folders import walk

ROOT = Path(__file__).parents[2]
SCRIPT = ROOT / "benchmarks/hostile.py"
NOWHERE = Path("nowhere")
SECONDS = 20
"""No single input may take longer, on a machine that does much else."""


def script():
    spec = importlib.util.spec_from_file_location("hostile", SCRIPT)
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


hostile = script()
SOUND = dict(hostile.sound_files())
TEXTS = {
    path.stem: path.read_text(encoding="utf-8")
    for path in sorted((ROOT / "pipelines").glob("*.yaml"))
}
CARDS = {
    path.parent.name: path.read_text(encoding="utf-8")
    for path in sorted((ROOT / "plugins").glob(f"*/**/{CARD}"))
}
NASTY = [
    "", "-", "- ", ":", "0", "-1", "1e999", ".nan", "-.inf", "9" * 30, "null", "[]", "{}", "[[]]",
    "''", "'\\0'", '"\\ud800"', "../x", "/dev/zero", "!!python/name:os.system", "&a", "*a", "<<",
    "\t", "\u2028", "\x00", "%", "? ", "|", ">", "{stem}", "load", "save", "1.5", "true", "~",
]  # fmt: skip
LONG = int(os.environ.get("GENLOOM_FUZZ", "0"))
"""Set it to the examples that each test shall try, drawn anew at each run."""
fuzz = settings(
    deadline=None,
    derandomize=not LONG,
    max_examples=LONG or 120,
    suppress_health_check=list(HealthCheck),
)


@st.composite
def mutated_bytes(draw, sound):
    """One of several sound files with bytes changed, parts doubled, moved or cut off."""
    data = bytearray(sound[draw(st.sampled_from(sorted(sound)))])
    for _ in range(draw(st.integers(1, 6))):
        reach = draw(st.sampled_from([32, 128, len(data)]))
        at = draw(st.integers(0, max(0, min(reach, len(data)) - 1)))
        how = draw(st.integers(0, 4))
        if how == 0:
            data[at : at + 1] = bytes([draw(st.integers(0, 255))])
        elif how == 1:
            data[at : at + 4] = draw(
                st.sampled_from([b"\xff" * 4, b"\0" * 4, b"\x7f\xff\xff\xff", b"\0\0\0\x80"])
            )
        elif how == 2:
            data[at:at] = data[at : at + draw(st.integers(1, 64))]
        elif how == 3:
            del data[at : at + draw(st.integers(1, 64))]
        else:
            del data[max(at, 1) :]
        data = data or bytearray(b"\0")
    return bytes(data)


@st.composite
def mutated_text(draw, sound):
    """One of several sound texts with words replaced and lines doubled, moved or deleted."""
    lines = sound[draw(st.sampled_from(sorted(sound)))].splitlines()
    for _ in range(draw(st.integers(1, 4))):
        at = draw(st.integers(0, len(lines) - 1))
        words = lines[at].split(" ")
        how = draw(st.integers(0, 3))
        if how < 2:
            words[draw(st.integers(0, len(words) - 1))] = draw(
                st.sampled_from(NASTY) | st.text(max_size=6)
            )
            lines[at] = " ".join(words)
        elif how == 2:
            lines.insert(draw(st.integers(0, len(lines))), lines[at])
        elif len(lines) > 1:
            del lines[at]
    return "\n".join(lines)


@fuzz
@given(mutated_bytes(SOUND) | st.binary(max_size=300))
def test_mutated_files_of_every_kind_are_pictures_or_image_errors(data):
    started = time.monotonic()
    for reader in (imaging.read, imaging.probe):
        try:
            reader(NOWHERE, data)
        except ImageError as error:
            assert str(error)
    assert time.monotonic() - started < SECONDS


@fuzz
@given(data=st.one_of(mutated_text(TEXTS), st.text()))
def test_mutated_pipelines_are_pipelines_or_invalid_files(catalog, data):
    started = time.monotonic()
    try:
        pipeline.check(yamlfile.parse(data), catalog)
    except InvalidFile as error:
        assert str(error)
    assert time.monotonic() - started < SECONDS


@fuzz
@given(mutated_text(CARDS) | st.text())
def test_mutated_cards_are_cards_or_invalid_files(text):
    started = time.monotonic()
    try:
        card = yamlfile.validated(yamlfile.parse(text), Card)
    except InvalidFile as error:
        assert str(error)
    else:
        again = yamlfile.validated(yamlfile.parse(card.to_yaml()), Card)
        assert again.to_yaml() == card.to_yaml()
    assert time.monotonic() - started < SECONDS


@pytest.fixture
def runtime(catalog):
    return runtime_named(catalog, "auto")


def bundle_with(folder, source, *, card=None, graph=None):
    """A copy of a bundle under another card, or with other bytes that its card agrees with."""
    shutil.rmtree(folder, ignore_errors=True)
    shutil.copytree(source, folder)
    text = card if card is not None else (folder / CARD).read_text()
    if graph is not None:
        part = next(iter(Card.read(folder).parts.values()))
        (folder / part.file).write_bytes(graph)
        text = text.replace(part.sha256, hashlib.sha256(graph).hexdigest())
    (folder / CARD).write_text(text, encoding="utf-8", errors="replace")
    return folder


@fuzz
@given(data=st.data())
def test_a_bundle_with_a_mutated_card_is_verified_or_refused(
    catalog, runtime, tiny_bundles, tmp_path_factory, data
):
    name = data.draw(st.sampled_from(["tiny-vae", "tiny-image"]))
    sound = (tiny_bundles / name / CARD).read_text()
    folder = tmp_path_factory.getbasetemp() / "mutated-card" / name
    bundle_with(folder, tiny_bundles / name, card=data.draw(mutated_text({name: sound})))
    check_bundle(folder, catalog, runtime)


@fuzz
@given(data=st.data())
def test_a_bundle_with_a_mutated_graph_is_verified_or_refused(
    catalog, runtime, tiny_bundles, tmp_path_factory, data
):
    name = data.draw(st.sampled_from(["tiny-vae", "tiny-image"]))
    part = next(iter(Card.read(tiny_bundles / name).parts.values()))
    sound = (tiny_bundles / name / part.file).read_bytes()
    folder = tmp_path_factory.getbasetemp() / "mutated-graph" / name
    graph = data.draw(mutated_bytes({name: sound}))
    started = time.monotonic()
    with suppress(ModelError):
        proto.facts(graph)
    assert time.monotonic() - started < SECONDS
    bundle_with(folder, tiny_bundles / name, graph=graph)
    check_bundle(folder, catalog, runtime)


def check_bundle(folder, catalog, runtime):
    """Nothing but genloom's own errors; how long a graph computes, its bytes do not tell."""
    try:
        problems = list(verify(Bundle.open(folder), catalog, runtime))
        assert all(isinstance(problem, str) for problem in problems)
    except GenloomError as error:
        assert str(error)


# A whole run.


@pytest.mark.skipif(sys.platform != "linux", reason="needs pipes, links and limits on memory")
def test_every_file_of_a_hostile_folder_comes_to_something():
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join(sys.path), "OMP_NUM_THREADS": "1"}
    command = [sys.executable, SCRIPT, "--small", "--seconds", "300"]
    done = subprocess.run(command, capture_output=True, text=True, env=environment)
    assert done.returncode == 0, done.stdout + done.stderr


# What was found, each with the smallest file that shows it.


def refused(data, words):
    """Both readers refuse these bytes in these words, before a decoder has worked on them."""
    started = time.monotonic()
    for reader in (imaging.read, imaging.probe):
        with pytest.raises(ImageError, match=words):
            reader(NOWHERE, data)
    assert time.monotonic() - started < 2


def test_a_tiff_whose_tag_is_a_list_without_end_is_refused():
    refused(hostile._claiming(273, limits.MAX_TAG_VALUES + 1), "too many values")


def test_a_tiff_whose_tags_claim_the_same_bytes_many_times_is_refused():
    table = b"".join(struct.pack("<HHII", tag, 1, 1000, 8) for tag in range(1000, 1100))
    refused(b"II*\0" + struct.pack("<IH", 8, 100) + table + bytes(1000), "claim more bytes")


def test_a_ppm_with_a_header_without_end_is_refused():
    refused(b"P6 #" + b"x" * limits.MAX_HEADER_BYTES + b"\n1 1 255\nabc", "too long")


def test_a_large_ppm_written_as_text_is_refused():
    refused(b"P3 9 9 255\n" + b"1 " * (limits.MAX_TEXT_PPM_BYTES // 2), "written as text")


def test_a_jpeg_whose_scans_go_over_it_for_ever_is_refused(monkeypatch):
    monkeypatch.setattr(guard, "MAX_SCANNED", 100 * 400 * 400)
    data = hostile.scans(400, 400, 101)
    with pytest.raises(ImageError, match="too many scans for its size; expected at most 100"):
        imaging.read(NOWHERE, data)
    assert imaging.read(NOWHERE, hostile.scans(400, 400, 50)).pixels.shape == (400, 400, 1)


@pytest.mark.parametrize("top", [1, 7, 254, 255, 256, 1023, 65535])
@pytest.mark.parametrize("kind", [5, 6])
def test_binary_ppms_of_any_depth_are_scaled_to_8_or_16_bits(top, kind):
    stored = ">u2" if top > 255 else "u1"
    full = 65535 if top > 255 else 255
    values = np.array([0, top // 2, top] * (1 if kind == 5 else 3))
    data = f"P{kind}\n3 # a comment\n1\n{top}\n".encode() + values.astype(stored).tobytes()
    back = imaging.read(NOWHERE, data)
    assert (back.info.bits, back.info.format) == (16 if top > 255 else 8, "PPM")
    assert np.abs(back.pixels.ravel() - np.rint(values * full / top)).max() <= 0


@pytest.mark.parametrize("count", [1, 2, 5, 2000])
def test_frames_and_pages_are_counted_as_far_as_it_is_worth(count):
    one = hostile.tiff({}, b"\0\0")
    step, body = len(one) - 10, one[10:-4]
    pages = one[:10] + b"".join(
        body + struct.pack("<I", 10 + step * n if n < count else 0) for n in range(1, count + 1)
    )
    for data in (hostile.gif(1, 1, [(1, 1)] * count), pages):
        notes = imaging.read(NOWHERE, data).notes
        said = {1: (), 2000: ("only the first frame was read; 1000 or more left out",)}
        expected = said.get(count, (f"only the first frame was read; {count - 1} left out",))
        assert notes == expected


def test_a_tiff_whose_pages_lead_in_a_circle_has_the_pages_it_has():
    assert imaging.read(NOWHERE, hostile.tiff({}, b"\0\0", after=10)).notes == ()


@pytest.mark.parametrize("kind", ["PNG", "WEBP"])
def test_damaged_exif_does_not_keep_a_picture_from_being_measured(kind):
    data = hostile._saved(Image.new("RGB", (9, 8)), kind, exif=b"Exif\0\0" + b"\xf5" * 99)
    assert imaging.probe(NOWHERE, data)[:2] == (8, 9)


def test_a_picture_that_memory_has_no_room_for_is_refused(monkeypatch):
    data = hostile._saved(Image.new("RGB", (6000, 6000)), "JPEG")
    monkeypatch.setattr(machine, "free_memory", lambda: 2**29)
    with pytest.raises(ImageError, match=r"not enough memory .* at most 0\.4 GiB.*up to 0\.5 GiB"):
        imaging.read(NOWHERE, data)
    monkeypatch.setattr(machine, "free_memory", lambda: None)  # a system that does not tell
    assert imaging.read(NOWHERE, data).pixels.shape == (6000, 6000, 3)


def test_a_picture_that_is_read_by_strips_needs_little_memory(monkeypatch, tmp_path):
    data = hostile.png_bomb(6000, 6000, colour=2)
    monkeypatch.setattr(machine, "free_memory", lambda: 300 * 2**20)
    monkeypatch.setattr(guard, "LARGE", 2**20)
    with pytest.raises(ImageError, match=r"at most 0\.2 GiB.*up to 0\.5 GiB"):
        imaging.read(NOWHERE, data)
    monkeypatch.setattr(scratch, "IN_MEMORY", 2**20)
    with scratch.within(tmp_path):
        assert not imaging.read(NOWHERE, data).pixels.any()


@pytest.mark.parametrize("tile", [None, 512])
def test_large_strips_and_tiles_of_a_tiff_are_counted_as_large_as_they_are(
    monkeypatch, tmp_path, tile
):
    rows = tile or 1500
    side = 512 if tile else 2000
    count = -(-2000 // rows) * -(-2000 // side)
    packed = zlib.compress(bytes(rows * side * 3))
    at, size = (322, 323, 324, 325), (side, rows)
    if not tile:
        at, size = (278, 273, 279), (rows,)
    places = tuple(8 + n * len(packed) for n in range(count))
    entries = {256: 2000, 257: 2000, 258: (8, 8, 8), 259: 8, 262: 2, 277: 3}
    entries |= dict(zip(at, (*size, places, (len(packed),) * count), strict=True))
    data = with_directory(bytes(8) + packed * count, "<", entries)
    monkeypatch.setattr(scratch, "IN_MEMORY", 2**20)
    monkeypatch.setattr(scratch, "STRIP", 2**20)
    monkeypatch.setattr(guard, "LARGE", 2**20)
    piece = rows * (2048 if tile else 2000) * 3
    with scratch.within(tmp_path):
        monkeypatch.setattr(machine, "free_memory", lambda: 5 * piece)
        with pytest.raises(ImageError, match="not enough memory"):
            imaging.read(NOWHERE, data)
        monkeypatch.setattr(machine, "free_memory", lambda: 8 * piece + 4 * 2**20)
        assert not imaging.read(NOWHERE, data).pixels.any()


def test_a_strip_that_is_larger_stored_than_decoded_is_counted_as_it_is_stored(monkeypatch):
    packed = zlib.compress(bytes(3000)) + bytes(2**20)
    entries = {256: 100, 257: 20, 258: (8, 8, 8), 259: 8, 262: 2, 277: 3, 278: 10}
    entries |= {273: (8, 8 + len(packed)), 279: (len(packed),) * 2}
    data = with_directory(bytes(8) + packed * 2, "<", entries)
    monkeypatch.setattr(scratch, "STRIP", 300)
    monkeypatch.setattr(guard, "LARGE", 1000)
    monkeypatch.setattr(machine, "free_memory", lambda: 5 * 2**20)
    with pytest.raises(ImageError, match="not enough memory"):
        imaging.read(NOWHERE, data)


def test_a_turned_picture_with_alpha_is_counted_as_often_as_it_is_held(monkeypatch):
    image = Image.new("RGBA", (2500, 2500))
    data = hostile._saved(image, "PNG", exif=b"Exif\0\0MM\0*\0\0\0\x08\0\0\0\0\0\0")
    monkeypatch.setattr(guard, "LARGE", 2**20)
    monkeypatch.setattr(scratch, "STRIP", 2**20)
    monkeypatch.setattr(machine, "free_memory", lambda: 3 * 25_000_000)  # of which 80 % may be used
    with pytest.raises(ImageError, match="not enough memory"):
        imaging.read(NOWHERE, data)
    monkeypatch.setattr(machine, "free_memory", lambda: 5 * 25_000_000)
    assert imaging.read(NOWHERE, data).alpha.shape == (2500, 2500)


def with_chunks(*chunks, behind=False):
    data = hostile._saved(Image.new("RGB", (9, 8), "red"), "PNG")
    at = len(data) - 12 if behind else 33
    return b"".join((data[:at], *chunks, data[at:]))


@pytest.mark.parametrize("strip", [100, 2**24])
@pytest.mark.parametrize("behind", [False, True])
def test_a_png_of_very_many_chunks_or_bytes_beside_its_pixels_is_refused(
    monkeypatch, strip, behind
):
    monkeypatch.setattr(scratch, "STRIP", strip)
    few = limits.MAX_PNG_OTHER_CHUNKS - 2  # the header and the end are of them
    text = hostile.png_chunk(b"tEXt", b"a\0b")
    assert imaging.read(NOWHERE, with_chunks(*[text] * few, behind=behind)).pixels.any()
    refused(with_chunks(*[text] * (few + 1), behind=behind), "too many chunks besides its pixels")
    monkeypatch.setattr(png_chunks, "MAX_PNG_OTHER_BYTES", 5000)
    large = hostile.png_chunk(b"prVt", bytes(5000))
    refused(with_chunks(large, behind=behind), "too many bytes besides its pixels")
    monkeypatch.setattr(png_chunks, "MAX_PNG_CHUNKS", 100)
    empty = hostile.png_chunk(b"IDAT", b"")
    refused(with_chunks(*[empty] * 100, behind=behind), "too many chunks; expected at most 100")


def test_the_header_of_a_cut_png_is_the_one_that_was_measured(monkeypatch):
    monkeypatch.setattr(scratch, "STRIP", 100)
    huge = hostile.png_chunk(b"IHDR", struct.pack(">IIBBBBB", 30_000, 30_000, 8, 2, 0, 0, 0))
    data = with_chunks()
    with pytest.raises(ImageError, match="damaged"):
        imaging.read(NOWHERE, data[:8] + huge + data[8:])


def test_an_animated_png_is_not_counted_as_one_that_is_cut(monkeypatch):
    frames = [Image.new("RGB", (900, 900), colour) for colour in ("red", "blue")]
    data = hostile._saved(frames[0], "PNG", save_all=True, append_images=frames[1:])
    monkeypatch.setattr(scratch, "STRIP", 2**16)
    monkeypatch.setattr(guard, "LARGE", 2**20)
    monkeypatch.setattr(machine, "free_memory", lambda: 12_000_000)
    with pytest.raises(ImageError, match="not enough memory"):
        imaging.read(NOWHERE, data)
    monkeypatch.setattr(machine, "free_memory", lambda: 20_000_000)
    notes = ("only the first frame was read; 1 left out",)
    assert imaging.read(NOWHERE, data).notes == notes


def test_free_memory_is_the_least_that_machine_and_container_leave(tmp_path):
    meminfo = tmp_path / "meminfo"
    meminfo.write_text("MemTotal: 4096 kB\nMemAvailable: 2048 kB\n")
    nothing = tmp_path / "nothing"
    assert machine.free_memory(meminfo, nothing) == 2048 * 1024
    (tmp_path / "memory.max").write_text("1000000\n")
    (tmp_path / "memory.current").write_text("900000\n")
    (tmp_path / "memory.stat").write_text("anon 1\nfile 500000\n")
    assert machine.free_memory(meminfo, tmp_path) == 600_000
    (tmp_path / "memory.max").write_text("max\n")
    assert machine.free_memory(meminfo, tmp_path) == 2048 * 1024


def test_files_of_absurd_size_are_neither_read_nor_hashed(tmp_path):
    (tmp_path / "in").mkdir()
    hostile._sparse(tmp_path / "in/huge.png", 2**40)
    (tmp_path / "p.yaml").write_text("genloom: 1\nstages: [load, save]\n")
    started = time.monotonic()
    report = load_pipeline(tmp_path / "p.yaml").run(tmp_path / "in", tmp_path / "out")
    assert "the file is too large; expected at most 4294967296 bytes" in report.failures[0].reason
    assert time.monotonic() - started < SECONDS


@pytest.fixture
def deep(tmp_path):
    """A folder that is deleted by `rm`: Python's own way, and so pytest's, recurses."""
    yield tmp_path
    subprocess.run(["rm", "-rf", *tmp_path.iterdir()], check=True)


def test_a_very_deep_folder_is_walked_and_mirrored(deep):
    (deep / "in").mkdir()
    hostile._deep(deep / "in", 1200, SOUND["one-bit.png"])
    (deep / "p.yaml").write_text("genloom: 1\nstages: [load, save]\n")
    report = load_pipeline(deep / "p.yaml").run(deep / "in", deep / "out")
    assert report.done == 1


def test_the_folders_of_a_deep_tree_are_not_resolved_one_by_one(tmp_path, monkeypatch):
    folder = tmp_path / "in"
    for _ in range(40):
        folder.mkdir()
        (folder / "x.png").write_bytes(SOUND["one-bit.png"])
        folder /= "a"
    resolved = []
    resolve = os.path.realpath
    monkeypatch.setattr(os.path, "realpath", lambda *a, **k: resolved.append(a) or resolve(*a, **k))
    inputs = Inputs((str(tmp_path / "in"), str(tmp_path / "in/a/a")))
    places = [
        sketch.split(PART)[-1]
        for listing in walk(inputs, recursive=True)
        for sketch in listing.sketches(range(len(listing)))
    ]
    assert len(resolved) < 10
    assert len(set(places)) == len(places) == 40
    assert str(tmp_path / "in" / "a" / "x.png") in places


def test_names_of_files_neither_steer_a_terminal_nor_write_lines(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    Path("in").mkdir()
    for name in ("\x1b]0;OWNED\x07\x1b[31mred.png", "a\nfailed: forged.png", "\u202egnp.exe.png"):
        Path("in", name).write_bytes(b"no picture")
    Path("in/\u5199\u771f\u30001.png").write_bytes(b"no picture")  # a wide space is a name's own
    Path("p.yaml").write_text("genloom: 1\nstages: [load, save]\n")
    for arguments in (("run", "p.yaml", "in", "-o", "out"), ("status", "out")):
        result = CliRunner().invoke(main, list(arguments))
        lines = (result.stdout + result.stderr).splitlines()
        failed = [line for line in lines if line.startswith("failed: ")]
        assert len(failed) == 4 and not any("forged" in line[:20] for line in failed)
        assert not {"\x1b", "\x07", "\u202e"} & set("".join(lines))
        assert any("\u5199\u771f\u30001.png" in line for line in failed)


def test_a_link_in_out_does_not_lead_results_out_of_it(tmp_path):
    for folder in ("in/a", "in/b", "out", "elsewhere"):
        (tmp_path / folder).mkdir(parents=True)
    for place in ("in/a/x.png", "in/b/y.png"):
        (tmp_path / place).write_bytes(SOUND["rgb.png"])
    (tmp_path / "out/a").symlink_to(tmp_path / "elsewhere")
    (tmp_path / "p.yaml").write_text("genloom: 1\nstages: [load, save]\n")
    report = load_pipeline(tmp_path / "p.yaml").run(tmp_path / "in", tmp_path / "out")
    assert (report.done, report.failed) == (1, 1)
    assert "a link in the output folder leads out of it" in report.failures[0].reason
    assert list((tmp_path / "elsewhere").iterdir()) == []


@pytest.mark.parametrize("shard", [WHOLE, Shard(1, 2)])
@pytest.mark.parametrize("name", [".genloom", ".genloom/tmp", ".genloom/journal.db"])
def test_no_part_of_the_journal_is_a_link(tmp_path, name, shard):
    if shard != WHOLE and name != ".genloom":
        name = name.replace(".genloom", ".genloom/shard-1-of-2")
    (tmp_path / "elsewhere").mkdir()
    (tmp_path / "out" / name).parent.mkdir(parents=True)
    (tmp_path / "out" / name).symlink_to(tmp_path / "elsewhere")
    with pytest.raises(OutputError, match="is a link"):
        Journal(tmp_path / "out", shard)


def test_a_pipe_is_no_file_of_yaml(tmp_path):
    os.mkfifo(tmp_path / "p.yaml")
    with pytest.raises(InvalidFile, match="not a file"):
        yamlfile.read(tmp_path / "p.yaml")


def test_a_file_of_yaml_with_values_without_end_is_refused_before_it_is_built():
    started = time.monotonic()
    with pytest.raises(InvalidFile, match="too many values; expected at most 20000"):
        yamlfile.parse("- \n" * 300_000)
    assert time.monotonic() - started < SECONDS


def test_only_the_first_problems_of_a_file_are_told(tmp_path):
    (tmp_path / CARD).write_text("".join(f"k{n}: 1\n" for n in range(500)))
    with pytest.raises(InvalidFile) as failure:
        Card.read(tmp_path)
    assert len(failure.value.problems) == limits.MAX_PROBLEMS


@pytest.mark.parametrize(
    ("sound", "hurtful"),
    [
        ("axes: [batch, 4]", "axes: [batch, -1]"),
        ("axes: [batch, 4]", "axes: [batch, 99999999999]"),
        ("axes: [batch, 4]", "axes: [a, a, a, a, a, a, a, a, a]"),
        ("axes: [batch, 4]", "axes: [batch, 4]\n        range: [.nan, 1]"),
        ("axes: [batch, 4]", "axes: [batch, 4]\n        range: [0, .inf]"),
        ("axes: [batch, 4]", "axes: [batch, 4]\n        range: [1, 0]"),
        ("fixed: [8, 8]", "fixed: [8, 1000000]"),
        ("fixed: [8, 8]", "multiple: 4095\n  stride: 4096"),
        ("latent: [4]", "latent: [4, 99999, 99999]"),
        ("channels: 1", "channels: 1\nscale: 1000"),
    ],
)
def test_a_card_that_asks_for_arrays_without_bound_is_refused(tiny_bundles, sound, hurtful):
    text = (tiny_bundles / "tiny-vae" / CARD).read_text()
    for block, flow in {
        "latent:\n- 4": "latent: [4]",
        "fixed:\n  - 8\n  - 8": "fixed: [8, 8]",
        "axes:\n        - batch\n        - 4": "axes: [batch, 4]",
    }.items():
        text = text.replace(block, flow)
    yamlfile.validated(yamlfile.parse(text), Card)
    assert sound in text
    with pytest.raises(InvalidFile):
        yamlfile.validated(yamlfile.parse(text.replace(sound, hurtful, 1)), Card)


# Bundles.


@pytest.mark.parametrize("way", ["link", "pipe", "too large"])
def test_a_bundle_reads_nothing_outside_its_folder(tiny_bundles, tmp_path, monkeypatch, way):
    folder = bundle_with(tmp_path / "tiny-vae", tiny_bundles / "tiny-vae")
    file = folder / Card.read(folder).parts["encoder"].file
    graph = file.read_bytes()
    if way == "too large":
        monkeypatch.setattr("genloom.models.MAX_GRAPH_BYTES", 10)
    else:
        file.unlink()
        (tmp_path / "outside.onnx").write_bytes(graph)
        os.mkfifo(file) if way == "pipe" else file.symlink_to(tmp_path / "outside.onnx")
    words = {"link": "outside the bundle", "pipe": "not a file", "too large": "too large"}
    with pytest.raises(ModelError, match=words[way]):
        Bundle.open(folder).graph("encoder")


@pytest.mark.parametrize("name", ["onnxruntime", "openvino"])
def test_no_runtime_reads_weights_from_a_file_that_a_graph_names(catalog, tiny_bundles, name):
    import onnx

    pytest.importorskip(name)
    model = onnx.load_from_string(Bundle.open(tiny_bundles / "tiny-vae").graph("encoder"))
    tensor = model.graph.initializer[0]
    tensor.data_location = onnx.TensorProto.EXTERNAL
    tensor.external_data.add(key="location", value="../../etc/passwd")
    with pytest.raises(ModelError, match="weights lie in another file"):
        catalog.runtime(name).compile(model.SerializeToString(), Settings())


def test_a_bundle_that_is_too_large_in_all_is_refused(tiny_bundles, monkeypatch):
    monkeypatch.setattr("genloom.models.MAX_BUNDLE_BYTES", 10)
    with pytest.raises(ModelError, match="too large; expected at most 10 bytes in all"):
        Bundle.open(tiny_bundles / "tiny-vae")


@pytest.mark.parametrize("where", ["sparse", "list of tensors", "function", "overlong"])
def test_weights_elsewhere_are_seen_wherever_a_graph_keeps_them(where):
    from onnx import AttributeProto, FunctionProto, GraphProto, ModelProto, TensorProto

    tensor = TensorProto(data_location=TensorProto.EXTERNAL)
    attribute = AttributeProto(name="a", tensors=[tensor])
    model = ModelProto()
    if where == "sparse":
        model.graph.sparse_initializer.add().values.CopyFrom(tensor)
    elif where == "list of tensors":
        model.graph.node.add(op_type="Constant").attribute.append(attribute)
    elif where == "function":
        model.functions.append(FunctionProto(name="f", attribute_proto=[attribute]))
    else:  # 2³² + 1, which a reader of 32 bits takes for 1
        message = b"\x70\x81\x80\x80\x80\x10"
        assert TensorProto.FromString(message).data_location == TensorProto.EXTERNAL
        model.graph.CopyFrom(GraphProto())
        graph = b"\x2a" + bytes([len(message)]) + message
        data = b"\x3a" + bytes([len(graph)]) + graph
        assert proto.facts(data).external
        return
    assert proto.facts(model.SerializeToString()).external


def test_a_graph_of_small_parts_without_end_is_refused(monkeypatch):
    monkeypatch.setattr("genloom.runtime.proto.MAX_GRAPH_FIELDS", 100)
    with pytest.raises(ModelError, match="too many parts; expected at most 100 fields"):
        proto.facts(b"\x08\x01" * 101)


def test_ports_whose_names_are_no_text_are_a_model_error(runtime, onnx_bytes):
    port = Port(axes=("batch", 7))
    graph = onnx_bytes([("Add", ["x", "x"], ["y"], {})], {"x": port}, {"y": port})
    with pytest.raises(ModelError):
        runtime.compile(graph.replace(b"batch", b"\xff" * 5), Settings(provider="cpu"))


def test_a_picture_is_not_cut_into_pieces_without_end(tiny_bundles, monkeypatch):
    monkeypatch.setattr("genloom.engine.cutting.MAX_TILES", 10)
    bundle = Bundle.open(tiny_bundles / "tiny-image")
    card = bundle.card.model_copy(update={"size": SizeRule(fixed=(8, 8)), "receptive_field": 1})
    with pytest.raises(ModelError, match="pieces too small"):
        Cutting(card).tiles(80, 80)
