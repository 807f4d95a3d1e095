"""Pictures larger than memory: the same files and pixels as others, through files and by strips."""

import io
import shutil
from dataclasses import replace
from pathlib import Path

import cv2
import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from PIL import Image

import genloom
from genloom import scratch
from genloom.engine import cutting
from genloom.errors import ImageError, OutputError
from genloom.imaging import encode, read, resize
from genloom.imaging.deep import with_directory
from genloom.imaging.png_chunks import made
from genloom.testing import fake_model
from genloom.types import Batch, ImageInfo, Item, as_dtype

NOWHERE = Path("nowhere")
RECORD = '{"record": 1}'

by_strips = settings(
    max_examples=40,
    deadline=None,
    suppress_health_check=[HealthCheck.function_scoped_fixture],
)


@pytest.fixture
def small(monkeypatch, tmp_path):
    """Everything above some hundred bytes is large; gives the folder that files are made in."""
    folder = tmp_path / "scratch"
    folder.mkdir()
    monkeypatch.setattr(scratch, "IN_MEMORY", 500)
    monkeypatch.setattr(scratch, "STRIP", 300)
    with scratch.within(folder):
        yield folder


def noise(shape, dtype=np.uint8, seed=0):
    top = 1 if dtype == np.float32 else np.iinfo(dtype).max + 1
    values = np.random.RandomState(seed).rand(*shape) * top
    return values.astype(dtype)


def in_file(array):
    return scratch._file_of(array) is not None


# Arrays in files.


def test_a_large_array_lies_in_a_file_without_a_name_and_keeps_what_is_let_go(small):
    array = scratch.zeros((10, 20, 3), np.uint16)
    assert in_file(array) and list(small.iterdir()) == []
    assert not array.any()
    array[:] = noise(array.shape, np.uint16)
    scratch.release(array[::2])
    assert (array == noise(array.shape, np.uint16)).all()


def test_small_arrays_and_those_of_no_run_lie_in_memory(small):
    assert not in_file(scratch.zeros((10, 10), np.uint8))
    with scratch.within(None):
        assert not in_file(scratch.zeros((100, 100), np.uint8))
    assert in_file(scratch.zeros((100, 100), np.uint8))


def test_a_disk_without_room_is_told_before_the_work(small, monkeypatch):
    free = shutil.disk_usage(small)._replace(free=1000)
    monkeypatch.setattr(shutil, "disk_usage", lambda _: free)
    with pytest.raises(OutputError, match="no room for a large picture") as caught:
        scratch.zeros((2**20, 1100), np.uint8)
    assert "expected 1.34 GiB free on the disk, got 0.00 GiB" in str(caught.value)


@pytest.mark.parametrize("shape", [(7, 50), (50, 7, 3), (1, 50, 7, 3), (3, 11, 30, 1)])
def test_strips_are_all_rows_once(small, shape):
    array, seen = noise(shape), np.zeros(shape, np.uint8)
    for part in scratch.strips(array):
        seen[part] += 1
    assert (seen == 1).all()
    turned = array.swapaxes(0, 1)[::-1]
    copy = scratch.contiguous(turned)
    assert copy.flags.c_contiguous and in_file(copy) == (array.nbytes > 500)
    assert (copy == turned).all()


def test_pixels_of_another_type_are_the_same_by_strips(small):
    floats = noise((1, 40, 30, 3), np.float32) * 1.2 - 0.1
    expected = np.floor(np.clip(floats, 0, 1) * np.float32(255) + np.float32(0.5))
    assert (as_dtype(floats, np.uint8) == expected).all()
    floats[0, 3, 4] = floats[0, 30, 4, 0] = np.nan
    with pytest.raises(ValueError, match="4 of 3600 are not"):
        as_dtype(floats, np.uint8)


