"""A run over a folder of odd, broken and hostile files: none may end it, and none may go missing.

    python benchmarks/hostile.py [--small] [--memory 3] [--seconds 900] [--keep FOLDER]

Writes several hundred files of every format that genloom reads (cut short, with bits turned over,
under wrong endings, with headers that promise what is not there, bombs, odd names, links, pipes),
all of them from one seed, and runs a pipeline with a network over them in a process of its own
with a limit on its memory and its time. Then each file must be done, failed with a reason, or left
out by a rule that is written down, and nothing may lie outside the output folder. The exit code
says whether that is so. Linux only: it needs pipes, links and limits.
"""

import argparse
import io
import json
import os
import random
import resource
import struct
import subprocess
import sys
import tempfile
import threading
import time
import zlib
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

import numpy as np
from PIL import Image, ImageCms, PngImagePlugin

from genloom import imaging

SEED = 20261127
PIPELINE = """genloom: 1
stages:
  - load
  - resize: {long_side: 96, enlarge: false}
  - denoise: {sigma: 10}
  - save
"""
GIB = 2**30
VANISHING = "odd/vanishing.png"
ENDINGS = {
    "PNG": ".png",
    "JPEG": ".jpg",
    "WEBP": ".webp",
    "TIFF": ".tif",
    "BMP": ".bmp",
    "GIF": ".gif",
    "PPM": ".ppm",
    "AVIF": ".avif",
}


def main() -> None:
    options = _arguments()
    with working_folder(options.keep) as work:
        folder, out = work / "in", work / "out"
        folder.mkdir(parents=True)
        write_all(folder, small=options.small)
        done = run(folder, out, options.memory, options.seconds)
        expected = taken(folder)
        problems = list(wrong(done, expected, work))
    for line in (*summary(done, expected), *(f"WRONG: {problem}" for problem in problems)):
        print(line)
    raise SystemExit(bool(problems))


def _arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--small", action="store_true", help="a tenth of it, as the tests run it")
    parser.add_argument("--memory", type=float, default=3, help="GiB of address space")
    parser.add_argument("--seconds", type=float, default=900)
    parser.add_argument("--keep", help="an empty folder to work in, which is kept")
    return parser.parse_args()


@contextmanager
def working_folder(keep: str | None) -> Iterator[Path]:
    """The folder named, or one that is deleted; by `rm`, because Python's own way recurses."""
    work = Path(keep or tempfile.mkdtemp())
    try:
        yield work
    finally:
        if not keep:
            subprocess.run(["rm", "-rf", work], check=False)


# The files.


def write_all(folder: Path, *, small: bool = False) -> None:
    """Write every file; a file that a system does not take (a name, a pipe) is left out."""
    chance = random.Random(SEED)
    sound = dict(sound_files())
    for name, data in sound.items():
        (folder / f"sound-{name}").write_bytes(data)
    for part, make in (("damaged", damaged(sound, chance, small)), ("crafted", crafted(small))):
        (folder / part).mkdir()
        for name, data in make:
            (folder / part / name).write_bytes(data)
    (folder / "odd").mkdir()
    odd_files(folder / "odd", sound["rgb.png"])


