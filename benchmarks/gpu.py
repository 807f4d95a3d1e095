"""A folder enlarged four times on a GPU: genloom beside the loops people write, and how busy.

    python benchmarks/gpu.py --model BUNDLE [--pictures 1000] [--work /dev/shm] [--checks]

BUNDLE is the compact network, imported (`genloom import`; `benchmarks/enlarge.py` says where its
weights come from). Pictures are 480×320 cuts of the demo's photographs, results are PNG. Peers,
each a process with Pillow's and its library's defaults, one picture at a time (which is TF32 for
convolutions), on fewer pictures, since they take long: ONNX Runtime's CUDA provider, and torch,
eager. Start-up counts, and is said.

How busy the GPU is, NVML says every 50 ms: the share of time in which it computed anything, from
the first to the last picture written, and over the whole process. `--checks` then tries what only
a GPU can show, one line each. Needs nvidia-ml-py; for the peers onnx and torch.
"""

import argparse
import json
import os
import shutil
import subprocess
import sys
import tempfile
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
from enlarge import PHOTOGRAPHS, compared, genloom
from gpu_checks import checked
from nvml import Sampler, Samples
from PIL import Image

PEERS = Path(__file__).parent / "peers"
PROVIDERS = {"cuda": "CUDAExecutionProvider", "cpu": "CPUExecutionProvider"}
WIDTH, HEIGHT = 480, 320


def main() -> None:
    options = _arguments()
    with tempfile.TemporaryDirectory(dir=options.work) as name:
        work = Path(name)
        if options.pictures:
            benchmark(work, options)
        if options.checks:
            good = checked(work / "checks", options.model.resolve(), options.provider)
            raise SystemExit(not good)


def _arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--model", type=Path, required=True, help="the imported network's bundle")
    parser.add_argument("--pictures", type=int, default=1000, help="0 for the checks alone")
    parser.add_argument("--peer-pictures", type=int, default=50)
    parser.add_argument("--peers", default="onnxruntime,torch", help="which; empty for none")
    parser.add_argument("--precisions", default="auto,fp32")
    parser.add_argument("--provider", default="cuda", choices=sorted(PROVIDERS))
    parser.add_argument("--work", type=Path, default=None, help="where pictures lie meanwhile")
    parser.add_argument("--checks", action="store_true")
    return parser.parse_args()


def benchmark(work: Path, options: argparse.Namespace) -> None:
    make_pictures(work / "in", options.pictures)
    shutil.copytree(work / "in", work / "few", ignore=_all_but(options.peer_pictures))
    free = shutil.disk_usage(work).free / 2**30
    cores = len(os.sched_getaffinity(0))
    print(f"{options.pictures} pictures of {WIDTH}×{HEIGHT}, {cores} cores, {free:.0f} GiB in work")
    graph, rates = options.model / "network.onnx", {}
    commands = {
        "onnxruntime": [PEERS / "enlarge_ort.py", graph, PROVIDERS[options.provider]],
        "torch": [PEERS / "enlarge_compact.py", graph, options.provider],
    }
    for peer in filter(None, options.peers.split(",")):
        script, source, device = commands[peer]
        command = [sys.executable, script, source, work / "few", work / peer, device]
        rates[peer] = measured(peer, command, work / peer, options.peer_pictures)
    for precision in options.precisions.split(","):
        out = work / f"genloom-{precision}"
        rate = measured(f"genloom {precision}", run(work / "in", out, precision, options), out)
        rates[f"genloom {precision}"] = rate
        for peer in filter(None, options.peers.split(",")):
            if rate and rates[peer]:
                apart = compared(work / peer, out)
                print(f"  {rate / rates[peer]:.2f} times as fast as {peer}; {apart:.1f} dB apart")
        shutil.rmtree(out, ignore_errors=True)
    print(json.dumps({"rates": rates}), flush=True)
    alone(work, options)


def run(source: Path, out: Path, precision: str, options: argparse.Namespace) -> list[object]:
    """The command line of genloom."""
    return [
        *genloom(),
        *["run", "upscale", source, "-o", out, "--json", "--times"],
        *["--set", f"upscale.model={options.model.resolve()}", "--set", "upscale.scale=4"],
        *["--set", "save.format=png", "--precision", precision, "--provider", options.provider],
    ]


