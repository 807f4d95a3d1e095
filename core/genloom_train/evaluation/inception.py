"""Features of the Inception network that the literature's FID is made of.

The network is torch-fidelity's port of the original one. Its weights, 92 MB, do not come with
genloom and are not fetched: they are used where the user has them.
"""

from __future__ import annotations

from typing import Any

import numpy as np
import torch

from genloom.types import Floats, as_dtype
from genloom_train.weights import place, published, unusable

FILE = "weights-inception-2015-12-05-6726825d.pth"
LAYER = "2048"
CHUNK = 50


def open_inception() -> Any:
    """The network, ready to run.

    Raises:
        MissingRequirement: when the weights are not there.
        GenloomError: when the file is not what it should be.
    """
    # Refuses what is more than tensors; torch-fidelity itself would load any pickle.
    published(
        FILE,
        "features of the Inception network need its weights",
        by="torch-fidelity",
        hint="Put it there, or measure with the features of a judge: --features judge",
    )
    try:
        from torch_fidelity.feature_extractor_inceptionv3 import FeatureExtractorInceptionV3

        return FeatureExtractorInceptionV3(
            "inception-v3-compat", [LAYER], feature_extractor_weights_path=str(place(FILE))
        )
    except Exception as error:
        raise unusable(place(FILE), error) from None


def inception_features(network: Any, pixels: Floats) -> Floats:
    """Features N×2048 of pictures N×H×W×C in [0, 1]; grey ones stand in all three channels."""
    found = []
    for start in range(0, len(pixels), CHUNK):
        image = as_dtype(pixels[start : start + CHUNK], np.uint8).transpose(0, 3, 1, 2)
        if image.shape[1] == 1:
            image = image.repeat(3, axis=1)
        with torch.no_grad():
            (features,) = network(torch.from_numpy(np.ascontiguousarray(image)))
        found.append(features.numpy())
    return np.concatenate(found)
