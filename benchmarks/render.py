"""What guides are worth when rendered pictures are denoised.

    python benchmarks/render.py [--unguided FOLDER] [--sheet FILE]

Ten scenes that no training saw (other seeds of the same renderer), 160×160, at 2, 4 and 8 paths
a pixel, beside the same with 512 paths. PSNR in dB over the whole picture, and over the pixels
where the albedo has an edge or a texture: there a denoiser without guides blurs. `--unguided` names
a network of the same recipe that was trained without guides:
`genloom train denoise-render --set model.guides=[] --set export.name=unguided`.
"""

import argparse
from pathlib import Path

import numpy as np
from PIL import Image

import genloom
from genloom_denoise.estimate import estimate_sigma
from genloom_denoise.render import displayed, guides, random_scene, render
from genloom_train.data import generator

SIZE, SCENES, PATHS, CLEAN = 160, 10, (2, 4, 8), 512
EDGE = 0.04
"""Step between neighbouring pixels of the albedo from which on there is texture."""


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--model", default="denoise-render")
    parser.add_argument("--unguided", type=Path)
    parser.add_argument("--sheet", type=Path)
    options = parser.parse_args()
    methods = dict(methods_of(options))
    scenes = [view(number) for number in range(SCENES)]
    share = np.mean([texture(scene["albedo"]).mean() for scene in scenes])
    print(f"{SCENES} scenes, {SIZE}×{SIZE}; textured: {share:.0%} of the pixels")
    print(f"{'':34}" + "".join(f"{f'{p} paths: all, textured':>28}" for p in PATHS))
    for name, method in methods.items():
        cells = []
        for paths in PATHS:
            pairs = [(scene, method(scene[paths], scene)) for scene in scenes]
            whole = np.mean([psnr(result, scene["clean"]) for scene, result in pairs])
            fine = np.mean([psnr(result, s["clean"], texture(s["albedo"])) for s, result in pairs])
            cells.append(f"{whole:17.2f} {fine:10.2f}")
        print(f"{name:34}" + "".join(cells), flush=True)
    if options.sheet:
        sheet(scenes[:4], methods, options.sheet)


def methods_of(options):
    yield "noisy", lambda noisy, scene: noisy
    photo = genloom.open_model("denoise-photo", provider="cpu")
    yield (
        "denoise-photo, sigma estimated",
        lambda noisy, scene: photo(
            noisy, noise_level=estimate_sigma(noisy.transpose(2, 0, 1)) / 255
        ),
    )
    if options.unguided:
        unguided = genloom.open_model(options.unguided, provider="cpu")
        yield "trained without guides", lambda noisy, scene: unguided(noisy)
    model = genloom.open_model(options.model, provider="cpu")
    yield f"{options.model}, no guides", lambda noisy, scene: model(noisy)
    yield f"{options.model}, albedo", lambda noisy, scene: model(noisy, albedo=scene["albedo"])
    yield (
        f"{options.model}, both",
        lambda noisy, scene: model(noisy, albedo=scene["albedo"], normal=scene["normal"]),
    )


def view(number: int) -> dict:
    random = generator("benchmark scene", number)
    scene = random_scene(random)
    albedo, normal = guides(scene, SIZE, random)
    found = {paths: filed(displayed(render(scene, SIZE, paths, random))) for paths in PATHS}
    clean = displayed(render(scene, SIZE, CLEAN, random))
    return {**found, "clean": clean, "albedo": filed(albedo), "normal": filed(normal / 2 + 0.5)}


def filed(pixels: np.ndarray) -> np.ndarray:
    return (np.rint(pixels.clip(0, 1) * 255) / 255).astype(np.float32)


def texture(albedo: np.ndarray) -> np.ndarray:
    """Pixels that differ from a neighbour in the albedo."""
    found = np.zeros(albedo.shape[:2], bool)
    down = np.abs(np.diff(albedo, axis=0)).max(2) > EDGE
    across = np.abs(np.diff(albedo, axis=1)).max(2) > EDGE
    found[1:] |= down
    found[:-1] |= down
    found[:, 1:] |= across
    found[:, :-1] |= across
    return found


def psnr(result: np.ndarray, clean: np.ndarray, where: np.ndarray | None = None) -> float:
    error = (result.clip(0, 1) - clean) ** 2
    return float(-10 * np.log10((error if where is None else error[where]).mean()))


def sheet(scenes, methods, path: Path) -> None:
    """A row for each scene: what each method makes of 4 paths a pixel; albedo; the clean one."""
    rows = []
    for scene in scenes:
        cells = [method(scene[4], scene).clip(0, 1) for method in methods.values()]
        rows.append(np.concatenate([*cells, scene["albedo"], scene["clean"]], axis=1))
    Image.fromarray((np.concatenate(rows) * 255 + 0.5).astype(np.uint8)).save(path)


if __name__ == "__main__":
    main()
