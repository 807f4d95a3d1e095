"""`genloom import` of files that are odd, old, hostile or guessed wrongly, and what it replaces."""

import pickle
import shlex
import zipfile

import numpy as np
import pytest
from click.testing import CliRunner

import genloom
from genloom.card import Card
from genloom.cli import main
from genloom.errors import GenloomError
from genloom_community import importing, writing
from genloom_community.importing import import_file
from genloom_community.request import Request

onnx = pytest.importorskip("onnx")
from onnx import TensorProto, helper, numpy_helper  # noqa: E402

FREE = ["n", 3, "h", "w"]
TYPES = {"float32": TensorProto.FLOAT, "uint8": TensorProto.UINT8}


def node(op, inputs, outputs, **attributes):
    return helper.make_node(op, inputs.split(), outputs.split(), **attributes)


def made(nodes, constants=(), *, shape=FREE, result=FREE, types=("float32", "float32")):
    """A model with the input `x` and the output `y`."""
    graph = helper.make_graph(
        nodes,
        "foreign",
        [helper.make_tensor_value_info("x", TYPES[types[0]], shape)],
        [helper.make_tensor_value_info("y", TYPES[types[1]], result)],
        [numpy_helper.from_array(np.asarray(v), k) for k, v in dict(constants).items()],
    )
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)])
    model.ir_version = 9
    return model


@pytest.fixture
def bring(tmp_path):
    """Save a model and import it: the card, what was said, and the folder."""

    def make(model, name="net", **options):
        path = tmp_path / f"{name}.onnx"
        onnx.save(model, path)
        request = Request(file=path, folder=tmp_path / "models" / name, **options)
        said = "\n".join(import_file(request))
        return Card.read(request.folder), said, request.folder

    return make


HALF = {"half": np.float32(0.5)}
HALVED = [node("Mul", "x half", "y")]
RELU = [node("Relu", "x", "y")]


def picture(*size, channels=3):
    return np.random.default_rng(3).random((*size, channels)).astype(np.float32)


def test_weights_that_an_old_file_lists_among_its_inputs_are_weights(bring):
    model = made(HALVED, HALF)
    model.graph.input.append(helper.make_tensor_value_info("half", TensorProto.FLOAT, []))
    model.ir_version = 3
    _, _, folder = bring(model, range="0-1")
    pixels = picture(9, 11)
    assert np.allclose(genloom.open_model(folder)(pixels), pixels / 2)


def branch(name, *inputs):
    return helper.make_graph(
        [node("Mul", " ".join(inputs), f"{name}_y")],
        name,
        [],
        [helper.make_tensor_value_info(f"{name}_y", TensorProto.FLOAT, None)],
    )


def test_branches_may_use_values_of_the_graph_around_them_by_any_name(bring):
    """One is called as genloom calls its own ports."""
    nodes = [
        node("Identity", "x", "image"),
        node(
            "If",
            "yes",
            "y",
            then_branch=branch("then", "image", "result"),
            else_branch=branch("else", "x", "x"),
        ),
    ]
    constants = {"yes": np.bool_(True), "result": np.float32(0.5)}
    _, _, folder = bring(made(nodes, constants), range="0-1")
    pixels = picture(9, 11)
    assert np.allclose(genloom.open_model(folder)(pixels), pixels / 2)


def test_an_input_without_a_shape_is_tried_out(bring):
    model = made(HALVED, HALF)
    model.graph.input[0].type.tensor_type.ClearField("shape")
    card, _, folder = bring(model, range="0-1")
    assert card.size.fixed is None and card.channels == 3
    assert genloom.open_model(folder)(picture(9, 11)).shape == (9, 11, 3)


def test_a_graph_that_breaks_the_rules_is_refused_with_a_genloom_error(bring, monkeypatch):
    def broken(model):
        raise onnx.checker.ValidationError("not in order")

    monkeypatch.setattr("onnx.checker.check_model", broken)
    with pytest.raises(GenloomError, match=r"breaks ONNX's rules \(not in order"):
        bring(made(HALVED, HALF), range="0-1")


