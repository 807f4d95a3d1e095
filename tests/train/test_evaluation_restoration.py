"""`genloom eval` of networks that restore pictures, from end to end."""

import hashlib
import json
import shutil
from pathlib import Path

import numpy as np
import pytest
from click.testing import CliRunner
from PIL import Image

from genloom import demo
from genloom.card import Card, Part, Port, SizeRule
from genloom.catalog import Catalog
from genloom.errors import GenloomError, ModelError
from genloom_train.evaluation import classical, restoration, sheets
from genloom_train.evaluation.cli import evaluate, latents
from genloom_train.evaluation.photographs import Photographs, Wanted
from genloom_train.evaluation.restored import Restored, Row
from genloom_train.evaluation.spoiling import conditions

SIZE = 48


def write_network(onnx_bytes, name, nodes, *, channels=3, scale=1, constants=(), **others):
    picture = Port(axes=("batch", channels, "height", "width"))
    result = Port(axes=("batch", channels, "rows", "columns"))
    inputs, outputs = {"image": picture, **others}, {"result": result}
    data = onnx_bytes(nodes, inputs, outputs, dict(constants))
    folder = Path("models") / name
    folder.mkdir(parents=True)
    (folder / "network.onnx").write_bytes(data)
    digest = hashlib.sha256(data).hexdigest()
    part = Part(file="network.onnx", sha256=digest, opset=18, inputs=inputs, outputs=outputs)
    Card(
        name=name, family="image-to-image", channels=channels, scale=scale, receptive_field=1,
        size=SizeRule(), parts={"network": part},
    ).write(folder)  # fmt: skip


@pytest.fixture
def place(empty_place, tiny_bundles, onnx_bytes, catalog, monkeypatch):
    """A folder with models/ and photos/: a blur that is told a level, one ×2, one grey."""
    shutil.copytree(tiny_bundles / "tiny-image", "models/tiny-image")
    shutil.copytree(tiny_bundles / "tiny-vae", "models/tiny-vae")
    twice = {"scales": np.array([1, 1, 2, 2], np.float32)}
    nodes = [("Resize", ["image", "", "scales"], ["result"], {"mode": "nearest"})]
    write_network(onnx_bytes, "twice", nodes, scale=2, constants=twice)
    write_network(onnx_bytes, "leave", [("Identity", ["image"], ["result"], {})], channels=1)
    picture = Port(axes=("batch", 3, "height", "width"))
    write_network(onnx_bytes, "guided", [("Add", ["image", "albedo"], ["result"], {})],
                  albedo=picture)  # fmt: skip
    random = np.random.default_rng(0)
    for number, size in enumerate([(SIZE, SIZE), (SIZE + 9, SIZE + 4)]):
        y, x = np.mgrid[: size[0], : size[1]] / 9
        values = 128 + 60 * np.sin(x + number) * np.cos(y) + random.normal(0, 4, size)
        path = Path("photos/sub" if number else "photos") / f"p{number}.png"
        path.parent.mkdir(parents=True, exist_ok=True)
        Image.fromarray(np.dstack([values, values[::-1], 255 - values]).astype(np.uint8)).save(path)
    monkeypatch.setenv("TORCH_HOME", str(empty_place))
    monkeypatch.setattr(classical, "find_spec", lambda name: None)
    monkeypatch.setattr(Catalog, "load", classmethod(lambda cls: catalog))
    return empty_place


def call(*words, data="photos"):
    given = ["--data", data] if data else []
    arguments = [str(word) for word in (*words, *given, "--threads", 1)]
    result = CliRunner().invoke(evaluate, arguments)
    if result.exception is not None and not isinstance(result.exception, SystemExit):
        raise result.exception
    return result


def figures(*words, **said):
    result = call(*words, "--json", **said)
    assert result.exit_code == 0, result.output
    return json.loads(result.stdout)


