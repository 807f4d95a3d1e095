"""Which of spandrel's architectures can be imported, and what becomes of them.

    python benchmarks/architectures.py                # all, about an hour on one core
    python benchmarks/architectures.py Compact SPAN   # some

Of each architecture a network as small as it goes gets random weights, is saved, recognised and
imported as anyone's file would be, and run beside torch on pictures of odd sizes, whole and in
tiles. Prints a Markdown table; docs/import.md holds the last one. Each network has a process of its
own, so that one that fails or takes too long (`LIMIT`, of processor time) stops no other.
"""

from __future__ import annotations

import importlib
import json
import re
import resource
import signal
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import Any

LIMIT = 600
"""Seconds."""
HEAD = """\
| architecture | imports | sizes | large pictures | largest difference to torch | why not |
|---|---|---|---|---|---|"""
SIZES = ((67, 93), (101, 58))
"""Heights and widths of the pictures that go through whole."""

BLOCK = {"depths": [2], "num_heads": [2], "embed_dim": 16}
NETWORKS: dict[str, tuple[str, dict[str, Any]]] = {
    "ATD": ("atd_arch.ATD", {**BLOCK, "window_size": 8, "category_size": 64, "upscale": 2,
            "upsampler": "pixelshuffledirect"}),
    "AuraSR": ("aura_sr.UnetUpsampler", {"dim": 16, "image_size": 256, "input_image_size": 64,
               "style_network": {"dim_in": 16, "dim_out": 64, "depth": 2}}),
    "CRAFT": ("CRAFT.CRAFT", {"embed_dim": 48, "depths": [2], "num_heads": [6], "upscale": 2}),
    "Compact": ("SRVGG.SRVGGNetCompact", {"num_feat": 8, "num_conv": 3, "upscale": 2}),
    "DAT": ("DAT.DAT", {"embed_dim": 32, "split_size": [4, 8], "depth": [2], "num_heads": [2],
            "upscale": 2}),
    "DCTLSA": ("dctlsa.DCTLSA", {"nf": 10, "num_modules": 6, "upscale": 2}),
    "DITN": ("DITN_Real.DITN_Real", {"dim": 12, "ITL_blocks": 1, "SAL_blocks": 1, "upscale": 2}),
    "DRCT": ("drct_arch.DRCT", {**BLOCK, "embed_dim": 24, "gc": 8, "upscale": 2,
             "upsampler": "pixelshuffle"}),
    "DRUNet": ("network_unet.DRUNet", {"in_nc": 4, "out_nc": 3, "nc": [8, 8, 12, 16], "nb": 2}),
    "DnCNN": ("network_dncnn.DnCNN", {"in_nc": 3, "out_nc": 3, "nc": 8, "nb": 5, "act_mode": "BR"}),
    "ESRGAN": ("RRDB.RRDBNet", {"num_filters": 8, "num_blocks": 1, "scale": 4}),
    "FBCNN": ("FBCNN.FBCNN", {"nb": 2}),
    "FDAT": ("fdat.FDAT", {"embed_dim": 16, "num_groups": 1, "depth_per_group": 2, "num_heads": 2,
             "scale": 2, "upsampler_type": "pixelshuffledirect"}),
    "FFTformer": ("fftformer_arch.FFTformer", {"dim": 8, "num_blocks": [1, 1, 1],
                  "num_refinement_blocks": 1}),
    "GFPGAN": ("gfpganv1_clean_arch.GFPGANv1Clean", {}),
    "GRL": ("grl.GRL", {"embed_dim": 16, "depths": [2], "num_heads_window": [2],
            "num_heads_stripe": [2], "upscale": 2, "upsampler": "pixelshuffledirect",
            "stripe_size": [8, 8], "mlp_ratio": 2}),
    "HAT": ("HAT.HAT", {**BLOCK, "window_size": 8, "upscale": 2, "squeeze_factor": 4}),
    "HVICIDNet": ("cidnet.CIDNet", {"channels": [8, 8, 16, 32], "heads": [1, 2, 4, 8]}),
    "IPT": ("ipt.IPT", {"patch_size": 12, "n_feats": 4, "num_heads": 2, "num_layers": 1,
            "scale": [2]}),
    "KBNet": ("kbnet_s.KBNet_s", {"width": 8, "middle_blk_num": 1, "enc_blk_nums": [1, 1],
              "dec_blk_nums": [1, 1]}),
    "LaMa": ("LaMa.LaMa", {"in_nc": 4}),
    "MMRealSR": ("mmrealsr_arch.MMRRDBNet_test", {"num_in_ch": 3, "num_out_ch": 3, "num_feat": 8,
                 "num_block": 1, "num_grow_ch": 4, "num_feats": [8, 8, 8, 8],
                 "num_blocks": [1, 1, 1, 1]}),
    "MixDehazeNet": ("MixDehazeNet.MixDehazeNet", {"embed_dims": [8, 16, 32, 16, 8]}),
    "MoESR": ("MoESR.MoESR", {"dim": 16, "n_blocks": 1, "n_block": 1, "scale": 2}),
    "MoSR": ("mosr_arch.MoSR", {"dim": 16, "n_block": 2, "upscale": 2}),
    "NAFNet": ("NAFNet_arch.NAFNet", {"width": 8, "middle_blk_num": 1, "enc_blk_nums": [1, 1],
               "dec_blk_nums": [1, 1]}),
    "OmniSR": ("OmniSR.OmniSR", {"num_feat": 16, "up_scale": 2}),
    "PLKSR": ("PLKSR.PLKSR", {"dim": 16, "n_blocks": 2, "upscaling_factor": 2, "kernel_size": 9}),
    "RCAN": ("rcan_arch.RCAN", {"scale": 2, "n_resgroups": 1, "n_resblocks": 2, "n_feats": 16,
             "reduction": 4}),
    "RGT": ("rgt.RGT", {"embed_dim": 32, "depth": [2], "num_heads": [2], "split_size": [8, 8]}),
    "RealCUGAN": ("upcunet_v3.UpCunet2x", {}),
    "RestoreFormer": ("restoreformer_arch.RestoreFormer", {"ch": 32, "n_embed": 64}),
    "RetinexFormer": ("retinexformer_arch.RetinexFormer", {"n_feat": 8, "stage": 1,
                      "num_blocks": [1, 1, 1]}),
    "SAFMN": ("safmn.SAFMN", {"dim": 8, "n_blocks": 2, "upscaling_factor": 2}),
    "SAFMNBCIE": ("safmn_bcie.SAFMN_BCIE", {"dim": 8, "n_blocks": 2, "num_layers": 2}),
    "SCUNet": ("SCUNet.SCUNet", {"dim": 64, "config": [1, 1, 1, 1, 1, 1, 1]}),
    "SPAN": ("span.SPAN", {"num_in_ch": 3, "num_out_ch": 3, "feature_channels": 8, "upscale": 2}),
    "SeemoRe": ("seemore_arch.SeemoRe", {"scale": 2, "num_experts": 2, "num_layers": 2,
                "embedding_dim": 8}),
    "SwiftSRGAN": ("SwiftSRGAN.Generator", {"num_channels": 8, "num_blocks": 2}),
    "Swin2SR": ("Swin2SR.Swin2SR", {**BLOCK, "window_size": 8, "upscale": 2,
                "upsampler": "pixelshuffledirect"}),
    "SwinIR": ("SwinIR.SwinIR", {**BLOCK, "window_size": 8, "upscale": 2,
               "upsampler": "pixelshuffledirect"}),
    "Uformer": ("Uformer.Uformer", {"embed_dim": 4, "depths": [1] * 9, "num_heads": [1] * 9,
                "img_size": 128}),
}  # fmt: skip
"""Class and options of a tiny network of each architecture, below its `__arch`."""


