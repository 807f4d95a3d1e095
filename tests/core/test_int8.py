"""int8: `genloom quantize` makes models that have it, and runs compute in it when asked."""

from __future__ import annotations

import hashlib
import itertools
import json
import shutil
from dataclasses import replace

import numpy as np
import pytest
import yaml
from click.testing import CliRunner
from PIL import Image

import genloom
from genloom import Catalog, load_pipeline, machine, models
from genloom.card import Card, Part, Port
from genloom.cli import main
from genloom.engine import tuned
from genloom.engine.journal import Journal
from genloom.engine.networks import Form, Networks, apart
from genloom.engine.quantize import quantize
from genloom.engine.settings import RunSettings
from genloom.engine.tune import tune
from genloom.engine.tuned import Answer
from genloom.errors import GenloomError, MissingRequirement, ModelError, OutputError
from genloom.runtime import INT8, Settings, proto
from genloom.runtime.ort import OnnxRuntime
from genloom.runtime.quantizing import quantized
from genloom.types import digest_of
from genloom_openvino.runtime import OpenVino

onnx = pytest.importorskip("onnx")

PICTURE = Port(axes=("batch", 3, "height", "width"))
LEVEL = Port(axes=("batch",), range=(0.0, 0.2))
FLOOR = 30.0
"""What the small network reaches easily; and far above what a wrong one would."""


def layers(level=False, inner=2):
    """Nodes and constants of image + tail(… relu(head(image)) …); the head sees a noise level."""
    random = np.random.default_rng(5)
    widths = [3, *[8] * (inner + 1), 3]
    nodes, constants, value = [], {}, "image"
    for number, (before, after) in enumerate(itertools.pairwise(widths)):
        weights = random.normal(0, (9 * before) ** -0.5, (after, before, 3, 3))
        constants[f"w{number}"] = weights.astype(np.float32)
        constants[f"b{number}"] = random.normal(0, 0.1, after).astype(np.float32)
        inputs = [value, f"w{number}", f"b{number}"]
        nodes.append(("Conv", inputs, [f"c{number}"], {"pads": [1, 1, 1, 1]}))
        value = f"c{number}"
        if number == 0 and level:
            constants["axes"] = np.array([1, 2, 3])
            nodes.append(("Unsqueeze", ["noise_level", "axes"], ["level"], {}))
            nodes.append(("Add", [value, "level"], ["told"], {}))
            value = "told"
        if number <= inner:
            nodes.append(("Relu", [value], [f"r{number}"], {}))
            value = f"r{number}"
    constants["less"] = np.float32(0.2)
    nodes += [("Mul", [value, "less"], ["some"], {}), ("Add", ["image", "some"], ["result"], {})]
    return nodes, constants


@pytest.fixture(scope="session")
def write_model(onnx_bytes):
    """Writes the bundle of a small network."""

    def write(folder, *, level=False, inner=2):
        nodes, constants = layers(level, inner)
        inputs = {"image": PICTURE, **({"noise_level": LEVEL} if level else {})}
        data = onnx_bytes(nodes, inputs, {"result": PICTURE}, constants, 18)
        folder.mkdir(parents=True)
        (folder / "network.onnx").write_bytes(data)
        digest = hashlib.sha256(data).hexdigest()
        part = Part(
            file="network.onnx",
            sha256=digest,
            opset=18,
            inputs=inputs,
            outputs={"result": PICTURE},
        )
        Card(
            name=folder.name,
            family="image-to-image",
            channels=3,
            receptive_field=2 * inner + 5,
            parts={"network": part},
        ).write(folder)
        return folder

    return write


def save_photographs(folder, count=6, side=64):
    """Smooth pictures with an edge, no two alike."""
    folder.mkdir(parents=True)
    random = np.random.default_rng(1)
    rows, columns = np.mgrid[:side, :side] / side
    for number in range(count):
        a, b, c = random.uniform(1, 6, 3)
        planes = [0.5 + 0.4 * np.sin(a * rows + b * columns + c * k) for k in range(3)]
        picture = np.stack(planes, -1) - 0.3 * (rows > b / 7)[..., None]
        Image.fromarray((255 * picture.clip(0, 1)).astype(np.uint8)).save(folder / f"{number}.png")
    return folder


@pytest.fixture(scope="session")
def made(write_model, tmp_path_factory):
    """A folder with photographs, the model `plain`, and `small`, the same with int8."""
    folder = tmp_path_factory.mktemp("int8")
    save_photographs(folder / "photographs")
    write_model(folder / "models/plain")
    bundle = models.find(str(folder / "models/plain"), Catalog.load())
    paths = [str(folder / "photographs")]
    worth = quantize(bundle, Catalog.load(), paths, folder / "models/small")
    assert "cpu" in {one.provider for one in worth}
    return folder


