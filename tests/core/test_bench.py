"""`genloom bench`: a run beside its models and codecs alone."""

from __future__ import annotations

import json
from types import ModuleType

import numpy as np
import pytest
from click.testing import CliRunner
from PIL import Image

from genloom import Backend, Catalog, hookimpl, load_pipeline
from genloom.cli import main
from genloom.cli.bench import advice, bench_text
from genloom.engine.bench import Alone, Bench, bench
from genloom.engine.recording import Sample
from genloom.engine.settings import RunSettings
from genloom.engine.timing import StageTime, ThreadTime, Times
from genloom.errors import GenloomError
from genloom.testing import FakeRuntime, fake_bundle


@pytest.fixture
def place(empty_place):
    """A working folder with five pictures of two sizes."""
    (empty_place / "in").mkdir()
    for index in range(5):
        pixels = np.full((16, 16 + 2 * (index % 2), 3), 40 * index, np.uint8)
        Image.fromarray(pixels).save(f"in/p{index}.png")
    return empty_place


@pytest.fixture
def fakes(tmp_path):
    """A catalog with the fake runtime and a bundle for it."""

    class Fake(Backend):
        family = "fake"

    fake_bundle(tmp_path / "models", "fake")

    @hookimpl
    def genloom_backends():
        return [Fake]

    @hookimpl
    def genloom_models():
        return [tmp_path / "models"]

    @hookimpl
    def genloom_runtimes():
        return [FakeRuntime]

    plugin = ModuleType("fakes")
    plugin.genloom_api = 1
    for hook in (genloom_backends, genloom_models, genloom_runtimes):
        setattr(plugin, hook.__name__, hook)
    catalog = Catalog.load()
    assert catalog.register(plugin, "fakes").error == ""
    return catalog


def chain(place, *stages, catalog):
    lines = "".join(f"  - {stage}\n" for stage in stages)
    (place / "chain.yaml").write_text(f"genloom: 1\nstages:\n{lines}")
    return load_pipeline(place / "chain.yaml", catalog=catalog).pipeline


def test_a_pipeline_stands_beside_its_model_and_codecs(place, catalog):
    checked = chain(place, "load", "apply: {model: tiny-image}", "save", catalog=catalog)
    before = sorted(place.rglob("*"))
    found = bench(checked, catalog, ["in"], RunSettings(workers=2, batch=2), rounds=2)
    assert sorted(place.rglob("*")) == before
    assert (found.pictures, found.failed, len(found.rates)) == (5, 0, 2)
    assert [(one.name, one.kind) for one in found.alone] == [
        ("tiny-image", "model"),
        ("decoding", "decode"),
        ("encoding", "encode"),
    ]
    model, decoding, encoding = found.alone
    assert 3 <= model.of == model.calls <= 4  # pairs of one size, and what is left over
    assert decoding.calls == decoding.of == encoding.of == 5
    assert all(one.rate > 0 and one.cpu > 0 and one.on_processor for one in found.alone)
    assert found.endings == {".png": 5}
    needed = sum(one.cpu for one in found.alone)
    assert found.bound == pytest.approx(found.cores / needed)
    assert found.reached == pytest.approx(found.rate / found.bound)
    assert found.bottleneck in ("tiny-image", "decoding", "encoding", "other")


def test_several_models_and_the_fake_runtime(place, fakes, tmp_path):
    fake_bundle(tmp_path / "models", "second")
    stages = ("load", "apply: {model: fake}", "apply: {id: b, model: second}", "save")
    checked = chain(place, *stages, catalog=fakes)
    found = bench(checked, fakes, ["in"], RunSettings(runtime="fake"), rounds=1)
    assert [one.name for one in found.alone] == ["fake", "second", "decoding", "encoding"]
    assert {one["provider"] for one in found.models.values()} == {"fake"}


def test_a_pipeline_without_models_or_files_to_read(place, catalog):
    found = bench(
        chain(place, "load", "resize: {scale: 0.5}", "save", catalog=catalog), catalog, ["in"]
    )
    assert [one.kind for one in found.alone] == ["decode", "encode"]
    stages = ("sample: {model: tiny-vae, count: 3}", "decode", "grid", "save")
    found = bench(chain(place, *stages, catalog=catalog), catalog, [], rounds=1)
    assert [one.name for one in found.alone] == ["tiny-vae", "encoding"]
    assert found.pictures == 3 and found.alone[1].of == 1


