"""`genloom latents`: its numbers against closed forms, its projections, and the map."""

import json
import math
import shutil
from pathlib import Path

import cv2
import judged
import numpy as np
import pytest
import torch
from click.testing import CliRunner

import genloom
from genloom.backend import Backend
from genloom.catalog import Catalog
from genloom.errors import GenloomError, ModelError, UnknownName
from genloom.types import Batch, Item
from genloom_train.evaluation import space
from genloom_train.evaluation.cli import latents
from genloom_train.evaluation.drawing import mosaic
from genloom_train.evaluation.judge import Judge
from genloom_train.evaluation.maps import project
from genloom_train.evaluation.real import Real
from genloom_train.evaluation.subject import Subject


def posterior(values, log_variance=None):
    items = [Item(key=f"{number}", name="x") for number in range(len(values))]
    values = np.asarray(values, np.float32)
    return Batch.latents(items, values, model="m", log_variance=log_variance)


def test_kl_to_normal_is_that_of_torch():
    random = np.random.default_rng(0)
    mean, factor = random.normal(size=3), random.normal(size=(3, 3))
    covariance = factor @ factor.T + np.eye(3)
    right = torch.distributions.kl_divergence(
        torch.distributions.MultivariateNormal(
            torch.from_numpy(mean), torch.from_numpy(covariance)
        ),
        torch.distributions.MultivariateNormal(torch.zeros(3).double(), torch.eye(3).double()),
    )
    assert space.kl_to_normal(mean, covariance) == pytest.approx(right.item())
    assert space.kl_to_normal(np.zeros(3), np.eye(3)) == pytest.approx(0, abs=1e-12)


def test_a_direction_that_no_code_uses_is_far_but_finite():
    assert 10 < space.kl_to_normal(np.zeros(2), np.diag([1.0, 0.0])) < 100


def test_the_aggregate_posterior_has_the_variance_of_means_and_posteriors():
    values = [[0.0, 0.0], [2.0, 0.0], [0.0, 4.0], [2.0, 4.0]]
    mean, covariance = space.aggregate(posterior(values))
    np.testing.assert_allclose(mean, [1, 2])
    np.testing.assert_allclose(covariance, np.cov(np.array(values).T))
    spread = np.log(np.tile([0.5, 3.0], (4, 1))).astype(np.float32)
    _, wider = space.aggregate(posterior(values, spread))
    np.testing.assert_allclose(wider, covariance + np.diag([0.5, 3.0]), rtol=1e-6)


def test_codes_are_drawn_from_posteriors_and_taken_as_they_are_without_variance():
    values = np.zeros((4000, 2), np.float32)
    plain = space.codes(posterior(values), 0)
    assert (plain == 0).all()
    spread = np.full_like(values, math.log(4))
    drawn = space.codes(posterior(values, spread), 0)
    assert drawn.std() == pytest.approx(2, rel=0.03)
    np.testing.assert_array_equal(drawn, space.codes(posterior(values, spread), 0))
    assert not np.array_equal(drawn, space.codes(posterior(values, spread), 1))


@pytest.mark.parametrize(("scale", "shift"), [(1, 0), (3, 0), (1, 2), (0.5, 1)])
def test_sliced_wasserstein_of_a_gaussian_is_the_closed_form(scale, shift):
    points = scale * np.random.default_rng(0).standard_normal((20_000, 4))
    points += shift * np.array([1.0, 0, 0, 0])
    right = math.sqrt((scale - 1) ** 2 + shift**2 / 4)
    assert space.sliced_wasserstein(points, 0) == pytest.approx(right, rel=0.08, abs=0.03)


def test_straight_even_walks_are_smooth_and_jumps_and_detours_are_not():
    even = np.linspace(0, 1, 5)[:, None] * np.array([3.0, 4.0])
    assert space.smoothness(even[None]) == pytest.approx((1, 1 / 4))
    jump = np.array([[0.0], [0], [0], [5], [5]])
    assert space.smoothness(jump[None]) == pytest.approx((1, 1))
    angle = np.linspace(0, math.pi, 200)
    arc = np.stack([np.cos(angle), np.sin(angle)], axis=1)
    assert space.smoothness(arc[None])[0] == pytest.approx(math.pi / 2, rel=1e-3)
    still = np.zeros((1, 5, 2))
    assert space.smoothness(np.concatenate([still, even[None]])) == pytest.approx((1, 1 / 4))
    assert space.smoothness(still) == pytest.approx((1, 1 / 4))


