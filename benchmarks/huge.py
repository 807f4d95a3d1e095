"""A picture larger than memory, enlarged twice: the memory, the time, and whether it is the same.

    python benchmarks/huge.py [--megapixels 100] [--model tiny] [--compare 4] [--format png]

Makes a picture of so many megapixels from one of the demo's photographs, mirrored side by side so
that there are no seams, with a little noise, and enlarges it with `genloom run` in a fresh process;
prints the largest resident set of that process, its time and the size of what it wrote. Then a
smaller picture goes through twice: as a huge one does, through files and small tiles, and whole and
untiled; their pixels are compared.

The model is a bundle, `upscale-x2` say, or `tiny`: a network of one convolution, for the figure of
memory that is not the network's own.

Needs: pip install 'genloom[cpu]' onnx
"""

import argparse
import hashlib
import multiprocessing
import os
import shutil
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import numpy as np
from PIL import Image

from genloom.card import Card, Part, Port, SizeRule

PHOTOGRAPH = Path(__file__).parent.parent / "core/genloom/demo/photographs/cat.jpg"
RUN = "from genloom import scratch; {}from genloom.cli import main; main()"
FILES = "scratch.IN_MEMORY = 2**18; "
MEMORY = "scratch.IN_MEMORY = 2**50; "
UNTILED = 1_000_000
OPTIONS: dict[str, dict[str, int]] = {".jpg": {"quality": 95}, ".png": {"compress_level": 1}}


def main() -> None:
    options = _arguments()
    Image.MAX_IMAGE_PIXELS = None
    with tempfile.TemporaryDirectory(dir=options.work) as name:
        work = Path(name)
        model = str(tiny(work / "tiny")) if options.model == "tiny" else options.model
        if options.megapixels:
            measure(options, model, work)
        if options.compare:
            compare(options, model, work)


def measure(options: argparse.Namespace, model: str, work: Path) -> None:
    """A huge picture, once."""
    source = work / f"huge.{options.source}"
    # In a process of its own: a command is charged with what the one it was forked from held.
    maker = multiprocessing.get_context("spawn").Process(
        target=make_picture, args=(source, options.megapixels)
    )
    maker.start()
    maker.join()
    size = source.stat().st_size
    print(f"{options.megapixels:g} megapixels, {source.suffix[1:]} of {size / 1e6:.0f} MB")
    seconds, peak, busy = run(options, model, source, work / "out", "")
    result = next((work / "out").glob("huge.*"))
    with Image.open(result) as image:
        shape = f"{image.width}×{image.height}"
    print(f"peak resident set {peak:.0f} MiB, {seconds:.0f} s, {busy:.0f} s of CPU time, {shape}")
    print(f"{result.suffix[1:]} of {result.stat().st_size / 1e6:.0f} MB")


def _arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--megapixels", type=float, default=100, help="0 for the comparison alone")
    parser.add_argument("--model", default="tiny")
    parser.add_argument("--compare", type=float, default=4, help="megapixels; 0 for not at all")
    parser.add_argument("--source", default="png", choices=["png", "jpg", "tiff"])
    parser.add_argument("--format", default="png", choices=["png", "jpg", "tiff"])
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--precision", default="fp32")
    parser.add_argument("--provider", default="cpu")
    parser.add_argument("--tile", type=int, default=0)
    parser.add_argument("--work", help="where files go; the system's temporary folder unless said")
    return parser.parse_args()


