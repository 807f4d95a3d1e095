"""`verify` finds whatever in a bundle is not as its card says, and nothing in a sound one."""

from __future__ import annotations

import hashlib
import shutil

import numpy as np
import pytest
import yaml

from genloom.card import Port
from genloom.engine.compiling import runtime_named
from genloom.engine.verify import verify, verify_all
from genloom.errors import ModelError
from genloom.models import Bundle
from genloom.runtime import proto


@pytest.fixture
def bundle_of(tiny_bundles, tmp_path):
    """A copy of a tiny bundle whose card may be changed by a function of its plain values."""

    def make(name, change=lambda card: None):
        folder = tmp_path / name
        shutil.copytree(tiny_bundles / name, folder)
        card = yaml.safe_load((folder / "model.yaml").read_text())
        change(card)
        (folder / "model.yaml").write_text(yaml.safe_dump(card, sort_keys=False))
        return Bundle.open(folder)

    return make


@pytest.fixture
def problems(catalog):
    return lambda bundle: list(verify(bundle, catalog, runtime_named(catalog, "onnxruntime")))


@pytest.mark.parametrize("name", ["tiny-image", "tiny-vae"])
def test_a_sound_bundle_has_no_problems(bundle_of, problems, name):
    assert problems(bundle_of(name)) == []


def test_a_changed_graph_is_found_by_its_hash(bundle_of, problems):
    bundle = bundle_of("tiny-image")
    with (bundle.folder / "network.onnx").open("ab") as file:
        file.write(b"\0")
    (problem,) = problems(bundle)
    assert problem.startswith("network: ") and "is not the one the card describes" in problem


def test_a_missing_graph_is_found_and_the_other_parts_are_still_checked(bundle_of, problems):
    bundle = bundle_of("tiny-vae", lambda card: card["parts"]["decoder"].update(opset=17))
    (bundle.folder / "encoder.onnx").unlink()
    missing, opset = problems(bundle)
    assert missing.startswith("encoder: ") and "cannot be read" in missing
    assert opset == "decoder: its opset is 18, the card says 17"


def test_every_port_that_differs_is_told(bundle_of, problems):
    def change(card):
        ports = card["parts"]["network"]["inputs"]
        ports["image"]["axes"] = ["batch", 1, "height", "width"]
        ports["noise_level"]["dtype"] = "int64"
        ports["label"] = {"axes": ["batch"]}
        card["parts"]["network"]["outputs"] = {"picture": {"axes": ["batch"]}}

    found = "\n".join(problems(bundle_of("tiny-image", change)))
    assert "has axes [batch, 3, height, width], the card says [batch, 1, height, width]" in found
    assert "'noise_level' is float32, the card says int64" in found
    assert "no input 'label'" in found
    assert "no output 'picture'" in found
    assert "does not list the output 'result'" in found


def test_a_wrong_scale_is_found_by_the_trial_run(bundle_of, problems):
    found = problems(bundle_of("tiny-image", lambda card: card.update(scale=2)))
    assert len(found) == 2
    assert "'result' came out as [1, 3, 32, 48], expected [1, 3, 64, 96]" in found[0]


def test_a_latent_of_another_shape_than_the_card_says_is_found(bundle_of, problems):
    found = problems(bundle_of("tiny-vae", lambda card: card.update(latent=[5])))
    assert "encoder: 'mean' is (4,), but the card's latent is (5,)" in found


def test_a_family_that_nobody_brings_is_found_with_the_nearest_name(bundle_of, problems):
    (problem,) = problems(bundle_of("tiny-vae", lambda card: card.update(family="tiny-vea")))
    assert "no plugin brings its family 'tiny-vea'" in problem and "tiny-vae" in problem


def test_a_card_under_another_name_is_found(bundle_of, problems):
    (problem,) = problems(bundle_of("tiny-vae", lambda card: card.update(name="other")))
    assert "calls it 'other'" in problem


def rebuilt(bundle, build, nodes, constants=(), outputs=None):
    """Put another graph in the place of the network's, with a card that has its hash."""
    part = bundle.card.parts["network"]
    data = build(nodes, dict(part.inputs), dict(outputs or part.outputs), constants)
    (bundle.folder / "network.onnx").write_bytes(data)
    digest = hashlib.sha256(data).hexdigest()
    parts = {"network": part.model_copy(update={"sha256": digest})}
    bundle.card.model_copy(update={"parts": parts}).write(bundle.folder)
    return Bundle.open(bundle.folder)


