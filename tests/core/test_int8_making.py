"""`genloom quantize` gives a model its int8 form, and the bundle is checked."""

from __future__ import annotations

import json
import shutil
from dataclasses import replace

import numpy as np
import pytest
import yaml
from click.testing import CliRunner
from integers import (
    FLOOR,
    PICTURE,
    bundle_of,
    layers,
    ort,
    photograph,
)

import genloom
from genloom import Catalog, machine, models
from genloom.card import Card
from genloom.cli import main
from genloom.engine.quantize import quantize
from genloom.engine.watching import apart
from genloom.errors import GenloomError, MissingRequirement, ModelError, OutputError
from genloom.runtime import INT8, proto
from genloom.runtime.quantizing import quantized
from genloom.types import digest_of

onnx = pytest.importorskip("onnx")


def test_the_model_has_both_forms_and_stands(int8_place):
    bundle, plain = bundle_of(int8_place), bundle_of(int8_place, "plain")
    part = bundle.card.parts["network"]
    assert part.int8 is not None and part.int8.file == "network.int8.onnx"
    assert bundle.graph("network") == plain.graph("network")
    assert proto.facts(bundle.int8("network")).opset == part.int8.opset
    assert bundle.digest != plain.digest
    assert genloom.verify_model("small") == []
    assert bundle.card.name == "small" and "int8/network_cpu_db" in bundle.card.metrics
    shown = CliRunner().invoke(main, ["models", "show", "small"]).output
    assert "network.int8.onnx" in shown and part.int8.sha256 in shown and "photographs" in shown


def test_weights_lie_in_it_as_signed_bytes_for_each_channel_and_the_ends_as_floats(int8_place):
    graph = onnx.load_from_string(bundle_of(int8_place).int8("network")).graph
    tensors = {tensor.name: tensor for tensor in graph.initializer}
    convolutions = [node for node in graph.node if node.op_type == "Conv"]
    assert len(convolutions) == 4
    made_of = {output: node for node in graph.node for output in node.output}
    for node in (convolutions[0], convolutions[-1]):
        assert tensors[node.input[1]].data_type == onnx.TensorProto.FLOAT
    for node in convolutions[1:-1]:
        weights, scale = (tensors[name] for name in made_of[node.input[1]].input[:2])
        assert weights.data_type == onnx.TensorProto.INT8 and list(scale.dims) == [8]


def test_the_inner_layers_are_really_computed_in_integers(int8_place):
    """As ONNX Runtime tells when it writes down what it made of the graph."""
    ort_library = pytest.importorskip("onnxruntime")
    options = ort_library.SessionOptions()
    options.optimized_model_filepath = "optimised.onnx"
    options.log_severity_level = 4
    graph = bundle_of(int8_place).int8("network")
    ort_library.InferenceSession(graph, options, providers=["CPUExecutionProvider"])
    done = [node.op_type for node in onnx.load("optimised.onnx").graph.node]
    assert done.count("QLinearConv") == 2


def test_it_gives_nearly_what_fp32_does_on_pictures_it_was_not_calibrated_on(int8_place):
    bundle = bundle_of(int8_place)
    random = np.random.default_rng(9)
    noise = random.normal(0, 0.02, (2, 3, 40, 56))
    image = np.clip(0.5 + noise, 0, 1).astype(np.float32)
    exact = ort(bundle.graph("network"), "fp32").run({"image": image})
    fast = ort(bundle.int8("network"), INT8).run({"image": image})
    found = apart(fast, exact)
    assert 35 < found < 80


def test_processors_without_vnni_give_the_same(int8_place, monkeypatch):
    """Which the ones that have it can tell, as they take the kernels of the others when told to."""
    if "vnni" not in machine.processor():
        pytest.skip("this processor has no VNNI")
    graph = bundle_of(int8_place).int8("network")
    image = np.random.default_rng(4).random((1, 3, 48, 48), np.float32)
    quick = ort(graph, INT8).run({"image": image})["result"]
    monkeypatch.setattr(machine, "processor", lambda: "avx2")
    assert np.array_equal(ort(graph, INT8).run({"image": image})["result"], quick)


def test_names_and_order_of_photographs_do_not_matter(int8_place, write_small_network):
    other = int8_place / "renamed"
    for number in range(6):
        (other / str(number % 2)).mkdir(parents=True, exist_ok=True)
        shutil.copy(
            int8_place / f"photographs/{number}.png", other / f"{number % 2}/{9 - number}.png"
        )
    quantize(bundle_of(int8_place, "plain"), Catalog.load(), [str(other)], int8_place / "again")
    again = Card.read(int8_place / "again").parts["network"].int8
    assert again == bundle_of(int8_place).card.parts["network"].int8


