"""Every pipeline that ships runs by name and makes what its comment says."""

from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

import genloom
from genloom import pipeline
from genloom.catalog import Catalog
from genloom_denoise.rendered import view
from genloom_style.content import blurred, luminance
from genloom_train.data import generator
from genloom_train.features import features, gram, gram_distance

ROOT = Path(__file__).parents[2]
CLOTHES = ROOT / "core/genloom/demo/clothes"
PHOTOGRAPHS = ROOT / "core/genloom/demo/photographs"
SHIPPED = sorted(path.stem for path in (ROOT / "pipelines").glob("*.yaml"))


def files(out):
    return sorted(
        path.relative_to(out).as_posix()
        for path in out.rglob("*")
        if path.is_file() and ".genloom" not in path.parts
    )


def test_the_shipped_pipelines_are_the_ones_promised():
    assert SHIPPED == [
        "attribute", "classes", "denoise", "interpolate", "morph", "reconstruct",
        "render-denoise", "restore", "restore-vae", "sample", "stylize", "traverse", "upscale",
        "variations", "walk",
    ]  # fmt: skip


@pytest.mark.parametrize("name", SHIPPED)
def test_each_runs_by_name_and_says_what_it_does_and_how_to_run_it(name):
    path, _ = pipeline.available(Catalog.load())[name]
    first, second, *_ = path.read_text(encoding="utf-8").splitlines()
    assert first.startswith("# ") and first.rstrip().endswith(".")
    assert second.startswith(f"# Run: genloom run {name} ")
    genloom.load_pipeline(name)


def test_denoise_cleans_a_noisy_photograph(tmp_path):
    with Image.open(PHOTOGRAPHS / "coffee.jpg") as image:
        clean = np.asarray(image.crop((100, 60, 300, 220)), float)
    noisy = np.clip(clean + np.random.RandomState(0).normal(0, 25, clean.shape), 0, 255)
    Image.fromarray(noisy.astype(np.uint8)).save(tmp_path / "noisy.png")
    report = genloom.load_pipeline("denoise").run(tmp_path / "noisy.png", tmp_path / "out")
    assert report.exit_code == 0
    with Image.open(tmp_path / "out/noisy.png") as image:
        after = np.asarray(image, float)
    before_error, after_error = (np.mean((x - clean) ** 2) for x in (noisy, after))
    assert after_error < before_error / 10