def test_walks_are_straight_and_between_different_pictures():
    values = np.random.default_rng(0).normal(size=(9, 2, 3)).astype(np.float32)
    paths = space.walks(posterior(values), 0)
    assert paths.shape == (4, space.STEPS + 1, 2, 3)
    first, second = space.pair_indices(9, 0)
    assert not set(first) & set(second)
    np.testing.assert_array_equal(paths[:, 0], values[first])
    np.testing.assert_allclose(paths[:, -1], values[second], rtol=1e-6)
    np.testing.assert_allclose(paths[:, 8], (values[first] + values[second]) / 2, atol=1e-6)


def test_two_dimensions_come_onto_paper_as_they_are():
    values = np.array([[1.0, 2.0], [3.0, -4.0]])
    points, centre, axes = project(values, "plane", 0)
    np.testing.assert_array_equal(points, values)
    assert (centre, axes) == ((0, 0), ("$z_1$", "$z_2$"))
    alone, _, _ = project(np.array([[1.0], [5.0]]), "auto", 0)
    np.testing.assert_array_equal(alone, [[1, 0], [5, 0]])


def test_pca_keeps_distances_within_a_plane_and_says_where_the_origin_is():
    random = np.random.default_rng(0)
    flat = random.normal(size=(50, 2)) * [3, 1]
    basis, shift = np.linalg.qr(random.normal(size=(5, 5)))[0][:2], np.array([2, 0])
    points, centre, axes = project((flat + shift) @ basis, "auto", 0)
    apart = np.linalg.norm(points[:, None] - points[None], axis=2)
    np.testing.assert_allclose(apart, np.linalg.norm(flat[:, None] - flat[None], axis=2), atol=1e-4)
    distance = np.linalg.norm(points - np.array(centre), axis=1)
    np.testing.assert_allclose(distance, np.linalg.norm(flat + shift, axis=1), atol=1e-4)
    shares = flat.var(axis=0) / flat.var(axis=0).sum()
    assert axes[0].startswith(f"PCA 1 ({100 * shares[0]:.0f}"[:-1])
    assert axes[1].startswith("PCA 2 (")


def test_tsne_keeps_groups_together_and_has_no_origin():
    random = np.random.default_rng(0)
    values = np.concatenate([random.normal(size=(20, 5)), random.normal(size=(20, 5)) + 30])
    points, centre, _ = project(values, "tsne", 0)
    within = np.linalg.norm(points[:20] - points[:20].mean(0), axis=1).max()
    assert np.linalg.norm(points[:20].mean(0) - points[20:].mean(0)) > 2 * within
    assert centre is None
    np.testing.assert_array_equal(points, project(values, "tsne", 0)[0])


def test_a_mosaic_shows_pictures_in_order_with_a_line_between():
    pixels = np.arange(3, dtype=np.float32).reshape(3, 1, 1, 1) / 10 + np.zeros((3, 2, 2, 1))
    found = mosaic(pixels.astype(np.float32), 2, 2)[..., 0]
    assert found.shape == (5, 5)
    assert found[0, 0] == 0 and found[0, 4] == np.float32(0.1) and found[4, 0] == np.float32(0.2)
    assert (found[2] == 1).all() and found[4, 4] == 1


class Shifted(Backend):
    """Its prior is N(3, I)."""

    family = "shifted"

    def prior(self, model, items, random, **said):
        drawn = super().prior(model, items, random, **said)
        return drawn.with_data(drawn.data + 3)


class ShiftedPlugin:
    genloom_api = 1

    @genloom.hookimpl
    def genloom_backends(self):
        return [Shifted]


@pytest.fixture
def place(empty_place, tiny_bundles, onnx_bytes, catalog, monkeypatch):
    for name in ("tiny-vae", "tiny-cvae", "tiny-image"):
        shutil.copytree(tiny_bundles / name, Path("models") / name)
    judged.write_judge(onnx_bytes, Path("models") / "tiny-judge")
    judged.write_linear_gaussian(onnx_bytes, Path("models") / "shifted", 0.2, "shifted")
    for plugin in (judged.Plugin(), ShiftedPlugin()):
        assert catalog.register(plugin).error == ""
    monkeypatch.setattr(Catalog, "load", classmethod(lambda cls: catalog))
    monkeypatch.setattr(space, "PAIRS", 12)
    return empty_place


