"""How well the noise of photographs is estimated, and what denoising without being told it costs.

    python benchmarks/levels.py [--photos FOLDER] [--kind WORD] [--estimator NAME]

The middle of every photograph (unless another folder is named, the six of the demo) is spoilt in
the ways that files of cameras are, from a fixed seed, and denoised three times: told the level (σ
of white noise, else the root mean square of the error), with the level that the network finds, and
with that which `estimator: null` finds, the estimate of white noise. PSNR in dB against what was
before, and the levels, in 8-bit units. Clean pictures, and textures where scikit-image is
installed, are compared with themselves: what denoising takes away from them.
"""

import argparse
from functools import partial
from pathlib import Path

import numpy as np
import torch
from PIL import Image

import genloom
from genloom.types import Batch, Item
from genloom_denoise.estimate import estimate_sigma
from genloom_denoise.level import noise_levels
from genloom_train import degradations as spoil

PHOTOS = Path(genloom.__file__).parent / "demo/photographs"
TEXTURES = ("brick", "grass", "gravel")


def white(image, sigma):
    return spoil.as_in_a_file(spoil.gaussian_noise(image, torch.tensor([sigma / 255])))


def shot(image, sigma):
    level = torch.tensor([sigma / 255])
    return spoil.as_in_a_file(spoil.shot_noise(image, level, torch.ones(1)))


def chroma(image, sigma):
    return spoil.as_in_a_file(spoil.chroma_noise(image, torch.tensor([sigma / 255])))


def jpeg(image, quality, full=False):
    return spoil.jpeg(image, torch.tensor([quality]), torch.tensor([full]))


def grey(image, sigma):
    """The same noise in all channels."""
    return white(image[:, :1], sigma).expand_as(image)


def kinds():
    """A function for each kind of noise, and the σ of those that are white."""
    found = {f"white {sigma}": (partial(white, sigma=sigma), sigma) for sigma in (5, 15, 25, 50)}
    for sigma in (10, 15, 25):
        for quality in (95, 90, 85, 75):
            found[f"white {sigma}, JPEG {quality}"] = (_filed(white, sigma, quality), None)
    found["white 15, JPEG 90 4:4:4"] = (_filed(white, 15, 90, True), None)
    for sigma in (10, 20):
        found[f"shot {sigma}"] = (partial(shot, sigma=sigma), None)
        found[f"shot {sigma}, JPEG 85"] = (_filed(shot, sigma, 85), None)
        found[f"chroma {sigma}"] = (partial(chroma, sigma=sigma), None)
    found["shot 15, chroma 15, JPEG 85"] = (
        lambda image: jpeg(chroma(shot(image, 15), 15), 85),
        None,
    )
    for quality in (95, 90, 75, 50):
        found[f"JPEG {quality}"] = (partial(jpeg, quality=quality), None)
    return found


def _filed(noise, sigma, quality, full=False):
    return lambda image: jpeg(noise(image, sigma), quality, full)


class Room:
    """The models, and the pictures."""

    def __init__(self, options) -> None:
        opened = partial(genloom.open_model, provider="cpu", threads=options.threads)
        self.denoiser, self.estimator = opened(options.model), opened(options.estimator).model
        self.most = self.denoiser.card.parts["network"].inputs["noise_level"].range[1]

    def denoised(self, pixels, sigma):
        """The picture denoised at a level in 8-bit units."""
        return self.denoiser(pixels, noise_level=min(sigma / 255, self.most))

    def learned(self, pixels):
        """The level that the network finds."""
        batch = Batch.images([Item(key="picture", name="picture")], pixels[None])
        return 255 * float(noise_levels(batch, self.estimator)[0])

    def before(self, pixels):
        """The level of white noise."""
        return estimate_sigma((pixels / 255).astype(np.float32).transpose(2, 0, 1))

    def row(self, pixels, clean, sigma=None):
        """PSNR given, told, auto, before; and the three levels."""
        if sigma is None:
            sigma = float(np.sqrt(np.mean((pixels.astype(float) - clean) ** 2)))
        levels = [sigma, self.learned(pixels), self.before(pixels)]
        return [
            psnr(pixels, clean),
            *(psnr(self.denoised(pixels, s), clean) for s in levels),
            *levels,
        ]


def psnr(one, other) -> float:
    error = np.mean((one.astype(float) - other) ** 2)
    return float(min(99.0, 10 * np.log10(255**2 / max(error, 1e-9))))


def middle(path, crop):
    pixels = np.asarray(Image.open(path).convert("RGB"))
    top, left = (max(0, (side - crop) // 2) for side in pixels.shape[:2])
    return pixels[top : top + crop, left : left + crop]


def in_grey(pixels):
    return np.repeat(pixels.mean(2, keepdims=True).astype(np.uint8), 3, 2)


def textures(crop):
    try:
        from skimage import data
    except ImportError:
        return {}
    grey_ones = {name: getattr(data, name)()[:crop, :crop] for name in TEXTURES}
    return {name: np.repeat(one[..., None], 3, axis=2) for name, one in grey_ones.items()}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--photos", type=Path, default=PHOTOS)
    parser.add_argument("--crop", type=int, default=256)
    parser.add_argument("--model", default="denoise-photo")
    parser.add_argument("--estimator", default="noise-level")
    parser.add_argument("--kind", default="", help="only kinds with this word, or 'clean'")
    parser.add_argument("--threads", type=int, default=1)
    options = parser.parse_args()
    torch.set_num_threads(max(1, options.threads))
    room = Room(options)
    paths = sorted(path for path in options.photos.iterdir() if path.suffix in (".jpg", ".png"))
    pictures = {path.stem: middle(path, options.crop) for path in paths}
    print(f"{'':30}{'given':>7}{'told':>7}{'auto':>7}{'before':>7}  worst   level found before")
    for name, (function, sigma) in kinds().items():
        if options.kind in name:
            print(line(name, [*rows(room, function, sigma, pictures.values())]), flush=True)
    if options.kind in "grey":
        greys = [in_grey(one) for one in pictures.values()]
        for sigma in (15, 25):
            print(
                line(
                    f"grey, white {sigma}", [*rows(room, partial(grey, sigma=sigma), sigma, greys)]
                )
            )
    if options.kind in "clean":
        greys = {f"{name} in grey": in_grey(one) for name, one in pictures.items()}
        for name, clean in {**pictures, **greys, **textures(options.crop)}.items():
            _, _, auto, before, _, found, white_one = room.row(clean, clean, 0.0)
            text = f"{name + ', clean':30}{'':14}{auto:7.2f}{before:7.2f}"
            print(f"{text}         0.0 {found:5.1f} {white_one:5.1f}", flush=True)


def rows(room, function, sigma, pictures):
    for index, clean in enumerate(pictures):
        torch.manual_seed(index)
        image = torch.from_numpy(clean.transpose(2, 0, 1)[None].astype(np.float32) / 255)
        noisy = (function(image)[0].numpy().transpose(1, 2, 0) * 255).round().clip(0, 255)
        yield room.row(noisy.astype(np.uint8), clean, sigma)


def line(name, found) -> str:
    given, told, auto, before, level, learned, white_one = np.mean(found, axis=0)
    worst = min(row[2] - row[1] for row in found)
    text = f"{name:30}{given:7.2f}{told:7.2f}{auto:7.2f}{before:7.2f} {worst:+6.2f}"
    return f"{text}  {level:6.1f} {learned:5.1f} {white_one:5.1f}"


if __name__ == "__main__":
    main()