@pytest.fixture
def place(made, empty_place, monkeypatch):
    """A working folder with both, where nothing has been tuned yet."""
    monkeypatch.delenv(tuned.ENVIRONMENT, raising=False)
    monkeypatch.setattr(tuned.cache.platformdirs, "user_cache_dir", lambda *_, **__: "cache")
    shutil.copytree(made, empty_place, dirs_exist_ok=True)
    return empty_place


def chain(place, model):
    (place / f"{model}.yaml").write_text(
        f"genloom: 1\nstages: [load, {{apply: {{model: {model}}}}}, {{save: {{format: png}}}}]\n"
    )
    return load_pipeline(f"{model}.yaml")


def bundle_of(place, name="small"):
    return models.find(str(place / "models" / name), Catalog.load())


def ort(graph, precision):
    return OnnxRuntime().compile(graph, Settings(provider="cpu", threads=1, precision=precision))


def photograph(place, number=0):
    return np.asarray(Image.open(place / f"photographs/{number}.png"))


@pytest.fixture
def steady(monkeypatch):
    """A clock by which every way takes equally long, so that there is always time."""
    ticks = itertools.count()
    monkeypatch.setattr("genloom.engine.contest.perf_counter", lambda: 1e-6 * next(ticks))


# Making it.


def test_the_model_has_both_forms_and_stands(place):
    bundle, plain = bundle_of(place), bundle_of(place, "plain")
    part = bundle.card.parts["network"]
    assert part.int8 is not None and part.int8.file == "network.int8.onnx"
    assert bundle.graph("network") == plain.graph("network")
    assert proto.facts(bundle.int8("network")).opset == part.int8.opset
    assert bundle.digest != plain.digest
    assert genloom.verify_model("small") == []
    assert bundle.card.name == "small" and "int8/network_cpu_db" in bundle.card.metrics
    shown = CliRunner().invoke(main, ["models", "show", "small"]).output
    assert "network.int8.onnx" in shown and part.int8.sha256 in shown and "photographs" in shown


def test_weights_lie_in_it_as_signed_bytes_for_each_channel_and_the_ends_as_floats(place):
    graph = onnx.load_from_string(bundle_of(place).int8("network")).graph
    tensors = {tensor.name: tensor for tensor in graph.initializer}
    convolutions = [node for node in graph.node if node.op_type == "Conv"]
    assert len(convolutions) == 4
    made_of = {output: node for node in graph.node for output in node.output}
    for node in (convolutions[0], convolutions[-1]):
        assert tensors[node.input[1]].data_type == onnx.TensorProto.FLOAT
    for node in convolutions[1:-1]:
        weights, scale = (tensors[name] for name in made_of[node.input[1]].input[:2])
        assert weights.data_type == onnx.TensorProto.INT8 and list(scale.dims) == [8]


def test_the_inner_layers_are_really_computed_in_integers(place):
    """As ONNX Runtime tells when it writes down what it made of the graph."""
    ort_library = pytest.importorskip("onnxruntime")
    options = ort_library.SessionOptions()
    options.optimized_model_filepath = "optimised.onnx"
    options.log_severity_level = 4
    graph = bundle_of(place).int8("network")
    ort_library.InferenceSession(graph, options, providers=["CPUExecutionProvider"])
    done = [node.op_type for node in onnx.load("optimised.onnx").graph.node]
    assert done.count("QLinearConv") == 2


def test_it_gives_nearly_what_fp32_does_on_pictures_it_was_not_calibrated_on(place):
    bundle = bundle_of(place)
    random = np.random.default_rng(9)
    noise = random.normal(0, 0.02, (2, 3, 40, 56))
    image = np.clip(0.5 + noise, 0, 1).astype(np.float32)
    exact = ort(bundle.graph("network"), "fp32").run({"image": image})
    fast = ort(bundle.int8("network"), INT8).run({"image": image})
    found = apart(fast, exact)
    assert 35 < found < 80


def test_processors_without_vnni_give_the_same(place, monkeypatch):
    """Which the ones that have it can tell, as they take the kernels of the others when told to."""
    if "vnni" not in machine.processor():
        pytest.skip("this processor has no VNNI")
    graph = bundle_of(place).int8("network")
    image = np.random.default_rng(4).random((1, 3, 48, 48), np.float32)
    quick = ort(graph, INT8).run({"image": image})["result"]
    monkeypatch.setattr(machine, "processor", lambda: "avx2")
    assert np.array_equal(ort(graph, INT8).run({"image": image})["result"], quick)