def call(*words):
    arguments = [str(word) for word in words]
    shared = ["--dataset", "quadrants", "-o", "map.png", "--threads", "1"]
    result = CliRunner().invoke(latents, [*arguments, *shared])
    if result.exception is not None and not isinstance(result.exception, SystemExit):
        raise result.exception
    assert result.exit_code == 0, result.output
    return result


def test_a_map_is_drawn_and_its_numbers_are_printed(place):
    result = call("tiny-vae")
    picture = cv2.imread("map.png")
    assert picture.shape[0] > 400 and picture.shape[1] > 400
    assert len(np.unique(picture.reshape(-1, 3), axis=0)) > 50
    for name in ("kl_to_normal", "sliced_wasserstein", "confident_normal", "fid_normal"):
        assert name in result.stdout
    assert "confident_prior" not in result.stdout, "its prior is N(0, I), which was measured"


def test_models_stand_side_by_side_on_the_same_pictures(place):
    call("tiny-vae")
    alone = cv2.imread("map.png").shape[1]
    result = call("tiny-vae", "--compare", "tiny-cvae", "--compare", "shifted", "--json")
    assert cv2.imread("map.png").shape[1] > 2 * alone
    found = json.loads(result.stdout)
    assert [panel["model"] for panel in found] == ["tiny-vae", "tiny-cvae", "shifted"]
    assert {panel["pictures"] for panel in found} == {60}
    assert {panel["judge"] for panel in found} == {"tiny-judge"}


def test_what_a_standard_normal_gives_is_measured_beside_a_prior_of_its_own(place):
    (found,) = json.loads(call("shifted", "--json").stdout)
    figures = found["figures"]
    assert {"confident_normal", "confident_prior", "fid_normal", "fid_prior"} <= set(figures)
    assert figures["fid_prior"]["value"] != figures["fid_normal"]["value"]
    assert figures["kl_to_normal"]["floor"] < figures["kl_to_normal"]["value"]


def test_the_same_seed_gives_the_same_map(place):
    call("tiny-vae", "--method", "tsne")
    one = Path("map.png").read_bytes()
    call("tiny-vae", "--method", "tsne")
    assert Path("map.png").read_bytes() == one
    call("tiny-vae", "--method", "tsne", "--seed", 3)
    assert Path("map.png").read_bytes() != one


def test_without_a_judge_the_map_is_drawn_and_says_what_is_left_out(place):
    shutil.rmtree("models/tiny-judge")
    result = call("tiny-vae")
    assert "note: samples and walks are not judged" in result.stdout
    assert "kl_to_normal" in result.stdout and "path_ratio" not in result.stdout
    with pytest.raises(UnknownName):
        call("tiny-vae", "--judge", "tiny-judge")


def test_data_without_labels_is_refused(place):
    with pytest.raises(GenloomError, match="no labels to colour a map by"):
        call("tiny-vae", "--set", "labelled=false")
    assert not Path("map.png").exists()


def test_a_model_without_an_encoder_is_refused(place):
    with pytest.raises(ModelError, match=r"'tiny-image' has no latent space.*got network"):
        call("tiny-vae", "--compare", "tiny-image")


def test_a_walk_of_a_conditional_model_keeps_one_class(place, catalog):
    opened = [
        genloom.open_model(f"models/{name}", provider="cpu", catalog=catalog)
        for name in ("tiny-cvae", "tiny-judge")
    ]
    subject, judge = Subject(opened[0]), Judge(opened[1])
    pixels = judged.QuadrantsData().open(None).held_out().image.transpose(0, 2, 3, 1)
    encoded = subject.encode(Real(pixels / 2))
    ratio, largest = space.path_figures(subject, judge, encoded, 0)
    # Decoder and judge are linear, so the walk is as straight as it can be.
    assert ratio.value == pytest.approx(1, abs=1e-3)
    assert largest.value == pytest.approx(1 / space.STEPS, rel=0.01)
