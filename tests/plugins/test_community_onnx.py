"""`genloom import` of foreign ONNX files: probed, given genloom's ports, tiled."""

import itertools
import re
import subprocess
import sys

import numpy as np
import pytest
from click.testing import CliRunner

import genloom
from genloom.card import Card, SizeRule
from genloom.cli import main
from genloom.errors import GenloomError
from genloom_community.importing import import_file
from genloom_community.request import Request

onnx = pytest.importorskip("onnx")
from onnx import TensorProto, helper, numpy_helper  # noqa: E402

TYPES = {"float32": TensorProto.FLOAT, "float16": TensorProto.FLOAT16, "uint8": TensorProto.UINT8}
KERNEL = np.full((3, 1, 3, 3), 1 / 9, np.float32)


def write(path, nodes, shape, result, constants=(), *, dtype="float32", opset=17):
    """An ONNX file with the input `x` and the output `y`."""
    graph = helper.make_graph(
        [helper.make_node(op, list(i), list(o), **a) for op, i, o, a in nodes],
        "foreign",
        [helper.make_tensor_value_info("x", TYPES[dtype], shape)],
        [helper.make_tensor_value_info("y", TYPES[dtype], result)],
        [numpy_helper.from_array(np.asarray(v), k) for k, v in dict(constants).items()],
    )
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", opset)])
    model.ir_version = 9
    onnx.save(model, path)
    return path


def blur(channels=3):
    """A box blur of 3×3 that keeps the size."""
    return ("Conv", ("x", "w"), ("y",), {"pads": [1] * 4, "group": channels})


FREE = ["n", 3, "h", "w"]


@pytest.fixture
def bring(tmp_path):
    """Import a file; the card and what was said."""

    def make(path, **options):
        request = Request(file=path, folder=tmp_path / "models" / path.stem, **options)
        said = list(import_file(request))
        return Card.read(request.folder), said, request.folder

    return make


@pytest.fixture
def blurred(tmp_path):
    return write(tmp_path / "blur.onnx", [blur()], FREE, FREE, {"w": KERNEL})


def picture(*size, channels=3):
    return np.random.default_rng(3).random((*size, channels)).astype(np.float32)


def test_a_plain_graph_becomes_a_bundle_with_genloom_s_ports(bring, blurred):
    card, said, folder = bring(blurred, licence="MIT")
    part = card.parts["network"]
    assert list(part.inputs) == ["image"] and list(part.outputs) == ["result"]
    assert (card.channels, card.scale, card.receptive_field, card.size) == (3, 1, 3, SizeRule())
    assert (card.licence, card.origin.source, card.family) == ("MIT", "blur.onnx", "image-to-image")
    assert len(card.origin.source_sha256) == 64
    assert genloom.verify_model(folder) == []
    assert any("any size; receptive field 3 pixels" in line for line in said)


def test_it_computes_what_the_file_does_at_odd_sizes_whole_and_tiled(bring, blurred):
    _, _, folder = bring(blurred)
    pixels = picture(75, 131)
    padded = np.pad(pixels, ((1, 1), (1, 1), (0, 0)))
    right = sum(padded[y : y + 75, x : x + 131] for y in range(3) for x in range(3)) / 9
    assert np.allclose(genloom.open_model(folder)(pixels), right, atol=1e-5)
    assert np.allclose(genloom.open_model(folder, tile=32)(pixels), right, atol=1e-5)


def test_a_graph_of_one_size_takes_pictures_of_any_size_through_tiles(bring, tmp_path):
    fixed = [1, 3, 256, 256]
    _, _, whole = bring(write(tmp_path / "any.onnx", [blur()], FREE, FREE, {"w": KERNEL}))
    path = write(tmp_path / "fixed.onnx", [blur()], fixed, fixed, {"w": KERNEL})
    card, said, folder = bring(path)
    assert card.size.fixed == (256, 256) and card.receptive_field == 3
    assert any("one size only, 256×256" in line for line in said)
    pixels = picture(301, 523)
    assert np.allclose(
        genloom.open_model(folder)(pixels), genloom.open_model(whole)(pixels), atol=1e-5
    )
    small = genloom.open_model(folder)(pixels[:40, :70])
    assert np.allclose(
        small[:-1, :-1], genloom.open_model(whole)(pixels[:40, :70])[:-1, :-1], atol=1e-5
    )