@pytest.mark.parametrize("filter", ["lanczos", "nearest", "area"])
@pytest.mark.parametrize("dtype", [np.uint8, np.uint16, np.float32])
def test_resizing_by_strips_leaves_no_seams(small, monkeypatch, filter, dtype):
    picture = noise((40, 30), dtype)
    by_strips = resize(picture, 80, 60, filter)
    monkeypatch.setattr(scratch, "IN_MEMORY", 10**9)
    assert (by_strips == resize(picture, 80, 60, filter)).all()


# Files.


@by_strips
@given(
    height=st.integers(1, 40),
    width=st.integers(1, 40),
    channels=st.sampled_from([1, 3]),
    dtype=st.sampled_from([np.uint8, np.uint16]),
    with_alpha=st.booleans(),
    ending=st.sampled_from([".png", ".tif"]),
    strip=st.integers(1, 3000),
)
def test_what_is_written_by_strips_is_read_as_it_was(
    small, monkeypatch, height, width, channels, dtype, with_alpha, ending, strip
):
    monkeypatch.setattr(scratch, "STRIP", strip)
    pixels = noise((height, width, channels), dtype)
    alpha = noise((height, width), dtype, 1) if with_alpha else None
    info = ImageInfo(bits=8 * pixels.itemsize, dpi=(300, 300))
    data, notes = encode(pixels, ending=ending, alpha=alpha, info=info, record=RECORD)
    picture = read(NOWHERE, data)
    assert notes == picture.notes == ()
    assert picture.pixels.dtype == dtype and (picture.pixels == pixels).all()
    assert (picture.alpha is None) if alpha is None else (picture.alpha == alpha).all()
    assert picture.info.dpi == pytest.approx((300, 300), abs=0.1)
    if ending == ".png":
        with Image.open(io.BytesIO(data)) as image:
            assert image.info["genloom"] == RECORD
    both = pixels if alpha is None else np.dstack([pixels, alpha])
    if both.shape[2] != 2:  # OpenCV has no grey with alpha
        seen = cv2.imdecode(np.frombuffer(data, np.uint8), cv2.IMREAD_UNCHANGED)
        seen = seen.reshape(*pixels.shape[:2], -1)
        order = [2, 1, 0, 3][: both.shape[2]] if both.shape[2] > 2 else [0]
        assert (seen[..., order] == both).all()
    if dtype == np.uint8:
        with Image.open(io.BytesIO(data)) as image:
            assert (np.asarray(image).reshape(both.shape) == both).all()


@by_strips
@given(
    height=st.integers(1, 70),
    width=st.integers(1, 70),
    channels=st.sampled_from([1, 3]),
    quality=st.sampled_from([50, 89, 90, 100]),
    strip=st.integers(1, 5000),
)
def test_a_jpeg_of_strips_has_the_pixels_of_a_whole_one(
    small, monkeypatch, height, width, channels, quality, strip
):
    pixels = cv2.GaussianBlur(noise((height, width, 3)), (0, 0), 1)[..., :channels]
    info = ImageInfo(dpi=(72, 72), exif=b"MM\0*\0\0\0\x08\0\0\0\0\0\0")
    monkeypatch.setattr(scratch, "IN_MEMORY", 0)
    monkeypatch.setattr(scratch, "STRIP", strip)
    strips, _ = encode(pixels, ending=".jpg", quality=quality, info=info, record=RECORD)
    monkeypatch.setattr(scratch, "IN_MEMORY", 10**9)
    whole, _ = encode(pixels, ending=".jpg", quality=quality, info=info, record=RECORD)
    one, other = read(NOWHERE, strips), read(NOWHERE, whole)
    assert (one.pixels == other.pixels).all() and one.info == other.info
    for data in (strips, whole):
        seen = cv2.imdecode(np.frombuffer(data, np.uint8), cv2.IMREAD_UNCHANGED)
        assert seen.shape[:2] == (height, width)
        if data is strips:
            first = seen
    assert (first == seen).all()


def test_a_jpeg_by_strips_knows_its_largest_side(small):
    with pytest.raises(ImageError, match="at most 65500 pixels a side, got 2×70000"):
        encode(np.zeros((70000, 2, 1), np.uint8), ending=".jpg")


