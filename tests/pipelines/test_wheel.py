"""A wheel, installed far from the clone, lists and runs everything that ships."""

import os
import subprocess
import sys
import sysconfig
import venv
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
PIPELINES = sorted(path.stem for path in (ROOT / "pipelines").glob("*.yaml"))
RECIPES = sorted(path.stem for path in (ROOT / "pipelines/train").glob("*.yaml"))
BUNDLES = sorted(path.parent.name for path in ROOT.glob("plugins/*/models/*/model.yaml"))
MOST_MEGABYTES = 60


@pytest.fixture(scope="module")
def wheel(tmp_path_factory):
    folder = tmp_path_factory.mktemp("wheel")
    build = (
        "import os, sys; os.chdir(sys.argv[1])\n"
        "from hatchling.build import build_wheel\nprint(build_wheel(sys.argv[2]))"
    )
    subprocess.run(
        [sys.executable, "-c", build, str(ROOT), str(folder)], check=True, capture_output=True
    )
    (built,) = folder.glob("*.whl")
    return built


@pytest.fixture(scope="module")
def installed(wheel, tmp_path_factory):
    """Runs `genloom` from an environment that holds the wheel, far from the clone.

    Its dependencies are those of this environment, put behind the wheel on the path; this
    environment's own link to the clone is not followed from there. It is as with the extra `cpu`,
    whatever other runtime is installed here.
    """
    place = tmp_path_factory.mktemp("far")
    venv.create(place / "env", with_pip=True)
    python = place / "env" / ("Scripts" if os.name == "nt" else "bin") / "python"
    pip = [python, "-m", "pip", "install", "--quiet", "--no-deps", "--no-index", wheel]
    subprocess.run(pip, check=True, capture_output=True)
    show = "import sysconfig; print(sysconfig.get_path('purelib'))"
    packages = subprocess.check_output([python, "-c", show], text=True).strip()
    Path(packages, "zz-dependencies.pth").write_text(
        f"{sysconfig.get_path('purelib')}\nimport sys; sys.modules['openvino'] = None\n"
    )

    def run(*arguments):
        return subprocess.run(
            [python, "-m", "genloom", *map(str, arguments)],
            cwd=place,
            env={**os.environ, "HOME": str(place), "XDG_DATA_HOME": str(place)},
            capture_output=True,
            text=True,
            timeout=120,
        )

    where = "import genloom; print(genloom.__file__)"
    found = subprocess.check_output([python, "-c", where], cwd=place, text=True)
    assert str(place) in found
    run.place = place
    return run


def test_the_wheel_stays_small(wheel):
    assert wheel.stat().st_size < MOST_MEGABYTES * 2**20


def test_everything_that_ships_is_listed(installed):
    pipelines = installed("pipelines", "list").stdout
    models = installed("models", "list").stdout
    assert all(name in pipelines for name in PIPELINES)
    assert BUNDLES and all(name in models for name in BUNDLES)


def test_every_recipe_that_ships_is_correct(installed):
    process = installed("validate", *RECIPES)
    assert process.returncode == 0, process.stderr
    assert len(process.stdout.splitlines()) == len(RECIPES)


def test_every_bundle_verifies(installed):
    process = installed("models", "verify")
    assert process.returncode == 0, process.stdout + process.stderr


@pytest.mark.parametrize("name", PIPELINES)
def test_every_pipeline_runs(installed, name):
    folder = "photographs" if name == "denoise" else "clothes"
    pictures = ROOT / "core/genloom/demo" / folder
    inputs = [] if name in ("sample", "classes", "morph", "walk") else [pictures]
    process = installed("run", name, *inputs, "-o", installed.place / name)
    assert process.returncode == 0, process.stderr
    assert any(path.suffix != ".db" for path in (installed.place / name).glob("*.*"))


def test_the_demo_runs(installed):
    process = installed("demo", "-o", installed.place / "demo")
    assert process.returncode == 0, process.stderr
    assert (installed.place / "demo/index.html").is_file()
