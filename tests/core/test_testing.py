"""The test kit accepts stages that keep their contract, and refuses each way of breaking it."""

from __future__ import annotations

import threading
from dataclasses import dataclass, replace
from typing import Annotated

import numpy as np
import pytest
from annotated_types import Interval
from making import chain, fake_catalog
from PIL import Image

from genloom import Batch, Cardinality, Item, Kind, ModelName, Stage
from genloom.catalog import Catalog
from genloom.errors import ModelError, OutputError, StageError, UnknownName
from genloom.imaging import write
from genloom.testing import (
    FakeRun,
    check_stage,
    fake_model,
    image_batch,
    latent_batch,
)


def stage(call=lambda self, batch, run: batch, **fields):
    """A stage class whose call is a function."""
    body = {"name": "made", "takes": Kind.IMAGE, "gives": Kind.IMAGE, "__call__": call, **fields}
    body |= {"__module__": __name__, "__annotations__": fields.pop("annotations", {})}
    body.pop("annotations", None)
    return dataclass(frozen=True, kw_only=True)(type("Made", (Stage,), body))


def in_place(self, batch, run):
    batch.values[:] = 0
    return batch


def alpha_in_place(self, batch, run):
    for item in batch.items:
        if item.alpha is not None:
            item.alpha[:] = 0
    return batch


def by_batch(self, batch, run):
    return batch.with_data(batch.data - batch.data.mean())


_chance = np.random.default_rng()


def by_chance(self, batch, run):
    return batch.with_data(batch.data + np.float32(_chance.random()))


def colour_only(self, batch, run):
    return batch.with_data(batch.data[:, [2, 1, 0]])


def bytes_only(self, batch, run):
    return batch.with_pixels(np.bitwise_not(batch.pixels))


def doubles(self, batch, run):
    return batch.with_pixels(batch.pixels.astype(np.float64))


def not_finite(self, batch, run):
    with np.errstate(divide="ignore", invalid="ignore"):
        return batch.with_data(batch.data / np.float32(0))


def drops_one(self, batch, run):
    return batch[:1]


def renames(self, batch, run):
    return batch.with_items([Item(key=f"new-{n}", name="n") for n in range(len(batch))])


def unsaid_file(self, batch, run):
    for item in batch.items:
        with run.output(item, ".txt") as path:
            path.write_text("x")
    return batch


_shared = threading.Lock(), []


def not_thread_safe(self, batch, run):
    """The same from one thread; another when a call is under way already."""
    lock, _ = _shared
    busy = not lock.acquire(blocking=False)
    try:
        threading.Event().wait(0.02)
        return batch.with_data(batch.data + np.float32(busy))
    finally:
        if not busy:
            lock.release()


@pytest.mark.parametrize(
    ("made", "otherwise"),
    [
        (stage(in_place), "changes the batch it is given"),
        (stage(alpha_in_place), "changes the batch it is given"),
        (stage(by_batch), "depends on the rest of its batch"),
        (stage(by_chance), "two calls differ"),
        (stage(not_thread_safe), "calls from several threads differ"),
        (stage(colour_only), "raised IndexError"),
        (stage(bytes_only), "raised TypeError"),
        (stage(doubles), "values of type float64"),
        (stage(not_finite), "not finite"),
        (stage(drops_one), "gave 1 items"),
        (stage(renames), "gave the item 'new-0' where '0/picture-0.png'"),
        (stage(unsaid_file), "does not say `writes = True`"),
        (stage(writes=True), "says that it writes, but wrote no file"),
        (stage(lambda self, batch, run: None), "gave no batch but NoneType"),
        (stage(gives=Kind.LATENT), "gave image, but says it gives latent"),
        (stage(name="Made"), "name that pipeline files cannot hold"),
        (stage(takes="image"), "must be kinds"),
    ],
)
def test_each_way_of_breaking_the_contract_is_told(made, otherwise):
    with pytest.raises(AssertionError, match=otherwise):
        check_stage(made)


def test_a_stage_that_is_not_a_frozen_dataclass_is_refused():
    loose = type("Loose", (Stage,), {"name": "loose", "takes": Kind.IMAGE, "gives": Kind.IMAGE})
    with pytest.raises(AssertionError, match="not a frozen dataclass"):
        check_stage(loose)


