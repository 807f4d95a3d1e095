"""ONNX Runtime, strictly: what was asked for is what runs, or an error says why not."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest

from genloom.card import Port
from genloom.errors import GenloomError, MissingRequirement, ModelError
from genloom.runtime import Settings, ort, tensorrt, trial
from genloom.runtime.half import in_half
from genloom.runtime.ort import OnnxRuntime
from genloom.runtime.providers import BEST_FIRST
from genloom.testing import FakeRuntime

FREE = Port(axes=("batch", 2))


@pytest.fixture
def doubling(onnx_bytes):
    return onnx_bytes([("Add", ["x", "x"], ["y"], {})], {"x": FREE}, {"y": FREE})


@pytest.fixture
def runtime():
    return OnnxRuntime()


def test_auto_takes_a_provider_that_works_and_says_which(runtime, doubling):
    network = runtime.compile(doubling, Settings())
    assert network.provider in runtime.providers()
    np.testing.assert_array_equal(network.run({"x": np.ones((3, 2))})["y"], np.full((3, 2), 2))


def test_a_provider_that_is_not_in_the_build_is_a_missing_requirement(runtime, doubling):
    absent = next(name for name in BEST_FIRST if name not in runtime.providers())
    with pytest.raises(MissingRequirement, match=f"'{absent}' is not at hand") as caught:
        runtime.compile(doubling, Settings(provider=absent))
    assert "genloom doctor" in str(caught.value) and "cpu" in caught.value.expected


def test_a_misspelt_provider_gets_the_nearest_name(runtime, doubling):
    with pytest.raises(MissingRequirement, match="Did you mean 'cpu'"):
        runtime.compile(doubling, Settings(provider="cpuu"))


def test_a_misspelt_provider_that_is_not_at_hand_is_not_recommended(runtime, doubling, monkeypatch):
    monkeypatch.setattr(ort.OnnxRuntime, "providers", lambda self: ("cpu",))
    with pytest.raises(MissingRequirement, match="'cuda' is not at hand either; `genloom doctor`"):
        runtime.compile(doubling, Settings(provider="cud"))


def test_a_provider_that_takes_no_part_of_the_graph_is_an_error(runtime, doubling, monkeypatch):
    # This provider is in the plain build, and hands every operator of its own accord to the CPU.
    monkeypatch.setitem(BEST_FIRST, "azure", "AzureExecutionProvider")
    if "azure" not in runtime.providers():
        pytest.skip("this build of ONNX Runtime lacks the provider")
    with pytest.raises(MissingRequirement, match="'azure' was asked for but did not take"):
        runtime.compile(doubling, Settings(provider="azure"))


class _Refused(Exception):
    pass


class FakeOrt:
    """The library as it is with other providers; `refusing` ones raise or silently fall back."""

    def __init__(self, raising=(), silent=(), known=()):
        self.raising, self.silent, self.known, self.asked = raising, silent, known, []

    def get_available_providers(self):
        return [BEST_FIRST["cuda"], BEST_FIRST["cpu"]]

    class SessionOptions:
        def add_session_config_entry(self, key, value):
            pass

    def InferenceSession(self, source, sess_options, providers, enable_fallback):  # noqa: N802
        assert not enable_fallback, "it would go on with the CPU and say so on the terminal"
        ((name, options),) = providers
        self.asked.append((name, options, sess_options.intra_op_num_threads))
        if name in self.raising:
            raise _Refused("libcudart.so.13: cannot open shared object file\nat line 12")
        return FakeSession([BEST_FIRST["cpu"]] if name in self.silent else [name], self.known)


class FakeSession:
    def __init__(self, used, known):
        self.get_providers = lambda: used
        self.get_provider_options = lambda: {used[0]: dict.fromkeys(known, "0")}
        self.get_inputs = self.get_outputs = list


CUDA = BEST_FIRST["cuda"]


@pytest.mark.parametrize("fault", ["raising", "silent"])
def test_a_provider_that_fails_or_falls_back_is_an_error(runtime, monkeypatch, fault):
    monkeypatch.setattr(ort, "onnxruntime", lambda: FakeOrt(**{fault: [CUDA]}))
    with pytest.raises(MissingRequirement, match=r"'cuda' .*did not take the graph") as caught:
        runtime.compile(b"", Settings(provider="cuda"))
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize("fault", ["raising", "silent"])
def test_auto_goes_on_to_the_next_provider(runtime, monkeypatch, fault):
    library = FakeOrt(**{fault: [CUDA]})
    monkeypatch.setattr(ort, "onnxruntime", lambda: library)
    assert runtime.compile(b"", Settings()).provider == "cpu"
    assert [name for name, _, _ in library.asked] == [CUDA, BEST_FIRST["cpu"]]


def test_provider_options_and_threads_reach_the_library(runtime, monkeypatch):
    library = FakeOrt()
    monkeypatch.setattr(ort, "onnxruntime", lambda: library)
    said = {"device_id": "1", "cudnn_conv_algo_search": "EXHAUSTIVE"}
    settings = Settings(provider="cuda", options=said, threads=3)
    network = runtime.compile(b"", settings)
    ours = {"arena_extend_strategy": "kSameAsRequested", "use_tf32": "0"}
    assert library.asked == [(CUDA, {**ours, **said}, 3)]
    assert network.together, "a GPU is not filled by one tile"
    runtime.compile(b"", Settings(provider="cuda"))
    assert library.asked[-1][1]["cudnn_conv_algo_search"] == "HEURISTIC"


def test_a_provider_option_that_the_library_would_ignore_is_refused(runtime, doubling, monkeypatch):
    with pytest.raises(GenloomError, match=r"'cpu' has no option 'device_id'\. It has none"):
        runtime.compile(doubling, Settings(provider="cpu", options={"device_id": "1"}))
    monkeypatch.setattr(ort, "onnxruntime", lambda: FakeOrt(known=["device_id"]))
    with pytest.raises(GenloomError, match=r"no option 'device'\. Did you mean 'device_id'"):
        runtime.compile(b"", Settings(provider="cuda", options={"device": "1"}))


def test_provider_options_without_a_provider_are_refused(runtime, doubling):
    with pytest.raises(GenloomError, match=r"need the name of one.*`--provider cpu`"):
        runtime.compile(doubling, Settings(options={"device_id": "1"}))


def test_of_a_failure_of_cuda_only_what_failed_is_told():
    long = "cuda_call.cc:154 Status onnxruntime::CudaCall(ERRTYPE, int) [with ERRTYPE = cudaError] "
    said = f"{long}CUDA failure 100: no CUDA-capable device is detected ; GPU=-1 ; expr=cudaSet"
    assert ort._first_line(Exception(said)) == (
        "CUDA failure 100: no CUDA-capable device is detected"
    )


def test_results_are_the_caller_s_to_keep(runtime, doubling):
    network = runtime.compile(doubling, Settings(provider="cpu", threads=1))
    given = [np.full((2, 2), number, np.float32) for number in range(4)]
    kept = [network.run({"x": x})["y"] for x in given]
    assert [float(y[0, 0]) for y in kept] == [0, 2, 4, 6]
    assert all(y.flags.writeable for y in kept)


def test_fp32_on_a_gpu_is_fp32_unless_tf32_is_asked_for(runtime, monkeypatch):
    library = FakeOrt(known=["use_tf32"])
    monkeypatch.setattr(ort, "onnxruntime", lambda: library)
    runtime.compile(b"", Settings(provider="cuda"))
    runtime.compile(b"", Settings(provider="cuda", options={"use_tf32": "1"}))
    assert [asked[1]["use_tf32"] for asked in library.asked] == ["0", "1"]


def test_cuda_s_libraries_are_looked_for_only_where_a_gpu_is_tried(runtime, doubling, monkeypatch):
    asked = []
    monkeypatch.setattr(ort.cuda, "preload", asked.append)
    runtime.compile(doubling, Settings(provider="cpu"))
    assert asked == []
    library = FakeOrt()
    library.cuda_version = "13.0"
    monkeypatch.setattr(ort, "onnxruntime", lambda: library)
    runtime.compile(b"", Settings(provider="cuda"))
    assert asked == ["13.0"]


class FakeTensorRt(FakeOrt):
    def get_available_providers(self):
        return [BEST_FIRST["tensorrt"], BEST_FIRST["cpu"]]


def tensorrt_options(monkeypatch, graph, precision="fp32", **said):
    library = FakeTensorRt()
    monkeypatch.setattr(ort, "onnxruntime", lambda: library)
    settings = Settings(provider="tensorrt", precision=precision, options=said)
    network = OnnxRuntime().compile(graph, settings)
    ((_, options, _),) = library.asked
    return network, options


def test_tensorrt_keeps_its_engines_apart_for_each_graph_and_its_timings_in_one_place(
    doubling, onnx_bytes, monkeypatch, tmp_path
):
    monkeypatch.setenv("GENLOOM_CACHE", str(tmp_path / "cache"))
    _, options = tensorrt_options(monkeypatch, doubling)
    assert options["trt_engine_cache_enable"] == options["trt_timing_cache_enable"] == "1"
    assert options["trt_timing_cache_path"] == str(tmp_path / "cache/tensorrt")
    engines = Path(options["trt_engine_cache_path"])
    assert engines.is_dir() and engines.is_relative_to(tmp_path / "cache/tensorrt/engines")
    assert tensorrt_options(monkeypatch, doubling)[1] == options
    (tmp_path / "graph.onnx").write_bytes(doubling)
    assert tensorrt_options(monkeypatch, tmp_path / "graph.onnx")[1] == options
    # ONNX Runtime tells engines apart by names in the graph, which these two share.
    nodes = [("Mul", ["x", "factor"], ["y"], {})]
    paths = [options["trt_engine_cache_path"]]
    for factor in (2, 3):
        graph = onnx_bytes(nodes, {"x": FREE}, {"y": FREE}, {"factor": np.float32([factor])})
        for precision in ("fp32", "fp16"):
            found = tensorrt_options(monkeypatch, graph, precision)[1]
            paths.append(found["trt_engine_cache_path"])
    assert len(set(paths)) == 5


def test_what_is_said_of_tensorrt_goes_before_what_is_preset(doubling, monkeypatch, tmp_path):
    monkeypatch.setenv("GENLOOM_CACHE", str(tmp_path))
    said = {"trt_engine_cache_path": "elsewhere", "trt_timing_cache_enable": "0"}
    _, options = tensorrt_options(monkeypatch, doubling, **said)
    assert options.items() >= said.items() and options["trt_engine_cache_enable"] == "1"
    monkeypatch.setenv("GENLOOM_CACHE", "off")
    assert tensorrt_options(monkeypatch, doubling)[1] == {}
    (tmp_path / "file").write_text("no folder")
    monkeypatch.setenv("GENLOOM_CACHE", str(tmp_path / "file"))
    assert tensorrt_options(monkeypatch, doubling)[1] == {}


def test_engines_used_longest_ago_go_first_but_not_those_in_use(tmp_path):
    for age, name in enumerate(("new", "used", "old")):
        (tmp_path / name).mkdir()
        (tmp_path / name / "a.engine").write_bytes(bytes(1000))
        os.utime(tmp_path / name, (1000 - age, 1000 - age))
    (tmp_path / "notes.txt").write_text("mine")
    tensorrt._prune(tmp_path, tmp_path / "old", most=2500)
    assert sorted(path.name for path in tmp_path.iterdir()) == ["new", "notes.txt", "old"]


def test_tensorrt_takes_fp16_by_its_own_option(doubling, monkeypatch):
    monkeypatch.setenv("GENLOOM_CACHE", "off")
    for precision, wanted in (("fp32", None), ("auto", "1"), ("fp16", "1"), ("bf16", None)):
        network, options = tensorrt_options(monkeypatch, doubling, precision)
        assert options.get("trt_fp16_enable") == wanted
        assert network.precision == ("fp16" if wanted else "fp32")
        assert network.few_shapes
    network, options = tensorrt_options(monkeypatch, doubling, "auto", trt_fp16_enable="0")
    assert (network.precision, options) == ("fp32", {"trt_fp16_enable": "0"})


def test_a_graph_in_fp16_whose_convolutions_are_left_to_the_cpu_is_computed_in_fp32(
    runtime, doubling, monkeypatch
):
    class Part:
        def __init__(self, name, *operators):
            self.ep_name = BEST_FIRST[name]
            self.get_nodes = lambda: [SimpleNamespace(op_type=one) for one in operators]

    asked = []

    def session(source, sess_options, providers, enable_fallback):
        asked.append(source)
        made = FakeSession([CUDA], ())
        halved = source != doubling
        parts = [Part("cuda", "Add"), Part("cpu", "Conv" if halved else "Cast")]
        made.get_provider_graph_assignment_info = lambda: parts
        return made

    library = FakeOrt()
    library.InferenceSession = session
    monkeypatch.setattr(ort, "onnxruntime", lambda: library)
    network = runtime.compile(doubling, Settings(provider="cuda", precision="auto"))
    assert len(asked) == 2 and asked[0] != doubling and asked[1] == doubling
    assert network.precision == "fp32"
    assert network.note == "computed in fp32, not fp16: the provider 'cuda' leaves Conv to the CPU"


def test_cuda_is_given_the_graph_in_fp16(runtime, doubling, monkeypatch):
    given = []
    library = FakeOrt()
    original = library.InferenceSession

    def session(source, sess_options, providers, enable_fallback):
        given.append(source)
        return original(source, sess_options, providers, enable_fallback)

    library.InferenceSession = session
    monkeypatch.setattr(ort, "onnxruntime", lambda: library)
    network = runtime.compile(doubling, Settings(provider="cuda", precision="auto"))
    assert network.precision == "fp16" and given == [in_half(doubling)]


def test_damaged_bytes_are_a_model_error_in_one_line(runtime):
    with pytest.raises(ModelError, match="does not load") as caught:
        runtime.compile(b"no graph at all", Settings(provider="cpu"))
    assert "\n" not in str(caught.value)


def test_a_missing_file_is_a_model_error_that_names_it(runtime, tmp_path):
    with pytest.raises(ModelError, match=r"gone\.onnx"):
        runtime.compile(tmp_path / "gone.onnx", Settings(provider="cpu"))


@pytest.mark.parametrize("given", [{}, {"z": np.ones((1, 2))}])
def test_ports_that_are_not_those_of_the_graph_are_named(runtime, doubling, given):
    network = runtime.compile(doubling, Settings(provider="cpu"))
    with pytest.raises(ModelError, match="ports of the graph were not met; expected x"):
        network.run(given)


def test_a_wrong_shape_is_a_model_error_with_the_shape(runtime, doubling):
    network = runtime.compile(doubling, Settings(provider="cpu"))
    with pytest.raises(ModelError, match=r"the graph failed.*x \(1, 3\)"):
        network.run({"x": np.ones((1, 3))})


def test_a_network_knows_shapes_and_types_of_its_ports(runtime, onnx_bytes):
    label = Port(axes=("batch",), dtype="int64")
    nodes = [("Cast", ["label"], ["y"], {"to": 1})]
    data = onnx_bytes(nodes, {"label": label}, {"y": Port(axes=("batch",))})
    network = runtime.compile(data, Settings(provider="cpu"))
    assert (network.inputs, network.outputs) == ({"label": ("batch",)}, {"y": ("batch",)})
    assert network.types == {"label": "int64", "y": "float32"}


def test_the_trial_graph_is_what_it_says(onnx_bytes):
    import onnx

    model = onnx.load_from_string(trial.GRAPH)
    onnx.checker.check_model(model, full_check=True)
    assert [node.op_type for node in model.graph.node] == ["Add"]
    assert trial.tried(OnnxRuntime(), "cpu") == ""


def test_a_trial_says_why_a_provider_does_not_work():
    assert "not at hand" in trial.tried(OnnxRuntime(), "rocm")
    assert "not a graph of the fake runtime" in trial.tried(FakeRuntime(), "fake")


def test_a_library_that_is_there_but_does_not_load_says_why(monkeypatch):
    class Finder:
        def find_spec(self, name, path=None, target=None):
            if name == "onnxruntime":
                raise ImportError("libfoo.so: cannot open", name="onnxruntime.capi")

    monkeypatch.delitem(sys.modules, "onnxruntime", raising=False)
    monkeypatch.setattr(sys, "meta_path", [Finder(), *sys.meta_path])
    with pytest.raises(MissingRequirement, match=r"does not load \(libfoo\.so"):
        ort.onnxruntime()


def test_ctrl_c_while_the_library_loads_is_no_missing_library(monkeypatch):
    class Finder:
        def find_spec(self, name, path=None, target=None):
            if name == "onnxruntime":
                raise ImportError("initialization failed") from KeyboardInterrupt()

    monkeypatch.delitem(sys.modules, "onnxruntime", raising=False)
    monkeypatch.setattr(sys, "meta_path", [Finder(), *sys.meta_path])
    with pytest.raises(KeyboardInterrupt):
        OnnxRuntime().providers()


LOADED = """
import os, sys
from genloom.runtime import Settings, trial
from genloom.runtime.ort import OnnxRuntime
OnnxRuntime().compile(trial.GRAPH, Settings(provider="cpu"))
print(os.environ["ORT_DISABLE_TELEMETRY"])
"""


@pytest.mark.parametrize("said", [None, "0"])
def test_the_library_tells_its_makers_nothing_unless_it_may(tmp_path, said):
    hidden = ("ORT_DISABLE_TELEMETRY", "XDG_CACHE_HOME")
    known = {name: value for name, value in os.environ.items() if name not in hidden}
    known |= {"HOME": str(tmp_path)} | ({} if said is None else {hidden[0]: said})
    result = subprocess.run(
        [sys.executable, "-c", LOADED], capture_output=True, text=True, env=known, check=True
    )
    assert result.stdout.strip() == (said or "1")
    assert said or not list(tmp_path.rglob("*onnxruntime*")), "what it keeps to tell"


def test_a_library_that_was_loaded_before_is_told_too(monkeypatch):
    calls = []
    library = ort.onnxruntime()
    monkeypatch.setattr(library, "disable_telemetry_events", lambda: calls.append("off"))
    assert ort.onnxruntime() is library and calls == ["off"]
    monkeypatch.setenv(ort.TELEMETRY, "0")
    assert ort.onnxruntime() is library and calls == ["off"]


def test_a_trial_survives_whatever_a_broken_library_raises(monkeypatch):
    def fails(self, graph, settings):
        raise OSError("illegal instruction")

    monkeypatch.setattr(OnnxRuntime, "compile", fails)
    assert trial.tried(OnnxRuntime(), "cpu") == "OSError: illegal instruction"


def without_onnxruntime(code):
    """Run code in a process where onnxruntime cannot be imported."""
    blocked = "import sys; sys.modules['onnxruntime'] = None\n"
    return subprocess.run([sys.executable, "-c", blocked + code], capture_output=True, text=True)


def test_without_onnxruntime_the_error_has_the_command_that_installs_it():
    done = without_onnxruntime(
        "from genloom.runtime.ort import OnnxRuntime\n"
        "from genloom.runtime import Settings\n"
        "assert OnnxRuntime().providers() == ()\n"
        "try: OnnxRuntime().compile(b'', Settings())\n"
        "except Exception as error: print(error, error.exit_code)"
    )
    assert done.stderr == ""
    assert "python -m pip install 'genloom[cpu]' 3" in done.stdout


def test_a_missing_library_is_told_with_the_extra_that_brings_the_provider():
    for provider, extra in (("cuda", "cuda"), ("tensorrt", "cuda"), ("cpu", "cpu"), ("", "cpu")):
        error = OnnxRuntime.missing("this", provider)
        assert error.what == "this needs the package 'onnxruntime', which is not installed"
        assert error.hint.endswith(f"'genloom[{extra}]'")
    assert "library of the runtime 'fake'" in FakeRuntime.missing("this").what