def test_pictures_that_fail_do_not_count_and_none_at_all_is_an_error(place, catalog):
    (place / "in/bad.png").write_bytes(b"no")
    checked = chain(place, "load", "save", catalog=catalog)
    found = bench(checked, catalog, ["in"], rounds=1)
    assert (found.pictures, found.failed) == (5, 1)
    assert "1 failed and do not count" in bench_text(found, "chain.yaml")
    with pytest.raises(GenloomError, match="no picture came through"):
        bench(checked, catalog, ["in/bad.png"])


def test_the_command_prints_a_table_and_json_is_whole(place):
    (place / "half.yaml").write_text(
        "genloom: 1\nstages:\n  - load\n  - resize: {scale: 0.5}\n  - save\n"
    )
    command = ["bench", "half.yaml", "in", "--rounds", "2"]
    result = CliRunner().invoke(main, command)
    assert result.exit_code == 0, result.output
    lines = result.stdout.splitlines()
    assert lines[0].startswith("half: 5 done in each of 2 rounds, ")
    for name in ("end to end", "decoding alone", "encoding alone", "bound", "bottleneck: "):
        assert any(line.startswith(name) for line in lines), name
    assert all(len(line) <= 80 for line in lines)
    found = json.loads(CliRunner().invoke(main, [*command, "--json"]).stdout)
    assert found["pictures"] == 5 and len(found["rates"]) == 2
    assert found["times"]["stages"][0]["id"] == "load"
    assert {"rate", "bound", "reached", "bottleneck", "alone"} <= set(found)
    assert not (place / "out").exists()


def made(*alone, cpu, rate=1.0, endings=None, worked=8.0):
    times = Times(
        seconds=5.0,
        cores=2,
        cpu=worked,
        stages=(StageTime("denoise", "compute", 9, 9, 4.0, 4.0, 0.5),),
        threads=(ThreadTime("files", 2, 1.0, 0.1), ThreadTime("compute", 2, 9.0, 0.9)),
    )
    return Bench("p", 9, 0, (rate,), 0.5, 2, cpu, alone, times, endings or {".png": 9}, {})


def alone(name, kind, cpu, rate=100.0, on_processor=True):
    return Alone(name, kind, cpu, rate, on_processor, 1, 1)


def test_the_bottleneck_is_what_takes_most_and_the_advice_goes_with_it():
    model, read, write = (
        alone("net", "model", 0.8),
        alone("decoding", "decode", 0.1),
        alone("encoding", "encode", 0.1),
    )
    found = made(model, read, write, cpu=1.1, rate=1.9)
    assert (found.bound, found.bottleneck) == (pytest.approx(2.0), "net")
    assert found.reached == pytest.approx(0.95)
    assert advice(found, "p") == (
        "computing with net (73 % of the processor time); `genloom tune p` may help"
    )
    found = made(read, alone("encoding", "encode", 0.5), cpu=0.7)
    assert advice(found, "p").startswith("writing PNG (71 % of the processor time)")
    assert advice(made(alone("decoding", "decode", 0.5), cpu=0.6), "p").startswith("decoding (83 %")
    found = made(model, cpu=2.0)
    assert found.other == pytest.approx(1.2) and "in the stage 'denoise'" in advice(found, "p")


def test_a_model_on_another_device_bounds_by_its_own_rate():
    model = alone("net", "model", 0.01, rate=5.0, on_processor=False)
    found = made(model, alone("decoding", "decode", 0.1), cpu=0.12)
    assert (found.bound, found.bottleneck) == (5.0, "net")
    found = made(model, alone("decoding", "decode", 1.0), cpu=1.1)
    assert found.bound == pytest.approx(2 / 1.01) and found.bottleneck == "decoding"


def test_it_says_where_other_programs_had_the_cores():
    model = alone("net", "model", 0.8)
    assert "note:" not in bench_text(made(model, cpu=1.0, worked=9.0), "p")
    text = bench_text(made(model, cpu=1.0, worked=3.0), "p")
    assert "its threads had 30 % of the cores" in " ".join(text.split())
    assert "by processor time it reaches 80 % of the bound" in " ".join(text.split())


def test_a_sample_is_bounded_and_fair_and_knows_all_the_work():
    sample = Sample(most=10, budget=1000)
    for number in range(1000):
        sample.offer(number, work=2.0, nbytes=100 if number < 999 else 500)
    assert len(sample.kept) == 2  # the last was so large that no more fit
    assert (sample.count, sample.work, sample.scale) == (1000, 2000.0, 500.0)
    sample = Sample(most=200, budget=10**9)
    for number in range(2000):
        sample.offer(number, work=1.0, nbytes=1)
    assert len(sample.kept) == 200 and 850 < np.mean(sample.kept) < 1150