def without_times(found):
    for condition in found["conditions"].values():
        for method in condition["methods"].values():
            assert method.pop("ms") >= 0
    return found


def test_a_denoiser_is_measured_at_three_levels_beside_methods_without_a_network(place):
    found = figures("tiny-image")
    assert list(found["conditions"]) == ["sigma 15", "sigma 25", "sigma 50"]
    for condition in found["conditions"].values():
        methods = condition["methods"]
        assert list(methods) == ["noisy", "non-local means", "tiny-image", "tiny-image (auto)"]
        names = ["psnr", "psnr_y", "ssim", "gradient_distance", "ms"]
        assert all(list(one) == names for one in methods.values())
    assert (found["pictures"], found["border"], found["crop"]) == (2, 0, None)
    assert [note.split(" ")[0] for note in found["notes"]] == ["wavelet", "CBM3D", "LPIPS"]
    noisy = [c["methods"]["noisy"]["psnr"] for c in found["conditions"].values()]
    assert noisy[0] == pytest.approx(24.6, abs=0.3) and noisy[0] > noisy[1] > noisy[2]


def test_a_network_is_told_the_noise_level_and_auto_estimates_it(place, monkeypatch):
    """The tiny network takes a part of a blur that is the level it is told."""
    import genloom_denoise.stages as stages

    monkeypatch.setattr(stages, "noise_levels", lambda batch, model: np.zeros(1, np.float32))
    methods = figures("tiny-image", "--sigma", 50)["conditions"]["sigma 50"]["methods"]
    assert methods["tiny-image"]["psnr"] > methods["noisy"]["psnr"] + 1
    assert methods["tiny-image (auto)"]["psnr"] == methods["noisy"]["psnr"]


