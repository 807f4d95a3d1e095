"""The seven architectures of most published networks, at the size they are published in.

    python benchmarks/published.py                     # all, about an hour on one core
    python benchmarks/published.py SPAN-x4 DRUNet      # some

Each network has the parameters of a published one and is saved as that one is (`params_ema` and
all), imported by `genloom import` in a process of its own, and compared with spandrel on torch: on
two pictures of odd sizes whole and, where the field is finite, on two that are cut into tiles.
Prints a Markdown table; docs/import.md holds the last one.

The weights are random, but not noise: each layer in turn is scaled so that its result has a
standard deviation of 1 on photographs, with a bias of 0.1, and what starts at zero (NAFNet's
residual scales) or at one (norms) is drawn anew. Then the last convolution, and no other, is
fitted by ridge regression, so that the result comes as close to the enlarged photograph as random
features can. So values have the sizes that they have in a trained network, and every layer has its
say: `least effect` is the smallest, over `PROBED` layers spread over the depth, of the largest
change of the result, on [0, 1], when that layer is set to zero. Below `LEAST` nothing is measured:
a difference could hide behind a dead layer. `error` is how far, on the average, the result is from
the photograph.

In RRDBNet's dense blocks, which add a fifth of a fifth of what they find, the deviation is that of
what a layer is given, and `DENSE` times that for what is added: else it would be lost in the sum.
NAFNet adds its picture to the result, so a fit would be one of nothing to nothing, and switch all
of it off. There the last convolution is scaled to a standard deviation of `ADDED`.
"""

from __future__ import annotations

import importlib
import json
import os
import re
import subprocess
import sys
import tempfile
import time
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from architectures import SIZES, torch_result

PHOTOGRAPHS = Path(__file__).parents[1] / "core/genloom/demo/photographs"
SEEN, FRESH = "coffee.jpg", "parrot.jpg"
"""What the weights are scaled on, and what the comparison is made with."""
SIDE = 128
"""Height and width in pixels of the photograph that the weights are scaled on."""
PROBED = 12
LEAST = 1e-2
ADDED = 0.1
DENSE = 3
NARROW = 40
"""The shorter side of pictures that are cut into tiles along the longer."""
GENLOOM = [sys.executable, "-c", "from genloom.cli import main; main()"]
HEAD = """\
| network | parameters | file | import | peak memory | receptive field | whole | tiled | seconds, torch | least effect | error |
|---|---|---|---|---|---|---|---|---|---|---|"""  # noqa: E501


@dataclass(frozen=True)
class Network:
    """One published network: its class below spandrel's `__arch`, options, last layer, wrapping.

    `key` is what the file's state dict lies under, "" where it is bare.
    """

    architecture: str
    path: str
    last: str
    options: dict[str, Any] = field(default_factory=dict)
    key: str = ""


def _swinir(**options: Any) -> Network:
    options = {"window_size": 8, "img_size": 64, "img_range": 1.0, "mlp_ratio": 2, **options}
    last = "conv_last" if options["upsampler"] == "nearest+conv" else "upsample.0"
    key = "params_ema" if options["upsampler"] == "nearest+conv" else "params"
    return Network("SwinIR", "SwinIR.SwinIR", last, options, key)


def _compact(convolutions: int) -> Network:
    last = f"body.{2 * convolutions + 2}"
    options = {"num_feat": 64, "num_conv": convolutions, "upscale": 4}
    return Network("Compact", "SRVGG.SRVGGNetCompact", last, options, "params")


def _rrdb(scale: int, last: str, **options: Any) -> Network:
    options = {"num_filters": 64, "num_blocks": 23, "scale": scale, **options}
    return Network("ESRGAN", "RRDB.RRDBNet", last, options, "params_ema")


def _nafnet(width: int) -> Network:
    options = {"width": width, "enc_blk_nums": [2, 2, 4, 8], "middle_blk_num": 12,
               "dec_blk_nums": [2, 2, 2, 2]}  # fmt: skip
    return Network("NAFNet", "NAFNet_arch.NAFNet", "ending", options, "params")


def _span(scale: int) -> Network:
    options = {"num_in_ch": 3, "num_out_ch": 3, "feature_channels": 48, "upscale": scale}
    return Network("SPAN", "span.SPAN", "upsampler.0", options, "params_ema")


