"""`genloom import` of weights that spandrel recognises; with tiny networks."""

import pickle
import subprocess
import sys
import zipfile

import numpy as np
import pytest

import genloom
from genloom.card import Card, SizeRule
from genloom.errors import GenloomError
from genloom_community.importing import import_file
from genloom_community.request import Request

spandrel = pytest.importorskip("spandrel")
torch = pytest.importorskip("torch")
from safetensors.torch import save_file  # noqa: E402

from genloom_community import padding  # noqa: E402

pytestmark = pytest.mark.filterwarnings("ignore")


def compact(**options):
    from spandrel.architectures.Compact.__arch.SRVGG import SRVGGNetCompact

    torch.manual_seed(0)
    return SRVGGNetCompact(**{"num_feat": 4, "num_conv": 1, "upscale": 2, **options}).eval()


def drunet():
    from spandrel.architectures.DRUNet import DRUNet

    torch.manual_seed(0)
    return DRUNet(in_nc=4, out_nc=3, nc=[4, 4, 4, 4], nb=2).eval()


def swinir():
    from spandrel.architectures.SwinIR import SwinIR

    torch.manual_seed(0)
    return SwinIR(
        depths=[2], num_heads=[1], embed_dim=4, window_size=4, upscale=2, img_size=16,
        upsampler="pixelshuffledirect",
    ).eval()  # fmt: skip


def saved(path, network):
    save_file({k: v.contiguous().clone() for k, v in network.state_dict().items()}, path)
    return path


def torch_result(path, pixels):
    found = spandrel.ModelLoader().load_from_file(path).eval()
    result = found(torch.from_numpy(pixels.transpose(2, 0, 1)[None]))
    return result[0].numpy().transpose(1, 2, 0)


def picture(*size):
    return np.random.default_rng(3).random((*size, 3)).astype(np.float32)


def imported(path, folder, **options):
    said = list(import_file(Request(file=path, folder=folder, **options)))
    return Card.read(folder), said


@pytest.mark.parametrize(
    ("make", "told", "size"), [(compact, False, (61, 43)), (drunet, True, (61, 43))]
)
def test_it_gives_what_torch_gives_at_odd_sizes_whole_and_tiled(tmp_path, make, told, size):
    path = saved(tmp_path / "weights.safetensors", make())
    card, _ = imported(path, tmp_path / "model", licence="BSD-3-Clause")
    assert ("noise_level" in card.parts["network"].inputs) is told
    assert (card.licence, card.origin.source) == ("BSD-3-Clause", "weights.safetensors")
    assert card.receptive_field != "global" and genloom.verify_model(tmp_path / "model") == []
    pixels = picture(*size)
    got = genloom.open_model(tmp_path / "model")(pixels)
    assert np.abs(got.clip(0, 1) - torch_result(path, pixels)).max() < 1e-3
    tile = max(16, card.receptive_field + 3 * card.size.step)
    pixels = picture(2 * tile + 1, tile + 7)
    got = genloom.open_model(tmp_path / "model", tile=tile)(pixels)
    assert np.abs(got.clip(0, 1) - torch_result(path, pixels)).max() < 1e-3


def test_a_network_of_windows_takes_any_size_and_tiles_keep_to_its_windows(tmp_path):
    path = saved(tmp_path / "swin.safetensors", swinir())
    card, _ = imported(path, tmp_path / "swin")
    assert card.size.fixed is None and card.size.stride == 4
    for size in ((33, 41), (70, 91)):
        pixels = picture(*size)
        got = genloom.open_model(tmp_path / "swin", tile=48)(pixels)
        assert np.abs(got.clip(0, 1) - torch_result(path, pixels)).max() < 1e-3


class Windowed(torch.nn.Module):
    """Pads to a multiple of 8 in some way, and takes each window's mean away."""

    def __init__(self, mode):
        super().__init__()
        self.mode = mode

    def forward(self, image):
        height, width = image.shape[2:]
        padded = padding.pad(image, padding.Padding(8, self.mode))
        mean = torch.nn.functional.avg_pool2d(padded, 8)
        mean = torch.nn.functional.interpolate(mean, scale_factor=8)
        return (padded - mean)[..., :height, :width]


@pytest.mark.parametrize("mode", ["reflect", "edge", "constant"])
def test_how_a_network_pads_is_found_out(mode):
    inputs = [(torch.rand(1, 3, *size),) for size in padding.SIZES]
    found = padding.found(Windowed(mode), inputs, SizeRule())
    assert found.mode == mode and found.multiple % 8 == 0, "whole windows more are no difference"


class Enlarged(torch.nn.Module):
    """Fills pictures up to multiples of 8 and shows its convolution what is twice as large."""

    def __init__(self):
        super().__init__()
        self.look = torch.nn.Conv2d(3, 3, 3, padding=1)

    def forward(self, image):
        height, width = image.shape[2:]
        filled = padding.pad(image, padding.Padding(8, "reflect"))
        seen = self.look(torch.nn.functional.interpolate(filled, scale_factor=2.0))
        return seen[..., : 2 * height, : 2 * width]