def network(name: str) -> Any:
    """A tiny network with random weights, those included that start at zero."""
    import torch

    path, options = NETWORKS[name]
    module_name, class_name = path.rsplit(".", 1)
    torch.manual_seed(0)
    module = importlib.import_module(f"spandrel.architectures.{name}.__arch.{module_name}")
    made = getattr(module, class_name)(**options).eval()
    with torch.no_grad():
        for parameter in made.parameters():
            parameter.add_(0.02 * torch.randn_like(parameter))
    return made


def torch_result(found: Any, pixels: Any) -> Any:
    """What spandrel gives for H×W×C in [0, 1], before it clamps."""
    import torch
    from spandrel.__helpers.size_req import pad_tensor

    image = torch.from_numpy(pixels.transpose(2, 0, 1)[None])
    _, padded = pad_tensor(image, found.size_requirements)
    with torch.no_grad():
        result = found._call_fn(found.model, padded)
    height, width = (side * found.scale for side in pixels.shape[:2])
    return result[0, :, :height, :width].numpy().transpose(1, 2, 0)


def measured(name: str, folder: Path) -> dict[str, Any]:
    """Import one network and compare; runs in a process of its own."""
    import numpy as np
    import spandrel
    from safetensors.torch import save_file

    import genloom
    from genloom_community.importing import import_file
    from genloom_community.request import Request

    weights = folder / f"{name}.safetensors"
    save_file({k: v.contiguous().clone() for k, v in network(name).state_dict().items()}, weights)
    for _ in import_file(Request(file=weights, folder=folder / "bundle")):
        pass
    found = spandrel.ModelLoader().load_from_file(weights).eval()
    random = np.random.default_rng(0)

    def apart(tile: int, *size: int) -> float:
        pixels = random.random((*size, card.channels), np.float32)
        got = genloom.open_model(folder / "bundle", tile=tile)(pixels)
        right = torch_result(found, pixels)
        return float(np.abs(got - right).max() / max(1.0, float(np.abs(right).max())))

    card = genloom.Card.read(folder / "bundle")
    fixed, finite = card.size.fixed, card.receptive_field != "global"
    row: dict[str, Any] = {"size": _size(card), "field": str(card.receptive_field)}
    if fixed is None or finite:
        row["whole"] = max(apart(10_000, *size) for size in SIZES)
    else:
        row["whole"] = apart(10_000, *fixed)
    if finite and fixed is None:
        tile = int(card.receptive_field) + 3 * card.size.step + 16
        tile = max(tile, card.size.minimum)
        row["tiled"] = apart(tile, 2 * tile + 9, tile * 3 // 2 + 1)
    return row


def _size(card: Any) -> str:
    rule = card.size
    if rule.fixed:
        return f"fixed, {rule.fixed[1]}×{rule.fixed[0]}"
    words = ["any"]
    words += [f"multiples of {rule.multiple}"] if rule.multiple > 1 else []
    words += [f"from {rule.minimum}"] if rule.minimum > rule.multiple else []
    words += ["square"] if rule.square else []
    words += [f"windows of {rule.stride}"] if rule.stride > 1 else []
    return ", ".join(words)


def row_of(name: str) -> dict[str, Any]:
    """The figures of one architecture, or why there are none."""
    with tempfile.TemporaryDirectory() as folder:
        command = [sys.executable, __file__, "--one", name, folder]
        done = subprocess.run(command, capture_output=True, text=True, preexec_fn=_limited)
    if done.returncode in (-signal.SIGXCPU, -signal.SIGKILL):
        return {"error": f"took longer than {LIMIT} s"}
    if done.returncode == 0:
        row: dict[str, Any] = json.loads(done.stdout.strip().splitlines()[-1])
        return row
    print(done.stderr[-2000:], file=sys.stderr)
    said = (done.stderr.strip().splitlines() or [f"ended with {done.returncode}"])[-1]
    return {"error": re.sub(r"^.*\.safetensors: |'network' cannot be exported to ONNX ", "", said)}


def _limited() -> None:
    resource.setrlimit(resource.RLIMIT_CPU, (LIMIT, LIMIT + 5))


def line(name: str, row: dict[str, Any]) -> str:
    """A row of the table."""
    if "error" in row:
        return f"| {name} | no | | | | {row['error']} |"
    field, tiled = row["field"], row.get("tiled")
    how = "whole" if field == "global" else f"whole or tiled, field {field}"
    apart = f"{row['whole']:.1e}" + (f" whole, {tiled:.1e} tiled" if tiled is not None else "")
    return f"| {name} | yes | {row['size']} | {how} | {apart} | |"


def main() -> None:
    if sys.argv[1:2] == ["--one"]:
        print(json.dumps(measured(sys.argv[2], Path(sys.argv[3]))))
        return
    print(HEAD)
    for name in sys.argv[1:] or NETWORKS:
        print(line(name, row_of(name)), flush=True)


if __name__ == "__main__":
    main()