SHARP = np.zeros((3, 1, 3, 3), np.float32)
SHARP[:, 0] = [[0, 1, 0], [1, -4, 1], [0, 1, 0]]


def residual():
    """x − 2 · tanh(laplacian / 8), made for values up to 255."""
    nodes = [
        node("Conv", "x w", "lap", pads=[1] * 4, group=3),
        node("Div", "lap eight", "less"),
        node("Tanh", "less", "bounded"),
        node("Mul", "bounded two", "change"),
        node("Sub", "x change", "y"),
    ]
    return made(nodes, {"w": SHARP, "eight": np.float32(8), "two": np.float32(2)})


def test_a_range_that_no_trial_can_tell_is_named_with_a_warning(bring):
    _, said, _ = bring(residual())
    assert "pixel values are taken to be" in said and "--range says it for sure" in said
    assert "warning: that is a guess" in said and "0-255" in said.split("warning")[1]


def test_a_range_that_shows_is_named_without_a_warning(bring):
    nodes = [
        node("Div", "x full", "a"),
        node("Clip", "a low high", "b"),
        node("Mul", "b full", "y"),
    ]
    constants = {"full": np.float32(255), "low": np.float32(0.05), "high": np.float32(1)}
    _, said, _ = bring(made(nodes, constants))
    assert "taken to be 0-255: then its result differs from the picture by" in said
    assert "warning: that" not in said


def test_bytes_are_bytes_whatever_range_is_said(bring):
    model = made([node("Identity", "x", "y")], types=("uint8", "uint8"))
    _, said, folder = bring(model, range="0-1")
    assert "bytes are always 0-255" in said
    pixels = picture(9, 11)
    assert np.allclose(genloom.open_model(folder)(pixels), pixels, atol=1 / 400)


DIVIDED = [node("Div", "x full", "y")]
FULL = {"full": np.float32(255)}


def test_a_network_may_give_another_range_than_it_takes(bring):
    _, said, folder = bring(made(DIVIDED, FULL), range="0-255:0-1")
    assert "warning" not in said
    pixels = picture(9, 11)
    assert np.allclose(genloom.open_model(folder)(pixels), pixels, atol=1e-6)


def test_a_range_under_which_the_result_is_unlike_the_picture_is_warned_of(bring):
    _, said, _ = bring(made(DIVIDED, FULL), range="0-255")
    assert "warning: with pixel values of 0-255" in said and "with 0-255 in, 0-1 out by" in said


def test_a_range_that_is_none_is_refused_before_anything_is_done(bring):
    with pytest.raises(GenloomError, match=r"no such range of pixel values.*got 0-256"):
        bring(made(HALVED, HALF), range="0-256")


def test_force_keeps_what_is_no_part_of_a_bundle(bring, tmp_path):
    _, _, folder = bring(made(HALVED, HALF), range="0-1")
    notes = folder / "notes.txt"
    notes.write_text("mine")
    with pytest.raises(GenloomError, match=r"more than a bundle.*got notes\.txt"):
        bring(made(RELU), force=True)
    assert notes.read_text() == "mine"
    notes.unlink()
    bring(made(RELU), force=True)


def test_force_never_replaces_the_file_that_is_imported(bring):
    _, _, folder = bring(made(HALVED, HALF), range="0-1")
    with pytest.raises(GenloomError, match=r"more than a bundle.*network\.onnx"):
        list(import_file(Request(file=folder / "network.onnx", folder=folder, force=True)))
    assert genloom.verify_model(folder) == []


def test_an_interruption_while_replacing_leaves_the_old_bundle(bring, monkeypatch):
    card, _, folder = bring(made(HALVED, HALF), range="0-1")
    rename = type(folder).rename

    def interrupted(self, target):
        if self.parent.name.endswith(".tmp"):
            raise KeyboardInterrupt
        return rename(self, target)

    monkeypatch.setattr(type(folder), "rename", interrupted)
    with pytest.raises(KeyboardInterrupt):
        bring(made(RELU), force=True)
    assert Card.read(folder) == card and genloom.verify_model(folder) == []
    assert [one.name for one in folder.parent.iterdir()] == [folder.name]


