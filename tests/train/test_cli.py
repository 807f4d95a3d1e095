"""`genloom train` from end to end, on tiny recipes."""

import csv
import hashlib
import json
import os
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path

import cv2
import numpy as np
import pytest
from click.testing import CliRunner

from genloom.card import Card
from genloom.catalog import Catalog
from genloom.errors import GenloomError, MissingRequirement, OutputError, UnknownName
from genloom_train import cli
from genloom_train.cli import train
from genloom_train.recipe import read_recipe

VAE = """\
genloom: 1
recipe: vae
data: {dataset: dead-leaves, count: 3, size: 32, crop: 8}
model: {network: dense, latent: 2, widths: [8]}
train: {steps: 6, batch: 4, checkpoint_every: 2, log_every: 2, seed: 3}
export: {name: tiny, summary: A tiny model}
"""


@pytest.fixture
def recipe(tmp_path):
    path = tmp_path / "tiny.yaml"
    path.write_text(VAE)
    return path


def call(*words):
    result = CliRunner().invoke(train, [str(word) for word in words], catch_exceptions=True)
    if result.exception is not None and not isinstance(result.exception, SystemExit):
        raise result.exception
    return result


@pytest.fixture(scope="module")
def finished(tmp_path_factory):
    """What the recipe as it stands makes, once for all."""
    place = tmp_path_factory.mktemp("finished")
    (place / "tiny.yaml").write_text(VAE)
    call(place / "tiny.yaml", "-o", place / "run")
    return place / "run"


@pytest.fixture
def out(finished, tmp_path):
    """A copy of it, to go on from."""
    return Path(shutil.copytree(finished, tmp_path / "run"))


def test_a_recipe_becomes_a_bundle_whose_card_says_how(recipe, tmp_path):
    result = call(recipe, "-o", tmp_path / "run", "--device", "cpu", "--set", "model.latent=3")
    assert result.exit_code == 0 and "step 6/6" in result.output
    card = Card.read(tmp_path / "run" / "tiny")
    assert (card.family, card.latent, card.summary) == ("vae", (3,), "A tiny model")
    origin = card.origin
    assert origin.command == "genloom train tiny -o OUT --set model.latent=3"
    assert (origin.recipe, origin.steps) == ("tiny.yaml", 6)
    assert "dead-leaves" in origin.data and "torch" in origin.versions
    assert str(tmp_path) not in (tmp_path / "run" / "tiny" / "model.yaml").read_text()
    names = {"negative_elbo", "reconstruction", "kl", "negative_iwae_50"}
    measured = {f"dead-leaves/{name}" for name in names}
    assert set(card.metrics) == {*measured, "onnx_difference"}


def test_several_models_share_a_folder_and_each_keeps_its_training_beside_it(recipe, tmp_path):
    for name in ("one", "two"):
        assert (
            call(recipe, "-o", tmp_path / "models", "--set", f"export.name={name}").exit_code == 0
        )
    folders = {path.name for path in (tmp_path / "models").iterdir()}
    assert folders == {"one", "one.training", "two", "two.training"}
    samples = tmp_path / "models" / "one.training" / "samples"
    assert [path.name for path in samples.iterdir()] == ["step-00000006.png"]


def test_the_same_seed_makes_the_same_bundle_and_another_one_does_not(recipe, tmp_path, finished):
    digests = [Card.read(finished / "tiny").parts["decoder"].sha256]
    for name, seed in (("same", 3), ("other", 4)):
        call(recipe, "-o", tmp_path / name, "--seed", seed)
        digests.append(Card.read(tmp_path / name / "tiny").parts["decoder"].sha256)
    assert digests[0] == digests[1] != digests[2]


def test_a_folder_in_use_is_refused_without_resume(recipe, out):
    with pytest.raises(OutputError, match="--resume"):
        call(recipe, "-o", out)


def test_resume_goes_on_to_more_steps_but_not_with_another_model(recipe, out):
    result = call(recipe, "-o", out, "--resume", "--set", "train.steps=8")
    assert "going on from step 6" in result.output and "step 8/8" in result.output
    assert Card.read(out / "tiny").origin.steps == 8
    with pytest.raises(OutputError, match=r"another model\.latent"):
        call(recipe, "-o", out, "--resume", "--set", "model.latent=5")