def deep(layers, side):
    """Box blurs in a row, for one size."""
    names = ["x", *(f"m{n}" for n in range(layers - 1)), "y"]
    shape = [1, 3, side, side]
    options = {"pads": [1] * 4, "group": 3}
    nodes = [("Conv", (a, "w"), (b,), options) for a, b in itertools.pairwise(names)]
    return nodes, shape, shape, {"w": KERNEL}


@pytest.mark.parametrize(
    ("layers", "words"),
    [(2, None), (10, r"only 12×12 pixels are kept of each tile: .* costs 7 times")],
)
def test_it_is_said_where_tiles_of_one_size_keep_little(bring, tmp_path, layers, words):
    card, said, _ = bring(write(tmp_path / "deep.onnx", *deep(layers, 32)))
    assert card.receptive_field == 2 * layers + 1
    told = [line for line in said if "kept of each tile" in line]
    assert [bool(re.search(words or "", line)) for line in told] == ([True] if words else [])


def sandwich(before, after):
    """The blur between nodes that bring pictures to it and take them away."""
    middle = ("Conv", ("a", "w"), ("b",), {"pads": [1] * 4, "group": 3})
    return [*before, middle, *after]


NHWC = sandwich(
    [("Transpose", ("x",), ("a",), {"perm": [0, 3, 1, 2]})],
    [("Transpose", ("b",), ("y",), {"perm": [0, 2, 3, 1]})],
)


def test_channels_may_come_last(bring, tmp_path, blurred):
    shape = ["n", "h", "w", 3]
    card, said, folder = bring(write(tmp_path / "last.onnx", NHWC, shape, shape, {"w": KERNEL}))
    assert card.parts["network"].inputs["image"].axes == ("batch", 3, "height", "width")
    assert any("NHWC" in line for line in said)
    _, _, plain = bring(blurred)
    pixels = picture(33, 47)
    right = genloom.open_model(plain)(pixels)
    assert np.allclose(genloom.open_model(folder)(pixels), right, atol=1e-5)


def test_values_up_to_255_are_recognised_where_the_graph_tells_them(bring, tmp_path, blurred):
    """It takes 120 away before the borders are padded, and adds it again."""
    nodes = sandwich([("Sub", ("x", "m"), ("a",), {})], [("Add", ("b", "m"), ("y",), {})])
    constants = {"w": KERNEL, "m": np.float32(120)}
    card, said, folder = bring(write(tmp_path / "big.onnx", nodes, FREE, FREE, constants))
    assert any("0-255" in line and "--range" in line for line in said)
    _, _, plain = bring(blurred)
    inner = (slice(1, -1), slice(1, -1))
    pixels = picture(33, 47)
    right = genloom.open_model(plain)(pixels)[inner]
    assert np.allclose(genloom.open_model(folder)(pixels)[inner], right, atol=1e-4)
    assert card.range == (0, 1)


def test_a_range_that_is_said_is_believed(bring, blurred):
    _, said, folder = bring(blurred, range="-1-1")
    assert not any("pixel values" in line for line in said)
    pixels = picture(33, 47)
    border = genloom.open_model(folder)(pixels)[0, 5]
    black = pixels[:2, 4:7].sum((0, 1)) / 9
    grey = black + 3 * 0.5 / 9
    assert np.allclose(border, grey, atol=1e-5), "what lies outside is grey to it, not black"


@pytest.mark.parametrize("dtype", ["float16", "uint8"])
def test_other_element_types_are_cast(bring, tmp_path, dtype):
    path = write(
        tmp_path / "cast.onnx", [("Identity", ("x",), ("y",), {})], FREE, FREE, dtype=dtype
    )
    card, said, folder = bring(path)
    assert any(dtype in line for line in said)
    assert card.parts["network"].inputs["image"].dtype == "float32"
    pixels = picture(9, 11)
    assert np.allclose(genloom.open_model(folder)(pixels), pixels, atol=1 / 400)


