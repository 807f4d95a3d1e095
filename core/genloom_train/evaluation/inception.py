"""Features of the Inception network that the literature's FID is made of.

The network is torch-fidelity's port of the original one. Its weights, 92 MB, do not come with
genloom and are not fetched: they are used where the user has them.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import torch

from genloom.errors import GenloomError, MissingRequirement
from genloom.types import Floats, as_dtype

FILE = "weights-inception-2015-12-05-6726825d.pth"
LAYER = "2048"
CHUNK = 50


def place() -> Path:
    """Where torch-fidelity keeps the weights, and finds them."""
    return Path(torch.hub.get_dir()) / "checkpoints" / FILE


def open_inception() -> Any:
    """The network, ready to run.

    Raises:
        MissingRequirement: when the weights are not there.
        GenloomError: when the file is not what it should be.
    """
    path = place()
    if not path.is_file():
        raise MissingRequirement(
            "features of the Inception network need its weights, which are not at hand",
            expected=f"the file {FILE}, as torch-fidelity publishes it",
            where=str(path.parent),
            hint="Put it there, or measure with the features of a judge: --features judge",
        )
    try:
        # Refuses what is more than tensors; torch-fidelity itself would load any pickle.
        torch.load(path, map_location="cpu", weights_only=True)
        from torch_fidelity.feature_extractor_inceptionv3 import FeatureExtractorInceptionV3

        return FeatureExtractorInceptionV3(
            "inception-v3-compat", [LAYER], feature_extractor_weights_path=str(path)
        )
    except Exception as error:
        first = str(error).strip().splitlines()[0]
        raise GenloomError(f"the weights cannot be used ({first})", where=str(path)) from None


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
