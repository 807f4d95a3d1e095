"""Every command, file and piece of Python in the README does what the README says.

Trainings run here for two steps on a little data. What needs a network or an environment of its
own is exercised elsewhere: `make test` is what runs these tests, `make demo` is `genloom demo`
(`test_demo.py`) in an environment that CI makes with `scripts/env`; `test_wheel.py` installs the
wheel with pip, and `tests/plugins/test_third_party.py` makes a plugin and installs it.
"""

import math
import os
import random
import re
import shlex
import shutil
import struct
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
README = (ROOT / "README.md").read_text(encoding="utf-8")
BLOCKS = re.findall(r"^```(\w*)\n(.*?)^```", README, re.MULTILINE | re.DOTALL)
COMMANDS = [
    line.partition("#")[0].strip()
    for language, text in BLOCKS
    if not language
    for line in text.splitlines()
    if line.startswith(("genloom ", "make ", "pip "))
]
DEMO = ROOT / "core/genloom/demo"


@pytest.fixture(scope="module")
def place(tmp_path_factory):
    """A working folder with the pictures and files that the README speaks of."""
    folder = tmp_path_factory.mktemp("readme")
    (folder / "PHOTOS").mkdir()
    for name in ("cat", "coffee"):
        shutil.copy(DEMO / f"photographs/{name}.jpg", folder / "PHOTOS")
    shutil.copytree(DEMO / "clothes", folder / "PICTURES")
    (folder / "RENDERS").mkdir()
    for ending in ("png", "albedo.png", "normal.png"):
        shutil.copy(DEMO / "clothes/9-boot.png", folder / f"RENDERS/shot.{ending}")
    yaml = next(text for language, text in BLOCKS if language == "yaml")
    (folder / "sheet.yaml").write_text(yaml)
    write_weights(folder / "x4.pth")
    shutil.copy(ROOT / "pipelines/train/styles/strokes.jpg", folder / "painting.jpg")
    return folder


def write_weights(path):
    """Weights as people have them, of a tiny network that spandrel recognises."""
    torch, _ = pytest.importorskip("torch"), pytest.importorskip("spandrel")
    from spandrel.architectures.Compact.__arch.SRVGG import SRVGGNetCompact

    network = SRVGGNetCompact(num_feat=4, num_conv=1, upscale=4)
    torch.save({"params": network.state_dict()}, path)


def genloom(place, *arguments):
    return subprocess.run(
        [sys.executable, "-m", "genloom", *arguments],
        cwd=place,
        env={**os.environ, "XDG_DATA_HOME": str(place / "home")},
        capture_output=True,
        text=True,
        timeout=300,
    )


NEED_DATA = ("train", "eval", "latents")


@pytest.mark.parametrize(
    "command",
    [c for c in COMMANDS if c.startswith("genloom ") and c.split()[1] not in NEED_DATA],
)
def test_every_genloom_command_of_the_readme_works(place, command):
    arguments = shlex.split(command)[1:]
    redirected = arguments.index(">") if ">" in arguments else len(arguments)
    if arguments[0] in ("status", "retry"):  # of a run that was
        genloom(place, "run", "denoise", "PHOTOS", "-o", "OUT")
    process = genloom(place, *arguments[:redirected])
    assert process.returncode == 0, f"{command}\n{process.stdout}\n{process.stderr}"


@pytest.fixture(scope="module")
def studio(tmp_path_factory):
    """A working folder with a little of the data that the README trains on and measures with."""
    folder = tmp_path_factory.mktemp("studio")
    (folder / "PHOTOGRAPHS").mkdir()
    for name in ("cat", "coffee"):
        shutil.copy(DEMO / f"photographs/{name}.jpg", folder / "PHOTOGRAPHS")
    (folder / "fashion-mnist").mkdir()
    for name in ("train-images", "train-labels", "t10k-images", "t10k-labels"):
        shape = (60, 28, 28) if name.endswith("images") else (60,)
        header = bytes([0, 0, 8, len(shape)]) + struct.pack(f">{len(shape)}I", *shape)
        file = f"{name}-idx{len(shape)}-ubyte"
        values = random.Random(0).randbytes(math.prod(shape))
        values = values if name.endswith("images") else bytes(range(10)) * 6
        (folder / "fashion-mnist" / file).write_bytes(header + values)
    return folder


