"""What reading and writing costs: genloom's choice of codecs beside others, on the same pictures.

    python benchmarks/codecs.py [--photos FOLDER] [--rounds 5] [--enlarge 2]

Every picture (unless another folder is named, the photographs of the demo, enlarged twice by
Lanczos, which is nearer to what is written than the photographs themselves) is encoded and decoded
in memory, one codec after the other, so many rounds; a codec's time for a picture is the median of
the rounds. Speeds and sizes are ratios to Pillow's default for the format, summed over pictures.
One thread.
"""

import argparse
import io
import statistics
import time
from collections.abc import Callable
from pathlib import Path

import cv2
import numpy as np
from PIL import Image

import genloom
from genloom import imaging

PHOTOS = Path(genloom.__file__).parent / "demo/photographs"
RECORD = '{"genloom":"0"}' + " " * 600
PEER = "Pillow, its default"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--photos", type=Path, default=PHOTOS)
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--enlarge", type=int, default=2)
    options = parser.parse_args()
    cv2.setNumThreads(1)
    paths = sorted(p for p in options.photos.iterdir() if p.suffix.lower() in imaging.READABLE)
    pictures = [opened(path, options.enlarge) for path in paths]
    if not pictures:
        raise SystemExit(f"{options.photos}: no pictures")
    pixels = sum(one.shape[0] * one.shape[1] for one in pictures)
    print(f"{len(pictures)} pictures, {pixels / 1e6:.1f} megapixels in all\n")
    for format, writers in WRITERS.items():
        table(f"{format}: writing", writers, pictures, options.rounds)
        files = [WRITERS[format][PEER](one) for one in pictures]
        table(f"{format}: reading", READERS, files, options.rounds)


def opened(path: Path, scale: int) -> np.ndarray:
    with Image.open(path) as image:
        size = (image.width * scale, image.height * scale)
        return np.asarray(image.convert("RGB").resize(size, Image.Resampling.LANCZOS))


def table(title: str, codecs: dict[str, Callable], given: list, rounds: int) -> None:
    times = {name: 0.0 for name in codecs}
    sizes = {name: 0 for name in codecs}
    for one in given:
        taken: dict[str, list[float]] = {name: [] for name in codecs}
        for _ in range(rounds):
            for name, codec in codecs.items():
                begun = time.perf_counter()
                result = codec(one)
                taken[name].append(time.perf_counter() - begun)
                if isinstance(result, bytes):
                    sizes[name] += len(result)
        for name, values in taken.items():
            times[name] += statistics.median(values)
    print(f"{title:32}    ms  speed   size")
    for name in codecs:
        size = f"{sizes[name] / sizes[PEER]:7.3f}" if sizes[PEER] else ""
        speed = times[PEER] / times[name]
        print(f"  {name:30}{times[name] / len(given) * 1e3:6.1f} {speed:6.2f}{size}")
    print()


def ours(ending: str, record: str = "") -> Callable[[np.ndarray], bytes]:
    return lambda pixels: imaging.encode(pixels, ending=ending, record=record)[0]


def pillows(format: str, **options: int) -> Callable[[np.ndarray], bytes]:
    def encode(pixels: np.ndarray) -> bytes:
        file = io.BytesIO()
        Image.fromarray(pixels).save(file, format, **options)
        return file.getvalue()

    return encode


def opencvs(ending: str, *options: int) -> Callable[[np.ndarray], bytes]:
    def encode(pixels: np.ndarray) -> bytes:
        turned = cv2.cvtColor(pixels, cv2.COLOR_RGB2BGR)
        return bytes(cv2.imencode(ending, turned, list(options))[1])

    return encode


def our_reading(data: bytes) -> None:
    imaging.read(Path("picture"), data)


def pillows_reading(data: bytes) -> None:
    with Image.open(io.BytesIO(data)) as image:
        np.asarray(image.convert("RGB"))


def opencvs_reading(data: bytes) -> None:
    pixels = cv2.imdecode(np.frombuffer(data, np.uint8), cv2.IMREAD_COLOR)
    cv2.cvtColor(pixels, cv2.COLOR_BGR2RGB)


LEVEL = cv2.IMWRITE_PNG_COMPRESSION
WRITERS: dict[str, dict[str, Callable[[np.ndarray], bytes]]] = {
    "PNG": {
        "genloom": ours(".png"),
        "genloom, with a record": ours(".png", RECORD),
        PEER: pillows("PNG"),
        "Pillow, level 1": pillows("PNG", compress_level=1),
        "OpenCV, its default": opencvs(".png"),
        "OpenCV, level 3": opencvs(".png", LEVEL, 3),
        "OpenCV, level 6": opencvs(".png", LEVEL, 6),
    },
    "JPEG": {
        "genloom": ours(".jpg"),
        "genloom, with a record": ours(".jpg", RECORD),
        PEER: pillows("JPEG", quality=95, subsampling=0),
        "OpenCV": opencvs(
            ".jpg", cv2.IMWRITE_JPEG_QUALITY, 95, cv2.IMWRITE_JPEG_SAMPLING_FACTOR, 0x111111
        ),
    },
    "WEBP": {
        "genloom": ours(".webp"),
        PEER: pillows("WEBP", quality=95),
        "OpenCV": opencvs(".webp", cv2.IMWRITE_WEBP_QUALITY, 95),
    },
    "TIFF": {
        "genloom": ours(".tif"),
        PEER: pillows("TIFF"),
        "OpenCV": opencvs(".tif"),
    },
}
READERS: dict[str, Callable[[bytes], None]] = {
    "genloom": our_reading,
    PEER: pillows_reading,
    "OpenCV": opencvs_reading,
}

if __name__ == "__main__":
    main()
