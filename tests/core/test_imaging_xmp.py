"""XMP: a file's own packet and genloom's record live in one, and no packet does any harm."""

import io
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image, PngImagePlugin

from genloom import imaging
from genloom.imaging import encode, read
from genloom.imaging.xmp import MOST, carried, record_in, with_record
from genloom.types import ImageInfo

NOWHERE = Path("nowhere")
HEAD = b'<x:xmpmeta xmlns:x="adobe:ns:meta/">'
RDF = b'<rdf:RDF xmlns:rdf="http://www.w3.org/1999/02/22-rdf-syntax-ns#">'
TITLE = (
    b'<rdf:Description rdf:about="uuid:1" xmlns:dc="http://purl.org/dc/elements/1.1/"'
    b' xmlns:tiff="http://ns.adobe.com/tiff/1.0/" tiff:Orientation="1" dc:source="mine">'
    b"<dc:title>B\xc3\xa4r</dc:title></rdf:Description>"
)
PLACE = (
    b'<rdf:Description rdf:about="" xmlns:exif="http://ns.adobe.com/exif/1.0/"'
    b' exif:GPSLatitude="48,8.5N"/>'
)
RECORD = '{"record":1,"a":"<&>\\u00e4"}'
WITH_XMP = [".png", ".jpg", ".webp", ".tif", *filter(imaging.can_write, (".avif", ".heic"))]


def packet(inside=TITLE, head=b""):
    return head + HEAD + RDF + inside + b"</rdf:RDF></x:xmpmeta>"


def pixels(dtype=np.uint8, channels=3):
    return np.arange(64 * channels, dtype=dtype).reshape(8, 8, channels)


def stored(tmp_path, ending, **options):
    """The bytes of a written picture, the notes, and the record that is read from its file."""
    data, notes = encode(pixels(), ending=ending, **options)
    path = tmp_path / f"file{ending}"
    path.write_bytes(data)
    return data, notes, imaging.read_record(path)


def pillow(format, xmp, samples=None):
    file = io.BytesIO()
    options = {"tiffinfo": {700: xmp}} if format == "TIFF" else {"xmp": xmp}
    if format == "PNG":
        options = {"pnginfo": PngImagePlugin.PngInfo()}
        options["pnginfo"].add_itxt("XML:com.adobe.xmp", xmp.decode())
    Image.fromarray(pixels() if samples is None else samples).save(file, format, **options)
    return file.getvalue()


@pytest.mark.parametrize("ending", WITH_XMP)
def test_a_record_and_a_packet_are_both_there(tmp_path, ending):
    data, notes, record = stored(tmp_path, ending, info=ImageInfo(xmp=packet()), record=RECORD)
    assert (record, notes) == (RECORD, ())
    back = read(NOWHERE, data)
    assert back.info.xmp == packet()
    assert back.notes == ()


@pytest.mark.parametrize("format", ["JPEG", "PNG", "WEBP", "TIFF"])
@pytest.mark.parametrize("form", [b'tiff:Orientation="6"', b"tiff:Orientation = '6'"])
def test_an_orientation_that_only_the_packet_tells_is_applied_once(format, form):
    wide = packet(TITLE.replace(b'tiff:Orientation="1"', form))
    back = read(NOWHERE, pillow(format, wide, pixels()[:4]))
    assert back.pixels.shape[0] in (8, 4)
    data, _ = encode(back.pixels, ending=".png", info=back.info)
    assert read(NOWHERE, data).pixels.shape == back.pixels.shape
    for left in (b'Orientation="6', b"Orientation = '6"):
        assert left not in back.info.xmp


@pytest.mark.parametrize("ending", WITH_XMP)
@pytest.mark.parametrize("info", [ImageInfo(), ImageInfo(xmp=packet())], ids=["none", "own"])
def test_no_record_means_none(tmp_path, ending, info):
    _, _, record = stored(tmp_path, ending, info=info)
    assert record == ""


@pytest.mark.parametrize("ending", WITH_XMP)
def test_a_picture_read_and_written_again_does_not_grow(tmp_path, ending):
    info = ImageInfo(xmp=packet())
    first, _, _ = stored(tmp_path, ending, info=info, record=RECORD)
    again, _, record = stored(tmp_path, ending, info=read(NOWHERE, first).info, record=RECORD)
    assert record == RECORD
    assert len(again) == len(first)