def test_half_precision_is_compared_as_such(bring, tmp_path):
    kernel = np.random.default_rng(0).uniform(0, 2 / 9, (3, 1, 3, 3)).astype(np.float16)
    path = write(tmp_path / "half.onnx", [blur()], FREE, FREE, {"w": kernel}, dtype="float16")
    card, _, _ = bring(path, range="0-1")
    assert card.receptive_field == 3
    assert card.metrics["import_difference"] < 2e-3


ENLARGE = ("Resize", ("x", "", "s"), ("y",), {"mode": "nearest"})


def test_the_scale_is_found_and_may_be_demanded(bring, tmp_path):
    path = write(tmp_path / "x3.onnx", [ENLARGE], FREE, FREE, {"s": np.float32([1, 1, 3, 3])})
    card, said, folder = bring(path, scale=3)
    assert card.scale == 3 and "×3" in said[0]
    assert genloom.open_model(folder)(picture(7, 5)).shape == (21, 15, 3)
    with pytest.raises(GenloomError, match="another scale; expected 2, got 3"):
        bring(path, scale=2, force=True)


def test_a_size_rule_is_found_and_tiles_keep_to_it(bring, tmp_path):
    """Space to depth and back takes multiples of 4 only."""
    nodes = [
        ("SpaceToDepth", ("x",), ("a",), {"blocksize": 4}),
        ("Relu", ("a",), ("b",), {}),
        ("DepthToSpace", ("b",), ("y",), {"blocksize": 4}),
    ]
    card, _, folder = bring(write(tmp_path / "four.onnx", nodes, FREE, FREE))
    assert card.size.multiple == 4
    pixels = picture(45, 30)
    assert np.allclose(genloom.open_model(folder)(pixels), pixels)


def test_windows_are_found_though_any_size_goes(bring, tmp_path):
    """Each row of 8 pixels gets its own mean, so that a picture moved by 4 is another."""
    pooled = (
        "AveragePool",
        ("x",),
        ("a",),
        {"kernel_shape": [8, 8], "strides": [8, 8], "ceil_mode": 1},
    )
    nodes = [pooled, ("Resize", ("a", "", "s"), ("b",), {"mode": "nearest"})]
    nodes += [
        ("Shape", ("x",), ("t",), {"start": 2}),
        ("Slice", ("b", "zero", "t", "axes"), ("y",), {}),
    ]
    constants = {"s": np.float32([1, 1, 8, 8]), "zero": np.int64([0, 0]), "axes": np.int64([2, 3])}
    card, _, folder = bring(write(tmp_path / "windows.onnx", nodes, FREE, FREE, constants))
    assert (card.size.multiple, card.size.stride) == (1, 8)
    assert 15 <= card.receptive_field <= 31
    pixels = picture(93, 117)
    whole = genloom.open_model(folder)(pixels)
    assert np.allclose(genloom.open_model(folder, tile=48)(pixels), whole, atol=1e-6)


MEAN = [("GlobalAveragePool", ("x",), ("a",), {}), ("Sub", ("x", "a"), ("y",), {})]


def test_a_network_that_sees_a_picture_whole_is_global_and_cut_only_where_asked(bring, tmp_path):
    path = write(tmp_path / "mean.onnx", MEAN, FREE, FREE)
    card, said, _ = bring(path, range="0-1")
    assert card.receptive_field == "global" and "never cut into tiles" in said[2]
    assert card.size.overlap == 0
    card, said, _ = bring(path, range="0-1", overlap=16, force=True)
    assert card.size.overlap == 16 and "blended over 16" in said[2]


def test_one_of_one_size_that_sees_a_picture_whole_is_cut_unless_that_is_refused(bring, tmp_path):
    fixed = [1, 3, 48, 64]
    path = write(tmp_path / "mean.onnx", MEAN, fixed, fixed)
    card, said, folder = bring(path, range="0-1")
    assert card.receptive_field == "global" and card.size.overlap == 12
    assert "tiles are blended over 12 pixels (--overlap N for another)" in said[2]
    assert genloom.open_model(folder)(picture(100, 90)).shape == (100, 90, 3)
    card, said, folder = bring(path, range="0-1", overlap=0, force=True)
    assert card.size.overlap == 0 and "pictures of that size only" in said[2]
    assert "--overlap 0" in card.origin.command
    with pytest.raises(GenloomError, match="one size only"):
        genloom.open_model(folder)(picture(100, 90))