def test_padding_is_found_where_a_convolution_sees_an_enlarged_picture():
    inputs = [(torch.rand(1, 3, *size),) for size in padding.SIZES]
    found = padding.found(Enlarged(), inputs, SizeRule())
    assert found.multiple > 1
    assert found.multiple % 8 == 0


def test_a_network_that_does_not_pad_needs_none():
    inputs = [(torch.rand(1, 3, *size),) for size in padding.SIZES]
    convs = torch.nn.Sequential(*[torch.nn.Conv2d(3, 3, 3, padding=1) for _ in range(3)])
    assert padding.found(convs, inputs, SizeRule()) == padding.Padding()


class Counted(torch.nn.Module):
    """Counts how often a network is run."""

    def __init__(self, module):
        super().__init__()
        self.module, self.runs = module, 0

    def forward(self, image):
        self.runs += 1
        return self.module(image)


@pytest.mark.parametrize("unshuffled", [False, True])
def test_a_network_that_sees_the_picture_as_it_is_is_not_tried_out_further(unshuffled):
    convs = torch.nn.Sequential(
        torch.nn.PixelUnshuffle(2) if unshuffled else torch.nn.Identity(),
        torch.nn.Conv2d(12 if unshuffled else 3, 3, 3, padding=1),
    )
    rule = SizeRule(multiple=2 if unshuffled else 1)
    counted = Counted(convs)
    inputs = [(torch.rand(1, 3, *rule.padded(*size)),) for size in padding.SIZES]
    assert padding.found(counted, inputs, rule) == padding.Padding()
    assert counted.runs == len(inputs)


class PaddedLate(torch.nn.Module):
    """Looks at single pixels, pads, and then at neighbours; unshuffled or not."""

    def __init__(self, by):
        super().__init__()
        self.first = torch.nn.Conv2d(3, 4, 1)
        self.shuffle = torch.nn.PixelUnshuffle(by), torch.nn.PixelShuffle(by)
        self.second = torch.nn.Conv2d(4 * by * by, 4 * by * by, 3, padding=1)

    def forward(self, image):
        height, width = image.shape[2:]
        padded = padding.pad(self.first(image), padding.Padding(8, "reflect"))
        down, up = self.shuffle
        return up(self.second(down(padded)))[..., :height, :width]


@pytest.mark.parametrize("by", [1, 2, 4])
def test_padding_is_found_behind_what_sees_single_pixels(by):
    inputs = [(torch.rand(1, 3, *size),) for size in padding.SIZES]
    found = padding.found(PaddedLate(by).eval(), inputs, SizeRule())
    assert found == padding.Padding(8, "reflect")


def test_an_import_tells_what_it_is_at_before_it_takes_its_time(tmp_path):
    path = saved(tmp_path / "weights.safetensors", compact())
    told = []
    request = Request(file=path, folder=tmp_path / "model")
    said = list(import_file(request, told.append))
    assert "weights.safetensors: " in told[0] and "exporting" in told[0]
    assert [line.split()[0] for line in told[1:]] == ["measuring", "measuring", "verifying"]
    assert not set(told) & set(said)


def test_the_names_that_real_esrgan_gives_its_weights_are_known(tmp_path):
    from spandrel.architectures.ESRGAN.__arch.RRDB import RRDBNet

    torch.manual_seed(0)
    own = RRDBNet(num_filters=4, num_blocks=2, scale=4).state_dict()
    path = tmp_path / "RealESRGAN.pth"
    torch.save({"params_ema": real_esrgan(own)}, path)
    card, _ = imported(path, tmp_path / "model")
    assert card.scale == 4
    pixels = picture(21, 33)
    got = genloom.open_model(tmp_path / "model")(pixels)
    assert np.abs(got.clip(0, 1) - torch_result(path, pixels)).max() < 1e-3


def real_esrgan(state):
    """Weights of an RRDBNet under the names of BasicSR."""
    layers = {"0": "conv_first", "3": "conv_up1", "6": "conv_up2", "8": "conv_hr"}
    layers["10"] = "conv_last"
    named = {}
    for name, tensor in state.items():
        parts = name.split(".")
        if "RDB" in name:
            parts = ["body", parts[3], parts[4].lower(), parts[5], parts[-1]]
        else:
            parts = ["conv_body" if parts[1] == "1" else layers[parts[1]], parts[-1]]
        named[".".join(parts)] = tensor
    return named


class Evil:
    def __reduce__(self):
        return (eval, ("1 / 0",))


def test_weights_load_from_pth_but_nothing_else_does(tmp_path):
    path = tmp_path / "weights.pth"
    torch.save({"params_ema": compact().state_dict()}, path)
    card, _ = imported(path, tmp_path / "model")
    assert card.scale == 2
    torch.save({"params": compact().state_dict(), "extra": Evil()}, path)
    message = r"wants more than weights to be loaded \(.*eval.*save_file"
    with pytest.raises(GenloomError, match=message):
        imported(path, tmp_path / "other")
    path.write_bytes(pickle.dumps(Evil()))
    with pytest.raises(GenloomError, match=r"weights\.pth"):
        imported(path, tmp_path / "other")
    assert not (tmp_path / "other").exists()