def test_a_bundle_that_a_killed_run_moved_aside_comes_back(tmp_path):
    old, new, final = tmp_path / ".m.old", tmp_path / ".m.tmp/m", tmp_path / "m"
    old.mkdir()
    new.mkdir(parents=True)
    writing._tidy(old, new, final)
    assert [one.name for one in tmp_path.iterdir()] == ["m"]


def test_a_folder_below_a_file_is_refused_before_anything_is_measured(tmp_path, monkeypatch):
    monkeypatch.setattr(importing, "_draft", lambda request: pytest.fail("measured"))
    onnx.save(made(RELU), tmp_path / "net.onnx")
    (tmp_path / "file").touch()
    request = Request(file=tmp_path / "net.onnx", folder=tmp_path / "file" / "below" / "model")
    with pytest.raises(GenloomError, match="cannot lie below a file"):
        list(import_file(request))


def test_the_card_s_command_makes_the_bundle_again(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    onnx.save(made(HALVED, HALF), tmp_path / "c d.onnx")
    said = ["--licence", "CC BY 4.0", "--range", "0-255", "--layout", "nchw", "--bgr"]
    first = CliRunner().invoke(main, ["import", "c d.onnx", "-o", "one", *said])
    assert first.exit_code == 0, first.output
    card = Card.read(tmp_path / "one")
    command = shlex.split(card.origin.command)
    assert command[:4] == ["genloom", "import", "c d.onnx", "-o"]
    again = CliRunner().invoke(main, [*command[1:4], "two/one", *command[5:]])
    assert again.exit_code == 0, again.output
    assert Card.read(tmp_path / "two/one") == card


@pytest.mark.parametrize(
    ("ending", "options", "message"),
    [
        (".onnx", {"size": 64}, "--size would do nothing"),
        (".pth", {"range": "0-1", "bgr": True}, "--range and --bgr would do nothing"),
        (".safetensors", {"layout": "nchw"}, "--layout would do nothing"),
    ],
)
def test_options_that_do_nothing_for_such_a_file_are_refused(tmp_path, ending, options, message):
    path = tmp_path / f"net{ending}"
    path.touch()
    with pytest.raises(GenloomError, match=message):
        list(import_file(Request(file=path, folder=tmp_path / "model", **options)))


def test_blue_first_is_refused_for_grey(bring):
    grey = ["n", 1, "h", "w"]
    with pytest.raises(GenloomError, match=r"expected 3 channels, as blue comes first"):
        bring(made(RELU, shape=grey, result=grey), bgr=True)


def test_an_axis_too_short_for_pictures_is_no_side(bring):
    rgba = ["n", 4, "h", "w"]
    with pytest.raises(GenloomError, match="as NHWC its pictures would be too small"):
        bring(made(RELU, shape=rgba, result=rgba), layout="nhwc")


def test_an_overlap_that_a_finite_field_does_not_need_is_said_to_do_nothing(bring):
    _, said, _ = bring(made(RELU), overlap=8)
    assert "--overlap does nothing" in said


def blocks(size):
    return [
        node("SpaceToDepth", "x", "a", blocksize=size),
        node("DepthToSpace", "a", "y", blocksize=size),
    ]


@pytest.mark.parametrize("multiple", [5, 10, 20, 128, 256])
def test_unusual_multiples_are_found(tmp_path, multiple):
    from genloom_community.probe import Probe
    from genloom_community.reach import compiled

    path = tmp_path / "net.onnx"
    probe = Probe(compiled(made(blocks(multiple))), Request(file=path, folder=tmp_path / "m"))
    assert (probe.size.multiple, probe.size.minimum) == (multiple, multiple)


def test_multiples_that_were_tried_are_told(bring):
    with pytest.raises(GenloomError, match=r"Tried, square and not: sizes that are .*128, 256"):
        bring(made(blocks(11)))


def test_a_network_above_two_gigabytes_is_refused_before_its_weights_are_read(bring, tmp_path):
    model = made(HALVED, HALF)
    tensor = model.graph.initializer[0]
    tensor.ClearField("raw_data")
    tensor.data_location = TensorProto.EXTERNAL
    tensor.external_data.add(key="location", value="weights.bin")
    with (tmp_path / "weights.bin").open("wb") as file:
        file.truncate(2**31)
    with pytest.raises(GenloomError, match=r"too large for one ONNX file.*got 2\.0 GiB"):
        bring(model)


def test_weights_elsewhere_are_refused_in_nodes_and_branches_too(bring):
    constant = numpy_helper.from_array(np.float32(0.5), "c")
    constant.ClearField("raw_data")
    constant.data_location = TensorProto.EXTERNAL
    constant.external_data.add(key="location", value="../weights.bin")
    below = branch("then", "x", "c")
    below.node.insert(0, node("Constant", "", "c", value=constant))
    nodes = [node("If", "yes", "y", then_branch=below, else_branch=branch("else", "x", "x"))]
    with pytest.raises(GenloomError, match="outside its own folder"):
        bring(made(nodes, {"yes": np.bool_(True)}))


def test_random_numbers_are_found_in_branches_before_anything_runs(bring, monkeypatch):
    monkeypatch.setattr("genloom_community.foreign.compiled", lambda model: pytest.fail("ran"))
    below = branch("then", "x", "c")
    below.node.insert(0, node("RandomUniformLike", "x", "c"))
    nodes = [node("If", "yes", "y", then_branch=below, else_branch=branch("else", "x", "x"))]
    with pytest.raises(GenloomError, match="draws random numbers"):
        bring(made(nodes, {"yes": np.bool_(True)}))


def test_a_compressed_archive_is_refused_before_it_is_inflated(tmp_path, monkeypatch):
    torch = pytest.importorskip("torch")
    plain, path = tmp_path / "plain.pth", tmp_path / "small.pth"
    torch.save({"a": torch.zeros(1000, 1000)}, plain)
    with zipfile.ZipFile(plain) as source, zipfile.ZipFile(path, "w") as small:
        for name in source.namelist():
            small.writestr(name, source.read(name), zipfile.ZIP_DEFLATED)
    monkeypatch.setattr(torch, "load", lambda *a, **o: pytest.fail("inflated"))
    with pytest.raises(GenloomError, match="archive is compressed"):
        list(import_file(Request(file=path, folder=tmp_path / "model")))


def test_a_shape_without_numbers_is_refused(tmp_path):
    torch = pytest.importorskip("torch")
    path = tmp_path / "net.pth"
    torch.save({"a": torch.zeros(1).expand(2**20, 2**20)}, path)
    with pytest.raises(GenloomError, match="holds less than the shape of 'a' says"):
        list(import_file(Request(file=path, folder=tmp_path / "model")))


def test_a_folder_in_place_of_a_file_is_told_what_lies_in_it(tmp_path):
    (tmp_path / "x4.pth").write_bytes(b"")
    request = Request(file=tmp_path, folder=tmp_path / "out")
    with pytest.raises(GenloomError, match=r"this is a folder; expected a file.*x4\.pth"):
        list(import_file(request))


@pytest.mark.filterwarnings("error")
@pytest.mark.parametrize("data", [b"hello world" * 9, b"", pickle.dumps({"weights": 1.5})])
def test_a_file_that_is_no_weights_says_so_and_what_was_expected(tmp_path, data):
    (tmp_path / "x4.pth").write_bytes(data)
    request = Request(file=tmp_path / "x4.pth", folder=tmp_path / "out")
    with pytest.raises(GenloomError, match=r"weights") as error:
        list(import_file(request))
    assert error.value.hint