def run(
    options: argparse.Namespace, model: str, source: Path, out: Path, before: str
) -> tuple[float, float, float]:
    """Seconds of one command in a fresh process, its largest resident set in MiB, its CPU time."""
    shutil.rmtree(out, ignore_errors=True)
    command = [
        *[sys.executable, "-c", RUN.format(before), "run", "upscale", source, "-o", out],
        *[
            "--provider",
            options.provider,
            "--threads",
            options.threads,
            "--precision",
            options.precision,
        ],
        *["--set", f"upscale.model={model}", "--set", f"save.format={options.format}"],
        *["--tile", UNTILED if before == MEMORY else options.tile, "--quiet"],
    ]
    started = time.perf_counter()
    threads = {"OMP_NUM_THREADS": str(options.threads)}
    with subprocess.Popen([*map(str, command)], env=os.environ | threads) as process:
        _, status, used = os.wait4(process.pid, 0)
        process.returncode = os.waitstatus_to_exitcode(status)
    if process.returncode:
        sys.exit(f"the run failed with the exit code {process.returncode}")
    unit = 1 if sys.platform == "darwin" else 1024
    seconds, busy = time.perf_counter() - started, used.ru_utime + used.ru_stime
    return seconds, used.ru_maxrss * unit / 2**20, busy


def compare(options: argparse.Namespace, model: str, work: Path) -> None:
    """A smaller picture as a huge one, and whole."""
    source = work / "small.png"
    make_picture(source, options.compare)
    results = []
    for before, how in ((FILES, "by tiles and through files"), (MEMORY, "whole and untiled")):
        seconds, peak, _ = run(options, model, source, work / "small", before)
        print(f"{options.compare:g} megapixels {how}: {peak:.0f} MiB, {seconds:.0f} s")
        with Image.open(next((work / "small").glob("small.*"))) as image:
            results.append(np.asarray(image).astype(np.int16))
    difference = np.abs(results[0] - results[1])
    differing = np.count_nonzero(difference) / difference.size
    print(f"largest difference {difference.max()} of 255, {differing:.2e} of all samples differ")


def make_picture(path: Path, megapixels: float) -> None:
    """A picture three wide and two high, of mirrored photographs with the noise of a camera."""
    height = round((megapixels * 1e6 / 1.5) ** 0.5)
    width = round(megapixels * 1e6 / height)
    with Image.open(PHOTOGRAPH) as image:
        one = np.asarray(image.convert("RGB"))
    row = np.concatenate([one, one[:, ::-1]], axis=1)
    row = np.tile(row, (1, -(-width // row.shape[1]), 1))[:, :width]
    four = np.concatenate([row, row[::-1]])
    pixels = np.concatenate([four] * -(-height // len(four)))[:height]
    random = np.random.default_rng(0)
    for row in pixels:  # in place; without noise the copies would pack to nothing
        row[:] = np.clip(row + random.integers(-2, 3, row.shape, np.int8), 0, 255)
    Image.fromarray(pixels).save(path, **OPTIONS.get(path.suffix, {}))


def tiny(folder: Path) -> Path:
    """A bundle of one convolution that enlarges twice."""
    from onnx import TensorProto, helper, numpy_helper

    weights = np.random.RandomState(0).normal(0, 0.02, (12, 3, 3, 3)).astype(np.float32)
    for channel in range(3):
        weights[channel::3, channel, 1, 1] += 0.9
    axes = ["batch", 3, "height", "width"], ["batch", 3, "height_2", "width_2"]
    graph = helper.make_graph(
        [
            helper.make_node("Conv", ["image", "weights"], ["features"], pads=[1, 1, 1, 1]),
            helper.make_node("DepthToSpace", ["features"], ["result"], blocksize=2),
        ],
        "tiny",
        [helper.make_tensor_value_info("image", TensorProto.FLOAT, axes[0])],
        [helper.make_tensor_value_info("result", TensorProto.FLOAT, axes[1])],
        [numpy_helper.from_array(weights, "weights")],
    )
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 18)], ir_version=9)
    data = model.SerializeToString()
    folder.mkdir()
    (folder / "network.onnx").write_bytes(data)
    part = Part(
        file="network.onnx",
        sha256=hashlib.sha256(data).hexdigest(),
        opset=18,
        inputs={"image": Port(axes=("batch", 3, "height", "width"))},
        outputs={"result": Port(axes=("batch", 3, "height", "width"))},
    )
    card = Card(
        name="tiny",
        family="upscaler",
        channels=3,
        size=SizeRule(multiple=1),
        scale=2,
        receptive_field=3,
        parts={"network": part},
    )
    card.write(folder)
    return folder


if __name__ == "__main__":
    main()
