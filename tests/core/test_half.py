"""Graphs in half precision: float16 within, ports as they were, and exact what must be exact."""

import contextlib
import weakref
from importlib import resources

import numpy as np
import onnx
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from onnx import TensorProto, helper, numpy_helper
from PIL import Image

import genloom
from genloom import imaging, models
from genloom.card import Port
from genloom.catalog import Catalog
from genloom.engine.networks import Form, Networks
from genloom.engine.watching import apart
from genloom.errors import GenloomError, MissingRequirement, ModelError
from genloom.runtime import Settings, providers
from genloom.runtime.half import SUMS, in_half
from genloom.runtime.ort import OnnxRuntime
from genloom.runtime.pixels import IMAGE, RESULT, in_pixels, is_ours

CATALOG = Catalog.load()
PARTS = [
    (found.name, part)
    for found in models.available(CATALOG)
    for part in sorted(models.find(found.name, CATALOG).card.parts)
    if models.find(found.name, CATALOG).card.precision == "auto"  # and not fp32 whatever is asked
]
ROW = Port(axes=("batch", "length"))
FOUR = Port(axes=("batch", 1, "height", "width"))


def compiled(graph):
    return OnnxRuntime().compile(graph, Settings(provider="cpu", threads=1))


def inputs_of(part, side=64):
    """A crop of a photograph, or numbers within the range of a port, for each input."""
    random = np.random.default_rng(0)
    with resources.as_file(resources.files("genloom.demo") / "photographs") as folder:
        photograph = imaging.read(folder / "parrot.jpg").pixels[100 : 100 + side, 80 : 80 + side]
    found = {}
    for name, port in part.inputs.items():
        shape = [
            2 if n == 0 else side if isinstance(axis, str) else axis
            for n, axis in enumerate(port.axes)
        ]
        low, high = port.range or (-1.0, 1.0)
        if len(shape) == 4 and shape[1:] == [3, side, side]:
            values = np.stack([photograph, photograph[::-1]]).transpose(0, 3, 1, 2) / 255
        else:
            values = random.uniform(low, high, shape)
        found[name] = values.astype(port.dtype)
    return found


def rounded(graph):
    """A graph in float16 computed in float32, with every value rounded to float16 as it is made.

    ONNX Runtime leaves out, on the CPU, the roundings between operators that it computes in float32
    anyway. A GPU rounds there; within an operator it adds up in float32, as this does.
    """
    model = onnx.load_from_string(graph)
    for constant in model.graph.initializer:
        if constant.data_type == TensorProto.FLOAT16:
            values = numpy_helper.to_array(constant).astype(np.float32)
            constant.CopyFrom(numpy_helper.from_array(values, constant.name))
    nodes = []
    for node in model.graph.node:
        halves = [n for n, name in enumerate(node.output) if name.startswith("half/")]
        for attribute in node.attribute:
            if node.op_type == "Cast" and attribute.i == TensorProto.FLOAT16:
                attribute.i = TensorProto.FLOAT
        nodes.append(node)
        for n in halves:
            name = node.output[n]
            node.output[n] = f"{name}/before"
            nodes += [
                helper.make_node(
                    "Cast", [f"{name}/before"], [f"{name}/16"], to=TensorProto.FLOAT16
                ),
                helper.make_node("Cast", [f"{name}/16"], [name], to=TensorProto.FLOAT),
            ]
    del model.graph.node[:]
    model.graph.node.extend(nodes)
    return model.SerializeToString()


def kinds_of(graph):
    """Element type of every value of a graph."""
    model = onnx.shape_inference.infer_shapes(onnx.load_from_string(graph), strict_mode=True)
    infos = (*model.graph.value_info, *model.graph.input, *model.graph.output)
    found = {info.name: info.type.tensor_type.elem_type for info in infos}
    return model, found | {one.name: one.data_type for one in model.graph.initializer}


def looked_up(graph):
    """Bytes of what a graph looks up, such as the texture of a style, which stays as it is."""
    model = onnx.load_from_string(graph).graph
    tables = {node.input[0] for node in model.node if node.op_type.startswith("Gather")}
    return sum(len(one.raw_data) for one in model.initializer if one.name in tables)


