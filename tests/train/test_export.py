"""Export: proven equal to torch, nothing private or random inside, whole or absent."""

import dataclasses

import numpy as np
import onnx
import pytest
import torch
from torch import nn
from torch.nn import functional

from genloom.card import Card, Port
from genloom.errors import GenloomError
from genloom.runtime import Settings
from genloom.runtime.ort import OnnxRuntime
from genloom_train import export as exporting
from genloom_train.export import Bundle, export
from genloom_train.onnx_graph import SLOW_RULES, Parity, check_parity, to_onnx
from genloom_train.receptive_field import receptive_field
from genloom_train.training import Graph, Training

IMAGE = Port(axes=("batch", 3, "height", "width"), range=(0.0, 1.0))


def graph_of(module):
    return Graph(module=module.eval(), inputs={"image": IMAGE}, outputs={"result": IMAGE})


class Only(Training):
    """A family of whatever module it is given as `config`."""

    def build(self):
        return self.config

    def losses(self, module, batch):
        raise NotImplementedError

    validate = preview = losses

    def graphs(self, module):
        return {"network": graph_of(module)}


class Strided(nn.Module):
    """Half the size and back: 2×2 convolution, 3×3 convolution, nearest-neighbour enlargement."""

    def __init__(self):
        super().__init__()
        self.down = nn.Conv2d(3, 3, 2, stride=2)
        self.middle = nn.Conv2d(3, 3, 3, padding=1)

    def forward(self, image):
        return functional.interpolate(self.middle(self.down(image)), scale_factor=2.0)


class Pooled(nn.Module):
    """Sees the whole picture."""

    def forward(self, image):
        return image * image.mean((2, 3), keepdim=True)


class Random(nn.Module):
    """Draws its own noise."""

    def forward(self, image):
        return image + torch.randn_like(image)


def conv(kernel, dilation=1):
    padding = dilation * (kernel - 1) // 2
    return nn.Conv2d(3, 3, kernel, padding=padding, dilation=dilation)


@pytest.mark.parametrize(
    ("module", "multiple", "width"),
    [
        (conv(3), 1, 3),
        (conv(1), 1, 1),
        (nn.Sequential(conv(3), nn.ReLU(), conv(5)), 1, 7),
        (conv(3, dilation=4), 1, 9),
        (Strided(), 2, 7),
        (Pooled(), 1, "global"),
    ],
    ids=["3", "1", "3 and 5", "dilated", "strided", "pooled"],
)
def test_the_receptive_field_is_measured(module, multiple, width, monkeypatch):
    monkeypatch.setattr("genloom_train.receptive_field.LARGEST", 256)
    assert receptive_field(graph_of(module), multiple) == width


def test_a_dead_activation_hides_nothing():
    module = nn.Sequential(conv(3), nn.ReLU(), conv(3))
    nn.init.constant_(module[0].bias, -100.0)
    assert receptive_field(graph_of(module)) == 5


class Growing(nn.Module):
    """Residual blocks, whose sums grow with depth, under a bounded output."""

    def __init__(self, bound):
        super().__init__()
        self.blocks = nn.ModuleList(conv(3) for _ in range(6))
        for block in self.blocks:  # as trained: no block lets anything through
            nn.init.constant_(block.bias, -100.0)
        self.bound = bound

    def forward(self, image):
        for block in self.blocks:
            image = image + torch.relu(block(image))
        return self.bound(image)


@pytest.mark.parametrize(
    "bound",
    [
        torch.tanh,
        lambda x: torch.tanh(4 * x - 1),
        lambda x: torch.sigmoid(100 * x),
        lambda x: x.clamp(0, 1),
        nn.functional.relu6,
        nn.Hardsigmoid(),
    ],
    ids=["tanh", "shifted tanh", "steep sigmoid", "clamp", "relu6", "hardsigmoid"],
)
def test_a_bounded_output_hides_nothing(bound):
    assert receptive_field(graph_of(Growing(bound))) == 13


def test_a_bundle_is_written_with_its_card(tmp_path):
    torch.manual_seed(0)
    card = export(Only(conv(3), (3, 8, 8)), conv(3), Bundle(name="tiny", family="only"), tmp_path)
    assert sorted(p.name for p in (tmp_path / "tiny").iterdir()) == ["model.yaml", "network.onnx"]
    assert [p.name for p in tmp_path.iterdir()] == ["tiny"]
    assert Card.read(tmp_path / "tiny") == card
    assert (card.parameters, card.receptive_field) == (3 * 3 * 9 + 3, 3)
    assert 0 <= card.metrics["onnx_difference"] <= 1e-4 and "onnx_ties" not in card.metrics
    export(Only(conv(1), (3, 8, 8)), conv(1), Bundle(name="tiny", family="only"), tmp_path)
    assert Card.read(tmp_path / "tiny").receptive_field == 1


def test_the_file_holds_the_ports_and_nothing_of_this_machine(tmp_path):
    model = to_onnx("network", graph_of(nn.Sequential(conv(3), nn.ReLU())))
    axes = [d.dim_param or d.dim_value for d in model.graph.input[0].type.tensor_type.shape.dim]
    assert axes == ["batch", 3, "height", "width"]
    assert [value.name for value in model.graph.output] == ["result"]
    text = str(model)
    assert ".py" not in text and "site-packages" not in text
    assert not any(t.data_location == onnx.TensorProto.EXTERNAL for t in model.graph.initializer)