def halves(name, box, noise=0.0):
    """A part of a photograph, and the same at half its size, reduced as people do it."""
    with Image.open(PHOTOGRAPHS / name) as image:
        whole = image.convert("RGB").crop(box)
    half = np.asarray(whole.resize((whole.width // 2, whole.height // 2), Image.BICUBIC), float)
    half = half + np.random.RandomState(0).normal(0, noise, half.shape) if noise else half
    return whole, Image.fromarray(half.round().clip(0, 255).astype(np.uint8))


def error(image, truth):
    return np.mean((np.asarray(image, float) - np.asarray(truth, float)) ** 2)


def test_upscale_doubles_a_photograph_and_is_nearer_to_the_truth_than_bicubic(tmp_path):
    whole, half = halves("astronaut.jpg", (120, 40, 320, 200))
    half.save(tmp_path / "half.png")
    report = genloom.load_pipeline("upscale").run(tmp_path / "half.png", tmp_path / "out")
    assert report.exit_code == 0
    with Image.open(tmp_path / "out/half.png") as image:
        assert image.size == whole.size and image.mode == "RGB"
        assert error(image, whole) < 0.65 * error(half.resize(whole.size, Image.BICUBIC), whole)


@pytest.mark.parametrize("scale", [1.5, 3, 4])
def test_upscale_knows_other_factors(scale, tmp_path):
    _, half = halves("coffee.jpg", (100, 60, 160, 100))
    half.save(tmp_path / "half.png")
    chain = genloom.load_pipeline("upscale", {"upscale.scale": scale})
    assert chain.run(tmp_path / "half.png", tmp_path / "out").exit_code == 0
    with Image.open(tmp_path / "out/half.png") as image:
        assert image.size == (round(30 * scale), round(20 * scale))


def test_restore_cleans_before_it_enlarges(tmp_path):
    whole, half = halves("coffee.jpg", (100, 60, 300, 220), noise=20)
    half.save(tmp_path / "half.png")
    results = {}
    for name in ("restore", "upscale"):
        report = genloom.load_pipeline(name).run(tmp_path / "half.png", tmp_path / name)
        assert report.exit_code == 0
        with Image.open(tmp_path / name / "half.png") as image:
            assert image.size == whole.size
            results[name] = error(image, whole)
    assert results["restore"] < 0.5 * results["upscale"]


def test_reconstruct_gives_pictures_like_those_it_was_given(tmp_path):
    genloom.load_pipeline("reconstruct").run(CLOTHES, tmp_path)
    assert len(files(tmp_path)) == 10
    alike = []
    for name in files(tmp_path):
        with Image.open(CLOTHES / name) as before, Image.open(tmp_path / name) as after:
            assert after.mode == "L" and after.size == (28, 28)
            pair = [np.asarray(image, float).ravel() for image in (before, after)]
        alike.append(np.corrcoef(*pair)[0, 1])
    assert np.mean(alike) > 0.85 and min(alike) > 0.6, alike


def test_render_denoise_is_better_with_guides_than_without(tmp_path):
    shots = {f"shot{n}": view(64, 128, generator("pipeline", n)) for n in range(4)}
    errors = {"noisy": np.mean([np.mean((s.noisy[1] - s.clean) ** 2) for s in shots.values()])}
    for kind in ("with", "without"):
        folder, out = tmp_path / kind, tmp_path / f"{kind} out"
        folder.mkdir()
        for name, seen in shots.items():
            pictures = {"": seen.noisy[1]}
            if kind == "with":
                pictures |= {".albedo": seen.albedo, ".normal": seen.normal}
            for ending, pixels in pictures.items():
                pixels = (pixels * 255 + 0.5).astype(np.uint8)
                Image.fromarray(pixels).save(folder / f"{name}{ending}.png")
        report = genloom.load_pipeline("render-denoise").run(folder, out)
        assert (report.done, report.failed) == (4, 0)
        found = [np.asarray(Image.open(out / f"{name}.png"), float) / 255 for name in shots]
        pairs = zip(found, shots.values(), strict=True)
        errors[kind] = np.mean([np.mean((result - s.clean) ** 2) for result, s in pairs])
    assert errors["with"] < 0.85 * errors["without"] < 0.4 * errors["noisy"], errors


def test_restore_vae_brings_noisy_clothes_nearer_to_clean_ones(tmp_path):
    (tmp_path / "noisy").mkdir()
    random, clean = np.random.RandomState(0), {}
    for path in CLOTHES.glob("*.png"):
        with Image.open(path) as image:
            clean[path.name] = np.asarray(image, float)
        noisy = clean[path.name] + random.normal(0, 80, (28, 28))
        Image.fromarray(noisy.clip(0, 255).astype(np.uint8)).save(tmp_path / "noisy" / path.name)
    genloom.load_pipeline("restore-vae").run(tmp_path / "noisy", tmp_path / "out")
    errors = {}
    for kind in ("noisy", "out"):
        pictures = [Image.open(tmp_path / kind / name) for name in clean]
        pairs = zip(pictures, clean.values(), strict=True)
        errors[kind] = np.mean([np.mean((np.asarray(p, float) - c) ** 2) for p, c in pairs])
    assert errors["out"] < 0.4 * errors["noisy"], errors


@pytest.mark.parametrize("style", ["woodcut", "mosaic", "strokes"])
def test_stylize_paints_in_the_style_and_shows_the_photograph(style, tmp_path):
    with Image.open(PHOTOGRAPHS / "coffee.jpg") as image:
        image.convert("RGB").resize((300, 200)).save(tmp_path / "before.png")
    chain = genloom.load_pipeline("stylize", {"stylize.model": f"style-{style}"})
    assert chain.run(tmp_path / "before.png", tmp_path / "out").exit_code == 0
    seen = features("random")
    wanted = [gram(maps) for maps in seen(picture(ROOT / f"pipelines/train/styles/{style}.jpg"))]
    before, after = picture(tmp_path / "before.png"), picture(tmp_path / "out/before.png")
    far = [float(gram_distance(seen(one), wanted)) for one in (before, after)]
    assert far[1] < 0.75 * far[0], far
    light = [blurred(luminance(one), 12).numpy().ravel() for one in (before, after)]
    assert np.corrcoef(*light)[0, 1] > 0.85


def test_stylize_takes_the_style_of_a_picture_where_one_is_named(tmp_path):
    """Of three styles that `style-any` never saw, each painting has its own one's colours."""
    with Image.open(PHOTOGRAPHS / "coffee.jpg") as image:
        image.convert("RGB").resize((300, 200)).save(tmp_path / "before.png")
    before, seen = picture(tmp_path / "before.png"), features("random")
    paths = [
        ROOT / f"pipelines/train/styles/{name}.jpg" for name in ("mosaic", "strokes", "woodcut")
    ]
    wanted = [[gram(maps) for maps in seen(picture(path))] for path in paths]
    means = torch.stack([picture(path).mean((0, 2, 3)) for path in paths])
    for number, path in enumerate(paths):
        chain = genloom.load_pipeline("stylize", {"stylize.style": str(path)})
        out = tmp_path / path.stem
        assert chain.run(tmp_path / "before.png", out).exit_code == 0
        after = picture(out / "before.png")
        far = [float(gram_distance(seen(one), wanted[number])) for one in (before, after)]
        assert far[1] < 0.75 * far[0], far
        colour = (means - after.mean((0, 2, 3))).abs().sum(1)
        assert int(colour.argmin()) == number, colour
        light = [blurred(luminance(one), 12).numpy().ravel() for one in (before, after)]
        assert np.corrcoef(*light)[0, 1] > 0.85


def picture(path):
    """A file as 1×3×H×W in [0, 1]."""
    with Image.open(path) as image:
        pixels = np.asarray(image.convert("RGB"), np.float32) / 255
    return torch.from_numpy(pixels).permute(2, 0, 1)[None]


def test_sample_draws_different_pictures_and_a_sheet(tmp_path):
    genloom.load_pipeline("sample").run((), tmp_path)
    names = files(tmp_path)
    assert names == ["grid.png", *[f"sample-{index:06d}.png" for index in range(16)]]
    assert len({(tmp_path / name).read_bytes() for name in names}) == 17


def test_variations_are_eight_of_each_and_differ(tmp_path):
    genloom.load_pipeline("variations").run(CLOTHES / "9-boot.png", tmp_path)
    assert files(tmp_path) == [f"9-boot-{index:03d}.png" for index in range(8)]
    assert len({(tmp_path / name).read_bytes() for name in files(tmp_path)}) == 8


def test_interpolate_walks_from_the_first_picture_to_the_last(tmp_path):
    genloom.load_pipeline("interpolate").run(CLOTHES, tmp_path)
    assert files(tmp_path) == ["animate.gif"]
    with Image.open(tmp_path / "animate.gif") as animation:
        assert animation.n_frames == 9 * 12 + 1
        assert animation.size == (112, 112)


@pytest.mark.parametrize("model", ["fashion-cvae", "fashion-cdcgan"])
def test_classes_are_columns_that_a_classifier_recognises(model, tmp_path):
    genloom.load_pipeline("classes", {"sample.model": model}).run((), tmp_path)
    with Image.open(tmp_path / "grid.png") as sheet:
        pixels = np.asarray(sheet.convert("L"), np.float32) / 255
    assert pixels.shape == (302, 302)
    cells = [
        pixels[2 + 30 * row :, 2 + 30 * column :][:28, :28] for row, column in np.ndindex(10, 10)
    ]
    judge = genloom.open_model("fashion-classifier").model
    seen = judge.run("classifier", {"image": np.stack(cells)[:, None]})["logits"].argmax(1)
    assert (seen == np.arange(100) % 10).mean() > 0.8


@pytest.mark.parametrize("name", ["sample", "variations"])
def test_the_same_seed_gives_the_same_pictures_at_any_batch_and_number_of_workers(name, tmp_path):
    inputs = CLOTHES if name == "variations" else ()
    runs = {"one": (1, 1), "many": (16, 1), "parallel": (16, 4)}
    for out, (batch, workers) in runs.items():
        chain = genloom.load_pipeline(name, seed=3)
        assert chain.run(inputs, tmp_path / out, batch=batch, workers=workers).exit_code == 0
    for file in files(tmp_path / "one"):
        pictures = []
        for out in runs:
            with Image.open(tmp_path / out / file) as image:
                pictures.append(np.asarray(image, int))
        assert all(np.abs(other - pictures[0]).max() <= 1 for other in pictures[1:]), file


def test_walk_wanders_from_one_sample(tmp_path):
    genloom.load_pipeline("walk").run((), tmp_path)
    assert files(tmp_path) == ["animate.gif"]
    with Image.open(tmp_path / "animate.gif") as animation:
        assert animation.n_frames == 96


def test_morph_returns_to_where_it_began(tmp_path):
    genloom.load_pipeline("morph").run((), tmp_path)
    with Image.open(tmp_path / "animate.gif") as animation:
        assert animation.n_frames == 6 * 12


def test_traverse_has_a_row_for_each_dimension(tmp_path):
    genloom.load_pipeline("traverse").run(CLOTHES / "9-boot.png", tmp_path)
    with Image.open(tmp_path / files(tmp_path)[0]) as sheet:
        assert sheet.size == (10 * 30 + 2, 16 * 30 + 2)


def test_attribute_turns_pictures_step_by_step(tmp_path):
    genloom.load_pipeline("attribute").run(CLOTHES / "9-boot.png", tmp_path)
    with Image.open(tmp_path / files(tmp_path)[0]) as sheet:
        row = np.asarray(sheet, float)[2:30]
    first, *others = (row[:, 2 + 30 * k : 30 + 30 * k] for k in range(10))
    distances = [np.abs(other - first).mean() for other in others]
    assert distances == sorted(distances) and distances[-1] > 5
