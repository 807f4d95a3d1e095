"""What identifies inputs, and when they have changed."""

import hashlib
import os

from PIL import Image

from genloom import load_pipeline
from genloom.engine import opening, resume
from genloom.engine.packet import Packet, Unit
from genloom.engine.records import Signature
from genloom.types import Batch, Item


def signed(path):
    return opening.sign(Item(key="0/a.png", name="a", source=path))


def test_a_file_that_changes_while_it_is_read_differs_from_its_signature(tmp_path, monkeypatch):
    path = tmp_path / "a.png"
    path.write_bytes(b"half")
    os.utime(path, ns=(1, 1))
    digest = hashlib.file_digest

    def growing(file, name):
        found = digest(file, name)
        path.write_bytes(b"half and the rest")
        return found

    monkeypatch.setattr(hashlib, "file_digest", growing)
    signature = signed(path)
    item = Item(key="0/a.png", name="a", source=path)
    assert not resume._unchanged(Unit("a.png", item, inputs=(Signature.of(item),)), signature)


def test_a_small_file_that_changes_after_it_was_read_differs_from_its_signature(tmp_path):
    path = tmp_path / "a.png"
    path.write_bytes(b"half")
    os.utime(path, ns=(1, 1))
    item = Item(key="0/a.png", name="a", source=path)
    unit = Unit("a.png", item, inputs=(Signature.of(item),))
    packet = opening.with_bytes(Packet(unit, item, Batch.nothing([item])), 10)
    path.write_bytes(b"half and the rest")
    signature = opening.signed(packet)
    assert packet.item.encoded == packet.batch.items[0].encoded == b"half"
    assert (signature.size, signature.mtime) == (4, 1)
    assert signature.sha256 == hashlib.sha256(b"half").hexdigest()
    assert not resume._unchanged(Unit("a.png", item, inputs=(Signature.of(item),)), signature)
    assert opening.without_bytes(packet).batch.items[0].encoded is None


def test_only_regular_files_that_are_small_are_read_ahead(tmp_path):
    os.mkfifo(tmp_path / "pipe.png")
    (tmp_path / "device.png").symlink_to("/dev/zero")
    (tmp_path / "large.png").write_bytes(b"eleven byte")
    (tmp_path / "empty.png").write_bytes(b"")
    for name in ("pipe", "device", "large", "empty", "gone"):
        item = Item(key=name, name=name, source=tmp_path / f"{name}.png")
        packet = Packet(Unit(name, item), item, Batch.nothing([item]))
        assert opening.with_bytes(packet, 10) is packet


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
