"""What is drawn depends on the seed and the picture, and on nothing about the run."""

import contextlib
import tempfile
from pathlib import Path

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from PIL import Image

from genloom import load_pipeline

COUNT = 6


@pytest.fixture(scope="module")
def photographs(tmp_path_factory):
    """Pictures of two sizes, larger than the smallest tiles."""
    folder = tmp_path_factory.mktemp("photographs")
    random = np.random.default_rng(0)
    for index in range(COUNT):
        size = (110, 150, 3) if index % 3 else (120, 105, 3)
        Image.fromarray(random.integers(0, 256, size, np.uint8)).save(folder / f"p{index}.png")
    return folder


def pictures(out: Path) -> dict[str, np.ndarray]:
    found = {}
    for path in sorted(out.glob("*.png")):
        with Image.open(path) as image:
            found[path.name] = np.asarray(image, int)
    return found


class Stop:
    """Interrupts a run once so many pictures are done."""

    def __init__(self, after: int) -> None:
        self.left = after

    def __call__(self, event):
        if event["event"] == "item":
            self.left -= 1
            if self.left == 0:
                raise KeyboardInterrupt


@settings(
    max_examples=15, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture]
)
@given(
    batch=st.integers(0, 4),
    workers=st.integers(1, 3),
    tile=st.sampled_from([0, 64, 72, 96]),
    precise=st.booleans(),
    stops=st.lists(st.integers(1, COUNT - 1), max_size=2),
)
def test_noise_is_the_same_at_any_batch_tile_and_number_of_workers_and_after_any_stop(
    photographs, catalog, batch, workers, tile, precise, stops
):
    def run(out, seed=5, **settings):
        file = out.parent / "seeded.yaml"
        chain = "[load, noise: {sigma: 30}, apply: {model: tiny-image}, save]"
        file.write_text(f"genloom: 1\nstages: {chain}\n")
        return load_pipeline(file, seed=seed, catalog=catalog).run(photographs, out, **settings)

    with tempfile.TemporaryDirectory() as name:
        place = Path(name)
        run(place / "plain", batch=1, workers=1)
        run(place / "seed", seed=6)
        precision = "fp32" if precise else "auto"
        how = {"batch": batch, "workers": workers, "tile": tile, "precision": precision}
        for after in stops:
            with contextlib.suppress(KeyboardInterrupt):
                run(place / "other", observe=Stop(after), **how)
        report = run(place / "other", **how)
        assert report.exit_code == 0 and report.done + report.skipped == COUNT
        wanted, found = pictures(place / "plain"), pictures(place / "other")
        assert wanted.keys() == found.keys() and len(wanted) == COUNT
        # Another batch may move a value by a rounding of floats, and so a pixel by one.
        assert all(np.abs(wanted[name] - found[name]).max() <= 1 for name in wanted)
        other = pictures(place / "seed")
        assert all(np.abs(wanted[name] - other[name]).max() > 20 for name in wanted)