def test_names_and_order_of_photographs_do_not_matter(place, write_model):
    other = place / "renamed"
    for number in range(6):
        (other / str(number % 2)).mkdir(parents=True, exist_ok=True)
        shutil.copy(place / f"photographs/{number}.png", other / f"{number % 2}/{9 - number}.png")
    quantize(bundle_of(place, "plain"), Catalog.load(), [str(other)], place / "again")
    again = Card.read(place / "again").parts["network"].int8
    assert again == bundle_of(place).card.parts["network"].int8


def test_a_network_that_is_told_the_noise_is_calibrated_with_noise(place, write_model):
    write_model(place / "models/told", level=True)
    paths = [str(place / "photographs")]
    quantize(bundle_of(place, "told"), Catalog.load(), paths, place / "models/quick")
    bundle = bundle_of(place, "quick")
    assert genloom.verify_model("quick") == []
    for level in (0.0, 0.2):
        random = np.random.default_rng(2)
        image = np.clip(0.5 + random.normal(0, level, (1, 3, 48, 48)), 0, 1).astype(np.float32)
        inputs = {"image": image, "noise_level": np.array([level], np.float32)}
        exact = ort(bundle.graph("network"), "fp32").run(inputs)
        assert apart(ort(bundle.int8("network"), INT8).run(inputs), exact) > 35


def test_a_graph_of_an_old_opset_is_raised(onnx_bytes):
    nodes, constants = layers()
    old = onnx_bytes(nodes, {"image": PICTURE}, {"result": PICTURE}, constants, 11)
    image = np.random.default_rng(0).random((1, 3, 32, 32), np.float32)
    form = quantized(old, [{"image": image}])
    assert proto.facts(old).opset == 11 and proto.facts(form).opset >= 13
    exact = ort(old, "fp32").run({"image": image})
    assert apart(ort(form, INT8).run({"image": image}), exact) > 35


def test_a_graph_without_inner_convolutions_is_refused(onnx_bytes):
    nodes, constants = layers(inner=0)
    graph = onnx_bytes(nodes, {"image": PICTURE}, {"result": PICTURE}, constants)
    with pytest.raises(ModelError, match="nothing to quantise"):
        quantized(graph, [{"image": np.zeros((1, 3, 8, 8), np.float32)}])


def test_without_the_package_the_extra_is_named(place, monkeypatch):
    monkeypatch.setitem(__import__("sys").modules, "onnx", None)
    with pytest.raises(MissingRequirement, match=r"genloom\[community\]"):
        quantized(bundle_of(place).graph("network"), [])


def test_what_cannot_be_quantised_is_refused_with_its_reason(place, tiny_bundles, catalog):
    photographs = [str(place / "photographs")]
    vae = models.find("tiny-vae", catalog)
    with pytest.raises(ModelError, match="picture for a picture, got encoder, decoder"):
        quantize(vae, catalog, photographs, place / "new")
    guided = models.find("denoise-render", catalog)
    with pytest.raises(ModelError, match="got albedo, normal"):
        quantize(guided, catalog, photographs, place / "new")
    plain = bundle_of(place, "plain")
    exact = replace(plain, card=plain.card.model_copy(update={"precision": "fp32"}))
    with pytest.raises(ModelError, match="in fp32 only, as its card says"):
        quantize(exact, catalog, photographs, place / "new")
    with pytest.raises(GenloomError, match="at least 2"):
        quantize(plain, catalog, [f"{photographs[0]}/0.png"], place / "new")
    with pytest.raises(OutputError, match="exists already"):
        quantize(plain, catalog, photographs, place / "models/small")
    assert not (place / "new").exists()


def test_the_command_says_what_it_is_worth_and_leaves_nothing_else(place):
    said = CliRunner().invoke(main, ["quantize", "plain", "photographs", "-o", "models/third"])
    assert said.exit_code == 0, said.output
    assert "'network' on cpu: " in said.output and "times as fast as fp32" in said.output
    assert "models/third: verified" in said.output
    assert sorted(path.name for path in (place / "models").iterdir()) == ["plain", "small", "third"]
    plain = ["quantize", "plain", "photographs", "-o", "models/fourth", "--json"]
    found = json.loads(CliRunner().invoke(main, plain).stdout)
    assert found[0]["part"] == "network" and found[0]["mean"] >= found[0]["least"] > FLOOR


