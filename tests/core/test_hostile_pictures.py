"""Pictures that were made to do harm, each the smallest that shows it."""

import struct
import time
import zlib

import numpy as np
import pytest
from harm import NOWHERE, SECONDS, hostile
from PIL import Image

from genloom import imaging, limits, machine, scratch
from genloom.errors import ImageError
from genloom.imaging import guard, png_chunks
from genloom.imaging.deep import with_directory


def refused(data, words):
    """Both readers refuse these bytes in these words, before a decoder has worked on them."""
    started = time.monotonic()
    for reader in (imaging.read, imaging.probe):
        with pytest.raises(ImageError, match=words):
            reader(NOWHERE, data)
    assert time.monotonic() - started < SECONDS


def test_a_tiff_whose_tag_is_a_list_without_end_is_refused():
    refused(hostile._claiming(273, limits.MAX_TAG_VALUES + 1), "too many values")


def test_a_tiff_whose_tags_claim_the_same_bytes_many_times_is_refused():
    table = b"".join(struct.pack("<HHII", tag, 1, 1000, 8) for tag in range(1000, 1100))
    refused(b"II*\0" + struct.pack("<IH", 8, 100) + table + bytes(1000), "claim more bytes")


def test_a_ppm_with_a_header_without_end_is_refused():
    refused(b"P6 #" + b"x" * limits.MAX_HEADER_BYTES + b"\n1 1 255\nabc", "too long")


