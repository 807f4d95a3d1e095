"""The libraries of CUDA that pip installs are found and loaded in order."""

import ctypes
import shutil
import subprocess
import sys

import pytest

from genloom.runtime import cuda


@pytest.fixture
def packages(tmp_path, monkeypatch):
    """Makes files of packages from NVIDIA below a folder that Python looks into."""
    monkeypatch.setattr(sys, "path", [str(tmp_path)])

    def make(*names):
        for name in names:
            file = tmp_path / "nvidia" / name
            file.parent.mkdir(parents=True, exist_ok=True)
            file.write_bytes(b"no library")

    return make


def names(release):
    paths = cuda.found(cuda.folders(), release)
    return [f"{path.parent.parent.name}/{path.name}" for path in paths]


def test_each_library_comes_after_those_that_it_needs(packages):
    packages("cudnn/lib/libcudnn.so.9", "cudnn/lib/libcudnn_ops.so.9")
    packages(*(f"cu13/lib/lib{name}.so.13" for name in ("cublas", "cublasLt", "cudart", "nvrtc")))
    assert names("13.0") == [
        *("cu13/libcudart.so.13", "cu13/libnvrtc.so.13"),
        *("cu13/libcublasLt.so.13", "cu13/libcublas.so.13", "cudnn/libcudnn.so.9"),
    ]


def test_of_two_releases_that_of_the_build_is_taken(packages):
    packages("cublas/lib/libcublas.so.12", "cu13/lib/libcublas.so.13", "cudnn/lib/libcudnn.so.9")
    assert names("13.2") == ["cu13/libcublas.so.13", "cudnn/libcudnn.so.9"]
    assert names("12.8") == ["cublas/libcublas.so.12", "cudnn/libcudnn.so.9"]


def test_without_packages_or_a_release_nothing_is_loaded(packages):
    assert cuda.folders() == []
    assert cuda.preload.__wrapped__("") == ()


def test_without_a_driver_nothing_is_loaded(packages, monkeypatch):
    packages("cudnn/lib/libcudnn.so.9")
    tried = []
    monkeypatch.setattr(cuda, "_loads", lambda name: tried.append(name))
    assert cuda.preload.__wrapped__("13.0") == ()
    assert tried == ([cuda.DRIVER] if sys.platform.startswith("linux") else [])


@pytest.mark.skipif(not sys.platform.startswith("linux"), reason="libraries of Linux")
@pytest.mark.skipif(shutil.which("cc") is None, reason="no C compiler")
def test_a_library_that_was_loaded_is_found_by_its_name_and_a_damaged_one_is_passed_by(
    tmp_path, monkeypatch
):
    folder = tmp_path / "nvidia/cu13/lib"
    folder.mkdir(parents=True)
    source = tmp_path / "one.c"
    source.write_text("int genloom_is_here(void) { return 13; }\n")
    name = "libgenloomone.so.13"  # no name of the real ones, which torch may have loaded
    monkeypatch.setattr(cuda, "LIBRARIES", ("genloomone", "genloomtwo"))
    wanted = ["cc", "-shared", "-fPIC", f"-Wl,-soname,{name}", source, "-o", folder / name]
    subprocess.run(wanted, check=True)
    (folder / "libgenloomtwo.so.13").write_bytes(b"damaged")
    monkeypatch.setattr(sys, "path", [str(tmp_path)])
    monkeypatch.setattr(cuda, "DRIVER", str(folder / name))
    assert cuda.preload.__wrapped__("13.0") == (name,)
    assert ctypes.CDLL(name).genloom_is_here() == 13


@pytest.mark.skipif(not sys.platform.startswith("linux"), reason="libraries of Linux")
@pytest.mark.skipif(shutil.which("gcc") is None, reason="no compiler")
def test_a_provider_that_lacks_a_library_says_which(tmp_path):
    needed, provider = tmp_path / "libneeded.so.7", tmp_path / "libprovider.so"
    for file, more in ((needed, ["-Wl,-soname,libneeded.so.7"]), (provider, [str(needed)])):
        source = tmp_path / f"{file.name}.c"
        source.write_text("int nothing;\n", encoding="utf-8")
        command = ["gcc", "-shared", "-o", str(file), str(source), "-Wl,--no-as-needed", *more]
        subprocess.run(command, check=True)
    needed.unlink()
    assert "libneeded.so.7" in cuda.missing(provider)
    assert cuda.missing(tmp_path / "libnone.so") != ""