def test_a_graph_that_differs_from_torch_fails_and_leaves_nothing(tmp_path, monkeypatch):
    whole = exporting.to_onnx

    def other(part, graph, multiple):
        changed = nn.Sequential(graph.module, conv(1))
        return whole(part, graph_of(changed), multiple)

    monkeypatch.setattr(exporting, "to_onnx", other)
    with pytest.raises(GenloomError, match="differ on 'network'"):
        export(Only(conv(3), (3, 8, 8)), conv(3), Bundle(name="tiny", family="only"), tmp_path)
    assert list(tmp_path.iterdir()) == []


def test_a_failed_export_leaves_the_older_bundle(tmp_path):
    export(Only(conv(3), (3, 8, 8)), conv(3), Bundle(name="tiny", family="only"), tmp_path)
    before = (tmp_path / "tiny" / "network.onnx").read_bytes()
    with pytest.raises(GenloomError):
        export(Only(Random(), (3, 8, 8)), Random(), Bundle(name="tiny", family="only"), tmp_path)
    assert (tmp_path / "tiny" / "network.onnx").read_bytes() == before


def test_a_graph_that_draws_random_numbers_is_refused():
    with pytest.raises(GenloomError, match="random"):
        to_onnx("network", graph_of(Random()))


def test_a_module_that_is_not_a_number_fails_the_parity_check():
    module = conv(1)
    data = to_onnx("network", graph_of(module)).SerializeToString()
    module.weight.data.fill_(float("nan"))
    with pytest.raises(GenloomError, match="differ"):
        check_parity("network", graph_of(module), data)


class Evened(nn.Module):
    """Pictures by how much they vary."""

    def forward(self, image):
        apart = image - image.mean((2, 3), keepdim=True)
        return apart / (apart.square().mean((2, 3), keepdim=True) + 1e-8)


def test_a_division_by_zero_in_pictures_of_one_colour_fails_the_parity_check():
    data = to_onnx("network", graph_of(Evened())).SerializeToString()
    network = OnnxRuntime().compile(data, Settings(provider="cpu"))
    even = network.run({"image": np.zeros((1, 3, 16, 16), np.float32)})["result"]
    assert np.isnan(even).all()  # the exporter leaves out the addition
    with pytest.raises(GenloomError, match=r"differ on 'network'.*nan"):
        check_parity("network", graph_of(Evened()), data)


def scaled(scale, other=0.0):
    """Whether values of a scale pass, when torch's are larger by a share `other`."""
    module = conv(1).requires_grad_(False)
    module.weight *= scale / module.weight.abs().max()
    data = to_onnx("network", graph_of(module)).SerializeToString()
    for weights in module.parameters():
        weights *= 1 + other
    return check_parity("network", graph_of(module), data)


def test_large_values_may_differ_by_as_large_a_share_as_small_ones():
    assert scaled(1e3, 1e-5).difference > 1e-3
    with pytest.raises(GenloomError, match="differ"):
        scaled(1e3, 1e-3)
    with pytest.raises(GenloomError, match="differ"):
        scaled(1.0, 1e-3)


def test_values_of_a_training_that_came_apart_are_said_and_what_to_do():
    said = r"where values reach \d.*e\+0[89]\. .*lower train\.learning_rate"
    with pytest.raises(GenloomError, match=said):
        scaled(1e8, 1e-3)


@pytest.mark.parametrize("said", [True, False])
def test_samples_with_a_near_tie_may_differ_and_are_counted(said):
    class Chosen(nn.Module):
        flip = 0.0

        def forward(self, image):
            return (image > 0.5 + self.flip).float()

    module = Chosen()
    data = to_onnx("network", graph_of(module)).SerializeToString()
    module.flip = 0.01

    def near(image):
        return torch.full((len(image),), said)

    graph = dataclasses.replace(graph_of(module), ties=near)
    if said:
        assert check_parity("network", graph, data) == Parity(difference=0.0, ties=1 + 2 + 5)
    else:
        with pytest.raises(GenloomError, match="differ"):
            check_parity("network", graph, data)


def test_an_axis_that_was_fixed_by_the_exporter_is_found_out():
    class Fixed(nn.Module):
        def forward(self, image):
            return image.reshape(2, 3, image.shape[2], image.shape[3])

    with pytest.raises(GenloomError):
        check_parity(
            "network", graph_of(Fixed()), to_onnx("network", graph_of(Fixed())).SerializeToString()
        )


class Sliced(nn.Module):
    """Cuts a picture in two and puts the halves together the other way round."""

    def forward(self, image):
        return torch.cat([image[..., 8:], image[..., :8]], dim=3)


def test_the_optimizer_runs_without_the_rules_that_are_slow_and_gets_them_back(monkeypatch):
    rewriter = pytest.importorskip("onnxscript.rewriter")
    if not hasattr(rewriter, "_DEFAULT_REWRITE_RULES"):
        pytest.skip("this release of onnxscript keeps its rules elsewhere")
    before, used = rewriter._DEFAULT_REWRITE_RULES, []

    class Watched(rewriter.RewritePass):
        def __init__(self, rules):
            used.append(rules)
            super().__init__(rules)

    monkeypatch.setattr(rewriter, "RewritePass", Watched)
    to_onnx("network", graph_of(Sliced()))
    assert rewriter._DEFAULT_REWRITE_RULES is before
    assert used and all(not SLOW_RULES & {rule.name for rule in rules} for rules in used)