def test_what_genloom_said_of_the_source_is_not_handed_on(tmp_path):
    data, _, _ = stored(tmp_path, ".jpg", record=RECORD)
    assert read(NOWHERE, data).info.xmp is None
    for other in (
        b"<genloom:record>old</genloom:record>",
        b"<rdf:Description xmlns:genloom=\"urn:x-genloom:1/\" genloom:record='old'/>",
    ):
        kept = carried(packet(TITLE.replace(b"<dc:title>", other + b"<dc:title>")))
        assert kept is None or b"old" not in kept


@pytest.mark.parametrize(
    ("channels", "dtype", "bits"), [(1, np.uint16, 16), (3, np.uint16, 16), (3, np.float32, 32)]
)
@pytest.mark.parametrize("ending", [".png", ".tif"])
def test_deep_pictures_hold_both(tmp_path, ending, channels, dtype, bits):
    info = ImageInfo(bits=bits, xmp=packet(b""))
    path = tmp_path / f"a{ending}"
    values = pixels(np.uint16, channels)
    values = values / np.float32(65535) if bits == 32 else values
    path.write_bytes(encode(values, ending=ending, info=info, record=RECORD)[0])
    assert imaging.read_record(path) == RECORD
    assert read(path).info.xmp == packet(b"")


@pytest.mark.parametrize("channels", [1, 3])
def test_a_gif_holds_both_and_is_still_read_by_others(tmp_path, channels):
    pixels = np.full((5, 7, channels), 90, np.uint8)
    data, notes = encode(pixels, ending=".gif", info=ImageInfo(xmp=packet()), record=RECORD)
    (tmp_path / "a.gif").write_bytes(data)
    assert data.startswith(b"GIF89a") and notes == ()
    assert imaging.read_record(tmp_path / "a.gif") == RECORD
    again = read(tmp_path / "a.gif")
    assert b"uuid:1" in again.info.xmp and b"record" not in again.info.xmp
    with Image.open(tmp_path / "a.gif") as image:
        assert (image.n_frames, image.convert("L").getpixel((0, 0))) == (1, 90)


def test_a_gif_whose_packet_has_no_end_has_none():
    data = encode(np.zeros((4, 4, 1), np.uint8), ending=".gif", record=RECORD)[0]
    cut = data.replace(bytes([1, 255, 254]), b"\0\0\0")
    assert read(NOWHERE, cut).info.xmp is None
    assert read(NOWHERE, encode(np.zeros((4, 4, 1), np.uint8), ending=".gif")[0]).info.xmp is None


@pytest.mark.parametrize("ending", [".png", ".tif"])
def test_palette_pictures_hold_both(tmp_path, ending):
    info = ImageInfo(mode="palette", xmp=packet())
    data, _, record = stored(tmp_path, ending, info=info, record=RECORD)
    assert Image.open(io.BytesIO(data)).mode == "P"
    assert record == RECORD
    assert b"uuid:1" in read(NOWHERE, data).info.xmp


@pytest.mark.parametrize("ending", [".bmp", ".ppm"])
def test_other_formats_go_without_a_record_and_without_a_note(tmp_path, ending):
    data, notes, record = stored(tmp_path, ending, record=RECORD)
    assert (record, notes) == ("", ())
    assert b"record" not in data
    _, notes, _ = stored(tmp_path, ending, info=ImageInfo(xmp=packet()))
    assert "cannot hold the XMP data" in notes[0]


def bombs():
    lol = b"".join(b'<!ENTITY l%d "%b">' % (n, b"&l%d;" % (n - 1) * 10) for n in range(1, 9))
    yield "entities", b'<!DOCTYPE x [<!ENTITY l0 "lol">%b]>' % lol + packet(b"&l8;")
    yield "outside", b'<!DOCTYPE x SYSTEM "file:///etc/passwd">' + packet()
    yield "large", packet(b"<!--" + b"x" * MOST + b"-->")
    yield "megabytes", packet(b" " * 5_000_000)
    yield "broken", packet()[:-9]
    yield "unbound", packet(b"<un:bound/>")
    yield "no text", b"\xff\xfe" + packet().decode().encode("utf-16-le")
    yield "no RDF", HEAD + b"</x:xmpmeta>"
    yield "deep", packet(b"<a>" * 15000)
    yield "nulls", packet(b"\0")


