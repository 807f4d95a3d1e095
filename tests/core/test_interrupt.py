"""Ctrl-C during a large picture."""

import os
import signal
import threading

from PIL import Image

from genloom import load_pipeline
from genloom.engine.inference import ImageInference
from genloom.engine.interrupt import Interrupts

CHAIN = "genloom: 1\nname: p\nstages: [load, denoise: {model: tiny-image, sigma: 25}, save]\n"


def test_a_picture_in_work_ends_at_its_next_tile(catalog, tmp_path, monkeypatch):
    Image.effect_noise((200, 200), 50).convert("RGB").save(tmp_path / "large.png")
    (tmp_path / "p.yaml").write_text(CHAIN)
    real, close, calls = ImageInference._result, Interrupts.closing, []
    closing = threading.Event()

    def closed(interrupts):
        close(interrupts)
        closing.set()

    def result(*arguments):
        calls.append(arguments)
        if len(calls) == 3:
            os.kill(os.getpid(), signal.SIGINT)
            closing.wait(60)
        return real(*arguments)

    def run(out):
        loaded = load_pipeline(tmp_path / "p.yaml", catalog=catalog)
        return loaded.run(tmp_path / "large.png", tmp_path / out, tile=40, provider="cpu")

    assert run("whole").outcome == "done"
    monkeypatch.setattr(ImageInference, "_result", result)
    monkeypatch.setattr(Interrupts, "closing", closed)
    closing.clear()
    report = run("out")
    assert (report.outcome, report.done, report.failures, len(calls)) == ("interrupted", 0, [], 3)
    assert run("out").done == 1
    assert (tmp_path / "out/large.png").read_bytes() == (tmp_path / "whole/large.png").read_bytes()
