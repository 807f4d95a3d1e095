"""Precisions, watched."""

import threading
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

import genloom
from genloom import models
from genloom.card import SizeRule
from genloom.catalog import Catalog
from genloom.engine.execute import execute
from genloom.engine.journal import Journal
from genloom.engine.model import CompiledModel
from genloom.engine.networks import Form, Networks
from genloom.engine.watching import SAMPLE, Verdict, apart, sample
from genloom.errors import GenloomError, MissingRequirement, ModelError
from genloom.runtime import Settings
from genloom.runtime.ort import OnnxRuntime
from genloom.runtime.pixels import IMAGE, RESULT
from genloom.types import Batch, Item


@pytest.fixture(scope="module")
def bundle():
    return models.find("upscale-x2", Catalog.load())


class Rough:
    """ONNX Runtime, with a lower precision that is off by what one says."""

    def __init__(self, off=0.0, black_from=None):
        self.off, self.black_from = off, black_from
        self.calls: list[str] = []

    def __call__(self, graph: bytes, precision: str):
        network = OnnxRuntime().compile(graph, Settings(provider="cpu", threads=1))
        original = network.run
        if precision in ("auto", "bf16"):
            network.precision = "bf16"

        def run(inputs):
            self.calls.append(network.precision)
            results = original(inputs)
            if network.precision == "bf16":
                results = {name: self._rough(name, value) for name, value in results.items()}
            return results

        network.run = run
        return network

    def _rough(self, name, value):
        if self.black_from is not None and self.calls.count("bf16") > self.black_from:
            return np.zeros_like(value)
        if value.dtype == np.uint8:
            return np.clip(value + round(self.off * 255), 0, 255).astype(np.uint8)
        return value + np.float32(self.off)


def photograph(height=16, width=24):
    ramp = np.linspace(60, 180, height * width * 3).reshape(1, height, width, 3)
    return ramp.astype(np.uint8)


def in_floats(pictures):
    return (pictures.transpose(0, 3, 1, 2) / 255).astype(np.float32)


def test_a_precision_that_will_do_is_kept_after_one_comparison(bundle):
    compile = Rough(off=0.001)
    networks = Networks(bundle, compile, "auto")
    network = networks.get("network", Form.ROUNDED)
    assert networks.precisions == {"network": "bf16 or fp32"}
    for _ in range(3):
        network.run({IMAGE: photograph()})
    assert compile.calls == ["bf16", "fp32", "bf16", "bf16", "bf16"]
    assert networks.precisions == {"network": "bf16"}
    assert networks.notes() == []


def test_one_that_will_not_do_is_left_for_fp32_and_said(bundle):
    compile = Rough(off=0.02)
    networks = Networks(bundle, compile, "bf16")
    network = networks.get("network", Form.FLOATS)
    floats = in_floats(photograph())
    exact = Rough()(bundle.graph("network"), "fp32").run({"image": floats})["result"]
    assert np.array_equal(network.run({"image": floats})["result"], exact)
    assert np.array_equal(network.run({"image": floats})["result"], exact)
    assert compile.calls == ["bf16", "fp32", "fp32", "fp32"]
    assert networks.precisions == {"network": "fp32"}
    (note,) = networks.notes()
    assert "bf16 differs from fp32 by 34.0 dB, less than 50" in note


@pytest.mark.parametrize("asked", ["auto", "bf16", "int8"])
def test_a_card_that_asks_for_fp32_is_heeded_without_a_word(bundle, asked):
    compile = Rough(off=0.02)
    card = bundle.card.model_copy(update={"precision": "fp32"})
    networks = Networks(replace(bundle, card=card), compile, asked)
    networks.keep({"network": "bf16"})
    for form in Form:
        networks.get("network", form)
    networks.get("network", Form.ROUNDED).run({IMAGE: photograph()})
    assert compile.calls == ["fp32"]
    assert networks.precisions == {"network": "fp32"}
    assert networks.notes() == []


def test_the_middle_of_the_first_picture_is_enough_to_compare_on():
    ports = {"image": ("N", 3, "H", "W"), "albedo": ("N", 3, "H", "W"), "level": ("N",)}
    image = np.random.default_rng(1).random((2, 3, 1000, 300)).astype(np.float32)
    call = {"image": image, "albedo": 1 - image, "level": np.array([0.1, 0.2], np.float32)}
    kept = sample(call, ports, SizeRule(multiple=20))
    assert kept["image"].shape == kept["albedo"].shape == (1, 3, 260, 260)
    assert np.array_equal(kept["image"], image[:1, :, 360:620, 20:280])
    assert np.array_equal(kept["albedo"], 1 - kept["image"])
    assert kept["level"].tolist() == [np.float32(0.1)]
    one = {**call, "albedo": image[:, :, :500]}
    assert sample(one, ports, SizeRule())["image"].shape == (1, 3, 1000, 300)
    pixels = sample({IMAGE: photograph(600, 20)}, {IMAGE: ("N", "H", "W", 3)}, SizeRule())
    assert pixels[IMAGE].shape == (1, SAMPLE, 20, 3)


