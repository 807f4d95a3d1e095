"""A folder of photographs such as people have: sub-folders, formats, modes, and broken files."""

import struct
import zlib
from dataclasses import dataclass
from pathlib import Path

import cv2
import numpy as np
from PIL import Image

DEMO = sorted((Path(__file__).parents[2] / "core/genloom/demo/photographs").glob("*.jpg"))
BROKEN = 5


@dataclass(frozen=True)
class Kept:
    """What a result must have kept: Pillow's mode, bits of a sample, size."""

    mode: str
    bits: int
    size: tuple[int, int]


def make(folder: Path, count: int = 50) -> dict[str, Kept]:
    """Write `count` good pictures and five broken ones; returns what each good one must keep."""
    expected: dict[str, Kept] = {}
    for index in range(count):
        picture = _photograph(index)
        place = Path(("", "holiday", "holiday/day 2", "Größe")[index % 4])
        kind = KINDS[index % len(KINDS)]
        name = (place / f"img{index}{ENDINGS[kind]}").as_posix()
        path = folder / name
        path.parent.mkdir(parents=True, exist_ok=True)
        expected[name] = WRITERS[kind](picture, path)
    _break(folder)
    return expected


def _photograph(index: int) -> Image.Image:
    with Image.open(DEMO[index % len(DEMO)]) as image:
        width, height = 61 + 7 * (index % 9), 48 + 5 * (index % 7)
        left, top = 13 * index % 200, 7 * index % 120
        return image.convert("RGB").crop((left, top, left + width, top + height))


def _jpeg(picture: Image.Image, path: Path) -> Kept:
    picture.save(path, quality=95)
    return Kept("RGB", 8, picture.size)


def _grey_jpeg(picture: Image.Image, path: Path) -> Kept:
    picture.convert("L").save(path, quality=95)
    return Kept("L", 8, picture.size)


def _plain(picture: Image.Image, path: Path) -> Kept:
    picture.save(path)
    return Kept("RGB", 8, picture.size)


def _webp(picture: Image.Image, path: Path) -> Kept:
    picture.save(path, quality=95)
    return Kept("RGB", 8, picture.size)


def _grey(picture: Image.Image, path: Path) -> Kept:
    picture.convert("L").save(path)
    return Kept("L", 8, picture.size)


def _alpha(picture: Image.Image, path: Path) -> Kept:
    picture = picture.convert("RGBA")
    ramp = np.linspace(0, 255, picture.width, dtype=np.uint8)
    picture.putalpha(Image.fromarray(np.tile(ramp, (picture.height, 1))))
    picture.save(path)
    return Kept("RGBA", 8, picture.size)


def _palette(picture: Image.Image, path: Path) -> Kept:
    picture.quantize(64).save(path)
    return Kept("P", 8, picture.size)


def _of_16_bits(pixels: np.ndarray) -> np.ndarray:
    """Pixels H×W×C of 8 bits with others below them, so that it is seen whether these are kept."""
    below = (np.arange(pixels.shape[1]) % 256).astype(np.uint16)
    return pixels.astype(np.uint16) * 256 + below[:, None]


def _deep(picture: Image.Image, path: Path) -> Kept:
    deep = _of_16_bits(np.asarray(picture)[..., ::-1])
    cv2.imwrite(str(path), deep)
    return Kept("RGB", 16, picture.size)


def _deep_grey(picture: Image.Image, path: Path) -> Kept:
    deep = _of_16_bits(np.asarray(picture.convert("L"))[..., None])[..., 0]
    cv2.imwrite(str(path), deep)
    return Kept("I;16", 16, picture.size)


WRITERS = {
    "jpeg": _jpeg,
    "png": _plain,
    "webp": _webp,
    "tiff": _plain,
    "grey jpeg": _grey_jpeg,
    "grey png": _grey,
    "alpha png": _alpha,
    "palette png": _palette,
    "16-bit png": _deep,
    "16-bit tiff": _deep,
    "16-bit grey png": _deep_grey,
}
KINDS = tuple(WRITERS)
ENDINGS = {
    kind: {"jpeg": ".jpg", "png": ".png", "webp": ".webp", "tiff": ".tif"}[kind.split()[-1]]
    for kind in KINDS
}


def _break(folder: Path) -> None:
    """Empty, not a picture, cut off, bytes flipped, and larger than anybody means it."""
    (folder / "empty.jpg").write_bytes(b"")
    (folder / "text.png").write_text("this is a shopping list")
    whole = (folder / "img0.jpg").read_bytes()
    (folder / "holiday" / "cut.jpg").write_bytes(whole[: len(whole) // 3])
    png = bytearray((folder / "holiday" / "img1.png").read_bytes())
    png[len(png) // 2] ^= 0xFF
    (folder / "holiday" / "flipped.png").write_bytes(bytes(png))
    header = struct.pack(">IIBBBBB", 200_000, 200_000, 8, 2, 0, 0, 0)
    (folder / "bomb.png").write_bytes(
        b"\x89PNG\r\n\x1a\n" + _chunk(b"IHDR", header) + _chunk(b"IDAT", zlib.compress(b"\0" * 99))
    )


def _chunk(name: bytes, data: bytes) -> bytes:
    return struct.pack(">I", len(data)) + name + data + struct.pack(">I", zlib.crc32(name + data))