@pytest.mark.parametrize(("name", "part"), PARTS)
def test_the_bundles_in_half_precision_keep_their_ports_and_their_results(name, part):
    bundle = models.find(name, CATALOG)
    graph = bundle.graph(part)
    halved = in_half(graph)
    onnx.checker.check_model(onnx.load_from_string(halved), full_check=True)
    exact, fast = compiled(graph), compiled(halved)
    assert (fast.inputs, fast.outputs, fast.types) == (exact.inputs, exact.outputs, exact.types)
    inputs = inputs_of(bundle.card.parts[part])
    wanted = exact.run(inputs)
    found = apart(compiled(rounded(halved)).run(inputs), wanted)
    print(f"\n{name} {part}: {found:.1f} dB")  # the figures of the decision note
    assert found > 50 and apart(fast.run(inputs), wanted) > 50
    fixed = looked_up(graph)
    assert len(halved) - fixed < 0.8 * (len(graph) - fixed) or len(graph) < 100_000


def test_what_lies_around_the_network_stays_as_it_was():
    graph = in_pixels(models.find("upscale-x2", CATALOG).graph("network"), "image", "result")
    before, after = (onnx.load_from_string(one).graph.node for one in (graph, in_half(graph)))

    def ours(nodes):
        return [node for node in nodes if is_ours((*node.input, *node.output))]

    assert ours(after) == ours(before) and len(ours(after)) == 10
    model, kinds = kinds_of(in_half(graph))
    within = [node for node in model.graph.node if node.op_type in ("Conv", "Relu", "PRelu")]
    assert within and all(kinds[name] == TensorProto.FLOAT16 for n in within for name in n.output)


def test_all_levels_of_a_picture_come_through_as_they_were(onnx_bytes):
    picture = Port(axes=("batch", 3, "height", "width"))
    network = [("Mul", ["image", "one"], ["result"], {})]
    graph = onnx_bytes(network, {"image": picture}, {"result": picture}, {"one": np.float32([1])})
    levels = np.arange(256, dtype=np.uint8).reshape(1, 16, 16, 1).repeat(3, axis=3)
    halved = compiled(in_half(in_pixels(graph, "image", "result")))
    assert np.array_equal(halved.run({IMAGE: levels})[RESULT], levels)


def test_weights_beyond_the_range_are_refused(onnx_bytes):
    def scaled(*factors):
        nodes = [("Mul", ["x", "factor"], ["y"], {})]
        return onnx_bytes(nodes, {"x": ROW}, {"y": ROW}, {"factor": np.float32(factors)})

    with pytest.raises(ModelError, match="weights of 70000, and fp16 ends at 65504"):
        in_half(scaled(1, -70000))
    with pytest.raises(ModelError, match="the constant 1e-09, which would be zero"):
        in_half(scaled(1e-9))
    assert in_half(scaled(1, -np.inf, 1e-9))
    assert in_half(scaled(0))


@pytest.mark.parametrize(
    ("node", "said"),
    [
        (helper.make_node("DequantizeLinear", ["x", "s"], ["y"]), "it is quantised"),
        (helper.make_node("Gelu", ["x"], ["y"], domain="com.microsoft"), "Gelu, which is not ONNX"),
        (
            helper.make_node(
                "If",
                ["x"],
                ["y"],
                then_branch=helper.make_graph([], "a", [], []),
                else_branch=helper.make_graph([], "b", [], []),
            ),
            "If, which holds a graph",
        ),
    ],
)
def test_what_cannot_be_converted_is_refused_with_the_reason(node, said):
    value = helper.make_tensor_value_info("x", TensorProto.FLOAT, ["n"])
    model = helper.make_model(helper.make_graph([node], "g", [value], []))
    with pytest.raises(ModelError, match=said):
        in_half(model.SerializeToString())