@pytest.mark.parametrize("dtype", [np.uint8, np.uint16])
def test_a_ppm_and_a_flattened_picture_are_the_same_by_strips(small, monkeypatch, dtype):
    pixels, alpha = noise((40, 30, 3), dtype), noise((20, 15), dtype, 1)
    info = ImageInfo(bits=8 * pixels.itemsize)
    by_strips = encode(pixels, ending=".ppm", alpha=alpha, info=info)
    monkeypatch.setattr(scratch, "IN_MEMORY", 10**9)
    monkeypatch.setattr(scratch, "STRIP", 10**9)
    assert by_strips == encode(pixels, ending=".ppm", alpha=alpha, info=info)


def turned_png():
    exif = Image.Exif()
    exif[0x0112] = 6
    data = io.BytesIO()
    Image.fromarray(noise((30, 40, 3))).save(data, "PNG", exif=exif, dpi=(72, 72))
    return data.getvalue()


def test_a_png_read_by_strips_is_turned_upright(small):
    picture = read(NOWHERE, turned_png())
    assert in_file(picture.pixels)
    assert (picture.pixels == np.rot90(noise((30, 40, 3)), -1)).all()


@pytest.mark.parametrize("transparent", [(9, 8, 7), None])
def test_a_png_of_another_writer_is_the_same_by_strips(small, monkeypatch, transparent):
    pixels = noise((50, 33, 3))
    pixels[20:40, 5:9] = 9, 8, 7
    data = io.BytesIO()
    options = {} if transparent is None else {"transparency": transparent}
    Image.fromarray(pixels).save(data, "PNG", **options)
    by_strips = read(NOWHERE, data.getvalue())
    monkeypatch.setattr(scratch, "STRIP", 10**9)
    whole = read(NOWHERE, data.getvalue())
    assert (by_strips.pixels == pixels).all() and by_strips.info == whole.info
    assert by_strips.notes == whole.notes
    if transparent:
        assert (by_strips.alpha == whole.alpha).all() and (by_strips.alpha == 0).sum() == 80


@pytest.mark.parametrize("change", ["cut", "cut in rows", "byte"])
def test_a_damaged_png_read_by_strips_is_an_error(small, change):
    data = turned_png()
    if change == "byte":
        data = data[:1000] + bytes([data[1000] ^ 1]) + data[1001:]
    else:
        data = data[: -20 if change == "cut" else 900]
    with pytest.raises(ImageError, match="the file is damaged"):
        read(NOWHERE, data)


def damaged(chunk):
    return chunk[:-1] + bytes([chunk[-1] ^ 1])


EXIF = b"MM\0*\0\0\0\x08\0\x01\x01\x12\0\x03\0\0\0\x01\0\x06\0\0\0\0\0\0"
TEXT, TURN = made(b"tEXt", b"a\0b"), made(b"eXIf", EXIF)
COMMENT, LEFT_OUT = "text comments were left out", "1 damaged chunk behind the pixels was left out"


@pytest.mark.parametrize("dtype", [np.uint8, np.uint16])
@pytest.mark.parametrize("strip", [300, 10**9])
@pytest.mark.parametrize(
    ("behind", "turned", "notes"),
    [
        (TEXT, False, (COMMENT,)),
        (damaged(TEXT), False, (LEFT_OUT,)),
        (TURN, True, ()),
        (damaged(TURN), False, (LEFT_OUT,)),
        (damaged(TEXT) + TURN, True, (LEFT_OUT,)),
        (damaged(TURN) * 2, False, ("2 damaged chunks behind the pixels were left out",)),
    ],
)
def test_size_does_not_decide_what_is_read_behind_the_pixels(
    small, monkeypatch, dtype, strip, behind, turned, notes
):
    monkeypatch.setattr(scratch, "STRIP", strip)
    pixels = noise((30, 40, 3), dtype)
    data, _ = encode(pixels, ending=".png", info=ImageInfo(bits=8 * pixels.itemsize))
    picture = read(NOWHERE, data[:-12] + behind + data[-12:])
    assert (picture.pixels == (np.rot90(pixels, -1) if turned else pixels)).all()
    assert picture.notes == notes