# Bundles.


def test_a_form_that_was_changed_is_found_and_refused(place):
    with (place / "models/small/network.int8.onnx").open("ab") as file:
        file.write(b"\0")
    (problem,) = genloom.verify_model("small")
    assert problem.startswith("int8 form of network: ") and "not the one the card" in problem
    with pytest.raises(ModelError, match="int8 form of 'network' is not the one"):
        genloom.open_model("small", precision="int8")
    assert genloom.open_model("small")(photograph(place)).shape == (64, 64, 3)


def test_a_form_that_is_no_quantised_graph_is_found(place):
    folder = place / "models/small"
    shutil.copy(folder / "network.onnx", folder / "network.int8.onnx")
    card = yaml.safe_load((folder / "model.yaml").read_text())
    part = card["parts"]["network"]
    part["int8"] |= {"sha256": part["sha256"], "opset": part["opset"]}
    (folder / "model.yaml").write_text(yaml.safe_dump(card, sort_keys=False))
    assert genloom.verify_model("small") == ["int8 form of network: no layer of it is quantised"]


def test_models_without_it_keep_their_digests(place):
    bundle = bundle_of(place, "plain")
    words = dict.fromkeys(("name", "summary", "licence", "parameters", "metrics", "origin"), True)
    left_out = {**words, "parts": {"__all__": {"file", "opset"}}}
    said = bundle.card.model_dump(mode="json", exclude=left_out, exclude_defaults=True)
    assert bundle.digest == digest_of(said)
    assert set(said["parts"]["network"]) == {"sha256", "inputs", "outputs"}


# Computing in it.


def test_a_run_computes_in_it_when_asked_and_says_so_everywhere(place):
    pipeline = chain(place, "small")
    options = {"precision": "int8", "precision_floor": FLOOR, "provider": "cpu"}
    report = pipeline.run("photographs", "out", **options)
    assert report.precisions == {"small": {"network": "int8"}} and not report.notes
    with Journal(place / "out") as journal:
        assert journal.last_resolved()["models"]["small"]["precision"] == {"network": "int8"}
    assert "in int8" in CliRunner().invoke(main, ["inspect", "out/0.png"]).output
    exact = pipeline.run("photographs", "exact", precision="fp32", provider="cpu")
    assert exact.precisions == {"small": {"network": "fp32"}}
    fast, slow = (np.asarray(Image.open(f"{name}/0.png"), float) for name in ("out", "exact"))
    error = np.mean((fast - slow) ** 2)
    assert 0 < error < 255**2 * 10 ** (-FLOOR / 10)


def test_it_can_be_made_again_from_its_record(place):
    chain(place, "small").run(
        "photographs", "out", precision="int8", precision_floor=FLOOR, provider="cpu"
    )
    again = CliRunner().invoke(
        main, ["reproduce", "out/0.png", "-o", "again", "--input", "photographs"]
    )
    assert again.exit_code == 0, again.output


def test_auto_does_not_choose_it(place):
    report = chain(place, "small").run("photographs", "out", provider="cpu")
    assert report.precisions == {"small": {"network": "fp32"}}


def test_below_the_floor_it_is_fp32_and_said(place):
    options = {"precision": "int8", "precision_floor": 200.0, "provider": "cpu"}
    report = chain(place, "small").run("photographs", "out", **options)
    assert report.precisions == {"small": {"network": "fp32"}}
    (note,) = report.notes
    assert "int8 differs from fp32 by" in note and "computed in fp32" in note


def test_a_model_without_it_says_how_to_get_it(place):
    with pytest.raises(ModelError, match="genloom quantize plain PHOTOS") as caught:
        chain(place, "plain").run("photographs", "out", precision="int8")
    assert "'network' of the model 'plain' has no int8 form" in str(caught.value)


def test_a_provider_that_does_not_compute_in_integers_is_refused(place):
    def compile(graph, precision):
        network = ort(graph, "fp32")
        network.provider = "floats"
        return network

    networks = Networks(bundle_of(place), compile, INT8)
    with pytest.raises(MissingRequirement, match="'floats' does not compute in int8"):
        networks.get("network")


@pytest.mark.parametrize("form", list(Form))
def test_every_form_of_a_part_has_it(place, form):
    networks = Networks(bundle_of(place), ort, INT8, FLOOR)
    network = networks.get("network", form)
    assert network.precision == INT8
    pixels = photograph(place)[None]
    if form == Form.FLOATS:
        inputs = {"image": pixels.transpose(0, 3, 1, 2).astype(np.float32) / 255}
    else:
        inputs = {"image_pixels": pixels}
    network.run(inputs)
    assert networks.precisions == {"network": INT8}