@settings(suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(data=st.binary(max_size=60), at=st.integers(0, 2000), byte=st.integers(0, 255))
def test_any_bytes_are_a_graph_or_an_error_of_ours(onnx_bytes, data, at, byte):
    nodes = [("Mul", ["x", "factor"], ["y"], {})]
    whole = onnx_bytes(nodes, {"x": ROW}, {"y": ROW}, {"factor": np.float32([1])})
    at %= len(whole)
    for damaged in (data, whole[:at] + bytes([byte]) + whole[at + 1 :], whole[:at] + data):
        with contextlib.suppress(ModelError):
            assert isinstance(in_half(damaged), bytes)


def test_sizes_are_computed_exactly_and_factors_of_a_size_stay_float32(onnx_bytes):
    nodes = [
        ("Shape", ["x"], ["shape"], {}),
        ("Cast", ["shape"], ["sides"], {"to": TensorProto.FLOAT}),
        ("Mul", ["sides", "factors"], ["larger"], {}),
        ("Cast", ["larger"], ["sizes"], {"to": TensorProto.INT64}),
        ("Resize", ["x", "", "", "sizes"], ["wide"], {"mode": "nearest"}),
        ("Resize", ["wide", "", "factors"], ["y"], {"mode": "nearest"}),
    ]
    constants = {"factors": np.float32([1, 1, 1, 2])}
    graph = onnx_bytes(nodes, {"x": FOUR}, {"y": FOUR}, constants)
    x = np.linspace(0, 1, 3001, dtype=np.float32).reshape(1, 1, 1, -1)
    found, wanted = (compiled(one).run({"x": x})["y"] for one in (in_half(graph), graph))
    assert found.shape == wanted.shape == (1, 1, 1, 12004)
    assert np.abs(found - wanted).max() < 5e-4


def test_truths_indices_and_constants_of_all_kinds_find_their_types(onnx_bytes):
    tensor = numpy_helper.from_array(np.float32([[0.3]]), "inner")
    nodes = [
        ("Constant", [], ["a"], {"value": tensor}),
        ("Constant", [], ["b"], {"value_float": 0.25}),
        ("Add", ["a", "b"], ["limit"], {}),
        ("Greater", ["x", "limit"], ["above"], {}),
        ("Where", ["above", "x", "a"], ["z"], {}),
        ("TopK", ["z", "count"], ["largest", "places"], {"axis": 1}),
        ("GatherElements", ["x", "places"], ["again"], {"axis": 1}),
        ("Cast", ["above"], ["ones"], {"to": TensorProto.FLOAT}),
        ("ReduceSum", ["ones", "axis"], ["number"], {}),
        ("Sub", ["largest", "again"], ["nothing"], {}),
        ("Add", ["nothing", "number"], ["y"], {}),
        ("Identity", ["places"], ["where"], {}),
    ]
    constants = {"count": np.int64([2]), "axis": np.int64([1])}
    places = Port(axes=("batch", "length"), dtype="int64")
    graph = onnx_bytes(nodes, {"x": ROW}, {"y": ROW, "where": places}, constants)
    x = np.random.default_rng(3).random((2, 3000), np.float32)
    found, wanted = (compiled(one).run({"x": x}) for one in (in_half(graph), graph))
    assert found["y"].dtype == np.float32 and found["where"].dtype == np.int64
    assert wanted["y"].min() > 1000
    assert np.abs(found["y"] / wanted["y"] - 1).max() < 2e-3


def test_sums_over_many_values_are_not_taken_in_float16(onnx_bytes):
    nodes = [
        ("Mul", ["x", "one"], ["scaled"], {}),
        ("ReduceMean", ["scaled"], ["mean"], {"keepdims": 1}),
        ("Sub", ["scaled", "mean"], ["y"], {}),
    ]
    graph = in_half(onnx_bytes(nodes, {"x": ROW}, {"y": ROW}, {"one": np.float32([1])}))
    model, kinds = kinds_of(graph)
    (sums,) = [node for node in model.graph.node if node.op_type in SUMS]
    assert {kinds[name] for name in (*sums.input, *sums.output)} == {TensorProto.FLOAT}
    (difference,) = [node for node in model.graph.node if node.op_type == "Sub"]
    assert {kinds[name] for name in difference.input} == {TensorProto.FLOAT16}


@pytest.fixture
def in_half_on_the_cpu(monkeypatch):
    """The CPU stands for a provider that is fast in fp16: it computes the same, only slowly."""
    monkeypatch.setitem(providers.IN_HALF, "cpu", {})


def on_cpu(graph, precision="auto"):
    settings = Settings(provider="cpu", threads=1, precision=precision)
    return OnnxRuntime().compile(graph, settings)


def test_auto_takes_fp16_where_the_provider_is_fast_in_it(in_half_on_the_cpu):
    bundle = models.find("upscale-x2", CATALOG)
    networks = Networks(bundle, on_cpu, "auto")
    network = networks.get("network", Form.ROUNDED)
    pixels = np.random.default_rng(0).integers(0, 256, (1, 40, 48, 3), np.uint8)
    assert network.precision == "fp16"
    assert network.run({IMAGE: pixels})[RESULT].shape == (1, 80, 96, 3)
    assert networks.precisions == {"network": "fp16"} and networks.notes() == []


def test_a_run_in_fp16_says_so_and_makes_the_same_picture(in_half_on_the_cpu, tmp_path):
    source = tmp_path / "in"
    source.mkdir()
    random = np.random.default_rng(0)
    Image.fromarray(random.integers(0, 256, (20, 30, 3), np.uint8)).save(source / "a.png")
    made = {}
    for precision in ("auto", "fp32"):
        out = tmp_path / precision
        report = genloom.load_pipeline("upscale").run(
            source, out, provider="cpu", precision=precision, tuned=False
        )
        expected = "fp16" if precision == "auto" else "fp32"
        assert report.precisions == {"upscale-x2": {"network": expected}}
        assert report.notes == {} and report.done == 1
        made[precision] = np.asarray(Image.open(out / "a.png")).astype(int)
    assert np.abs(made["auto"] - made["fp32"]).max() <= 1


def test_other_providers_compute_in_fp32():
    graph = models.find("upscale-x2", CATALOG).graph("network")
    for precision in ("auto", "fp16"):
        network = on_cpu(graph, precision)
        assert (network.precision, network.note) == ("fp32", "")
    networks = Networks(models.find("upscale-x2", CATALOG), on_cpu, "fp16")
    with pytest.raises(MissingRequirement, match="'cpu' does not compute in fp16"):
        networks.get("network")


def test_a_graph_that_does_not_go_into_fp16_is_computed_in_fp32_and_a_note_says_why(
    in_half_on_the_cpu, onnx_bytes, tmp_path
):
    nodes = [("Mul", ["x", "factor"], ["y"], {})]
    graph = onnx_bytes(nodes, {"x": ROW}, {"y": ROW}, {"factor": np.float32([1e6])})
    (tmp_path / "large.onnx").write_bytes(graph)
    for given_as in (graph, tmp_path / "large.onnx"):
        network = on_cpu(given_as)
        assert network.precision == "fp32"
        assert "computed in fp32, not fp16: the graph cannot" in network.note
        assert network.run({"x": np.float32([[2]])})["y"] == [[2e6]]
    networks = Networks(
        models.find("upscale-x2", CATALOG), lambda _, how: on_cpu(graph, how), "fp16"
    )
    with pytest.raises(MissingRequirement, match=r"does not compute in fp16; got .* 1e\+06"):
        networks.get("network")
    with pytest.raises(GenloomError, match=r"gone\.onnx"):
        on_cpu(tmp_path / "gone.onnx")


def test_results_that_leave_the_range_are_computed_again_in_fp32(onnx_bytes):
    nodes = [("Mul", ["x", "up"], ["large"], {}), ("Mul", ["large", "down"], ["y"], {})]
    constants = {"up": np.float32([1000]), "down": np.float32([0.001])}
    graph = onnx_bytes(nodes, {"x": ROW}, {"y": ROW}, constants)
    bundle = models.find("upscale-x2", CATALOG)
    compiled_in = []

    def compile(_, precision):
        network = compiled(rounded(in_half(graph)) if precision == "auto" else graph)
        network.precision = "fp16" if precision == "auto" else "fp32"
        compiled_in.append(weakref.ref(network))
        return network

    networks = Networks(bundle, compile, "auto")
    network = networks.get("network")
    small, large = np.float32([[0.5, 1, 3]]), np.float32([[0.5, 100, 3]])
    assert np.allclose(network.run({"x": small})["y"], small, rtol=2e-3)
    assert networks.precisions == {"network": "fp16"}
    fast, exact = compiled_in
    assert fast() is not None and exact() is None, "what was only compared with is let go"
    assert np.allclose(network.run({"x": large})["y"], large, rtol=1e-6)
    assert compiled_in[2]() is not None

    first = Networks(bundle, compile, "auto")
    assert np.allclose(first.get("network").run({"x": large})["y"], large, rtol=1e-6)
    assert first.precisions == {"network": "fp32"}
    assert first.notes() == ["fp16 gives no numbers; computed in fp32"]
    assert compiled_in[3]() is None and compiled_in[4]() is not None
