"""Figures against reference values: closed forms, other libraries, and counting by hand."""

import math

import judged
import numpy as np
import pytest
import torch

import genloom
from genloom.errors import GenloomError
from genloom_train.evaluation.bounds import bounds
from genloom_train.evaluation.distances import distances
from genloom_train.evaluation.judge import Seen, softmax
from genloom_train.evaluation.real import Real
from genloom_train.evaluation.similarity import similarity
from genloom_train.evaluation.subject import Subject
from genloom_train.evaluation.verdicts import coverage, obeyed, verdicts


def whitened(count, dimensions, seed):
    """Points whose sample mean is exactly 0 and whose sample covariance is exactly I."""
    points = np.random.default_rng(seed).standard_normal((count, dimensions))
    points -= points.mean(axis=0)
    return points @ np.linalg.inv(np.linalg.cholesky(np.cov(points, rowvar=False))).T


def test_fid_of_two_gaussians_is_the_closed_form():
    one, two, shift = np.array([1.0, 2.0, 0.5]), np.array([2.0, 2.0, 3.0]), np.array([1.0, 0, -2])
    first, second = whitened(40, 3, 0) * one, whitened(60, 3, 1) * two + shift
    right = (shift**2).sum() + ((one - two) ** 2).sum()
    assert distances(first, second, 0)["fid"] == pytest.approx(right, rel=1e-9)


def test_fid_equals_that_of_torch_fidelity():
    from torch_fidelity.metric_fid import fid_features_to_statistics, fid_statistics_to_metric

    random = np.random.default_rng(0)
    first = random.normal(size=(50, 4)) @ random.normal(size=(4, 4))
    second = random.normal(size=(30, 4)) + 0.3
    statistics = [fid_features_to_statistics(torch.from_numpy(one)) for one in (first, second)]
    right = fid_statistics_to_metric(*statistics, False)["frechet_inception_distance"]
    assert distances(first, second, 0)["fid"] == pytest.approx(right, rel=1e-6)


def test_kid_is_the_unbiased_squared_mmd_of_a_cubic_kernel():
    random = np.random.default_rng(0)
    first, second = random.normal(size=(20, 5)), random.normal(size=(20, 5)) + 0.5

    def kernel(a, b):
        return (a @ b.T / 5 + 1) ** 3

    def apart(k):
        return (k.sum() - np.trace(k)) / (20 * 19)

    right = apart(kernel(first, first)) + apart(kernel(second, second))
    right -= 2 * kernel(first, second).mean()
    assert distances(first, second, 0)["kid"] == pytest.approx(right, rel=1e-9)


def test_kid_of_large_sets_depends_on_the_seed_alone():
    random = np.random.default_rng(0)
    first, second = random.normal(size=(1100, 2)), random.normal(size=(1100, 2)) + 0.1
    torch.manual_seed(1)
    one = distances(first, second, 3)
    after = torch.rand(1)
    torch.manual_seed(1)
    assert torch.equal(torch.rand(1), after), "torch's own random numbers were used up"
    assert one == distances(first, second, 3)
    assert one["kid"] != distances(first, second, 4)["kid"]


def within(points, others, neighbours=3):
    """Share of points that lie within a ball of another set, counted one by one."""
    radii = [sorted(np.linalg.norm(others - other, axis=1))[neighbours] for other in others]
    inside = [
        any(np.linalg.norm(point - o) <= r for o, r in zip(others, radii, strict=True))
        for point in points
    ]
    return float(np.mean(inside))


def test_precision_and_recall_are_counted_right():
    random = np.random.default_rng(2)
    drawn, real = random.normal(size=(25, 2)) * 0.6 + 0.8, random.normal(size=(30, 2))
    found = distances(drawn, real, 0)
    assert found["precision"] == pytest.approx(within(drawn, real))
    assert found["recall"] == pytest.approx(within(real, drawn))
    assert found["precision"] != found["recall"]


def test_samples_of_one_mode_are_precise_but_recall_little():
    random = np.random.default_rng(3)
    real = np.concatenate([random.normal(size=(20, 2)), random.normal(size=(20, 2)) + 50])
    found = distances(random.normal(size=(40, 2)) * 0.2, real, 0)
    assert found["precision"] > 0.9 and found["recall"] < 0.5
    other = distances(real, random.normal(size=(40, 2)) * 2, 0)
    assert other["precision"] < 0.6 and other["recall"] > 0.5


def test_too_few_pictures_are_an_error():
    with pytest.raises(GenloomError, match="too few held-out pictures"):
        distances(np.zeros((5, 2)), np.zeros((5, 2)), 0)


@pytest.mark.parametrize("side", [8, 28])
def test_psnr_and_ssim_of_flat_pictures_are_the_closed_form(side):
    one = np.full((3, side, side, 1), 0.5, np.float32)
    two = np.full((3, side, side, 1), 0.6, np.float32)
    found = similarity(one, two)
    assert found["psnr"] == pytest.approx(20, abs=1e-5)
    c = 0.01**2
    assert found["ssim"] == pytest.approx((2 * 0.3 + c) / (0.25 + 0.36 + c), rel=1e-6)
    assert similarity(one, one) == pytest.approx({"psnr": 120, "ssim": 1})


def test_psnr_is_averaged_over_pictures():
    target = np.zeros((2, 16, 16, 3), np.float32)
    pixels = np.stack([np.full((16, 16, 3), value, np.float32) for value in (0.1, 0.01)])
    assert similarity(pixels, target)["psnr"] == pytest.approx(30, abs=1e-4)