@pytest.mark.parametrize("strip", [300, 10**9])
@pytest.mark.parametrize("change", [*range(1, 30), "critical", "end", "pixels", "header"])
def test_size_does_not_decide_whether_a_png_is_damaged(small, monkeypatch, strip, change):
    monkeypatch.setattr(scratch, "STRIP", strip)
    data, _ = encode(noise((30, 40, 3)), ending=".png")
    if change == "critical":
        data = data[:-12] + damaged(made(b"ABCD", b"a")) + data[-12:]
    elif change == "end":
        data = damaged(data)
    elif change == "pixels":
        data = damaged(data[:-12]) + data[-12:]
    elif change == "header":
        data = data[:-12] + data[8:33] + data[-12:]
    else:
        data = data[:-change]
    with pytest.raises(ImageError, match="a part of the PNG is broken or cut short"):
        read(NOWHERE, data)


@pytest.mark.parametrize("strip", [300, 10**9])
def test_size_does_not_decide_which_chunks_hold_the_pixels(small, monkeypatch, strip):
    monkeypatch.setattr(scratch, "STRIP", strip)
    pixels, empty = noise((30, 40, 3)), made(b"IDAT", b"")
    data, _ = encode(pixels, ending=".png")
    assert (read(NOWHERE, data[:-12] + TEXT + empty + data[-12:]).pixels == pixels).all()
    with pytest.raises(ImageError):
        read(NOWHERE, data[:33] + empty + TEXT + data[33:])


@pytest.mark.parametrize("packing", [None, "tiff_lzw", "tiff_adobe_deflate", "packbits"])
@pytest.mark.parametrize("mode", ["L", "LA", "RGB", "RGBA", "P", "I;16", "F", "1"])
@pytest.mark.parametrize("rows", [7, 64])
def test_a_tiff_is_the_same_by_strips(small, monkeypatch, mode, packing, rows):
    image = Image.fromarray(noise((64, 30, 3))).convert("L" if mode in ("I;16", "F") else mode)
    if mode == "I;16":
        image = Image.fromarray(noise((64, 30), np.uint16))
    elif mode == "F":
        image = Image.fromarray(noise((64, 30), np.float32))
    data = io.BytesIO()
    tags = {278: rows, 274: 6}
    image.save(data, "TIFF", compression=packing, tiffinfo=tags, dpi=(72, 72))
    by_strips = read(NOWHERE, data.getvalue())
    monkeypatch.setattr(scratch, "STRIP", 10**9)
    whole = read(NOWHERE, data.getvalue())
    assert whole.pixels.shape[:2] == (30, 64)
    assert (by_strips.pixels == whole.pixels).all() and by_strips.info == whole.info
    assert by_strips.notes == whole.notes
    assert (by_strips.alpha is None) == (whole.alpha is None)


@pytest.mark.parametrize("dtype", [np.uint8, np.uint16])
def test_a_tiled_tiff_is_read_by_rows_of_tiles(small, dtype):
    pixels = noise((70, 50, 3), dtype)
    padded = np.pad(pixels, ((0, 10), (0, 14), (0, 0)))
    tiles = [
        padded[y : y + 16, x : x + 16].tobytes() for y in range(0, 80, 16) for x in range(0, 64, 16)
    ]
    size = len(tiles[0])
    entries = {
        256: 50, 257: 70, 258: (8 * pixels.itemsize,) * 3, 259: 1, 262: 2, 277: 3, 322: 16, 323: 16,
        324: tuple(8 + size * n for n in range(len(tiles))), 325: (size,) * len(tiles),
    }  # fmt: skip
    data = with_directory(bytes(8) + b"".join(tiles), "<", entries)
    assert (read(NOWHERE, data).pixels == pixels).all()


# Models and runs.


def doubled(image):
    return image.repeat(2, axis=2).repeat(2, axis=3) * np.float32(0.9)