def test_a_network_that_is_told_the_noise_is_calibrated_with_noise(int8_place, write_small_network):
    write_small_network(int8_place / "models/told", level=True)
    paths = [str(int8_place / "photographs")]
    quantize(bundle_of(int8_place, "told"), Catalog.load(), paths, int8_place / "models/quick")
    bundle = bundle_of(int8_place, "quick")
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


def test_without_the_package_the_extra_is_named(int8_place, monkeypatch):
    monkeypatch.setitem(__import__("sys").modules, "onnx", None)
    with pytest.raises(MissingRequirement, match=r"genloom\[community\]"):
        quantized(bundle_of(int8_place).graph("network"), [])


def test_what_cannot_be_quantised_is_refused_with_its_reason(int8_place, tiny_bundles, catalog):
    photographs = [str(int8_place / "photographs")]
    vae = models.find("tiny-vae", catalog)
    with pytest.raises(ModelError, match="picture for a picture, got encoder, decoder"):
        quantize(vae, catalog, photographs, int8_place / "new")
    guided = models.find("denoise-render", catalog)
    with pytest.raises(ModelError, match="got albedo, normal"):
        quantize(guided, catalog, photographs, int8_place / "new")
    plain = bundle_of(int8_place, "plain")
    exact = replace(plain, card=plain.card.model_copy(update={"precision": "fp32"}))
    with pytest.raises(ModelError, match="in fp32 only, as its card says"):
        quantize(exact, catalog, photographs, int8_place / "new")
    with pytest.raises(GenloomError, match="at least 2"):
        quantize(plain, catalog, [f"{photographs[0]}/0.png"], int8_place / "new")
    with pytest.raises(OutputError, match="exists already"):
        quantize(plain, catalog, photographs, int8_place / "models/small")
    assert not (int8_place / "new").exists()


def test_the_command_says_what_it_is_worth_and_leaves_nothing_else(int8_place):
    said = CliRunner().invoke(main, ["quantize", "plain", "photographs", "-o", "models/third"])
    assert said.exit_code == 0, said.output
    assert "'network' on cpu: " in said.output and "times as fast as fp32" in said.output
    assert "models/third: verified" in said.output
    assert sorted(path.name for path in (int8_place / "models").iterdir()) == [
        "plain",
        "small",
        "third",
    ]
    plain = ["quantize", "plain", "photographs", "-o", "models/fourth", "--json"]
    found = json.loads(CliRunner().invoke(main, plain).stdout)
    assert found[0]["part"] == "network" and found[0]["mean"] >= found[0]["least"] > FLOOR


# Bundles.


def test_a_form_that_was_changed_is_found_and_refused(int8_place):
    with (int8_place / "models/small/network.int8.onnx").open("ab") as file:
        file.write(b"\0")
    (problem,) = genloom.verify_model("small")
    assert problem.startswith("int8 form of network: ") and "not the one the card" in problem
    with pytest.raises(ModelError, match="int8 form of 'network' is not the one"):
        genloom.open_model("small", precision="int8")
    assert genloom.open_model("small")(photograph(int8_place)).shape == (64, 64, 3)


def test_a_form_that_is_no_quantised_graph_is_found(int8_place):
    folder = int8_place / "models/small"
    shutil.copy(folder / "network.onnx", folder / "network.int8.onnx")
    card = yaml.safe_load((folder / "model.yaml").read_text())
    part = card["parts"]["network"]
    part["int8"] |= {"sha256": part["sha256"], "opset": part["opset"]}
    (folder / "model.yaml").write_text(yaml.safe_dump(card, sort_keys=False))
    assert genloom.verify_model("small") == ["int8 form of network: no layer of it is quantised"]


def test_models_without_it_keep_their_digests(int8_place):
    bundle = bundle_of(int8_place, "plain")
    words = dict.fromkeys(("name", "summary", "licence", "parameters", "metrics", "origin"), True)
    left_out = {**words, "parts": {"__all__": {"file", "opset"}}}
    said = bundle.card.model_dump(mode="json", exclude=left_out, exclude_defaults=True)
    assert bundle.digest == digest_of(said)
    assert set(said["parts"]["network"]) == {"sha256", "inputs", "outputs"}