@dataclass(frozen=True, kw_only=True)
class Gain(Stage):
    name, takes, gives = "gain", Kind.IMAGE, Kind.IMAGE
    by: Annotated[float, Interval(ge=0, le=1)] = 0.5

    def __call__(self, batch, run):
        return batch.with_data(batch.data * self.by)


def test_a_stage_that_keeps_the_contract_passes():
    check_stage(Gain)
    check_stage(Gain, by=1.0)


def test_options_that_the_stage_would_refuse_in_a_file_are_refused():
    with pytest.raises(AssertionError, match=r"by=2.0 \(a number from 0 to 1\)"):
        check_stage(Gain, by=2.0)
    with pytest.raises(AssertionError, match="no such option"):
        check_stage(Gain, bye=1.0)


def test_a_default_outside_its_own_range_is_found():
    made = stage(annotations={"by": Annotated[float, Interval(ge=0, le=1)]}, by=3.0)
    with pytest.raises(AssertionError, match="default options do not pass their own check"):
        check_stage(made)


NEEDS_FILES = {"compare"}
NEEDS_CLASSES = {"shift"}  # checked in test_stages_travel.py, with a model that has some
SHIPPED = {
    name for name, kind in Catalog.load().stages().items() if kind.__module__.startswith("genloom")
}


@pytest.mark.parametrize("name", sorted(SHIPPED - NEEDS_FILES - NEEDS_CLASSES))
def test_every_stage_that_ships_keeps_the_contract(name):
    stage_type = Catalog.load().stage(name)
    options = {
        "resize": {"width": 20},
        "crop": {"width": 9, "height": 7},
        "denoise": {"sigma": 20},  # `auto` asks a model of its own: test_denoise_stages.py
    }
    check_stage(stage_type, **options.get(name, {}))


def test_a_stage_of_every_cardinality_is_checked():
    def twice(self, batch, run):
        items = [item.child(k) for item in batch.items for k in (0, 1)]
        return replace(batch, items=tuple(items), values=batch.values.repeat(2, axis=0))

    check_stage(stage(twice, cardinality=Cardinality.ONE_TO_MANY))

    def gather(self, members, item, run):
        return Batch.images(
            [item], np.mean([m.data for m in members], axis=0).transpose(0, 2, 3, 1)
        )

    check_stage(stage(Stage.__call__, cardinality=Cardinality.MANY_TO_ONE, gather=gather))

    def first(self, batch, run):
        pixels = np.stack([run.random(i).random_sample((4, 4, 3)) for i in batch.items])
        return Batch.images(batch.items, pixels.astype(np.float32))

    check_stage(
        stage(
            first,
            takes=Kind.NOTHING,
            cardinality=Cardinality.NONE_TO_MANY,
            annotations={"count": int},
            count=5,
        )
    )


def test_a_stage_that_writes_is_checked():
    def save(self, batch, run):
        for one in batch:
            with run.output(one.items[0], ".png") as path:
                write(path, one.pixels[0], ending=".png", alpha=None, info=one.items[0].info)
        return batch

    check_stage(stage(save, writes=True))


def test_an_option_that_names_a_model_is_given_one():
    @dataclass(frozen=True, kw_only=True)
    class Through(Stage):
        name, takes, gives = "through", Kind.IMAGE, Kind.IMAGE
        model: Annotated[str, ModelName("network")] = "sharpen-photo"

        def __call__(self, batch, run):
            return run.model(self.model).image("network", batch)

    run = FakeRun()
    check_stage(Through, run)
    assert list(run.models) == ["sharpen-photo"]
    mine = fake_model()
    check_stage(Through, FakeRun({"mine": mine}), model="mine")
    assert mine.calls


def test_a_fake_run_draws_the_numbers_of_a_real_one():
    from genloom.types import random_state

    item = Item(key="0/a.png", name="a")
    drawn = FakeRun(seed=3, stage="noise").random(item).random_sample(4)
    np.testing.assert_array_equal(drawn, random_state(3, "noise", "0/a.png").random_sample(4))
    assert FakeRun(seed=3).seed == 3


def test_a_fake_run_names_what_it_lacks():
    with pytest.raises(UnknownName, match="'fake'"):
        FakeRun({"fake": fake_model()}).model("fak")


