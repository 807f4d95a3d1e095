"""Distances between two sets of pictures in a space of features: FID, KID, precision, recall.

The first two are torchmetrics', the other two torch-fidelity's.
"""

from __future__ import annotations

import warnings

import torch
from torch import Tensor, nn

from genloom.errors import GenloomError
from genloom.types import Floats

NEIGHBOURS = 3
"""k of precision and recall, as Kynkäänniemi et al. (2019) have it."""

LEAST = 8
"""Pictures without which no distance is measured."""

SUBSETS, SUBSET = 100, 1000
"""Number and size of the subsets over which KID is averaged (Bińkowski et al. 2018)."""


def distances(features: Floats, reference: Floats, seed: int) -> dict[str, float]:
    """How far features N×F are from those of real pictures M×F.

    Returns:
        `fid`, the Fréchet distance of their Gaussian fits (Heusel et al. 2017); `kid`, the
        unbiased squared MMD with the kernel (xᵀy/F + 1)³ (Bińkowski et al. 2018); `precision`, the
        share of `features` within the manifold of the real ones, and `recall`, the share of real
        ones within theirs (Kynkäänniemi et al. 2019, 3 nearest neighbours).

    Raises:
        GenloomError: when there are too few to say anything.
    """
    least = min(len(features), len(reference))
    if least < LEAST:
        raise too_few(2 * least)
    one, two = (torch.from_numpy(array).double() for array in (features, reference))
    fid = _fid(one, two)
    kid = _kid(one, two, seed)
    precision, recall = _precision_recall(one, two)
    return {"fid": fid, "kid": kid, "precision": precision, "recall": recall}


def too_few(count: int) -> GenloomError:
    """What is wrong with so few held-out pictures."""
    return GenloomError(
        "there are too few held-out pictures to measure a distance",
        expected=f"{2 * LEAST} or more, of which one half is compared with the other",
        got=str(count),
    )


def _fid(features: Tensor, reference: Tensor) -> float:
    from torchmetrics.image.fid import FrechetInceptionDistance

    metric = FrechetInceptionDistance(_given(features))
    metric.update(reference, real=True)
    metric.update(features, real=False)
    return float(metric.compute())


def _kid(features: Tensor, reference: Tensor, seed: int) -> float:
    from torchmetrics.image.kid import KernelInceptionDistance

    size = min(SUBSET, len(features), len(reference))
    with warnings.catch_warnings(), torch.random.fork_rng(devices=[]):
        warnings.filterwarnings("ignore", "Metric `Kernel Inception Distance` will save all")
        metric = KernelInceptionDistance(_given(features), subsets=SUBSETS, subset_size=size)
        metric.update(reference, real=True)
        metric.update(features, real=False)
        torch.manual_seed(seed)
        mean, _ = metric.compute()
    return float(mean)


def _precision_recall(features: Tensor, reference: Tensor) -> tuple[float, float]:
    from torch_fidelity.metric_prc import prc_features_to_metric

    found = prc_features_to_metric(
        features,
        reference,
        prc_neighborhood=NEIGHBOURS,
        prc_batch_size=1000,
        save_cpu_ram=True,
        verbose=False,
    )
    return float(found["precision"]), float(found["recall"])


def _given(features: Tensor) -> nn.Module:
    """A feature extractor for torchmetrics that is given features and hands them on."""
    module = nn.Identity()
    module.num_features = features.shape[1]  # type: ignore[assignment]
    return module
