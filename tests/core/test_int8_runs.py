"""Runs compute in int8 when asked, and tuning tries it."""

from __future__ import annotations

import shutil

import numpy as np
import pytest
from click.testing import CliRunner
from integers import (
    FLOOR,
    bundle_of,
    chain,
    ort,
    photograph,
    save_photographs,
)
from PIL import Image

from genloom.cli import main
from genloom.engine import tuned
from genloom.engine.journal import Journal
from genloom.engine.networks import Form, Networks
from genloom.engine.settings import RunSettings
from genloom.engine.tune import tune
from genloom.engine.tuned import Answer
from genloom.engine.watching import apart
from genloom.errors import MissingRequirement, ModelError
from genloom.runtime import INT8, Settings
from genloom_openvino.runtime import OpenVino

pytest.importorskip("onnx")


def test_a_run_computes_in_it_when_asked_and_says_so_everywhere(int8_place):
    pipeline = chain(int8_place, "small")
    options = {"precision": "int8", "precision_floor": FLOOR, "provider": "cpu"}
    report = pipeline.run("photographs", "out", **options)
    assert report.precisions == {"small": {"network": "int8"}} and not report.notes
    with Journal(int8_place / "out") as journal:
        assert journal.last_resolved()["models"]["small"]["precision"] == {"network": "int8"}
    assert "in int8" in CliRunner().invoke(main, ["inspect", "out/0.png"]).output
    exact = pipeline.run("photographs", "exact", precision="fp32", provider="cpu")
    assert exact.precisions == {"small": {"network": "fp32"}}
    fast, slow = (np.asarray(Image.open(f"{name}/0.png"), float) for name in ("out", "exact"))
    error = np.mean((fast - slow) ** 2)
    assert 0 < error < 255**2 * 10 ** (-FLOOR / 10)


def test_it_can_be_made_again_from_its_record(int8_place):
    chain(int8_place, "small").run(
        "photographs", "out", precision="int8", precision_floor=FLOOR, provider="cpu"
    )
    again = CliRunner().invoke(
        main, ["reproduce", "out/0.png", "-o", "again", "--input", "photographs"]
    )
    assert again.exit_code == 0, again.output


def test_auto_does_not_choose_it(int8_place):
    report = chain(int8_place, "small").run("photographs", "out", provider="cpu")
    assert report.precisions == {"small": {"network": "fp32"}}


def test_below_the_floor_it_is_fp32_and_said(int8_place):
    options = {"precision": "int8", "precision_floor": 200.0, "provider": "cpu"}
    report = chain(int8_place, "small").run("photographs", "out", **options)
    assert report.precisions == {"small": {"network": "fp32"}}
    (note,) = report.notes
    assert "int8 differs from fp32 by" in note and "computed in fp32" in note


def test_a_model_without_it_says_how_to_get_it(int8_place):
    with pytest.raises(ModelError, match="genloom quantize plain PHOTOS") as caught:
        chain(int8_place, "plain").run("photographs", "out", precision="int8")
    assert "'network' of the model 'plain' has no int8 form" in str(caught.value)


def test_a_provider_that_does_not_compute_in_integers_is_refused(int8_place):
    def compile(graph, precision):
        network = ort(graph, "fp32")
        network.provider = "floats"
        return network

    networks = Networks(bundle_of(int8_place), compile, INT8)
    with pytest.raises(MissingRequirement, match="'floats' does not compute in int8"):
        networks.get("network")


@pytest.mark.parametrize("form", list(Form))
def test_every_form_of_a_part_has_it(int8_place, form):
    networks = Networks(bundle_of(int8_place), ort, INT8, FLOOR)
    network = networks.get("network", form)
    assert network.precision == INT8
    pixels = photograph(int8_place)[None]
    if form == Form.FLOATS:
        inputs = {"image": pixels.transpose(0, 3, 1, 2).astype(np.float32) / 255}
    else:
        inputs = {"image_pixels": pixels}
    network.run(inputs)
    assert networks.precisions == {"network": INT8}


