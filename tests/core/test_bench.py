"""`genloom bench`: a run beside its models and codecs alone."""

from __future__ import annotations

import json

import numpy as np
import pytest
from click.testing import CliRunner
from making import chain, fake_catalog, five_pictures

from genloom.cli import main
from genloom.cli.bench import advice, bench_text
from genloom.engine.bench import Alone, Bench, bench
from genloom.engine.recording import Sample
from genloom.engine.settings import RunSettings
from genloom.engine.timing import StageTime, ThreadTime, Times
from genloom.errors import GenloomError
from genloom.testing import fake_bundle


@pytest.fixture
def place(empty_place):
    """A working folder with five pictures of two sizes."""
    five_pictures(empty_place / "in")
    return empty_place


def benched(place, catalog, *stages, inputs=("in",), settings=None, rounds=1):
    pipeline = chain(place, *stages, catalog=catalog).pipeline
    return bench(pipeline, catalog, inputs, settings, rounds=rounds)


def test_a_pipeline_stands_beside_its_model_and_codecs(place, catalog):
    (place / "chain.yaml").touch()
    before = sorted(place.rglob("*"))
    stages, settings = (
        ("load", "apply: {model: tiny-image}", "save"),
        RunSettings(workers=2, batch=2),
    )
    found = benched(place, catalog, *stages, settings=settings, rounds=2)
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


def test_several_models_and_the_fake_runtime(place, tmp_path):
    fakes = fake_catalog(tmp_path / "models")
    fake_bundle(tmp_path / "models", "second")
    stages = ("load", "apply: {model: fake}", "apply: {id: b, model: second}", "save")
    found = benched(place, fakes, *stages, settings=RunSettings(runtime="fake"))
    assert [one.name for one in found.alone] == ["fake", "second", "decoding", "encoding"]
    assert {one["provider"] for one in found.models.values()} == {"fake"}


def test_a_pipeline_without_models_or_files_to_read(place, catalog):
    found = benched(place, catalog, "load", "resize: {scale: 0.5}", "save", rounds=3)
    assert [one.kind for one in found.alone] == ["decode", "encode"]
    stages = ("sample: {model: tiny-vae, count: 3}", "decode", "grid", "save")
    found = benched(place, catalog, *stages, inputs=())
    assert [one.name for one in found.alone] == ["tiny-vae", "encoding"]
    assert found.pictures == 3 and found.alone[1].of == 1


def test_pictures_that_fail_do_not_count_and_none_at_all_is_an_error(place, catalog):
    (place / "in/bad.png").write_bytes(b"no")
    found = benched(place, catalog, "load", "save")
    assert (found.pictures, found.failed) == (5, 1)
    assert "1 failed and do not count" in bench_text(found, "chain.yaml")
    with pytest.raises(GenloomError, match="no picture came through"):
        benched(place, catalog, "load", "save", inputs=["in/bad.png"])


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