@pytest.mark.parametrize("command", [c for c in COMMANDS if c.startswith("genloom train")])
def test_every_training_of_the_readme_makes_a_bundle_that_is_found_by_name(
    studio, command, monkeypatch
):
    monkeypatch.setenv("GENLOOM_DATA", str(studio))
    small = ["train.steps=2", "train.epochs=null", "train.batch=4"]
    small += ["data.dead_leaves=0"] if "PHOTOGRAPHS" in command else []
    words = [*shlex.split(command)[1:], *(word for option in small for word in ("--set", option))]
    process = genloom(studio, *words)
    assert process.returncode == 0, f"{command}\n{process.stdout}\n{process.stderr}"
    shown = genloom(studio, "models", "show", words[1])
    assert f"{studio / 'models' / words[1]} (the project's models/)" in shown.stdout


@pytest.mark.parametrize(
    "command", [c for c in COMMANDS if c.startswith(("genloom eval", "genloom latents"))]
)
def test_every_measurement_of_the_readme_works(studio, command, monkeypatch):
    monkeypatch.setenv("GENLOOM_DATA", str(studio))
    process = genloom(studio, *shlex.split(command)[1:])
    assert process.returncode == 0, f"{command}\n{process.stdout}\n{process.stderr}"
    assert ("psnr" if "--data " in command else "fid") in process.stdout


def test_every_target_of_make_in_the_readme_exists():
    makefile = (ROOT / "Makefile").read_text()
    for command in (c for c in COMMANDS if c.startswith("make ")):
        assert f"\n{command.split()[1]}:" in makefile


def test_make_with_too_old_a_python_says_so_and_nothing_else(tmp_path):
    old = tmp_path / "python"
    old.write_text("#!/bin/sh\necho 'genloom needs Python 3.11 or newer' >&2\nexit 1\n")
    old.chmod(0o755)
    # These tests may run below a make of their own.
    environment = {name: value for name, value in os.environ.items() if "MAKE" not in name}
    environment["PYTHON"] = str(old)
    run = {"cwd": ROOT, "env": environment, "capture_output": True, "text": True}
    for target in ("demo", "test"):
        done = subprocess.run(["make", "--no-print-directory", target], **run)
        said = [line for line in done.stderr.splitlines() if not line.startswith("make: ")]
        assert (done.returncode, said) == (2, ["genloom needs Python 3.11 or newer"])


def test_every_extra_that_pip_is_given_exists():
    import tomllib

    extras = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"][
        "optional-dependencies"
    ]
    for command in (c for c in COMMANDS if "genloom[" in c):
        for extra in re.search(r"genloom\[([\w,]+)\]", command)[1].split(","):
            assert extra in extras


def test_the_python_of_the_readme_runs(place, monkeypatch):
    monkeypatch.chdir(place)
    shutil.rmtree("OUT", ignore_errors=True)
    code = next(text for language, text in BLOCKS if language == "python")
    prepare = (
        "import numpy as np\nfrom PIL import Image\n"
        "noisy = np.asarray(Image.open('PHOTOS/cat.jpg'))\n"
    )
    check = (
        "\nassert report.exit_code == 0 and clean.shape == noisy.shape and clean.dtype == np.uint8"
        "\nassert clothes.shape == (16, 28, 28, 1)\n"
    )
    process = subprocess.run(
        [sys.executable, "-c", prepare + code + check], cwd=place, capture_output=True, text=True
    )
    assert process.returncode == 0, process.stderr


def test_the_mistakes_shown_in_the_readme_are_reported_just_so(place):
    (shown,) = [text for _, text in BLOCKS if text.startswith("sheet.yaml:")]
    text = (place / "sheet.yaml").read_text()
    wrong = text.replace("strength: 0.8", "strength: 8").replace("long_side", "longside")
    folder = place / "wrong"
    folder.mkdir()
    (folder / "sheet.yaml").write_text(wrong)
    process = genloom(folder, "validate", "sheet.yaml")
    assert process.returncode == 2
    assert process.stderr.strip().splitlines()[:2] == shown.strip().splitlines()


def test_every_file_that_the_readme_links_to_exists():
    for link in re.findall(r"\]\(([^)#]+)\)", README):
        assert (ROOT / link).exists(), link
