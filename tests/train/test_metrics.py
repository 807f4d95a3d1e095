"""Metrics: the same values in the CSV and for TensorBoard, none twice after a resume."""

import csv
import os

import pytest

from genloom_train.metrics import COLUMNS, Metrics


def write(folder, after, steps):
    metrics = Metrics(folder, after=after)
    for step in steps:
        metrics.write(step, step / 2, "train", {"loss": 1 / step, "kl": step + after / 100})
        metrics.write(step, step / 2, "held-out", {"mse": 2 / step})
    metrics.close()


def rows(folder):
    with (folder / "metrics.csv").open(newline="") as file:
        return [(int(r["step"]), f"{r['split']}/{r['name']}", float(r["value"]))
                for r in csv.DictReader(file)]  # fmt: skip


@pytest.mark.parametrize("after", [0, 2, 4], ids=["no checkpoint", "a checkpoint", "the last one"])
def test_both_hold_every_value_once_after_a_resume(after, tmp_path):
    from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

    write(tmp_path, 0, [1, 2, 3, 4])
    write(tmp_path, after, range(after + 1, 7))
    written = rows(tmp_path)
    assert [step for step, tag, _ in written if tag == "train/kl"] == [1, 2, 3, 4, 5, 6]
    assert (3, "train/kl", 3 + (after / 100 if after < 3 else 0)) in written
    board = EventAccumulator(str(tmp_path / "tensorboard"))
    board.Reload()
    assert set(board.Tags()["scalars"]) == {"train/loss", "train/kl", "held-out/mse"}
    for tag in board.Tags()["scalars"]:
        said = {event.step: event.value for event in board.Scalars(tag)}
        assert said == pytest.approx({s: v for s, t, v in written if t == tag}, rel=1e-5)


def test_a_row_that_was_cut_short_is_dropped_and_a_kill_while_rewriting_loses_nothing(
    tmp_path, monkeypatch
):
    write(tmp_path, 0, [1, 2])
    whole = rows(tmp_path)
    with (tmp_path / "metrics.csv").open("a") as file:
        file.write("3,1.5,tra")

    def killed(*_):
        raise KeyboardInterrupt

    with monkeypatch.context() as patch:
        patch.setattr(os, "replace", killed)
        with pytest.raises(KeyboardInterrupt):
            Metrics(tmp_path, after=2)
    write(tmp_path, 2, [])
    assert rows(tmp_path) == whole
    assert (tmp_path / "metrics.csv").read_text().splitlines()[0] == ",".join(COLUMNS)