def test_results_that_are_not_finite_are_found(bundle_of, problems, onnx_bytes):
    nodes = [
        ("Reshape", ["noise_level", "shape"], ["level"], {}),
        ("Sub", ["level", "level"], ["nought"], {}),
        ("Div", ["image", "nought"], ["result"], {}),
    ]
    shape = {"shape": np.array([-1, 1, 1, 1], np.int64)}
    bundle = rebuilt(bundle_of("tiny-image"), onnx_bytes, nodes, shape)
    assert any("'result' is not finite everywhere" in problem for problem in problems(bundle))


def test_a_graph_that_draws_random_numbers_is_refused(bundle_of, problems, onnx_bytes):
    nodes = [
        ("RandomNormalLike", ["image"], ["noise"], {}),
        ("Reshape", ["noise_level", "shape"], ["level"], {}),
        ("Mul", ["noise", "level"], ["result"], {}),
    ]
    shape = {"shape": np.array([-1, 1, 1, 1], np.int64)}
    bundle = rebuilt(bundle_of("tiny-image"), onnx_bytes, nodes, shape)
    assert any("draws random numbers (RandomNormalLike)" in problem for problem in problems(bundle))


def test_a_graph_whose_items_depend_on_each_other_is_found(bundle_of, problems, onnx_bytes):
    nodes = [
        ("ReduceMean", ["image", "first"], ["mean"], {}),
        ("Reshape", ["noise_level", "shape"], ["level"], {}),
        ("Mul", ["mean", "level"], ["weighted"], {}),
        ("Add", ["image", "weighted"], ["result"], {}),
    ]
    constants = {"first": np.array([0], np.int64), "shape": np.array([-1, 1, 1, 1], np.int64)}
    bundle = rebuilt(bundle_of("tiny-image"), onnx_bytes, nodes, constants)
    assert any("depends on what else is in the batch" in problem for problem in problems(bundle))


def test_weights_in_another_file_are_refused(bundle_of, problems):
    import onnx

    bundle = bundle_of("tiny-image")
    path = bundle.folder / "network.onnx"
    model = onnx.load(path)
    onnx.save(model, path, save_as_external_data=True, location="weights", size_threshold=0)
    digest = hashlib.sha256(path.read_bytes()).hexdigest()
    parts = {"network": bundle.card.parts["network"].model_copy(update={"sha256": digest})}
    bundle.card.model_copy(update={"parts": parts}).write(bundle.folder)
    found = problems(Bundle.open(bundle.folder))
    assert any("its weights lie in another file" in problem for problem in found)


def test_a_graph_that_fails_on_some_size_is_found(bundle_of, problems, onnx_bytes):
    nodes = [
        ("Gather", ["image", "row"], ["line"], {"axis": 2}),
        ("Reshape", ["noise_level", "shape"], ["level"], {}),
        ("Mul", ["line", "level"], ["scaled"], {}),
        ("Mul", ["image", "scaled"], ["result"], {}),
    ]
    constants = {"row": np.array([40], np.int64), "shape": np.array([-1, 1, 1, 1], np.int64)}
    bundle = rebuilt(bundle_of("tiny-image"), onnx_bytes, nodes, constants)
    (problem,) = problems(bundle)
    assert "a trial on image (1, 3, 32, 48)" in problem and "the graph failed" in problem


def test_labels_and_bytes_are_tried_within_their_range(bundle_of, catalog, problems, onnx_bytes):
    """A graph that looks its label up in a table of three fails on any other label."""
    ports = {
        "mask": Port(axes=("batch", 3, "height", "width"), dtype="uint8"),
        "label": Port(axes=("batch",), dtype="int64"),
    }
    nodes = [
        ("Cast", ["mask"], ["float"], {"to": 1}),
        ("Gather", ["table", "label"], ["rows"], {"axis": 0}),
        ("Mul", ["float", "rows"], ["result"], {}),
    ]
    table = {"table": np.ones((3, 1, 1, 1), np.float32)}
    bundle = bundle_of("tiny-image")
    result = {"result": Port(axes=("batch", 3, "height", "width"))}
    data = onnx_bytes(nodes, ports, result, table)
    (bundle.folder / "network.onnx").write_bytes(data)
    part = bundle.card.parts["network"].model_copy(
        update={"sha256": hashlib.sha256(data).hexdigest(), "inputs": ports}
    )
    update = {"parts": {"network": part}, "labels": ("a", "b", "c")}
    bundle.card.model_copy(update=update).write(bundle.folder)
    assert problems(Bundle.open(bundle.folder)) == []


