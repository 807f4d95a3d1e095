"""`genloom eval` from end to end, on models and a judge whose figures can be worked out."""

import json
import shutil
from pathlib import Path

import judged
import numpy as np
import pytest
from click.testing import CliRunner

from genloom.card import Card
from genloom.catalog import Catalog
from genloom.errors import GenloomError, MissingRequirement, ModelError, OutputError, UnknownName
from genloom.models import Bundle
from genloom_train import cli as train_cli
from genloom_train import weights
from genloom_train.evaluation import inception
from genloom_train.evaluation.cli import evaluate
from genloom_train.evaluation.figures import Figure, Figures, write_on_card


@pytest.fixture
def place(empty_place, tiny_bundles, onnx_bytes, catalog, monkeypatch):
    """A working folder whose models/ holds tiny models and their judge; the catalog knows data."""
    for name in ("tiny-vae", "tiny-cvae", "tiny-image"):
        shutil.copytree(tiny_bundles / name, Path("models") / name)
    judged.write_judge(onnx_bytes, Path("models") / "tiny-judge")
    judged.write_linear_gaussian(onnx_bytes, Path("models") / "linear", 0.2)
    assert catalog.register(judged.Plugin(), "quadrants").error == ""
    monkeypatch.setattr(Catalog, "load", classmethod(lambda cls: catalog))
    return empty_place


def call(*words):
    arguments = [str(word) for word in words]
    result = CliRunner().invoke(evaluate, [*arguments, "--dataset", "quadrants", "--threads", "1"])
    if result.exception is not None and not isinstance(result.exception, SystemExit):
        raise result.exception
    return result


def figures(*words):
    result = call(*words, "--json")
    assert result.exit_code == 0, result.output
    return json.loads(result.stdout)


def test_a_variational_model_is_measured_whole(place):
    found = figures("linear", "--draws", 8)
    names = ["psnr", "ssim", "negative_elbo", "reconstruction", "kl", "negative_iwae_8"]
    names += ["fid_judge", "kid_judge", "precision_judge", "recall_judge"]
    names += ["confident", "class_coverage", "class_share_min", "class_share_max"]
    assert list(found["figures"]) == names
    assert (found["pictures"], found["samples"], found["seed"]) == (60, 30, 0)
    assert found["judge"]["name"] == "tiny-judge" and found["judge"]["accuracy"] == 1
    assert found["model"] == "linear" and found["notes"] == []
    # Its reconstructions shrink each quadrant by 16/(16 + σ²): nearly what they were.
    assert found["figures"]["psnr"]["value"] > 50 > found["figures"]["psnr"]["floor"]


def test_real_against_real_is_what_stands_beside_a_figure(place):
    found = figures("linear")["figures"]
    assert found["fid_judge"]["floor"] < 0.2 < found["fid_judge"]["value"]
    assert found["precision_judge"]["floor"] > 0.6
    assert found["confident"]["floor"] == 1
    assert found["class_coverage"]["floor"] == 1
    assert found["class_share_min"]["floor"] == pytest.approx(1 / 3, abs=0.15)
    assert (found["fid_judge"]["better"], found["recall_judge"]["better"]) == ("lower", "higher")


def test_the_seed_decides_everything(place):
    words = ("linear", "--draws", 3, "--count", 40)
    one, same, other = figures(*words), figures(*words), figures(*words, "--seed", 5)
    assert one == same
    for name in ("psnr", "negative_iwae_3", "fid_judge"):
        assert one["figures"][name] != other["figures"][name]


def test_a_conditional_model_is_asked_for_the_classes_of_real_pictures(place):
    found = figures("tiny-cvae", "--only", "samples")
    assert found["figures"]["label_accuracy"]["floor"] == 1
    assert 0.4 < found["figures"]["label_accuracy"]["value"] < 1
    assert found["classes"]["real"].keys() == found["classes"]["samples"].keys() == {
        "boot", "shirt", "bag"
    }  # fmt: skip
    assert sum(found["classes"]["samples"].values()) == pytest.approx(1, abs=1e-5)


