"""How well genloom denoises photographs it never saw, beside OpenCV's non-local means.

    python benchmarks/denoise.py [--photos FOLDER] [--crop 256]

The middle of every photograph (unless another folder is named, the six of the demo) gets Gaussian
noise from a fixed seed, clipped to 8 bits as a file would be. genloom is told σ, and once has to
estimate it. Non-local means is given every filter strength of a list, and its best one counts, by
the mean over all pictures: more than a user could know. PSNR in dB over all colours; higher is
better. Where the package `bm3d` is installed, CBM3D runs too, σ known.
"""

import argparse
import importlib.util
import time
from pathlib import Path

import cv2
import numpy as np
from PIL import Image

import genloom
from genloom.demo import psnr
from genloom_denoise.estimate import estimate_sigma

PHOTOGRAPHS = Path(__file__).parent.parent / "core/genloom/demo/photographs"
SIGMAS = (15, 25, 50)
STRENGTHS = (0.3, 0.4, 0.5, 0.6, 0.7, 0.8, 0.9, 1.0, 1.1, 1.2)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--photos", type=Path, default=PHOTOGRAPHS)
    parser.add_argument("--crop", type=int, default=256)
    parser.add_argument("--model", default="denoise-photo")
    options = parser.parse_args()
    pictures = read(options.photos, options.crop)
    model = genloom.open_model(options.model, provider="cpu")
    print(f"{len(pictures)} photographs, {options.crop}×{options.crop}, {options.model}")
    methods = {
        "noisy": lambda noisy, sigma: noisy,
        "non-local means, best h": None,
        "genloom, sigma known": lambda noisy, sigma: model(noisy, noise_level=sigma / 255),
        "genloom, sigma estimated": lambda noisy, sigma: model(noisy, noise_level=estimated(noisy)),
    }
    if importlib.util.find_spec("bm3d"):
        methods["CBM3D, sigma known"] = cbm3d
    rows: dict[str, list[str]] = {name: [] for name in methods}
    for sigma in SIGMAS:
        noisy = [add_noise(picture, sigma, index) for index, picture in enumerate(pictures)]
        for name, method in methods.items():
            if method is None:
                value, seconds, said = best_non_local_means(pictures, noisy, sigma)
            else:
                value, seconds = score(pictures, noisy, lambda n, m=method, s=sigma: m(n, s))
                said = ""
            rows[name].append(f"{value:6.2f} dB {1000 * seconds:6.0f} ms{said}")
    print(f"{'':28}" + "".join(f"{f'σ = {sigma}':<26}" for sigma in SIGMAS))
    for name, cells in rows.items():
        print(f"{name:<28}" + "".join(f"{cell:<26}" for cell in cells))


def read(folder: Path, crop: int) -> list[np.ndarray]:
    pictures = []
    for path in sorted(folder.iterdir()):
        if path.suffix.lower() not in (".png", ".jpg"):
            continue
        with Image.open(path) as image:
            pixels = np.asarray(image.convert("RGB"))
        top, left = ((side - min(side, crop)) // 2 for side in pixels.shape[:2])
        pictures.append(np.ascontiguousarray(pixels[top : top + crop, left : left + crop]))
    return pictures


def add_noise(picture: np.ndarray, sigma: float, seed: int) -> np.ndarray:
    noise = np.random.RandomState(1000 * int(sigma) + seed).normal(0, sigma, picture.shape)
    return np.clip(np.rint(picture + noise), 0, 255).astype(np.uint8)


def estimated(noisy: np.ndarray) -> float:
    return estimate_sigma(noisy.transpose(2, 0, 1).astype(np.float32) / 255) / 255


def score(pictures, noisy, method) -> tuple[float, float]:
    """Mean PSNR, and median seconds for a picture."""
    values, seconds = [], []
    for clean, given in zip(pictures, noisy, strict=True):
        started = time.perf_counter()
        result = method(given)
        seconds.append(time.perf_counter() - started)
        values.append(psnr(clean, result))
    return float(np.mean(values)), float(np.median(seconds))


def best_non_local_means(pictures, noisy, sigma) -> tuple[float, float, str]:
    best = (-np.inf, 0.0, "")
    for strength in STRENGTHS:
        h = strength * sigma
        value, seconds = score(
            pictures, noisy, lambda n, h=h: cv2.fastNlMeansDenoisingColored(n, None, h, h, 7, 21)
        )
        best = max(best, (value, seconds, f" h={h:.1f}"))
    return best


def cbm3d(noisy: np.ndarray, sigma: float) -> np.ndarray:
    import bm3d

    return np.clip(bm3d.bm3d_rgb(noisy / 255, sigma / 255), 0, 1).astype(np.float32)


if __name__ == "__main__":
    main()