def test_the_card_says_in_which_parts_a_training_was_made_where_its_steps_changed(recipe, out):
    call(recipe, "-o", out, "--resume")
    assert Card.read(out / "tiny").origin.parts == ()
    more = ("--set", "train.steps=8")
    call(recipe, "-o", out, "--resume", *more)
    for words in (more, more, ("--set", "train.steps=9")):
        call(recipe, "-o", out, "--resume", *words)
    origin = Card.read(out / "tiny").origin
    assert origin.parts == ("to step 6 of 6", "to step 8 of 8", "to step 9 of 9")
    assert origin.command == "genloom train tiny -o OUT --resume --set train.steps=9"


def test_a_resume_to_fewer_steps_than_are_done_is_refused(recipe, out):
    before = (out / "tiny" / "model.yaml").read_bytes()
    for less in ("train.steps=5", "train.steps=1"):
        with pytest.raises(GenloomError, match=r"at least 6.*got [15]\. --set train\.steps=6"):
            call(recipe, "-o", out, "--resume", "--set", less)
    assert (out / "tiny" / "model.yaml").read_bytes() == before


def test_resume_of_a_finished_training_only_exports(recipe, out):
    before = Card.read(out / "tiny")
    result = call(recipe, "-o", out, "--resume")
    assert "step 6/6" not in result.output
    assert Card.read(out / "tiny").parts == before.parts
    assert Card.read(out / "tiny").metrics == before.metrics


def test_resume_of_nothing_begins_and_says_so(recipe, tmp_path):
    said = call(recipe, "-o", tmp_path / "run", "--resume").output
    assert "tiny.training: beginning" in said.replace("\n", "") and "step 6/6" in said
    words = ("--resume", "--set", "export.name=other")
    said = call(recipe, "-o", tmp_path / "run", *words).output
    assert "other.training: beginning" in said.replace("\n", "")
    assert ": beginning" not in call(recipe, "-o", tmp_path / "run", *words).output


def test_a_device_that_is_not_there_is_an_error(recipe, tmp_path, monkeypatch):
    monkeypatch.setattr("torch.cuda.is_available", lambda: False)
    with pytest.raises(MissingRequirement, match="--device cpu"):
        call(recipe, "-o", tmp_path / "run", "--device", "cuda")


def test_a_missing_package_names_the_extra(recipe, tmp_path, monkeypatch):
    monkeypatch.setattr(cli, "NEEDED", ("no_such_package",))
    with pytest.raises(MissingRequirement, match=r"genloom\[train\]"):
        call(recipe, "-o", tmp_path / "run")


def test_missing_data_is_an_error_before_anything_is_trained(recipe, tmp_path):
    recipe.write_text(VAE.replace("dead-leaves, count: 3, size: 32, crop: 8", "folder"))
    with pytest.raises(GenloomError, match="--data FOLDER"):
        call(recipe, "-o", tmp_path / "run", "--data", tmp_path / "nowhere")
    assert not (tmp_path / "run").exists()


def test_help_needs_no_torch():
    code = "import sys; from genloom_train.cli import train; sys.exit('torch' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code]).returncode == 0


