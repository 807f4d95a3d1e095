"""Training with genloom and with pythae, side by side: what is learned, how fast, and resuming.

    python benchmarks/pythae.py --data FASHION-MNIST [--threads 2] [--steps 2000] [--rounds 9]
                                [--models dense] [--alike] [--compile] [--json FILE]

Needs pythae (`pip install pythae`). Each training is a process of its own: genloom's hall and
pythae's BaseTrainer, in their own loops, on their own defaults, but for what is the same in all:
networks and their first weights, Fashion-MNIST, batch 128, Adam with one constant learning rate,
32 bits, the Bernoulli likelihood, the threads of torch. (genloom prepares the next batch in a
further thread, as it always does.) They take turns, a slice of steps each, and begin each round
with another, so that whatever else the machine does falls on all; the first round warms up and
does not count. The figure is the median of the rounds, its ratio the median of the ratios to pythae
within a round. After the last slice all have done the same number of steps, and one function
measures −ELBO on the held-out pictures. What only some do, lower precision and the like, has rows
of its own.

At last a training of genloom's is killed half-way (SIGKILL) and resumed, and pythae goes on from a
checkpoint by the means it has: each is compared, by its weights, with the same training in one go.
"""

import argparse
import contextlib
import json
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import torch

from genloom_train import checkpoint

MODELS = {
    "dense": {"network": "dense", "latent": 16, "widths": [512]},
    "convolutional": {"network": "convolutional", "latent": 16, "widths": [32, 64, 64]},
}
"""The dense one is of the size of pythae's default network."""

PEER, OURS = "pythae", "genloom"
TRAININGS = {
    PEER: {},
    f"{PEER}, fused Adam": {"optimizer_params": {"fused": True}},
    OURS: {},
    f"{OURS}, bf16-mixed": {"precision": "bf16-mixed"},
}
CHANNELS_LAST = {
    f"{OURS}, channels-last": {"channels_last": True},
    f"{OURS}, bf16-mixed, channels-last": {"precision": "bf16-mixed", "channels_last": True},
}
COMPILED = {
    f"{OURS}, compiled": {"compile": True},
    f"{OURS}, bf16-mixed, compiled": {"precision": "bf16-mixed", "compile": True},
}

SCRIPTS = {PEER: "pythae_vae.py", OURS: "hall_vae.py"}
BATCH, RATE = 128, 1e-3

NEAR, FASTER, ALL_TOLD = 1.0, {"dense": 1.15, "convolutional": 1.0}, 1.5
"""Aims: per cent between the two −ELBO; times as fast as pythae; the same with all that helps."""


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--data", type=Path, required=True, help="folder of the IDX files")
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--steps", type=int, default=2000)
    parser.add_argument("--rounds", type=int, default=9, help="slices of each training that count")
    parser.add_argument("--models", nargs="*", default=list(MODELS), choices=list(MODELS))
    parser.add_argument("--alike", action="store_true", help="no rows for what only some do")
    parser.add_argument("--compile", action="store_true", help="also with torch.compile")
    parser.add_argument("--resume-steps", type=int, default=100, help="before the kill; 0: no kill")
    parser.add_argument("--json", type=Path)
    options = parser.parse_args()
    check_pythae()
    found: dict = {"torch": torch.__version__, "threads": options.threads, "models": {}}
    for name in options.models:
        found["models"][name] = compared = compare(name, options)
        print(table(name, compared), verdicts(name, compared), sep="\n\n", end="\n\n", flush=True)
    if options.resume_steps:
        found["resume"] = {OURS: killed_and_resumed(options), PEER: peer_resumed(options)}
        print(resuming(found["resume"]))
    if options.json:
        options.json.write_text(json.dumps(found, indent=1) + "\n", encoding="utf-8")


def check_pythae() -> None:
    # In a process without this folder on its path: this very file is called pythae, too.
    looks = "from importlib.util import find_spec; raise SystemExit(find_spec('pythae') is None)"
    if subprocess.run([sys.executable, "-P", "-c", looks]).returncode:
        raise SystemExit("pythae, with which this compares, is not installed: pip install pythae")


