"""The loop people write by hand with torch: Pillow, plain modules, eager, Pillow, with defaults.

python benchmarks/peers/enlarge_compact.py GRAPH INPUT OUT [cuda]

The compact network: convolutions with a slope for each channel behind all but the last, pixels
shuffled ×4, and the nearest pixel of the picture added. Its weights are read from an ONNX file.
"""

import sys
from pathlib import Path

import numpy as np
import onnx
import torch
from onnx import numpy_helper
from PIL import Image
from torch import nn
from torch.nn import functional


class Compact(nn.Module):
    """The network, of the weights of its graph."""

    def __init__(self, graph: onnx.GraphProto) -> None:
        super().__init__()
        values = {one.name: numpy_helper.to_array(one) for one in graph.initializer}
        layers: list[nn.Module] = []
        for node in graph.node:
            found = [torch.from_numpy(values[n].copy()) for n in node.input if n in values]
            if node.op_type == "Conv":
                layer = nn.Conv2d(found[0].shape[1], found[0].shape[0], 3, padding=1)
                layer.weight.data, layer.bias.data = found
                layers.append(layer)
            elif node.op_type == "PRelu":
                layer = nn.PReLU(found[0].numel())
                layer.weight.data = found[0].flatten()
                layers.append(layer)
        self.body = nn.Sequential(*layers)

    def forward(self, image: torch.Tensor) -> torch.Tensor:
        """N×3×H×W in [0, 1], enlarged four times."""
        nearest = functional.interpolate(image, scale_factor=4, mode="nearest")
        return functional.pixel_shuffle(self.body(image), 4) + nearest


def main(graph: str, source: str, out: str, device: str = "cpu") -> None:
    model = Compact(onnx.load(graph).graph).eval().to(device)
    Path(out).mkdir(parents=True)
    for path in sorted(Path(source).iterdir()):
        with Image.open(path) as image:
            pixels = np.asarray(image.convert("RGB"), np.float32) / 255
        with torch.inference_mode():
            given = torch.from_numpy(pixels.transpose(2, 0, 1).copy())[None].to(device)
            result = model(given)[0]
            done = (result.clamp(0, 1) * 255 + 0.5).to(torch.uint8).permute(1, 2, 0).cpu().numpy()
        Image.fromarray(done).save(Path(out) / f"{path.stem}.png")


if __name__ == "__main__":
    main(*sys.argv[1:])