NETWORKS = {
    "Compact-16": _compact(16),
    "Compact-32": _compact(32),
    "RRDB-x4": _rrdb(4, "model.10"),
    "RRDB-x2": _rrdb(4, "model.10", in_nc=12, shuffle_factor=2),
    "SPAN-x4": _span(4),
    "SPAN-x2": _span(2),
    "SwinIR-M": _swinir(embed_dim=180, depths=[6] * 6, num_heads=[6] * 6, upscale=4,
                        upsampler="nearest+conv"),
    "SwinIR-S": _swinir(embed_dim=60, depths=[6] * 4, num_heads=[6] * 4, upscale=2,
                        upsampler="pixelshuffledirect"),
    "DRUNet": Network("DRUNet", "network_unet.DRUNet", "m_tail",
                      {"in_nc": 4, "out_nc": 3, "nc": [64, 128, 256, 512], "nb": 4}),
    "SCUNet": Network("SCUNet", "SCUNet.SCUNet", "m_tail.0", {"dim": 64, "config": [4] * 7}),
    "NAFNet-32": _nafnet(32),
    "NAFNet-64": _nafnet(64),
}  # fmt: skip
"""After realesr-animevideov3 and realesr-general-x4v3, RealESRGAN_x4plus and x2plus, the ×4 and ×2
of SPAN's authors, SwinIR's 003_realSR …-M and 002_lightweightSR …-S, drunet_color,
scunet_color_real, and NAFNet-SIDD at both widths."""


def photograph(name: str, height: int, width: int) -> Any:
    """The middle of a photograph, H×W×3 in [0, 1]; mirrored where it is too small."""
    import cv2
    import numpy as np

    pixels = cv2.cvtColor(cv2.imread(str(PHOTOGRAPHS / name)), cv2.COLOR_BGR2RGB)
    missing = [
        max(0, side - have) for side, have in zip((height, width), pixels.shape, strict=False)
    ]
    pixels = np.pad(pixels, [(0, missing[0]), (0, missing[1]), (0, 0)], "symmetric")
    top, left = (pixels.shape[0] - height) // 2, (pixels.shape[1] - width) // 2
    return np.float32(pixels[top : top + height, left : left + width] / 255)


def made(network: Network) -> tuple[Any, dict[str, float]]:
    """The network with its weights, and how well they do what the docstring above says."""
    import torch
    from torch.nn import functional

    torch.manual_seed(0)
    where, name = network.path.rsplit(".", 1)
    source = importlib.import_module(
        f"spandrel.architectures.{network.architecture}.__arch.{where}"
    )
    module = getattr(source, name)(**network.options)
    seen, fresh = (_tensor(photograph(one, SIDE, SIDE), network) for one in (SEEN, FRESH))
    with torch.no_grad():
        _draw(module)
        _scale_layers(module, seen)
        module.eval()
        if network.architecture == "NAFNet":
            _scale_last(module.get_submodule(network.last))
        else:
            _fit_last(module, network.last, seen)
        result = module(fresh)
        wanted = functional.interpolate(
            fresh[:, :3], size=result.shape[2:], mode="bicubic", align_corners=False
        )
        least = _least_effect(module, fresh[..., :64, :64], network.last)
    if least < LEAST:
        raise SystemExit(
            f"a layer changes the result by {least:.1e} only: nothing can be seen of it"
        )
    figures = {
        "parameters": sum(one.numel() for one in module.parameters()),
        "least": least,
        "error": float((result - wanted).abs().mean()),
    }
    return module, figures


def _tensor(pixels: Any, network: Network) -> Any:
    import torch

    image = torch.from_numpy(pixels.transpose(2, 0, 1)[None].copy())
    if network.architecture != "DRUNet":
        return image
    return torch.cat([image, torch.full_like(image[:, :1], 15 / 255)], dim=1)


def _layers(module: Any) -> dict[str, Any]:
    """Convolutions and linear layers that have weights of their own, by name."""
    from torch import nn

    kinds = (nn.Conv2d, nn.ConvTranspose2d, nn.Linear)
    return {
        name: part
        for name, part in module.named_modules()
        if isinstance(part, kinds) and not name.endswith("eval_conv")  # SPAN's, made of others
    }


