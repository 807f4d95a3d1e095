"""What identifies inputs, and when they have changed."""

import os

from PIL import Image

from genloom import load_pipeline
from genloom.engine import resume
from genloom.engine.packet import Unit
from genloom.engine.records import Signature
from genloom.types import Item


def signed(path):
    return resume.sign(Item(key="0/a.png", name="a", source=path))


def test_a_file_that_changes_while_it_is_read_differs_from_its_signature(tmp_path, monkeypatch):
    path = tmp_path / "a.png"
    path.write_bytes(b"half")
    os.utime(path, ns=(1, 1))
    digest = resume.hashlib.file_digest

    def growing(file, name):
        found = digest(file, name)
        path.write_bytes(b"half and the rest")
        return found

    monkeypatch.setattr(resume.hashlib, "file_digest", growing)
    signature = signed(path)
    item = Item(key="0/a.png", name="a", source=path)
    assert not resume._unchanged(Unit("a.png", item, inputs=(Signature.of(item),)), signature)


def test_a_file_that_cannot_be_read_has_no_hash_and_equals_nothing(tmp_path):
    signature = signed(tmp_path)
    assert signature.sha256 == ""
    assert signed(tmp_path / "gone").size == -1
    assert not resume._has_bytes(tmp_path, "")


def test_a_pipe_or_device_among_the_pictures_fails_and_nothing_hangs(tmp_path):
    folder = tmp_path / "in"
    folder.mkdir()
    Image.new("RGB", (4, 4)).save(folder / "a.png")
    os.mkfifo(folder / "pipe.png")
    (folder / "device.png").symlink_to("/dev/zero")
    (tmp_path / "copy.yaml").write_text("genloom: 1\nstages: [load, save]\n")
    for _ in range(2):
        report = load_pipeline(tmp_path / "copy.yaml").run(folder, tmp_path / "out")
        assert report.failed == 2
        assert all("not a file" in failure.reason for failure in report.failures)