def test_a_field_as_wide_as_the_tile_is_cut_by_blending(bring, tmp_path):
    nodes, shape, result, constants = deep(20, 32)
    path = write(tmp_path / "wide.onnx", nodes, shape, result, constants)
    card, _, folder = bring(path)
    assert card.receptive_field == "global" and card.size.overlap == 8
    assert genloom.open_model(folder)(picture(50, 45)).shape == (50, 45, 3)


def test_a_fourth_channel_is_the_noise_level(bring, tmp_path):
    nodes = [
        ("Slice", ("x", "zero", "three", "one"), ("a",), {}),
        ("Slice", ("x", "three", "four", "one"), ("b",), {}),
        ("Add", ("a", "b"), ("y",), {}),
    ]
    constants = {k: np.int64([v]) for k, v in {"zero": 0, "one": 1, "three": 3, "four": 4}.items()}
    card, said, folder = bring(
        write(tmp_path / "told.onnx", nodes, ["n", 4, "h", "w"], FREE, constants)
    )
    assert any("noise level" in line for line in said)
    assert card.parts["network"].inputs["noise_level"].default == pytest.approx(15 / 255)
    pixels = picture(8, 6)
    result = genloom.open_model(folder)(pixels, noise_level=0.25)
    assert np.allclose(result, pixels + 0.25, atol=1e-6)


def test_weights_in_a_file_beside_it_are_taken_in(bring, blurred, tmp_path):
    model = onnx.load(blurred)
    path = tmp_path / "outside.onnx"
    onnx.save(model, path, save_as_external_data=True, location="weights.bin", size_threshold=0)
    assert (tmp_path / "weights.bin").is_file()
    card, _, folder = bring(path)
    assert card.receptive_field == 3 and genloom.verify_model(folder) == []
    (tmp_path / "weights.bin").unlink()
    with pytest.raises(GenloomError, match=r"'weights.bin', which is not there.*Put that file"):
        bring(path, force=True)


@pytest.mark.parametrize("location", ["../weights.bin", "/etc/passwd", "a/b.bin", "..\\w.bin"])
def test_weights_outside_its_folder_are_refused(bring, blurred, location):
    model = onnx.load(blurred)
    tensor = model.graph.initializer[0]
    tensor.ClearField("raw_data")
    tensor.data_location = TensorProto.EXTERNAL
    tensor.external_data.add(key="location", value=location)
    blurred.write_bytes(model.SerializeToString())
    with pytest.raises(GenloomError, match="outside its own folder"):
        bring(blurred)


def broken(nodes, shape=FREE, result=FREE, constants=(), **options):
    return nodes, shape, result, constants, options


RGBA = ["n", 4, "h", "w"]
BATCH = [4, 3, 64, 64]
ONES = np.ones((1, 3, 1, 1), np.float32)


@pytest.mark.parametrize(
    ("graph", "message"),
    [
        (broken([("Conv", ("x", "w"), ("y",), {})], constants={"w": ONES}), "3 channels"),
        (broken([("Conv", ("x", "w"), ("y",), {"group": 3})], constants={"w": KERNEL}), "multiple"),
        (broken([("Relu", ("x",), ("y",), {})], RGBA, RGBA), "channels.*got shape .1, 4, "),
        (broken([("Relu", ("x",), ("y",), {})], [1, 4, 4, "c"], [1, 4, 4, "c"]), "too small"),
        (broken([("Relu", ("x",), ("y",), {})], BATCH, BATCH), "takes 4 pictures at once.*free b"),
        (broken([("RandomNormalLike", ("x",), ("y",), {})]), "random numbers.*RandomNormalLike"),
        (broken([("Relu", ("x",), ("y",), {})], opset=9), "opset 11 or newer, got opset 9"),
        (broken([("Flatten", ("x",), ("y",), {})], result=["n", "k"]), "no output that is"),
        (broken([("Log", ("z",), ("y",), {})], constants={"z": np.float32(-1)}), "no picture"),
    ],
)  # fmt: skip
def test_what_cannot_be_used_is_refused_with_the_reason(bring, tmp_path, graph, message):
    nodes, shape, result, constants, options = graph
    path = write(tmp_path / "bad.onnx", nodes, shape, result, constants, **options)
    with pytest.raises(GenloomError, match=message):
        bring(path)
    assert not (tmp_path / "models").exists() or not list((tmp_path / "models").iterdir())