def test_a_graph_that_is_no_graph_is_one_problem_not_a_crash(bundle_of, problems):
    bundle = bundle_of("tiny-image")
    (bundle.folder / "network.onnx").write_bytes(b"no graph at all")
    digest = hashlib.sha256(b"no graph at all").hexdigest()
    parts = {"network": bundle.card.parts["network"].model_copy(update={"sha256": digest})}
    bundle.card.model_copy(update={"parts": parts}).write(bundle.folder)
    (problem,) = problems(Bundle.open(bundle.folder))
    assert "not an ONNX file" in problem


def test_verify_all_covers_every_bundle_and_every_name(catalog, empty_place):
    everything = {verdict.name: verdict for verdict in verify_all([], catalog)}
    assert {"tiny-image", "tiny-vae"} <= set(everything)
    one, other = verify_all(["tiny-vae", "tiny-wave"], catalog)
    assert one.problems == () and "tiny-vae: encoder (opset 18)" in one.summary
    assert "Did you mean" in other.problems[0]


def test_a_broken_card_is_a_verdict_with_its_line(catalog, empty_place):
    folder = empty_place / "models" / "bad"
    folder.mkdir(parents=True)
    (folder / "model.yaml").write_text("genloom: 1\nname: bad\nchannels: 2\n")
    verdict = next(v for v in verify_all([], catalog) if v.name == "bad")
    assert any("model.yaml:3:11" in problem for problem in verdict.problems)


def test_opset_operators_and_outside_weights_are_read_from_the_bytes():
    import onnx
    from onnx import TensorProto, helper

    branch = helper.make_graph(
        [helper.make_node("RandomUniform", [], ["y"], shape=[3])],
        "branch",
        [],
        [helper.make_tensor_value_info("y", TensorProto.FLOAT, [3])],
    )
    node = helper.make_node("If", ["c"], ["out"], then_branch=branch, else_branch=branch)
    weight = helper.make_tensor("w", TensorProto.FLOAT, [1], [1.0])
    graph = helper.make_graph(
        [node],
        "outer",
        [helper.make_tensor_value_info("c", TensorProto.BOOL, [])],
        [helper.make_tensor_value_info("out", TensorProto.FLOAT, [3])],
        [weight],
    )
    opsets = [helper.make_opsetid("com.microsoft", 1), helper.make_opsetid("", 17)]
    model = helper.make_model(graph, opset_imports=opsets)
    inside = proto.facts(model.SerializeToString())
    assert inside == proto.GraphFacts(17, frozenset({"If", "RandomUniform"}), external=False)
    model.graph.initializer[0].data_location = onnx.TensorProto.EXTERNAL
    assert proto.facts(model.SerializeToString()).external


@pytest.mark.parametrize(
    "data",
    [
        b"\xff" * 40,
        b"\x3a\xff\x7f",
        b"\x0b",
        b"GIF89a",
        b"\x38\x01",
        b"\x42\x04\x12\x02aa",
        b"\x08" + b"\xff" * 12,
    ],
)
def test_bytes_that_are_no_protobuf_are_a_model_error(data):
    with pytest.raises(ModelError, match="not an ONNX file"):
        proto.facts(data)


def test_a_decoder_of_latents_of_any_size_is_held_to_no_size_that_it_was_not_given(
    bundle_of, problems, onnx_bytes
):
    bundle = bundle_of("tiny-image")
    picture = Port(axes=("batch", 3, "height", "width"))
    maps = Port(axes=("batch", 3, "rows", "columns"))
    halve = ("AveragePool", ["image"], ["latent"], {"kernel_shape": [2, 2], "strides": [2, 2]})
    double = ("Resize", ["latent", "", "scales"], ["image"], {"mode": "nearest"})
    scales = {"scales": np.float32([1, 1, 2, 2])}
    parts = {}
    for name, node, inputs, outputs, constants in (
        ("encoder", halve, {"image": picture}, {"latent": maps}, {}),
        ("decoder", double, {"latent": maps}, {"image": picture}, scales),
    ):
        data = onnx_bytes([node], inputs, outputs, constants)
        (bundle.folder / f"{name}.onnx").write_bytes(data)
        digest = hashlib.sha256(data).hexdigest()
        said = {"file": f"{name}.onnx", "sha256": digest, "inputs": inputs, "outputs": outputs}
        parts[name] = bundle.card.parts["network"].model_copy(update=said)
    bundle.card.model_copy(update={"parts": parts}).write(bundle.folder)
    assert problems(Bundle.open(bundle.folder)) == []
