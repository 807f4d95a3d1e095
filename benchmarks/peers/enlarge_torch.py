"""The loop people write by hand with torch: Pillow, spandrel, eager, Pillow, all with defaults.

python benchmarks/peers/enlarge_torch.py WEIGHTS INPUT OUT
"""

import sys
from pathlib import Path

import numpy as np
import torch
from PIL import Image
from spandrel import ModelLoader


def main(weights: str, source: str, out: str) -> None:
    model = ModelLoader().load_from_file(weights).eval()
    Path(out).mkdir(parents=True)
    for path in sorted(Path(source).iterdir()):
        with Image.open(path) as image:
            pixels = np.asarray(image.convert("RGB"), np.float32) / 255
        with torch.inference_mode():
            result = model(torch.from_numpy(pixels.transpose(2, 0, 1).copy())[None])[0]
        done = (result.clamp(0, 1) * 255 + 0.5).to(torch.uint8).permute(1, 2, 0).numpy()
        Image.fromarray(done).save(Path(out) / f"{path.stem}.png")


if __name__ == "__main__":
    main(*sys.argv[1:])