def linear_gaussian(onnx_bytes, folder, sigma, catalog, kind="gaussian"):
    judged.write_linear_gaussian(onnx_bytes, folder, sigma, kind=kind)
    return Subject(genloom.open_model(folder, provider="cpu", catalog=catalog))


def test_with_the_exact_posterior_elbo_and_iwae_are_the_log_density(onnx_bytes, tmp_path, catalog):
    sigma = 0.3
    subject = linear_gaussian(onnx_bytes, tmp_path / "linear", sigma, catalog)
    pixels = np.random.default_rng(0).uniform(0, 1, (6, 8, 8, 1)).astype(np.float32)
    covariance = judged.SPREAD @ judged.SPREAD.T + sigma**2 * np.eye(64)
    density = torch.distributions.MultivariateNormal(
        torch.zeros(64).double(), torch.from_numpy(covariance).double()
    )
    right = -density.log_prob(torch.from_numpy(pixels.reshape(6, 64)).double()).mean().item()
    found = {figure.name: figure for figure in bounds(subject, Real(pixels), 40, 0)}
    # IWAE's weights are all alike; the ELBO's reconstruction term is a mean over the draws.
    assert found["negative_iwae_40"].value == pytest.approx(right, rel=1e-5)
    assert found["negative_elbo"].value == pytest.approx(right, abs=0.4)
    terms = found["reconstruction"].value + found["kl"].value
    assert found["negative_elbo"].value == pytest.approx(terms)
    floor = 64 * math.log(sigma * math.sqrt(2 * math.pi))
    assert found["negative_elbo"].floor == pytest.approx(floor, rel=1e-6)


def test_more_draws_tighten_the_bound_and_none_passes_the_truth(onnx_bytes, tmp_path, catalog):
    subject = linear_gaussian(onnx_bytes, tmp_path / "linear", 0.3, catalog)
    encode = subject.encode

    def wide(real):
        posterior = encode(real)
        object.__setattr__(posterior, "log_variance", posterior.log_variance + 1)
        return posterior

    subject.encode = wide
    pixels = np.random.default_rng(0).uniform(0, 1, (40, 8, 8, 1)).astype(np.float32)
    loose = {k: bounds(subject, Real(pixels), k, 0)[3].value for k in (1, 5, 100)}
    subject.encode = encode
    exact = bounds(subject, Real(pixels), 5, 0)[3].value
    assert loose[1] > loose[5] > loose[100] > exact - 0.05


def test_no_model_with_a_logistic_likelihood_passes_the_floor(onnx_bytes, tmp_path, catalog):
    subject = linear_gaussian(onnx_bytes, tmp_path / "linear", 0.3, catalog, kind="logistic")
    pixels = np.array([0, 1, 128 / 255], np.float32).repeat(64).reshape(3, 8, 8, 1)
    floor = bounds(subject, Real(pixels), 1, 0)[0].floor
    best = np.stack([np.full((8, 8, 1), v, np.float32) for v in (-9, 9, 128 / 255)])
    assert floor == pytest.approx(-subject.log_likelihood(pixels, best).mean(), rel=1e-6)
    assert floor < -subject.log_likelihood(pixels, pixels).mean() - 10


def test_bounds_do_not_depend_on_how_many_pictures_go_together(
    onnx_bytes, tmp_path, catalog, monkeypatch
):
    subject = linear_gaussian(onnx_bytes, tmp_path / "linear", 0.3, catalog)
    real = Real(np.random.default_rng(0).uniform(0, 1, (7, 8, 8, 1)).astype(np.float32))
    together = bounds(subject, real, 5, 0)
    monkeypatch.setattr("genloom_train.evaluation.bounds.CHUNK", 2)
    apart = bounds(subject, real, 5, 0)
    assert [f.value for f in together] == pytest.approx([f.value for f in apart], rel=1e-6)


def test_what_was_done_to_pictures_is_said_and_nothing_is_when_nothing_was():
    given, fitted = (Real(np.zeros((2, *shape), np.float32)) for shape in ((8, 8, 3), (28, 28, 1)))
    assert fitted.change_from(given) == ["pictures were brought from 8×8×3 to the model's 28×28×1"]
    assert given.change_from(given) == []


def seen(*probabilities):
    return Seen(np.zeros((len(probabilities), 1), np.float32), np.array(probabilities, np.float64))


def test_classes_and_confidence_are_counted_right():
    drawn = seen([0.95, 0.05, 0], [0.91, 0.05, 0.04], [0.5, 0.4, 0.1], [0, 0.6, 0.4])
    real = seen([1, 0, 0], [0, 0.9, 0.1], [0, 0.1, 0.9])
    found = {figure.name: figure for figure in verdicts(drawn, real, real)}
    assert (found["confident"].value, found["confident"].floor) == (0.5, 1.0)
    assert (found["class_share_min"].value, found["class_share_max"].value) == (0, 0.75)
    assert found["class_coverage"].value == pytest.approx(2 / 3)
    assert found["class_coverage"].floor == 1
    assert obeyed(drawn, np.array([0, 1, 0, 1])) == 0.75


def test_a_class_is_covered_from_half_its_share_on():
    reference = np.array([0.4, 0.4, 0.2, 0.0])
    assert coverage(np.array([0.8, 0.2, 0.0, 0.0]), reference) == pytest.approx(2 / 3)
    assert coverage(np.array([0.7, 0.19, 0.11, 0.0]), reference) == pytest.approx(2 / 3)


def test_softmax_bears_large_logits():
    found = softmax(np.array([[1000.0, 1000.0], [0.0, math.log(3)]], np.float32))
    np.testing.assert_allclose(found, [[0.5, 0.5], [0.25, 0.75]], rtol=1e-6)