def test_ctrl_c_finishes_the_step_saves_and_exits_130(recipe, tmp_path):
    out = tmp_path / "run"
    recipe.write_text(
        VAE.replace("steps: 6", "steps: 1000000").replace("log_every: 2", "log_every: 1")
    )
    code = "from genloom_train.cli import train; train()"
    words = [sys.executable, "-c", code, str(recipe), "-o", str(out), "--threads", "1"]
    process = subprocess.Popen(words, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
    try:
        while "step 3/" not in process.stdout.readline():
            assert process.poll() is None
        os.kill(process.pid, signal.SIGINT)
        _, errors = process.communicate(timeout=60)
    finally:
        process.kill()
    assert process.returncode == 130, errors
    assert "Go on with --resume" in errors
    states = sorted((out / "tiny.training" / "checkpoints").glob("step-*/state.json"))
    step = json.loads(states[-1].read_text())["step"]
    assert f"after step {step}." in errors
    assert not list(out.rglob("*.tmp")) and not (out / "tiny").exists()


def test_a_killed_training_resumes_to_the_same_bundle(recipe, tmp_path):
    recipe.write_text(
        VAE.replace("steps: 6", "steps: 400").replace("checkpoint_every: 2", "checkpoint_every: 40")
    )
    call(recipe, "-o", tmp_path / "straight", "--threads", "1")
    code = "from genloom_train.cli import train; train()"
    words = [sys.executable, "-c", code, recipe, "-o", tmp_path / "killed", "--threads", "1"]
    process = subprocess.Popen(words, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    folder = tmp_path / "killed" / "tiny.training" / "checkpoints"
    while process.poll() is None and not any(folder.glob("step-*/state.json")):
        time.sleep(0.01)
    process.kill()
    process.wait()
    call(recipe, "-o", tmp_path / "killed", "--threads", "1", "--resume")
    one, two = (Card.read(tmp_path / name / "tiny") for name in ("straight", "killed"))
    assert one.parts == two.parts


def test_the_best_weights_are_exported_and_the_card_says_of_which_step(recipe, tmp_path):
    best = "keep: best, watch: kl, better: higher, validate_every: 1, learning_rate: 3"
    recipe.write_text(VAE.replace("steps: 6", f"steps: 6, {best}"))
    result = call(recipe, "-o", tmp_path / "run", "--device", "cpu")
    assert "watching 'kl': higher is better" in result.output
    card, state = Card.read(tmp_path / "run" / "tiny"), tmp_path / "run" / "tiny.training"
    with (state / "metrics.csv").open(newline="") as file:
        rows = [row for row in csv.DictReader(file) if row["split"] == "held-out"]
    values = {int(row["step"]): float(row["value"]) for row in rows if row["name"] == "kl"}
    assert card.origin.steps == max(values, key=values.get) != 6
    assert card.metrics["dead-leaves/kl"] == pytest.approx(max(values.values()))
    call(recipe, "-o", tmp_path / "run", "--resume")
    assert Card.read(tmp_path / "run" / "tiny").parts == card.parts


def test_a_figure_that_is_not_there_is_an_error_before_anything_is_trained(recipe, tmp_path):
    words = ("--set", "train.watch=negative_elb", "--set", "train.patience=1")
    with pytest.raises(UnknownName, match=r"train\.watch.*Did you mean 'negative_elbo'"):
        call(recipe, "-o", tmp_path / "run", *words)
    assert not (tmp_path / "run" / "tiny.training" / "checkpoints").exists()


def test_progress_is_plain_lines_where_there_is_no_terminal(recipe, tmp_path):
    result = call(recipe, "-o", tmp_path / "run", "--device", "cpu")
    lines = result.output.splitlines()
    assert [line.split(";")[0] for line in lines if line.startswith("step")] == [
        "step 2/6", "step 4/6", "step 6/6",
    ]  # fmt: skip
    assert not {"\r", "\x1b", "━"} & set(result.output) and all(lines)


def test_a_disk_that_fills_while_metrics_are_written_is_said(recipe, tmp_path, monkeypatch):
    def full(*_):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr("genloom_train.metrics.Metrics.write", full)
    with pytest.raises(OutputError, match=r"No space left.*no checkpoint yet"):
        call(recipe, "-o", tmp_path / "run")


def test_a_disk_that_fills_at_the_export_is_said_and_the_training_is_kept(
    recipe, tmp_path, monkeypatch
):
    def full(*_):
        raise OSError(28, "No space left on device")

    with monkeypatch.context() as context:
        context.setattr("genloom_train.hall.export", full)
        with pytest.raises(OutputError, match=r"bundle cannot be written.*No space.*--resume"):
            call(recipe, "-o", tmp_path / "run")
    assert call(recipe, "-o", tmp_path / "run", "--resume").exit_code == 0


def test_what_was_skipped_is_written_down_and_the_first_of_it_shown(recipe, tmp_path):
    data = tmp_path / "data"
    data.mkdir()
    for number in range(4):
        cv2.imwrite(str(data / f"{number}.png"), np.full((16, 16, 3), 40 * number, np.uint8))
    for number in range(12):
        (data / f"broken-{number:02d}.png").write_bytes(b"no picture")
    recipe.write_text(VAE.replace("dead-leaves, count: 3, size: 32, crop: 8", "folder, size: 8"))
    result = call(recipe, "-o", tmp_path / "run", "--data", data)
    assert result.output.count("not a readable picture") == 10 and "and 2 more" in result.output
    notes = (tmp_path / "run" / "tiny.training" / "notes.txt").read_text().splitlines()
    assert len(notes) == 12 and notes[-1] == "broken-11.png: not a readable picture, skipped"


def test_a_training_begun_before_an_option_existed_goes_on(recipe, out):
    settings = out / "tiny.training" / "recipe.json"
    said = json.loads(settings.read_text())
    del said["train"]["keep"], said["train"]["watch"]
    settings.write_text(json.dumps(said))
    assert "going on from step 6" in call(recipe, "-o", out, "--resume").output
    with pytest.raises(OutputError, match=r"another train\.clip"):
        call(recipe, "-o", out, "--resume", "--set", "train.clip=1")


@pytest.mark.parametrize("text", ["", '{"recipe": "va', "[]", b"\xff"])
def test_a_damaged_recipe_json_is_named_and_the_checkpoints_stay(text, recipe, out):
    settings = out / "tiny.training" / "recipe.json"
    whole = settings.read_bytes()
    settings.write_bytes(text if isinstance(text, bytes) else text.encode())
    with pytest.raises(OutputError, match=r"recipe\.json: .*cannot be read"):
        call(recipe, "-o", out, "--resume")
    settings.write_bytes(whole)
    assert "going on from step 6" in call(recipe, "-o", out, "--resume").output


@pytest.mark.parametrize("resume", [[], ["--resume"]])
def test_checkpoints_without_a_recipe_json_are_not_overrun(resume, recipe, out):
    state = out / "tiny.training"
    (state / "recipe.json").unlink()
    shutil.rmtree(out / "tiny")
    before = sorted(state.rglob("*"))
    with pytest.raises(OutputError, match=r"there are checkpoints, and no recipe\.json"):
        call(recipe, "-o", out, *resume)
    assert sorted(state.rglob("*")) == before


def test_a_disk_that_fills_leaves_the_recipe_json_before(recipe, out, monkeypatch):
    settings = out / "tiny.training" / "recipe.json"
    before, write_text = settings.read_bytes(), Path.write_text

    def full(path, text, **options):
        write_text(path, text[:9], **options)
        raise OSError(28, "No space left on device")

    with monkeypatch.context() as patch:
        patch.setattr(Path, "write_text", full)
        with pytest.raises(OutputError, match="No space left"):
            call(recipe, "-o", out, "--resume", "--set", "train.steps=8")
    assert settings.read_bytes() == before and not list(out.rglob(".*.tmp"))
    assert "step 8/8" in call(recipe, "-o", out, "--resume", "--set", "train.steps=8").output


def test_a_resume_leaves_a_recipe_json_alone_that_says_the_same(recipe, out):
    settings = out / "tiny.training" / "recipe.json"
    before = settings.stat()
    call(recipe, "-o", out, "--resume")
    after = settings.stat()
    assert (after.st_ino, after.st_mtime_ns) == (before.st_ino, before.st_mtime_ns)


def test_a_folder_that_no_training_made_is_left_alone(recipe, tmp_path):
    work = tmp_path / "home" / "tiny" / "thesis.txt"
    work.parent.mkdir(parents=True)
    work.write_text("years")
    with pytest.raises(OutputError, match="did not make stands where its bundle would go"):
        call(recipe, "-o", tmp_path / "home")
    assert work.read_text() == "years"


def test_a_bundle_is_not_named_like_the_folder_of_a_training(recipe, tmp_path):
    with pytest.raises(GenloomError, match=r"not ending in \.training"):
        call(recipe, "-o", tmp_path, "--set", "export.name=tiny.training")


def test_a_training_that_came_apart_at_once_can_be_begun_again(recipe, tmp_path):
    text = VAE.replace("recipe: vae", "recipe: denoiser")
    recipe.write_text(
        text.replace("{network: dense, latent: 2, widths: [8]}", "{widths: [8, 8], blocks: 1}")
    )
    wild = ("train.learning_rate=10", "train.steps=400", "train.checkpoint_every=1000")
    with pytest.raises(GenloomError, match="came apart") as caught:
        call(recipe, "-o", tmp_path / "run", *(w for one in wild for w in ("--set", one)))
    assert "is whole" not in str(caught.value)
    assert call(recipe, "-o", tmp_path / "run").exit_code == 0


def test_a_training_is_not_gone_on_with_on_other_data(tmp_path):
    from PIL import Image

    for name, shade in (("dark", 40), ("light", 200)):
        (tmp_path / name).mkdir()
        for index in range(4):
            Image.new("RGB", (16, 16), (shade, index, 0)).save(tmp_path / name / f"{index}.png")
    recipe = tmp_path / "tiny.yaml"
    recipe.write_text(VAE.replace("dataset: dead-leaves, count: 3, size: 32", "dataset: folder"))
    assert call(recipe, "-o", tmp_path / "run", "--data", tmp_path / "dark").exit_code == 0
    again = ("-o", tmp_path / "run", "--resume", "--set", "train.steps=8")
    with pytest.raises(OutputError, match="begun with other data"):
        call(recipe, *again, "--data", tmp_path / "light")
    assert call(recipe, *again, "--data", tmp_path / "dark").exit_code == 0


STYLIZER = """\
genloom: 1
recipe: stylizer
data: {dataset: dead-leaves, count: 3, size: 64, crop: 24}
model: {style: style.png, width: 4, blocks: 1, period: 16, discriminator_width: 4, grain: 4}
train: {steps: 2, batch: 2, seed: 3}
export: {name: tiny}
"""


def test_a_training_is_not_gone_on_with_when_a_file_that_it_names_holds_something_else(tmp_path):
    recipe, style = tmp_path / "tiny.yaml", tmp_path / "style.png"
    recipe.write_text(STYLIZER)
    picture = np.random.default_rng(0).integers(0, 256, (48, 64, 3), np.uint8)
    cv2.imwrite(str(style), picture)
    first = style.read_bytes()
    assert call(recipe, "-o", tmp_path / "run").exit_code == 0
    digest = hashlib.sha256(first).hexdigest()
    assert Card.read(tmp_path / "run" / "tiny").origin.files == {"model.style": digest}
    again = (recipe, "-o", tmp_path / "run", "--resume", "--set", "train.steps=3")
    cv2.imwrite(str(style), 255 - picture)
    with pytest.raises(OutputError, match=r"the file at 'model\.style' is not the one"):
        call(*again)
    style.write_bytes(first)
    assert call(*again).exit_code == 0
    settings = tmp_path / "run" / "tiny.training" / "recipe.json"
    older = json.loads(settings.read_text())
    del older["files"]
    settings.write_text(json.dumps(older))
    assert call(*again[:-1], "train.steps=4").exit_code == 0


def test_a_folder_that_a_recipe_names_is_known_by_its_files(tmp_path):
    recipe = tmp_path / "any.yaml"
    model = "{styles: styles, width: 4}"
    text = STYLIZER.replace("recipe: stylizer", "recipe: adain")
    line = next(line for line in text.splitlines() if line.startswith("model:"))
    recipe.write_text(text.replace(line, f"model: {model}"))
    (tmp_path / "styles" / "deep").mkdir(parents=True)
    (tmp_path / "styles" / "deep" / "a.png").write_bytes(b"one")

    def digest():
        return read_recipe(recipe, Catalog.load()).files["model.styles"]

    first = digest()
    assert digest() == first
    (tmp_path / "styles" / "deep" / "a.png").write_bytes(b"two")
    second = digest()
    (tmp_path / "styles" / "b.png").write_bytes(b"one")
    assert len({first, second, digest()}) == 3


def test_crops_that_do_not_fit_the_network_are_refused_before_training(tmp_path):
    recipe = tmp_path / "den.yaml"
    text = VAE.replace("recipe: vae", "recipe: denoiser").replace("crop: 8", "crop: 10")
    recipe.write_text(
        text.replace("{network: dense, latent: 2, widths: [8]}", "{widths: [4, 4], blocks: 1}")
    )
    with pytest.raises(GenloomError, match="multiples of 4, at least 4, got 10×10"):
        call(recipe, "-o", tmp_path / "run")
