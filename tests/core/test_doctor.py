"""The doctor finds what is broken, says how to mend it, and never falls ill itself."""

from __future__ import annotations

import json
import shutil
import subprocess
import sys

import pytest
from making import plugin_with

from genloom import doctor, machine, packages
from genloom.catalog import Catalog
from genloom.errors import MissingRequirement
from genloom.plugins import mend
from genloom.runtime import Runtime, ort, trial


@pytest.fixture
def examine(catalog, empty_place, monkeypatch):
    """Checks of one section: state, what, hint. Models are read for their own section only."""

    def of(section, plugins=catalog):
        with monkeypatch.context() as patch:
            if section != "models":
                patch.setattr(doctor, "_models", lambda catalog: iter(()))
            checks = doctor.examine(plugins)
        return [check for check in checks if check.section == section]

    return of


def states(checks):
    return {check.state for check in checks}


def only(checks, state):
    (check,) = [check for check in checks if check.state == state]
    return check


def test_a_sound_environment_has_nothing_broken(catalog, empty_place):
    checks = doctor.examine(catalog)
    assert [check for check in checks if check.state == "broken"] == []
    sections = ["packages", "runtime", "extras", "files", "models", "plugins", "machine"]
    assert list(dict.fromkeys(check.section for check in checks)) == sections


def test_providers_are_tried_and_not_only_listed(examine, monkeypatch):
    assert any("'cpu' works" in check.what for check in examine("runtime"))
    monkeypatch.setattr(trial, "tried", lambda runtime, provider: "it fell over")
    checks = examine("runtime")
    broken = " ".join(check.what for check in checks if check.state == "broken")
    assert "'cpu' does not work: it fell over" in broken and "no runtime works" in broken


def test_another_provider_that_does_not_work_is_only_a_note(examine, monkeypatch):
    monkeypatch.setattr(ort.OnnxRuntime, "providers", lambda self: ("cuda", "cpu"))
    monkeypatch.setattr(trial, "tried", lambda runtime, name: "" if name == "cpu" else "no driver")
    assert "broken" not in states(examine("runtime"))
    assert any("'cuda' is in this build but does not work here: no driver" in check.what
               for check in examine("runtime"))  # fmt: skip


def test_two_builds_of_onnxruntime_are_broken_with_the_commands_that_mend(
    examine, tmp_path, monkeypatch
):
    info = tmp_path / "site" / "onnxruntime_gpu-1.20.0.dist-info"
    info.mkdir(parents=True)
    (info / "METADATA").write_text("Metadata-Version: 2.1\nName: onnxruntime-gpu\nVersion: 1.20\n")
    monkeypatch.syspath_prepend(tmp_path / "site")
    check = only(examine("runtime"), "broken")
    assert "overwrite each other's files" in check.what and "onnxruntime-gpu 1.20" in check.what
    assert "pip uninstall onnxruntime onnxruntime-gpu" in check.hint


def test_a_build_that_does_not_load_is_broken_with_its_reason(examine, monkeypatch):
    def fails():
        raise MissingRequirement("onnxruntime is installed but does not load (libfoo.so)")

    monkeypatch.setattr(ort, "onnxruntime", fails)
    broken = [check for check in examine("runtime") if check.state == "broken"]
    assert "libfoo.so" in broken[0].what and "--force-reinstall" in broken[0].hint


@pytest.mark.parametrize(
    ("gpu", "providers", "state", "said"),
    [
        ("", ("cpu",), "note", "no NVIDIA GPU"),
        ("NVIDIA X", ("cpu",), "note", "does not use it"),
        ("NVIDIA X", ("cuda", "cpu"), "ok", "GPU NVIDIA X"),
    ],
)
def test_a_gpu_is_told_with_whether_it_is_used(examine, monkeypatch, gpu, providers, state, said):
    monkeypatch.setattr(machine, "nvidia_gpu", lambda: gpu)
    monkeypatch.setattr(ort.OnnxRuntime, "providers", lambda self: providers)
    monkeypatch.setattr(trial, "tried", lambda runtime, provider: "")
    check = examine("runtime")[-1]
    assert check.state == state and said in check.what
    assert ("genloom[cuda]" in check.hint) == ("does not use" in said)


def test_nvidia_smi_is_asked_when_it_is_there(tmp_path, monkeypatch):
    program = tmp_path / "nvidia-smi"
    program.write_text("#!/bin/sh\necho 'NVIDIA A'\necho 'NVIDIA B'\n")
    program.chmod(0o755)
    monkeypatch.setenv("PATH", str(tmp_path), prepend=":")
    assert machine.nvidia_gpu() == "NVIDIA A, NVIDIA B"
    program.write_text("#!/bin/sh\necho 'no driver'; exit 9\n")
    assert machine.nvidia_gpu() == ""
    monkeypatch.setattr(shutil, "which", lambda name: None)
    assert machine.nvidia_gpu() == ""


@pytest.mark.parametrize(
    ("needed", "state", "said"),
    [
        (packages.Requirement("numpy", "99", "", "2.0"), "broken", "numpy 2.0 is older than 99"),
        (packages.Requirement("rich", "13.7", "", ""), "broken", "rich is missing"),
        (packages.Requirement("rich", "13.7", "", "13.10"), "ok", "rich 13.10"),
    ],
)
def test_packages_that_are_missing_or_too_old_are_broken(examine, monkeypatch, needed, state, said):
    monkeypatch.setattr(packages, "requirements", lambda: [needed])
    check = examine("packages")[-1]
    assert (check.state, check.what) == (state, said)
    assert (f"python -m pip install '{needed}'" in check.hint) == (state == "broken")