def _draw(module: Any) -> None:
    """Draw anew what is constant to begin with, and the tables of relative positions."""
    import torch

    inside = {f"{name}.{own}" for name in _layers(module) for own in ("weight", "bias")}
    for name, parameter in module.named_parameters():
        if name in inside:
            continue
        if "relative_position" in name or bool((parameter == 0).all()):
            parameter.copy_(0.3 * torch.randn_like(parameter))
        else:
            parameter.mul_(1 + 0.1 * torch.randn_like(parameter))


def _scale_layers(module: Any, image: Any) -> None:
    """Scale the weights of each layer, as they run, to results with a standard deviation of 1.

    In RRDBNet's dense blocks it is that of what the layer is given, times `DENSE` for their last.
    """
    import torch

    layers = _layers(module)
    names = {part: name for name, part in layers.items()}

    def scale(part: Any, given: Any, result: Any) -> Any:
        bias = 0 if part.bias is None else part.bias
        channels = (-1,) if isinstance(part, torch.nn.Linear) else (-1, 1, 1)
        plain = result - (bias if part.bias is None else bias.reshape(channels))
        deviation = plain.std()
        if ".RDB" in names[part]:
            deviation /= given[0].std() * (DENSE if ".conv5" in names[part] else 1)
        part.weight.div_(deviation)
        if part.bias is None:
            return plain / deviation
        part.bias.normal_(0, 0.1)
        return plain / deviation + part.bias.reshape(channels)

    module.train()  # SPAN runs the layers that it fuses later only so
    hooks = [part.register_forward_hook(scale) for part in layers.values()]
    module(image)
    for hook in hooks:
        hook.remove()


def _scale_last(last: Any) -> None:
    """Scale a layer's result, which `_scale_layers` brought to a standard deviation of 1."""
    last.weight.mul_(ADDED)
    if last.bias is not None:
        last.bias.mul_(ADDED)


def _fit_last(module: Any, name: str, image: Any) -> None:
    """Fit the last convolution: its result is the network's, but for a shuffle and a constant."""
    import torch
    from torch.nn import functional

    last, caught = module.get_submodule(name), {}
    hook = last.register_forward_hook(lambda _, given, got: caught.update(x=given[0], y=got))
    result = module(image)
    hook.remove()
    wanted = functional.interpolate(
        image[:, :3], size=result.shape[2:], mode="bicubic", align_corners=False
    )
    by = result.shape[2] // caught["y"].shape[2]
    target = caught["y"] + functional.pixel_unshuffle(wanted - result, by)
    columns = functional.unfold(caught["x"], last.kernel_size, padding=last.padding)[0].double()
    columns = torch.cat([columns, torch.ones_like(columns[:1])])
    right = target[0].flatten(1).double()
    square = columns @ columns.T
    ridge = 1e-3 * square.diagonal().mean() * torch.eye(len(square), dtype=torch.float64)
    found = torch.linalg.solve(square + ridge, columns @ right.T).T.float()
    last.weight.copy_(found[:, :-1].reshape(last.weight.shape))
    if last.bias is not None:
        last.bias.copy_(found[:, -1])


