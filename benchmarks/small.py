"""Many small pictures through encode → decode: genloom beside a loop of one at a time.

    python benchmarks/small.py [--pictures 10000] [--rounds 3] [--data FASHION-MNIST] [--threads 1]

Writes the test pictures of Fashion-MNIST (of the IDX file in the folder `--data`; shapes that are
drawn, without it) as PNG files of 28×28, and puts them through the bundle `fashion-vae`. Whole
processes are timed in turns, start-up included; the results must be equal to within one 8-bit step.

Then once more inside this process, with one worker and one thread, counting the CPU time of each
thread inside the codecs and inside the network: what is left is the engine's own, a picture.
"""

import argparse
import gc
import gzip
import os
import sys
import tempfile
import threading
import time
from collections import Counter
from pathlib import Path

import numpy as np
from beside import in_turns, largest_difference, report
from PIL import Image, ImageDraw

from genloom import imaging, load_pipeline, models
from genloom.catalog import Catalog
from genloom.engine import commit, stream, syncing
from genloom.runtime.ort import OnnxRuntime

HERE = Path(__file__).parent
SIDE = 28


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--pictures", type=int, default=10_000)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--data", type=Path)
    parser.add_argument("--threads", type=int, default=0, help="cores that both may use; 0 for all")
    options = parser.parse_args()
    if options.threads:
        os.sched_setaffinity(0, sorted(os.sched_getaffinity(0))[: options.threads])
    bundle = models.find("fashion-vae", Catalog.load())
    parts = [bundle.folder / bundle.card.parts[name].file for name in ("encoder", "decoder")]
    with tempfile.TemporaryDirectory() as name:
        work = Path(name)
        make_pictures(work / "in", options.pictures, options.data)
        commands = {
            "loop": [
                sys.executable,
                HERE / "peers/loop_vae.py",
                *parts,
                work / "in",
                work / "loop",
            ],
            "genloom": [
                *[sys.executable, "-c", "from genloom.cli import main; main()", "run"],
                *["reconstruct", work / "in", "-o", work / "genloom", "-q", "--provider", "cpu"],
            ],
        }
        times = in_turns(commands, work, options.rounds)
        difference = largest_difference(work / "loop", work / "genloom")
        report("28×28, fashion-vae", options.pictures, times, difference)
        own(work / "in", work / "own", options.pictures)


def make_pictures(folder: Path, count: int, data: Path | None) -> None:
    """Grey PNG files of 28×28: clothes, or where there are none, shapes."""
    folder.mkdir()
    clothes = read_idx(data) if data else []
    for index in range(count):
        image = Image.fromarray(clothes[index % len(clothes)]) if data else shape(index)
        image.save(folder / f"{index:05d}.png")


def read_idx(folder: Path) -> np.ndarray:
    """The test pictures, N×28×28, uint8."""
    (path,) = folder.glob("t10k-images-idx3-ubyte*")
    data = gzip.decompress(path.read_bytes()) if path.suffix == ".gz" else path.read_bytes()
    return np.frombuffer(data, np.uint8, offset=16).reshape(-1, SIDE, SIDE)


def shape(index: int) -> Image.Image:
    chance = np.random.RandomState(index)
    image = Image.new("L", (SIDE, SIDE))
    for _ in range(3):
        left, top = chance.randint(0, SIDE - 8, 2)
        box = [left, top, left + chance.randint(4, 20), top + chance.randint(4, 20)]
        ImageDraw.Draw(image).ellipse(list(map(int, box)), fill=int(chance.randint(60, 256)))
    return image


class Meter:
    """CPU seconds inside some functions, of all threads; of what they call of each other, once.

    Attributes:
        calls: how many calls there were.
    """

    def __init__(self) -> None:
        self.seconds: Counter[str] = Counter()
        self.calls: Counter[str] = Counter()
        self._lock, self._inside = threading.Lock(), threading.local()

    def put(self, label: str, owner: object, name: str) -> None:
        """Put a meter on a function."""
        original = getattr(owner, name)

        def metered(*args, **kwargs):
            if getattr(self._inside, "now", False):
                return original(*args, **kwargs)
            self._inside.now, began = True, time.thread_time()
            try:
                return original(*args, **kwargs)
            finally:
                self._inside.now = False
                with self._lock:
                    self.seconds[label] += time.thread_time() - began
                    self.calls[label] += 1

        setattr(owner, name, metered)

    @classmethod
    def price(cls) -> tuple[float, float]:
        """What measuring a call takes in seconds: all of it, and what is counted to the call.

        Asking for a thread's time is no small thing on virtual machines.
        """
        meter, calls, owner = cls(), 10_000, argparse.Namespace(nothing=lambda: None)
        meter.put("nothing", owner, "nothing")
        began = time.thread_time()
        for _ in range(calls):
            owner.nothing()
        return (time.thread_time() - began) / calls, meter.seconds["nothing"] / calls


def own(inputs: Path, out: Path, count: int) -> None:
    """What a picture costs besides decoding, the network and encoding."""
    meter = Meter()
    meter.put("decoding", imaging, "read")
    meter.put("encoding", imaging, "write")
    compile_graph = OnnxRuntime.compile

    def compile_metered(*args, **kwargs):
        network = compile_graph(*args, **kwargs)
        meter.put("network", network, "run")
        return network

    OnnxRuntime.compile = compile_metered
    meter.put("reading inputs", stream, "with_bytes")
    meter.put("hashing inputs", stream, "signed")
    meter.put("committing", commit.Committer, "flush")
    meter.put("syncing", syncing, "_sync")
    plan = load_pipeline("reconstruct").plan(inputs, out, provider="cpu", workers=1, threads=1)
    from genloom.engine.execute import execute

    gc.freeze()  # as `genloom run` does
    began = time.process_time()
    execute(plan)
    total = time.process_time() - began
    whole, within = Meter.price()
    total -= whole * sum(meter.calls.values())
    for name, calls in meter.calls.items():
        meter.seconds[name] -= calls * within
    work = sum(meter.seconds[name] for name in ("decoding", "network", "encoding"))
    print("CPU time of a picture, one worker, one thread:")
    for name, seconds in [
        *meter.seconds.items(),
        ("all", total),
        ("all but the work", total - work),
    ]:
        print(f"  {name:<18}{1000 * seconds / count:8.3f} ms")


if __name__ == "__main__":
    main()