def sound_files() -> Iterator[tuple[str, bytes]]:
    """One small good file of each format and kind."""
    random_ = np.random.default_rng(SEED)
    y, x = np.mgrid[0:37, 0:53]
    wave = np.stack([np.sin(x / 9 + c) * np.cos(y / 7 - c) for c in range(4)], 2)
    pixels = np.clip(wave * 110 + 128 + random_.normal(0, 4, wave.shape), 0, 255).astype(np.uint8)
    rgb = Image.fromarray(pixels[..., :3])
    grey, rgba = rgb.convert("L"), Image.fromarray(pixels)
    exif = Image.Exif()
    exif[0x010F], exif[0x0112], exif[0x8769] = "Genloom", 6, {0x9003: "2026:11:27 08:00:00"}
    srgb = ImageCms.ImageCmsProfile(ImageCms.createProfile("sRGB")).tobytes()
    said = {"exif": exif.tobytes(), "icc_profile": srgb}
    frames = {"save_all": True, "append_images": [rgba.rotate(90), rgba.rotate(180)]}
    kinds: list[tuple[str, Image.Image, dict]] = [
        ("rgb.png", rgb, said),
        ("rgba.png", rgba, {}),
        ("grey.png", grey, {}),
        ("grey-alpha.png", rgba.convert("LA"), {}),
        ("palette.png", rgb.quantize(64), {"transparency": 3}),
        ("one-bit.png", grey.convert("1"), {}),
        ("deep-grey.png", Image.fromarray(pixels[..., 0].astype(np.uint16) * 257), {}),
        ("animated.png", rgba, frames),
        ("rgb.jpg", rgb, said),
        ("grey.jpg", grey, {}),
        ("progressive.jpg", rgb, {"progressive": True}),
        ("cmyk.jpg", rgb.convert("CMYK"), {}),
        ("rgb.webp", rgb, said),
        ("lossless.webp", rgba, {"lossless": True}),
        ("animated.webp", rgba, frames),
        ("rgb.tif", rgb, said),
        ("lzw.tif", rgba, {"compression": "tiff_lzw"}),
        ("deflate.tif", grey, {"compression": "tiff_adobe_deflate"}),
        ("jpeg.tif", rgb, {"compression": "jpeg"}),
        ("fax.tif", grey.convert("1"), {"compression": "group4"}),
        ("cmyk.tif", rgb.convert("CMYK"), {}),
        ("lab.tif", _lab(rgb), {}),
        ("palette.tif", rgb.quantize(64), {}),
        ("float.tif", Image.fromarray(pixels[..., 0].astype(np.float32) / 255), {}),
        ("deep.tif", Image.fromarray(pixels[..., 0].astype(np.uint16) * 257), {}),
        ("pages.tif", rgb, frames),
        ("rgb.bmp", rgb, {}),
        ("palette.bmp", rgb.quantize(16), {}),
        ("one-bit.bmp", grey.convert("1"), {}),
        ("palette.gif", rgb.quantize(64), {}),
        ("animated.gif", rgb, frames),
        ("rgb.ppm", rgb, {}),
        ("grey.pgm", grey, {}),
        ("one-bit.pbm", grey.convert("1"), {}),
        *([("rgb.avif", rgb, said)] if ".avif" in imaging.WRITABLE else []),
    ]
    formats = {ending: name for name, ending in ENDINGS.items()}
    for name, image, options in kinds:
        file = io.BytesIO()
        ending = name[name.rindex(".") :]
        image.save(file, formats.get(ending, "PPM"), **options)
        yield name, file.getvalue()


def _lab(rgb: Image.Image) -> Image.Image:
    srgb, lab = ImageCms.createProfile("sRGB"), ImageCms.createProfile("LAB")
    return ImageCms.applyTransform(rgb, ImageCms.buildTransform(srgb, lab, "RGB", "LAB"))