def test_files_of_a_fake_run_get_their_name_only_when_the_block_ends_well(tmp_path):
    run, item = FakeRun(folder=tmp_path), Item(key="0/a/b.png", name="a/b")
    with pytest.raises(ValueError, match="stop"), run.output(item, ".txt") as path:
        path.write_text("half")
        raise ValueError("stop")
    with pytest.raises(StageError, match="wrote none"), run.output(item, ".txt"):
        pass
    assert [p for p in tmp_path.rglob("*") if p.is_file()] == []
    with run.output(item, ".txt", "{folder}/{stem}-x") as path:
        path.write_text("whole")
        assert not run.files
    assert run.files == [tmp_path / "a" / "b-x.txt"]
    assert run.files[0].read_text() == "whole"
    with pytest.raises(OutputError), run.output(item, ".txt", "../{stem}"):
        pass


def test_a_temporary_folder_of_a_fake_run_goes_with_it():
    run = FakeRun()
    folder = run.folder
    assert folder.is_dir()
    del run
    assert not folder.exists()


@pytest.mark.parametrize("dtype", [np.uint8, np.uint16, np.float32])
@pytest.mark.parametrize("channels", [1, 3])
def test_a_fake_model_takes_any_picture_and_gives_it_back(dtype, channels):
    batch = image_batch(2, size=(17, 13), channels=channels, dtype=dtype)
    for of in (1, 3):
        result = fake_model(channels=of).image("network", batch)
        assert result.size == batch.size
    np.testing.assert_allclose(fake_model().image("network", batch).data, batch.data, atol=1e-6)


def test_a_fake_model_runs_the_function_it_is_given_and_remembers_the_call():
    model = fake_model(
        lambda image, noise_level: image * noise_level[:, None, None, None], ports=["noise_level"]
    )
    batch = image_batch(2)
    levels = np.array([0, 0.5], np.float32)
    result = model.image("network", batch, noise_level=levels)
    np.testing.assert_allclose(result.data, batch.data * levels[:, None, None, None], atol=1e-6)
    ((part, inputs),) = model.calls
    assert part == "network" and inputs["noise_level"].tolist() == [0, 0.5]


def test_a_fake_model_can_enlarge():
    model = fake_model(lambda image: image.repeat(2, 2).repeat(2, 3), scale=2)
    assert model.image("network", image_batch(size=(10, 6))).size == (20, 12)


def test_a_fake_model_encodes_decodes_and_samples():
    model = fake_model()
    latents = model.encode(image_batch(2, size=(8, 8)))
    assert latents.values.shape == (2, 3, 4, 4) and latents.model == model.digest
    assert np.all(latents.log_variance == -2)
    assert model.decode(latents).size == (8, 8)
    with pytest.raises(ModelError, match="another model"):
        model.decode(latent_batch(fake_model(name="fake", channels=1)))
    item = Item(key="sample-000000", name="s")
    drawn = model.prior([item], [FakeRun().random(item)], temperature=0.0)
    assert np.all(drawn.values == 0) and drawn.values.shape == (1, 3, 4, 4)


def test_a_part_that_a_fake_model_lacks_is_a_model_error():
    with pytest.raises(ModelError, match="no part 'generator'"):
        fake_model().run("generator", {})


def test_batches_are_the_same_at_every_call_and_no_two_pictures_alike():
    one, other = image_batch(3, alpha=True, dtype=np.uint16), image_batch(3, dtype=np.uint16)
    np.testing.assert_array_equal(one.values, other.values)
    assert not np.array_equal(one.values[0], one.values[1])
    assert one.items[0].alpha.dtype == np.uint16 and one.items[0].info.bits == 16
    assert not np.array_equal(image_batch(seed=1).values, image_batch(seed=2).values)
    assert latent_batch(fake_model(), 2, posterior=False).log_variance is None


def test_a_whole_pipeline_runs_on_the_fake_runtime(tmp_path):
    catalog = fake_catalog(tmp_path / "models")
    Image.new("RGB", (8, 8), (10, 200, 30)).save(tmp_path / "a.png")
    loaded = chain(tmp_path, "load", "encode: {model: fake}", "decode", "save", catalog=catalog)
    report = loaded.run(tmp_path / "a.png", tmp_path / "out", runtime="fake")
    assert report.providers == {"fake": "fake"}
    assert np.array(Image.open(tmp_path / "out" / "a.png"))[0, 0].tolist() == [10, 200, 30]