def test_a_port_without_axes_goes_into_the_comparison_as_it_is():
    call = {"image": np.zeros((2, 3, 8, 8), np.float32), "strength": np.float32(0.5)}
    kept = sample(call, {"image": ("N", 3, "H", "W"), "strength": ()}, SizeRule())
    assert kept["image"].shape == (1, 3, 8, 8) and kept["strength"] == np.float32(0.5)


def test_what_has_one_shape_is_compared_whole():
    call = {"image": np.zeros((4, 3, 512, 512), np.float32)}
    kept = sample(call, {"image": ("N", 3, 512, 512)}, SizeRule(fixed=(512, 512)))
    assert kept["image"].shape == (1, 3, 512, 512)
    kept = sample(call, {"image": (4, 3, "H", "W")}, SizeRule())
    assert kept["image"].shape == (4, 3, SAMPLE, SAMPLE)


def test_the_floor_is_an_option(bundle):
    networks = Networks(bundle, Rough(off=0.02), "auto", floor=30)
    networks.get("network").run({"image": in_floats(photograph())})
    assert networks.precisions == {"network": "bf16"}


def test_forms_of_a_part_share_the_verdict(bundle):
    compile = Rough(off=0.001)
    networks = Networks(bundle, compile, "auto")
    networks.get("network", Form.ROUNDED).run({IMAGE: photograph()})
    networks.get("network", Form.BYTES).run({IMAGE: photograph()})
    assert compile.calls == ["bf16", "fp32", "bf16", "bf16"]


def test_black_results_are_computed_again(bundle):
    compile = Rough(black_from=1)
    network = Networks(bundle, compile, "auto").get("network", Form.ROUNDED)
    network.run({IMAGE: photograph()})
    assert network.run({IMAGE: photograph()})[RESULT].any()
    assert compile.calls[-2:] == ["bf16", "fp32"]
    dark = network.run({IMAGE: np.zeros((1, 8, 8, 3), np.uint8)})[RESULT]
    assert not dark.any()
    assert compile.calls[-1] == "bf16", "black pictures may stay black"


@pytest.mark.parametrize("form", list(Form))
def test_one_black_result_among_others_is_seen_in_every_form(bundle, form):
    def compile(graph, precision):
        network = Rough()(graph, precision)
        original = network.run

        def run(inputs):
            results = original(inputs)
            if network.precision == "bf16" and len(next(iter(inputs.values()))) > 1:
                next(value for value in results.values() if value.ndim == 4)[1] = 0
            return results

        network.run = run
        return network

    network = Networks(bundle, compile, "auto").get("network", form)
    port = next(iter(network.inputs))
    picture = in_floats(photograph()) if form == Form.FLOATS else photograph()
    network.run({port: picture})
    result = network.run({port: np.concatenate([picture, picture])})
    assert next(value for name, value in result.items() if name in (RESULT, "result"))[1].any()


@pytest.mark.parametrize("blank", [0, 90])
def test_a_blank_picture_settles_no_precision(bundle, blank):
    compile = Rough(off=0.02)
    networks = Networks(bundle, compile, "auto")
    network = networks.get("network", Form.ROUNDED)
    network.run({IMAGE: np.full((1, 16, 24, 3), blank, np.uint8)})
    assert compile.calls == ["fp32"], "it is computed in what is sure"
    assert networks.precisions == {"network": "bf16 or fp32"}
    network.run({IMAGE: photograph()})
    assert networks.precisions == {"network": "fp32"}


def test_what_an_earlier_run_decided_is_kept(bundle):
    compile = Rough(off=0.02)
    networks = Networks(bundle, compile, "auto")
    network = networks.get("network")
    networks.keep({"network": "bf16", "decoder": "bf16"})
    network.run({"image": np.full((1, 3, 8, 8), 0.5, np.float32)})
    assert compile.calls == ["bf16"]


def test_many_threads_decide_once(bundle):
    compile = Rough(off=0.001)
    network = Networks(bundle, compile, "auto").get("network", Form.ROUNDED)
    threads = [
        threading.Thread(target=network.run, args=({IMAGE: photograph()},)) for _ in range(6)
    ]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert compile.calls.count("fp32") == 1
    assert compile.calls.count("bf16") == 7