def test_a_model_whose_card_states_no_likelihood_gets_no_bounds(place):
    assert "negative_elbo" not in figures("tiny-vae")["figures"]
    with pytest.raises(ModelError, match=r"likelihood.*a likelihood on its card.*samples"):
        call("tiny-vae", "--only", "likelihood")


def test_only_what_is_asked_for_is_measured(place):
    assert list(figures("linear", "--only", "reconstruction")["figures"]) == ["psnr", "ssim"]


def test_reconstruction_needs_no_judge(place):
    shutil.rmtree("models/tiny-judge")
    found = figures("linear", "--only", "reconstruction", "--only", "likelihood")
    assert "judge" not in found and "psnr" in found["figures"]


def test_without_a_judge_distances_are_in_the_features_of_a_random_network(place):
    shutil.rmtree("models/tiny-judge")
    found = figures("linear", "--draws", 8)
    names = ["psnr", "ssim", "negative_elbo", "reconstruction", "kl", "negative_iwae_8"]
    names += ["fid_random", "kid_random", "precision_random", "recall_random"]
    assert list(found["figures"]) == names
    assert "no judge knows this data" in found["notes"][0] and "random network" in found["notes"][1]
    assert any("says little" in note for note in found["notes"])
    assert found["figures"] == figures("linear", "--draws", 8)["figures"]


def test_random_features_tell_other_pictures_from_real_ones(place):
    found = figures("linear", "--only", "samples", "--features", "random")["figures"]
    assert found["fid_random"]["value"] > 2 * found["fid_random"]["floor"]
    assert "confident" in found  # a judge that is at hand looks at the classes all the same


def test_data_without_labels_has_no_judge_unless_one_is_named(place):
    found = figures("linear", "--set", "labelled=false")
    assert "judge" not in found and "fid_random" in found["figures"]
    found = figures("linear", "--set", "labelled=false", "--judge", "tiny-judge")
    assert found["judge"]["accuracy"] is None
    assert "fid_judge" in found["figures"]


def test_a_judge_of_other_classes_is_not_taken_but_may_be_named(place, onnx_bytes):
    shutil.rmtree("models/tiny-judge")
    judged.write_judge(onnx_bytes, Path("models/other"), ("one", "two", "three"))
    assert "judge" not in figures("tiny-cvae", "--only", "samples")
    found = figures("tiny-cvae", "--only", "samples", "--judge", "other")
    assert "label_accuracy" not in found["figures"]
    assert "does not know the model's classes" in found["notes"][0]


def test_what_cannot_judge_is_refused(place):
    with pytest.raises(ModelError, match=r"'tiny-vae' cannot judge.*'classifier'"):
        call("linear", "--judge", "tiny-vae")


def test_a_model_with_nothing_to_measure_is_refused(place):
    with pytest.raises(ModelError, match=r"'tiny-judge' cannot be measured.*the parts classifier"):
        call("tiny-judge")


def test_unknown_names_are_errors_with_the_nearest_right_one(place):
    with pytest.raises(UnknownName, match="'linear'"):
        call("linar")
    with pytest.raises(UnknownName, match="Did you mean 'size'"):
        call("linear", "--set", "siez=3")
    with pytest.raises(GenloomError, match="'size' is not right; expected a whole number"):
        call("linear", "--set", "size=much")
    with pytest.raises(GenloomError, match="OPTION=VALUE"):
        call("linear", "--set", "size")
    with pytest.raises(UnknownName, match="unknown dataset"):
        CliRunner().invoke(evaluate, ["linear", "--dataset", "quadrant"], catch_exceptions=False)


def test_too_few_pictures_are_an_error(place):
    with pytest.raises(GenloomError, match="too few held-out pictures"):
        call("linear", "--only", "samples", "--count", 10)
    found = figures("linear", "--count", 10, "--draws", 2)
    assert "psnr" in found["figures"] and "fid_judge" not in found["figures"]
    assert "samples are not measured" in found["notes"][0]
    with pytest.raises(GenloomError, match=r"too few held-out pictures.*expected 2 or more, got 1"):
        call("linear", "--set", "size=1")


