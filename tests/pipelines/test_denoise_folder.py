"""The denoise pipeline over a folder such as people have, whole, killed and resumed."""

import json
import random
import signal
import subprocess
import sys
from pathlib import Path

import cv2
import mixed
import numpy as np
import pytest
from PIL import Image

HERE = Path(__file__).parent
FAULTY = HERE.parents[1] / "benchmarks/faulty.py"
PLACES = ("decoding", "computing", "writing", "syncing", "claiming", "renaming", "recording")


def genloom(*arguments, struck=()):
    program = [FAULTY, *struck] if struck else ["-m", "genloom"]
    command = [sys.executable, *map(str, (*program, *arguments)), "--provider", "cpu"]
    return subprocess.run(command, capture_output=True, text=True, timeout=300)


def results(out):
    return {
        path.relative_to(out).as_posix(): path
        for path in sorted(out.rglob("*"))
        if path.is_file() and ".genloom" not in path.parts
    }


def decoded(path):
    image = cv2.imread(str(path), cv2.IMREAD_UNCHANGED)
    if image is None:  # OpenCV reads no palettes with transparency, say
        with Image.open(path) as opened:
            image = np.asarray(opened.convert("RGBA"))
    return image.astype(np.int64)


@pytest.fixture(scope="module")
def photos(tmp_path_factory):
    folder = tmp_path_factory.mktemp("photos")
    return folder, mixed.make(folder)


@pytest.fixture(scope="module")
def straight(photos, tmp_path_factory):
    """A run that was never disturbed."""
    out = tmp_path_factory.mktemp("straight")
    return out, genloom("run", "denoise", photos[0], "-o", out, "--json")


def test_every_good_picture_is_done_at_its_mirrored_place(photos, straight):
    _, expected = photos
    out, process = straight
    assert process.returncode == 1, process.stderr
    assert set(results(out)) == set(expected)
    report = json.loads(process.stdout.splitlines()[-1])["report"]
    assert (report["done"], report["failed"]) == (len(expected), mixed.BROKEN)


def test_every_picture_keeps_its_mode_bit_depth_and_size(photos, straight):
    _, expected = photos
    for name, path in results(straight[0]).items():
        kept = expected[name]
        with Image.open(path) as image:
            assert (image.mode, image.size) == (kept.mode, kept.size), name
        if kept.bits == 16:
            pixels = cv2.imread(str(path), cv2.IMREAD_UNCHANGED)
            assert pixels.dtype == np.uint16, name
            assert len(np.unique(pixels % 257)) > 5, f"{name} holds 8 bits in 16"


def test_alpha_is_kept_exactly(photos, straight):
    folder, expected = photos
    for name in (name for name, kept in expected.items() if kept.mode == "RGBA"):
        with Image.open(folder / name) as before, Image.open(straight[0] / name) as after:
            assert np.array_equal(np.asarray(before)[..., 3], np.asarray(after)[..., 3])


def test_every_broken_picture_is_reported_with_its_reason(straight):
    report = json.loads(straight[1].stdout.splitlines()[-1])["report"]
    reasons = {Path(f["source"]).name: f["reason"] for f in report["failures"]}
    assert set(reasons) == {"empty.jpg", "text.png", "cut.jpg", "flipped.png", "bomb.png"}
    assert all(failure["stage"] == "load" for failure in report["failures"])
    assert "empty" in reasons["empty.jpg"]
    assert "pixels" in reasons["bomb.png"]


def test_killed_ten_times_and_resumed_it_equals_a_run_that_was_never_killed(
    photos, straight, tmp_path
):
    folder, expected = photos
    out = tmp_path / "out"
    chance = random.Random(0)
    landed = dict.fromkeys(PLACES, 0)
    for turn in range(12):
        place = PLACES[turn % len(PLACES)]
        count = chance.randint(1, 2 if place in ("claiming", "recording") else 6)
        deed = "half" if place == "writing" else chance.choice(["before", "after"])
        struck = (tmp_path / "board", place, count, deed)
        process = genloom("run", "denoise", folder, "-o", out, struck=struck)
        landed[place] += process.returncode == -signal.SIGKILL
        for name, path in results(out).items():
            assert name in expected, f"a stray file stands there after a kill at {place}"
            assert_equal(path, straight[0] / name)
    assert sum(landed.values()) >= 10, landed
    assert all(landed[place] for place in ("decoding", "computing", "writing", "renaming")), landed
    process = genloom("run", "denoise", folder, "-o", out)
    assert process.returncode == 1
    assert set(results(out)) == set(expected)
    for name, path in results(out).items():
        assert_equal(path, straight[0] / name)
    assert list((out / ".genloom/tmp").iterdir()) == []


def assert_equal(path, other):
    """Whole, and the same to within one 8-bit step."""
    one, two = decoded(path), decoded(other)
    assert one.shape == two.shape
    step = 257 if one.max() > 255 else 1
    assert np.abs(one - two).max() <= step, path


def test_running_again_touches_nothing_that_is_done(photos, straight):
    out = straight[0]
    before = {name: path.stat().st_mtime_ns for name, path in results(out).items()}
    process = genloom("run", "denoise", photos[0], "-o", out, "--json")
    report = json.loads(process.stdout.splitlines()[-1])["report"]
    assert (report["done"], report["skipped"]) == (0, len(before))
    assert {name: path.stat().st_mtime_ns for name, path in results(out).items()} == before
