"""HEIC: what is read is written as HEIC again, with all it said, where pillow-heif is at hand."""

import io
from pathlib import Path

import numpy as np
import pytest
from PIL import Image, ImageCms

from genloom import imaging, load_pipeline, reproduce
from genloom.errors import ImageError
from genloom.imaging import encode, formats, heif, read
from genloom.types import ImageInfo

pytestmark = pytest.mark.skipif(not imaging.can_write(".heic"), reason="needs pillow-heif")

NOWHERE = Path("nowhere")
SRGB = ImageCms.ImageCmsProfile(ImageCms.createProfile("sRGB")).tobytes()


def picture(height=48, width=64, channels=3):
    y, x = np.mgrid[0:height, 0:width]
    waves = [np.sin(x / 9 + c) * np.cos(y / 7 - c) for c in range(channels)]
    return (np.stack(waves, 2) * 110 + 128).astype(np.uint8)


def heic(samples, **options):
    formats.prepare_pillow()
    file = io.BytesIO()
    Image.fromarray(samples).save(file, "HEIF", **{"quality": -1, "chroma": 444, **options})
    return file.getvalue()


def apart(one, other):
    return np.abs(one.astype(int) - other).max()


def exif_block(orientation):
    exif = Image.Exif()
    exif[0x010F], exif[0x0112] = "Genloom", orientation
    return exif.tobytes()


@pytest.mark.parametrize("orientation", range(1, 9))
def test_orientation_is_applied_once_and_what_is_written_is_upright(orientation):
    # pillow-heif turns the picture that it is given by the orientation of its EXIF.
    back = read(NOWHERE, heic(picture(), exif=exif_block(orientation), icc_profile=SRGB))
    assert apart(imaging.metadata.orient(picture(), orientation), back.pixels) < 4
    written, notes = encode(back.pixels, ending=".heic", info=back.info, quality=100)
    again = read(NOWHERE, written)
    assert apart(again.pixels, back.pixels) < 4
    assert (again.info, notes, again.notes) == (back.info, (), ())
    assert (again.info.format, again.info.icc) == ("HEIF", SRGB)
    kept = Image.Exif()
    kept.load(again.info.exif)
    assert (kept[0x010F], kept[0x0112]) == ("Genloom", 1)


@pytest.mark.parametrize("ending", [".heic", ".heif", ".hif", ".HEIC"])
@pytest.mark.parametrize(("channels", "alpha"), [(1, False), (3, False), (3, True), (1, True)])
def test_at_a_quality_of_100_only_colours_are_rounded(ending, channels, alpha):
    pixels, opacity = picture(channels=channels), picture()[::-1, :, 1] if alpha else None
    data, notes = encode(pixels, ending=ending, alpha=opacity, quality=100)
    back = read(NOWHERE, data)
    grey_alpha = channels == 1 and alpha
    assert notes == (("HEIF has no grey with transparency: written as RGB",) if grey_alpha else ())
    assert apart(pixels, back.pixels) <= (1 if channels == 3 else 0)
    assert (back.alpha is not None) == alpha
    if alpha:
        np.testing.assert_array_equal(back.alpha, opacity)


@pytest.mark.parametrize("size", [(1, 1), (1, 30), (33, 17), (63, 65)])
def test_odd_and_small_sizes_come_back(size):
    pixels = picture(*size)
    for quality in (80, 95):
        assert read(NOWHERE, encode(pixels, ending=".heic", quality=quality)[0]).pixels.shape == (
            pixels.shape
        )


def test_more_quality_is_nearer_and_larger():
    rng = np.random.default_rng(0)
    pixels = np.clip(picture(128, 128) + rng.normal(0, 12, (128, 128, 3)), 0, 255).astype(np.uint8)
    files = [encode(pixels, ending=".heic", quality=quality)[0] for quality in (1, 50, 90, 95, 100)]
    errors = [np.square(read(NOWHERE, one).pixels - pixels.astype(float)).mean() for one in files]
    assert errors == sorted(errors, reverse=True) and errors[0] > 2 * errors[-1]
    assert list(map(len, files)) == sorted(map(len, files))