def test_figures_are_written_as_json_and_as_a_table(place):
    result = call("linear", "--only", "reconstruction", "-o", "figures.json")
    written = json.loads(Path("figures.json").read_text())
    assert written == figures("linear", "--only", "reconstruction")
    row = next(line for line in result.stdout.splitlines() if line.startswith("psnr"))
    assert row.endswith("higher is better") and len(row.split()) == 6
    assert "real against real" in result.stdout


def test_a_file_in_a_folder_that_is_not_there_is_refused_before_the_work(place):
    with pytest.raises(OutputError, match="not there"):
        call("no-such-model", "-o", "nowhere/figures.json")


def test_figures_go_onto_the_card_and_leave_the_rest_of_it_alone(place):
    folder = Path("models/linear")
    card = Card.read(folder)
    kept = {"quadrants/loss": 1.5, "other/psnr": 3.0, "quadrants/psnr": 0.0}
    card.model_copy(update={"metrics": kept}).write(folder)
    before = Bundle.open(folder)
    call("linear", "--card")
    after = Bundle.open(folder)
    metrics = dict(after.card.metrics)
    assert (metrics["quadrants/loss"], metrics["other/psnr"]) == (1.5, 3.0)
    assert metrics["quadrants/psnr"] > 50
    assert metrics["quadrants/fid_judge_floor"] < metrics["quadrants/fid_judge"]
    assert before.digest == after.digest
    assert before.card.model_copy(update={"metrics": {}}) == after.card.model_copy(
        update={"metrics": {}}
    )
    assert not [path for path in folder.iterdir() if path.name.startswith(".")]


def test_a_card_that_cannot_be_written_is_an_error(place, monkeypatch):
    def full(*_):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr("os.replace", full)
    before = Path("models/linear/model.yaml").read_bytes()
    with pytest.raises(OutputError, match="No space left"):
        write_on_card(Path("models/linear"), {"a/b": 1.0})
    assert Path("models/linear/model.yaml").read_bytes() == before


def test_inception_without_its_weights_says_where_to_put_them(place, monkeypatch, tmp_path):
    monkeypatch.setenv("TORCH_HOME", str(tmp_path))
    with pytest.raises(MissingRequirement, match=r"weights-inception.*--features judge"):
        call("linear", "--features", "inception")


def test_weights_that_hold_more_than_tensors_are_refused(monkeypatch, tmp_path):
    import pickle

    monkeypatch.setenv("TORCH_HOME", str(tmp_path))
    weights.place(inception.FILE).parent.mkdir(parents=True)
    weights.place(inception.FILE).write_bytes(pickle.dumps(Figure("psnr", 1.0)))
    with pytest.raises(GenloomError, match="cannot be used"):
        inception.open_inception()


def test_inception_sees_bytes_in_three_channels_and_needs_no_judge(place, monkeypatch):
    import torch

    given = []

    def network(image):
        given.append(image)
        return (image.float().flatten(1)[:, :4],)

    monkeypatch.setattr("genloom_train.evaluation.evaluate.open_inception", lambda: network)
    shutil.rmtree("models/tiny-judge")
    found = figures("linear", "--only", "samples", "--features", "inception")
    assert set(found["figures"]) == {
        f"{name}_inception" for name in ("fid", "kid", "precision", "recall")
    }
    assert "classes are not looked at" in found["notes"][0]
    assert all(image.dtype == torch.uint8 and image.shape[1] == 3 for image in given)
    np.testing.assert_array_equal(given[0][:, 0], given[0][:, 2])


def test_a_missing_package_names_the_extra(place, monkeypatch):
    found = train_cli.importlib.util.find_spec
    monkeypatch.setattr(
        train_cli.importlib.util,
        "find_spec",
        lambda name, *rest: None if name == "torchmetrics" else found(name, *rest),
    )
    with pytest.raises(MissingRequirement, match=r"measuring needs.*genloom\[train\]"):
        call("linear")


def test_numbers_in_a_table_are_short():
    rows = [Figure("psnr", 21.34567), Figure("kl_x", 123456.7), Figure("fid_y", 0.000123456, 2.0)]
    table = Figures(about={}, figures=tuple(rows), notes=("a note",)).table().splitlines()
    assert [line.split()[1] for line in table[1:4]] == ["21.35", "123457", "0.0001235"]
    assert table[4] == "note: a note"