def test_a_program_is_refused_with_the_safe_way(tmp_path):
    path = tmp_path / "program.pt"
    with zipfile.ZipFile(path, "w") as archive:
        archive.writestr("program/constants.pkl", b"")
    with pytest.raises(GenloomError, match=r"TorchScript archive.*safetensors"):
        imported(path, tmp_path / "model")


@pytest.mark.parametrize(
    ("content", "message"),
    [
        ({"a": torch.zeros(2)}, "no architecture that spandrel knows.*Export the network to ONNX"),
        ({}, "no tensors"),
        (torch.zeros(3), "no weights by name"),
    ],
)
def test_weights_that_nobody_knows_are_refused(tmp_path, content, message):
    path = tmp_path / "weights.pth"
    torch.save(content, path)
    with pytest.raises(GenloomError, match=message):
        imported(path, tmp_path / "model")


def test_a_damaged_file_is_refused(tmp_path):
    path = tmp_path / "weights.safetensors"
    path.write_bytes(b"nothing")
    with pytest.raises(GenloomError, match="not a safetensors file"):
        imported(path, tmp_path / "model")


def test_a_network_of_other_channels_out_than_in_is_refused(tmp_path):
    path = saved(tmp_path / "odd.safetensors", compact(num_in_ch=1, num_out_ch=3))
    with pytest.raises(GenloomError, match="same channels"):
        imported(path, tmp_path / "model")


def test_a_network_that_exports_only_at_one_size_says_so_and_is_tiled(tmp_path, monkeypatch):
    from genloom_community import weights

    original = weights._exported

    def only_fixed(attempt, problems):
        if attempt.size.fixed is None:
            raise GenloomError("it cannot")
        return original(attempt, problems)

    monkeypatch.setattr(weights, "_exported", only_fixed)
    path = saved(tmp_path / "compact.safetensors", compact())
    card, said = imported(path, tmp_path / "model", size=48)
    assert card.size.fixed == (48, 48)
    assert any("one size only" in line for line in said)
    pixels = picture(101, 87)
    got = genloom.open_model(tmp_path / "model")(pixels)
    assert got.shape == (202, 174, 3)
    assert np.abs(got.clip(0, 1) - torch_result(path, pixels)).max() < 1e-3


TRAIN = "lightning_fabric sklearn torchmetrics torch_fidelity tensorboard matplotlib"


def test_importing_weights_needs_nothing_of_the_extra_that_trains():
    code = (
        "import sys\n"
        f"sys.modules.update(dict.fromkeys({TRAIN.split()!r}))  # so that importing them fails\n"
        "import genloom_community.importing, genloom_community.weights\n"
        "print('imported')"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True)
    assert done.stdout == "imported\n", done.stderr


def test_a_network_that_wants_a_mask_is_refused(tmp_path):
    from spandrel.architectures.LaMa.__arch.LaMa import LaMa

    path = saved(tmp_path / "lama.safetensors", LaMa(in_nc=4))
    with pytest.raises(GenloomError, match="no network from a picture to a picture"):
        imported(path, tmp_path / "model")


class Picky(torch.nn.Module):
    """Takes pictures of 64×64 only, and says so in its own way."""

    def forward(self, image):
        if image.shape[2:] != (64, 64):
            raise KeyError("not this size")
        return image * 0.5


def test_a_network_that_fails_at_some_sizes_is_exported_at_one_it_takes(tmp_path, monkeypatch):
    from genloom_community import weights

    found = weights.Recognised(
        module=Picky(), architecture="Picky", channels=3, scale=1, size=SizeRule()
    )
    monkeypatch.setattr(weights, "recognised", lambda request: found)
    request = Request(file=tmp_path / "picky.pth", folder=tmp_path / "model", size=64)
    made = weights.draft(request)
    assert made.size.fixed == (64, 64) and "not this size" in made.notes[0]
    with pytest.raises(GenloomError, match=r"Picky cannot be exported to ONNX"):
        weights.draft(Request(file=request.file, folder=request.folder, size=48))


class Grainy(torch.nn.Module):
    """Adds grain to the picture, as strong as it is told."""

    def __init__(self, strength):
        super().__init__()
        self.strength = strength

    def forward(self, image):
        return image + self.strength * torch.randn_like(image)


def test_a_network_that_draws_random_numbers_is_refused_before_it_is_exported(
    tmp_path, monkeypatch
):
    from genloom_community import weights

    def found(strength):
        module = Grainy(strength)
        return weights.Recognised(
            module=module, architecture="Grainy", channels=3, scale=1, size=SizeRule()
        )

    assert not found(0.0).random, "what is drawn makes no difference"
    monkeypatch.setattr(weights, "recognised", lambda request: found(0.01))
    monkeypatch.setattr(weights, "to_onnx", lambda *a, **o: pytest.fail("exported"))
    with pytest.raises(GenloomError, match=r"Grainy draws random numbers"):
        weights.draft(Request(file=tmp_path / "grainy.pth", folder=tmp_path / "model"))