def test_what_is_no_file_of_weights_is_refused(bring, tmp_path):
    text = tmp_path / "text.onnx"
    text.write_text("no graph")
    with pytest.raises(GenloomError, match="not an ONNX file"):
        bring(text)
    with pytest.raises(GenloomError, match="no such file"):
        bring(tmp_path / "none.onnx")
    other = tmp_path / "weights.h5"
    other.touch()
    with pytest.raises(GenloomError, match=r"expected \.onnx"):
        bring(other)


def test_a_folder_that_is_there_is_replaced_only_when_that_is_asked(bring, blurred, tmp_path):
    _, _, folder = bring(blurred)
    with pytest.raises(GenloomError, match=r"exists already.*--force"):
        bring(blurred)
    bring(blurred, force=True)
    (folder / "model.yaml").unlink()
    with pytest.raises(GenloomError, match="exists already"):
        bring(blurred, force=True)


def test_the_command_writes_a_bundle_and_says_what_for(blurred, tmp_path):
    out = tmp_path / "models"
    arguments = ["import", str(blurred), "-o", str(out), "--name", "soft"]
    result = CliRunner().invoke(main, arguments)
    assert result.exit_code == 0, result.output
    assert "soft: verified; for the stage `apply`" in result.output
    assert "licence is unknown" in result.output
    assert Card.read(out / "soft").name == "soft"


def test_a_pipeline_uses_what_was_imported(bring, tmp_path, blurred):
    from PIL import Image

    path = write(tmp_path / "x2.onnx", [ENLARGE], FREE, FREE, {"s": np.float32([1, 1, 2, 2])})
    _, _, twice = bring(path)
    _, _, soft = bring(blurred)
    pixels = np.random.default_rng(0).integers(0, 256, (9, 7, 4), np.uint8)
    Image.fromarray(pixels, "RGBA").save(tmp_path / "a.png")
    Image.fromarray(pixels[..., 0]).save(tmp_path / "grey.png")
    chain = tmp_path / "chain.yaml"
    stages = f"[load, {{apply: {{model: {soft}}}}}, {{upscale: {{model: {twice}}}}}, save]"
    chain.write_text(f"genloom: 1\nstages: {stages}\n")
    report = genloom.load_pipeline(chain).run(
        [tmp_path / "a.png", tmp_path / "grey.png"], tmp_path / "out"
    )
    assert report.done == 2
    with (
        Image.open(tmp_path / "out/a.png") as colour,
        Image.open(tmp_path / "out/grey.png") as grey,
    ):
        assert (colour.mode, colour.size, grey.mode, grey.size) == ("RGBA", (14, 18), "L", (14, 18))


def test_an_onnx_file_is_imported_without_torch(blurred, tmp_path):
    arguments = ["import", str(blurred), "-o", str(tmp_path / "m")]
    code = (
        "import sys; from genloom.cli import main\n"
        f"main({arguments!r}, standalone_mode=False)\n"
        "print({'torch', 'spandrel'} & set(sys.modules))"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True)
    assert done.stdout.splitlines()[-1] == "set()", done.stderr


def test_a_missing_package_is_told_with_the_command_that_installs_it(tmp_path, monkeypatch):
    monkeypatch.setattr("importlib.util.find_spec", lambda name: None)
    result = CliRunner().invoke(main, ["import", "a.pth", "-o", str(tmp_path / "m")])
    assert result.exit_code == 3
    assert "genloom[community]" in result.output