@pytest.mark.parametrize("xmp", [pytest.param(xmp, id=name) for name, xmp in bombs()])
def test_hostile_packets_are_left_out_with_a_note(xmp):
    formats = ["TIFF", "WEBP", *(["JPEG"] if len(xmp) < MOST else [])]
    formats += ["PNG"] if xmp.isascii() and b"\0" not in xmp else []
    for format in formats:
        back = read(NOWHERE, pillow(format, xmp))
        assert back.info.xmp is None
        assert back.notes == ("the XMP data is too large, damaged or unusual and was left out",)
        assert back.pixels.shape == (8, 8, 3)


@given(st.binary(max_size=300) | st.text(max_size=200).map(lambda text: packet(text.encode())))
def test_any_packet_is_carried_whole_or_left_out(raw):
    kept = carried(raw)
    merged = with_record(kept or b"", RECORD)
    assert merged is None or record_in(merged) == RECORD
    if kept:
        assert len(kept) <= len(raw)
        assert merged is None or len(merged) < len(kept) + 400


@given(st.text(st.characters(codec="ascii", exclude_categories=["Cc"]), min_size=1))
def test_any_record_of_ascii_comes_back(record):
    for before in (b"", packet()):
        assert record_in(with_record(before, record)) == record


def test_a_packet_without_room_gives_way_to_the_record(tmp_path):
    full = packet(b"<!--" + b"x" * (MOST - 300) + b"-->")
    assert carried(full) == full
    _, notes, record = stored(tmp_path, ".jpg", info=ImageInfo(xmp=full), record=RECORD)
    assert record == RECORD
    assert "no room" in notes[0]


def test_a_packet_that_goes_on_elsewhere_is_carried_with_a_note():
    more = TITLE.replace(b"<dc:title>", b"<dc:relation>HasExtendedXMP</dc:relation><dc:title>")
    back = read(NOWHERE, pillow("JPEG", packet(more)))
    assert back.info.xmp == packet(more)
    assert "goes on in other segments" in back.notes[0]


def test_a_record_that_is_too_long_costs_only_itself(tmp_path):
    _, notes, record = stored(tmp_path, ".jpg", record="x" * MOST)
    assert record == ""
    assert "too long" in notes[0]


@pytest.mark.parametrize("ending", WITH_XMP)
def test_a_place_is_told_only_along_with_exif(tmp_path, ending):
    exif = Image.Exif()
    exif[0x010F] = "Maker"
    block = exif.tobytes().removeprefix(b"Exif\0\0")
    both, notes, _ = stored(tmp_path, ending, info=ImageInfo(xmp=packet(PLACE), exif=block))
    assert (b"GPSLatitude" in both, notes) == (True, ())
    alone, notes, _ = stored(tmp_path, ending, info=ImageInfo(xmp=packet(PLACE)), record=RECORD)
    assert b"GPSLatitude" not in alone
    assert "tells a place" in notes[0]


def captioned(format, mode):
    """A picture with a caption as IPTC has it."""
    caption, file = b"\x1c\x02\x78\x00\x05Hello", io.BytesIO()
    image = Image.new(mode, (8, 8))
    if format == "TIFF":
        image.save(file, format, tiffinfo={33723: caption})
        return file.getvalue()
    image.save(file, format)
    part = b"Photoshop 3.0\0" + b"8BIM\x04\x04\0\0\0\0\0\x0a" + caption
    segment = b"\xff\xed" + (len(part) + 2).to_bytes(2, "big") + part
    return file.getvalue()[:2] + segment + file.getvalue()[2:]


@pytest.mark.parametrize(("format", "mode"), [("JPEG", "L"), ("TIFF", "RGB"), ("TIFF", "I;16")])
def test_iptc_is_not_left_out_without_a_word(format, mode):
    assert read(NOWHERE, captioned(format, mode)).notes == ("the IPTC data was left out",)
