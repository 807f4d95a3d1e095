"""LPIPS (Zhang et al. 2018): a distance in the features of a trained network, by torchmetrics.

The network is torchvision's AlexNet. Its weights, 244 MB, do not come with genloom and are not
fetched: LPIPS is given where the user has them.
"""

from __future__ import annotations

import numpy as np
import torch

from genloom.types import Array, as_float
from genloom_train.evaluation.fidelity import Perceptual
from genloom_train.weights import place, published, unusable

FILE = "alexnet-owt-7be5be79.pth"


def open_lpips() -> Perceptual:
    """The distance of two pictures H×W×C of bytes; 0 between equals.

    Raises:
        MissingRequirement: when the weights are not there.
        GenloomError: when the file is not what it should be.
    """
    # Refuses what is more than tensors, before torchvision reads it.
    published(FILE, "LPIPS needs the weights of AlexNet", by="torchvision")
    try:
        from torchmetrics.image.lpip import LearnedPerceptualImagePatchSimilarity

        metric = LearnedPerceptualImagePatchSimilarity("alex", normalize=True).eval()
    except Exception as error:
        raise unusable(place(FILE), error) from None

    def distance(result: Array, truth: Array) -> float:
        with torch.no_grad():
            return float(metric.forward(_tensor(result), _tensor(truth)))

    return distance


def _tensor(picture: Array) -> torch.Tensor:
    floats = as_float(picture).transpose(2, 0, 1)[None]
    tensor = torch.from_numpy(np.ascontiguousarray(floats))
    return tensor.expand(-1, 3, -1, -1) if tensor.shape[1] == 1 else tensor
