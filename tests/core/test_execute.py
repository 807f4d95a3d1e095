"""Running plans: streaming, seeds, groups, and what a run tells."""

import threading
from dataclasses import dataclass

import numpy as np
import pytest
from PIL import Image
from running import pixels, results

import genloom
from genloom import (
    Catalog,
    Kind,
    Stage,
    hookimpl,
    load_pipeline,
)
from genloom.engine import execute
from genloom.errors import GenloomError, InvalidFile
from genloom.types import Item


def test_a_folder_tree_is_mirrored_and_every_picture_done(pipeline, photos, tmp_path):
    report = pipeline("load", "invert", "save").run(photos, tmp_path / "out")
    assert (report.done, report.failed, report.outcome, report.exit_code) == (8, 0, "done", 0)
    assert list(results(tmp_path / "out")) == [
        *[f"one/p{n}.png" for n in range(5)],
        *[f"two/p{n}.png" for n in range(5, 8)],
    ]
    before, after = pixels(photos / "one/p0.png"), pixels(tmp_path / "out/one/p0.png")
    assert np.array_equal(before + after, np.full_like(before, 255))


@pytest.mark.parametrize(("batch", "workers"), [(1, 1), (16, 1), (1, 4), (3, 2), (0, 0)])
def test_the_seed_decides_the_pictures_whatever_the_batch_and_workers(
    pipeline, photos, tmp_path, batch, workers
):
    chain = pipeline("load", "copies", "save", seed=5)
    chain.run(photos, tmp_path / "one", batch=1, workers=1)
    report = chain.run(photos, tmp_path / "other", batch=batch, workers=workers)
    assert report.files == 24
    assert results(tmp_path / "one") == results(tmp_path / "other")
    pipeline("load", "copies", "save", seed=6).run(photos, tmp_path / "seed")
    assert results(tmp_path / "one") != results(tmp_path / "seed")


def test_children_get_names_and_noise_of_their_own(pipeline, photos, tmp_path):
    pipeline("load", "copies: {count: 2}", "save").run(photos / "two/p6.png", tmp_path / "out")
    first, second = (pixels(tmp_path / f"out/p6-00{k}.png") for k in range(2))
    assert not np.array_equal(first, second)


def test_no_pictures_at_all_is_an_error_that_says_so(pipeline, tmp_path):
    (tmp_path / "empty").mkdir()
    with pytest.raises(GenloomError, match="nothing to do"):
        pipeline("load", "save").run(tmp_path / "empty", tmp_path / "out")
    with pytest.raises(GenloomError, match="nothing to do"):
        pipeline("load", "save").run((), tmp_path / "out")


def test_sheets_have_pages(pipeline, photos, tmp_path):
    pipeline("load", "grid: {max_items: 3}", "save").run(photos, tmp_path / "out")
    assert list(results(tmp_path / "out")) == ["grid-002.png", "grid-003.png", "grid.png"]


def test_plugins_are_told_what_happens(pipeline, photos, tmp_path, plugin):
    (photos / "one/bad.png").write_bytes(b"no")
    pipeline("load", "invert", "save").run(photos, tmp_path / "out")
    assert plugin.told[0] == ("before", 9)
    assert plugin.told[-1] == ("end", "failed")
    assert ("after", "0/two/p7.png", ["p7.png"]) in plugin.told
    assert [entry[1] for entry in plugin.told if entry[0] == "failed"] == ["0/one/bad.png"]


def test_events_tell_the_whole_story(pipeline, photos, tmp_path):
    events = []
    (photos / "one/bad.png").write_bytes(b"no")
    pipeline("load", "invert", "save").run(photos, tmp_path / "out", observe=events.append)
    assert events[0]["event"] == "start" and events[0]["total"] == 9
    assert sum(event["items"] for event in events if event["event"] == "item") == 9
    states = [event["state"] for event in events if event["event"] == "item"]
    assert states.count("failed") == 1
    assert events[-1]["report"].done == 8


def test_alpha_follows_resizing_and_cropping(pipeline, tmp_path):
    folder = tmp_path / "in"
    folder.mkdir()
    image = np.zeros((40, 60, 4), np.uint8)
    image[:20, :, 3] = 255
    Image.fromarray(image).save(folder / "a.png")
    chain = pipeline(
        "load", "crop: {width: 30, height: 20, anchor: top}", "resize: {scale: 2}", "save"
    )
    chain.run(folder, tmp_path / "out")
    after = pixels(tmp_path / "out/a.png")
    assert after.shape == (40, 60, 4)
    assert (after[..., 3] == 255).all()


def test_values_outside_the_range_are_clamped_once_at_the_end(pipeline, photos, tmp_path):
    chain = pipeline("load", "copies: {count: 1}", "save")
    assert chain.run(photos, tmp_path / "out").exit_code == 0


def test_a_plan_runs_nothing(pipeline, photos, tmp_path):
    described = pipeline("load", "invert", "save").plan(photos, tmp_path / "out").describe()
    assert described["items"] == 8
    assert [stage["id"] for stage in described["stages"]] == ["load", "invert", "save"]
    assert not (tmp_path / "out").exists()


def test_memory_does_not_grow_with_the_number_of_pictures(pipeline, tmp_path, monkeypatch):
    folder = tmp_path / "many"
    folder.mkdir()
    for index in range(120):
        Image.new("RGB", (64, 64), (index, 0, 0)).save(folder / f"{index:03d}.bmp")
    alive, most = set(), [0]
    lock = threading.Lock()

    class Watch:
        genloom_api = 1

        @hookimpl
        def genloom_stages(self):
            return [Counted]

    @dataclass(frozen=True, kw_only=True)
    class Counted(Stage):
        """Counts pictures that were decoded and not yet written."""

        name, takes, gives = "counted", Kind.IMAGE, Kind.IMAGE

        def __call__(self, batch, run):
            with lock:
                alive.update(item.key for item in batch.items)
                most[0] = max(most[0], len(alive))
            return batch

    catalog = Catalog.load()
    catalog.register(Watch(), "watch")
    file = tmp_path / "watch.yaml"
    file.write_text("genloom: 1\nstages: [load, counted, save]\n")

    def forget(event):
        if event["event"] == "item":
            alive.discard(event["key"])

    # What is written and waits for its name counts here too.
    monkeypatch.setattr(execute, "GROUP_FILES", 32)
    chain = load_pipeline(file, catalog=catalog)
    report = chain.run(
        folder, tmp_path / "out", queue_bytes=4 * 64 * 64 * 3, workers=1, batch=1, observe=forget
    )
    assert report.done == 120
    assert most[0] < 60


def test_a_run_works_outside_the_main_thread(pipeline, photos, tmp_path):
    reports = []
    thread = threading.Thread(
        target=lambda: reports.append(pipeline("load", "save").run(photos, tmp_path / "out"))
    )
    thread.start()
    thread.join()
    assert reports[0].done == 8


def test_items_are_plain_values():
    child = Item(key="0/a.png", name="a").child(2)
    assert (child.key, child.name) == ("0/a.png#2", "a-002")
    assert genloom.Item is Item


def test_invalid_pipelines_never_reach_the_engine(pipeline):
    with pytest.raises(InvalidFile):
        pipeline("save")
