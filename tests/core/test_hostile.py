"""Hostile folders, pipeline files, cards and bundles: whole runs, and what fuzzing found."""

import os
import subprocess
import sys
import time
from pathlib import Path

import pytest
from click.testing import CliRunner
from harm import SCRIPT, SECONDS, SOUND, bundle_with, hostile

from genloom import limits, load_pipeline, machine, yamlfile
from genloom.card import CARD, Card, Port, SizeRule
from genloom.cli import main
from genloom.engine.cutting import Cutting
from genloom.engine.journal import Journal
from genloom.engine.shards import WHOLE, Shard
from genloom.errors import InvalidFile, ModelError, OutputError
from genloom.listing import PART
from genloom.models import Bundle
from genloom.runtime import Settings, proto
from genloom.stage import Inputs
from genloom.stages.folders import walk


@pytest.mark.skipif(sys.platform != "linux", reason="needs pipes, links and limits on memory")
def test_every_file_of_a_hostile_folder_comes_to_something():
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join(sys.path), "OMP_NUM_THREADS": "1"}
    command = [sys.executable, SCRIPT, "--small", "--seconds", "300"]
    done = subprocess.run(command, capture_output=True, text=True, env=environment)
    assert done.returncode == 0, done.stdout + done.stderr


def test_free_memory_is_the_least_that_machine_and_container_leave(tmp_path):
    meminfo = tmp_path / "meminfo"
    meminfo.write_text("MemTotal: 4096 kB\nMemAvailable: 2048 kB\n")
    nothing = tmp_path / "nothing"
    assert machine.free_memory(meminfo, nothing, nothing) == 2048 * 1024
    group(tmp_path, "memory.max", 1_000_000, "memory.current", "file")
    assert machine.free_memory(meminfo, tmp_path, nothing) == 600_000
    (tmp_path / "memory.max").write_text("max\n")
    assert machine.free_memory(meminfo, tmp_path, nothing) == 2048 * 1024


def group(folder, most, limit, used, cached):
    """A control group that holds 400 000 bytes, besides what it would give back."""
    folder.mkdir(parents=True, exist_ok=True)
    (folder / most).write_text(f"{limit}\n")
    (folder / used).write_text("900000\n")
    (folder / "memory.stat").write_text(f"anon 1\n{cached} 500000\n")


@pytest.mark.parametrize("version", [1, 2])
def test_a_job_of_a_cluster_has_what_its_group_and_those_around_it_leave(tmp_path, version):
    meminfo, own, root = tmp_path / "meminfo", tmp_path / "own", tmp_path / "groups"
    meminfo.write_text("MemAvailable: 2048 kB\n")
    names = ("memory.max", "memory.current", "file")
    top = root
    if version == 1:
        names = ("memory.limit_in_bytes", "memory.usage_in_bytes", "total_cache")
        top = root / "memory"
    line = "5:cpu,cpuacct:/\n4:memory:/jobs/7\n" if version == 1 else "0::/jobs/7\n"
    own.write_text(line)
    assert machine.free_memory(meminfo, root, own) == 2048 * 1024
    group(top / "jobs/7", names[0], 1_000_000, *names[1:])
    assert machine.free_memory(meminfo, root, own) == 600_000
    group(top / "jobs", names[0], 700_000, *names[1:])
    assert machine.free_memory(meminfo, root, own) == 300_000
    group(top / "jobs/8", names[0], 500_000, *names[1:])  # another one's
    assert machine.free_memory(meminfo, root, own) == 300_000
    group(top / "jobs", names[0], 2**63 - 4096, *names[1:])  # as the first version says "no limit"
    assert machine.free_memory(meminfo, root, own) == 600_000
    own.write_text("0::/../..\nnonsense\n")
    assert machine.free_memory(meminfo, root, own) == 2048 * 1024


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


def test_ports_whose_names_are_no_text_are_a_model_error(catalog, onnx_bytes):
    port = Port(axes=("batch", 7))
    graph = onnx_bytes([("Add", ["x", "x"], ["y"], {})], {"x": port}, {"y": port})
    with pytest.raises(ModelError):
        catalog.runtime("onnxruntime").compile(
            graph.replace(b"batch", b"\xff" * 5), Settings(provider="cpu")
        )


def test_a_picture_is_not_cut_into_pieces_without_end(tiny_bundles, monkeypatch):
    monkeypatch.setattr("genloom.engine.cutting.MAX_TILES", 10)
    bundle = Bundle.open(tiny_bundles / "tiny-image")
    card = bundle.card.model_copy(update={"size": SizeRule(fixed=(8, 8)), "receptive_field": 1})
    with pytest.raises(ModelError, match="pieces too small"):
        Cutting(card).tiles(80, 80)