def test_a_precision_that_the_provider_lacks_is_refused(bundle):
    networks = Networks(bundle, Rough(), "fp16")
    with pytest.raises(MissingRequirement, match="does not compute in fp16"):
        networks.get("network")
    with pytest.raises(GenloomError, match="bf61") as caught:
        genloom.RunSettings(precision="bf61")
    assert "bf16" in str(caught.value)


def test_apart_is_the_worst_of_all_ports():
    exact = {"result": np.zeros((1, 3, 4, 4), np.float32), "latent": np.arange(8, dtype=np.float32)}
    rough = {"result": exact["result"] + 0.01, "latent": exact["latent"] + 0.7}
    assert apart(rough, exact) == pytest.approx(20.0, abs=0.01)
    assert apart(exact, exact) == np.inf
    assert apart({"result": np.full((1, 3, 4, 4), np.nan)}, {"result": exact["result"]}) == -np.inf


def test_a_verdict_in_words():
    verdict = Verdict("bf16", 50)
    assert str(verdict) == "bf16 or fp32"
    verdict.settle(49.9)
    assert str(verdict) == "fp32"


def enlarged(bundle, pixels, **options):
    model = CompiledModel(bundle, Catalog.load().backend("upscaler"), Rough())
    items = [Item(key=f"{n}", name="x") for n in range(len(pixels))]
    return model.image("network", Batch.images(items, pixels), **options).pixels


@pytest.mark.parametrize("size", [(16, 24), (33, 17)])
def test_rounded_results_are_those_that_saving_would_write(bundle, size):
    from genloom.types import as_dtype

    pixels = photograph(*size)
    rounded = enlarged(bundle, pixels, rounded=True)
    assert rounded.dtype == np.uint8
    plain = enlarged(bundle, pixels)
    assert plain.dtype == np.float32
    assert np.array_equal(rounded, as_dtype(plain, np.uint8))


def test_only_pictures_of_8_bits_are_rounded(bundle):
    assert enlarged(bundle, photograph().astype(np.uint16) * 257, rounded=True).dtype == np.float32
    assert enlarged(bundle, photograph(), rounded=True, ensemble=2).dtype == np.float32


def test_a_run_records_the_precision_and_the_next_one_keeps_it(tmp_path):
    source = tmp_path / "in"
    source.mkdir()
    for n in range(2):
        Image.fromarray(photograph(20, 30)[0]).save(source / f"{n}.png")
    pipeline = genloom.load_pipeline("upscale")
    report = pipeline.run(source, tmp_path / "out", precision="fp32")
    assert report.precisions == {"upscale-x2": {"network": "fp32"}}
    made = np.asarray(Image.open(tmp_path / "out/0.png"))
    model = genloom.open_model("upscale-x2")
    assert np.array_equal(made, model(np.asarray(Image.open(source / "0.png"))))
    assert Path(tmp_path / "out/1.png").exists()


def test_a_precision_that_fails_is_left_for_fp32(bundle):
    rough = Rough()

    def compile(graph, precision):
        network = rough(graph, precision)
        original = network.run

        def run(inputs):
            if network.precision == "bf16":
                raise ModelError("no bf16 after all")
            return original(inputs)

        network.run = run
        return network

    networks = Networks(bundle, compile, "auto")
    result = networks.get("network", Form.ROUNDED).run({IMAGE: photograph()})[RESULT]
    assert result.any()
    assert networks.notes() == ["bf16 gives no numbers; computed in fp32"]


def cheap_run(tmp_path, **settings):
    source = tmp_path / "in"
    source.mkdir(exist_ok=True)
    Image.fromarray(photograph()[0]).save(source / "a.png")
    plan = genloom.load_pipeline("upscale").plan(source, tmp_path / "out", **settings)
    for model in plan.models.values():
        model.networks._verdicts["network"] = Verdict("bf16", settings.get("precision_floor", 50))
    seen = {}

    def observe(event):
        seen.setdefault("precision", next(iter(plan.models.values())).precisions["network"])

    execute(plan, observe)
    return seen["precision"]


def test_what_a_run_settled_on_is_kept_unless_something_else_is_asked(tmp_path):
    assert cheap_run(tmp_path) == "bf16 or fp32"
    with Journal(tmp_path / "out") as journal:
        resolved = journal.last_resolved()
        resolved["models"]["upscale-x2"]["precision"] = {"network": "bf16"}
        journal.begin_run(resolved)
    assert cheap_run(tmp_path) == "bf16"
    assert cheap_run(tmp_path, force=True) == "bf16 or fp32"
    assert cheap_run(tmp_path, precision_floor=60.0) == "bf16 or fp32"