def test_openvino_computes_it_in_integers_too(place):
    if not OpenVino().providers():
        pytest.skip("openvino is not installed")
    bundle, settings = bundle_of(place), Settings(provider="openvino", threads=1, precision=INT8)
    network = OpenVino().compile(bundle.int8("network"), settings)
    assert network.precision == INT8
    image = photograph(place)[None].transpose(0, 3, 1, 2).astype(np.float32) / 255
    exact = ort(bundle.graph("network"), "fp32").run({"image": image})
    assert apart(network.run({"image": image}), exact) > 35


# Going on as before, and tuning.


def keep_int8(pipeline, **changes):
    given = {"provider": "cpu", "precision": INT8, "workers": 1, "tile": 512, "batch": 16}
    here = tuned.place(pipeline.catalog)
    answer = Answer(**{**given, "pixels": 4096, "pace": 0.5, **changes})
    tuned.remember("small", pipeline.pipeline.bundles["small"], here, answer)


def test_where_tuning_found_it_fastest_runs_use_it(place):
    pipeline = chain(place, "small")
    keep_int8(pipeline)
    assert pipeline.plan("photographs", "out").models["small"].precisions == {
        "network": "int8 or fp32"
    }
    report = pipeline.run("photographs", "out", precision_floor=FLOOR)
    assert report.precisions == {"small": {"network": INT8}}
    exact = pipeline.plan("photographs", "other", precision="fp32")
    assert exact.models["small"].precisions == {"network": "fp32"}


def test_what_a_run_settled_on_is_kept_whatever_is_tuned_later(place):
    pipeline, found = chain(place, "small"), []
    save_photographs(place / "more", 8)

    def run(out, name):
        shutil.copy(f"more/{name}.png", f"photographs/{name}.png")
        report = pipeline.run("photographs", out, provider="cpu", precision_floor=FLOOR)
        assert report.done
        found.append(report.precisions["small"]["network"])

    run("untuned", 5)
    keep_int8(pipeline)
    run("untuned", 6)
    run("tuned", 6)
    tuned.forget()
    run("tuned", 7)
    assert found == ["fp32", "fp32", INT8, INT8]


def test_a_decision_of_an_earlier_run_changes_the_form(place):
    bundle, pixels = bundle_of(place), {"image_pixels": photograph(place)[None]}
    exact = ort(Networks(bundle, ort)._graph("network", Form.ROUNDED), "fp32").run(pixels)
    fast = ort(Networks(bundle, ort)._graph("network", Form.ROUNDED, INT8), INT8).run(pixels)
    assert not np.array_equal(exact["result_pixels"], fast["result_pixels"])
    for asked, decided, right in (
        (INT8, "fp32", exact),
        ("auto", INT8, fast),
        ("auto", "fp32", exact),
    ):
        networks = Networks(bundle, ort, asked, floor=FLOOR)
        networks.get("network", Form.ROUNDED)
        networks.keep({"network": decided})
        done = networks.get("network", Form.ROUNDED).run(pixels)
        assert np.array_equal(done["result_pixels"], right["result_pixels"]), (asked, decided)
        assert networks.precisions == {"network": decided}


def test_what_was_not_decided_yet_changes_nothing(place):
    networks = Networks(bundle_of(place), ort, INT8, floor=FLOOR)
    networks.get("network")
    networks.keep({"network": "bf16 or fp32"})
    assert networks.precisions == {"network": "int8 or fp32"}


def test_tuning_tries_it_and_compares_it(place, steady):
    pipeline = chain(place, "small")
    settings = RunSettings(runtime="onnxruntime", precision_floor=FLOOR)
    (found,) = tune(pipeline.pipeline, pipeline.catalog, ["photographs"], settings, seconds=5)
    tried = {one.name: one for one in found.trials if one.what == "provider"}
    assert set(tried) == {"cpu fp32", "cpu int8"}
    assert "dB from fp32" in tried["cpu int8"].note
    strict = RunSettings(runtime="onnxruntime", precision_floor=200.0)
    (found,) = tune(pipeline.pipeline, pipeline.catalog, ["photographs"], strict, seconds=5)
    tried = {one.name: one for one in found.trials if one.what == "provider"}
    assert "less than 200" in tried["cpu int8"].note and found.answer.precision == "fp32"
