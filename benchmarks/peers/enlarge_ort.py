"""The loop people write by hand: Pillow, one ONNX Runtime session, Pillow, all with defaults.

python benchmarks/peers/enlarge_ort.py GRAPH INPUT OUT [CPUExecutionProvider]
"""

import sys
from pathlib import Path

import numpy as np
import onnxruntime
from PIL import Image


def main(graph: str, source: str, out: str, provider: str = "CPUExecutionProvider") -> None:
    session = onnxruntime.InferenceSession(graph, providers=[provider])
    assert session.get_providers()[0] == provider, f"{provider} does not work here"
    Path(out).mkdir(parents=True)
    for path in sorted(Path(source).iterdir()):
        with Image.open(path) as image:
            pixels = np.asarray(image.convert("RGB"), np.float32) / 255
        given = np.ascontiguousarray(pixels.transpose(2, 0, 1)[None])
        (result,) = session.run(None, {"image": given})
        done = (result[0].transpose(1, 2, 0).clip(0, 1) * 255 + 0.5).astype(np.uint8)
        Image.fromarray(done).save(Path(out) / f"{path.stem}.png")


if __name__ == "__main__":
    main(*sys.argv[1:])