class Run:
    """A training in a process of its own, which waits for its turns.

    Attributes:
        rates: samples a second of each slice so far.
        parameters: how many the network has.
        negative_elbo: of the held-out pictures; known after the last slice.
    """

    def __init__(self, tool: str, plan: dict) -> None:
        self.rates: list[float] = []
        self.parameters, self.negative_elbo = 0, float("nan")
        self._process = start(tool, plan)

    def ready(self) -> None:
        """Wait until it waits for its first turn."""
        self.parameters = int(self._hear()["parameters"])

    def turn(self) -> None:
        """Train one slice."""
        print(file=self._process.stdin, flush=True)
        self.rates.append(self._hear()["rate"])

    def end(self) -> None:
        """Hear what the model is worth after its last slice."""
        self.negative_elbo = self._hear()["negative_elbo"]
        self._process.communicate()

    def leave(self) -> None:
        """End the process, wherever it is."""
        self._process.kill()
        self._process.communicate()

    def _hear(self) -> dict:
        return hear(self._process)


def start(tool: str, plan: dict) -> subprocess.Popen:
    script = Path(__file__).parent / "peers" / SCRIPTS[tool]
    command = [sys.executable, str(script), json.dumps(plan)]
    return begin(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)


def begin(command: list[str], **pipes: object) -> subprocess.Popen:
    """A process whose errors are kept, to be shown if it fails."""
    errors = tempfile.TemporaryFile("w+", encoding="utf-8")  # noqa: SIM115
    process = subprocess.Popen(command, stderr=errors, **pipes)
    process.errors = errors
    return process


def complaint(process: subprocess.Popen) -> str:
    process.errors.seek(0)
    return process.errors.read()[-2000:]


def hear(process: subprocess.Popen) -> dict:
    line = process.stdout.readline()
    if not line:
        raise SystemExit(f"a training failed:\n{complaint(process)}")
    return json.loads(line)