def batch_of(pixels):
    item = Item(key="a", name="a", info=ImageInfo(bits=8 * pixels.itemsize))
    return Batch.images([item], pixels[None])


@pytest.mark.parametrize("ensemble", [1, 8])
@pytest.mark.parametrize("rounded", [False, True])
@pytest.mark.parametrize("channels", [(1, 3), (3, 1), (3, 3)])
def test_a_result_in_a_file_is_the_result_in_memory(
    small, monkeypatch, channels, rounded, ensemble
):
    model = fake_model(doubled, channels=channels[1], scale=2)
    batch = batch_of(noise((51, 47, channels[0])))
    monkeypatch.setattr(cutting, "LARGE_TILE", 16)
    through_file = model.image("network", batch, rounded=rounded, ensemble=ensemble).pixels
    calls = len(model.calls)
    monkeypatch.setattr(scratch, "IN_MEMORY", 10**9)
    whole = model.image("network", batch, rounded=rounded, ensemble=ensemble).pixels
    assert in_file(through_file) and not in_file(whole)
    assert calls > len(model.calls) - calls == ensemble
    assert through_file.shape == (1, 102, 94, channels[0])
    assert through_file.dtype == whole.dtype and (through_file == whole).all()


def test_tiles_that_are_blended_are_put_together_in_a_file(small):
    model = fake_model(doubled, scale=2)
    size = model.card.size.model_copy(update={"overlap": 8})
    card = model.card.model_copy(update={"receptive_field": "global", "size": size})
    batch = batch_of(noise((64, 64, 3)))
    model.images._bundle, model.images._tile = replace(model.bundle, card=card), 32
    blended = model.image("network", batch).pixels
    assert in_file(blended) and len(model.calls) > 1
    expected = doubled(batch.data).transpose(0, 2, 3, 1)
    np.testing.assert_allclose(blended, expected, atol=1e-6)


def test_a_result_that_is_no_number_is_not_hidden_by_rounding(small, monkeypatch):
    def broken(image):
        result = image.repeat(2, axis=2).repeat(2, axis=3)
        result[..., 0, 0] = np.nan
        return result

    model = fake_model(broken, channels=3, scale=2)
    monkeypatch.setattr(cutting, "LARGE_TILE", 16)
    pixels = model.image("network", batch_of(noise((40, 40, 1))), rounded=True).pixels
    assert pixels.dtype == np.float32 and np.isnan(pixels).any()


@pytest.mark.parametrize("ending", ["png", "tif", "jpg"])
def test_a_run_writes_the_same_file_whether_a_picture_is_large_or_not(
    tmp_path, monkeypatch, ending
):
    source = tmp_path / "in"
    source.mkdir()
    Image.fromarray(noise((90, 70, 3))).save(source / f"a.{ending}")
    alpha = np.dstack([noise((80, 60, 3)), noise((80, 60), seed=1)])
    Image.fromarray(alpha).save(source / "b.png")
    pipeline = genloom.load_pipeline("upscale")
    assert pipeline.run(source, tmp_path / "whole").outcome == "done"
    made = []
    reserve = scratch._reserve

    def spy(file, nbytes, folder):
        made.append(folder)
        reserve(file, nbytes, folder)

    monkeypatch.setattr(scratch, "_reserve", spy)
    monkeypatch.setattr(scratch, "IN_MEMORY", 2000)
    monkeypatch.setattr(scratch, "STRIP", 3000)
    assert pipeline.run(source, tmp_path / "large").outcome == "done"
    assert made and all((tmp_path / "large") in folder.parents for folder in made)
    assert list((tmp_path / "large/.genloom/tmp").iterdir()) == []
    for name in (f"a.{ending}", "b.png"):
        one, other = (read(tmp_path / folder / name) for folder in ("whole", "large"))
        assert (one.pixels == other.pixels).all() and one.info == other.info
        assert (one.alpha is None) if one.alpha is None else (one.alpha == other.alpha).all()