def test_openvino_computes_it_in_integers_too(int8_place):
    if not OpenVino().providers():
        pytest.skip("openvino is not installed")
    bundle, settings = (
        bundle_of(int8_place),
        Settings(provider="openvino", threads=1, precision=INT8),
    )
    network = OpenVino().compile(bundle.int8("network"), settings)
    assert network.precision == INT8
    image = photograph(int8_place)[None].transpose(0, 3, 1, 2).astype(np.float32) / 255
    exact = ort(bundle.graph("network"), "fp32").run({"image": image})
    assert apart(network.run({"image": image}), exact) > 35


# Going on as before, and tuning.


def keep_int8(pipeline, **changes):
    given = {"provider": "cpu", "precision": INT8, "workers": 1, "tile": 512, "batch": 16}
    here = tuned.place(pipeline.catalog)
    answer = Answer(**{**given, "pixels": 4096, "pace": 0.5, **changes})
    tuned.remember("small", pipeline.pipeline.bundles["small"], here, answer)


def test_where_tuning_found_it_fastest_runs_use_it(int8_place):
    pipeline = chain(int8_place, "small")
    keep_int8(pipeline)
    assert pipeline.plan("photographs", "out").models["small"].precisions == {
        "network": "int8 or fp32"
    }
    report = pipeline.run("photographs", "out", precision_floor=FLOOR)
    assert report.precisions == {"small": {"network": INT8}}
    exact = pipeline.plan("photographs", "other", precision="fp32")
    assert exact.models["small"].precisions == {"network": "fp32"}


def test_what_a_run_settled_on_is_kept_whatever_is_tuned_later(int8_place):
    pipeline, found = chain(int8_place, "small"), []
    save_photographs(int8_place / "more", 8)

    def run(out, name):
        shutil.copy(f"more/{name}.png", f"photographs/{name}.png")
        report = pipeline.run("photographs", out, provider="cpu", precision_floor=FLOOR)
        assert report.done
        found.append(report.precisions["small"]["network"])

    run("untuned", 5)
    keep_int8(pipeline)
    run("untuned", 6)
    run("tuned", 6)
    tuned.forget()
    run("tuned", 7)
    assert found == ["fp32", "fp32", INT8, INT8]


def test_a_decision_of_an_earlier_run_changes_the_form(int8_place):
    bundle, pixels = bundle_of(int8_place), {"image_pixels": photograph(int8_place)[None]}
    exact = ort(Networks(bundle, ort)._graph("network", Form.ROUNDED), "fp32").run(pixels)
    fast = ort(Networks(bundle, ort)._graph("network", Form.ROUNDED, INT8), INT8).run(pixels)
    assert not np.array_equal(exact["result_pixels"], fast["result_pixels"])
    for asked, decided, right in (
        (INT8, "fp32", exact),
        ("auto", INT8, fast),
        ("auto", "fp32", exact),
    ):
        networks = Networks(bundle, ort, asked, floor=FLOOR)
        networks.get("network", Form.ROUNDED)
        networks.keep({"network": decided})
        done = networks.get("network", Form.ROUNDED).run(pixels)
        assert np.array_equal(done["result_pixels"], right["result_pixels"]), (asked, decided)
        assert networks.precisions == {"network": decided}


def test_what_was_not_decided_yet_changes_nothing(int8_place):
    networks = Networks(bundle_of(int8_place), ort, INT8, floor=FLOOR)
    networks.get("network")
    networks.keep({"network": "bf16 or fp32"})
    assert networks.precisions == {"network": "int8 or fp32"}


def test_tuning_tries_it_and_compares_it(int8_place, steady):
    pipeline = chain(int8_place, "small")
    settings = RunSettings(runtime="onnxruntime", precision_floor=FLOOR)
    (found,) = tune(pipeline.pipeline, pipeline.catalog, ["photographs"], settings, seconds=5)
    tried = {one.name: one for one in found.trials if one.what == "provider"}
    assert set(tried) == {"cpu fp32", "cpu int8"}
    assert "dB from fp32" in tried["cpu int8"].note
    strict = RunSettings(runtime="onnxruntime", precision_floor=200.0)
    (found,) = tune(pipeline.pipeline, pipeline.catalog, ["photographs"], strict, seconds=5)
    tried = {one.name: one for one in found.trials if one.what == "provider"}
    assert "less than 200" in tried["cpu int8"].note and found.answer.precision == "fp32"