def test_a_large_ppm_written_as_text_is_refused():
    refused(b"P3 9 9 255\n" + b"1 " * (limits.MAX_TEXT_PPM_BYTES // 2), "written as text")


def test_a_jpeg_whose_scans_go_over_it_for_ever_is_refused(monkeypatch):
    monkeypatch.setattr(guard, "MAX_SCANNED", 100 * 400 * 400)
    data = hostile.scans(400, 400, 101)
    with pytest.raises(ImageError, match="too many scans for its size; expected at most 100"):
        imaging.read(NOWHERE, data)
    assert imaging.read(NOWHERE, hostile.scans(400, 400, 50)).pixels.shape == (400, 400, 1)


@pytest.mark.parametrize("top", [1, 7, 254, 255, 256, 1023, 65535])
@pytest.mark.parametrize("kind", [5, 6])
def test_binary_ppms_of_any_depth_are_scaled_to_8_or_16_bits(top, kind):
    stored = ">u2" if top > 255 else "u1"
    full = 65535 if top > 255 else 255
    values = np.array([0, top // 2, top] * (1 if kind == 5 else 3))
    data = f"P{kind}\n3 # a comment\n1\n{top}\n".encode() + values.astype(stored).tobytes()
    back = imaging.read(NOWHERE, data)
    assert (back.info.bits, back.info.format) == (16 if top > 255 else 8, "PPM")
    assert np.abs(back.pixels.ravel() - np.rint(values * full / top)).max() <= 0


@pytest.mark.parametrize("count", [1, 2, 5, 2000])
def test_frames_and_pages_are_counted_as_far_as_it_is_worth(count):
    one = hostile.tiff({}, b"\0\0")
    step, body = len(one) - 10, one[10:-4]
    pages = one[:10] + b"".join(
        body + struct.pack("<I", 10 + step * n if n < count else 0) for n in range(1, count + 1)
    )
    for data in (hostile.gif(1, 1, [(1, 1)] * count), pages):
        notes = imaging.read(NOWHERE, data).notes
        said = {1: (), 2000: ("only the first frame was read; 1000 or more left out",)}
        expected = said.get(count, (f"only the first frame was read; {count - 1} left out",))
        assert notes == expected


def test_a_tiff_whose_pages_lead_in_a_circle_has_the_pages_it_has():
    assert imaging.read(NOWHERE, hostile.tiff({}, b"\0\0", after=10)).notes == ()


@pytest.mark.parametrize("kind", ["PNG", "WEBP"])
def test_damaged_exif_does_not_keep_a_picture_from_being_measured(kind):
    data = hostile._saved(Image.new("RGB", (9, 8)), kind, exif=b"Exif\0\0" + b"\xf5" * 99)
    assert imaging.probe(NOWHERE, data)[:2] == (8, 9)


def test_a_picture_that_memory_has_no_room_for_is_refused(monkeypatch):
    data = hostile._saved(Image.new("RGB", (6000, 6000)), "JPEG")
    monkeypatch.setattr(machine, "free_memory", lambda: 2**29)
    with pytest.raises(ImageError, match=r"not enough memory .* at most 0\.4 GiB.*up to 0\.5 GiB"):
        imaging.read(NOWHERE, data)
    monkeypatch.setattr(machine, "free_memory", lambda: None)  # a system that does not tell
    assert imaging.read(NOWHERE, data).pixels.shape == (6000, 6000, 3)


def test_a_picture_that_is_read_by_strips_needs_little_memory(monkeypatch, tmp_path):
    data = hostile.png_bomb(6000, 6000, colour=2)
    monkeypatch.setattr(machine, "free_memory", lambda: 300 * 2**20)
    monkeypatch.setattr(guard, "LARGE", 2**20)
    with pytest.raises(ImageError, match=r"at most 0\.2 GiB.*up to 0\.5 GiB"):
        imaging.read(NOWHERE, data)
    monkeypatch.setattr(scratch, "IN_MEMORY", 2**20)
    with scratch.within(tmp_path):
        assert not imaging.read(NOWHERE, data).pixels.any()


@pytest.mark.parametrize("tile", [None, 512])
def test_large_strips_and_tiles_of_a_tiff_are_counted_as_large_as_they_are(
    monkeypatch, tmp_path, tile
):
    rows = tile or 1500
    side = 512 if tile else 2000
    count = -(-2000 // rows) * -(-2000 // side)
    packed = zlib.compress(bytes(rows * side * 3))
    at, size = (322, 323, 324, 325), (side, rows)
    if not tile:
        at, size = (278, 273, 279), (rows,)
    places = tuple(8 + n * len(packed) for n in range(count))
    entries = {256: 2000, 257: 2000, 258: (8, 8, 8), 259: 8, 262: 2, 277: 3}
    entries |= dict(zip(at, (*size, places, (len(packed),) * count), strict=True))
    data = with_directory(bytes(8) + packed * count, "<", entries)
    monkeypatch.setattr(scratch, "IN_MEMORY", 2**20)
    monkeypatch.setattr(scratch, "STRIP", 2**20)
    monkeypatch.setattr(guard, "LARGE", 2**20)
    piece = rows * (2048 if tile else 2000) * 3
    with scratch.within(tmp_path):
        monkeypatch.setattr(machine, "free_memory", lambda: 5 * piece)
        with pytest.raises(ImageError, match="not enough memory"):
            imaging.read(NOWHERE, data)
        monkeypatch.setattr(machine, "free_memory", lambda: 8 * piece + 4 * 2**20)
        assert not imaging.read(NOWHERE, data).pixels.any()


def test_a_strip_that_is_larger_stored_than_decoded_is_counted_as_it_is_stored(monkeypatch):
    packed = zlib.compress(bytes(3000)) + bytes(2**20)
    entries = {256: 100, 257: 20, 258: (8, 8, 8), 259: 8, 262: 2, 277: 3, 278: 10}
    entries |= {273: (8, 8 + len(packed)), 279: (len(packed),) * 2}
    data = with_directory(bytes(8) + packed * 2, "<", entries)
    monkeypatch.setattr(scratch, "STRIP", 300)
    monkeypatch.setattr(guard, "LARGE", 1000)
    monkeypatch.setattr(machine, "free_memory", lambda: 5 * 2**20)
    with pytest.raises(ImageError, match="not enough memory"):
        imaging.read(NOWHERE, data)


def test_a_turned_picture_with_alpha_is_counted_as_often_as_it_is_held(monkeypatch):
    image = Image.new("RGBA", (2500, 2500))
    data = hostile._saved(image, "PNG", exif=b"Exif\0\0MM\0*\0\0\0\x08\0\0\0\0\0\0")
    monkeypatch.setattr(guard, "LARGE", 2**20)
    monkeypatch.setattr(scratch, "STRIP", 2**20)
    monkeypatch.setattr(machine, "free_memory", lambda: 3 * 25_000_000)  # of which 80 % may be used
    with pytest.raises(ImageError, match="not enough memory"):
        imaging.read(NOWHERE, data)
    monkeypatch.setattr(machine, "free_memory", lambda: 5 * 25_000_000)
    assert imaging.read(NOWHERE, data).alpha.shape == (2500, 2500)


def with_chunks(*chunks, behind=False):
    data = hostile._saved(Image.new("RGB", (9, 8), "red"), "PNG")
    at = len(data) - 12 if behind else 33
    return b"".join((data[:at], *chunks, data[at:]))


@pytest.mark.parametrize("strip", [100, 2**24])
@pytest.mark.parametrize("behind", [False, True])
def test_a_png_of_very_many_chunks_or_bytes_beside_its_pixels_is_refused(
    monkeypatch, strip, behind
):
    monkeypatch.setattr(scratch, "STRIP", strip)
    few = limits.MAX_PNG_OTHER_CHUNKS - 2  # the header and the end are of them
    text = hostile.png_chunk(b"tEXt", b"a\0b")
    assert imaging.read(NOWHERE, with_chunks(*[text] * few, behind=behind)).pixels.any()
    refused(with_chunks(*[text] * (few + 1), behind=behind), "too many chunks besides its pixels")
    monkeypatch.setattr(png_chunks, "MAX_PNG_OTHER_BYTES", 5000)
    large = hostile.png_chunk(b"prVt", bytes(5000))
    refused(with_chunks(large, behind=behind), "too many bytes besides its pixels")
    monkeypatch.setattr(png_chunks, "MAX_PNG_CHUNKS", 100)
    empty = hostile.png_chunk(b"IDAT", b"")
    refused(with_chunks(*[empty] * 100, behind=behind), "too many chunks; expected at most 100")


def test_the_header_of_a_cut_png_is_the_one_that_was_measured(monkeypatch):
    monkeypatch.setattr(scratch, "STRIP", 100)
    huge = hostile.png_chunk(b"IHDR", struct.pack(">IIBBBBB", 30_000, 30_000, 8, 2, 0, 0, 0))
    data = with_chunks()
    with pytest.raises(ImageError, match="damaged"):
        imaging.read(NOWHERE, data[:8] + huge + data[8:])


def test_an_animated_png_is_not_counted_as_one_that_is_cut(monkeypatch):
    frames = [Image.new("RGB", (900, 900), colour) for colour in ("red", "blue")]
    data = hostile._saved(frames[0], "PNG", save_all=True, append_images=frames[1:])
    monkeypatch.setattr(scratch, "STRIP", 2**16)
    monkeypatch.setattr(guard, "LARGE", 2**20)
    monkeypatch.setattr(machine, "free_memory", lambda: 12_000_000)
    with pytest.raises(ImageError, match="not enough memory"):
        imaging.read(NOWHERE, data)
    monkeypatch.setattr(machine, "free_memory", lambda: 20_000_000)
    notes = ("only the first frame was read; 1 left out",)
    assert imaging.read(NOWHERE, data).notes == notes