def _least_effect(module: Any, image: Any, last: str) -> float:
    """The smallest, over layers, of the largest change of any pixel when that layer is zero."""
    import torch

    right = module(image)
    names = [name for name in _layers(module) if name != last]
    chosen = [names[i * (len(names) - 1) // (PROBED - 1)] for i in range(PROBED)]
    effects = []
    for name in chosen:
        weight = module.get_submodule(name).weight
        before = weight.clone()
        weight.zero_()
        effects.append(float((module(image) - right).abs().max()))
        weight.copy_(before)
    assert torch.equal(module(image), right)
    return min(effects)


def as_published(network: Network, state: dict[str, Any]) -> dict[str, Any]:
    """The state dict under its key, RRDBNet's in the names that Real-ESRGAN gives."""
    if network.architecture == "ESRGAN":
        tail = {"0": "conv_first", "3": "conv_up1", "6": "conv_up2", "8": "conv_hr",
                "10": "conv_last"}  # fmt: skip
        renamed = {}
        for name, tensor in state.items():
            new = re.sub(
                r"^model\.1\.sub\.(\d+)\.RDB(\d)\.conv(\d)\.0\.", r"body.\1.rdb\2.conv\3.", name
            )
            new = re.sub(r"^model\.1\.sub\.\d+\.(weight|bias)$", r"conv_body.\1", new)
            new = re.sub(r"^model\.(\d+)\.", lambda found: f"{tail[found[1]]}.", new)
            renamed[new] = tensor
        state = renamed
    return {network.key: state} if network.key else state


def make(name: str, folder: Path) -> dict[str, float]:
    """Make one network and save it."""
    import torch

    network = NETWORKS[name]
    module, figures = made(network)
    state = as_published(network, dict(module.state_dict()))
    torch.save(state, folder / f"{name}.pth")
    return figures


def compare(name: str, folder: Path) -> dict[str, Any]:
    """How far the bundle is from torch."""
    import numpy as np
    import spandrel

    import genloom

    found = spandrel.ModelLoader().load_from_file(folder / f"{name}.pth").eval()
    card = genloom.Card.read(folder / "bundle")
    row: dict[str, Any] = {"field": card.receptive_field, "seconds": 0.0, "torch": 0.0}

    def apart(tile: int, size: tuple[int, int]) -> float:
        pixels = photograph(FRESH, *size)
        model = genloom.open_model(folder / "bundle", tile=tile)
        started = time.monotonic()
        got = model(pixels)
        ended = time.monotonic()
        right = torch_result(found, pixels)
        if tile > max(size):
            row["seconds"] += ended - started
            row["torch"] += time.monotonic() - ended
        return float(np.abs(got - right).max())

    row["whole"] = max(apart(10_000, size) for size in SIZES)
    if card.receptive_field != "global":
        step = card.size.step
        tile = -(-(card.receptive_field + 3 * step + 16) // step) * step
        long = tile * 3 // 2 + 5
        narrow = max(NARROW, card.size.minimum) + 1
        row["tiled"] = max(apart(tile, size) for size in ((long, narrow), (narrow, long)))
    return row


def row_of(name: str) -> dict[str, Any]:
    """All figures of one network."""
    with tempfile.TemporaryDirectory() as held:
        folder = Path(held)
        row = {"name": name} | _figures("--make", name, held)
        file = folder / f"{name}.pth"
        row["bytes"] = file.stat().st_size
        started = time.monotonic()
        command = [*GENLOOM, "import", str(file), "-o", str(folder / "bundle")]
        process = subprocess.Popen(command)
        _, status, used = os.wait4(process.pid, 0)
        row |= {"import": time.monotonic() - started, "peak": used.ru_maxrss / 1024}
        if status:
            return row | {"error_code": status}
        return row | _figures("--compare", name, held)


def _figures(what: str, name: str, folder: str) -> dict[str, Any]:
    done = subprocess.run(
        [sys.executable, __file__, what, name, folder],
        stdout=subprocess.PIPE,
        text=True,
        check=True,
    )
    figures: dict[str, Any] = json.loads(done.stdout.strip().splitlines()[-1])
    return figures


def line(row: dict[str, Any]) -> str:
    """A row of the table."""
    tiled = f"{row['tiled']:.1e}" if "tiled" in row else ""
    cells = [row["name"], f"{row['parameters'] / 1e6:.2f} M", f"{row['bytes'] / 1e6:.0f} MB",
             f"{row['import']:.0f} s", f"{row['peak'] / 1000:.1f} GB"]  # fmt: skip
    if "error_code" in row:
        return f"| {' | '.join(cells)} | not imported | | | | | |"
    cells += [str(row["field"]), f"{row['whole']:.1e}", tiled,
              f"{row['seconds']:.1f}, {row['torch']:.1f}", f"{row['least']:.1e}",
              f"{row['error']:.3f}"]  # fmt: skip
    return f"| {' | '.join(cells)} |"


def main() -> None:
    if sys.argv[1:2] in (["--make"], ["--compare"]):
        does = make if sys.argv[1] == "--make" else compare
        print(json.dumps(does(sys.argv[2], Path(sys.argv[3]))))
        return
    lines = [HEAD]
    for name in sys.argv[1:] or NETWORKS:
        lines.append(line(row_of(name)))
        print(lines[-1], file=sys.stderr, flush=True)
    print("\n".join(lines))


if __name__ == "__main__":
    main()