def test_a_network_that_enlarges_stands_beside_pillow_s_filters(place):
    found = figures("twice")
    assert list(found["conditions"]) == ["x2"] and found["border"] == 2
    methods = found["conditions"]["x2"]["methods"]
    assert list(methods) == ["bicubic", "Lanczos", "twice"]
    assert "checkerboard" in methods["twice"] and len(found["notes"]) == 1
    assert methods["twice"]["psnr"] < methods["bicubic"]["psnr"]
    by_hand = []
    for path in ("photos/p0.png", "photos/sub/p1.png"):
        image = np.asarray(Image.open(path))
        top, left = ((side - side // 2 * 2) // 2 for side in image.shape[:2])
        height, width = (side // 2 * 2 for side in image.shape[:2])
        truth = image[top : top + height, left : left + width]
        small = Image.fromarray(truth).resize((width // 2, height // 2), Image.BICUBIC)
        again = np.kron(np.asarray(small), np.ones((2, 2, 1), np.uint8))
        inside = (slice(2, -2),) * 2
        error = again[inside].astype(float) - truth[inside]
        by_hand.append(10 * np.log10(255**2 / (error**2).mean()))
    assert methods["twice"]["psnr"] == pytest.approx(np.mean(by_hand), abs=1e-3)


def test_a_grey_network_sees_grey_pictures(place):
    methods = figures("leave", "--sigma", 15)["conditions"]["sigma 15"]["methods"]
    assert "psnr_y" not in methods["leave"]
    # It has no port for a level and gives back what it gets.
    assert list(methods) == ["noisy", "non-local means", "leave"]
    assert methods["leave"]["psnr"] == methods["noisy"]["psnr"]


def test_the_seed_and_the_name_of_a_picture_decide_the_noise(place):
    words = ("leave", "--sigma", 25)
    one = without_times(figures(*words))
    assert one == without_times(figures(*words))
    other = without_times(figures(*words, "--seed", 4))
    assert one["conditions"] != other["conditions"]
    Path("photos/sub/p1.png").unlink()
    shutil.copy("photos/p0.png", "photos/same.png")
    both = without_times(figures(*words))["conditions"]["sigma 25"]["methods"]["noisy"]["psnr"]
    Path("photos/same.png").unlink()
    alone = without_times(figures(*words))["conditions"]["sigma 25"]["methods"]["noisy"]["psnr"]
    assert both != alone


@pytest.mark.parametrize(
    ("words", "names"),
    [
        (["tiny-image", "--degradation", "photographic", "--sigma", 20], ["photographic 20"]),
        (["leave", "--degradation", "jpeg", "--quality", 10, "--quality", 30],
         ["jpeg 10", "jpeg 30"]),
        (["twice", "--degradation", "blind", "--border", 0], ["x2 blind"]),
    ],
)  # fmt: skip
def test_other_degradations(place, words, names):
    found = figures(*words)
    assert list(found["conditions"]) == names
    psnr = [next(iter(c["methods"].values()))["psnr"] for c in found["conditions"].values()]
    assert all(10 < value < 45 for value in psnr)


def test_only_the_middle_is_looked_at_with_crop(place):
    picture = np.zeros((SIZE, SIZE), np.uint8)
    picture[8:40, 8:40] = 100
    folder = Path("other")
    folder.mkdir()
    Image.fromarray(picture).save(folder / "a.png")
    found = figures("leave", "--sigma", 10, "--crop", 32, data="other")
    noisy = found["conditions"]["sigma 10"]["methods"]["noisy"]
    assert noisy["psnr"] == pytest.approx(28.13, abs=0.3)  # nothing is clipped at black


def test_what_cannot_be_read_or_is_too_small_is_left_out_and_named(place):
    Path("photos/broken.jpg").write_bytes(b"none")
    Image.fromarray(np.zeros((1, 50, 3), np.uint8)).save("photos/thin.png")
    found = figures("twice")
    assert found["pictures"] == 2
    assert "broken.jpg is left out: not a readable picture" in found["notes"]
    assert "thin.png is left out: it is too small, 50×0; at least 12×12" in found["notes"]


def test_what_is_too_small_for_the_border_is_left_out_and_the_others_are_measured(place):
    Image.fromarray(np.zeros((20, 50, 3), np.uint8)).save("photos/a-low.png")
    found = figures("tiny-image", "--sigma", 15, "--border", 8)
    assert found["pictures"] == 2
    assert "a-low.png is left out: it is too small, 50×20; at least 24×24" in found["notes"]
    with pytest.raises(GenloomError, match=r"no picture can be used.*at least 68×68"):
        call("tiny-image", "--border", 30)


def test_a_folder_without_usable_pictures_is_an_error(place):
    Path("empty").mkdir()
    with pytest.raises(GenloomError, match="holds no pictures"):
        call("twice", data="empty")
    Path("empty/a.png").write_bytes(b"none")
    with pytest.raises(GenloomError, match=r"no picture can be used.*a\.png"):
        call("twice", data="empty")
    with pytest.raises(GenloomError, match="folder of pictures is not there"):
        call("twice", data="nowhere")
    with pytest.raises(GenloomError, match="options are for data sets"):
        call("twice", "--set", "size=3")


def test_the_demo_s_photographs_are_taken_unless_said(place, catalog):
    found = Photographs(Wanted(crop=16, count=2), catalog)
    assert found.name == "photographs" == demo.PHOTOGRAPHS.name
    pictures = list(found)
    assert len(pictures) == 2 and all(one.pixels.shape == (16, 16, 3) for one in pictures)


def test_of_a_data_set_only_the_held_out_pictures_are_taken(place, catalog):
    shutil.copytree("photos", "photos/more")
    words = ("--dataset", "folder", "--set", "crop=32", "--set", "held_out=0.25")
    found = figures("leave", "--sigma", 15, *words)
    assert found["pictures"] == 1 and "held out" in found["data"]


def test_figures_go_onto_the_card_under_the_name_of_the_folder(place):
    call("tiny-image", "--sigma", 25, "--card")
    metrics = Card.read(Path("models/tiny-image")).metrics
    kinds = ("psnr", "psnr_y", "ssim", "gradient_distance")
    assert set(metrics) == {f"photos/{kind}{way}_25" for kind in kinds for way in ("", "_auto")}
    call("twice", "--card")
    assert "photos/psnr" in Card.read(Path("models/twice")).metrics


def test_figures_of_an_ensemble_say_so(place):
    result = call("tiny-image", "--sigma", 25, "--ensemble", 4, "--card")
    assert result.stdout.splitlines()[0].endswith("border 0 cut off, ensemble of 4")
    metrics = Card.read(Path("models/tiny-image")).metrics
    assert "photos/psnr_ensemble4_25" in metrics and "photos/psnr_auto_ensemble4_25" in metrics


def test_figures_are_written_as_json_and_as_a_table(place):
    result = call("twice", "-o", "figures.json")
    written = without_times(json.loads(Path("figures.json").read_text()))
    assert written == without_times(figures("twice"))
    lines = result.stdout.splitlines()
    assert lines[0] == "2 pictures of the folder 'photos', border 2 cut off"
    assert lines[2] == "reduced 2 times by Pillow's antialiased bicubic filter"
    assert "psnr ↑" in lines[3] and "gradient_distance ↓" in lines[3]
    assert lines[6].split()[0] == "twice" and len(lines[6]) == len(lines[3])
    assert lines[8].startswith("note: LPIPS is left out")


def test_sheets_show_parts_as_each_method_restores_them(place):
    call("twice", "--sheets", "out/sheets")
    paths = sorted(Path("out/sheets").iterdir())
    assert [path.name for path in paths] == ["p0-x2.png", "sub-p1-x2.png"]
    with Image.open(paths[0]) as image:
        width, height = image.size
        assert image.mode == "RGB" and width > 5 * sheets.SIDE > height / 3


def test_what_says_nothing_about_a_kind_of_model_is_refused(place):
    with pytest.raises(GenloomError, match="'--draws' says nothing about 'twice', a network that"):
        call("twice", "--draws", 3)
    with pytest.raises(GenloomError, match="'--sigma' says nothing about 'tiny-vae', a gener"):
        call("tiny-vae", "--dataset", "folder", "--sigma", 3)
    with pytest.raises(GenloomError, match="keeps the size cannot undo 'blind'"):
        call("leave", "--degradation", "blind")


def test_a_generative_model_needs_a_data_set(place):
    result = call("tiny-vae", data=None)
    assert result.exit_code == 2 and "'--dataset'" in result.output
    result = CliRunner().invoke(latents, ["tiny-vae", "-o", "a.png"])
    assert result.exit_code == 2 and "'--dataset'" in result.output


def test_a_network_that_wants_more_than_a_picture_is_refused(place):
    with pytest.raises(ModelError, match=r"'guided' needs other inputs.*albedo"):
        call("guided")


def test_lpips_stands_in_the_table_where_its_network_is(place, monkeypatch):
    monkeypatch.setattr(restoration, "open_lpips", lambda: lambda result, truth: 0.125)
    found = figures("twice")
    assert found["conditions"]["x2"]["methods"]["twice"]["lpips"] == 0.125
    assert found["notes"] == []


def test_means_are_over_pictures_and_of_the_time_the_median():
    (condition,) = conditions(None, 2)
    row = Row(condition, "a", "", [{"psnr": 1.0, "ms": 1.0}, {"psnr": 2.0, "ms": 2.0},
                                   {"psnr": 6.0, "ms": 99.0, "checkerboard": 4.0}])  # fmt: skip
    assert row.means() == {"psnr": 3.0, "ms": 2.0, "checkerboard": 4.0}
    found = Restored(about={}, rows=[row], dataset="d")
    assert found.for_card() == {"d/psnr": 3.0, "d/checkerboard": 4.0}
    assert found.row("x2", "a") is row