def damaged(
    sound: dict[str, bytes], chance: random.Random, small: bool
) -> Iterator[tuple[str, bytes]]:
    """The good files cut short, with bits turned over, and under wrong endings."""
    for name, data in sound.items():
        stem, _, ending = name.rpartition(".")
        shares = [0.5] if small else [0.01, 0.05, 0.2, 0.5, 0.8, 0.97]
        for share in shares:
            yield f"{stem}-cut-{share}.{ending}", data[: int(len(data) * share)]
        for turn in range(1 if small else 6):
            # Half of them in the first bytes, where sizes and counts stand.
            reach = 64 if turn % 2 else len(data)
            yield f"{stem}-bits-{turn}.{ending}", _turned(data, chance, reach)
        if small:
            continue
        yield f"{stem}-zeros.{ending}", data[: len(data) // 3] + bytes(len(data) * 2 // 3)
        yield f"{stem}-more.{ending}", data + chance.randbytes(999)
        other = chance.choice([e for e in ENDINGS.values() if e != f".{ending}"])
        yield f"{stem}-{ending}-as{other}", data


def _turned(data: bytes, chance: random.Random, reach: int) -> bytes:
    turned = bytearray(data)
    for _ in range(chance.randint(1, 8)):
        turned[chance.randrange(min(reach, len(data)))] ^= 1 << chance.randrange(8)
    return bytes(turned)


def crafted(small: bool) -> Iterator[tuple[str, bytes]]:
    """Files made to hurt: bombs, claims, directories that lead in circles."""
    yield from _claims()
    yield from _bombs(small)
    yield from _directories(small)
    yield from _metadata(small)
    yield from _shapes()
    for ending in (*ENDINGS.values(), ".jfif", ".jpe", ".pnm"):
        yield f"empty{ending}", b""
        yield f"zeros{ending}", bytes(1000)
        yield f"page{ending}", b"<!DOCTYPE html><html><script>alert(1)</script></html>"
    yield "program.png", b"\x7fELF" + bytes(500)
    yield "archive.png", b"PK\x03\x04" + bytes(500)
    yield "script.jpg", b"%!PS-Adobe-3.0 EPSF-3.0\n%%BoundingBox: 0 0 9 9\n(/etc/passwd) run\n"
    yield (
        "vector.png",
        b'<svg xmlns="http://www.w3.org/2000/svg"><image href="file:///etc/passwd"/></svg>',
    )


def _claims() -> Iterator[tuple[str, bytes]]:
    """Headers that promise far more pixels than the file has bytes for."""
    for width, height in ((65535, 65535), (2**31 - 1, 1), (30000, 30000), (0, 0), (1, 0)):
        size = f"{width}x{height}"
        yield f"claim-{size}.png", png(width, height, b"\0" * 64)
        yield f"claim-{size}.tif", tiff({256: width, 257: height}, b"\0" * 64)
        header = (200, 0, 54, 40, width, height, 1, 24, 0, 0, 0, 0, 0, 0)
        yield f"claim-{size}.bmp", b"BM" + struct.pack("<IIIIiiHHIIiiII", *header) + bytes(64)
        yield f"claim-{size}.ppm", f"P6 {width} {height} 255\n".encode() + bytes(64)
        yield f"claim-{size}.pgm", f"P5 {width} {height} 65535\n".encode() + bytes(64)
        yield f"claim-{size}.gif", gif(width % 65536, height % 65536, [(1, 1)])
        yield f"claim-{size}.webp", webp_canvas(width, height)
        yield f"claim-{size}.jpg", jpeg_claim(width % 65536, height % 65536)
    yield "claim-digits.ppm", b"P6 " + b"9" * 5000 + b" 1 255\n"
    yield "claim-comment.ppm", b"P6 #" + b"x" * 100_000 + b"\n" + b"# " * 50_000
    yield "claim-plain.ppm", b"P3 30000 30000 255\n" + b"1 " * 1000


def png(width: int, height: int, rows: bytes, extra: bytes = b"") -> bytes:
    """A grey PNG around filtered rows, with chunks before them."""
    header = struct.pack(">IIBBBBB", width, height, 8, 0, 0, 0, 0)
    body = png_chunk(b"IHDR", header) + extra + png_chunk(b"IDAT", zlib.compress(rows, 9))
    return b"\x89PNG\r\n\x1a\n" + body + png_chunk(b"IEND", b"")


def png_chunk(name: bytes, body: bytes) -> bytes:
    return struct.pack(">I", len(body)) + name + body + struct.pack(">I", zlib.crc32(name + body))


def tiff(tags: dict[int, int], body: bytes, after: int = 0) -> bytes:
    """A little-endian grey TIFF of one strip; `after` is where the next directory lies."""
    entries = {256: 1, 257: 1, 258: 8, 259: 1, 262: 1, 273: 8, 277: 1, 278: 2**32 - 1}
    entries |= {279: len(body), **tags}
    table = b"".join(struct.pack("<HHII", tag, 4, 1, entries[tag]) for tag in sorted(entries))
    start = 8 + len(body) + len(body) % 2
    head = b"II*\0" + struct.pack("<I", start) + body + bytes(len(body) % 2)
    return head + struct.pack("<H", len(entries)) + table + struct.pack("<I", after)


def gif(width: int, height: int, frames: list[tuple[int, int]]) -> bytes:
    """A GIF whose frames of these sizes hold one pixel's worth of data each."""
    head = b"GIF89a" + struct.pack("<HHBBB", width, height, 0x80, 0, 0) + bytes(6)
    body = b"".join(
        b"," + struct.pack("<HHHHB", 0, 0, across, down, 0) + b"\x02\x02\x44\x01\0"
        for across, down in frames
    )
    return head + body + b";"


def webp_canvas(width: int, height: int) -> bytes:
    """An animated WebP of a large canvas and no frames."""
    size = struct.pack("<I", (width - 1) % 2**24)[:3] + struct.pack("<I", (height - 1) % 2**24)[:3]
    body = b"VP8X" + struct.pack("<I", 10) + b"\x02\0\0\0" + size + b"ANIM" + struct.pack("<I", 6)
    body += bytes(6)
    return b"RIFF" + struct.pack("<I", len(body) + 4) + b"WEBP" + body


def jpeg_claim(width: int, height: int) -> bytes:
    """A small JPEG whose header says another size."""
    file = io.BytesIO()
    Image.new("L", (16, 16)).save(file, "JPEG")
    data = bytearray(file.getvalue())
    at = data.index(b"\xff\xc0")
    data[at + 5 : at + 9] = struct.pack(">HH", height, width)
    return bytes(data)


def _bombs(small: bool) -> Iterator[tuple[str, bytes]]:
    """Small files that unpack to much; the largest would fill the memory many times over."""
    sides = (1500,) if small else (4000, 12_000, 31_000)
    for side in sides:
        yield f"bomb-{side}.png", png_bomb(side, side, colour=2)
        yield f"bomb-{side}-deep.png", png_bomb(side, side, colour=6, bits=16)
        yield f"bomb-{side}.gif", _saved(Image.new("P", (side, side)), "GIF")
        yield f"bomb-{side}.tif", _saved(Image.new("1", (side, side)), "TIFF", compression="group4")
    side = 1500 if small else 16383
    yield "bomb.webp", _saved(Image.new("RGB", (side, side)), "WEBP", lossless=True, method=0)
    if not small:
        yield (
            "bomb-deflate.tif",
            _saved(Image.new("L", (20_000, 20_000)), "TIFF", compression="tiff_adobe_deflate"),
        )
        yield "bomb-scans.jpg", scans(8000, 8000, 20_000)
        yield "frames.gif", gif(1, 1, [(1, 1)] * 300_000)
        yield "frames-large.gif", gif(65535, 1, [(65535, 65535)] * 200)
    yield "scans.jpg", scans(1000, 1000, 2000)
    yield "frames-few.gif", gif(1, 1, [(1, 1)] * 3000)
    many = png_chunk(b"acTL", struct.pack(">II", 2**31 - 1, 0))
    yield "frames-claimed.png", png(4, 4, bytes(20), extra=many)


def png_bomb(width: int, height: int, *, colour: int, bits: int = 8) -> bytes:
    """Zeros, packed row by row so that writing it takes no memory."""
    samples = {2: 3, 6: 4}[colour]
    row = bytes(1 + width * samples * bits // 8)
    packer = zlib.compressobj(9)
    packed = b"".join(packer.compress(row) for _ in range(height)) + packer.flush()
    header = struct.pack(">IIBBBBB", width, height, bits, colour, 0, 0, 0)
    body = png_chunk(b"IHDR", header) + png_chunk(b"IDAT", packed) + png_chunk(b"IEND", b"")
    return b"\x89PNG\r\n\x1a\n" + body


def scans(width: int, height: int, count: int) -> bytes:
    """A progressive JPEG with scans without end, each of which goes over the whole picture."""
    file = io.BytesIO()
    Image.new("L", (16, 16)).save(file, "JPEG", progressive=True)
    data = bytearray(file.getvalue())
    at = data.index(b"\xff\xc2")
    data[at + 5 : at + 9] = struct.pack(">HH", height, width)
    last = data.rindex(b"\xff\xda")
    return bytes(data[:last] + data[last:-2] * count + b"\xff\xd9")


def _saved(image: Image.Image, format: str, **options: object) -> bytes:
    file = io.BytesIO()
    image.save(file, format, **options)
    return file.getvalue()


def _directories(small: bool) -> Iterator[tuple[str, bytes]]:
    """TIFFs whose directories are many, lead in circles, or claim each other's bytes."""
    one = tiff({}, b"\0\0")
    yield "circle.tif", tiff({}, b"\0\0", after=10)
    yield "circle-exif.tif", tiff({34665: 10, 34853: 10}, b"\0\0")
    yield "next-nowhere.tif", tiff({}, b"\0\0", after=2**32 - 2)
    count = 500 if small else 40_000
    chain = b"".join(
        struct.pack("<H", 0) + struct.pack("<I", len(one) + 6 * (index + 1))
        for index in range(count)
    )
    yield "chain.tif", tiff({}, b"\0\0", after=len(one)) + chain + bytes(6)
    real = bytearray(tiff({}, b"\0\0", after=len(one)))
    step = len(one) - 10
    for index in range(count):
        real += one[10:-4] + struct.pack("<I", len(one) + step * (index + 1))
    yield "pages.tif", bytes(real) + one[10:]
    yield "strips.tif", _claiming(273, 2**26 if not small else 2**16)
    entries = 2000 if small else 60_000
    size = 100_000 if small else 4_000_000
    head = b"II*\0" + struct.pack("<IH", 8, entries)
    table = b"".join(struct.pack("<HHII", tag, 1, size, 8) for tag in range(1000, 1000 + entries))
    yield "overlapping.tif", head + table + bytes(size)
    block = bytes(60_000)
    table = b"".join(struct.pack("<HHII", t, 7, 60_000, 8) for t in range(40_000, 40_400))
    exif = b"Exif\0\0II*\0" + struct.pack("<IH", 8, 400) + table + block
    yield "overlapping.jpg", _saved(Image.new("RGB", (9, 9)), "JPEG", exif=exif[:65_000])
    yield "overlapping.png", _saved(Image.new("RGB", (9, 9)), "PNG", exif=exif)
    yield "big.tif", b"II+\0\x08\0\0\0" + struct.pack("<QQ", 16, 2**60)


def _claiming(tag: int, count: int) -> bytes:
    """A TIFF in which one list of numbers has that many."""
    data = bytearray(tiff({}, b"\0\0"))
    at = data.index(struct.pack("<HH", tag, 4))
    data[at + 4 : at + 12] = struct.pack("<II", count, len(data))
    return bytes(data) + bytes(4 * count)


def _metadata(small: bool) -> Iterator[tuple[str, bytes]]:
    """Broken and boundless EXIF, ICC and texts."""
    plain = Image.new("RGB", (9, 8), "teal")
    for value in (0, 9, 255, 65535):
        exif = Image.Exif()
        exif[0x0112] = value
        yield f"orientation-{value}.jpg", _saved(plain, "JPEG", exif=exif.tobytes())
    text = b"Exif\0\0II*\0" + struct.pack("<IHHHII", 8, 1, 0x0112, 2, 9, 26) + b"\0\0\0\0sideways\0"
    yield "orientation-text.jpg", _saved(plain, "JPEG", exif=text)
    for name, exif_bytes in {
        "nowhere": b"Exif\0\0II*\0\xff\xff\xff\x7f",
        "circle": b"Exif\0\0II*\0\x08\0\0\0\x01\0\x69\x87\x04\0\x01\0\0\0\x08\0\0\0\0\0\0\0",
        "noise": b"Exif\0\0" + random.Random(1).randbytes(2000),
    }.items():
        yield f"exif-{name}.jpg", _saved(plain, "JPEG", exif=exif_bytes)
        yield f"exif-{name}.png", _saved(plain, "PNG", exif=exif_bytes)
        yield f"exif-{name}.webp", _saved(plain, "WEBP", exif=exif_bytes)
    for name, icc in {
        "short": b"x" * 20,
        "rgb": bytes(16) + b"RGB " + bytes(200),
        "cmyk": b"\x80" + bytes(15) + b"CMYKLab " + bytes(12) + b"acsp" + bytes(300),
    }.items():
        yield f"icc-{name}.png", _saved(plain, "PNG", icc_profile=icc)
        yield f"icc-{name}.jpg", _saved(plain.convert("CMYK"), "JPEG", icc_profile=icc)
        yield f"icc-{name}.tif", _saved(plain, "TIFF", icc_profile=icc)
    size = 10**6 if small else 10**8
    texts = PngImagePlugin.PngInfo()
    texts.add_text("long", "x" * size)
    yield "text-long.png", _saved(plain, "PNG", pnginfo=texts)
    packed = PngImagePlugin.PngInfo()
    packed.add_text("packed", "x" * size, zip=True)
    yield "text-packed.png", _saved(plain, "PNG", pnginfo=packed)
    many = b"".join(png_chunk(b"tEXt", b"k%d\0v" % n) for n in range(1000 if small else 200_000))
    yield "texts.png", png(1, 1, b"\0\0", extra=many)
    bomb = b"name\0\0" + zlib.compress(bytes(size * 2), 9)
    yield "icc-bomb.png", png(1, 1, b"\0\0", extra=png_chunk(b"iCCP", bomb))
    whole = gif(1, 1, [(1, 1)])
    yield "comments.gif", whole[:19] + b"!\xfe\x01x\0" * 100_000 + whole[19:]


def _shapes() -> Iterator[tuple[str, bytes]]:
    """Sizes and values at the edges of what is allowed."""
    for format, ending in ENDINGS.items():
        if ending not in imaging.WRITABLE:
            continue
        yield f"one{ending}", _saved(Image.new("RGB", (1, 1), "red"), format)
        for size in ((65535, 1), (1, 65535)):
            with suppress(Exception):  # some formats end before that
                image = Image.new("L" if format == "GIF" else "RGB", size)
                yield f"line-{size[0]}{ending}", _saved(image, format)
    for name, value in (("nan", np.nan), ("inf", np.inf), ("huge", 3e38), ("negative", -5)):
        pixels = np.full((8, 9), 0.5, np.float32)
        pixels[3, 4] = value
        yield f"float-{name}.tif", _saved(Image.fromarray(pixels), "TIFF")
    whole = np.full((8, 9), -(2**31), np.int32)
    yield "negative.tif", _saved(Image.fromarray(whole), "TIFF")


def odd_files(folder: Path, data: bytes) -> None:
    """Odd names, and things that are no files."""
    names: list[str | bytes] = [
        "new\nline.png", "tab\there.png", "\x1b[31mred\x1b[0m.png", "\u202egnp.exe.png", "..png",
        "...png", " space .png", "con.png", "NUL.png", "lpt1.tar.png", "a:b.png", "c\\d.png",
        "q?*<>|\".png", "%s%n%x.png", "{stem}.png", "$(reboot).png", "-o.png", "--force.png",
        "é.png", "e\u0301.png", "ÄÖ.PNG", "äö.png", "a#0.png", "ends.png ", "dot..png", "\x7f.png",
        "x" * 251 + ".png", "😀" * 60 + ".png", b"\xff\xfe\x80.png", b"caf\xe9.jpg", "~.png",
        "[a-z].png", "9" * 240 + ".png", ".hidden.png", "journal.db", "picture", "picture.txt",
    ]  # fmt: skip
    for name in names:
        with suppress(OSError):
            Path(os.fsdecode(folder / os.fsdecode(name))).write_bytes(data)
    made: list[Callable[[], object]] = [
        lambda: (folder / "folder.png").mkdir(),
        lambda: (folder / "folder.png/inside.png").write_bytes(data),
        lambda: (folder / "empty").mkdir(),
        lambda: (folder / ".hidden").mkdir(),
        lambda: (folder / ".hidden/inside.png").write_bytes(data),
        lambda: os.mkfifo(folder / "pipe.png"),
        lambda: (folder / "zero.png").symlink_to("/dev/zero"),
        lambda: (folder / "random.jpg").symlink_to("/dev/urandom"),
        lambda: (folder / "terminal.png").symlink_to("/dev/tty"),
        lambda: (folder / "passwd.png").symlink_to("/etc/passwd"),
        lambda: (folder / "memory.png").symlink_to("/proc/self/mem"),
        lambda: (folder / "nowhere.png").symlink_to("nothing"),
        lambda: (folder / "itself.png").symlink_to("itself.png"),
        lambda: (folder / "link.png").symlink_to(folder / "~.png"),
        lambda: (folder / "circle").symlink_to(folder),
        lambda: (folder / "outside").symlink_to("/usr"),
        lambda: (folder / "closed.png").write_bytes(data),
        lambda: (folder / "closed.png").chmod(0),
        lambda: _sparse(folder / "sparse.png", 2**40),
        lambda: _sparse(folder / "sparse.tif", 6 * GIB),
        lambda: (folder.parent / VANISHING).write_bytes(data),
        lambda: _deep(folder, 1800, data),
    ]
    for make in made:
        with suppress(OSError):
            make()


def _sparse(path: Path, size: int) -> None:
    """A file that says it is huge, and takes no room."""
    with path.open("wb") as file:
        file.write(b"\x89PNG\r\n\x1a\n" if path.suffix == ".png" else b"II*\0")
        file.truncate(size)


def _deep(folder: Path, depth: int, data: bytes) -> None:
    """Folders in folders, deeper than Python recurses."""
    below = folder / "deep"
    below.mkdir()
    for _ in range(depth):
        below = below / "d"
        below.mkdir()
    (below / "down.png").write_bytes(data)


# The run, and what came of it.


def taken(folder: Path) -> int:
    """How many files the rules of `load` take: pictures by their ending, nothing hidden."""
    return sum(
        Path(name).suffix.lower() in imaging.READABLE and not name.startswith(".")
        for _, folders, files in _walk(folder)
        for name in files
    )


def _walk(folder: Path) -> Iterator[tuple[str, list[str], list[str]]]:
    """As `os.walk`, with no limit on depth; folders that are hidden or links are not entered."""
    waiting = [str(folder)]
    while waiting:
        with os.scandir(waiting.pop()) as entries:
            found = list(entries)
        within = [e for e in found if e.is_dir(follow_symlinks=False) and e.name[0] != "."]
        waiting += [entry.path for entry in within]
        files = [e.name for e in found if not os.path.isdir(e.path)]
        yield "", [entry.name for entry in within], files


def run(folder: Path, out: Path, memory: float, seconds: float) -> dict:
    """The run in a process of its own; what it said, line by line, and what it took."""
    pipeline = folder.parent / "hostile.yaml"
    pipeline.write_text(PIPELINE)
    command = [sys.executable, "-c", "from genloom.cli import main; main()", "run", pipeline]
    command += [folder, "-o", out, "--json", "--workers", "2"]
    limit = int(memory * GIB)
    started, events = time.monotonic(), []
    with tempfile.TemporaryFile() as errors:
        process = subprocess.Popen(
            list(map(str, command)),
            stdout=subprocess.PIPE,
            stderr=errors,
            preexec_fn=lambda: resource.setrlimit(resource.RLIMIT_AS, (limit, limit)),
        )
        alarm = threading.Timer(seconds, process.kill)
        alarm.start()
        for line in process.stdout or ():
            events.append(json.loads(line))
            (folder / VANISHING).unlink(missing_ok=True)  # it was listed, and now goes
        process.wait()
        alarm.cancel()
        errors.seek(0)
        said = errors.read().decode("utf-8", "replace")
    return {
        "code": process.returncode,
        "seconds": time.monotonic() - started,
        "peak": resource.getrusage(resource.RUSAGE_CHILDREN).ru_maxrss * 1024,
        # A file that vanished fails, or was not even met.
        "items": [e for e in events if e["event"] == "item" and VANISHING not in e["key"]],
        "ended": any(event["event"] == "end" for event in events),
        "errors": said,
    }


def wrong(done: dict, expected: int, work: Path) -> Iterator[str]:
    """What is not as it must be."""
    if not done["ended"] or done["code"] not in (0, 1):
        yield f"the run ended with {done['code']}: {done['errors'][-2000:]}"
    keys = {item["key"] for item in done["items"]}
    if len(keys) != expected or len(done["items"]) != expected:
        yield f"{expected} files were taken, {len(done['items'])} came to something"
    for item in done["items"]:
        if item["state"] == "failed" and not all(f["reason"].strip() for f in item["failures"]):
            yield f"{item['key']} failed without a reason"
        if item["state"] == "done" and not item["files"]:
            yield f"{item['key']} is done without a file"
    if "Traceback" in done["errors"]:
        yield f"a traceback was printed: {done['errors'][-2000:]}"
    outside = {path.name for path in work.iterdir()} - {"in", "out", "hostile.yaml"}
    if outside:
        yield f"files were written outside: {outside}"


def summary(done: dict, expected: int) -> Iterator[str]:
    """Figures, and the reasons by how often each was given."""
    states = Counter(item["state"] for item in done["items"])
    yield (
        f"{expected} files: {states['done']} done, {states['failed']} failed, in "
        f"{done['seconds']:.0f} s, {done['peak'] / GIB:.2f} GiB at the most"
    )
    reasons = Counter(
        failure["reason"].partition(": ")[2].partition(";")[0][:70]
        for item in done["items"]
        for failure in item["failures"]
    )
    for reason, count in reasons.most_common(40):
        yield f"  {count:4} {reason}"


if __name__ == "__main__":
    main()