def plan_of(name: str, options: argparse.Namespace, **changes: object) -> dict:
    slices = options.rounds + 1
    return {
        "data": str(options.data), "threads": options.threads, "batch": BATCH, "rate": RATE,
        "model": MODELS[name], "size": max(1, options.steps // slices), "slices": slices,
        "changes": changes,
    }  # fmt: skip


def trainings(name: str, options: argparse.Namespace) -> dict[str, dict]:
    """The rows of a model's table, and what each changes."""
    if options.alike:
        return {PEER: TRAININGS[PEER], OURS: TRAININGS[OURS]}
    further = CHANNELS_LAST if name == "convolutional" else {}
    return {**TRAININGS, **further, **(COMPILED if options.compile else {})}


def compare(name: str, options: argparse.Namespace) -> dict[str, dict]:
    """Train all rows of a model in turns; the rates of each, its weights and its −ELBO."""
    runs: dict[str, Run] = {}
    try:
        for row, changes in trainings(name, options).items():
            runs[row] = Run(row.split(",")[0], plan_of(name, options, **changes))
        for run in runs.values():
            run.ready()
        same_size(runs)
        order = list(runs.values())
        for turn in range(options.rounds + 1):
            first = turn % len(order)
            for run in order[first:] + order[:first]:
                run.turn()
                if turn == options.rounds:
                    run.end()
    finally:
        for run in runs.values():
            run.leave()
    return {row: figures(run, runs[PEER], options) for row, run in runs.items()}


def same_size(runs: dict[str, Run]) -> None:
    if len({run.parameters for run in runs.values()}) > 1:
        raise SystemExit(f"not one network: {[run.parameters for run in runs.values()]}")


def figures(run: Run, peer: Run, options: argparse.Namespace) -> dict:
    rates, theirs = run.rates[1:], peer.rates[1:]
    ratios = [mine / other for mine, other in zip(rates, theirs, strict=True)]
    return {
        "parameters": run.parameters,
        "steps": options.steps // (options.rounds + 1) * (options.rounds + 1),
        "rates": rates,
        "rate": statistics.median(rates),
        "ratio": statistics.median(ratios),
        "ratios": [min(ratios), max(ratios)],
        "negative_elbo": run.negative_elbo,
        "per_cent": 100 * (run.negative_elbo / peer.negative_elbo - 1),
    }


def table(name: str, compared: dict[str, dict]) -> str:
    steps, parameters = (compared[PEER][key] for key in ("steps", "parameters"))
    lines = [
        f"{name} VAE, {parameters} parameters in each, {steps} steps of batch {BATCH}\n",
        "| | samples/s | to pythae | in the rounds | held-out −ELBO, nats | to pythae |",
        "|---|---:|---:|---:|---:|---:|",
    ]
    for row, found in compared.items():
        low, high = found["ratios"]
        lines.append(
            f"| {row} | {found['rate']:.0f} | {found['ratio']:.2f} | {low:.2f} to {high:.2f} "
            f"| {found['negative_elbo']:.2f} | {found['per_cent']:+.2f} % |"
        )
    return "\n".join(lines)


def verdicts(name: str, compared: dict[str, dict]) -> str:
    """The aims, and whether they were reached this time."""
    ours, goal = compared[OURS], FASTER[name]
    best = max(compared, key=lambda row: compared[row]["ratio"] * row.startswith(OURS))
    fastest = compared[best]["ratio"]
    lines = [
        f"- quality within {NEAR:.0f} %: {yes(abs(ours['per_cent']) <= NEAR)}",
        f"- at least {goal:.2f} times as fast, all the same: {yes(ours['ratio'] >= goal)}",
        f"- at least {ALL_TOLD} times as fast with all that helps: {yes(fastest >= ALL_TOLD)} "
        f"({fastest:.2f}, {best})",
    ]
    return "\n".join(lines[:2] if best == OURS else lines)


def yes(held: bool) -> str:
    return "yes" if held else "NO"


def killed_and_resumed(options: argparse.Namespace) -> dict:
    """2N steps in one go, and killed after N and resumed: the largest difference of any number."""
    with tempfile.TemporaryDirectory() as folder:
        straight, halves = Path(folder, "straight"), Path(folder, "halves")
        with genloom_train(straight, options) as whole:
            with genloom_train(halves, options) as half:
                wait_for_step(halves, options.resume_steps, half)
            at = checkpoint.load(checkpoints(halves)[-1]).step
            with genloom_train(halves, options, "--resume") as rest:
                finish(rest)
            finish(whole)
        one, two = (checkpoint.load(checkpoints(place)[-1]) for place in (straight, halves))
    largest = {group: apart(one.tensors[group], two.tensors[group]) for group in one.tensors}
    return {"steps": [one.step, two.step], "from": at, "largest": largest}


@contextlib.contextmanager
def genloom_train(out: Path, options: argparse.Namespace, *further: str):
    """The command in a process that is killed at the end of the block, if it still runs."""
    steps = 2 * options.resume_steps
    words = ["train", "fashion-vae-dense", "-o", str(out), "--data", str(options.data)]
    words += ["--threads", str(options.threads), "--set", f"train.steps={steps}", *further]
    words += ["--set", "train.epochs=null", "--set", f"train.checkpoint_every={steps // 4 or 1}"]
    process = begin([sys.executable, "-m", "genloom", *words], stdout=subprocess.DEVNULL)
    try:
        yield process
    finally:
        process.kill()
        process.wait()


def finish(process: subprocess.Popen) -> None:
    if process.wait():
        raise SystemExit(f"genloom train failed:\n{complaint(process)}")


def checkpoints(out: Path) -> list[Path]:
    return checkpoint.found(out / "fashion-vae-dense.training" / "checkpoints")


def wait_for_step(out: Path, step: int, process: subprocess.Popen) -> None:
    while not any(int(path.name[5:]) >= step for path in checkpoints(out)):
        if process.poll() is not None:
            finish(process)
            raise SystemExit("genloom train ended before it could be killed")
        time.sleep(0.005)


def apart(one: dict, two: dict) -> float:
    return max(float((one[name].double() - two[name].double()).abs().max()) for name in one)


def peer_resumed(options: argparse.Namespace) -> dict:
    process = start(PEER, plan_of("dense", options, resume=True))
    try:
        return hear(process)
    finally:
        process.kill()
        process.communicate()


def resuming(found: dict[str, dict]) -> str:
    ours, theirs = found[OURS], found[PEER]
    largest = ", ".join(f"{group}: {value:g}" for group, value in ours["largest"].items())
    readers = theirs["readers"] or "none"
    return "\n".join([
        f"- genloom, {ours['steps'][1]} steps, killed and resumed from step {ours['from']}, beside "
        f"{ours['steps'][0]} in one go: largest difference of {largest}",
        "- pythae writes the state of its optimiser into checkpoints; files of the package that "
        f"read it again: {readers}. A checkpoint opens as a model, but `train` begins anew: "
        "epoch 1, the first seed, a fresh optimiser. One epoch, opened, and another, beside two in "
        f"one go: largest difference of weights: {theirs['resumed']:.2g} (two trainings in one go: "
        f"{theirs['twice']:.2g})",
    ])  # fmt: skip


if __name__ == "__main__":
    main()
