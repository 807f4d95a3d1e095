"""What the KL term does to a latent space: three twins, several training seeds, and the spread.

    python benchmarks/twins.py --out FOLDER [--data FASHION-MNIST] [--seeds 7 8 9] [--threads N]
                               [--set train.epochs=1]

Trains `twin-ae`, `twin-vae-without-kl` and `twin-vae` with each seed into FOLDER/seed-N (what is
there already is taken as it is), measures their latent spaces as `genloom latents` does, all on
the same pictures, and draws FOLDER/seed-N.png. Printed are mean, smallest and largest value of
each figure over the seeds, and for how many seeds the claim holds that the KL term makes it better
than either twin without it. Every model is sampled from N(0, I), which only the last was trained
to decode; the autoencoder from its fitted mixture as well.
"""

import argparse
import subprocess
import sys
from pathlib import Path

from genloom.catalog import Catalog
from genloom_train.evaluation.drawing import draw
from genloom_train.evaluation.figures import Figures, shown, write_json
from genloom_train.evaluation.maps import COUNT, MapRequest, panels

WITHOUT = ("twin-ae", "twin-vae-without-kl")
WITH = "twin-vae"
TWINS = (*WITHOUT, WITH)
CLAIMED = (
    "kl_to_normal", "sliced_wasserstein", "confident_normal", "fid_normal", "path_ratio",
    "largest_step",
)  # fmt: skip
"""Figures that the textbook says the KL term makes better."""


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--out", type=Path, required=True)
    parser.add_argument("--data", type=Path)
    parser.add_argument("--seeds", type=int, nargs="+", default=[7, 8, 9])
    parser.add_argument("--threads", type=int, default=0)
    parser.add_argument("--count", type=int, default=COUNT, help="held-out pictures used at most")
    parser.add_argument("--set", action="append", default=[], metavar="SECTION.OPTION=VALUE")
    arguments = parser.parse_args()
    catalog = Catalog.load()
    found: dict[int, dict[str, Figures]] = {}
    for seed in arguments.seeds:
        folder = arguments.out / f"seed-{seed}"
        for name in TWINS:
            if not (folder / name / "model.yaml").is_file():
                train(name, seed, folder, arguments)
        request = MapRequest(
            models=tuple(str(folder / name) for name in TWINS),
            dataset="fashion-mnist",
            data=arguments.data,
            count=arguments.count,
            threads=arguments.threads,
        )
        made = panels(request, catalog)
        draw(made, arguments.out / f"seed-{seed}.png")
        found[seed] = {panel.name: panel.figures for panel in made}
    print(table(found))
    print()
    print(claims(found))
    plain = {seed: {name: f.plain() for name, f in twins.items()} for seed, twins in found.items()}
    write_json(arguments.out / "twins.json", plain)


def train(name: str, seed: int, folder: Path, arguments: argparse.Namespace) -> None:
    words = ["train", name, "-o", str(folder), "--seed", str(seed), "--resume"]
    words += ["--threads", str(arguments.threads)]
    words += ["--data", str(arguments.data)] if arguments.data else []
    for change in arguments.set:
        words += ["--set", change]
    print(f"training {name}, seed {seed}", file=sys.stderr)
    subprocess.run([sys.executable, "-m", "genloom", *words], check=True, stdout=subprocess.DEVNULL)


def values(found: dict[int, dict[str, Figures]], twin: str, name: str) -> list[float]:
    figures = [twins[twin].get(name) for twins in found.values()]
    return [figure.value for figure in figures if figure is not None]


def table(found: dict[int, dict[str, Figures]]) -> str:
    """A row for each figure, a column for each twin: mean, and smallest to largest."""
    first = next(iter(found.values()))
    names = list(dict.fromkeys(f.name for twin in TWINS for f in first[twin].figures))
    lines = [["", *TWINS, "real"], ["---", *["---:"] * (len(TWINS) + 1)]]
    for name in names:
        cells = [spread(values(found, twin, name)) for twin in TWINS]
        figures = [first[twin].get(name) for twin in TWINS]
        floor = next((figure.floor for figure in figures if figure is not None), None)
        lines.append([name, *cells, shown(floor)])
    return "\n".join(f"| {' | '.join(line)} |" for line in lines)


def spread(values: list[float]) -> str:
    if not values:
        return "–"
    mean = sum(values) / len(values)
    return f"{shown(mean)} ({shown(min(values))} to {shown(max(values))})"


def claims(found: dict[int, dict[str, Figures]]) -> str:
    """For how many seeds the twin with the KL term is better than both without."""
    lines = []
    for name in CLAIMED:
        held, known = 0, 0
        for twins in found.values():
            best = twins[WITH].get(name)
            others = [twins[twin].get(name) for twin in WITHOUT]
            if best is None or None in others:
                continue
            known += 1
            sign = 1 if best.better == "higher" else -1
            held += all(sign * best.value > sign * other.value for other in others)
        if known:
            lines.append(f"- {name}: the KL term makes it better with {held} of {known} seeds")
    return "\n".join(lines)


if __name__ == "__main__":
    main()
