"""The loop people write by hand around an autoencoder: one picture at a time, all with defaults.

python benchmarks/peers/loop_vae.py ENCODER DECODER INPUT OUT
"""

import sys
from pathlib import Path

import numpy as np
import onnxruntime
from PIL import Image


def main(encoder: str, decoder: str, source: str, out: str) -> None:
    encode = onnxruntime.InferenceSession(encoder, providers=["CPUExecutionProvider"])
    decode = onnxruntime.InferenceSession(decoder, providers=["CPUExecutionProvider"])
    Path(out).mkdir(parents=True)
    for path in sorted(Path(source).iterdir()):
        with Image.open(path) as image:
            pixels = np.asarray(image.convert("L"), np.float32)[None, None] / 255
        (mean,) = encode.run(["mean"], {"image": pixels})
        (result,) = decode.run(["image"], {"latent": mean})
        done = (result[0, 0].clip(0, 1) * 255 + 0.5).astype(np.uint8)
        Image.fromarray(done).save(Path(out) / f"{path.stem}.png")


if __name__ == "__main__":
    main(*sys.argv[1:])