@pytest.mark.parametrize(("package", "extra"), [("torch", "train"), ("openvino", "openvino")])
def test_a_missing_extra_is_a_note_with_the_exact_command(examine, monkeypatch, package, extra):
    needed = packages.Requirement(package, "2.9", extra, "")
    monkeypatch.setattr(packages, "requirements", lambda: [needed])
    (check,) = examine("extras")
    assert check.state == "note" and f"{package}>=2.9" in check.what
    assert check.hint.endswith(f"python -m pip install 'genloom[{extra}]'")


def test_a_broken_part_of_genloom_is_not_mended_by_another_look_at_it(catalog):
    hint = mend(catalog.stage_owner("load"))
    assert "doctor" not in hint and "pip install --force-reinstall genloom" in hint


def test_every_extra_that_it_speaks_of_is_one_of_genloom():
    assert set(doctor.EXTRAS) <= {package.extra for package in packages.requirements()}


def test_requirements_are_those_of_the_installed_metadata():
    found = {(r.extra, r.name): r for r in packages.requirements()}
    assert found["", "numpy"].met and found["cpu", "onnxruntime"].least
    assert found["", "numpy"].installed


def test_a_missing_codec_is_a_note(examine, monkeypatch):
    monkeypatch.setattr(machine, "codecs", lambda: {"WEBP": True, "AVIF": False})
    webp, avif = examine("files")
    assert (webp.state, avif.state) == ("ok", "note") and "Pillow" in avif.hint


def test_codecs_are_those_of_pillow():
    assert {"JPG", "WEBP", "AVIF", "HEIC"} == set(machine.codecs())
    assert machine.codecs()["JPG"] is True


def test_a_model_whose_hash_is_wrong_is_broken(examine, empty_place, tiny_bundles):
    copy = empty_place / "models" / "tiny-vae"
    shutil.copytree(tiny_bundles / "tiny-vae", copy)
    (copy / "decoder.onnx").write_bytes(b"damaged")
    check = only(examine("models"), "broken")
    assert check.what.startswith("tiny-vae (the project's models/)")
    assert "not the one the card describes" in check.what and "verify" in check.hint


def test_a_broken_plugin_is_broken(examine):
    def stages():
        raise RuntimeError("fell over")

    catalog = Catalog.load()
    catalog.register(plugin_with(stages=stages), "bad")
    assert "fell over" in only(examine("plugins", catalog), "broken").what


@pytest.mark.parametrize("where", ["__init__", "providers"])
def test_a_runtime_that_does_not_start_is_blamed_on_its_plugin(examine, catalog, where):
    def stumbles(self):
        raise OSError("no library")

    found = [check.what for check in examine("runtime")]
    fields = {"name": "slow", "providers": lambda self: (), "compile": None, where: stumbles}
    runtime = type("Slow", (Runtime,), fields)
    catalog.register(plugin_with(runtimes=[runtime]), "bad")
    checks = examine("runtime")
    assert "the runtime 'slow' of the plugin bad (" in only(checks, "broken").what
    assert "no library" in only(checks, "broken").what
    assert [check.what for check in checks if check.state != "broken"] == found


def test_a_section_that_fails_is_a_finding_and_the_others_go_on(examine, monkeypatch):
    def falls_ill():
        raise OSError("no such thing")

    monkeypatch.setattr(machine, "free_disk", falls_ill)
    check = only(examine("machine"), "broken")
    assert "could not be examined (OSError: no such thing)" in check.what
    assert examine("plugins")


def test_the_processor_is_described_where_linux_says_it(tmp_path):
    info = tmp_path / "cpuinfo"
    info.write_text("processor : 0\nmodel name\t: Fast CPU\nflags\t\t: fpu avx2 avx512f sse\n\n")
    assert machine.processor(info).endswith(", Fast CPU, avx2 avx512f")
    info.write_text("processor : 0\nFeatures\t: fp asimd\n")
    assert machine.processor(info).endswith(", asimd")
    assert machine.processor(tmp_path / "none").startswith(f"{machine.cores()} CPU core")


def test_memory_is_told_where_linux_says_it(tmp_path):
    info = tmp_path / "meminfo"
    info.write_text("MemTotal: 9 kB\nMemAvailable:    2048 kB\n")
    assert machine.free_memory(info) == 2 * 2**20
    assert machine.free_memory(tmp_path / "none") is None


def test_little_memory_is_a_note(examine, monkeypatch):
    monkeypatch.setattr(machine, "free_memory", lambda: 2**20)
    assert "--tile" in only(examine("machine"), "note").hint


def test_facts_that_cannot_be_had_are_left_out(monkeypatch, tmp_path):
    monkeypatch.delattr(machine.os, "sched_getaffinity", raising=False)
    monkeypatch.setattr(machine.os, "cpu_count", lambda: 7)
    assert machine.processor(tmp_path / "none") == "7 CPU cores"
    program = tmp_path / "nvidia-smi"
    program.write_text("this is not a program")
    program.chmod(0o755)
    monkeypatch.setenv("PATH", str(tmp_path))
    assert machine.nvidia_gpu() == ""


@pytest.mark.parametrize(
    ("missing", "install"),
    [("onnxruntime openvino", "'genloom[cpu]'"), ("pydantic", "")],
)
def test_it_works_and_helps_without(missing, install, tmp_path):
    code = (
        f"import sys; sys.modules.update(dict.fromkeys({missing.split()}))\n"
        "from genloom.cli import main\n"
        "main(['doctor', '--json'])"
    )
    run = [sys.executable, "-c", code]
    done = subprocess.run(run, capture_output=True, text=True, cwd=tmp_path)
    assert done.returncode == 3, done.stderr
    broken = [check for check in json.loads(done.stdout) if check["state"] == "broken"]
    assert broken
    assert any(install in check["hint"] for check in broken)