def measured(name: str, command: list[object], out: Path, count: int = 0) -> float:
    """Pictures a second of a whole process; and print that, and how busy the GPU was."""
    with Sampler() as samples:
        started = time.time()
        done = subprocess.run(
            [str(part) for part in command],
            capture_output=True,
            text=True,
            check=False,
            env=os.environ if name.startswith("genloom") else _with_libraries(),
        )
        ended = time.time()
    written = sorted(path.stat().st_mtime for path in out.glob("*.png"))
    if done.returncode or len(written) < 2 or (count and len(written) != count):
        print(f"{name}: FAILED, exit code {done.returncode}, {len(written)} pictures")
        print("  " + "\n  ".join((done.stderr or done.stdout).splitlines()[-8:]), flush=True)
        return 0.0
    rate = len(written) / (ended - started)
    within = (len(written) - 1) / max(written[-1] - written[0], 1e-9)
    print(f"{name}: {rate:.1f} pictures/s; {within:.1f} from the first to the last,", end="")
    print(f" which came after {written[0] - started:.1f} s; all {ended - started:.1f} s")
    _print_busy(samples, written, started, ended)
    if name.startswith("genloom"):
        _print_report(json.loads(done.stdout.splitlines()[-1])["report"])
    sys.stdout.flush()
    return rate


def _with_libraries() -> dict[str, str]:
    """The environment of a loop by hand: whoever writes it says where CUDA's libraries are."""
    from genloom.runtime.cuda import folders

    before = filter(None, [os.environ.get("LD_LIBRARY_PATH")])
    return {**os.environ, "LD_LIBRARY_PATH": ":".join([*map(str, folders()), *before])}


def _print_busy(samples: Samples, written: list[float], started: float, ended: float) -> None:
    # What NVML tells is the mean of a moment before it was asked.
    print(f"  GPU busy: {samples.between(written[0] + 0.2, written[-1])} of writing;", end="")
    print(f" {samples.between(started, ended)} in all")


def _print_report(report: dict) -> None:
    """What genloom says of itself: precision, bottleneck, where the time went."""
    from genloom.cli.times import times_lines
    from genloom.engine.timing import QueueFill, StageTime, ThreadTime, Times

    told = {**report["times"]}
    kinds = {"stages": StageTime, "queues": QueueFill, "threads": ThreadTime}
    parts = {name: tuple(kind(**one) for one in told[name]) for name, kind in kinds.items()}
    plain = {name: told[name] for name in ("seconds", "cores", "cpu", "committing")}
    print(f"  on {report['providers']}, in {report['precisions']}, notes {report['notes']}")
    for line in times_lines(Times(**plain, **parts)):
        print(f"    {line}".rstrip())


def alone(work: Path, options: argparse.Namespace) -> None:
    """The bare network, decoding and encoding, as `genloom bench` measures them."""
    import genloom

    overrides = {
        "upscale.model": str(options.model.resolve()),
        "upscale.scale": 4,
        "save.format": "png",
    }
    loaded = genloom.load_pipeline("upscale", overrides)
    some = [str(path) for path in sorted((work / "in").iterdir())[: 4 * options.peer_pictures]]
    try:
        found = loaded.bench(some, rounds=1, provider=options.provider)
    except Exception as error:
        print(f"bench: FAILED, {type(error).__name__}: {error}")
        return
    for one in found.alone:
        print(f"alone: {one.name}: {one.rate:.1f} pictures/s, {1000 * one.cpu:.1f} ms of a core")


def make_pictures(folder: Path, count: int) -> None:
    """Cuts from the photographs, each from another place, as PNG; on all cores."""
    folder.mkdir()
    random, sources = np.random.RandomState(0), []
    for path in sorted(PHOTOGRAPHS.glob("*.jpg")):
        with Image.open(path) as image:
            image = image.convert("RGB")
            factor = max(640 / image.width, 427 / image.height)
            sources.append(
                image.resize((round(image.width * factor), round(image.height * factor)))
            )
    jobs = []
    for index in range(count):
        image = sources[index % len(sources)]
        left = random.randint(0, image.width - WIDTH + 1)
        top = random.randint(0, image.height - HEIGHT + 1)
        jobs.append((image, (left, top, left + WIDTH, top + HEIGHT), folder / f"{index:05d}.png"))
    with ThreadPoolExecutor() as pool:
        list(pool.map(lambda job: job[0].crop(job[1]).save(job[2], compress_level=1), jobs))


def _all_but(count: int):
    return lambda _, names: sorted(names)[count:]


if __name__ == "__main__":
    main()