def test_large_pictures_are_coded_in_tiles_and_come_back_whole(monkeypatch):
    monkeypatch.setattr(heif, "TILE", 64)
    monkeypatch.setattr(heif, "TILED", 100)
    samples = picture(97, 131)
    data, _ = encode(samples, ending=".heic", quality=100)
    assert b"grid" in data and b"grid" not in encode(samples[:, :100], ending=".heic")[0]
    assert apart(read(NOWHERE, data).pixels, samples) < 4


def test_sixteen_bits_are_written_as_eight_with_a_note():
    deep = picture().astype(np.uint16) * 257
    data, notes = encode(deep, ending=".heic", info=ImageInfo(bits=16), quality=100)
    assert notes == ("16-bit picture was written with 8 bits",)
    assert apart(read(NOWHERE, data).pixels, picture()) <= 1


@pytest.mark.parametrize(("height", "width"), [(1, heif.LARGEST), (heif.LARGEST, 1)])
def test_a_heic_is_as_large_as_is_said(height, width):
    pixels = np.zeros((height, width, 3), np.uint8)
    assert read(NOWHERE, encode(pixels, ending=".heic")[0]).pixels.shape == pixels.shape
    larger = np.zeros((height + (height > 1), width + (width > 1), 3), np.uint8)
    with pytest.raises(ImageError, match=f"at most {heif.LARGEST} pixels a side"):
        encode(larger, ending=".heic")


def test_colours_that_are_not_those_of_srgb_are_noted():
    wide = {"color_primaries": 9, "transfer_characteristics": 16, "matrix_coefficients": 9}
    back = read(NOWHERE, heic(picture(), full_range_flag=1, **wide))
    assert back.notes == ("colours of primaries 9, transfer 16 were taken for sRGB's",)
    assert read(NOWHERE, heic(picture())).notes == ()


def test_of_several_pictures_the_first_is_read():
    formats.prepare_pillow()
    file, images = io.BytesIO(), [Image.new("RGB", (64, 64), name) for name in ("red", "blue")]
    images[0].save(file, "HEIF", save_all=True, append_images=images[1:])
    back = read(NOWHERE, file.getvalue())
    assert back.pixels[0, 0, 0] > 200 and "1 left out" in back.notes[0]


def test_a_folder_of_heic_becomes_heic_that_says_how_it_was_made(catalog, tmp_path):
    (tmp_path / "in").mkdir()
    (tmp_path / "in/a.heic").write_bytes(heic(picture(), exif=exif_block(6)))
    (tmp_path / "p.yaml").write_text("genloom: 1\nstages:\n- load\n- save\n")
    report = load_pipeline(tmp_path / "p.yaml", catalog=catalog).run(
        tmp_path / "in", tmp_path / "out"
    )
    assert (report.done, report.failures) == (1, [])
    done = tmp_path / "out/a.heic"
    assert (read(done).info.format, read(done).pixels.shape) == ("HEIF", (64, 48, 3))
    made = reproduce(done, tmp_path / "again", [tmp_path / "in"], catalog=catalog)
    assert (made.difference, made.path.name) == (0, "a.heic")


def test_without_an_encoder_heic_is_read_and_becomes_png(monkeypatch, catalog, tmp_path):
    (tmp_path / "in").mkdir()
    (tmp_path / "in/a.heic").write_bytes(heic(picture()))
    (tmp_path / "p.yaml").write_text("genloom: 1\nstages:\n- load\n- save\n")
    monkeypatch.setattr(formats, "_encodes_heif", lambda: False)
    load_pipeline(tmp_path / "p.yaml", catalog=catalog).run(tmp_path / "in", tmp_path / "out")
    assert (tmp_path / "out/a.png").is_file()
    with pytest.raises(ImageError, match=r"cannot be written as '\.heic'; expected \.avif, \.bmp"):
        encode(picture(), ending=".heic")


def test_a_grey_profile_is_not_left_on_what_is_read_back_as_colour():
    profile = bytearray(SRGB)
    profile[16:20] = b"GRAY"
    info = ImageInfo(mode="grey", icc=bytes(profile))
    grey = picture(channels=1)
    data, notes = encode(grey, ending=".heic", alpha=grey[..., 0], info=info)
    assert "the ICC profile does not fit the channels and was left out" in notes
    assert read(NOWHERE, data).info.icc is None
    data, notes = encode(grey, ending=".heic", info=info)
    assert notes == () and read(NOWHERE, data).info.icc == bytes(profile)
